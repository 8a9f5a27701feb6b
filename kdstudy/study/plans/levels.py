"""The designs of the chapters of the levels, and of the one that asks in which regime KD pays.

A plan is a function of a chapter's parameters that returns designs; `PLANS` names them, `study` performs one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial, wraps
from inspect import signature
from itertools import product
from typing import Annotated

from kdstudy.core import parameters as described
from kdstudy.core.parameters import Parameter, Several, T
from kdstudy.core.registry import Registry
from kdstudy.core.spec import Data, Run, pairs, require
from kdstudy.data import registry
from kdstudy.engine.outline import outline
from kdstudy.study import beds, experiment
from kdstudy.study.beds import Bed
from kdstudy.study.experiment import BASELINE, TREATMENT, Design, Side, Study, sides
from kdstudy.study.search import Protocol

BEDS = (  # of the study, where a chapter is asked for no other
    ("digits", "few_labels"), ("digits", "transfer_set"), ("synthetic", "soft_truth"), ("clinc150", "few_labels"),
    ("fashion_mnist", "few_labels"), ("digits", "privileged"), ("digits", "same_labels"), ("synthetic", "same_labels"),
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
MAPPED = ("digits", "clinc150")
UNTUNED = {BASELINE: {"lr": 0.1, "weight_decay": 0.0}}  # recipes where nothing is searched
UNTUNED[TREATMENT] = UNTUNED[BASELINE] | {"alpha": 0.9, "tau": 4.0}

Named = Several[str | Data] | None
DataSets = Annotated[Named, "one data set, or several separated by commas; None: the chapter's own beds"]
Units = Annotated[int | None, "hidden units of the student, in [1, 65536]; None: the data set's own"]
Regimes = Annotated[Several[str] | None, "what the teacher saw that its students did not: few_labels, same_labels, ..."]
Similarity = Annotated[Several[float], "cosine of classes of a super-class of synthetic data, for D4, in [0, 1)"]
Taught = Annotated[Several[str], "what the students are taught; `kdstudy conditions` lists all"]

READ = {part: {"right": None, "per_class": None} for part in ("practical", "at_kd", "at_hard")}  # by claims

PERCEPTRONS = ("net", "teacher")  # what plans are `without` that change networks' hidden units or teachers
PLANS: Registry[Callable[..., list[Design]]] = Registry("plan", in_workers=False)


def plan(function: Callable[..., list[Design]] | None = None, **facts: object) -> Callable[..., list[Design]]:
    """The plan of the chapter of the same name: a decorator; arrays=...: those it shows (`shown`).

    What it is called with is checked against its signature, as the command line checks it; None is its default.
    """
    if function is None:
        return partial(plan, **facts)

    @wraps(function)
    def checked(**given: object) -> list[Design]:
        asked_for = {name: value for name, value in given.items() if value is not None}
        return function(**described.check(f"chapter {function.__name__}", asked_for, parameters(checked)))

    return PLANS.register(checked, **facts)


def parameters(plan: Callable[..., list[Design]]) -> dict[str, Parameter]:
    """What a plan takes, `**where` being what `asked` takes, but what the plan is registered `without`."""
    shared = described.of(asked) if "where" in signature(plan).parameters else {}
    absent = {"among", *getattr(plan, "without", ())}
    return {name: p for name, p in (shared | described.of(plan)).items() if name not in absent}


def several(value: Several[T]) -> list[T]:
    """A value or several as a list, each once; text may name several, separated by commas."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return list(dict.fromkeys(value)) if isinstance(value, Iterable) and not isinstance(value, Data) else [value]


def asked(
    dataset: DataSets = None,
    regime: Regimes = None,
    labels: Annotated[int | None, "labelled examples of each class, in [1, inf); None: the data set's own"] = None,
    columns: Annotated[
        int | None, "features that privileged students see, in [1, inf); None: the data set's own"
    ] = None,
    hidden: Units = None,
    epochs: Annotated[int | None, "of every network, in [1, 100000]; None: the data set's own"] = None,
    among: Sequence[tuple[str, str]] = BEDS,
    net: Annotated[
        str | Callable | None,
        'the student\'s network, your own as "mypackage:net" or "file.py:net"; None: a perceptron',
    ] = None,
    teacher: Annotated[
        str | Callable | None, 'the teacher\'s likewise, or a file of its logits as "logits.npz"; None: a perceptron'
    ] = None,
) -> list[Bed]:
    """The beds of these data sets in these regimes; those `among` the study's own where one or both are not named: of
    data sets without a regime the first bed, of a user's own few labels; a regime that none of them has, of the first.
    """
    if dataset is not None:
        first, names = dict(reversed(among)), map(registry.named, several(dataset))
        wanted = [(d, r) for d in names for r in several(regime or first.get(d.name, "few_labels"))]
    else:
        names = dict.fromkeys(r for _, r in among) if regime is None else several(regime)
        wanted = [(d, r) for d, r in among if r in names]
        wanted += [(among[0][0], r) for r in names if r not in dict(map(reversed, among))]
    found = dict.fromkeys(beds.bed(d, r, labels, columns, hidden, net, teacher, epochs) for d, r in wanted)
    names = [bed.name for bed in found]
    require(len(names) == len({*names}), "dataset", [bed.data.name for bed in found], "data sets of different names")
    return list(found)


