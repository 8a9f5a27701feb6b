"""`kdstudy check-loss`: a loss function from somebody's file, checked and reported."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from kdstudy.cli.diagnose import refuse


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
    stated = {"tau": tau, "alpha": alpha, "tau_squared": tau_squared, "beta": beta, "ignore_index": ignore_index,
              "shape": shape, "shift": shift, "reduction": reduction, "weights": _numbers("--weights", weights),
              "class_weights": _numbers("--class-weights", class_weights), "top_k": _numbers("--top-k", top_k),
              "hard": hard and _function(hard), "divergence": _divergence(divergence)}  # fmt: skip
    from kdstudy.losscheck import check_loss as check

    try:
        report = check(partial(_function(function), **dict(map(_bound, bind or []))), classes, **stated)
    except ValueError as error:
        refuse(error)
    typer.echo(report.as_json() if as_json else str(report))
    raise typer.Exit(0 if report.ok else 1)


def _function(place: str) -> Callable[..., Any]:
    """The function at FILE.py:NAME or MODULE:NAME."""
    where, _, name = place.rpartition(":")
    try:
        if where.endswith(".py"):
            sys.path.insert(0, str(Path(where).resolve().parent))
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
        found = getattr(module, name)
    except Exception as error:  # whatever a file of somebody's own raises
        refuse(f"{place!r} cannot be read ({type(error).__name__}: {error}); give FILE.py:NAME or MODULE:NAME")
    return found


def _divergence(text: str | None) -> Any:
    """A name, or the function at a place."""
    return _function(text) if text and ":" in text else text


def _number(text: str) -> float | str:
    """A number, if it is one."""
    try:
        return float(text) if "." in text or "e" in text else int(text)
    except ValueError:
        return text


def _numbers(option: str, text: str | None) -> Any:
    """Numbers and words separated by commas; one of them alone."""
    values = [_number(part.strip()) for part in (text or "").split(",")]
    if option == "--class-weights" and text:
        return values
    return None if text is None else values[0] if len(values) == 1 else values


def _bound(text: str) -> tuple[str, float | str]:
    """NAME=VALUE as both."""
    name, equals, value = text.partition("=")
    return (
        (name, _number(value))
        if equals and name.isidentifier()
        else refuse(f"-b: found {text!r}, allowed: NAME=NUMBER")
    )
