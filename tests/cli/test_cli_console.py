"""What every command does: print in any encoding, end without a traceback, be loud or quiet."""

import errno
import io
import os
import subprocess
import sys

import pytest
import typer

from kdstudy.cli import console

COMMANDS = [
    "conditions",
    "--help",
    "run --help",
    "runs",
    "claims",
    "run univers",
    "plan univers",
    "diagnose absent.npz",
]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_command_prints_in_any_encoding_and_without_a_traceback(encoding, tmp_path):
    env = os.environ | {"PYTHONIOENCODING": encoding, "LANG": "C", "PYTHONUTF8": "0", "KDSTUDY_PROGRESS": ""}
    code = (
        "import sys\nfrom kdstudy.cli.main import main\nfor words in sys.argv[1:]:\n"
        " sys.argv = ['kdstudy', *words.split()]\n try:\n  main()\n"
        " except SystemExit as ended:\n  print('ended', ended.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *COMMANDS], capture_output=True, env=env, cwd=tmp_path, check=False
    )
    text, said = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert done.returncode == 0 and "Traceback" not in said
    assert [line for line in text.splitlines() if line.startswith("ended")] == [
        f"ended {n}" for n in (0, 0, 0, 0, 1, 1, 1, 2)
    ]
    assert "tau" in text and "are neither stored nor published" in said


def test_characters_that_a_terminal_lacks_are_spelt(monkeypatch):
    for encoding, shown in {
        "ascii": "tau alpha -1 x e ?",
        "latin-1": "tau alpha -1 \xd7 \xe9 ?",
        "utf-8": "τ α −1 × é 漢",
    }.items():
        stream = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        console.in_any_encoding()
        print("τ α −1 × é 漢", end="", flush=True)
        assert stream.buffer.getvalue().decode(encoding) == shown


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space", "a.ipynb"),
            "error: the disk of a.ipynb is full; free some space and give the same",
        ),
        (KeyError("x"), "error: KeyError: 'x'; `kdstudy -v ...` shows where"),
        (ValueError("found [/red] x"), "error: found [/red] x"),
    ],
)
def test_errors_end_in_one_sentence(error, said, capsys):
    with pytest.raises(typer.Exit), console.plainly():
        raise error
    assert " ".join(capsys.readouterr().err.split()).startswith(said)
