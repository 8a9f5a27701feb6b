"""The runs of the failure chapters: students of teachers, temperatures and labels that are said to fail.

Each plan starts from `plans.study` and changes one thing: the teacher its students listen to (`under`), or the data.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product

from kdstudy.core.spec import Data, Recipe, Run
from kdstudy.data import registry
from kdstudy.distill import conditions
from kdstudy.engine import teachers as composed
from kdstudy.study.plans import levels
from kdstudy.study.plans.levels import Parts, plan
from kdstudy.study.recipes import Several, several, teachers

DATASETS = ("synthetic", "digits", "clinc150")
SEEDS = {"synthetic": 10, "digits": 10, "clinc150": 6}  # these chapters train several teachers for each seed
WEIGHT_DECAYS = (0.0, 1e-4, 1e-3, 1e-2)  # as many settings as KD has temperatures
LEVELS = ("hard", "label_smoothing_matched", "class_matched", "kd_pt", "kd")  # each adds one level to one before it
SHORT, LONG, SIZES = (0.1, 0.3), (1.0, 3.0), (0.25, 1.0, 2.0)  # times the teacher's own epochs and hidden units
HEAVY = 0.9

Change = Callable[[Run], Run]


def study(
    dataset: Several[str | Data], conditions: Several[str], seeds: Several[int] | None, **given: object
) -> list[Run]:
    """`plans.study`, with the seeds of these chapters where none are given."""
    runs = []
    for data in map(registry.named, several(dataset)):
        own = SEEDS.get(data.name) if seeds is None else seeds
        runs += levels.study(data, conditions, seeds=own, **given)
    return list(dict.fromkeys(runs))


def under(runs: Iterable[Run], change: Change, conditions: Several[str] = "kd") -> list[Run]:
    """The students of these conditions, of changed teachers."""
    names = several(conditions)
    return [replace(r, teacher=change(r.teacher)) for r in runs if r.teacher and r.condition.name in names]


def smoothed(epsilon: float) -> Change:
    """The teacher, trained with label smoothing."""
    condition = conditions.make("label_smoothing", epsilon=epsilon)
    return lambda t: replace(t, condition=condition) if epsilon else t


def scaled(size: float, length: float) -> Change:
    """The teacher with `size` times its hidden units, trained for `length` times its epochs."""
    return lambda t: replace(t, recipe=_scaled(t.recipe, size, length))


def _scaled(recipe: Recipe, size: float, length: float) -> Recipe:
    hidden = tuple(max(1, round(h * size)) for h in recipe.hidden)
    return replace(recipe, hidden=hidden, epochs=max(1, round(recipe.epochs * length)))


def assistant(student: Recipe, tau: float, alpha: float) -> Change:
    """A KD student of the teacher, of geometric mean width between teacher and student. Mirzadeh et al. 2020."""
    condition = conditions.make("kd", tau=tau, alpha=alpha)

    def between(t: Run) -> Run:
        hidden = tuple(round((h * s) ** 0.5) for h, s in zip(t.recipe.hidden, student.hidden))
        return Run(t.data, replace(t.recipe, hidden=hidden), condition, t.seed, t)

    return between


@plan
def smoothed_teacher(
    dataset: Several[str] = DATASETS,
    epsilon: Several[float] = (0.05, 0.1, 0.2, 0.4),
    claimed: float = 0.1,
    conditions: Several[str] = LEVELS,
    seeds: Several[int] | None = None,
    **given: object,
) -> Parts:
    """Teachers trained with label smoothing: KD over all of `epsilon`, every condition at the one `claimed`."""
    own = study(dataset, conditions, seeds, **{"weight_decay": WEIGHT_DECAYS} | given)
    grid = [r for e in dict.fromkeys((0.0, *several(epsilon))) for r in under(own, smoothed(e))]
    strong = under(own, smoothed(claimed), conditions)
    return {"study": own, "smoothed": strong, "grid": grid, "pair": teachers(own + strong),
            "teachers": teachers(grid)}  # fmt: skip


@plan
def too_good_teacher(
    dataset: Several[str] = DATASETS,
    size: Several[float] = SIZES,
    length: Several[float] = (*SHORT, *LONG),
    alpha: Several[float] = HEAVY,
    seeds: Several[int] | None = None,
    **given: object,
) -> Parts:
    """Teachers by width and length of training; three remedies: less training, cross-fitted targets, an assistant."""
    given = {"weight_decay": WEIGHT_DECAYS, "alpha": alpha} | given
    own, sizes, lengths = study(dataset, ("hard", "kd"), seeds, **given), several(size), several(length)
    grid = [r for s, n in product(sizes, lengths) for r in under(own, scaled(s, n))]
    early = [r for n in lengths if n < 1 for r in under(own, scaled(1.0, n))]
    cross = under(own, lambda t: composed.of(t, "crossfitted"))
    helped = [r for o in own for r in under([o], assistant(o.recipe, 2.0, HEAVY))]
    return {
        "study": own, "largest": under(own, scaled(max(sizes), max(lengths))), "grid": grid, "early": early,
        "crossfitted": cross, "assistant": helped,
        "teachers": teachers([*own, *grid, *cross, *helped]),
    }  # fmt: skip


@plan
def temperature(
    dataset: Several[str] = DATASETS,
    tau: Several[float] = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    alpha: Several[float] = (0.1, 0.5, 0.9, 1.0),
    width: Several[int] = (2, 8),
    seeds: Several[int] | None = None,
    **given: object,
) -> Parts:
    """Every cell of the grid of mass x shape at every temperature and weight; KD in students `width` times as wide."""
    given = {"weight_decay": WEIGHT_DECAYS} | given
    own = study(dataset, ("hard", *levels.GRID), seeds, tau=tau, alpha=alpha, **given)
    kd = [r for r in own if r.condition.name == "kd"]
    hottest = max(map(float, several(tau)))
    hot, warm = ([r for r in kd if (r.condition.tau == hottest) == is_] for is_ in (True, False))
    heavy = [r for r in kd if dict(r.condition.params)["alpha"] == min(several(alpha), key=lambda a: abs(a - HEAVY))]
    wide = [replace(r, recipe=_scaled(r.recipe, w, 1)) for w in (1, *several(width)) for r in heavy]
    return {"study": own, "hot": hot, "warm": warm, "wide": wide, "teachers": teachers(own)}
