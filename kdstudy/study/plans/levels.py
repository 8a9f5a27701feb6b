"""The designs of the chapters of the levels, and of the one that asks in which regime KD pays.

A plan is a function of a chapter's parameters that returns designs; `PLANS` names them, `study` performs one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import product
from typing import TypeVar

from kdstudy.core.registry import Registry
from kdstudy.core.spec import Data, Run, pairs
from kdstudy.data import registry
from kdstudy.engine.outline import outline
from kdstudy.study import beds, experiment
from kdstudy.study.beds import Bed
from kdstudy.study.experiment import BASELINE, TREATMENT, Design, Side, Study, sides
from kdstudy.study.search import Protocol

T = TypeVar("T")
Several = T | Sequence[T]

BEDS = (  # of the study, where a chapter is asked for no other
    ("digits", "few_labels"), ("digits", "transfer_set"), ("synthetic", "soft_truth"), ("digits", "privileged"),
    ("digits", "same_labels"), ("synthetic", "same_labels"),
)  # fmt: skip
CHEAP = BEDS[:1] + BEDS[2:3]  # on which failures are looked for: many sides
GRID = ("label_smoothing_matched", "class_matched", "instance_matched", "kd_pt", "kd_pt_class", "kd")
UNIVERSE = ("hard", "label_smoothing", "label_smoothing_matched", "kd")
DOMAIN = ("hard", "label_smoothing_matched", "class_matched", "class_mean", "kd_sim", "kd_rel", "class_permuted", "kd")
GEOMETRY = ("hard", "label_smoothing_matched", "kd_sim", "class_matched", "kd")  # whose view of classes is shown
INSTANCE = ("hard", "label_smoothing_matched", "class_matched", "kd_pt", "cwtm", "instance_matched",
            "example_permuted", "shuffled_teacher", "kd")  # fmt: skip
WEIGHED = ("label_smoothing_matched", "kd_pt", "kd", "cwtm")  # whose w differs between examples, and is shown
DECOMPOSITION = ("hard", *GRID, "kd_sim", "kd_pt_sim", "topk", "tckd", "nckd", "dkd")
PSEUDO = ("pseudo_label", "pseudo_smoothing")  # what a transfer set needs beside hard labels and label smoothing
SIMILARITIES = (0.0, 0.3, 0.6, 0.9)
ALIKE = ("label_smoothing_matched", "class_matched", "kd")
LABELS = (3, 10, 30)  # labels of each class on the map; a data set has those of which it has more
MAPPED = ("digits",)
UNTUNED = {BASELINE: {"lr": 0.1, "weight_decay": 0.0}}  # recipes where nothing is searched
UNTUNED[TREATMENT] = UNTUNED[BASELINE] | {"alpha": 0.9, "tau": 4.0}

READ = {part: {"right": None, "per_class": None} for part in ("practical", "at_kd", "at_hard")}  # by claims

PLANS: Registry[Callable[..., list[Design]]] = Registry("plan", in_workers=False)
plan = PLANS.register  # the plan of the chapter of the same name; arrays=...: those it shows (`shown`)


def several(value: Several[T]) -> list[T]:
    """A value or a list of values as a list; text may name several, separated by commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, Iterable) and not isinstance(value, Data) else [value]


def asked(
    dataset: Several[str | Data] | None = None,
    regime: Several[str] | None = None,
    among: Sequence[tuple[str, str]] = BEDS,
    **given: object,
) -> list[Bed]:
    """The beds of these data sets in these regimes; those `among` the study's own where one or both are not named: of
    data sets without a regime the first bed, of a user's own few labels.
    """
    if dataset is not None:
        first, names = dict(reversed(among)), map(registry.named, several(dataset))
        wanted = [(d, r) for d in names for r in several(regime or first.get(d.name, "few_labels"))]
    else:
        wanted = ((d, r) for d, r in among if regime is None or r in several(regime))
        if regime is not None:
            for name in several(regime):
                beds.REGIMES[name]
    return [beds.bed(d, r, **given) for d, r in wanted]


def _compared(bed: Bed, conditions: Several[str]) -> Design:
    """Conditions as sides, with hard labels and KD, by which a bed is admitted; and its controls on a transfer set."""
    names = [BASELINE, *several(conditions), TREATMENT]
    return Design(bed, sides(bed, dict.fromkeys(names + list(PSEUDO) * (bed.regime == "transfer_set"))))


@plan(arrays={"practical": {"reliability": None}})
def universe(conditions: Several[str] = UNIVERSE, **where: object) -> list[Design]:
    """What smoothing alone gives."""
    return [_compared(bed, conditions) for bed in asked(**where)]


