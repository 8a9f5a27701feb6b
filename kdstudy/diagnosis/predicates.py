"""Which statistics, against which limits, make a calibrated finding: predicates of numbers alone.

Rules ask them of a teacher's statistics, study.calibration of the table of teachers of known kind. A statistic that is
not defined is None; no predicate holds because of one.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

Limits = Mapping[str, float]
SIGNIFICANT = 0.01
LOST = 0.1  # of the rows left out, beyond which the rest say nothing about how sure or even the teacher is
LARGE = 1e4  # logits, where others overflow: their scale is not one that a softmax is taken of
NEAR = 0.2  # kappa that few examples may show by chance
NORMAL = 4.0  # standard errors above chance, below which nothing is claimed to be known


@runtime_checkable
class Values(Protocol):
    """Statistics by name: a number, or None where it is not defined."""

    def __getitem__(self, name: str) -> float | None: ...


def above(value: float | int | None, limit: float) -> bool:
    """Whether a statistic is defined and above its limit."""
    return value is not None and value > limit


def below(value: float | int | None, limit: float) -> bool:
    """Whether a statistic is defined and below its limit."""
    return value is not None and value < limit


def rows_lost(v: Values) -> bool:
    """Whether rows are left out so that the rest need not be like them: many, or some of logits that overflow."""
    return above(v["left_out"], LOST) or (above(v["left_out"], 0) and above(v["highest"], LARGE))


def at_chance(v: Values, limit: Limits) -> bool:
    """No better than class counts alone give: hardly above that, or by less than a fifth and 4 standard errors."""
    hardly = below(v["kappa"], limit["chance_kappa"])
    return hardly or (below(v["kappa"], NEAR) and below(v["z"], NORMAL))


def trained(v: Values, limit: Limits) -> bool:
    """Whether logits, their labels aside, look like those of a network that was trained on classes like these.

    They are sure, the classes that they name are as frequent as the labels, and by named class they lie further
    apart than independent noise does.
    """
    alike = below(v["histogram"], limit["trained_histogram"]) and above(v["sure"], limit["trained_sure"])
    return alike and above(v["apart"], limit["trained_apart"])


def repair(v: Values, limit: Limits) -> str | None:
    """What restores the pairing: "shift", "reversal" or "renaming"; None if nothing does.

    It must reach the accuracy of a fair teacher, gain 0.2, and be beyond what the best of all shifts, or the best
    renaming of shuffled labels, reaches by chance.
    """
    if v["shifted_accuracy"] is None:
        return None
    ways = {"shift": v["shifted_accuracy"], "reversal": v["reversed_accuracy"], "renaming": v["renamed_accuracy"]}
    if v["renamed_accuracy"] < v["renamed_null"] + limit["repair_gain"]:
        ways.pop("renaming")
    best = max(ways, key=ways.get)
    least = max(limit["repair_accuracy"], v["accuracy"] + limit["repair_gain"], v["chance_high"])
    return best if ways[best] >= least else None


def misaligned(v: Values, limit: Limits) -> bool:
    """A trained teacher at chance, or one that a repair makes right."""
    return repair(v, limit) is not None or (at_chance(v, limit) and trained(v, limit))


def weak(v: Values, limit: Limits) -> bool:
    """At chance, or poor."""
    return at_chance(v, limit) or (below(v["kappa"], limit["weak_kappa"]) and not rows_lost(v))


def smoothed(v: Values, limit: Limits) -> bool:
    """A mass that is nearly the same for all examples, not 0, and spread evenly over the other classes."""
    even = v["classes"] == 2 or below(v["spread"], limit["smoothed_spread"])
    alike = above(v["pinned"], limit["smoothed_pinned"]) and above(v["mass_right"], limit["saturated_mass"])
    return even and alike and not rows_lost(v)


def saturated(v: Values, limit: Limits) -> bool:
    """Hardly any mass leaves the label where the teacher is right."""
    return below(v["mass_right"], limit["saturated_mass"]) and not rows_lost(v)


def memorised(v: Values, limit: Limits) -> bool:
    """Far more mass leaves the label on held-out examples than on those that it was trained on."""
    return above(v["mass_gap"], limit["memorised_gap"])


def structureless(v: Values, limit: Limits) -> bool:
    """Class explains no more of the other classes' logits than a permutation does; asked of enough classes and rows."""
    enough = v["classes"] >= limit["structure_classes"] and v["examples"] >= limit["structure_rows"] * v["classes"]
    return enough and above(v["structure_p"], SIGNIFICANT) and not rows_lost(v)
