"""The designs of the chapters on failures of data and of code: few classes, noise, silent bugs.

Sides are "what was changed:condition", as "noisy:kd". Their beds differ from the one they are compared with in the data
that teacher and students see, in how many labels they share, or in what composes the teacher.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from kdstudy.core.parameters import Several
from kdstudy.core.spec import Data, pairs, require
from kdstudy.distill import faults
from kdstudy.engine.outline import outline
from kdstudy.study import beds
from kdstudy.study.beds import Bed
from kdstudy.study.experiment import BASELINE, TREATMENT, Design, Side, Sides, sides
from kdstudy.study.plans.levels import BEDS, CHEAP, PERCEPTRONS, asked, plan, several

MATCHED, BY_CLASS = "label_smoothing_matched", "class_matched"
CLASSES = {"clinc150": (2, 5, 30)}  # left when neighbours are merged, where it is not (2, 5)
NOISE, OTHERS, RATIO = 0.4, (0.2, 0.6), 10.0
PAIR = (BASELINE, TREATMENT)
Left = Annotated[Several[int] | None, "how many classes are left, in [2, inf); None: 2 and 5, for clinc150 30 too"]
Planted = Annotated[Several[str], "the planted faults; those given are all of the catalogue that can be trained"]


def _altered(bed: Bed, **options: object) -> Bed:
    """The bed of data with these options besides their own."""
    return replace(bed, data=Data(bed.data.name, pairs(dict(bed.data.options) | options)))


def _shared(bed: Bed, **options: object) -> Bed:
    """The bed of such data on which students have all labels that their teacher has."""
    return beds.bed(_altered(bed, **options).data, "same_labels", hidden=next(iter(bed.student.hidden), None))


def _named(groups: Mapping[str, tuple[Bed, Sequence[str]]]) -> Sides:
    """Sides by "group:condition"."""
    return {f"{group}:{name}": Side(bed, name) for group, (bed, names) in groups.items() for name in names}


@plan(without=PERCEPTRONS)
def few_classes(classes: Left = None, **where: object) -> list[Design]:
    """Neighbouring classes merged until `classes` are left, as many examples labelled as before; and "C classes finer",
    of a teacher of all classes whose probabilities are added.
    """
    found = []
    for bed in asked(**{"among": CHEAP} | where):
        wanted = CLASSES.get(bed.data.name, (2, 5)) if classes is None else several(classes)
        most = len(outline(bed.data).classes)
        require(classes is None or min(wanted) < most, "classes", classes, f"fewer than the {most} of {bed.data.label}")
        groups = {}
        for left in (c for c in wanted if c < most):
            merged = _merged(bed, left, most)
            names = (BASELINE, MATCHED, *[BY_CLASS] * (left > 2), TREATMENT)  # of two classes the shape is uniform
            finer = replace(merged, composed="finer"), (TREATMENT,)
            groups |= {f"{left} classes": (merged, names), f"{left} classes finer": finer}
        found.append(Design(bed, sides(bed, (BASELINE, MATCHED, BY_CLASS, TREATMENT)) | _named(groups)))
    return found


def _merged(bed: Bed, left: int, most: int) -> Bed:
    """The bed with `left` classes of `most`, and as many labelled examples in all."""
    labels = bed.amount if bed.regime == "privileged" else round(bed.amount * most / left)
    return replace(_altered(bed, merge=left), amount=labels)


@plan(without=PERCEPTRONS, arrays={"instead": {"per_class": None}})  # of which the accuracy on rare classes is made
def noise(
    noise: Annotated[float, "the fraction of training labels drawn anew of which most is asked, in [0, 1]"] = NOISE,
    others: Annotated[Several[float], "other fractions, for hard labels and KD, in [0, 1]"] = OTHERS,
    ratio: Annotated[float, "examples of the commonest class for each of the rarest, in [1, inf)"] = RATIO,
    **where: object,
) -> list[Design]:
    """Labels of teacher and students drawn anew with probability `noise`, and `others`; of students with few labels,
    and of such as share all of their teacher's. Settings chosen on clean validation labels, and on noisy ones. Two
    other teachers: cross-fitted, and the exact law. Classes of unequal size, `ratio` : 1.
    """
    found = []
    for bed in asked(**{"among": CHEAP[:1]} | where):
        groups = _noisy(bed, noise) | {f"noise {n:g}": (_altered(bed, noise=n), PAIR) for n in several(others)}
        if bed.regime != "same_labels":
            groups |= {f"same labels {k}".strip(): g for k, g in _of_shared(_shared(bed), noise).items()}
        groups["imbalanced"] = _shared(bed, imbalance=ratio), (BASELINE, MATCHED, TREATMENT)
        found.append(Design(bed, sides(bed, PAIR) | _named(groups)))
    return found


def _noisy(bed: Bed, noise: float) -> dict[str, tuple[Bed, Sequence[str]]]:
    """What is asked of a bed with noise."""
    noisy = _altered(bed, noise=noise)
    exact = {"exact": (replace(noisy, composed="exact"), (TREATMENT,))} if bed.data.name == "synthetic" else {}
    return {
        "noisy": (noisy, (BASELINE, MATCHED, TREATMENT)),
        "noisy validation": (_altered(noisy, noisy_validation=noise), PAIR),
        "crossfitted": (replace(noisy, composed="crossfitted"), (TREATMENT,)),
    } | exact


def _of_shared(bed: Bed, noise: float) -> dict[str, tuple[Bed, Sequence[str]]]:
    """What is asked of a bed whose students share all labels, without noise and with it."""
    noisy = _altered(bed, noise=noise)
    crossfitted = replace(noisy, composed="crossfitted"), (TREATMENT,)
    return {"": (bed, PAIR), "noisy": (noisy, PAIR), "crossfitted": crossfitted}


@plan
def silent_bugs(conditions: Planted = faults.FAULTS, **where: object) -> list[Design]:
    """KD as it is meant and with each planted fault."""
    names = dict.fromkeys([BASELINE, TREATMENT, *several(conditions)])
    return [Design(bed, sides(bed, names)) for bed in asked(**{"among": CHEAP + BEDS[3:4]} | where)]
