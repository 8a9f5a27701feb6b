"""`kdstudy check-loss`: a loss function from somebody's file, checked and reported."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from kdstudy.cli.console import plainly
from kdstudy.core.parameters import parse
from kdstudy.core.plugins import imported


def check_loss(
    function: Annotated[
        str, typer.Argument(help="FILE.py:NAME or MODULE:NAME of a function (student, teacher, labels).")
    ],
    classes: Annotated[int, typer.Option(help="Number of classes, or size of the vocabulary.")],
    tau: Annotated[float, typer.Option(help="The temperature that is meant.")] = 4.0,
    alpha: Annotated[float, typer.Option(help="The soft part's weight that is meant.")] = 0.9,
    tau_squared: Annotated[bool, typer.Option(help="Whether the soft part is multiplied by tau^2.")] = True,
    weights: Annotated[str | None, typer.Option(help="HARD,SOFT, or alpha, tau squared, timm, trl.")] = None,
    divergence: Annotated[str | None, typer.Option(help="forward, reverse, jsd, …, or FILE.py:NAME.")] = None,
    beta: Annotated[float | None, typer.Option(help="The divergence's parameter.")] = None,
    top_k: Annotated[str | None, typer.Option(help="K or 'K,KIND': renormalised, tail bucket, truncated.")] = None,
    hard: Annotated[str | None, typer.Option(help="FILE.py:NAME of another hard term (student, labels).")] = None,
    class_weights: Annotated[str | None, typer.Option(help="The hard term's, W,W,…: one for each class.")] = None,
    ignore_index: Annotated[int | None, typer.Option(help="The label of rows that neither part counts.")] = None,
    shape: Annotated[str | None, typer.Option(help="BC, or BTV for sequences of tokens.")] = None,
    shift: Annotated[bool | None, typer.Option(help="Whether the function moves labels by one.")] = None,
    reduction: Annotated[str | None, typer.Option(help="mean, sum, none, batchmean or elements.")] = None,
    bind: Annotated[list[str] | None, typer.Option("-b", help="NAME=NUMBER: an argument of the loss.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which fault a distillation loss has; exit code 1 for errors, 2 for what cannot be checked."""
    with plainly(2):
        stated = {"tau": tau, "alpha": alpha, "tau_squared": tau_squared, "beta": beta, "ignore_index": ignore_index,
                  "shape": shape, "shift": shift, "reduction": reduction, "weights": _value("--weights", weights),
                  "class_weights": class_weights and [_value("--class-weights", w) for w in class_weights.split(",")],
                  "top_k": _value("--top-k", top_k), "hard": hard and _function(hard),
                  "divergence": _function(divergence) if divergence and ":" in divergence else divergence}  # fmt: skip
        from kdstudy.losscheck import check_loss as check

        report = check(partial(_function(function), **dict(map(_bound, bind or []))), classes, **stated)
        typer.echo(report.as_json() if as_json else str(report))
        raise typer.Exit(0 if report.ok else 1)


def _function(place: str) -> Callable[..., Any]:
    """The function at FILE.py:NAME or MODULE:NAME."""
    where, _, name = place.rpartition(":")
    try:
        if where.endswith(".py"):
            sys.path.insert(0, str(Path(where).resolve().parent))
        found = getattr(imported(where), name)
        if not callable(found):
            raise TypeError(f"{name} is a {type(found).__name__}")
        return found
    except (Exception, SystemExit) as error:  # whatever a file of somebody's own raises
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"{place!r} cannot be read ({why}); give FILE.py:NAME or MODULE:NAME") from error


def _value(option: str, text: str | None) -> Any:
    """A number, a word, or several of them between commas."""
    return text and parse(option, text)


def _bound(text: str) -> tuple[str, Any]:
    """NAME=VALUE as both."""
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise ValueError(f"-b: found {text!r}, allowed: NAME=NUMBER")
    return name, _value("-b", value)
