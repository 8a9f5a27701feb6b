"""The wheel, installed without a network and used from an empty folder: nothing is written beside the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kdstudy.core.paths import CHECKOUT

PARTS = ("kdstudy", "book", "data", "pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the package as the wheel has it."""
    folder = tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns("__pycache__", "downloads", "store", "_build", "_stage")
    (folder / "source").mkdir()
    for part in (CHECKOUT / name for name in PARTS):
        if part.is_dir():
            shutil.copytree(part, folder / "source" / part.name, ignore=skip)
        else:
            shutil.copy(part, folder / "source")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "install", *offline, "--target", folder / "site", folder / "source"], check=True)
    return folder / "site"


@pytest.fixture
def use(installed, tmp_path):
    """Run Python code in an empty folder with the installed package; returns what it prints."""
    (tmp_path / "empty").mkdir()
    free = {k: v for k, v in os.environ.items() if not k.startswith("KDSTUDY_")}
    home = {
        "HOME": tmp_path / "home",
        "XDG_DATA_HOME": tmp_path / "home/data",
        "XDG_CACHE_HOME": tmp_path / "home/cache",
    }
    env = free | {k: str(v) for k, v in home.items()} | {"PYTHONPATH": str(installed), "KDSTUDY_WORKERS": "1"}

    def call(code: str, *words: str) -> str:
        before = sorted(p for p in installed.rglob("*") if "__pycache__" not in p.parts)
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path / "empty")
        assert sorted(p for p in installed.rglob("*") if "__pycache__" not in p.parts) == before
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    return call


COMMAND = "from kdstudy.cli.main import main; main()"


def test_results_are_found_and_what_is_trained_goes_to_the_user_s_folder(use, installed, tmp_path):
    code = (
        "import kdstudy\nfrom kdstudy.store.published import Published\nfrom kdstudy.store.working import Store\n"
        "print(kdstudy.__file__)\nprint(len(Published().frame()) > 1000)\nStore()\n"
        "from kdstudy.book.build import chapters\nprint(len(chapters()) > 10)"
    )
    assert use(code).splitlines()[:3] == [str(installed / "kdstudy/__init__.py"), "True", "True"]
    assert (tmp_path / "home/data/kdstudy/data/store/runs.sqlite").exists()


def test_a_chapter_is_executed(use, tmp_path):
    values = {"dataset": "digits", "conditions": "kd", "settings": 1, "tuning": 1, "seeds": 1, "admission": 1}
    out = use(COMMAND, "run", "universe", *(word for k, v in values.items() for word in ("-p", f"{k}={v}")))
    assert len([*(tmp_path / "empty/out").glob("universe-digits-*/universe/index.html")]) == 1, out


def test_what_needs_the_package_s_files_finds_them(use, installed):
    assert use(COMMAND, "--version").startswith("kdstudy ")
    assert "kd (tau = 2, alpha = 0.9)" in use(COMMAND, "conditions")
    example = installed / "kdstudy/shipped/data/results/example_teacher.npz"
    assert "No fault found." in use(COMMAND, "diagnose", str(example))
    assert "what is installed is not written to" in use(COMMAND, "full")
