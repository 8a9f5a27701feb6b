"""The limits of a diagnosis, chosen from the table of teachers and published students; how often findings are right.

`fit` chooses the limits from the table of teachers and from published students (for temperatures); `codes` applies the
rules to a row of the table, `rates` counts them, `held_out` fits without the data set it judges.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from kdstudy.core import paths
from kdstudy.diagnosis import rules  # noqa: F401  which registers them
from kdstudy.diagnosis.rulebook import NEAR, THRESHOLDS, made
from kdstudy.diagnosis.statistics.all import Statistics
from kdstudy.study.calibration.teachers import EXPECTED

ORDINARY = ("healthy", "untypical", "tokens", "rounded", "noisy_labels")  # kinds that none of `OVER` may be called
OVER = {  # limit -> the kind that it tells, the statistic that must be above it
    "block": ("part_reordered", "block"),
    "collapsed": ("collapsed", "narrow"),
    "copied": ("repeated", "copied"),
    "exchanged": ("exchanged", "exchanged"),
    "padding": ("padded", "padding"),
    "stray": ("scattered", "stray"),
    "token_shift": ("next_token", "next_ratio"),
    "truncated": ("top_k", "tied"),
}
TYPICAL = {"accuracy": (0.85, 1.0), "mass": (0.002, 0.2)}  # of a teacher on its training set, to be called healthy
FALL = 0.2  # of accuracy from training to held-out examples, beyond which a teacher has memorised
GUARD = 1.3  # two limits hold off teachers of hard labels even where both are relaxed by three tenths
WITHIN = 0.005  # of the best accuracy: what a temperature may cost
CHOSEN = {  # set by hand
    "chance_kappa": 0.03,
    "constant_fraction": 0.005,
    "repair_accuracy": 0.5,
    "repair_gain": 0.2,
    "structure_classes": 10,
    "structure_rows": 5,
    "student_gain": 0.01,
    "trained_histogram": 0.2,
    "weak_kappa": 0.5,
}


def teachers() -> pd.DataFrame:
    """The table of teachers of known kind, as committed."""
    return pd.read_csv(paths.published("data/calibration") / "teachers.csv")


def students() -> pd.DataFrame:
    """Published KD students by data set and temperature: `mass` of their targets over 1 - 1 / C, and `accuracy`."""
    return pd.read_csv(paths.published("data/calibration") / "temperatures.csv")


def with_untypical(table: pd.DataFrame) -> pd.DataFrame:
    """The table with kind "untypical" for teachers trained as healthy ones are that did not become typical.

    Those of accuracy or mass outside `TYPICAL`, and those whose accuracy falls by more than `FALL` on held-out
    examples.
    """
    typical = table["accuracy_gap"] <= FALL
    for name, (low, high) in TYPICAL.items():
        typical &= table[name].between(low, high)
    return table.assign(kind=table["kind"].mask((table["kind"] == "healthy") & ~typical, "untypical"))


# ---------------------------------------------------------------- limits


def fit(table: pd.DataFrame, taught: pd.DataFrame) -> dict[str, float]:
    """Every limit: `CHOSEN`, and those fitted on the table of teachers and on students by temperature.

    No typical healthy teacher is on the wrong side of a fitted limit. A limit on one statistic lies `between` the kind
    that it tells and the healthy; those of `smoothed` and `temperatures` are searched for.
    """
    kinds = dict(tuple(with_untypical(table).groupby("kind")))
    healthy, shuffled = kinds["healthy"], kinds["shuffled"]
    untrained = pd.concat([kinds["random"], kinds["weak"]])
    idle = untrained[untrained["kappa"] < NEAR]
    learnt = kinds["memorised"][kinds["memorised"]["accuracy_gap"] > FALL]
    limits = CHOSEN | {
        "saturated_mass": between(kinds["saturated"]["mass_right"], healthy["mass_right"]),
        "memorised_gap": _digits(1 / between(1 / learnt["mass_gap"], 1 / healthy["mass_gap"].clip(lower=1e-3))),
        "stray_sure": _digits(kinds["scattered"]["stray_sure"].min() / 1.05),
        "trained_apart": between(kinds["gaussian"]["apart"].clip(lower=1e-3), shuffled["apart"]),
        "trained_sure": between(idle["sure"], shuffled["sure"]),
    }
    plain = pd.concat(kinds[kind] for kind in ORDINARY if kind in kinds)
    right = plain[plain["kind"] != "noisy_labels"]  # of which copies have their own label, or the teacher doubts it
    limits["copied_gap"] = over(kinds["repeated"]["copied_gap"], right["copied_gap"])
    for name, sure in {"stray": "stray_sure", "copied": "copied_gap"}.items():
        plain.loc[~(plain[sure] > limits[sure]), name] = 0
    limits |= {name: over(kinds[kind][what], plain[what]) for name, (kind, what) in OVER.items()}
    limits["softened"] = over(kinds["softened"]["under"], pd.concat([plain, kinds["smoothed"]])["under"])
    limits |= smoothed(kinds["smoothed"], pd.concat([healthy, kinds["untypical"]])) | temperatures(taught)
    return dict(sorted(limits.items()))


def between(below: pd.Series, above: pd.Series) -> float:
    """A limit between statistics `below` and `above` it, all of them positive, to 3 digits.

    The geometric middle of the largest below and the smallest above; where they overlap, 5 % below the smallest above:
    who is above must stay there.
    """
    low, high = float(below.max()), float(above.min())
    return _digits((low * high) ** 0.5 if low < high else high / 1.05)


def over(sick: pd.Series, healthy: pd.Series) -> float:
    """A limit that no healthy one is above, and most of the sick on whom the fault shows at all are, to 3 digits.

    The geometric middle of the lowest tenth of these and of the most of the healthy, or of a hundredth of the former if
    this is more; where they overlap, 5 % above the healthy: who is below must stay there.
    """
    low = float(sick[sick > 0].quantile(0.1))
    high = max(float(healthy.fillna(0).max()), low / 100)
    return _digits((low * high) ** 0.5 if high < low else 1.05 * high)


def smoothed(positive: pd.DataFrame, healthy: pd.DataFrame) -> dict[str, float]:
    """Limits of `pinned` (from below) and `spread` (from above) that catch most smoothed teachers.

    Pairs of limits from 0.3 to 0.95 in steps of 0.005 and 0.4 to 4 in steps of 0.05 that raise no alarm on a teacher
    of hard labels, typical or not, even if both are relaxed by three tenths; of those that catch at least nine tenths
    of the most, the strictest of `pinned`, then of `spread`.
    """
    pinned, spread = np.arange(0.3, 0.951, 0.005), np.arange(0.4, 4.01, 0.05)
    caught = _alarms(positive, pinned, spread)
    caught[_alarms(healthy, pinned / GUARD, spread * GUARD) > 0] = -1
    good = caught >= 0.9 * caught.max()
    strictest = np.flatnonzero(good.any(1))[-1]
    limit = spread[np.flatnonzero(good[strictest])[0]]
    return {"smoothed_pinned": round(float(pinned[strictest]), 3), "smoothed_spread": round(float(limit), 3)}


def _alarms(rows: pd.DataFrame, pinned: Float[np.ndarray, " P"], spread: Float[np.ndarray, " S"]) -> np.ndarray:
    """Share of the rows that each pair of limits calls smoothed, (P, S)."""
    alike = rows["pinned"].to_numpy() > pinned[:, None]
    even = (rows["spread"].to_numpy() < spread[:, None]) | (rows["classes"].to_numpy() == 2)
    return alike.astype(float) @ even.T.astype(float) / len(rows)


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
    return {"tau_low_mass": _cut(cells, "cool", "good"), "tau_high_mass": _cut(cells, "good", "hot")}


def _cut(cells: Sequence[tuple[float, str]], below: str, above: str) -> float:
    masses, sides = zip(*sorted(cell for cell in cells if cell[1] in (below, above)))
    wrong = [sides[:at].count(above) + sides[at:].count(below) for at in range(1, len(sides))]
    at = int(np.argmin(wrong)) + 1
    return _digits((masses[at - 1] * masses[at]) ** 0.5)


def _digits(value: float) -> float:
    """To 3 significant digits."""
    return float(f"{value:.3g}")


def write(table: pd.DataFrame, taught: pd.DataFrame) -> dict[str, float]:
    """Write the limits of `fit` to the file that the rules read."""
    limits = fit(table, taught)
    THRESHOLDS.write_text(json.dumps(limits, indent=2) + "\n", "utf-8")
    return limits


# ---------------------------------------------------------------- how often findings are right


def codes(row: Mapping[str, object], limit: Mapping[str, float]) -> list[str]:
    """The codes that the rules give a row of the table, by these limits; ["healthy"] if none."""
    value = {k: v for k, v in row.items() if isinstance(v, int | float) and v == v}  # NaN: not defined
    return list(made(Statistics(None, value, {"kind": row["values"]}), limit)) or ["healthy"]


def rates(table: pd.DataFrame, found: Sequence[Sequence[str]]) -> pd.DataFrame:
    """Kind by code: how many of a kind have a code, beside `n` and `meant`, the code that the kind should have."""
    kind = with_untypical(table)["kind"].to_numpy()
    every = sorted({code for codes in found for code in codes})
    rows = []
    for name in dict.fromkeys(kind):
        its = [codes for k, codes in zip(kind, found) if k == name]
        counts = {code: sum(code in codes for codes in its) for code in every}
        rows.append({"kind": name, "n": len(its), "meant": EXPECTED.get(name, "healthy")} | counts)
    return pd.DataFrame(rows)


def held_out(table: pd.DataFrame, taught: pd.DataFrame, by: Iterable[object]) -> list[list[str]]:
    """Codes of every row by limits fitted without the rows of the same group; `by` has a group for each row."""
    group = np.array([*by])
    limits = {name: fit(table[group != name], taught) for name in dict.fromkeys(group)}
    return [codes(row, limits[name]) for row, name in zip(table.to_dict("records"), group)]
