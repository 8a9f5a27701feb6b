"""A diagnosis of logits that come batch by batch: sums over all rows, and a bounded sample of them.

Of all rows are counts (left out, constant, zero), accuracy, chance, kappa, mean mass, confidence, entropy and largest
target over tau, and the shares of the levels up to `EXACT` classes, with intervals from the sample. All else (medians,
class structure, pairing, copies, weights w) is of the sample: a share of rows is within 1 / sqrt(rows) (95 %).
As long as all rows are in the sample, the diagnosis is that of `diagnose` on all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, distributed

from kdstudy.core.spec import require
from kdstudy.diagnosis.api import TAUS, DiagnosisReport, judge, temperature
from kdstudy.diagnosis.arrays import Part, Place, taken
from kdstudy.diagnosis.inputs import HUGE, Unusable, read_inputs
from kdstudy.diagnosis.statistics.alignment import counted
from kdstudy.diagnosis.statistics.all import Statistics
from kdstudy.diagnosis.statistics.shares import LEVEL_NAMES, MANY, Sums, targets

EXACT = 1000  # classes, up to which class sums over all rows are held
ENTRIES = 4_000_000  # logits that are summed at once
KEPT = 10**7  # logits of the sample
ODD = 64  # rows that are not finite or constant, which are kept whatever the sample


@dataclass(frozen=True, eq=False)
class _Sample(Part):
    """Kept rows, which know their places in the stream."""

    @property
    def dtype(self) -> torch.dtype:
        """That of the rows."""
        return self.whole.dtype

    def __getitem__(self, place: Place) -> Tensor:
        return taken(self.whole, place)


class Diagnosis:
    """`diagnose`, batch by batch, in the manner of torchmetrics: update, compute, reset, merge_state.

    `update` takes logits (B, C), (B, T, V) or (B, C, H, W), on any device, with labels of their other dimensions (or
    of their shape: one-hot, or mixed, of which the largest counts); rows labelled `ignore_index` are left out. Memory:
    `rows` rows of logits twice over (by default 10^7 / C, from 500 to 20 000), and sums of C and, up to 1000 classes,
    6 C^2 numbers. Where torch.distributed runs, `compute` is of all processes' rows, and all have to call it (with
    `sync_on_compute=False`: of this one's). Rows of several processes keep their own numbers.

        >>> diagnosis = Diagnosis(num_classes=3)
        >>> diagnosis.update(torch.tensor([[4.0, 1.0, 0.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 1]))
        >>> diagnosis.compute().codes
        ('smoothed_teacher', 'few_examples')
    """

    def __init__(
        self, num_classes: int, *, tau: float | None = None, rows: int | None = None, ignore_index: int = -100,
        sync_on_compute: bool = True,
    ) -> None:  # fmt: skip
        require(
            isinstance(num_classes, Integral) and num_classes > 1, "num_classes", num_classes, "a whole number above 1"
        )
        require(rows is None or (isinstance(rows, Integral) and rows > 0), "rows", rows, "a whole number of at least 1")
        self.num_classes, self.tau, self.ignore_index = num_classes, temperature(tau), ignore_index
        self.rows = rows or min(20_000, max(500, KEPT // num_classes))
        self.sync_on_compute, self.taus = sync_on_compute, sorted({*TAUS, *([self.tau] if self.tau else [])})
        self.reset()

    def reset(self) -> None:
        """Forget all rows."""
        self._sums, self._kept, self._limit = {}, [], torch.inf

    @property
    def seen(self) -> int:
        """Rows that came, less those that are ignored."""
        return int(self._sums["rows"][0]) if self._sums else 0

    def update(self, teacher_logits: object, labels: object, student_logits: object = None) -> None:
        """Add a batch; a student's logits are of all batches or of none. Raises Unusable."""
        x, y = flat("teacher_logits", teacher_logits, labels, self.num_classes)
        its = None if student_logits is None else flat("student_logits", student_logits, labels, self.num_classes)[0]
        if self._kept and ("student" in self._kept[0]) != (its is not None):
            raise Unusable("student_logits: found in some batches only, allowed: in all or in none")
        at = (y != self.ignore_index).nonzero()[:, 0]
        x, y, its = x[at], y[at], None if its is None else its[at]
        if not len(y):
            return
        if int(y.min()) < 0 or int(y.max()) >= self.num_classes:
            found = f"found {int(y.min())} to {int(y.max())}, allowed: 0 to {self.num_classes - 1}"
            raise Unusable(f"labels: {found}, or {self.ignore_index} for rows to leave out")
        step = max(1, ENTRIES // self.num_classes)
        for some in (slice(i, i + step) for i in range(0, len(y), step)):
            self._add(x[some], y[some], None if its is None else its[some])

    def merge_state(self, other: "Diagnosis") -> None:
        """Add what another one has seen, as if its batches had come after. Raises Unusable."""
        one, two = (f"{d.num_classes} classes, {d.rows} rows kept, tau {d.taus}" for d in (self, other))
        if one != two:
            raise Unusable(f"a diagnosis to merge: found {two}, allowed: {one}")
        if self._kept and other._kept and ("student" in self._kept[0]) != ("student" in other._kept[0]):
            raise Unusable("a diagnosis to merge: found a student's logits in one of two, allowed: in both or in none")
        self._merge(other._sums, other._kept)

    def compute(self, also: Mapping[str, float] | None = None) -> DiagnosisReport:
        """The diagnosis of all rows so far; `also`: more statistics, for rules. Raises Unusable if there are none."""
        whole, states = Diagnosis(self.num_classes, tau=self.tau, rows=self.rows), [(self._sums, self._kept)]
        if self.sync_on_compute and (world := process()[1]) > 1:
            states = [None] * world
            distributed.all_gather_object(states, (self._sums, self._kept))
        for sums, kept in states:
            whole._merge(sums, kept)
        if not whole._kept:
            raise Unusable("no row was seen: call update(teacher_logits, labels) before compute()")
        return whole._judged(also or {})

    # ------------------------------------------------------------ state

    def _add(self, x: Float[Tensor, "n C"], y: Int[Tensor, " n"], its: Float[Tensor, "n C"] | None) -> None:
        """Sums of some rows, and those of them that the sample keeps."""
        v = x.to(torch.float32 if self.num_classes > MANY else torch.float64)
        finite = v.isfinite().all(-1)
        same = finite & (v.amax(-1) == v.amin(-1))
        zero = same & (v[:, 0] == 0)
        rows, seen = torch.stack([torch.ones_like(finite), ~finite, same, zero]).sum(-1), self.seen
        self._merge({"rows": rows.double().cpu()} | self._sum(v[finite].clamp(-HUGE, HUGE), y[finite]), [])
        self._keep(x, y, its, ~finite | same, seen)

    def _sum(self, v: Float[Tensor, "n C"], y: Int[Tensor, " n"]) -> dict[str, Tensor]:
        if not len(y):
            return {}
        named, label, highest = v.argmax(-1), v.gather(-1, y[:, None])[:, 0], v.amax(-1)
        sums = {name: torch.bincount(at, minlength=self.num_classes) for name, at in
                (("labels", y), ("named", named), ("right", y[named == y]))}  # fmt: skip
        sums["highest"], v, each, means = v.abs().amax()[None], v - highest[:, None], [], []
        sums["largest and sure"] = torch.stack([(label == highest).to(v).sum(), (1 / v.exp().sum(-1)).sum()])
        for tau in self.taus:
            d, m, entropy = targets(v, y, tau)
            each.append([float(m.sum()), entropy, float((d * d).sum())])
            if self.num_classes <= EXACT:
                means.append(torch.zeros(self.num_classes, v.shape[1]).to(d).index_add_(0, y, d))
        sums["tau"] = torch.tensor(each, dtype=torch.float64)
        sums |= {"means": torch.stack(means)} if means else {}
        return {name: value.double().cpu() for name, value in sums.items()}

    def _keep(self, x: Tensor, y: Tensor, its: Tensor | None, odd: Bool[Tensor, " n"], seen: int) -> None:
        """Rows with the smallest of random keys, of which odd rows have the smallest: a uniform sample otherwise."""
        rng = np.random.default_rng([process()[0], seen, crc32(y.cpu().numpy().tobytes())])  # no one else's stream
        key, odd = torch.from_numpy(rng.random(len(y))), odd.cpu()
        before = sum(int((part["key"] < 0).sum()) for part in self._kept)
        key -= (odd & (odd.cumsum(0) + before <= ODD)).double()
        at = (key < self._limit).nonzero()[:, 0]
        part = {"key": key, "place": torch.arange(seen, seen + len(y)), "labels": y, "teacher": x}
        part |= {} if its is None else {"student": its}
        self._merge({}, [{name: v[at.to(v.device)].detach().cpu() for name, v in part.items()}])

    def _merge(self, sums: Mapping[str, Tensor], kept: list[dict[str, Tensor]]) -> None:
        for name, value in sums.items():
            mine = self._sums.get(name, torch.zeros_like(value))
            self._sums[name] = torch.maximum(mine, value) if name == "highest" else mine + value
        self._kept = [*self._kept, *kept]
        if sum(len(part["key"]) for part in self._kept) > 2 * self.rows:
            self._kept = [self._sample()]

    def _sample(self) -> dict[str, Tensor]:
        """What is kept in one piece, in the order of its coming."""
        whole = {name: torch.cat([part[name] for part in self._kept]) for name in self._kept[0]}
        if len(whole["key"]) > self.rows:
            smallest = whole["key"].topk(self.rows, largest=False)
            self._limit, at = float(smallest.values.max()), smallest.indices.sort().values
            whole = {name: v[at] for name, v in whole.items()}
        return whole

    # ------------------------------------------------------------ judgement

    def _judged(self, also: Mapping[str, float]) -> DiagnosisReport:
        kept = self._sample()
        n, k = self.seen, len(kept["key"])
        place = kept["place"].numpy() if k < n else np.arange(n)
        logits = {f"{name}_logits": _Sample(kept[name], place) for name in ("teacher", "student") if name in kept}
        inputs = read_inputs(labels=kept["labels"], **logits)
        report = judge(inputs, self.tau, lambda s, levels: self._amend(s, levels, also, k < n))
        of_all = {"examples": n, "rows_left_out": int(self._sums["rows"][1])}
        note = f"{n} rows came batch by batch; what is no mean over all of them is of a sample of {k}: a share of rows"
        notes = {"notes": [*report.facts["notes"], f"{note} is within {k**-0.5:.3f} (95 %)"]}
        return replace(report, facts=report.facts | of_all | notes) if k < n else report

    def _amend(self, s: Statistics, levels: dict[str, dict[str, object]], also: Mapping[str, float], of: bool) -> None:
        """Put more statistics in, and, `of` a sample, what is known of all rows in place of what the sample shows."""
        raw, (n, left_out, constant, zero) = s.inputs.teacher.raw, self._sums["rows"].tolist()
        s.value.update(also)
        if not of:
            return
        s.value.update(examples=int(n), left_out=left_out / n)
        if n > left_out:
            s.value.update(constant=constant / (n - left_out), zero=zero / (n - left_out))
            if raw.kind != "probabilities" and not (raw.fill and raw.fill.value == -np.inf):  # a softmax of what came
                self._amend_softmax(s.value, levels, len(s.inputs.teacher.labels))

    def _amend_softmax(self, value: dict[str, object], levels: dict[str, dict[str, object]], kept: int) -> None:
        labels, named, right = (self._sums[name].numpy() for name in ("labels", "named", "right"))
        n, even, taus = labels.sum(), 1 / self.num_classes, len(self.taus)
        mass, entropy, square = (self._sums["tau"] / n).T.numpy()
        largest, sure, one = (float(v) for v in (*self._sums["largest and sure"] / n, mass[self.taus.index(1.0)]))
        value.update(counted(float(right.sum() / n), labels / n, named / n, int(n)))
        value.update(mass=one, under=largest - 1 + one, confidence=sure, sure=(sure - even) / (1 - even))
        value.update(highest=float(self._sums["highest"]))
        levels["universe"].update(mass=mass.tolist(), entropy=entropy.tolist(), label_largest=[largest] * taus)
        if "means" in self._sums:
            means = ((self._sums["means"] ** 2).sum(-1) / self._sums["labels"].clamp(min=1)).sum(-1).numpy()
            shares = Sums(square * n, mass * n, np.full(taus, n), means).shares(self.num_classes)
            for level, share in zip(LEVEL_NAMES, shares.tolist()):
                _move(levels[level], share, (kept / n) ** 0.5)


def process() -> tuple[int, int]:
    """This process's number, and how many there are."""
    there = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_rank(), distributed.get_world_size()) if there else (0, 1)


def _move(level: dict[str, list[float | None]], share: list[float], shrink: float) -> None:
    """Put shares over all rows in place of the sample's, whose intervals shrink with the number of rows."""
    for i, (of_sample, exact) in enumerate(zip(level["share"], share)):
        if of_sample is not None:
            level["share"][i] = exact
            for end in ("share_low", "share_high"):
                if level[end][i] is not None:
                    level[end][i] = min(1.0, max(0.0, exact + (level[end][i] - of_sample) * shrink))


def flat(name: str, logits: object, labels: object, classes: int) -> tuple[Float[Tensor, "n C"], Int[Tensor, " n"]]:
    """Logits as rows and their labels, on the logits' device. Raises Unusable."""
    try:
        x, y = torch.as_tensor(logits).detach(), torch.as_tensor(labels).detach()
    except (TypeError, ValueError, RuntimeError):
        raise Unusable(f"{name}, labels: found no arrays of numbers, allowed: rows of equal length") from None
    x = x.cpu() if x.device.type == "mps" else x  # which has no float64
    if x.ndim == 4 and y.shape == (x.shape[0], *x.shape[2:]):
        x = x.movedim(1, -1)
    y = y.argmax(-1) if y.shape == x.shape and x.ndim > 1 else y
    if x.ndim < 2 or x.shape[-1] != classes or y.shape != x.shape[:-1]:
        found = f"found {tuple(x.shape)} with labels {tuple(y.shape)}"
        raise Unusable(f"{name}: {found}, allowed: (B, {classes}) with (B,), (B, T, {classes}) with (B, T), ...")
    if y.is_floating_point() and bool((y != y.floor()).any()):
        raise Unusable(f"labels: found fractions, allowed: whole numbers 0 to {classes - 1}")
    return x.reshape(-1, classes), y.reshape(-1).to(x.device).long()
