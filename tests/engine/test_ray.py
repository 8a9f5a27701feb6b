"""The executor "ray" on a cluster of two nodes: the numbers of `local`, whatever is killed."""

import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")

import ray_hooks  # noqa: E402
import torch  # noqa: E402
from conftest import tiny_run  # noqa: E402
from ray_cluster import nodes  # noqa: E402
from ray_study import WIDTH, study  # noqa: E402
from stored import contents, same  # noqa: E402

from kdstudy.distill import conditions  # noqa: E402
from kdstudy.distill.conditions import Target  # noqa: E402
from kdstudy.engine import ask as runs  # noqa: E402
from kdstudy.engine import ray as ray_executor  # noqa: E402
from kdstudy.engine import stacks  # noqa: E402
from kdstudy.store.working import Store  # noqa: E402

pytestmark = pytest.mark.usefixtures("on_cpu")
SCRIPT = Path(__file__).parents[1].joinpath("ray_study.py")


@pytest.fixture(scope="module")
def two():
    """Two nodes that this process is connected to from the first study on."""
    with nodes(2) as cluster:
        yield cluster
        ray.shutdown()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The store of the study trained by `local`."""
    path = tmp_path_factory.mktemp("whole") / "runs.sqlite"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "device", lambda: "cpu")
        patch.setenv("KDSTUDY_WORKERS", "1")
        runs.ask(study(), store=Store(path))
    return path


@pytest.fixture
def mark(tmp_path) -> Path:
    """The folder that hooks leave their marks in."""
    (tmp_path / "mark").mkdir()
    return tmp_path / "mark"


@pytest.fixture
def ask(two, mark, monkeypatch):
    """Ask for the study on the cluster, a hook in its workers; returns the warnings."""

    def ask(hook, width: int = WIDTH) -> list[str]:
        monkeypatch.setattr(stacks, "WIDEST", width)
        monkeypatch.setattr(ray_executor, "task", ray_hooks.spoiled(hook, mark))
        with warnings.catch_warnings(record=True, action="always") as said:
            runs.ask(study(), f"ray:{two.address}")
        return [str(w.message) for w in said]

    return ask


def test_two_nodes_give_the_numbers_of_one_machine(ask, whole, mark):
    assert ask(ray_hooks.both) == []
    assert same(Store().path, whole)
    assert len(list(mark.iterdir())) == 2  # nodes


def test_a_condition_that_is_registered_here_is_known_on_the_nodes(two, monkeypatch):
    def mine(label, ctx):
        hot = torch.nn.functional.one_hot(label, ctx.classes).to(ctx.dtype)
        return Target(hot, 0 * hot, hot.new_zeros(len(hot)))

    monkeypatch.setitem(conditions.CONDITIONS, "mine", mine)
    asked = [tiny_run("mine", s) for s in range(2)]
    frame = runs.ask(asked, f"ray:{two.address}")
    assert list(frame["source"]) == ["trained"] * 2 and not frame["stale"].any()


def test_the_stack_of_a_killed_worker_is_sent_again(ask, whole, mark):
    assert ask(ray_hooks.killed) == ["a stack of 2 runs was lost (WorkerCrashedError): sent again"]
    assert (mark / "killed").exists()
    assert same(Store().path, whole)


def test_a_stack_whose_workers_all_die_is_given_up(ask):
    message = "a stack of 2 runs was lost 4 times (WorkerCrashedError): `ray status` and the logs of its nodes may "
    with pytest.raises(RuntimeError) as error:
        ask(ray_hooks.doomed)
    assert str(error.value) == message + ("say why. What was finished is kept; the same command goes on from there")
    assert Store().rows() == {}


def test_a_stack_that_does_not_fit_is_halved(ask, whole):
    said = ask(ray_hooks.narrow, width=6)
    assert {text.partition(" (")[0] for text in said} == {
        "a stack of 6 runs did not fit: trained as 3 + 3",
        "a stack of 3 runs did not fit: trained as 2 + 1",
    }
    assert same(Store().path, whole)


def test_an_error_of_the_application_is_raised_as_it_is_and_tried_once(ask, mark):
    with pytest.raises(ValueError, match="^labels: found 7, allowed: 0 to 5$"):
        ask(ray_hooks.wrong, width=64)
    assert len(list(mark.iterdir())) <= 2  # stacks in work, each once
    assert Store().rows() == {}


def test_a_lost_node_loses_no_run(two, ask, whole, mark):
    def lose() -> None:
        ray_hooks.until(lambda: len(list(mark.glob("waits*"))) == 2)
        kept.update(Store().rows())
        two.order("lose")
        (mark / "go").touch()

    kept: dict[str, dict] = {}
    thread = threading.Thread(target=lose)
    thread.start()
    try:
        said = ask(ray_hooks.held)
    finally:
        thread.join()
        two.order("add")
    assert kept
    assert {k: v for k, v in Store().rows().items() if k in kept} == kept
    assert said
    assert {text.partition(" (")[0] for text in said} == {"a stack of 2 runs was lost"}
    assert same(Store().path, whole)


def start(address: str, store: Path, hook: str, mark: Path) -> subprocess.Popen:
    """The study as a process of its own, which can be interrupted even where the tests themselves cannot."""
    words = [sys.executable, SCRIPT, address, store, hook, mark]
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [*map(str, words)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def wait(mark: Path, store: Path) -> None:
    """Wait until some stacks are kept and both workers are busy."""
    ray_hooks.until(lambda: len(list(mark.glob("waits*"))) == 2 and len(Store(store).rows()) >= 2 * WIDTH)


def test_a_killed_driver_goes_on_from_there(two, whole, mark, tmp_path):
    store, rows = tmp_path / "driver.sqlite", contents(whole)[0]
    with start(two.address, store, "held", mark) as first:
        wait(mark, store)
        first.kill()
    assert first.returncode == -signal.SIGKILL
    kept = contents(store)[0]
    assert 2 * WIDTH <= len(kept) < len(rows)
    assert kept == {k: rows[k] for k in kept}
    (tmp_path / "noted").mkdir()
    with start(two.address, store, "noted", tmp_path / "noted") as second:
        second.communicate(timeout=300)
    assert second.returncode == 0
    assert {p.name for p in (tmp_path / "noted").iterdir()} == rows.keys() - kept.keys()
    assert same(store, whole)


def test_an_interrupt_keeps_what_was_finished_and_frees_the_workers(two, whole, mark, tmp_path):
    store, rows = tmp_path / "driver.sqlite", contents(whole)[0]
    with start(two.address, store, "held", mark) as process:
        wait(mark, store)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert "interrupted: what was finished is kept; the same command goes on from there" in said
    kept = contents(store)[0]
    assert kept == {k: rows[k] for k in kept}
    waiting = [int(p.name.removeprefix("waits")) for p in mark.glob("waits*")]
    ray_hooks.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in waiting))
    assert not any(Path(f"/proc/{pid}").exists() for pid in waiting)


def test_a_worker_that_the_memory_monitor_ends_is_halved_down_to_one_run(tmp_path, mark):
    store = tmp_path / "driver.sqlite"
    with (
        nodes(1, RAY_memory_usage_threshold="0.0", RAY_memory_monitor_refresh_ms="50") as full,
        start(full.address, store, "held", mark) as process,
    ):
        said = process.communicate(timeout=300)[1]
    assert process.returncode == 1
    assert "a stack of 2 runs did not fit: trained as 1 + 1 (Ray ended its worker because" in said
    assert "error: a single run does not fit in memory (synthetic, hard, seed " in said


def test_an_address_that_nobody_answers_is_an_error_soon(monkeypatch):
    monkeypatch.setattr(ray_executor, "PATIENCE", 0.1)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    ways = {"": "127.0.0.1:1", "RAY_ADDRESS": "127.0.0.1:2", "KDSTUDY_RAY_ADDRESS": "ray://127.0.0.1:3"}
    for variable, address in ways.items():
        monkeypatch.setenv(variable or "UNUSED", address)
        with pytest.raises(ConnectionError) as error:
            runs.ask(study(), "ray" if variable else f"ray:{address}")
        assert str(error.value) == f"no Ray cluster answers at {address} within 0.1 s. {ray_executor.hint()}"
    with pytest.raises(ValueError, match="^address: found 'head', allowed: 'auto', 'local', HOST:PORT, ray://HOST"):
        runs.ask(study(), "ray:head")


def test_a_stack_takes_a_core_and_its_share_of_a_gpu(monkeypatch):
    for share, have, got in (("", {}, 0), ("", {"GPU": 1}, 0.25), ("0.5", {"GPU": 1}, 0.5), ("1", {}, 1)):
        monkeypatch.setenv("KDSTUDY_GPUS_PER_STACK", share)
        assert ray_executor.needs({"CPU": 4} | have) == {"num_cpus": 1, "num_gpus": got}
    for share in ("2", "-1", "half", "nan"):
        monkeypatch.setenv("KDSTUDY_GPUS_PER_STACK", share)
        message = f"^KDSTUDY_GPUS_PER_STACK: found '{share}', allowed: a number from 0 to 1$"
        with pytest.raises(ValueError, match=message):
            ray_executor.needs({"GPU": 1})


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RuntimeError) as error:
        runs.ask(study(), "ray")
    assert str(error.value).startswith("executor 'ray': import of ray halted; None in sys.modules. Install the extra ")
    assert "pip install -e '.[cluster]'" in str(error.value)
