"""The limits of a diagnosis, fitted on teachers of known kind, and how often its findings are right.

`fit` chooses the limits from the table of `calibration_table` and from published students (for temperatures);
`codes` applies the rules to a row of the table, `rates` counts them, `held_out` fits without the data set it judges.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kdstudy import findings, findings_limits
from kdstudy.store import ROOT

FOLDER = ROOT / "data" / "calibration"  # teachers.csv and temperatures.csv
LIMITS = Path(__file__).with_name("thresholds.json")
TYPICAL = {"accuracy": (0.85, 1.0), "mass": (0.002, 0.2)}  # of a teacher on its training set, to be called healthy
FALL = 0.2  # of accuracy from training to held-out examples, beyond which a teacher has memorised
GUARD = 1.3  # two limits hold off teachers of hard labels even where both are relaxed by three tenths
WITHIN = 0.005  # of the best accuracy: what a temperature may cost
CHOSEN = {  # set by hand
    "chance_kappa": 0.03,
    "constant_fraction": 0.005,
    "repair_accuracy": 0.5,
    "repair_gain": 0.2,
    "repeated_fraction": 0.1,
    "structure_classes": 10,
    "structure_rows": 5,
    "student_gain": 0.01,
    "trained_histogram": 0.2,
    "weak_kappa": 0.5,
}
MEANT = {  # the code that a kind must have; a kind that is not named has none
    "smoothed": "smoothed_teacher",
    "saturated": "saturated_teacher",
    "memorised": "train_memorised",
    "weak": "weak_teacher",
    "random": "weak_teacher",
    "gaussian": "weak_teacher",
    "shuffled": "misaligned",
    "shifted": "misaligned",
    "backwards": "misaligned",
    "renamed": "misaligned",
    "structureless": "no_class_structure",
    "outdone": "student_beats_teacher",
    "probabilities": "not_logits",
    "log_probabilities": "not_logits",
    "overflow": "non_finite",
    "unfilled": "constant_rows",
}


def teachers() -> pd.DataFrame:
    """The table of teachers of known kind, as committed."""
    return pd.read_csv(FOLDER / "teachers.csv", keep_default_na=True)


def students() -> pd.DataFrame:
    """Published KD students by data set and temperature: `mass` of their targets over 1 - 1 / C, and `accuracy`."""
    return pd.read_csv(FOLDER / "temperatures.csv")


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """The table with kind "untypical" for teachers trained as healthy ones are that did not become typical.

    Those of accuracy or mass outside `TYPICAL`, and those whose accuracy falls by more than `FALL` on held-out
    examples.
    """
    healthy = table["kind"] == "healthy"
    typical = table["accuracy_gap"] <= FALL
    for name, (low, high) in TYPICAL.items():
        typical &= table[name].between(low, high)
    return table.assign(kind=table["kind"].mask(healthy & ~typical, "untypical"))


def between(below: pd.Series, above: pd.Series) -> float:
    """A limit between signals `below` and `above` it, all of them positive, to 3 digits.

    The geometric middle of the largest below and the smallest above; where they overlap, 5 % below the smallest above:
    who is above must stay there.
    """
    low, high = float(below.max()), float(above.min())
    return float(f"{(low * high) ** 0.5 if low < high else high / 1.05:.3g}")


def fit(table: pd.DataFrame, taught: pd.DataFrame) -> dict[str, float]:
    """Every limit: `CHOSEN`, and those fitted on the table of teachers and on students by temperature.

    No typical healthy teacher is on the wrong side of a fitted limit. A limit on one signal lies `between` the kind
    that it tells and the healthy; those of `smoothed` and `temperatures` are searched for.
    """
    kinds = dict(tuple(labelled(table).groupby("kind")))
    healthy, shuffled = kinds["healthy"], kinds["shuffled"]
    idle = pd.concat([kinds["random"], kinds["weak"]]).query("kappa < @findings_limits.NEAR")
    learnt = kinds["memorised"].query("accuracy_gap > @FALL")
    found = {
        "saturated_mass": between(kinds["saturated"]["mass_right"], healthy["mass_right"]),
        "memorised_gap": float(f"{1 / between(1 / learnt['mass_gap'], 1 / healthy['mass_gap'].clip(lower=1e-3)):.3g}"),
        "trained_apart": between(kinds["gaussian"]["apart"].clip(lower=1e-3), shuffled["apart"]),
        "trained_sure": between(idle["sure"], shuffled["sure"]),
    }
    return dict(
        sorted(
            (
                CHOSEN
                | found
                | smoothed(kinds["smoothed"], pd.concat([healthy, kinds["untypical"]]))
                | temperatures(taught)
            ).items()
        )
    )


def smoothed(positive: pd.DataFrame, healthy: pd.DataFrame) -> dict[str, float]:
    """Limits of `pinned` (from below) and `spread` (from above) that catch most smoothed teachers.

    Pairs of limits from 0.3 to 0.95 in steps of 0.005 and 0.4 to 4 in steps of 0.05 that raise no alarm on a teacher
    of hard labels, typical or not, even if both are relaxed by three tenths; of those that catch at least nine tenths
    of the most, the strictest of `pinned`, then of `spread`.
    """
    best: list[tuple[float, float, float]] = []
    for pinned in np.arange(0.3, 0.951, 0.005):
        for spread in np.arange(0.4, 4.01, 0.05):
            if not _alarms(healthy, pinned / GUARD, spread * GUARD).any():
                best.append((float(_alarms(positive, pinned, spread).mean()), pinned, -spread))
    most = max(caught for caught, *_ in best)
    _, pinned, spread = max((b for b in best if b[0] >= 0.9 * most), key=lambda b: b[1:])
    return {"smoothed_pinned": round(float(pinned), 3), "smoothed_spread": round(-float(spread), 3)}


def _alarms(rows: pd.DataFrame, pinned: float, spread: float) -> pd.Series:
    return (rows["pinned"] > pinned) & ((rows["spread"] < spread) | (rows["classes"] == 2))


def temperatures(taught: pd.DataFrame) -> dict[str, float]:
    """Limits of the mass at a temperature, from students' validation accuracy over temperatures.

    A temperature is good if the mean accuracy is within half a point of the data set's best. Data sets on which all
    are good say nothing. Each limit is the geometric middle of the nearest masses with fewest temperatures on the
    wrong side: bad ones cooler than the best and good ones for the lower, bad ones hotter and good ones for the upper.
    """
    cells = []
    for _, rows in taught.groupby("dataset"):
        good = rows["accuracy"] >= rows["accuracy"].max() - WITHIN
        best = rows.loc[rows["accuracy"].idxmax(), "tau"]
        side = np.where(good, "good", np.where(rows["tau"] < best, "cool", "hot"))
        cells += [] if good.all() else list(zip(rows["mass"], side))
    return {
        "tau_low_mass": _cut(cells, "cool", "good"),
        "tau_high_mass": _cut(cells, "good", "hot"),
    }


def _cut(cells: Sequence[tuple[float, str]], below: str, above: str) -> float:
    here = sorted((mass, side) for mass, side in cells if side in (below, above))
    wrong = [
        sum((s == above) if i < at else (s == below) for i, (_, s) in enumerate(here)) for at in range(1, len(here))
    ]
    at = int(np.argmin(wrong)) + 1
    return float(f"{(here[at - 1][0] * here[at][0]) ** 0.5:.3g}")


def write(table: pd.DataFrame, taught: pd.DataFrame) -> dict[str, float]:
    """Write the limits of `fit` to thresholds.json, which the rules read."""
    found = fit(table, taught)
    LIMITS.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return found


# ---------------------------------------------------------------- how often findings are right


def codes(row: Mapping[str, object], limit: Mapping[str, float]) -> list[str]:
    """The codes that the rules give a row of the table, by these limits; ["healthy"] if none."""
    signals = {k: None if isinstance(x, float) and np.isnan(x) else x for k, x in row.items()}
    found: list[str] = []
    for code, (_, unless) in findings.RULES.items():
        asked = findings_limits.PREDICATES.get(code)
        holds = asked(signals, limit) if asked else code in str(signals["other"] or "").split()
        if holds and not set(found) & set(unless):
            found.append(code)
    return found or ["healthy"]


def rates(table: pd.DataFrame, found: Sequence[Sequence[str]]) -> pd.DataFrame:
    """Kind by code: how many of a kind have a code, beside `n` and `meant`, the code that the kind should have."""
    kind = labelled(table)["kind"].to_numpy()
    rows = []
    for name in dict.fromkeys(kind):
        mine = [f for k, f in zip(kind, found) if k == name]
        counts = {code: sum(code in f for f in mine) for code in sorted({c for f in found for c in f})}
        rows.append({"kind": name, "n": len(mine), "meant": MEANT.get(name, "healthy")} | counts)
    return pd.DataFrame(rows)


def held_out(table: pd.DataFrame, taught: pd.DataFrame, by: Iterable[object]) -> list[list[str]]:
    """Codes of every row by limits fitted without the rows of the same group; `by` has a group for each row."""
    group, out = np.array([*by]), [[] for _ in range(len(table))]
    for name in dict.fromkeys(group):
        limit = fit(table[group != name], taught)
        for i in np.flatnonzero(group == name):
            out[i] = codes(table.iloc[i].to_dict(), limit)
    return out
