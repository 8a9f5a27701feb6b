"""The noise chapter: what students gain over hard labels, what teachers repeat of the noise, unequal classes.

Most functions take the chapter's tables by part, as `ask.answer` gives them.
"""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.engine import ask
from kdstudy.engine import teacher_statistics as anatomy
from kdstudy.figures.primitives import Decorate, band, lines, reference
from kdstudy.figures.style import DARK, ORANGE, RED, SKY, Look, as_percent, look, tau_looks
from kdstudy.stats import paired
from kdstudy.study import array_metrics
from kdstudy.study.contrasts import LIMITS, changes, contrasts, minus
from kdstudy.study.theory import smoothed_label_kl, unchanged_share

LOOKS = {  # of students
    "hard": look("hard"),
    "untuned": look("hard")._replace(name="hard labels, untuned", dash="--", filled=False),
    "label_smoothing_matched": look("label_smoothing_matched"),
    "kd": look("kd"),
    "crossfitted": Look(ORANGE, "v", "KD, cross-fitted teacher", filled=False),
    "exact": Look(SKY, "*", "KD of the exact law"),
}
PAIRS = (("kd", "hard"), ("label_smoothing_matched", "hard"), ("kd", "untuned"), ("label_smoothing_matched", "untuned"))
PAIR_LOOKS = {
    f"{one} − {other}": look(one)._replace(
        name=f"{LOOKS[one].name} − {'tuned' if other == 'hard' else 'untuned'}", dash="-" if other == "hard" else "--"
    )
    for one, other in PAIRS
}
COMPOSED = {"filled": False, "dash": ""}  # teachers put together of others are hollow, and known at one noise
TEACHER_LOOKS = {  # (what composed a teacher, the measure that is drawn of it)
    ("", "train_accuracy"): Look(DARK, "s", "teacher, training labels"),
    ("", "test_accuracy"): Look(RED, "o", "teacher, test labels"),
    ("crossfitted", "train_accuracy"): Look(DARK, "v", "cross-fitted, training labels", **COMPOSED),
    ("crossfitted", "test_accuracy"): Look(RED, "^", "cross-fitted, test labels", **COMPOSED),
} | {
    (composed, f"law_{tau:g}"): how._replace(name=f"cross-fitted, {how.name}", marker="v", **COMPOSED)
    if composed else how._replace(name=f"teacher, {how.name}")
    for tau, how in tau_looks(anatomy.TAUS[:3]).items() for composed in ("", "crossfitted")
}  # fmt: skip
SMOOTHED = Look(DARK, "s", "labels, smoothed by the noise", ":")
THIRDS = ("rarest", "middle", "commonest")
JOINT = "less hard labels, tuned or not · bars: 95 % paired t intervals, jointly over each line"
OF_TEACHERS = "the networks here are the teachers · bars: 95 % t intervals over seeds"


