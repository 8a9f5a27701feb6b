"""The example of the diagnosis: logits of one teacher and of its student, and the same teacher spoilt on purpose."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy, kl_div

from kdstudy.core import paths
from kdstudy.core.spec import Data, Recipe, Run
from kdstudy.data.registry import load
from kdstudy.diagnosis.api import diagnose
from kdstudy.diagnosis.watch import COLUMNS, Watch, Watched
from kdstudy.distill import conditions
from kdstudy.store.working import Store
from kdstudy.study.beds import TEACHER_SEED
from kdstudy.study.calibration import teachers
from kdstudy.study.calibration.table import logits
from kdstudy.study.calibration.teachers import CORRUPTIONS, EXPECTED

EXAMPLE = paths.ROOT / "data/results/example_teacher.npz"


def student() -> Run:
    """The KD student of seed 0 on the synthetic task at tau = 2, alpha = 0.9, and with it its teacher."""
    data, kd = Data("synthetic"), conditions.make("kd", tau=2.0, alpha=0.9)
    teacher = Run(data, Recipe((256,), 20, lr=0.03), conditions.make("hard"), TEACHER_SEED)
    return Run(data, Recipe((16,), 30, lr=0.2), kd, 0, teacher)


def write(path: Path = EXAMPLE, run: Run | None = None, store: Store | None = None) -> Path:
    """Write the logits of a student (by default `student()`) and its teacher as float16; what is missing is trained.

    Held-out examples are those of the validation split. The file holds what `diagnosis.files.read` knows.
    """
    run, store = run or student(), store or Store()
    data, left = load(run.data), logits([run.teacher, run], store)
    v, z = ({name.removeprefix("logits_"): a.astype(np.float16) for name, a in left[r.key].items()}
            for r in (run.teacher, run))  # fmt: skip
    groups = {} if data.superclass is None else {"superclass": np.asarray(data.superclass)}
    np.savez_compressed(
        path, teacher_logits=v["train"], student_logits=z["train"], labels=data.train.y.numpy().astype(np.int16),
        heldout_teacher_logits=v["validation"], student_val_logits=z["validation"],
        heldout_labels=data.validation.y.numpy().astype(np.int16), class_names=np.array(data.classes), **groups,
    )  # fmt: skip
    return path


def spoilt(arrays: Mapping[str, object], rows: int = 4000) -> pd.DataFrame:
    """What is found in a teacher's first `rows` examples once they are spoilt as `study.calibration` does it."""
    v, y = (np.asarray(arrays[name])[:rows] for name in ("teacher_logits", "labels"))
    found = []
    for i, (kind, fn) in enumerate(CORRUPTIONS.items()):
        if v.shape[1] >= fn.classes:
            after = teachers.spoilt(kind, v.astype(np.float32), y.astype(np.int64), np.random.default_rng(i))
            found.append({"done": fn.__doc__.split("\n")[0], "meant": EXPECTED[kind],
                          "found": ", ".join(diagnose(*after).codes)})  # fmt: skip
    return pd.DataFrame(found)


def watched(rows_off: int = 0, steps: int = 150, tau: float = 2.0, alpha: float = 0.9) -> tuple[Watched, float]:
    """A student of digits is watched as it learns from stored logits that are so many rows off; its test accuracy."""
    data, watch = load(Data("digits")), Watch(tau, alpha, say_at=min(50, steps))
    x, y, inputs, classes = data.train.x, data.train.y, data.train.x.shape[1], len(data.classes)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        teacher = torch.nn.Sequential(torch.nn.Linear(inputs, 64), torch.nn.ReLU(), torch.nn.Linear(64, classes))
        student = torch.nn.Linear(inputs, classes)
        slow, fast = torch.optim.Adam(teacher.parameters(), 5e-3), torch.optim.Adam(student.parameters(), 1e-2)
        for _ in range(60):
            slow.zero_grad()
            cross_entropy(teacher(x), y).backward()
            slow.step()
        stored = teacher(x).detach().roll(rows_off, 0)
        for step in range(steps):
            at = torch.arange(64 * step, 64 * (step + 1)) % len(y)
            z, v = student(x[at]), stored[at]
            soft = kl_div((z / tau).log_softmax(-1), (v / tau).softmax(-1), reduction="batchmean")
            fast.zero_grad()
            ((1 - alpha) * cross_entropy(z, y[at]) + alpha * tau**2 * soft).backward()
            fast.step()
            watch.step(z, v, y[at])
    return watch.report(), float((student(data.test.x).argmax(-1) == data.test.y).float().mean())


def beside(seen: Mapping[str, tuple[Watched, float]], at: tuple[int, ...] = (1, 50, 150)) -> pd.DataFrame:
    """Watched distillations side by side: what was seen at some steps, what was found, and what was learnt."""
    columns = {}
    for name, (report, accuracy) in seen.items():
        steps = report.history.loc[list(at)]
        cells = {said: " → ".join(f"{v:.2f}" for v in steps[key]) for key, said in COLUMNS.items()}
        columns[name] = cells | {"found": ", ".join(report.codes), "student's test accuracy": f"{accuracy:.2f}"}
    return pd.DataFrame(columns).rename_axis(f"at steps {', '.join(map(str, at))}").reset_index()
