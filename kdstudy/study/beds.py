"""Beds: who is taught, by whom, on what. A regime is what the teacher saw that its students did not.

    same_labels   nothing: teacher and student share one training set, whole or `labels` examples of each class
    few_labels    all labels; its students see `labels` examples of each class, and nothing else
    transfer_set  all labels; its students see the same few, and all other examples without labels
    soft_truth    as few_labels, on synthetic data whose labels are drawn from a law P(y | x) that is not certain
    privileged    all features; its students see the first `columns` of them

A bed's seed draws the students' labels, the teacher, the students' first weights and the order of their batches.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from kdstudy.core.registry import Registry
from kdstudy.core.spec import Condition, Data, Pairs, Recipe, Run, pairs, require
from kdstudy.data import registry
from kdstudy.distill import conditions
from kdstudy.engine import given, teachers
from kdstudy.engine.outline import outline
from kdstudy.train import own as networks
from kdstudy.train.networks import maker

TEACHER_SEED = 10_000  # teacher of seed s has seed 10 000 + s: no initial weights or order in common
BATCH = 128
STEPS = {"teacher": 3000, "student": 800}  # at least, for teachers of few labels as for students; and at least EPOCHS
EPOCHS = 15
TEACHER, STUDENT = (256,), (64,)  # hidden units where a data set has no networks of its own in `NETWORKS`
NETWORKS: dict[str, tuple[tuple[int, ...] | str, tuple[int, ...] | str]] = {  # teacher and student
    "clinc150": ((512,), (64,)), "fashion_images": ("cnn32", "cnn16"), "tiny_imagenet": ("resnet20", "resnet8"),
    "cifar10": ("resnet20", "resnet8"), "cifar100": ("resnet20", "resnet8"),
}  # fmt: skip
PHOTOGRAPHS = {"augment": True, "dtype": "bfloat16"}  # how networks for images of three channels are trained
PHOTOGRAPHS_STEPS = {"teacher": 2800, "student": 1560}  # and how long: as a CPU can
SCHOOLED = {"lr": 0.1, "weight_decay": 5e-4}  # of teachers for images, which are not searched. Tian et al. 2020
SHARED = "shared"  # they are two, and serve students of all seeds (`engine.teachers`)
LABELS = {  # of each class, where it is not 10
    "fashion_mnist": 100, "fashion_images": 100, "synthetic": 100, "cifar10": 100, "cifar100": 50, "tiny_imagenet": 50,
}  # fmt: skip
COLUMNS = {"clinc150": 32}  # of privileged students, where it is not half of them
LAW = {"softness": 1.0, "train": 20_000}  # of the synthetic task in soft_truth
Net = str | Callable[[int, int], object]  # a network's name or import path, or the function that makes it


@dataclass(frozen=True)
class Bed:
    """A teacher's data, a regime with its `amount` (labels of each class, or columns; 0: all), and both networks.

    The teacher is taught `lesson`; an assistant's teacher is of the recipe `above`. `composed` names a teacher put
    together from several (`engine.teachers`).
    """

    data: Data
    regime: str
    amount: int
    teacher: Recipe
    student: Recipe
    lesson: Condition = field(default_factory=lambda: conditions.make("hard"))
    composed: str = ""
    unlabelled_epochs: int = 0  # of students who see unlabelled examples, in place of the recipe's
    above: Recipe | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        own = f", teacher {PurePath(self.composed).name}" if self.given else ""
        return f"{self.data.label}, {self.regime.replace('_', ' ')}{f' ({self.amount})' if self.amount else ''}{own}"

    @property
    def given(self) -> bool:
        """Whether the teacher is a user's own, of which there are logits."""
        return self.composed.startswith(given.START)

    def seen(self, condition: str, seed: int) -> Data:
        """What a student of that condition and seed sees: without a teacher no unlabelled examples."""
        more = REGIMES[self.regime](self.amount, seed, conditions.listens(condition))
        return Data(self.data.name, pairs(dict(self.data.options) | dict(more)))

    def informant(self, condition: str, seed: int) -> Run | None:
        """The teacher of a student, who answers for what the student sees; none if the condition needs none."""
        if not conditions.listens(condition):
            return None
        same, mine = self.regime == "same_labels", self.given and condition != "random_teacher"
        composed = self.composed if mine or not self.given else ""
        whole = mine or not (same and self.amount and (composed or self.above))
        require(whole, f"same_labels, {composed or 'assistant'}", self.amount, "a teacher of all labels (0)")
        seen, at = self.seen(condition, seed), TEACHER_SEED + seed
        recipe = replace(self.teacher, epochs=0) if condition == "random_teacher" else self.teacher
        above = self.above and Run(teachers.unrestricted(seen), self.above, conditions.make("hard"), at)
        teacher, composed = Run(seen, recipe, self.lesson, at, above), composed or ("" if same else "informed")
        return teachers.of(teacher, composed) if composed else teacher

    def run(self, condition: Condition, seed: int, **recipe: float) -> Run:
        """A student, with these values of its recipe in place of the bed's own."""
        seen, name = self.seen(condition.name, seed), condition.name
        more = "transfer" in dict(seen.options)
        long = self.unlabelled_epochs if more and self.unlabelled_epochs else self.student.epochs
        return Run(seen, replace(self.student, epochs=long, **recipe), condition, seed, self.informant(name, seed))

    def able(self, condition: str) -> bool:
        """Whether a condition has what it needs here: super-classes."""
        return not getattr(conditions.named(condition), "needs_superclasses", False) or registry.grouped(self.data)

    def school(self) -> "Bed":
        """The bed on which the teacher is a student, an assistant of its own teacher; of a composed one, what it is
        composed of.
        """
        own = {} if self.regime == "same_labels" else {"regime": "same_labels", "amount": 0}
        tuned_on = getattr(teachers.COMPOSED.get(self.composed), "tuned_on", None)
        own |= {"data": tuned_on(self.data)} if tuned_on else {}
        own |= {"lesson": conditions.make("hard"), "composed": "", "above": None}
        return replace(self, student=self.teacher, teacher=self.above or self.teacher, **own)

    def with_teacher(self, lr: float, weight_decay: float, lesson: Condition | None = None) -> "Bed":
        """The bed with a teacher of that learning rate and weight decay, taught its own lesson or another."""
        return replace(
            self, teacher=replace(self.teacher, lr=lr, weight_decay=weight_decay), lesson=lesson or self.lesson
        )

    def longer(self, times: int) -> "Bed":
        """The bed with students trained `times` as long."""
        return replace(self, student=replace(self.student, epochs=times * self.student.epochs))


