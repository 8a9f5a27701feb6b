"""`kdstudy conditions`: what a student can be taught, read from the sources of the package and of plugins."""

import ast

from kdstudy.cli.console import out, plainly
from kdstudy.core import plugins
from kdstudy.core.paths import PACKAGE
from kdstudy.core.source import Sources


def list_conditions() -> None:
    """List the conditions with their parameters and formulas."""
    with plainly():
        for function in found():
            parameters = ", ".join(f"{name} = {value}" for name, value in defaults(function).items())
            formula = (ast.get_docstring(function) or "without a docstring").splitlines()[0]
            out.print(f"{function.name} ({parameters})\n    {formula}", soft_wrap=True)


def found() -> list[ast.FunctionDef]:
    """Every condition: of this package, then of the plugins in $KDSTUDY_PLUGINS."""
    plugins.load()  # one that is broken says so
    plugged = {path.stem: path.read_text("utf-8") for path in plugins.sources()}
    sources = Sources(Sources.of(PACKAGE).texts | plugged)
    return [sources.definition(reference) for reference in sources.registered("condition").values()]


def defaults(function: ast.FunctionDef) -> dict[str, str]:
    """Names and defaults of a condition's parameters, its keyword-only arguments: 2.0 as 2, a name as itself."""
    values = [getattr(d, "value", None) for d in function.args.kw_defaults]
    words = [ast.unparse(d) if d else "" for d in function.args.kw_defaults]
    given = zip(function.args.kwonlyargs, values, words)
    return {a.arg: f"{value:g}" if isinstance(value, float) else word for a, value, word in given}
