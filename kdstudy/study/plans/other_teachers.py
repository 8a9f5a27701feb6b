"""The designs of the chapters on teachers that are said to fail, and on the temperature at which they teach.

A side is called "what was changed:condition": "smoothed:kd" is KD from a teacher that was taught with label smoothing.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import Annotated

from kdstudy.core.parameters import Several
from kdstudy.core.spec import pairs, require
from kdstudy.distill import conditions
from kdstudy.study.beds import Bed
from kdstudy.study.experiment import BASELINE, TREATMENT, Design, Side, Sides, sides
from kdstudy.study.plans.levels import BEDS, CHEAP, PERCEPTRONS, asked, plan, several

LEVELS = ("label_smoothing_matched", "class_matched", "kd_pt", "kd")  # what a smoothed teacher's students are taught
EPSILON, DOSES = 0.1, (0.05, 0.2, 0.4)  # a teacher's smoothing: of the claims, and others
ENDS = (1.0, 8.0)  # temperatures at which the two teachers are compared
LARGEST = (2.0, 2.0)  # times the teacher's own hidden units and epochs
TAUS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
ALPHAS = (0.1, 0.5, 0.9, 1.0)
WIDTHS = (8, 256)

ARRAYS = {"teachers": {"right": None, "per_class": None, "anatomy": None}}  # read by claims and tables


def named(what: str, bed: Bed, taught: Iterable[str] = (TREATMENT,), **fixed: float) -> dict[str, Side]:
    """Conditions on a bed as sides "what:condition", parameters that are `fixed` not searched."""
    return {f"{what}:{name}": Side(bed, name, pairs(fixed)) for name in taught}


def smoothed(bed: Bed, epsilon: float) -> Bed:
    """The bed of a teacher that was taught with label smoothing."""
    return replace(bed, lesson=conditions.make("label_smoothing", epsilon=epsilon))


def scaled(bed: Bed, size: float = 1.0, length: float = 1.0) -> Bed:
    """The bed of a teacher of `size` times the hidden units, trained for `length` times the epochs."""
    own = bed.teacher
    require(
        bool(own.hidden), "teacher", own.net, "perceptrons, whose width is a number: data without networks for images"
    )
    hidden = tuple(max(1, round(h * size)) for h in own.hidden)
    return replace(bed, teacher=replace(own, hidden=hidden, epochs=max(1, round(own.epochs * length))))


def assistant(bed: Bed) -> Bed:
    """The bed of a teacher assistant: a KD student of the teacher, of geometric mean width. Mirzadeh et al. 2020."""
    middle = tuple(round((t * s) ** 0.5) for t, s in zip(bed.teacher.hidden, bed.student.hidden))
    return replace(
        bed, teacher=replace(bed.teacher, hidden=middle), lesson=conditions.make(TREATMENT), above=bed.teacher
    )


@plan(without=PERCEPTRONS, arrays=ARRAYS)
def smoothed_teacher(
    epsilon: Annotated[float, "label smoothing of the teacher that the claims speak of, in [0, 1]"] = EPSILON,
    doses: Annotated[Several[float], "other amounts of smoothing, in [0, 1]"] = DOSES,
    tau: Annotated[Several[float], "temperatures at which the two teachers are compared, in (0, 1000]"] = ENDS,
    **where: object,
) -> list[Design]:
    """Students of a teacher taught with label smoothing beside those of the plain one: "smoothed:condition",
    "ε 0.4:kd", "τ 8 smoothed:kd".
    """

    def design(bed: Bed) -> Design:
        softer = smoothed(bed, epsilon)
        found = sides(bed, (BASELINE, *LEVELS)) | named("smoothed", softer, LEVELS)
        for e in several(doses):
            found |= named(f"ε {e:g}", smoothed(bed, e))
        for t, (what, one) in product(several(tau), {"": bed, " smoothed": softer}.items()):
            found |= named(f"τ {t:g}{what}", one, tau=t)
        return Design(bed, found)

    return [design(bed) for bed in asked(**{"among": CHEAP} | where)]


@plan(without=PERCEPTRONS, arrays=ARRAYS)
def too_good_teacher(
    size: Annotated[Several[float], "widths of other teachers, times the own, in (0, 100]"] = (0.25,),
    length: Annotated[Several[float], "lengths of their training, times the own, in (0, 100]"] = (0.1, 0.3),
    **where: object,
) -> list[Design]:
    """Students of teachers by width ("size 0.25:kd"), by length of training ("length 0.1:kd"), of the largest in both;
    and three remedies: an ensemble, cross-fitted targets, an assistant.
    """

    def design(bed: Bed) -> Design:
        found = sides(bed, (BASELINE, TREATMENT))
        for s in several(size):
            found |= named(f"size {s:g}", scaled(bed, size=s))
        for n in several(length):
            found |= named(f"length {n:g}", scaled(bed, length=n))
        found |= named("largest", scaled(bed, *LARGEST)) | named("assistant", assistant(bed))
        for composed in ("ensemble", "crossfitted"):
            found |= named(composed, replace(bed, composed=composed))
        return Design(bed, found)

    return [design(bed) for bed in asked(**{"among": CHEAP[:1]} | where)]


@plan(without=PERCEPTRONS, arrays=ARRAYS)
def temperature(
    tau: Annotated[Several[float], "temperatures, in (0, 1000]"] = TAUS,
    alpha: Annotated[Several[float], "weights of the distillation term, in [0, 1]"] = ALPHAS,
    width: Annotated[Several[int], "hidden units of other students, in [1, 65536]"] = WIDTHS,
    **where: object,
) -> list[Design]:
    """KD at fixed temperatures ("τ 16:kd") in the bed's students and in students of other widths ("8 units τ 16:kd"),
    and at fixed weights ("α 0.1:kd"); all else is searched.
    """

    def heated(what: str, bed: Bed) -> Sides:
        return {k: v for t in several(tau) for k, v in named(f"{what}τ {t:g}", bed, tau=t).items()}

    def design(bed: Bed) -> Design:
        found = sides(bed, (BASELINE, TREATMENT)) | heated("", bed)
        for units in several(width) if bed.student.hidden else ():  # of networks for images there is one width
            one = replace(bed, student=replace(bed.student, hidden=(units,)))
            found |= named(f"{units} units", one, (BASELINE, TREATMENT)) | heated(f"{units} units ", one)
        for a in several(alpha):
            found |= named(f"α {a:g}", bed, alpha=a)
        return Design(bed, found)

    return [design(bed) for bed in asked(**{"among": CHEAP[:1] + BEDS[3:4]} | where)]
