"""`kdstudy run` as a process that is killed, has a neighbour, and fills its disk: nothing stored is lost.

KDSTUDY_KILLS=20 kills it as often.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import numpy as np
import pytest
from command import PARAMETERS
from stored import contents

from kdstudy.store.working import Store

KILLS = int(os.environ.get("KDSTUDY_KILLS", 2))
CODE = (  # without cells and pages, which take longest
    "from pathlib import Path; from kdstudy.core import paths; paths.output_folder = lambda: Path.cwd() / 'out'; "
    "import shutil; from kdstudy.book import build, notebooks; build.render = lambda notebook, *_: notebook; "
    "notebooks.execute = lambda notebook, target, *_, **options: shutil.copy(notebook, target); "
    "from kdstudy.cli.main import main; main()"
)


class Shell:
    """A folder with data and a small chapter, and the command in it; each store is one of its folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        source = PARAMETERS.replace("Several[str]", "str | list[str]")
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "universe.ipynb")
        y = np.arange(120) % 3
        np.savez(folder / "own.npz", x=np.eye(3)[y] + np.random.default_rng(0).normal(size=(120, 3)), y=y)

    def start(self, store: str, *more: str) -> subprocess.Popen:
        """The command begun, its results in runs.sqlite of the folder `store`."""
        (self.folder / store).mkdir(exist_ok=True)
        words = ["run", "universe.ipynb", "-p", "dataset", "own.npz", "-p", "conditions", "hard,kd_pt"]
        words += ["-p", "settings", "1", "-p", "tuning", "1", *more]
        env = {"KDSTUDY_STORE": str(self.store(store)), "KDSTUDY_CACHE": str(self.folder / "cache")}
        env |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "KDSTUDY_WORKERS": "1"}
        return subprocess.Popen([sys.executable, "-c", CODE, *words], cwd=self.folder, env=os.environ | env,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip

    def store(self, name: str) -> Path:
        """The file of a store."""
        return self.folder / name / "runs.sqlite"

    def finish(self, *begun: subprocess.Popen) -> None:
        """Wait until they end well."""
        for process in begun:
            out, err = process.communicate()
            assert (process.returncode, "notebook" in out) == (0, True), err


@pytest.fixture(scope="module")
def shell(tmp_path_factory) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="module")
def whole(shell) -> tuple[dict, dict]:
    """What the store holds after two processes that both must train."""
    shell.finish(shell.start("whole"), shell.start("whole", "-o", "other.ipynb"))
    return contents(shell.store("whole"))


def test_two_that_both_must_train_share_one_store_and_one_index(shell, whole):
    index = (shell.folder / "out/index.json").read_text("utf-8")
    assert len(whole[0]) > 9 and "other.ipynb" in index and index.count("runs were answered") == 2


def test_killed_at_any_moment_the_same_command_goes_on_and_completes(shell, whole):
    rng, kept, (rows, arrays) = np.random.default_rng(0), {}, whole
    for kill in range(KILLS):
        process, most = shell.start("killed"), len(kept) + (len(rows) - len(kept)) // (KILLS - kill + 1)
        while process.poll() is None:
            with suppress(OSError):
                if len(Store(shell.store("killed")).keys()) >= most:
                    break
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
        now, now_arrays = contents(shell.store("killed"))
        assert kept.items() <= now.items() <= rows.items() and now_arrays.items() <= arrays.items()
        kept = now
    shell.finish(shell.start("killed"))
    assert contents(shell.store("killed")) == whole


def test_on_a_full_disk_it_says_so_and_completes_once_there_is_space(shell, whole):
    disk = shell.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        process = shell.start("disk")
        _, err = process.communicate()
        assert process.returncode == 1 and "Traceback" not in err
        assert "free some space on its disk and give the same command again: what was finished is kept" in err
        kept, _ = contents(shell.store("disk"))
        assert 0 < len(kept) < len(whole[0]) and kept.items() <= whole[0].items()
        subprocess.run(["mount", "-o", "remount,size=9m", disk], check=True)
        shell.finish(shell.start("disk"))
        assert contents(shell.store("disk")) == whole
    finally:
        subprocess.run(["umount", disk], check=True)
