"""Settings shared by all tests: shapes and types checked, no network, no store but the test's own."""

import re
import sys
from functools import wraps
from pathlib import Path

from jaxtyping import install_import_hook

hook = install_import_hook("kdstudy", "typecheck.check")

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

from kdstudy.core.caution import caution  # noqa: E402
from kdstudy.core.spec import Data, Recipe, Run, pairs  # noqa: E402
from kdstudy.data import registry  # noqa: E402
from kdstudy.distill import conditions  # noqa: E402
from kdstudy.engine import stacks  # noqa: E402
from kdstudy.study.beds import TEACHER_SEED  # noqa: E402
from kdstudy.train import mlp  # noqa: E402

pytest_plugins = ["small_study"]
pytest.register_assert_rewrite("stored", "tiny_files")  # they say what they compared, as tests do
settings.register_profile("study", deadline=None, max_examples=30)  # a busy machine is no failure
settings.load_profile("study")

SMALL = {"classes": 6, "features": 12, "superclasses": 2, "train": 96, "validation": 48, "test": 64}
TINY = Data("synthetic", pairs(SMALL))


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has an empty store, no published results, and trains in its own process, silently."""
    monkeypatch.setenv("KDSTUDY_WORKERS", "1")
    monkeypatch.setenv("KDSTUDY_PROGRESS", "quiet")
    monkeypatch.setenv("KDSTUDY_STORE", str(tmp_path / "runs.sqlite"))
    monkeypatch.setenv("KDSTUDY_RESULTS", str(tmp_path / "results"))
    caution.cache_clear()  # what one test was told another is told again, on its terminal
    if "IPython" in sys.modules:
        sys.modules["IPython"].InteractiveShell.clear_instance()
    return tmp_path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of data sets, no folder of the user's, and nothing in memory."""
    monkeypatch.delenv("KDSTUDY_DATA", raising=False)
    monkeypatch.setenv("KDSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield tmp_path / "cache"
    registry.load.cache_clear()


@pytest.fixture
def on_cpu(monkeypatch):
    """Bit-identity whatever the stack's width is promised on the CPU only."""
    monkeypatch.setattr(stacks, "device", lambda: "cpu")


@pytest.fixture
def trained(monkeypatch) -> list[list[Run]]:
    """The stacks handed to `training.train`, in order."""
    handed, real = [], mlp.train

    @wraps(real)
    def counting(stack, *args, **options):
        handed.append(list(stack))
        return real(stack, *args, **options)

    monkeypatch.setattr(mlp, "train", counting)
    return handed


def says(message: str) -> str:
    """A pattern that matches this text and no other."""
    return f"^{re.escape(message)}$"


def teacher_of(data: Data, recipe: Recipe, seed: int) -> Run:
    """The hard-label teacher that student seed `seed` listens to."""
    return Run(data, recipe, conditions.make("hard"), TEACHER_SEED + seed)


def tiny_run(name: str = "hard", seed: int = 0, teacher: bool = True, **changes: object) -> Run:
    """A run of milliseconds; `changes` may hold condition parameters and recipe fields."""
    params = {k: v for k, v in changes.items() if k in conditions.parameters(name)}
    fields = {"hidden": (5,), "epochs": 2, "batch": 16, "lr": 0.1} | {
        k: v for k, v in changes.items() if k not in params
    }
    listened = None
    if conditions.listens(name) and teacher:
        recipe = Recipe((9,), 2, batch=16, dtype=fields.get("dtype", "float32"))
        listened = teacher_of(TINY, recipe, seed)
    return Run(TINY, Recipe(**fields), conditions.make(name, **params), seed, listened)


def mixed_runs(seeds: int = 2, dtype: str = "float64") -> list[Run]:
    """Every condition, with mixed temperatures, weights, learning rates and weight decays."""
    runs = []
    for i, name in enumerate(conditions.CONDITIONS):
        for seed in range(seeds):
            knobs = {"tau": 1.0 + 1.5 * (i % 4), "alpha": 0.4 + 0.1 * (i % 7), "epsilon": 0.3, "dose": 0.6}
            known = conditions.parameters(name)
            runs.append(
                tiny_run(name, seed, dtype=dtype, lr=0.05 * (1 + i % 3), weight_decay=0.01 * (i % 2),
                         **{k: v for k, v in knobs.items() if k in known})
            )  # fmt: skip
    return runs


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks this small only lose by a second thread, most of all where cores are busy."""
    torch.set_num_threads(1)
