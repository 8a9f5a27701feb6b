"""`kdstudy plan` and `full --dry-run`: what would be trained, and what that costs, before anything is."""

from typing import TYPE_CHECKING, Annotated

import typer

from kdstudy.cli import run
from kdstudy.cli.console import out, plainly

if TYPE_CHECKING:
    import pandas as pd


def plan(
    chapter: Annotated[str, typer.Argument(help="A chapter's name, such as universe, or a notebook's path.")],
    parameter: run.Parameters = (),
    dataset: run.Dataset = None,
) -> None:
    """Print what `kdstudy run` would train with the same parameters, and what that costs; train nothing."""
    with plainly():
        from kdstudy.study.plans import cost

        values = run.asked(chapter, parameter, dataset)
        show(cost.of(run.notebook(chapter).stem, **run.whole(chapter, values)))


def show(frame: "pd.DataFrame") -> None:
    """A table of costs, and what it rests on."""
    from rich.table import Table

    from kdstudy.study.plans.cost import GUESS, GUESS_IMAGES

    grid, words = Table(*frame.columns), sentence(frame)
    for row in frame.itertuples(index=False):
        grid.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row))
    if len(frame):
        out.print(grid)
    out.print(words, soft_wrap=True)
    out.print(
        f"Core-hours by the seconds that stored runs of the same data set and role took ({GUESS:g} s where there is "
        f"none, {GUESS_IMAGES:g} s of those for images). Where answers are not stored, choices are assumed; where hard "
        "labels, KD or a teacher choose an edge of a range, tuning costs a quarter more.",
        soft_wrap=True,
    )


def sentence(frame: "pd.DataFrame") -> str:
    """What would be trained, how long that takes here."""
    from kdstudy.engine import stacks

    more, hours, cores = frame["to train"].sum(), frame["core-hours to train"].sum(), stacks.workers()
    whole = f"{frame['more'].sum()} runs, {frame['core-hours'].sum():.2g} core-hours"
    if not more:
        return f"{whole}; all are stored or published: nothing is to be trained"
    time = f"about {max(1, round(60 * hours / cores))} min on {cores} core{'s' * (cores > 1)} of this machine"
    return f"{whole}; {more} are to be trained: {hours:.2g} core-hours, {time}"
