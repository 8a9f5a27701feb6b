"""What somebody says that a loss is meant to be, checked and put into a `KDLoss`."""

import math
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from kdstudy.core.spec import require
from kdstudy.losscheck.call import guarded
from kdstudy.losscheck.divergences import DIVERGENCES
from kdstudy.losscheck.variants import METHODS, STATED, SUPPORTS, Form, KDLoss

TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-4}
CONVENTIONS = ("alpha", "tau squared", "timm", "trl")
MEANT = [name for name, divergence in DIVERGENCES.items() if divergence.code in METHODS]


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return _number(value) and value == int(value)


def _among(value: Any, *allowed: Any) -> bool:
    return isinstance(value, str | bool | torch.dtype | None) and value in allowed


def _pair(value: Any) -> bool:
    listed = isinstance(value, list | tuple) and len(value) == 2
    return listed and all(_number(w) and w >= 0 for w in value) and sum(value) > 0


RULES = {  # what each argument may be
    "fn": (callable, "a function of (student_logits, teacher_logits, labels)"),
    "hard": (lambda x: x is None or callable(x), "None, or a function of (student_logits, labels)"),
    "num_classes": (lambda x: _whole(x) and x >= 2, "a whole number of at least 2"),
    "tau": (lambda x: _number(x) and 1e-6 <= x <= 1e6, "a finite number above 0, 1e-6 to 1e6"),
    "alpha": (lambda x: _number(x) and 0 <= x <= 1, "0 <= alpha <= 1"),
    "tau_squared": (lambda x: _among(x, True, False), "True, False"),
    "dtype": (lambda x: _among(x, *TOLERANCE), "torch.float64, torch.float32"),
    "weights": (
        lambda x: _among(x, None, *CONVENTIONS) or _pair(x),
        f"(hard, soft), not both 0, or one of {', '.join(CONVENTIONS)}",
    ),
    "divergence": (
        lambda x: callable(x) or _among(x, None, *MEANT),
        f"a function of (z / tau, v / tau), or one of {', '.join(MEANT)}",
    ),
    "shape": (lambda x: _among(x, None, "BC", "BTV"), "BC, BTV"),
    "reduction": (lambda x: _among(x, None, *STATED), ", ".join(STATED)),
    "shift": (lambda x: _among(x, None, True, False), "True, False"),
    "ignore_index": (lambda x: x is None or (_whole(x) and abs(x) < 2**31), "None or a whole number"),
}


def _check(given: dict[str, Any]) -> None:
    """ValueError for what is not allowed."""
    for name, (allows, allowed) in RULES.items():
        require(allows(given[name]), name, given[name], allowed)
    for name, other, do in (
        ("top_k", "divergence", "choose the classes in it"),
        ("class_weights", "hard", "weigh in it"),
    ):
        both = given[name] is not None and callable(given[other])
        require(not both, name, given[name], f"None where {other} is a function: {do}")


def _form(given: dict[str, Any], classes: int) -> Form:
    """The divergence, its parameter and the classes that it looks at."""
    name, beta, top_k = given["divergence"] or "forward", given["beta"], given["top_k"]
    if name == "jsd" and _number(beta) and beta in (0, 1):  # its limits, as libraries define them
        return _form(given | {"divergence": "reverse" if beta else "forward", "beta": None}, classes)
    known = None if callable(name) else DIVERGENCES[name]
    usual = known and known.parameter
    high = 1.0 if usual is None or known.span[1] < 1 else math.inf
    allowed = f"a number between 0 and {high:g}" if usual is not None else f"None: {name} has no parameter"
    fits = beta is None or (usual is not None and _number(beta) and 0 < beta < high)
    require(fits, "beta", beta, allowed)
    k, support = top_k if isinstance(top_k, list | tuple) and len(top_k) == 2 else (top_k, "renormalised")
    good = top_k is None or (_whole(k) and 0 < k < classes and _among(support, *SUPPORTS))
    require(good, "top_k", top_k, f"k or (k, kind), 0 < k < {classes}, kind one of {', '.join(SUPPORTS)}")
    kept = {} if top_k is None else {"support": support, "k": int(k)}
    return Form(soft=name if known else "custom", parameter=usual if beta is None else float(beta), **kept)


def _hard(hard: Any, weights: Any, classes: int) -> Any:
    """The hard term: as given, or weighted cross-entropy, or None."""
    if weights is None:
        return guarded("hard", hard)
    try:
        values = torch.as_tensor(weights, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        values = torch.empty(0)
    good = values.shape == (classes,) and bool((values >= 0).all() and values.isfinite().all() and values.any())
    require(good, "class_weights", weights, f"{classes} numbers of at least 0, not all 0")
    return partial(cross_entropy, weight=values)


def meant(given: dict[str, Any]) -> KDLoss:
    """The loss that is meant by the arguments of `check_loss`; ValueError for what is not allowed."""
    if hasattr(given["weights"], "tolist"):  # an array or a tensor
        given = given | {"weights": given["weights"].tolist()}
    _check(given)
    tau, weights, classes = float(given["tau"]), given["weights"], int(given["num_classes"])
    if weights == "trl":
        usual = {"divergence": "jsd", "ignore_index": -100}
        given = given | {name: value for name, value in usual.items() if given[name] is None}
    pairs = {None: None, "alpha": None, "tau squared": (1.0, tau**2), "timm": (1.0, tau**2), "trl": (0.0, 1.0)}
    usual = ("fn", "num_classes", "tau", "alpha", "tau_squared", "dtype")
    said = {name for name, value in given.items() if value is not None and name not in usual}
    index, divergence = given["ignore_index"], given["divergence"]
    return KDLoss(
        classes,
        tau,
        float(given["alpha"]),
        given["tau_squared"] and weights != "trl",
        _hard(given["hard"], given["class_weights"], classes),
        form=_form(given, classes),
        custom=guarded("divergence", divergence if callable(divergence) else None),
        pair=pairs[weights] if isinstance(weights, str | None) else (float(weights[0]), float(weights[1])),
        ignore_index=None if index is None else int(index),
        reduction=STATED[given["reduction"] or "mean"],
        said=frozenset(said | {given["shape"], given["reduction"]} - {None}),
    )
