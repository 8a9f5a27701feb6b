"""What names versions, files and commands names the same ones everywhere."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from kdstudy.cli.main import app
from kdstudy.core.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
PYTHONS = SpecifierSet(PROJECT["requires-python"])
DIRECT = [*PROJECT["dependencies"], *(d for extra in PROJECT["optional-dependencies"].values() for d in extra)]
DOCUMENTS = [p for p in (ROOT / "README.md", *sorted((ROOT / "book/pages").glob("*.md"))) if p.exists()]


def locked() -> dict[str, list[tuple[Requirement, list[str]]]]:
    """Each locked name with its requirements (several where markers differ) and their hashes."""
    found = {}
    for block in re.split(r"\n(?=[a-z0-9])", "\n" + re.sub(r"(?m)^\s*#.*\n", "", LOCK).strip())[1:]:
        text, *hashes = re.split(r"\s*\\?\s*--hash=", block.strip())
        requirement = Requirement(text)
        found.setdefault(canonicalize_name(requirement.name), []).append((requirement, hashes))
    return found


def read(path: Path) -> str:
    return path.read_text("utf-8")


def targets() -> dict[str, str]:
    """The targets that `make help` lists, with their descriptions."""
    text = subprocess.run(["make", "-C", str(ROOT), "--no-print-directory"], capture_output=True, text=True, check=True)
    return dict(re.findall(r"^  make (\w+) +(.+)$", text.stdout, re.MULTILINE))


@pytest.mark.parametrize("direct", DIRECT)
def test_direct_dependency_is_locked(direct):
    wanted = Requirement(direct)
    entries = locked()[canonicalize_name(wanted.name)]
    versions = [next(iter(r.specifier)).version for r, _ in entries]
    assert all(v in wanted.specifier for v in versions), f"{direct}: locked at {versions}"


def test_lock_pins_and_hashes_everything():
    entries = [e for several in locked().values() for e in several]
    assert len(entries) == len(re.findall(r"(?m)^[a-z0-9][\w.-]*==", LOCK)) > 100
    for requirement, hashes in entries:
        assert [s.operator for s in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes), requirement


def test_lock_names_no_host():
    assert re.findall(r"\w+://\S+|(?m:^\s*--(?:extra-)?index\S*|^\s*--find-links)", LOCK) == []
    assert re.findall(r"\b[\w-]+\.(?:org|com|io|net|dev)\b", LOCK) == []


def test_book_is_pinned_identically():
    pin = next(Requirement(d) for d in DIRECT if d.startswith("jupyter-book"))
    assert str(pin.specifier) == "==1.0.4.post1"
    assert [r.specifier for r, _ in locked()["jupyter-book"]] == [pin.specifier]


def test_conda_installs_the_same_lock():
    python = next(d for d in ENVIRONMENT if isinstance(d, str) and d.startswith("python="))
    pip = next(d["pip"] for d in ENVIRONMENT if isinstance(d, dict))
    assert python.removeprefix("python=") + ".0" in PYTHONS
    assert pip == ["-r requirements.lock"]
    assert sorted(d for d in ENVIRONMENT if isinstance(d, str)) == ["pip", python]


def test_pythons_agree():
    lowest = min(re.findall(r"\d+\.\d+", str(PYTHONS)))
    assert f"--python-version {lowest} " in LOCK.splitlines()[1]
    assert f"--python-version {lowest} " in read(ROOT / "Makefile")
    low, high = re.search(r"\((\d+, \d+)\) <= v < \((\d+, \d+)\)", read(ROOT / "Makefile")).groups()
    assert PYTHONS == SpecifierSet(f">={low.replace(', ', '.')},<{high.replace(', ', '.')}")
    matrix = yaml.safe_load(read(ROOT / ".github/workflows/ci.yml"))["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert matrix == [f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in PYTHONS]


def test_versions_agree():
    assert yaml.safe_load(read(ROOT / "CITATION.cff"))["version"] == PROJECT["version"]
    assert re.search(r"(?m)^## (\S+)", read(ROOT / "CHANGELOG.md"))[1] == PROJECT["version"]


def test_make_help_lists_every_target():
    makefile = read(ROOT / "Makefile")
    phony = re.search(r"(?m)^\.PHONY: (.+)$", makefile)[1].split()
    assert sorted(targets()) == sorted(phony)
    assert {"help", "env", "book", "test", "lint", "quick", "full", "serve", "clean", "lock"} <= set(phony)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_documents_name_commands_that_exist(document):
    code = "\n".join(re.findall(r"(?s)```.*?```|`[^`\n]+`", read(document)))
    made = set(re.findall(r"(?m)(?:^|`)make (\w+)", code))
    asked = set(re.findall(r"(?m)(?:^|`)kdstudy ([a-z-]+)", code))
    commands = {c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands}
    assert made <= set(targets())
    assert asked <= commands


def test_no_registry_or_home_is_named():
    """Neither belongs in a repository that others clone."""
    words = re.compile(r"\bpypi\.|python[h]osted|conda\.anaconda|(?<![\w.])/(?:home|root|Users)/")
    found = [ROOT / "Makefile", ROOT / ".ci/run", *ROOT.glob("*.*"), *(ROOT / "kdstudy").rglob("*.[pt]*")]
    found += [*(ROOT / "tests").rglob("*.py"), *(ROOT / "book").glob("*.*"), *(ROOT / "book").glob("[cp]*/*")]
    found += (ROOT / ".github").rglob("*.yml")
    texts = [p for p in found if p.is_file() and "__pycache__" not in p.parts and p != Path(__file__)]
    assert len(texts) > 30
    assert [p.name for p in texts if words.search(read(p))] == []
