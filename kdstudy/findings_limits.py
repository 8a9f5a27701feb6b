"""Which signals, against which limits, make a calibrated finding: predicates of numbers alone.

Rules ask them of a teacher's signals, `calibration` of the table of teachers of known kind. A signal that is not
defined is None; no predicate holds because of one.
"""

from collections.abc import Callable, Mapping

Values = Mapping[str, object]  # of signals: numbers, or None
Limits = Mapping[str, float]
SIGNIFICANT = 0.01
LOST = 0.1  # of the rows left out, beyond which the rest say nothing about how sure or even the teacher is
LARGE = 1e4  # logits, where others overflow: their scale is not one that a softmax is taken of
NEAR = 0.2  # kappa that few examples may show by chance
NORMAL = 4.0  # standard errors above chance, below which nothing is claimed to be known


def beyond(value: float | int | None, limit: float) -> bool:
    """Whether a signal is defined and above its limit."""
    return value is not None and value > limit


def under(value: float | int | None, limit: float) -> bool:
    """Whether a signal is defined and below its limit."""
    return value is not None and value < limit


def lost(v: Values) -> bool:
    """Whether rows are left out so that the rest need not be like them: many, or some of logits that overflow."""
    return beyond(v["left_out"], LOST) or (beyond(v["left_out"], 0) and beyond(v["highest"], LARGE))


def at_chance(v: Values, limit: Limits) -> bool:
    """No better than class counts alone give: hardly above that, or by less than a fifth and 4 standard errors."""
    hardly = under(v["kappa"], limit["chance_kappa"])
    return hardly or (under(v["kappa"], NEAR) and under(v["z"], NORMAL))


def trained(v: Values, limit: Limits) -> bool:
    """Whether logits, their labels aside, look like those of a network that was trained on classes like these.

    They are sure, the classes that they name are as frequent as the labels, and by named class they lie further
    apart than independent noise does.
    """
    alike = under(v["histogram"], limit["trained_histogram"]) and beyond(v["sure"], limit["trained_sure"])
    return alike and beyond(v.get("apart"), limit["trained_apart"])


def repair(v: Values, limit: Limits) -> str | None:
    """What restores the pairing: "shift", "reversal" or "renaming"; None if nothing does.

    It must reach the accuracy of a fair teacher, gain 0.2, and be beyond what the best of all shifts, or the best
    renaming of shuffled labels, reaches by chance.
    """
    if v.get("shifted_accuracy") is None:
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


def weak_teacher(v: Values, limit: Limits) -> bool:
    """At chance, or poor."""
    return at_chance(v, limit) or (under(v["kappa"], limit["weak_kappa"]) and not lost(v))


def smoothed_teacher(v: Values, limit: Limits) -> bool:
    """A mass that is nearly the same for all examples, not 0, and spread evenly over the other classes."""
    even = v["classes"] == 2 or under(v["spread"], limit["smoothed_spread"])
    alike = beyond(v["pinned"], limit["smoothed_pinned"]) and beyond(v["mass_right"], limit["saturated_mass"])
    return even and alike and not lost(v)


def saturated_teacher(v: Values, limit: Limits) -> bool:
    """Hardly any mass leaves the label where the teacher is right."""
    return under(v["mass_right"], limit["saturated_mass"]) and not lost(v)


def train_memorised(v: Values, limit: Limits) -> bool:
    """Far more mass leaves the label on held-out examples than on those that it was trained on."""
    return beyond(v.get("mass_gap"), limit["memorised_gap"])


def no_class_structure(v: Values, limit: Limits) -> bool:
    """Class explains no more of the other classes' logits than a permutation does; asked of enough classes and rows."""
    enough = v["classes"] >= limit["structure_classes"] and v["examples"] >= limit["structure_rows"] * v["classes"]
    return enough and beyond(v.get("structure_p"), SIGNIFICANT) and not lost(v)


PREDICATES: dict[str, Callable[[Values, Limits], bool]] = {
    fn.__name__: fn
    for fn in (misaligned, weak_teacher, smoothed_teacher, saturated_teacher, train_memorised, no_class_structure)
}
