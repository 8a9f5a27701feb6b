"""Do logits and labels belong together, row by row and class by class? What would restore the pairing?"""

import numpy as np
import torch
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm

from kdstudy.diagnosis.inputs import LabelledLogits
from kdstudy.diagnosis.statistics.examples import RowStatistics

DRAWS = 4  # of random phases, whose correlation over all shifts is averaged
NULLS = 3  # assignments of shuffled labels, against which the best assignment is held
MANY = 1000  # labels, beyond which each takes its commonest column
MEMORY = 1e8  # bytes of class sums
SEVERAL = 5  # examples of a class that are called by another's name
BLOCKS = 20  # runs of rows that are looked at
CHANCE = 0.05  # of rows that are right beyond chance, in a run that is called at chance
GAIN = 0.3  # of accuracy, that the other rows must have beyond that
SHORTEST = 12  # rows of a run
SURE = 0.7  # of the confidence where the teacher is right, that it has in a run of other examples' rows
HIGH = 6.0  # standard errors above chance that not even the best of a million shifts reaches by chance

Classes = Int[np.ndarray, " M"]


def agreement(predicted: Classes, label: Classes, classes: int) -> dict[str, float | None]:
    """Agreement of predictions with labels, against what their class counts alone would give.

    chance = sum_c h_c g_c with h and g the frequencies of class c among labels and predictions;
    kappa = (accuracy - chance) / (1 - chance) (Cohen 1960); z = (accuracy - chance) over the standard error of
    chance, of which `chance_high` lies 6 above it; histogram = sum_c |h_c - g_c| / 2.
    With one class among both there is no telling: kappa and z are None.
    """
    h, g = (np.bincount(v, minlength=classes) / len(label) for v in (label, predicted))
    return counted(float((predicted == label).mean()), h, g, len(label))


def counted(accuracy: float, h: np.ndarray, g: np.ndarray, n: int) -> dict[str, float | None]:
    """`agreement` from the accuracy and the frequencies h of labels and g of predictions over n examples."""
    chance = float(h @ g)
    error = (chance * (1 - chance) / n) ** 0.5
    if 0 < chance < 1 - 1e-12:
        kappa, z = (accuracy - chance) / (1 - chance), (accuracy - chance) / error
    else:
        kappa, z = 0.0 if chance < 0.5 else None, None
    return {
        "accuracy": accuracy,
        "chance": chance,
        "kappa": kappa,
        "z": z,
        "histogram": float(np.abs(h - g).sum() / 2),
        "chance_high": chance + HIGH * error,
    }


def misfits(logits: LabelledLogits, rows: RowStatistics) -> tuple[dict[str, float | None], dict[str, object]]:
    """Where only some rows or classes do not belong to their labels: shares of the rows, and their places.

    `block`: how likely the likeliest run of other examples' rows is (see `blocks`). `stray`: share of wrong rows whose
    label is as good as drawn, by its mean rank among the other classes; `stray_sure`: their mean confidence over that
    of right rows. `narrow`: share of the predictions that name the `named` classes, which labels name at most half as
    often. `padding`: how much longer than by chance the runs of one label are, `padded` its share. `copied`: share of
    rows that equal another with another label; `copied_gap`: their confidence minus accuracy. `exchanged`: share of a
    class's examples called by the next one's name, less that of its own, in the clearest cycle.
    """
    y, wrong, n = logits.labels, rows.rank > 0, len(logits.labels)
    sure = float(rows.confidence[~wrong].mean()) if not wrong.all() else 1.0
    runs = [r for r in blocks(wrong, y, rows.predicted) if rows.confidence[slice(*r[:2])].mean() > SURE * sure]
    copied = _conflicting(logits)
    label, padded, longer = padding(y, logits.classes)
    narrow, named = _narrow(rows.predicted, y, logits.classes)
    cycles = exchanged(rows.predicted, y)
    numbers = {
        "block": max((nats for *_, nats in runs), default=0.0),
        "stray": float(wrong.mean() * min(1, 2 * (rows.rank[wrong] - 1).mean() / max(1, logits.classes - 2)))
        if wrong.sum() >= 30 and logits.classes >= 5 else None,
        "stray_sure": float(rows.confidence[wrong].mean()) / sure if wrong.any() else None,
        "narrow": narrow,
        "padded": padded,
        "padding": longer,
        "copied": len(copied) / n,
        "copied_gap": float((rows.confidence - (rows.rank == 0))[copied].mean()) if len(copied) else None,
        "exchanged": max((share for _, share in cycles), default=0.0),
    }  # fmt: skip
    places = {"named": named, "copied": logits.numbers(logits.rows[copied]), "cycles": cycles, "pad": label}
    return numbers, places | {"blocks": [(*logits.numbers(logits.rows[[i, j - 1]]), nats) for i, j, nats in runs]}


