"""Every condition (KD, label smoothing, KD-pt, KD-sim, DKPP, DKD, ...): (teacher logits, labels, context) -> `Target`.

A function whose first argument is `teacher` listens to a teacher; its keyword arguments are the
condition's parameters. Conditions see all N training examples at once, so a data set mean is a mean
over rows. p = softmax(v), p^tau = softmax(v / tau); m = 1 - p^tau_t is the mass that leaves the
label. In the grid of mass x shape, with the name of each cell,

    mass \\ shape   uniform                   class             instance
    constant       label_smoothing_matched   class_matched     instance_matched
    instance       kd_pt                     kd_pt_class       kd
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from kdstudy.core.registry import Registry
from kdstudy.core.spec import Condition, pairs
from kdstudy.distill import levels
from kdstudy.distill.loss import Target, gradient, loss

__all__ = ["CONDITIONS", "Context", "Target", "condition", "gradient", "listens", "loss", "make", "named",
           "parameters", "target"]  # fmt: skip

Logits = Float[Tensor, "N C"]
Labels = Int[Tensor, " N"]


@dataclass(frozen=True)
class Context:
    """What a condition may know besides logits and labels.

    The number of classes; their super-classes and the teacher's logit-layer rows, where there are any;
    the teacher's seed, from which controls draw their permutations.
    """

    classes: int
    dtype: torch.dtype = torch.float32
    superclass: Int[Tensor, " C"] | None = None
    rows: Float[Tensor, "C H"] | None = None
    seed: int = 0


CONDITIONS: Registry[Callable[..., Target]] = Registry("condition")
condition = CONDITIONS.register


def named(name: str) -> Callable[..., Target]:
    """The condition called `name`; ValueError with the names there are if none is."""
    return CONDITIONS[name]


def parameters(name: str) -> dict[str, float]:
    """Names and defaults of a condition's parameters."""
    signature = inspect.signature(named(name)).parameters.values()
    return {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY}


def listens(name: str) -> bool:
    """Whether the condition needs a teacher."""
    return "teacher" in inspect.signature(named(name)).parameters


ABOVE_0 = (lambda v: v > 0, "a number above 0")
AT_LEAST_0 = (lambda v: 0 <= v < torch.inf, "a finite number of at least 0")
FINITE = (lambda v: abs(v) < torch.inf, "a finite number")  # of what a user's own condition is given
ALLOWED = {
    "tau": ABOVE_0,
    "power": ABOVE_0,
    "sharpness": ABOVE_0,
    "target": AT_LEAST_0,
    "nontarget": AT_LEAST_0,
    "k": (lambda v: v >= 1 and v == int(v), "a whole number of at least 1"),
    **{name: (lambda v: 0 <= v <= 1, f"0 <= {name} <= 1") for name in ("alpha", "epsilon", "dose")},
}


def allowed(name: str, parameter: str) -> tuple[Callable[[float], bool], str]:
    """Which values a condition's parameter may have, as a test and in words.

    `@condition(ranges={"margin": (0, 1)})` declares a range, its ends included; common names have theirs in `ALLOWED`.
    """
    if parameter not in (ranges := getattr(named(name), "ranges", {})):
        return ALLOWED.get(parameter, FINITE)
    low, high = ranges[parameter]
    return lambda v: low <= v <= high and abs(v) < torch.inf, f"{low:g} <= {parameter} <= {high:g}"


def make(name: str, **values: float) -> Condition:
    """A checked `Condition`: defaults filled in, every parameter known and within its range."""
    known = parameters(name)
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"condition {name!r} has no parameter {key!r}; it has: {', '.join(known) or 'none'}")
        ok, words = allowed(name, key)
        if not ok(value):
            raise ValueError(f"{key} of condition {name!r}: found {value!r}, allowed: {words}")
    return Condition(name, pairs({k: float(values.get(k, default)) for k, default in known.items()}))


def target(spec: Condition, teacher: Tensor | None, label: Tensor, ctx: Context) -> Target:
    """The `Target` of a condition on all training examples; ValueError if it lacks the teacher it listens to."""
    if listens(spec.name) and teacher is None:
        raise ValueError(f"condition {spec.name!r} listens to a teacher; none was given")
    args = (teacher.to(ctx.dtype), label, ctx) if listens(spec.name) else (label, ctx)
    return named(spec.name)(*args, **dict(spec.params))


def _labels(label: Labels, ctx: Context) -> Logits:
    return one_hot(label, ctx.classes).to(ctx.dtype)


def _hard_only(rho: Logits) -> Target:
    return Target(rho, rho.new_zeros(rho.shape), rho.new_zeros(len(rho)))


def _distil(rho: Logits, label: Labels, ctx: Context, alpha: float) -> Target:
    return Target((1 - alpha) * _labels(label, ctx), alpha * rho, rho.new_zeros(len(rho)))


def _uniform(label: Labels, ctx: Context) -> Logits:
    return levels.uniform_shape(label, ctx.classes, ctx.dtype)