def _compared(bed: Bed, conditions: Several[str]) -> Design:
    """Conditions as sides, with hard labels and KD, by which a bed is admitted; and its controls on a transfer set."""
    names = [BASELINE, *several(conditions), TREATMENT]
    return Design(bed, sides(bed, dict.fromkeys(names + list(PSEUDO) * (bed.regime == "transfer_set"))))


@plan(arrays={"practical": {"reliability": None}})
def universe(conditions: Taught = UNIVERSE, **where: object) -> list[Design]:
    """What smoothing alone gives."""
    return [_compared(bed, conditions) for bed in asked(**where)]


@plan(arrays={"at_kd": {"similarity": GEOMETRY}, "at_hard": {"similarity": GEOMETRY}, "teachers": {"similarity": None}})
def domain(conditions: Taught = DOMAIN, similarity: Similarity = SIMILARITIES, **where: object) -> list[Design]:
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
def instance(conditions: Taught = INSTANCE, **where: object) -> list[Design]:
    """What knowledge of examples adds."""
    return [_compared(bed, conditions) for bed in asked(**where)]


@plan
def decomposition(conditions: Taught = DECOMPOSITION, **where: object) -> list[Design]:
    """The grid of mass x shape, and other ways to take KD apart."""
    return [_compared(bed, conditions) for bed in asked(**where)]


@plan
def regimes(
    dataset: DataSets = None,
    labels: Annotated[Several[int], "labelled examples of each class, a row of the map each, in [1, inf)"] = LABELS,
    hidden: Units = None,
) -> list[Design]:
    """Hard labels and KD by labels of each class and by what the teacher saw: the same, all of them, and its students
    all examples besides. Sides are "regime labels:condition", as "all_labels 10:kd": students see 10 labels of each
    class, the teacher all; 0 labels: all.
    """
    return [_mapped(name, several(labels), hidden) for name in several(MAPPED if dataset is None else dataset)]


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


def study(chapter: str, /, **given: object) -> Study:
    """The study of a chapter: its plan, each design performed by the protocol. What is None is left to the plan.

        study("universe", dataset="digits", regime="few_labels", labels=10, settings=4, tuning=2, seeds=3)

    Takes what `kdstudy parameters CHAPTER` lists, as objects or as text. ValueError, before anything is trained, for a
    name or value that is none of the chapter's.
    """
    values = {name: value for name, value in given.items() if value is not None}
    values = described.check(f"chapter {chapter}", values, known(chapter))
    steps, executor = protocol(**{name: values.pop(name) for name in described.of(protocol) if name in values})
    return experiment.study(PLANS[chapter](**values), steps, executor)


def protocol(
    settings: Annotated[int, "that every side tries, in [1, 4096]"] = 24,
    tuning: Annotated[int, "seeds on which settings are chosen, in [1, 6]"] = 3,
    seeds: Annotated[int, "fresh seeds on which they are measured, in [1, 1000]"] = 20,
    admission: Annotated[int, "seeds that decide which beds vote, in [1, 1000]"] = 10,
    executor: Annotated[str, "where missing runs are trained: local, ray, ray:ADDRESS"] = "local",
) -> tuple[Protocol, str]:
    """What every chapter takes besides its plan's own."""
    return Protocol(settings, tuning, seeds, admission), executor


def known(chapter: str) -> dict[str, Parameter]:
    """A chapter's parameters: its plan's, and those of the protocol; of the scoreboard, which
    shows all chapters, those that all have.
    """
    if chapter != "scoreboard":
        return parameters(PLANS[chapter]) | described.of(protocol)
    every = [known(name) for name in PLANS]
    return {name: p for name, p in every[0].items() if all(other.get(name) == p for other in every)}


def shown(chapter: str) -> dict[str, dict[str, int | Sequence[str] | None]]:
    """The arrays that a chapter reads by part, with the number of seeds, or the sides, it reads them of; None: all.

    Those that claims read, and those of the plan's registration: `@plan(arrays={"practical": {"similarity": 3}})`.
    """
    own = getattr(PLANS[chapter], "arrays", {})
    return {part: {**READ.get(part, {}), **own.get(part, {})} for part in READ.keys() | own.keys()}


def planned(chapter: str) -> list[str]:
    """The plans whose runs a page shows: its own; of the scoreboard all; of a page without a plan none."""
    return [name for name in PLANS if chapter in ("scoreboard", name)]


def every(chapter: str, /, **given: object) -> list[Run]:
    """All runs that a page shows, each once. Later runs follow from earlier answers: the study is performed."""
    asked_for = {name: {k: v for k, v in given.items() if k in known(name)} for name in planned(chapter)}
    return list(dict.fromkeys(run for name in asked_for for run in study(name, **asked_for[name]).runs))