Restrict = Callable[[int, int, bool], Pairs]  # (amount, seed, has a teacher) -> options of what a student sees
REGIMES: Registry[Restrict] = Registry("regime", in_workers=False)
regime = REGIMES.register


@regime
def same_labels(amount: int, seed: int, taught: bool) -> Pairs:
    """Teacher and student share one training set: all of it, or the same `amount` labelled examples of each class."""
    return few_labels(amount, seed, taught) if amount else ()


@regime
def few_labels(amount: int, seed: int, taught: bool) -> Pairs:
    """`amount` labelled examples of each class."""
    return (("labels", (amount, seed)),)


@regime
def soft_truth(amount: int, seed: int, taught: bool) -> Pairs:
    """As `few_labels`, of a law that is not certain."""
    return few_labels(amount, seed, taught)


@regime
def transfer_set(amount: int, seed: int, taught: bool) -> Pairs:
    """`amount` labelled examples of each class and, where there is a teacher to label them, all others."""
    return (("transfer" if taught else "labels", (amount, seed)),)


@regime
def privileged(amount: int, seed: int, taught: bool) -> Pairs:
    """The first `amount` features."""
    return (("columns", amount),)


def enough(data: Data, role: str) -> int:
    """Epochs of at least `STEPS` steps, at least `EPOCHS`; of photographs `PHOTOGRAPHS_STEPS`."""
    n = len(outline(data).train.y)
    each, photographs = max(1, n // min(BATCH, n)), _photographs(data)
    steps, least = (PHOTOGRAPHS_STEPS, 1) if photographs else (STEPS, EPOCHS)
    return max(least, -(-steps[role] // each))


def _photographs(data: Data) -> bool:
    """Whether a data set is of images of three channels."""
    shape = outline(data).train.x.shape[1:]
    return len(shape) == 3 and shape[0] == 3


def _recipe(net: tuple[int, ...] | Net, data: Data) -> Recipe:
    """The recipe of a perceptron by its hidden units, or of a network by name, by import path or as a function."""
    if isinstance(net, tuple):
        return Recipe(net, 1, BATCH)
    if networks.is_own(net):
        return Recipe((), 1, BATCH, net=networks.named(net, registry.load(data)))
    try:
        maker(net)
    except ValueError as error:
        raise ValueError(f"{error}, or {networks.ALLOWED}; of a teacher the path of an .npz file of logits") from error
    return Recipe((), 1, BATCH, net=net, **(PHOTOGRAPHS if _photographs(data) else {}))


def _amount(data: Data, regime: str, labels: int | None, columns: int | None) -> int:
    """Labels of each class, or columns, that the students of a regime see: those asked for, or the data set's own."""
    if regime == "privileged":
        shape = outline(data).train.x.shape[1:]
        require(len(shape) == 1, "regime", regime, "few_labels, same_labels or transfer_set for images")
        return columns or COLUMNS.get(data.name) or max(1, shape[0] // 2)
    if labels is not None:
        most = int(outline(data).train.y.bincount().max())
        require(labels <= most, "labels", labels, f"at most {most} of each class, which {data.label} has")
    return labels or (0 if regime == "same_labels" else LABELS.get(data.name, 10))


def _networks(data: Data, hidden: int | None, net: Net | None, teacher: Net | None) -> tuple[Recipe, Recipe, str]:
    """Recipes of teacher and student, and what composes the teacher if there is a file of its logits."""
    above, student = NETWORKS.get(data.name, (TEACHER, STUDENT))
    require(hidden is None or net is None, "hidden", hidden, "none, where net is given")
    allowed = f"none: {data.label} has networks for images, see `net`"
    require(hidden is None or isinstance(student, tuple), "hidden", hidden, allowed)
    file = isinstance(teacher, str) and teacher.lower().endswith(".npz")
    taught = _recipe(net or (student if hidden is None else (hidden,)), data)
    composed = given.named(teacher, registry.load(data)) if file else ""
    return _recipe(above if file or teacher is None else teacher, data), taught, composed


def bed(
    dataset: str | Data,
    regime: str = "few_labels",
    labels: int | None = None,
    columns: int | None = None,
    hidden: int | None = None,
    net: Net | None = None,
    teacher: Net | None = None,
    epochs: int | None = None,
) -> Bed:
    """The bed of a data set in a regime; students of `hidden` units, or of a network of one's own, where given.

    All networks are trained for `epochs`, by default for so many steps (`enough`). `teacher` is a network too, or an
    .npz file of logits. ValueError for an unknown regime, or one that the data set cannot have, and for a network or
    logits that do not fit it.
    """
    REGIMES[regime]
    data = registry.named(dataset)
    if regime == "soft_truth":
        require(data.name == "synthetic", "soft_truth", data.name, "synthetic, whose P(y | x) is known")
        data = Data("synthetic", pairs(LAW | dict(data.options)))
    above, taught, composed = _networks(data, hidden, net, teacher)
    amount = _amount(data, regime, labels, columns)
    few = regime == "same_labels" and amount
    if not (composed or few or above.net == "mlp" or networks.is_own(above.net)):
        composed, above = SHARED, replace(above, **SCHOOLED)
    rough = Bed(data, regime, amount, above, taught, composed=composed)
    own = rough.seen("hard", 0)
    schooled = (own, "student") if few else (data, "teacher")
    return replace(
        rough,
        teacher=replace(rough.teacher, epochs=epochs or enough(*schooled)),
        student=replace(rough.student, epochs=epochs or enough(own, "student")),
        unlabelled_epochs=epochs or enough(rough.seen("kd", 0), "student") if regime == "transfer_set" else 0,
    )
