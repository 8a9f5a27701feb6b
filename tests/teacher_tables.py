"""Small hand-made tables of teachers and of the students that listen to them."""

import numpy as np
import pandas as pd

from kdstudy.engine import teacher_statistics as anatomy

DATASETS = ("digits", "mine")
COMMON = {"device": "CPU", "stale": False, "options": "{}", "weight_decay": 0.0}
EPSILONS, TAUS, ALPHAS = (0.0, 0.1, 0.4), (1.0, 4.0), (0.5, 0.9)


def smoothed_teachers(seeds: int, epsilons: tuple[float, ...] = EPSILONS) -> pd.DataFrame:
    """Teachers that gain 0.1 epsilon; the plain one has no column value, as in a real table."""
    rows = [
        {"key": f"t{d}{s}{e}", "dataset": d, "seed": 10_000 + s, "hidden": "32", "epochs": 20.0,
         "epsilon": e or np.nan, "condition": "label_smoothing" if e else "hard",
         "test_accuracy": 0.8 + 0.01 * s + e * (0.1 + 0.001 * s)}
        for d in DATASETS for s in range(seeds) for e in epsilons
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**COMMON)


def smoothed_students(seeds: int, epsilon: float = 0.0, conditions: tuple[str, ...] = ("kd",)) -> pd.DataFrame:
    """Students that lose epsilon (tau - 1) / 10, matched smoothing twice that."""
    rows = []
    for d in DATASETS:
        for s in range(seeds):
            for c in conditions:
                for tau in TAUS:
                    for alpha in ALPHAS:
                        lost = epsilon * (tau - 1) / 10 * (2 if c == "label_smoothing_matched" else 1)
                        right = 0.7 + 0.02 * (c == "kd") + 0.01 * s + 1e-3 * alpha + epsilon * 1e-3 * s - lost
                        rows.append((f"{d}{s}{c}{tau}{alpha}{epsilon}", d, s, c, tau, alpha, right,
                                     f"t{d}{s}{epsilon}", 0.2 * tau + epsilon / 2))  # fmt: skip
    columns = ["key", "dataset", "seed", "condition", "tau", "alpha", "test_accuracy", "teacher", "target_mass"]
    frame = pd.DataFrame(rows, columns=columns).assign(hidden="4", **COMMON)
    return frame.assign(validation_accuracy=frame["test_accuracy"])


def sized_teachers(seeds: int, extra: bool = True) -> pd.DataFrame:
    """Teachers by width and epochs, own (32, 20) among them; and one of the own recipe that is cross-fitted."""
    rows = [
        (f"T{d}{s}{h}{e}", d, 10_000 + s, str(h), float(e), 0.5 + h / 1000 + e / 1000 + 0.01 * s)
        for d in DATASETS for s in range(seeds) for h in (8, 32) for e in (2, 20, 60)
    ]  # fmt: skip
    rows += [(f"X{d}{s}", d, 10_000 + s, "32", 20.0, 0.6) for d in DATASETS for s in range(seeds) if extra]
    columns = ["key", "dataset", "seed", "hidden", "epochs", "test_accuracy"]
    return pd.DataFrame(rows, columns=columns).assign(condition="hard", **COMMON)


def sized_students(teachers: pd.DataFrame) -> pd.DataFrame:
    """KD students at two temperatures that follow half their teacher's accuracy, better at tau = 4."""
    rows = []
    for t in teachers.to_dict("records"):
        for tau in TAUS:
            right = t["test_accuracy"] / 2 + 0.01 * (tau == 4)
            rows.append(
                (f"{t['key']}{tau}", t["dataset"], t["seed"] - 10_000, tau, right, t["key"], 0.1 * t["epochs"] / tau)
            )
    columns = ["key", "dataset", "seed", "tau", "test_accuracy", "teacher", "target_instance"]
    frame = pd.DataFrame(rows, columns=columns).assign(condition="kd", alpha=0.9, hidden="4", **COMMON)
    return frame.assign(validation_accuracy=frame["test_accuracy"])


def held(frame: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """The anatomy of every teacher: 0.5 throughout, `sure_train` its share of 60 epochs."""
    assert name == "anatomy"
    flat = np.full(len(anatomy.NAMES), 0.5)
    sure = anatomy.NAMES.index("sure_train")
    return {k: np.where(np.arange(len(flat)) == sure, e / 60, flat) for k, e in zip(frame["key"], frame["epochs"])}
