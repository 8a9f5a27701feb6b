"""`kdstudy diagnose`: what it prints, the report it writes, how it exits."""

import os
import subprocess
import sys

import numpy as np
import pytest
from logit_files import answered, call, example, save, strict

from kdstudy import diagnose
from kdstudy.diagnosis.files import read


@pytest.fixture
def file(tmp_path):
    """A teacher without a fault."""
    return save(tmp_path / "mine.npz", **example(), class_names=["[red]a[/]", "<b>b</b>", "c", "d", "e"])


def shuffled(folder) -> object:
    """The same with its rows reversed."""
    whole = example()
    return save(folder / "shuffled.npz", **whole | {"labels": whole["labels"][::-1]})


def test_json_is_the_diagnosis_and_nothing_else(file):
    done = call(file, "--json", "--tau", 3)
    wanted = diagnose(**read(str(file))[0], tau=3.0).as_dict()
    wanted["facts"] |= {"file": "mine.npz", "ignored": []}
    assert strict(done.stdout) == wanted
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("suffix", [".safetensors", ".parquet"])
def test_formats_agree(tmp_path, file, suffix):
    other = save(tmp_path / f"mine{suffix}", **read(str(file))[0])
    one, two = (strict(call(path, "--json").stdout) for path in (file, other))
    assert one | {"facts": one["facts"] | {"file": other.name}} == two


def test_an_error_ends_with_exit_code_1(tmp_path):
    path = shuffled(tmp_path)
    done = call(path)
    assert done.exit_code == 1
    assert "\nerror misaligned\n" in done.stdout
    assert "In doubt: misaligned." in done.stdout
    assert call(path, "--json").exit_code == 1


def test_the_summary_fits_80_columns(file):
    done = call(file)
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout.startswith("No fault found.\n\ninfo healthy\n")
    assert "\n  file: mine.npz\n  data: 300 examples, 5 classes, float32 (logits)\n" in done.stdout
    places = [done.stdout.index(f"\n{word}") for word in ("  universe:", "  domain:", "  instance:", "recommended τ: ")]
    assert places == sorted(places)


def test_the_temperature_in_use_is_judged(file):
    assert "warning temperature_high" in call(file, "--tau", "400").stdout
    assert "At τ = 400 it is" in call(file, "--tau", "400").stdout


def test_the_option_goes_before_the_temperature_of_the_file(tmp_path):
    path = save(tmp_path / "a.npz", **example(), tau=400.0)
    assert "temperature_high" in call(path).stdout
    assert "temperature_high" not in call(path, "--tau", "2").stdout


def test_a_second_file_of_held_out_examples(tmp_path, file):
    done = call(file, "--heldout", save(tmp_path / "other.npz", **example(200, seed=1)), "--json")
    assert strict(done.stdout)["facts"]["heldout"] is True


def test_names_that_are_left_out_are_told(tmp_path):
    path = save(tmp_path / "a.npz", **example(), student_logit=np.zeros(2))
    assert "names left out: student_logit (did you mean student_logits?)" in call(path).stdout


def test_a_report_is_written_beside_the_summary(tmp_path, file):
    target = tmp_path / "new" / "report.html"
    done = call(file, "-o", target)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.replace("\n", "").endswith(f"report {target}")
    assert target.read_text("utf-8").startswith("<!doctype html>")


def test_json_and_a_report(tmp_path, file):
    assert answered(call(file, "--json", "-o", tmp_path / "report.html")) == "answered"
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tau", "warm"), "--tau: found 'warm', allowed: a number above 0"),
        (("--tau", "-1"), "--tau: found '-1', allowed: a number above 0"),
        (("--tau", "inf"), "--tau: found 'inf', allowed: a number above 0"),
        (("--tau", "1e9"), "tau: found 1000000000.0, allowed: a number from 0.001 to 1000"),
        (("-o", "report.pdf"), "-o: found 'report.pdf', allowed: the name of a file that ends in .html"),
        (("-o", "/proc/none/report.html"), "-o: /proc/none/report.html cannot be written (No such file or directory); "
                                           "name another file"),
    ],
)  # fmt: skip
def test_words_that_are_of_no_use(file, words, message):
    done = call(file, *words)
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


def test_a_file_that_is_of_no_use(tmp_path):
    done = call(tmp_path / "none.npz", "--json")
    why = "found no file that can be read (No such file or directory), allowed: a file of logits; check the path"
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"error: {tmp_path}/none.npz: {why}\n")
    done = call(save(tmp_path / "one.npz", teacher_logits=np.zeros((3, 1)), labels=[0, 0, 0]))
    why = "teacher_logits: found 1 classes (shape (3, 1)), allowed: at least 2; one logit z for two classes is [0, z]"
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"error: {why}\n")


def test_a_name_that_is_no_unicode(tmp_path):
    """In a process of its own: Python keeps such bytes of a path as lone surrogates."""
    path = os.fsencode(tmp_path) + b"/\xff.npz"
    command = [sys.executable, "-c", "from kdstudy.cli.main import main; main()", "diagnose", path]
    env = os.environ | {"PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, env=env)
    assert (done.returncode, done.stdout) == (2, b"")
    assert rb"\udcff.npz: found no file that can be read" in done.stderr and done.stderr.count(b"\n") == 1
