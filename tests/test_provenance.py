"""The digest of the code behind a result: what changes it, what does not, whichever Python computes it."""

import ast
import importlib
import itertools
import os
import subprocess
import sys
import textwrap

import pytest
from conftest import says

from kdstudy import executors, provenance, targets
from kdstudy.provenance import digest

COUNT = itertools.count()
CODE = '''
from functools import cache
import math

SCALE = 2
NAMES = ("a", "b")

def deep(x):
    return x + 1

def helper(x):
    return deep(x) * SCALE

class Thing:
    def size(self, x):
        return x if x > 0 else -x

def root(x, power=2):
    """What it does."""
    # why
    if x > 1e9:
        raise ValueError("too large")
    label = f"{x:>9} and {x!r}" "so on"
    return helper(x) ** power + Thing().size(x), NAMES, math.pi, label

def unrelated(x):
    return x
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that makes a module of the package from source; its digest is that of its `root`."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(source: str):
        made.append(f"{provenance.PACKAGE}_throwaway{next(COUNT)}")
        (tmp_path / f"{made[-1]}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        return importlib.import_module(made[-1])

    yield make
    for name in made:
        sys.modules.pop(name)


def of(module, source: str) -> str:
    return digest(module(source).root)


def edited(*changes: tuple[str, str]) -> str:
    """The code above with some text replaced."""
    code = CODE
    for old, new in changes:
        assert code.count(old) == 1, f"{old!r} is not there once"
        code = code.replace(old, new)
    return code


SAME = {
    "a comment": [("# why", "# because")],
    "no comment": [("    # why\n", "")],
    "a docstring": [("What it does.", "Something else.")],
    "no docstring": [('    """What it does."""\n', "")],
    "more docstrings": [
        ("class Thing:\n", 'class Thing:\n    """A thing."""\n\n'),
        ("def deep(x):\n", "def deep(x):\n    'Deep.'\n"),
    ],
    "layout": [("helper(x) ** power", "helper(\n        x\n    )**power"), ("def helper", "\n\n\ndef helper")],
    "quotes": [('("a", "b")', "('a', 'b',)")],
    "parentheses": [("return deep(x) * SCALE", "return (deep(x)) * (SCALE)")],
    "annotations": [("def helper(x):", "def helper(x: int) -> int:")],
    "the text of an error": [("too large", "much too large")],
    "a guard more": [("    # why\n", "    if not x:\n        raise ValueError('none')\n")],
    "a decorator": [("def root", "def condition(fn):\n    return fn\n\n@condition\ndef root")],
    "an unrelated function": [("def unrelated(x):\n    return x", "def unrelated(x):\n    return SCALE + x")],
    "one unrelated function more": [("def unrelated", "def another(x):\n    return deep(SCALE)\n\ndef unrelated")],
    "an unrelated constant": [("SCALE = 2", "SCALE = 2\nOTHER = 3")],
    "the order of definitions": [
        ("def deep(x):\n    return x + 1\n", ""),
        ("def unrelated", "def deep(x):\n    return x + 1\n\ndef unrelated"),
    ],
}
OTHER = {
    "an operator": [("** power", "* power")],
    "a number in the code": [("x > 0", "x > 1")],
    "a default": [("power=2", "power=3")],
    "a constant": [("SCALE = 2", "SCALE = 3")],
    "a tuple constant": [('("a", "b")', '("a", "c")')],
    "a helper": [("deep(x) * SCALE", "deep(x) + SCALE")],
    "a helper's helper": [("x + 1", "x + 2")],
    "a method": [("else -x", "else x")],
    "a text": [("so on", "and so on")],
    "a guard that does more than raise": [('raise ValueError("too large")', "x = 0")],
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME.keys())
def test_what_has_no_meaning_does_not_change_the_digest(module, changes):
    assert of(module, edited(*changes)) == of(module, CODE)


@pytest.mark.parametrize("changes", OTHER.values(), ids=OTHER.keys())
def test_what_has_meaning_changes_the_digest(module, changes):
    assert of(module, edited(*changes)) != of(module, CODE)


def test_every_change_gives_a_digest_of_its_own(module):
    assert len({of(module, edited(*changes)) for changes in OTHER.values()}) == len(OTHER)


def test_the_digest_is_the_same_on_every_python(module):
    """Results computed by one version are not stale to another."""
    assert of(module, CODE) == "be2be33e9145"


def test_a_helper_behind_a_cache_counts(module):
    cached = ("def helper", "@cache\ndef helper")
    assert of(module, edited(cached)) == of(module, CODE)
    assert of(module, edited(cached, ("deep(x) * SCALE", "deep(x) + SCALE"))) != of(module, CODE)


def test_code_and_constants_of_other_modules_count(module):
    digests = set()
    for body, scale in (("x + 1", 2), ("x + 2", 2), ("x + 1", 3)):
        name = module(f"SCALE = {scale}\n\ndef helper(x):\n    return {body}\n").__name__
        for how, at in ((f"import {name} as other", "other."), (f"from {name} import SCALE, helper", "")):
            digests.add(of(module, f"{how}\n\ndef root(x):\n    return {at}helper(x) * {at}SCALE\n"))
    assert len(digests) == 6


def test_two_constants_of_one_name_both_count(module):
    digests = set()
    for here, there in ((1, 2), (1, 3), (3, 2)):
        name = module(f"SCALE = {there}\n\ndef helper(x):\n    return x * SCALE\n").__name__
        source = f"from {name} import helper\n\nSCALE = {here}\n\ndef root(x):\n    return helper(x) + SCALE\n"
        digests.add(of(module, source))
    assert len(digests) == 3


def test_a_cycle_of_calls_ends(module):
    source = "def helper(x):\n    return root(x - 1)\n\ndef root(x):\n    return helper(x) if x else 0\n"
    assert len(of(module, source)) == 12


def test_code_of_others_does_not_count(module):
    source = "import json\n\ndef root(x):\n    return json.dumps(x)\n"
    things, constants = provenance.reachable([module(source).root])
    assert [t.__name__ for t in things] == ["root"] and not constants


def test_a_new_condition_leaves_the_digests_of_the_others(monkeypatch):
    before = {name: executors.code(name, []) for name in targets.CONDITIONS}
    assert len(set(before.values())) == len(before)

    def another(label, ctx):
        return targets.hard(label, ctx)

    monkeypatch.setitem(targets.CONDITIONS, "another", another)
    executors._digest.cache_clear()
    assert {name: executors.code(name, []) for name in before} == before
    executors._digest.cache_clear()


def test_a_measure_changes_the_digest_of_those_runs_that_have_it():
    assert len({executors.code("hard", m) for m in ([], ["test_ece"], ["test_ece", "test_entropy"])}) == 3
    assert executors.code("hard", ["test_ece"]) == executors.code("hard", ["train_ece", "target_mass", "tau"])


def test_checking_types_does_not_change_the_digest():
    """Here all functions are wrapped by a type checker; a user's are not."""
    metrics = ["test_ece", "test_agreement"]
    code = f"from kdstudy import executors, targets; print(*(executors.code(c, {metrics}) for c in targets.CONDITIONS))"
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert plain.stdout.split() == [executors.code(c, metrics) for c in targets.CONDITIONS]


def test_a_thing_without_source_is_an_error():
    namespace: dict[str, object] = {}
    exec(compile(ast.parse("def root():\n    pass"), "<nowhere>", "exec"), namespace)
    with pytest.raises(OSError, match=says("could not get source code")):
        digest(namespace["root"])