def _similar(label: Labels, ctx: Context, name: str, power: float, heat: float) -> Logits:
    if ctx.rows is None:
        raise ValueError(f"condition {name!r} needs the teacher's logit-layer rows; none were given")
    return levels.similarity_shape(levels.class_similarity(ctx.rows.to(ctx.dtype)), label, power, heat)


# ---------------------------------------------------------------- without a teacher


@condition
def hard(label: Labels, ctx: Context) -> Target:
    """rho = e_t: cross-entropy with the labels alone."""
    return _hard_only(_labels(label, ctx))


@condition
def label_smoothing(label: Labels, ctx: Context, *, epsilon: float = 0.1) -> Target:
    """rho = (1 - epsilon) e_t + epsilon / C. Szegedy et al. 2016, section 7."""
    return _hard_only((1 - epsilon) * _labels(label, ctx) + epsilon / ctx.classes)


# ---------------------------------------------------------------- the grid of mass x shape


@condition
def label_smoothing_matched(
    teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9
) -> Target:
    """rho_t = 1 - mean(m), the rest uniform: constant mass, uniform shape. The universe level alone.

    KD's amount of mass and KD's loss at the same tau and alpha, without any of its knowledge of
    classes or examples. At tau = 1 it is label smoothing with epsilon = alpha mean(m) C / (C - 1).
    """
    mass = levels.mean_mass(levels.off_label_mass(teacher, label, tau))
    return _distil(levels.assemble(mass, _uniform(label, ctx), label), label, ctx, alpha)


