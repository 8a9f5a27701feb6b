"""`kdstudy train`: a chapter's study without its notebook, in so many minutes at a time."""

import subprocess
import sys

import pytest
from command import shell

from kdstudy.store.working import Store
from kdstudy.study import beds

SMALL = ("-p", "settings", "2", "-p", "tuning", "1", "-p", "seeds", "2", "-p", "admission", "2", "-p", "labels", "3")


@pytest.fixture
def call(monkeypatch, capsys, own_store):
    monkeypatch.setattr(beds, "STEPS", {"teacher": 20, "student": 20})
    monkeypatch.setattr(beds, "EPOCHS", 1)
    monkeypatch.setenv("KDSTUDY_WORKERS", "1")
    return shell(monkeypatch, capsys)


def test_a_study_is_trained_and_stored(call):
    code, out, _ = call("train", "universe", "--dataset", "digits", "-p", "conditions", "hard", *SMALL)
    assert code == 0 and out.startswith("universe: ") and out.endswith(" runs are stored\n")
    assert 0 < len(Store().keys())


def test_when_its_time_is_over_it_ends_and_the_same_command_goes_on(call, monkeypatch):
    words = ("train", "universe", "--dataset", "digits", "-p", "conditions", "hard", *SMALL)
    monkeypatch.setattr(beds, "STEPS", {"teacher": 20, "student": 4000})
    code, out, _ = call(*words, "--minutes", "0.02")
    assert code == 75 and "0.02 minutes are over: what was finished is kept; the same command goes on" in out
    monkeypatch.setattr(beds, "STEPS", {"teacher": 20, "student": 20})
    assert call(*words)[1].endswith(" runs are stored\n")


@pytest.mark.parametrize(
    "words, message",
    [
        (("universe", "--minutes", "0"), "--minutes: found 0.0, allowed: a number above 0, up to 100000"),
        (("universe", "--minutes", "inf"), "--minutes: found inf, allowed: a number above 0"),
        (("universe", "-p", "seeds", "2", "-p", "seeds", "3"), "parameter seeds: found ['2', '3'], allowed: one value"),
        (("universe", "-p", "epochs"), "parameter epochs: found '', allowed: -p epochs=VALUE or -p epochs VALUE"),
        (("univers",), "did you mean 'universe'?"),
        (("universe", "-p", "tau", "3"), "chapter universe has no parameter 'tau'"),
        (("universe", "-p", "seeds", "many"), "parameter seeds: found 'many', allowed: int"),
    ],
)
def test_wrong_words_are_one_sentence(call, words, message):
    code, _, err = call("train", *words)
    assert code == 1 and message in err and "Traceback" not in err


def test_no_package_of_notebooks_downloads_or_figures_is_needed():
    absent = ["pooch", "papermill", "nbformat", "nbclient", "jupyter_book", "platformdirs", "seaborn", "matplotlib"]
    command = "from kdstudy.cli import main; from kdstudy.study import plans; main.app(['train', '--help'])"
    code = f"import sys; sys.modules |= dict.fromkeys({absent}); {command}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0 and "--minutes" in ended.stdout, ended.stderr
