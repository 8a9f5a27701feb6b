"""What somebody says that a loss is meant to be, checked and put into a `KDLoss`."""

import math
from functools import partial
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from kdstudy.core.spec import require
from kdstudy.losscheck.call import guarded
from kdstudy.losscheck.divergences import DIVERGENCES
from kdstudy.losscheck.variants import STATED, SUPPORTS, Form, KDLoss

TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-4}
CONVENTIONS = ("alpha", "tau squared", "timm", "trl")
SHAPES = ("BC", "BTV")
METHODS = [name for name, divergence in DIVERGENCES.items() if divergence.method]


def _check(fn: Any, num_classes: Any, tau: Any, alpha: Any, dtype: Any, stated: dict[str, Any]) -> None:
    """ValueError for what is not allowed."""
    require(callable(fn), "fn", fn, "a function of (student_logits, teacher_logits, labels)")
    hard, divergence, weights = stated["hard"], stated["divergence"], stated["weights"]
    require(hard is None or callable(hard), "hard", hard, "None, or a function of (student_logits, labels)")
    whole = _number(num_classes) and num_classes >= 2 and num_classes == int(num_classes)
    require(whole, "num_classes", num_classes, "a whole number of at least 2")
    require(_number(tau) and 0 < tau < math.inf, "tau", tau, "a finite number above 0")
    require(_number(alpha) and 0 <= alpha <= 1, "alpha", alpha, "0 <= alpha <= 1")
    require(dtype in TOLERANCE, "dtype", dtype, "torch.float64, torch.float32")
    pair = isinstance(weights, list | tuple) and len(weights) == 2 and all(_number(w) and w >= 0 for w in weights)
    known = weights is None or weights in CONVENTIONS
    require(known or (pair and sum(weights) > 0), "weights", weights,
            f"(hard, soft), not both 0, or one of {', '.join(CONVENTIONS)}")  # fmt: skip
    require(divergence is None or callable(divergence) or divergence in METHODS, "divergence", divergence,
            f"a function of (z / tau, v / tau), or one of {', '.join(METHODS)}")  # fmt: skip
    alone = stated["top_k"] is None or not callable(divergence)
    require(alone, "top_k", stated["top_k"], "None where divergence is a function: choose the classes in it")
    for name, allowed in (("shape", SHAPES), ("reduction", (*STATED,)), ("shift", (True, False))):
        require(stated[name] is None or stated[name] in allowed, name, stated[name], ", ".join(map(str, allowed)))
    index = stated["ignore_index"]
    require(index is None or (_number(index) and index == int(index)), "ignore_index", index, "None or a whole number")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) < math.inf


def _form(stated: dict[str, Any], classes: int, name: str) -> Form:
    """The divergence, its parameter and the classes that it looks at."""
    beta, top_k = stated["beta"], stated["top_k"]
    usual = DIVERGENCES[name].parameter if name in DIVERGENCES else None
    high = 1.0 if usual is None or DIVERGENCES[name].span[1] < 1 else math.inf
    allowed = f"a number between 0 and {high:g}" if usual is not None else f"None: {name} has no parameter"
    fits = beta is None or (usual is not None and _number(beta) and 0 < beta < high)
    if name == "jsd" and beta in (0, 1):  # its limits, as libraries define them
        return _form(stated | {"beta": None}, classes, "reverse" if beta else "forward")
    require(fits, "beta", beta, allowed)
    k, support = top_k if isinstance(top_k, list | tuple) and len(top_k) == 2 else (top_k, SUPPORTS[1])
    good = top_k is None or (_number(k) and k == int(k) and 0 < k < classes and support in SUPPORTS)
    require(good, "top_k", top_k, f"k or (k, kind), 0 < k < {classes}, kind one of {', '.join(SUPPORTS)}")
    kept = {} if top_k is None else {"support": support, "k": int(k)}
    return Form(soft=name, parameter=usual if beta is None else float(beta), **kept)


def _hard(stated: dict[str, Any], classes: int) -> Any:
    """The hard term: as given, or weighted cross-entropy, or None."""
    hard, weights = stated["hard"], stated["class_weights"]
    require(hard is None or weights is None, "class_weights", weights, "None where hard is given: weigh in hard")
    if weights is None:
        return guarded("hard", hard)
    try:
        values = torch.as_tensor(weights, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        values = torch.empty(0)
    good = values.shape == (classes,) and bool((values >= 0).all()) and bool(values.isfinite().all())
    require(good and bool(values.any()), "class_weights", weights, f"{classes} numbers of at least 0, not all 0")
    return partial(cross_entropy, weight=values)


def meant(
    fn: Any, num_classes: Any, tau: Any, alpha: Any, tau_squared: bool, dtype: Any, stated: dict[str, Any]
) -> KDLoss:
    """The loss that is meant; ValueError for what is not allowed."""
    _check(fn, num_classes, tau, alpha, dtype, stated)
    classes, convention = int(num_classes), stated["weights"]
    if convention == "trl":
        usual = {"divergence": "jsd", "ignore_index": -100}
        stated = stated | {name: value for name, value in usual.items() if stated[name] is None}
    divergence = stated["divergence"]
    custom = divergence if callable(divergence) else None
    pairs = {"tau squared": (1.0, tau**2), "timm": (1.0, tau**2), "trl": (0.0, 1.0)}
    pair = pairs.get(convention) if isinstance(convention, str | None) else (*map(float, convention),)
    said = {name for name, value in stated.items() if value is not None} | {stated["shape"], stated["reduction"]}
    index = stated["ignore_index"]
    return KDLoss(
        classes,
        float(tau),
        float(alpha),
        bool(tau_squared) and convention != "trl",
        _hard(stated, classes),
        form=_form(stated, classes, "custom" if custom else divergence or "forward"),
        custom=guarded("divergence", custom),
        pair=pair,
        ignore_index=None if index is None else int(index),
        reduction=STATED[stated["reduction"] or "mean"],
        said=frozenset(said - {None}),
    )
