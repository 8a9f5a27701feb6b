"""The digest of a function's meaning: what changes it, what does not, whichever module and Python it is in."""

import ast

import pytest
from conftest import says

from kdstudy.core.source import DEPTH, Sources

CODE = '''
from functools import cache
import math

SCALE = 2
NAMES = ("a", "b")

def deep(x):
    return x + 1

def helper(x):
    result = deep(x) * SCALE
    return result

class Thing:
    def size(self, x):
        bigger = x if x > 0 else -x
        return bigger

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


def of(source: str, root: str = "kd.a:root", **others: str) -> str:
    """The digest of a root in a package of these modules."""
    return Sources({"kd": "", "kd.a": source, **{f"kd.{k}": v for k, v in others.items()}}).digest(root)


def edited(*changes: tuple[str, str]) -> str:
    """The code above with some text replaced."""
    code = CODE
    for old, new in changes:
        assert code.count(old) >= 1, f"{old!r} is not there"
        code = code.replace(old, new)
    return code


SAME = {
    "a comment": [("# why", "# because")],
    "a docstring": [("What it does.", "Something else.")],
    "no docstring": [('    """What it does."""\n', "")],
    "more docstrings": [("class Thing:\n", 'class Thing:\n    """A thing."""\n\n')],
    "layout": [("helper(x) ** power", "helper(\n        x\n    )**power"), ("def helper", "\n\n\ndef helper")],
    "quotes": [('("a", "b")', "('a', 'b',)")],
    "annotations": [("def helper(x):", "def helper(x: int) -> int:"), ("SCALE = 2", "SCALE: int = 2")],
    "the text of an error": [("too large", "much too large")],
    "a guard more": [("    # why\n", "    if not x:\n        raise ValueError('none')\n    require(x, 'x', x, 'y')\n")],
    "a cache": [("def helper", "@cache\ndef helper")],
    "a decorator that registers": [
        ("SCALE = 2", 'SCALE = 2\nALL = Registry("thing")\nenter = ALL.register'),
        ("def root", "@enter\ndef root"),
        ("def helper", "@ALL.register\ndef helper"),
    ],
    "an unrelated function": [("def unrelated(x):\n    return x", "def unrelated(x):\n    return SCALE + x")],
    "an unrelated constant": [("SCALE = 2", "SCALE = 2\nOTHER = 3")],
    "the order of definitions": [
        ("def deep(x):\n    return x + 1\n", ""),
        ("def unrelated", "def deep(x):\n    return x + 1\n\ndef unrelated"),
    ],
    "the name of a function": [("helper", "assistant"), ("deep", "shallow")],
    "the name of a class": [("Thing", "Object")],
    "the name of a constant": [("SCALE", "FACTOR")],
    "the name of a local variable": [("result", "outcome"), ("bigger", "larger"), ("label", "text")],
    "how a library is imported": [("import math", "from math import pi"), ("math.pi", "pi")],
    "a variable of a comprehension elsewhere": [("SCALE = 2", "SCALE = 2\nTABLE = {x: 1 for x in NAMES}")],
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
    "a decorator that computes": [("def helper", "@math.njit(fastmath=True)\ndef helper")],
    "a library's other name": [("math.pi", "math.tau")],
    "the name of an argument": [("power", "exponent")],
    "which of two it calls": [("return helper(x) **", "return deep(x) **")],
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME.keys())
def test_what_has_no_meaning_does_not_change_the_digest(changes):
    assert of(edited(*changes)) == of(CODE)


def test_what_has_meaning_changes_the_digest_each_to_another():
    digests = {what: of(edited(*changes)) for what, changes in OTHER.items()} | {"nothing": of(CODE)}
    assert len(set(digests.values())) == len(OTHER) + 1, digests


def test_the_digest_is_the_same_on_every_python():
    """Results computed by one version are not stale to another."""
    assert of(CODE) == "bedc289b016e"


HELPER = "def helper(x):\n    return x + 1\n"
WAYS = {
    "beside it": (f"{HELPER}\ndef root(x):\n    return helper(x)\n", {}),
    "by its module": ("from kd import b\n\ndef root(x):\n    return b.helper(x)\n", {"b": HELPER}),
    "by its module's whole name": ("import kd.b\n\ndef root(x):\n    return kd.b.helper(x)\n", {"b": HELPER}),
    "by its module under another name": ("import kd.b as c\n\ndef root(x):\n    return c.helper(x)\n", {"b": HELPER}),
    "by name": ("from kd.b import helper as h\n\ndef root(x):\n    return h(x)\n", {"b": HELPER}),
    "relatively": ("from .b import helper\n\ndef root(x):\n    return helper(x)\n", {"b": HELPER}),
    "through another module": (
        "from kd.c import helper\n\ndef root(x):\n    return helper(x)\n",
        {"c": "from kd.b import helper\n", "b": HELPER},
    ),
    "inside the function": ("def root(x):\n    from kd.b import helper\n    return helper(x)\n", {"b": HELPER}),
}


def test_however_and_from_wherever_a_name_comes_the_digest_is_the_same():
    digests = {how: of(source, **others) for how, (source, others) in WAYS.items()}
    assert len(set(digests.values())) == 1
    for source, others in WAYS.values():
        changed = {name: text.replace("+ 1", "+ 2") for name, text in others.items()}
        assert of(source.replace("+ 1", "+ 2"), **changed) not in digests.values()


def test_a_module_that_is_handed_on_counts_as_a_whole():
    source = "def root():\n    from kd import b\n    return b\n"
    assert of(source, b="def f(x):\n    return x\nBLOCK = 2\n") != of(source, b="def f(x):\n    return x\nBLOCK = 3\n")


def test_constants_of_one_name_in_two_modules_both_count():
    digests = set()
    for here, there in ((1, 2), (1, 3), (3, 2)):
        source = f"from kd.b import helper\n\nSCALE = {here}\n\ndef root(x):\n    return helper(x) + SCALE\n"
        digests.add(of(source, b=f"SCALE = {there}\n\ndef helper(x):\n    return x * SCALE\n"))
    assert len(digests) == 3


def test_an_argument_hides_what_the_module_calls_so():
    source = "SCALE = 2\n\ndef root(SCALE):\n    return SCALE\n"
    assert of(source) == of(source.replace("SCALE = 2", "SCALE = 3"))
    default = "SCALE = 2\n\ndef root(SCALE=SCALE):\n    return SCALE\n"
    assert of(default) != of(default.replace("SCALE = 2", "SCALE = 3"))
    inner = "SCALE = 2\n\ndef root(x):\n    return (lambda SCALE: SCALE)(x) + SCALE\n"
    assert of(inner) != of(inner.replace("SCALE = 2", "SCALE = 3"))


def test_a_cycle_of_calls_ends_and_both_sides_count():
    source = "def helper(x):\n    return root(x - 1)\n\ndef root(x):\n    return helper(x) if x else 0\n"
    assert of(source) != of(source.replace("x - 1", "x - 2"))


def test_what_lies_too_deep_is_refused():
    calls = "\n".join(f"def f{i}(x):\n    return f{i + 1}(x)\n" for i in range(DEPTH + 2))
    source = f"{calls}\ndef f{DEPTH + 2}(x):\n    return x\n\ndef root(x):\n    return f0(x)\n"
    with pytest.raises(ValueError, match=says(f"kd.a:root reaches deeper than {DEPTH} calls, allowed: less")):
        of(source)


def test_ignored_modules_and_libraries_stand_for_themselves():
    source = "import json\nfrom kd.b import helper\n\ndef root(x):\n    return json.dumps(helper(x))\n"
    both = [Sources({"kd.a": source, "kd.b": HELPER.replace("1", n)}, frozenset({"kd.b"})) for n in "12"]
    assert both[0].digest("kd.a:root") == both[1].digest("kd.a:root")
    assert both[0].reached("kd.a:root") == {"kd.a:root", "kd.b:helper"}


def test_a_name_that_cannot_be_followed_is_an_error():
    source = "from kd import b\n\ndef root(x):\n    return b.absent(x)\n"
    what = "'absent' of kd.b cannot be found in its source; import it from where it is defined"
    with pytest.raises(ValueError, match=says(what)):
        of(source, b=HELPER)


def test_registered_functions_are_found_without_importing():
    source = """
from kd.core import Registry
THINGS = Registry("thing", other="")
thing = THINGS.register
@THINGS.register
def one(): ...
@thing
def two(): ...
@cache
def three(): ...
"""
    other = (
        "from kd import a\nfrom kd.a import thing\n\n@thing\ndef four(): ...\n\n@a.THINGS.register\ndef five(): ...\n"
    )
    found = Sources({"kd": "", "kd.a": source, "kd.b": other}).registered("thing")
    assert found == {"one": "kd.a:one", "two": "kd.a:two", "four": "kd.b:four", "five": "kd.b:five"}


def test_functions_from_outside_are_followed_into_the_package():
    package = Sources({"kdstudy.core.random": "def generator(seed, purpose):\n    return 1\n"})
    from kdstudy.core.random import generator

    def make(step: int, scale: float):
        def inner(x):
            return generator(0, "a"), x + step

        def outer(x):
            return inner(x), scale

        return outer

    first = package.digest(make(1, 2.0))
    assert first == package.digest(make(1, 2.0))
    assert len({first, package.digest(make(2, 2.0)), package.digest(make(1, 3.0))}) == 3
    changed = Sources({"kdstudy.core.random": "def generator(seed, purpose):\n    return 2\n"})
    assert changed.digest(make(1, 2.0)) != first


def test_a_thing_without_source_is_an_error():
    namespace: dict[str, object] = {"__name__": "nowhere"}
    exec(compile(ast.parse("def root():\n    pass"), "<nowhere>", "exec"), namespace)
    with pytest.raises(OSError, match="source"):
        Sources({}).digest(namespace["root"])
