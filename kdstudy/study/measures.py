"""What measures are called, and in which unit they are shown: one table for pages, figures, verdicts and claims."""

from dataclasses import dataclass

POINTS = "points"  # the unit of a difference of two percentages


@dataclass(frozen=True)
class Measure:
    """A measure's name in tables, its label in words, what an axis calls it, and its unit: "%", "nats" or none.

    A measure in % is a fraction in tables, and percent in figures.
    """

    name: str
    label: str
    axis: str = ""
    unit: str = ""

    @property
    def percent(self) -> bool:
        """Whether figures show it as percent."""
        return self.unit == "%"

    @property
    def scale(self) -> float:
        """What its values are multiplied with to be in its unit."""
        return 100.0 if self.percent else 1.0

    @property
    def axis_label(self) -> str:
        """What an axis of its values is called, with the unit."""
        return (self.axis or self.label) + (f" ({self.unit})" if self.unit else "")


def _worded(name: str) -> str:
    """A column as words: "test_nll" as "test NLL"."""
    return " ".join(w.upper() if w in ("nll", "ece") else w for w in name.split("_"))


_LIKENESS = "rank correlation with the teacher's"
_TABLE = {  # label, axis, unit; a label of "" is the name in words, an axis of "" the label
    "test_accuracy": ("", "", "%"),
    "train_accuracy": ("", "", "%"),
    "validation_accuracy": ("", "", "%"),
    "test_nll": ("", "", "nats"),
    "test_ece": ("", "", "%"),
    "test_confidence": ("", "mean test confidence", "%"),
    "test_agreement": ("", "agreement with the teacher", "%"),
    "target_mass": ("", "mass off the label", "%"),
    "target_entropy": ("", "entropy of the targets", "nats"),
    "teacher_kl": ("", "KL of student from teacher", "nats"),
    # of the arrays that runs left; those called likeness or order are rank correlations
    "geometry_teacher": ("likeness to the teacher's class geometry", _LIKENESS, ""),
    "means_teacher": ("likeness to the teacher's class means", _LIKENESS, ""),
    "geometry_superclass": ("likeness to the super-classes", "rank correlation with the super-classes", ""),
    "weight_difficulty": ("w against difficulty", "rank correlation of w with difficulty", ""),
    "mass_learnt": ("mass learnt against taught", "rank correlation of mass taught and learnt", ""),
    "domain_share": ("", "domain share of the targets", "%"),
    "instance_share": ("", "instance share of the targets", "%"),
    "tail_accuracy": ("accuracy on the rarest third", "test accuracy, rarest third of classes", "%"),
    # of a teacher's logits
    "between_train": ("variance between classes (training set)", "variance between classes, training set", "%"),
    "between_test": ("", "variance between classes, test set", "%"),
    "sure_train": ("", "confidence in the label, training set", "%"),
    "sure_test": ("", "confidence in the label, test set", "%"),
}
MEASURES = {name: Measure(name, label or _worded(name), *rest) for name, (label, *rest) in _TABLE.items()}


def measure(name: str) -> Measure:
    """The measure of that name: as the table has it, any other by its name in words, without a unit."""
    return MEASURES.get(name) or Measure(name, _worded(name))