@condition
def class_matched(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """rho_t = 1 - mean(m), the rest as E[p^tau | t]: constant mass, class shape. Universe and domain."""
    mass = levels.mean_mass(levels.off_label_mass(teacher, label, tau))
    return _distil(levels.assemble(mass, levels.class_shape(teacher, label, tau), label), label, ctx, alpha)


@condition
def instance_matched(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """rho_t = 1 - mean(m), the rest as p^tau: constant mass, instance shape."""
    mass = levels.mean_mass(levels.off_label_mass(teacher, label, tau))
    return _distil(levels.assemble(mass, levels.per_example_shape(teacher, label, tau), label), label, ctx, alpha)


@condition
def kd_pt(
    teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9, dose: float = 1.0
) -> Target:
    """rho_t = p^tau_t, the rest uniform: instance mass, uniform shape. Universe and instance. Tang et al. 2020.

    `dose` < 1 draws the masses together, mean(m) + dose (m - mean(m)); at 0 it is matched smoothing.
    """
    mass = levels.off_label_mass(teacher, label, tau)
    mass = levels.mean_mass(mass) + dose * (mass - levels.mean_mass(mass))
    return _distil(levels.assemble(mass, _uniform(label, ctx), label), label, ctx, alpha)


@condition
def kd_pt_class(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """rho_t = p^tau_t, the rest as E[p^tau | t]: instance mass, class shape."""
    mass = levels.off_label_mass(teacher, label, tau)
    return _distil(levels.assemble(mass, levels.class_shape(teacher, label, tau), label), label, ctx, alpha)


@condition
def kd(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """rho = softmax(v / tau) with weight alpha, the labels with weight 1 - alpha. Hinton et al. 2015."""
    return _distil((teacher / tau).softmax(-1), label, ctx, alpha)


# ---------------------------------------------------------------- other ways to know classes


@condition
def class_mean(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """rho = E[p^tau | t]: class shape, and each class's own mean mass."""
    return _distil(levels.class_means((teacher / tau).softmax(-1), label), label, ctx, alpha)


@condition
def kd_sim(
    teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9,
    power: float = 0.3, sharpness: float = 0.3,
) -> Target:  # fmt: skip
    """rho_t = 1 - mean(m), the rest by the cosine similarity s of the teacher's logit-layer rows.

    pi_k proportional to exp(sign(s) |s|^power / (sharpness tau)): as KD's own shape, it flattens as tau grows.
    After Tang et al. 2020, level 2, whose values of power and sharpness are not known here.
    """
    mass = levels.mean_mass(levels.off_label_mass(teacher, label, tau))
    shape = _similar(label, ctx, "kd_sim", power, sharpness * tau)
    return _distil(levels.assemble(mass, shape, label), label, ctx, alpha)


@condition
def kd_pt_sim(
    teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9,
    power: float = 0.3, sharpness: float = 0.3,
) -> Target:  # fmt: skip
    """rho_t = p^tau_t, the rest by the similarity of the teacher's rows, as in `kd_sim`. Tang et al. 2020."""
    shape = _similar(label, ctx, "kd_pt_sim", power, sharpness * tau)
    return _distil(levels.assemble(levels.off_label_mass(teacher, label, tau), shape, label), label, ctx, alpha)


@condition(needs_superclasses=True)
def kd_rel(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """rho_t = 1 - mean(m); siblings of the label's super-class share one mass, the rest another.

    Both masses are the teacher's means over the data set. After Tang et al. 2020, level 2.
    """
    if ctx.superclass is None:
        raise ValueError("condition 'kd_rel' needs super-classes; this data set has none")
    shape = levels.superclass_shape(teacher, label, tau, ctx.superclass)
    mass = levels.mean_mass(levels.off_label_mass(teacher, label, tau))
    return _distil(levels.assemble(mass, shape, label), label, ctx, alpha)


@condition
def topk(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9, k: float = 3) -> Target:
    """rho = p^tau on the teacher's k largest classes, the rest shared evenly by the others. With k = C it is KD."""
    p = (teacher / tau).softmax(-1)
    kept = p.topk(min(int(k), ctx.classes), -1).indices
    small = p.scatter(-1, kept, 0.0)
    shared = small.sum(-1, keepdim=True) / max(ctx.classes - int(k), 1)
    return _distil(shared.expand_as(p).scatter(-1, kept, p.gather(-1, kept)), label, ctx, alpha)


# ---------------------------------------------------------------- controls: each destroys what it names


@condition
def class_permuted(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """`class_matched` with the other classes of each class permuted once: mass, entropy and consistency stay."""
    mass, classes = levels.mean_mass(levels.off_label_mass(teacher, label, tau)), ctx.classes
    order = levels.random_orders(classes, classes, ctx.seed, "class_permuted")[label]
    shape = levels.permute_others(levels.class_shape(teacher, label, tau), label, order)
    return _distil(levels.assemble(mass, shape, label), label, ctx, alpha)


@condition
def example_permuted(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """KD with the other classes of each example permuted: only mass and entropy stay. DKPP, Furlanello et al. 2018."""
    order = levels.random_orders(len(label), ctx.classes, ctx.seed, "example_permuted")
    return _distil(levels.permute_others((teacher / tau).softmax(-1), label, order), label, ctx, alpha)


@condition
def cwtm(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 1.0, alpha: float = 0.9) -> Target:
    """hard = (1 - alpha + alpha w) e_t, w = p^tau_t / mean(p^tau_t): the teacher's confidence as a weight, no more.

    Confidence-weighted by teacher max, Furlanello et al. 2018, with p_t in place of max p.
    """
    confidence = 1 - levels.off_label_mass(teacher, label, tau)
    return _hard_only(_labels(label, ctx) * (1 - alpha + alpha * confidence / confidence.mean())[:, None])


@condition
def shuffled_teacher(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """KD from the same teacher, its rows shuffled over the examples: a cache read in the wrong order."""
    order = levels.random_orders(1, len(label) + 1, ctx.seed, "shuffled_teacher")[0]
    return kd(teacher[order], label, ctx, tau=tau, alpha=alpha)


@condition
def random_teacher(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """KD from a teacher of random weights: plans give this condition a teacher of no epochs."""
    return kd(teacher, label, ctx, tau=tau, alpha=alpha)


# ---------------------------------------------------------------- on a transfer set, whose labels a teacher gives


@condition
def pseudo_label(teacher: Logits, label: Labels, ctx: Context) -> Target:
    """rho = e_t, t the label or, of an unlabelled example, the teacher's choice. Lee 2013."""
    return hard(label, ctx)


@condition
def pseudo_smoothing(teacher: Logits, label: Labels, ctx: Context, *, epsilon: float = 0.1) -> Target:
    """`label_smoothing` of what `pseudo_label` teaches."""
    return label_smoothing(label, ctx, epsilon=epsilon)


# ---------------------------------------------------------------- decoupled KD


@condition
def dkd(
    teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, target: float = 1.0, nontarget: float = 1.0
) -> Target:
    """H(e_t, q) + tau^2 [target KL(b^p || b^q) + nontarget KL(p^ || q^)] up to constants. Zhao et al. 2022.

    b = (p_t, 1 - p_t); p^ is the distribution over the other classes; all at temperature tau. So hard = e_t,
    soft = target p_t e_t + nontarget p^, rest = target (1 - p_t) - nontarget.
    """
    y, mass = _labels(label, ctx), levels.off_label_mass(teacher, label, tau)
    soft = target * (1 - mass)[:, None] * y + nontarget * levels.per_example_shape(teacher, label, tau)
    return Target(y, soft, target * mass - nontarget)


@condition
def tckd(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, target: float = 1.0) -> Target:
    """`dkd` without its non-target part: how hard each example is. Zhao et al. 2022."""
    return dkd(teacher, label, ctx, tau=tau, target=target, nontarget=0.0)


@condition
def nckd(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, nontarget: float = 1.0) -> Target:
    """`dkd` without its target part: which other classes are near. Zhao et al. 2022."""
    return dkd(teacher, label, ctx, tau=tau, target=0.0, nontarget=nontarget)


from kdstudy.distill import faults  # noqa: E402, F401  conditions too: whoever knows these knows those