@plan(arrays={"at_kd": {"similarity": GEOMETRY}, "at_hard": {"similarity": GEOMETRY}, "teachers": {"similarity": None}})
def domain(
    conditions: Several[str] = DOMAIN, similarity: Several[float] = SIMILARITIES, **where: object
) -> list[Design]:
    """What knowledge of classes adds; on synthetic data at several similarities of the classes of a super-class too."""
    return [_alike(_compared(bed, conditions), several(similarity)) for bed in asked(**where)]


def _alike(design: Design, similarities: Sequence[float]) -> Design:
    """The design of a soft synthetic bed with the sides "similarity S:condition"."""
    bed = design.bed
    if bed.regime != "soft_truth" or bed.given:
        return design
    more = {}
    for s, name in product(similarities, ALIKE):
        data = registry.variant("synthetic", **dict(bed.data.options) | {"similarity": s})
        more[f"similarity {s:g}:{name}"] = Side(replace(bed, data=data), name)
    return Design(bed, design.sides | more)


@plan(arrays={"at_kd": {"w": WEIGHED, "mass": ("kd",)}, "at_hard": {"w": ("kd",)}})
def instance(conditions: Several[str] = INSTANCE, **where: object) -> list[Design]:
    """What knowledge of examples adds."""
    return [_compared(bed, conditions) for bed in asked(**where)]


@plan
def decomposition(conditions: Several[str] = DECOMPOSITION, **where: object) -> list[Design]:
    """The grid of mass x shape, and other ways to take KD apart."""
    return [_compared(bed, conditions) for bed in asked(**where)]


@plan
def regimes(
    dataset: Several[str | Data] = MAPPED, labels: Several[int] = LABELS, hidden: int | None = None
) -> list[Design]:
    """Hard labels and KD by labels of each class and by what the teacher saw: the same, all of them, and its students
    all examples besides. Sides are "regime labels:condition", as "all_labels 10:kd": students see 10 labels of each
    class, the teacher all; 0 labels: all.
    """
    return [_mapped(name, several(labels), hidden) for name in several(dataset)]


def _mapped(dataset: str | Data, labels: Sequence[int], hidden: int | None) -> Design:
    """One data set's map; numbers of labels of which a class has no more are left out."""
    own = "soft_truth" if registry.named(dataset).name == "synthetic" else "few_labels"
    main = beds.bed(dataset, own, hidden=hidden)
    least = int(outline(main.data).train.y.bincount().min())
    saw = {"same_labels": "same_labels", "all_labels": own, "transfer_set": "transfer_set"}
    cells = [*product(saw, (n for n in labels if n < least)), ("same_labels", 0)]
    every = {(r, n): beds.bed(main.data, saw[r], n, hidden=hidden) for r, n in cells}
    more = {f"{r} {n}:{c}": Side(b, c) for (r, n), b in every.items() for c in (BASELINE, TREATMENT)}
    return Design(main, sides(main, (BASELINE, TREATMENT)) | more, mechanism=False)


@plan
def admission(**where: object) -> list[Design]:
    """Hard labels and KD on every bed, each searched and with the recipe that is used where nothing is searched."""
    found = []
    for bed in asked(**where):
        plain = {f"{name}, untuned": Side(bed, name, pairs(UNTUNED[name])) for name in UNTUNED}
        found.append(Design(bed, sides(bed, (BASELINE, TREATMENT)) | plain, mechanism=False))
    return found


def study(
    chapter: str,
    settings: int = 24,
    tuning: int = 3,
    seeds: int = 20,
    admission: int = 10,
    executor: str = "local",
    **given: object,
) -> Study:
    """The study of a chapter: its plan, each design performed by the protocol. What is None is left to the plan."""
    known = {k: v for k, v in given.items() if v is not None}
    return experiment.study(PLANS[chapter](**known), Protocol(settings, tuning, seeds, admission), executor)


def shown(chapter: str) -> dict[str, dict[str, int | Sequence[str] | None]]:
    """The arrays that a chapter reads by part, with the number of seeds, or the sides, it reads them of; None: all.

    Those that claims read, and those of the plan's registration: `@plan(arrays={"practical": {"similarity": 3}})`.
    """
    own = getattr(PLANS[chapter], "arrays", {})
    return {part: {**READ.get(part, {}), **own.get(part, {})} for part in READ.keys() | own.keys()}


def planned(chapter: str) -> list[str]:
    """The plans whose runs a page shows: its own; of the scoreboard all; of a page without a plan none."""
    return [name for name in PLANS if chapter in ("scoreboard", name)]


def every(chapter: str, **given: object) -> list[Run]:
    """All runs that a page shows, each once. Later runs follow from earlier answers: the study is performed."""
    return list(dict.fromkeys(run for name in planned(chapter) for run in study(name, **given).runs))