def _conflicting(logits: LabelledLogits) -> Int[np.ndarray, " K"]:
    """Rows that equal others with another label; not those with all logits equal."""
    order = np.lexsort((logits.labels, logits.raw.code))
    code, y = logits.raw.code[order], logits.labels[order]
    group = np.cumsum(np.diff(code, prepend=code[:1]) != 0)
    mixed = np.zeros(group[-1] + 1, bool)
    mixed[group[1:][(np.diff(group) == 0) & (np.diff(y) != 0)]] = True
    found = np.sort(order[mixed[group]])
    return found[~np.isin(logits.rows[found], logits.raw.constant)]


def padding(label: Classes, classes: int) -> tuple[int | None, float, float]:
    """The label that stands in runs, while the others do not, its share, and how much longer they are than by chance.

    That is the mean length of its rows' runs over what its share gives by chance, (1 + share) / (1 - share), or half of
    that length if this is less. Runs of the others must be shorter than 2 on average. (None, 0, 0) if there is none.
    """
    first = np.flatnonzero(np.diff(label, prepend=-1))
    length = np.diff(first, append=len(label))
    counts, runs = (np.bincount(v, minlength=classes) for v in (label, label[first]))
    share = counts / len(label)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(label[first], length**2, minlength=classes) / counts
        longer = mean * (1 - share) / (1 + share)
        rest = (len(label) - counts) / (len(first) - runs)
    longer = np.where((share > 0.02) & (rest < 2) & (runs > 1), np.minimum(longer, mean / 2), 0.0)
    at = int(np.argmax(longer))
    return (at, float(share[at]), float(longer[at])) if longer[at] > 0 and (counts > 0).sum() > 4 else (None, 0.0, 0.0)


