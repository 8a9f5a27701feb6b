"""What `import kdstudy` offers, and what it does not load."""

import ast
import re
import subprocess
import sys
import textwrap

import pytest

import kdstudy

HEAVY = {"torch", "scipy", "pandas", "numpy", "sklearn", "matplotlib", "numba", "joblib", "ray"}


def loaded(code: str) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after this code."""
    code = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return HEAVY & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("name", kdstudy.__all__)
def test_every_public_name_is_there(name):
    assert getattr(kdstudy, name) is getattr(kdstudy, name) is not None


def test_the_names_that_type_checkers_read_are_those_that_are_offered():
    [block] = [n for n in ast.parse(kdstudy.__loader__.get_source("kdstudy")).body if isinstance(n, ast.If)]
    declared = {a.name for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names} | {"__version__"}
    assert declared == set(kdstudy.__all__) == set(dir(kdstudy))
    assert kdstudy.__all__ == sorted(kdstudy.__all__)


def test_importing_the_package_loads_nothing_else():
    assert loaded("import kdstudy; kdstudy.__version__") == set()


def test_the_docstring_s_example_runs(brief, capsys):
    exec(textwrap.dedent("\n".join(re.findall(r"(?m)^    .*$", kdstudy.__doc__))), {})
    assert re.fullmatch(r"[+-]?0\.\d+ \[.*\], n = 3\n", capsys.readouterr().out)


def test_what_registers_itself_is_there_whatever_is_imported_first():
    for first in (
        "distill.conditions",
        "distill.faults",
        "study.plans.levels",
        "study.plans.other_teachers",
    ):
        code = f"import kdstudy.{first}\nfrom kdstudy.distill import conditions\nfrom kdstudy.study import plans\n"
        code += "assert 'fault_argmax' in conditions.CONDITIONS and 'silent_bugs' in plans.PLANS"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="^module 'kdstudy' has no attribute 'students'$"):
        kdstudy.students  # noqa: B018
    with pytest.raises(ImportError, match="students"):
        from kdstudy import students  # noqa: F401
