"""The three levels of a teacher's knowledge as lists over temperatures, and the temperatures worth a trial."""

from collections.abc import Mapping, Sequence

import numpy as np

from kdstudy import signals_classes, signals_parts, signals_weights
from kdstudy.findings_limits import at_chance
from kdstudy.signals import Signals
from kdstudy.signals_parts import LEVELS, Parts

FINE = 2 ** (1 / 8)  # ratio of neighbouring temperatures where limits of the range are looked for


def levels(s: Signals, taus: Sequence[float]) -> tuple[dict[str, dict[str, object]], list[Parts]]:
    """Level -> its numbers, lists over `tau`, and the parts they come from."""
    table = s.given.teacher
    each = [signals_parts.parts(table, tau) for tau in taus] if len(table.labels) else []
    shown = list(taus) if each else []
    out: dict[str, dict[str, object]] = {}
    for level in LEVELS:
        columns = zip(("share", "share_low", "share_high"), zip(*(p.shares[level] for p in each)))
        out[level] = {"tau": shown, "share": [], "share_low": [], "share_high": []} | {k: [*v] for k, v in columns}
    out["universe"] |= {
        "mass": [float(p.mass.mean()) for p in each],
        "entropy": [p.entropy for p in each],
        "label_largest": [p.label_largest for p in each],
    }
    out["domain"] |= {"structure": structure(s), "superclass": superclass(s)}
    out["instance"] |= weights(s, each, taus)
    return out, each


def structure(s: Signals) -> dict[str, object]:
    """Class structure against its permutation null, or the reason why there is none."""
    found = s.structure
    if found is None:
        few = s["classes"] < 3
        why = "needs at least 3 classes" if few else "needs finite rows, several of them for most classes, that vary"
        return {"statistic": None, "null": None, "p": None, "strength": None, "reason": why}
    return {
        "statistic": found.explained,
        "null": list(found.null),
        "p": found.p,
        "strength": found.strength,
        "reason": None,
    }


def superclass(s: Signals) -> dict[str, object]:
    """Mantel's test of the class similarity against super-class blocks, or the reason why there is none."""
    empty = {"correlation": None, "p": None, "n_classes": None}
    if s.given.superclass is None or s.structure is None:
        return empty | {"reason": "no superclass given" if s.given.superclass is None else "no class structure"}
    found = signals_classes.against(s.structure, s.given.superclass)
    if found is None:
        return empty | {"reason": "super-classes that are all one, or one for each class, order nothing"}
    return {"correlation": found.correlation, "p": found.p, "n_classes": found.n_classes, "reason": None}


def weights(s: Signals, each: Sequence[Parts], taus: Sequence[float]) -> dict[str, object]:
    """Spread of w at a student that knows nothing, of the actual w, and the masses against difficulty."""
    classes = s["classes"]
    start = [signals_weights.spread(signals_weights.at_start(p.mass, t, classes)) for p, t in zip(each, taus)]
    mine = [signals_weights.student_weights(s, p.mass, t) for p, t in zip(each, taus)]
    hard = [signals_weights.difficulty(s, p.mass) for p in each]
    told = hard[0] if hard else {"with": None, "reason": "no finite rows"}
    return {
        "alpha": signals_weights.ALPHA,
        "weights": {k: [w[k] for w in start] for k in (start[0] if start else ())},
        "student_weights": {k: [w[k] for w in mine] for k in mine[0]} if mine and mine[0] else None,
        "difficulty": {"rank": [h["rank"] for h in hard], "with": told["with"], "reason": told["reason"]},
    }


def recommended(s: Signals, limit: Mapping[str, float]) -> dict[str, object]:
    """The temperatures at which the mean mass, of the most there is, lies within the calibrated limits.

    The mean of 1 - p^tau_t over 1 - 1 / C, its limit for tau -> infinity, at temperatures from 1/4 to 64 in steps of
    2^(1/8). Where it is beyond the upper limit at tau = 1 already, that alone is recommended: nothing is to be
    softened. None with a reason for a teacher at chance, or where no temperature gives enough.
    """
    none = {"low": None, "high": None}
    if s.rows is None or at_chance(s.value, limit):
        return none | {"reason": "no finite rows" if s.rows is None else "the teacher is at chance on these labels"}
    low, high = limit["tau_low_mass"], limit["tau_high_mass"]
    grid = FINE ** np.arange(-16, 49)
    found = np.array([mass(s, t) for t in grid]) / (1 - 1 / s["classes"])
    span = f"a mean mass of {low:.3g} to {high:.3g} of 1 - 1/C"
    if found[grid == 1] > high:
        return {"low": 1.0, "high": 1.0, "reason": f"at tau = 1 the targets leave more than {span} already"}
    inside = grid[(found >= low) & (found <= high)]
    if not len(inside):
        return none | {"reason": f"no temperature from 0.25 to 64 leaves {span}"}
    return {"low": round(float(inside[0]), 2), "high": round(float(inside[-1]), 2), "reason": f"leaves {span}"}


def mass(s: Signals, tau: float) -> float:
    """Mean of 1 - p^tau_t over at most 500 000 / C examples (1000 at least), drawn once."""
    table, total = s.given.teacher, 0.0
    n = len(table.labels)
    size = min(n, max(1000, 500_000 // table.classes))
    at = None if size >= n else np.sort(np.random.default_rng(0).choice(n, size, replace=False))
    for _, x, y in table.chunks(at):
        p = (x / tau).softmax(-1)
        total += float(p.scatter_(-1, y[:, None], 0.0).sum())
    return total / size