def _narrow(predicted: Classes, label: Classes, classes: int) -> tuple[float, list[int]]:
    """The share of predictions that the commonest fifth (at least one) of the labels' classes take, if labels give them
    at most half of that, else 0; and these classes.
    """  # fmt: skip
    h, g = (np.bincount(v, minlength=classes) / len(label) for v in (label, predicted))
    most = max(1, int((h > 0.2 * h.max()).sum()) // 5)
    top = np.argsort(-g, kind="stable")[:most]
    few = top[: int(np.searchsorted(np.cumsum(g[top]), 0.9)) + 1]
    return (float(g[few].sum()), few.tolist()) if h[few].sum() < 0.5 * g[few].sum() else (0.0, [])


def repairs(predicted: Classes, label: Classes, classes: int) -> dict[str, object]:
    """Accuracy with rows shifted by the best k, rows reversed, classes renamed; and the same of shuffled labels."""
    by, shifted = best_shift(predicted, label, classes)
    renamed, null, renaming = best_renaming(predicted, label, classes)
    return {
        "shift": by,
        "shifted_accuracy": shifted,
        "reversed_accuracy": float((predicted[::-1] == label).mean()),
        "renamed_accuracy": renamed,
        "renamed_null": null,
        "renaming": renaming,
    }


def next_ratio(predicted: Classes, label: Classes, accuracy: float) -> float:
    """Agreement of predictions with the label one row on or back, whichever is more, over that with their own."""
    return max(float((np.roll(predicted, k) == label).mean()) for k in (-1, 1)) / max(accuracy, 1 / len(label))


def best_shift(predicted: Classes, label: Classes, classes: int) -> tuple[int, float]:
    """The shift k != 0 for which prediction i + k agrees with label i most often, and how often (rows wrap around).

    Every class gets a random unit phase; by the Fourier transform the sum of phase differences, whose expectation is
    the number of agreements, is had for all shifts at once. The three best are then counted.
    """
    n, rng, total = len(label), np.random.default_rng(0), 0.0
    if n < 2:
        return 0, 0.0
    for _ in range(DRAWS):
        phase = np.exp(2j * np.pi * rng.random(classes))
        total = total + np.fft.ifft(np.fft.fft(phase[predicted]) * np.fft.fft(phase[label]).conj()).real
    total[0] = -np.inf
    best = np.argpartition(total, -min(3, n - 1))[-min(3, n - 1) :]
    hits = {int(k): float((np.roll(predicted, -k) == label).mean()) for k in best}
    k = max(hits, key=hits.get)
    return (k if k <= n // 2 else k - n), hits[k]


def best_renaming(predicted: Classes, label: Classes, classes: int) -> tuple[float, float, dict[int, int]]:
    """Accuracy with the best column for each label's class, the same for shuffled labels, and label -> column.

    No two classes share a column: an assignment (Kuhn 1955), of more than `MANY` labels the commonest column of each.
    For shuffled labels the largest of three draws.
    """
    rng = np.random.default_rng([classes, len(label), 1])  # no seed that somebody shuffles with
    best, columns = _assigned(predicted, label)
    null = max(_assigned(predicted, rng.permutation(label))[0] for _ in range(NULLS))
    return best, null, columns


def _assigned(predicted: Classes, label: Classes) -> tuple[float, dict[int, int]]:
    labels, y = np.unique(label, return_inverse=True)
    columns, g = np.unique(predicted, return_inverse=True)
    if max(len(labels), len(columns)) > MANY:
        pair, counts = np.unique(y * len(columns) + g, return_counts=True)
        order = np.lexsort((-counts, pair // len(columns)))
        first = order[np.unique((pair // len(columns))[order], return_index=True)[1]]
        hits, to = counts[first].sum(), columns[pair[first] % len(columns)]
        return float(hits / len(label)), dict(zip(labels.tolist(), to.tolist()))
    counts = np.bincount(y * len(columns) + g, minlength=len(labels) * len(columns)).reshape(len(labels), len(columns))
    rows, to = linear_sum_assignment(counts, maximize=True)
    chosen = dict(zip(labels[rows].tolist(), columns[to].tolist()))
    return float(counts[rows, to].sum() / len(label)), {k: chosen[k] for k in sorted(chosen)}


def exchanged(predicted: Classes, label: Classes) -> list[tuple[list[int], float]]:
    """Cycles of classes that are called the next one's name, [3, 8] if 3 is called 8 and 8 is called 3; each with how
    much more of a class's examples are called so than by their own name, at least.

    Of its wrong names each class's commonest counts, if at least `SEVERAL` of its examples have it.
    """  # fmt: skip
    wrong, most = predicted != label, int(max(predicted.max(), label.max())) + 1
    pair, counts = np.unique(label[wrong] * most + predicted[wrong], return_counts=True)
    right, total = (np.bincount(y, minlength=most) for y in (label[~wrong], label))
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] >= SEVERAL]
    of, to = np.divmod(pair[order], most)
    called = dict(zip(of.tolist(), zip(to.tolist(), ((counts[order] - right[of]) / total[of]).tolist())))
    cycles = []
    while called:
        start = at = next(iter(called))
        cycle, shares = [], []
        while at in called:
            cycle.append(at)
            at, share = called.pop(at)
            shares.append(share)
        cycles += [(cycle, min(shares))] if at == start and min(shares) > 0 else []
    return cycles


def blocks(wrong: np.ndarray, label: Classes, predicted: Classes) -> list[tuple[int, int, float]]:
    """Runs of rows [start, stop) at chance among rows that are mostly right: the likeliest, one after another.

    The log likelihood ratio of "right with probability `CHANCE` more than by chance" against the accuracy of the better
    half of the rows, summed over a run, is largest (Kadane). It is given beyond 2 log N, which the best of all runs
    reaches by chance. A run must have labels of several classes.
    """
    n, found = len(wrong), []
    size = max(16, n // 100)
    parts = [float(1 - wrong[i : i + size].mean()) for i in range(0, n - size + 1, size)]
    good = min(0.99, float(np.median(parts))) if parts else 0.0
    chance = min(0.9, float(np.bincount(label).max() / n) + CHANCE)
    if good < chance + GAIN:
        return []
    score = np.where(wrong, np.log((1 - chance) / (1 - good)), np.log(chance / good))
    for _ in range(BLOCKS):
        total = np.cumsum(score)
        before = np.minimum.accumulate(np.append(0, total))[:-1]
        stop = int(np.argmax(total - before)) + 1
        start = int(np.argmin(np.append(0, total)[:stop]))
        if (nats := total[stop - 1] - before[stop - 1] - 2 * np.log(n)) <= 0:
            break
        score[start:stop] = -1e3
        if _unrelated(label[start:stop], predicted[start:stop]):
            found.append((start, stop, float(nats)))
    return sorted(found)


def _unrelated(label: Classes, predicted: Classes) -> bool:
    """Whether labels of several classes and predictions have nothing to do with each other."""
    share = np.bincount(label).max() / len(label)
    if len(label) < SHORTEST or share > 0.8:
        return False
    found = agreement(predicted, label, int(max(label.max(), predicted.max())) + 1)
    alike = found["kappa"] is not None and found["kappa"] < 0.25
    return bool(alike and np.bincount(predicted).max() / len(label) < 0.8)


def separation(logits: LabelledLogits, predicted: Classes) -> float | None:
    """How far apart the predicted classes lie, beyond independent Gaussian logits: b - g - 1 / sqrt(M).

    b is the share of the logits' variance, each row minus its mean, that the predicted class explains (adjusted for
    the means of K classes: 1 - (1 - share)(M - 1) / (M - K)); g = (E max)^2 C / (C - 1)^2 what it is for C independent
    Gaussian logits; 1 / sqrt(M) is about 3 standard errors of b there. None if all rows are equal, or M <= K. Of more
    classes than `MEMORY` holds sums of, the commonest ones and their rows.
    """
    classes, at = logits.classes, None
    named, to, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    if len(named) > (most := int(MEMORY / (8 * classes))):
        some = np.argsort(-counts, kind="stable")[:most]
        at = np.flatnonzero(np.isin(to, some))
        named, to, counts = np.unique(predicted[at], return_inverse=True, return_counts=True)
    n, square = len(to), 0.0
    sums = torch.zeros(len(named), classes, dtype=torch.float64)
    for place, x, _ in logits.chunks(at):
        x = x - x.mean(-1, keepdim=True)
        square += float((x**2).sum())
        sums.index_add_(0, torch.from_numpy(to[place]), x)
    mean = sums.sum(0) / n
    total = square - n * float(mean @ mean)
    between = float(torch.linalg.vecdot(sums, sums) @ torch.from_numpy(1 / counts)) - n * float(mean @ mean)
    if n <= len(named) or total <= 1e-9 * max(square, 1e-300):
        return None
    return 1 - (1 - between / total) * (n - 1) / (n - len(named)) - gaussian_separation(classes) - n**-0.5


def gaussian_separation(classes: int) -> float:
    """(E max)^2 C / (C - 1)^2 of C independent standard normal numbers; C = 2: 2 / pi."""
    z = np.linspace(-10, 10, 20_001)
    most = float(np.trapezoid(z * classes * norm.pdf(z) * norm.cdf(z) ** (classes - 1), z))
    return most**2 * classes / (classes - 1) ** 2