def with_noise(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with the share of training labels drawn anew, `noise`, and what composed a run, `composed`."""
    given = [json.loads(text) for text in frame["options"]]
    noise = np.array([o.get("noise", 0.0) for o in given], float)
    return frame.assign(noise=noise, composed=[o.get("composed", "") for o in given])


# ---------------------------------------------------------------- students


def at_best(frame: pd.DataFrame, name: str | None = None, within: Sequence[str] = ()) -> pd.DataFrame:
    """Each condition at its setting best on validation, called `name` if one is given; of no run, none."""
    best = with_noise(paired.tuned(frame, within=within) if len(frame) else frame)
    return best if name is None else best.assign(condition=name)


def untuned(frame: pd.DataFrame) -> pd.DataFrame:
    """Hard labels at the least weight decay, that of the other conditions."""
    plain = frame[frame["condition"] == "hard"]
    return at_best(plain[plain["weight_decay"] == plain["weight_decay"].min()], "untuned")


def students(tables: array_metrics.Tables) -> pd.DataFrame:
    """Students by noise, each at its best on validation: of labels, of their teacher and of two others."""
    rows = [at_best(tables["noise"]), untuned(tables["noise"])]
    rows += [at_best(tables[part], name) for part, name in (("crossfitted", "crossfitted"), ("law", "exact"))]
    return pd.concat([r for r in rows if len(r)], ignore_index=True)


def accuracies(tables: array_metrics.Tables) -> Figure:
    """Students' test accuracy against the noise."""
    frame = students(tables)
    one = frame["noise"].nunique() < 2
    rows = frame[:0] if one else paired.summary(frame, "test_accuracy", ["dataset", "condition", "noise"])
    note = "bars: 95 % t intervals over seeds · each at its setting best on validation"
    return lines(rows, frame, "noise", LOOKS, note=note, why="the runs hold one amount of noise")


def gaps(tables: array_metrics.Tables) -> pd.DataFrame:
    """Paired differences in test accuracy of `PAIRS` by data set and noise; the intervals of a pair hold together."""
    frame = students(tables).sort_values("noise", kind="stable")
    return contrasts(frame, minus(PAIRS), by=["dataset", "noise"], name="pair", jointly=["pair"])


def gains(tables: array_metrics.Tables) -> Figure:
    """What matched smoothing and KD gain over hard labels, tuned and not, against the noise."""
    found = gaps(tables)
    found = found if found["noise"].nunique() > 1 else found[:0]
    return lines(found, students(tables), "noise", PAIR_LOOKS, by="pair", difference="difference in", note=JOINT,
                 why="it needs hard labels, another condition and two amounts of noise")  # fmt: skip


def by_weight(tables: array_metrics.Tables) -> pd.DataFrame:
    """The claimed noise's KD students of each teacher, for each alpha at the temperature best on validation."""
    parts = (("noisy", "kd"), ("crossfitted", "crossfitted"), ("exact", "exact"))
    rows = [at_best(tables[part][tables[part]["condition"] == "kd"], name, ["alpha"]) for part, name in parts]
    return pd.concat([r for r in rows if len(r)] or rows, ignore_index=True)


def weight_changes(frame: pd.DataFrame) -> pd.DataFrame:
    """Paired differences in test accuracy of every alpha minus the least, each at its own best temperature.

    By data set and teacher, of rows as `by_weight` gives them; all intervals hold together.
    """
    frame, cell = frame.assign(teacher=frame["condition"]), ["dataset", "teacher"]
    least = frame[frame["alpha"] == frame["alpha"].min()]
    rows = changes(frame.sort_values("alpha", kind="stable"), least, [*cell, "alpha"], cell, jointly=())
    return rows.assign(less=frame["alpha"].min())[[*cell, "alpha", "less", *LIMITS]]


def remedies(tables: array_metrics.Tables) -> Figure:
    """Test accuracy at the claimed noise against alpha, a line a teacher; hard labels at their best as a band."""
    frame = rows = by_weight(tables)
    if len(frame):
        rows = paired.summary(frame, "test_accuracy", ["dataset", "condition", "alpha"])
    hard = at_best(tables["noisy"][tables["noisy"]["condition"] == "hard"])

    def with_hard(ax: Axes, dataset: str) -> None:
        if (hard["dataset"] == dataset).any():
            band(ax, hard.loc[hard["dataset"] == dataset, "test_accuracy"], LOOKS["hard"])

    drawn = f"{as_percent(frame['noise'].max())} % of the training labels drawn anew" if len(frame) else ""
    note = f"bars and band: 95 % t intervals · {drawn} · τ best on validation for each α"
    return lines(rows, frame, "alpha", LOOKS, decorate=with_hard, note=note, why="KD is not among the runs")


# ---------------------------------------------------------------- teachers


def noisy_teachers(tables: array_metrics.Tables) -> pd.DataFrame:
    """The teachers of the noisy data sets, without those of unequal classes."""
    every = tables["teachers"]
    return with_noise(every[~every["key"].isin(tables["imbalanced"]["teacher"])]).reset_index(drop=True)


def memorised(tables: array_metrics.Tables) -> Figure:
    """Teachers' accuracy on their noisy training labels and on clean test labels, against the noise."""
    frame = noisy_teachers(tables)

    def expected(ax: Axes, dataset: str) -> None:
        x = np.linspace(0, frame.loc[frame["dataset"] == dataset, "noise"].max(), 2)
        reference(ax, x, unchanged_share(x, len(ask.classes(dataset, frame).names)), "labels as they were (expected)")
        ax.set_ylabel("accuracy (%)")

    return _of_teachers(frame, ("train_accuracy", "test_accuracy"), expected, "no teacher is among the runs")


def _of_teachers(
    frame: pd.DataFrame, measures: Sequence[str], decorate: Decorate, why: str, more: Sequence[pd.DataFrame] = ()
) -> Figure:  # fmt: skip
    """Measures of teachers against the noise, a line for each and for what composed the teacher, as TEACHER_LOOKS."""
    rows = [paired.summary(part, measure, ["dataset", "noise"]).assign(line=how.name)
            for (composed, measure), how in TEACHER_LOOKS.items()
            if measure in measures and len(part := frame[frame["composed"] == composed])]  # fmt: skip
    looks = {how.name: how for how in (*TEACHER_LOOKS.values(), SMOOTHED)}
    return lines(pd.concat([*rows, *more]) if rows else frame[:0], frame, "noise", looks, by="line", panel="dataset",
                 measure=measures[0], decorate=decorate, why=why, note=OF_TEACHERS)  # fmt: skip


def with_anatomy(tables: array_metrics.Tables) -> pd.DataFrame:
    """Noisy teachers with what `derived.anatomies` measures of them."""
    frame = noisy_teachers(tables)
    return frame.join(array_metrics.anatomies(frame)) if len(frame) else frame


def distance(tables: array_metrics.Tables) -> Figure:
    """KL(P(y | x) || p^tau) on the training set against the noise, a line a temperature; and of smoothed labels."""
    frame = with_anatomy(tables)
    frame = frame[frame["law_1"].notna()] if len(frame) else frame
    own = frame[frame["composed"] == ""].drop_duplicates(["dataset", "noise"])[["dataset", "noise", "options"]]
    known = [smoothed_label_kl(d, text) for d, text in zip(own["dataset"], own["options"])]
    smoothed = own.assign(mean=known, low=np.nan, high=np.nan, line=SMOOTHED.name)
    return _of_teachers(frame, [f"law_{tau:g}" for tau in anatomy.TAUS[:3]],
                        lambda ax, _: ax.set_ylabel("KL from the law (nats)"),
                        "no data set among the runs knows the law of its labels", [smoothed])  # fmt: skip


def portrait(tables: array_metrics.Tables) -> pd.DataFrame:
    """What the teachers of noisy labels are, means over seeds: accuracies, confidence, distance from the law."""
    frame = with_anatomy(tables)
    expected = [unchanged_share(n, len(ask.classes(d, frame).names)) for d, n in zip(frame["dataset"], frame["noise"])]
    frame = frame.assign(unchanged=expected, teacher=frame["composed"].replace("", "its own"))
    names = ["train_accuracy", "unchanged", "sure_train", "test_accuracy", "test_nll"]
    names += [name for name in ("law_1", "law_2", "law_4") if not frame[name].isna().all()]
    return paired.levels(frame.sort_values("noise", kind="stable"), names, ["dataset", "teacher", "noise"])


# ---------------------------------------------------------------- classes of unequal size


def thirds(frame: pd.DataFrame, tables: array_metrics.Tables) -> pd.DataFrame:
    """Runs with `third` and `third_accuracy`, the mean test accuracy of a third of the classes by training examples.

    Three rows for each run, two where there are two classes; the rarest as in `derived.tail_accuracy`. Classes
    without a test example are left out. `frame` may hold students and teachers of the tables' part "imbalanced".
    """
    first = tables["teachers"].drop_duplicates(["dataset", "options"])
    teacher = dict(zip(zip(first["dataset"], first["options"]), first["key"]))
    counts, tested = ask.arrays(first, "counts"), ask.arrays(frame, "per_class")
    rows = []
    for row in frame.to_dict("records"):
        order = np.argsort(counts[teacher[row["dataset"], row["options"]]], kind="stable")
        size = max(1, len(order) // 3)
        right, examples = tested[row["key"]][:, order]
        for third, part in zip(THIRDS, np.split(np.arange(len(order)), [size, len(order) - size])):
            part = part[examples[part] > 0]
            if len(part):
                rows.append(row | {"third": third, "third_accuracy": float((right / examples)[part].mean())})
    return pd.DataFrame(rows)


def _of_unequal(tables: array_metrics.Tables) -> pd.DataFrame:
    """The teachers that students of the classes of unequal size listen to."""
    return tables["teachers"][tables["teachers"]["key"].isin(tables["imbalanced"]["teacher"])]


def unequal(tables: array_metrics.Tables) -> pd.DataFrame:
    """Students and teachers of the classes of unequal size, by thirds of the classes."""
    skewed = tables["imbalanced"]
    rows = [r for r in (at_best(skewed), untuned(skewed), _of_unequal(tables).assign(condition="teacher")) if len(r)]
    return thirds(pd.concat(rows, ignore_index=True), tables)


def by_third(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of the accuracy on each third, by data set and condition, of a table as `unequal` gives it."""
    means = rows.groupby(["dataset", "condition", "third"], sort=False)["third_accuracy"].mean().unstack()
    return means[[t for t in THIRDS if t in means]].assign(n=rows.groupby(["dataset", "condition"])["seed"].nunique())


def third_gains(rows: pd.DataFrame, pairs: Sequence[tuple[str, str]] = PAIRS) -> pd.DataFrame:
    """Paired differences of `pairs` on each third; all intervals of a pair hold together."""
    return contrasts(rows, minus(pairs), "third_accuracy", ["dataset", "third"], "pair", ["pair"])


def tails(rows: pd.DataFrame) -> Figure:
    """What matched smoothing and KD gain over hard labels on each third of the classes."""
    found = third_gains(rows)

    def name_thirds(ax: Axes, _: str) -> None:
        ax.set_xticks(range(len(THIRDS)), THIRDS)
        ax.set_xlabel("third of the classes by training examples")

    found["third"] = found["third"].map({third: float(i) for i, third in enumerate(THIRDS)})
    return lines(found, rows[rows["condition"] != "teacher"], "third", PAIR_LOOKS, by="pair",
                 difference="difference in", decorate=name_thirds, note=JOINT,
                 why="hard labels and another condition are not both among the runs")  # fmt: skip


def sizes(tables: array_metrics.Tables) -> pd.DataFrame:
    """How many training examples the classes of unequal size have, by data set."""
    teachers = _of_unequal(tables).drop_duplicates(["dataset", "options"])
    counts, rows = ask.arrays(teachers, "counts"), []
    for key, dataset in zip(teachers["key"], teachers["dataset"]):
        count = np.sort(counts[key])
        third = max(1, len(count) // 3)
        rows.append({"dataset": dataset, "classes": len(count), "examples": int(count.sum()),
                     "in the rarest third": int(count[:third].sum()), "rarest": int(count[0]),
                     "median": float(np.median(count)), "commonest": int(count[-1])})  # fmt: skip
    return pd.DataFrame(rows)
