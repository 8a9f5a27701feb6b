"""A distillation that is watched as it runs: what the loss sees of teacher and student, step by step.

For a loop of one's own, timm's among them; `huggingface` and `lightning` call it from their trainers.
"""

import logging
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from kdstudy.core.findings import Finding, Report, plain
from kdstudy.core.spec import require
from kdstudy.diagnosis.api import DiagnosisReport
from kdstudy.diagnosis.inputs import Unusable
from kdstudy.diagnosis.rulebook import Found, Limits, above, below, finding
from kdstudy.diagnosis.running import Diagnosis, flat, process
from kdstudy.diagnosis.statistics.all import Statistics
from kdstudy.diagnosis.statistics.examples import log_odds_of

log = logging.getLogger("kdstudy")
UNHEARD = 0.05  # of the gradient
ENTRIES = 4_000_000  # logits of a step that are looked at, of FEWEST rows at least
FEWEST = 16
SAME = 1e-4  # of the gradient of the soft part, over that of a student that knows nothing
COLUMNS = {"mass": "mass off the label", "w": "weight w", "w_effective": "effective fraction of w",
           "agreement": "student agrees with teacher", "soft_share": "soft part of the gradient",
           "teacher_accuracy": "teacher's accuracy", "student_accuracy": "student's accuracy"}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Watched(Report):
    """What was seen: `steps` watched, `history` (a row for each), the `diagnosis` of the teacher's rows."""

    steps: int
    history: pd.DataFrame = field(compare=False)
    diagnosis: DiagnosisReport
    broken: int = 0  # steps in which no row of teacher and student was finite

    __repr__ = Report.__str__

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those of the teacher's rows, and of the run."""
        return self.diagnosis.findings

    @property
    def headline(self) -> str:
        """Where it began and where it ended, in one line."""
        first, last = self.history.iloc[0], self.history.iloc[-1]
        told = (f"{said} {first[name]:.2f} → {last[name]:.2f}" for name, said in COLUMNS.items())
        lost = f" In {self.broken} steps no row of teacher and student was finite." * bool(self.broken)
        return f"{self.steps} steps watched: {', '.join(told)}.{lost} {self.diagnosis.headline}"

    def as_dict(self) -> dict[str, object]:
        """All of it as JSON knows it."""
        return super().as_dict() | plain({"steps": self.steps, "history": self.history.reset_index().to_dict("list")})


class Watch:
    """Watch a distillation with the loss hard CE + soft KL(p^tau || q^tau).

    `weights` (hard, soft): by default (1 - alpha, alpha tau^2). Of each `every`-th step at most `rows` rows are looked
    at, so that it costs little; at step `say_at` what is wrong is said once, a line each, by the logger "kdstudy".

        >>> watch = Watch(tau=4.0, alpha=0.9, say_at=50)
        >>> for _ in range(2):  # your loop
        ...     watch.step(torch.zeros(3, 3), 5 * torch.eye(3), torch.arange(3))
        >>> watch.report().steps
        2
    """

    def __init__(
        self, tau: float, alpha: float = 0.5, *, weights: tuple[float, float] | None = None, say_at: int = 50,
        every: int = 1, rows: int = 256, ignore_index: int = -100,
    ) -> None:  # fmt: skip
        self.tau, self.say_at, self.every, self.rows, self.ignore_index = tau, say_at, every, rows, ignore_index
        self.hard, self.soft = weights or (1 - alpha, alpha * tau**2)
        require(isinstance(every, int) and every > 0, "every", every, "a whole number of at least 1")
        require(isinstance(rows, int) and rows > 0, "rows", rows, "a whole number of at least 1")
        require(0 <= alpha <= 1, "alpha", alpha, "a number in [0, 1]")
        self.calls, self.broken, self.said, self._history, self._teacher = 0, 0, (), {}, None

    def step(self, student_logits: object, teacher_logits: object, labels: object) -> None:
        """Look at a step: logits (B, C), (B, T, V) or (B, C, H, W) of both, and labels as the loss has them."""
        self.calls += 1
        if self.calls % self.every == 0 or self.calls == self.say_at:
            self._look(student_logits, teacher_logits, labels)
        if self.calls == self.say_at and self.broken:
            log.warning("step %d: in %d steps no row of teacher and student was finite", self.calls, self.broken)
        if self.calls == self.say_at and self._history:
            self.said = tuple(f for f in self.report().findings if f.severity != "info")
            for found in self.said * (process()[0] == 0):
                log.warning("step %d: %s: %s. %s", self.calls, found.code, found.message, found.advice)

    def report(self) -> Watched:
        """What was seen until now, in this process. Raises Unusable before the first step."""
        if self.broken and not self._history:
            raise Unusable(
                f"found {self.broken} steps, none with a row of finite logits of both, allowed: finite logits"
            )
        if not self._history:
            raise Unusable("no step was watched: call step(student_logits, teacher_logits, labels) in the loop")
        history = pd.DataFrame.from_dict(self._history, "index").rename_axis("step")
        begun = history.head(self.say_at)
        run = begun.mean().to_dict() | {"soft_left": float(begun["soft_left"].max())}
        return Watched(len(history), history, self._teacher.compute({f"run_{name}": run[name] for name in run}),
                       self.broken)  # fmt: skip

    @torch.no_grad()
    def _look(self, student_logits: object, teacher_logits: object, labels: object) -> None:
        classes = teacher_logits.shape[1 if teacher_logits.ndim == 4 else -1]
        self._teacher = self._teacher or Diagnosis(classes, tau=self.tau, sync_on_compute=False)
        (t, y), (s, _) = (flat(name, v, labels, classes) for name, v in
                          (("teacher_logits", teacher_logits), ("student_logits", student_logits)))  # fmt: skip
        at = (y != self.ignore_index).nonzero()[:, 0]
        most = min(len(at), self.rows, max(FEWEST, ENTRIES // classes))
        start = self.calls * most % (len(at) - most + 1)  # neighbours, so that a shift of tokens can be seen
        at = at[start : start + most]
        t, s, y = t[at], s[at].to(t.device), y[at]
        self._teacher.update(t, y)
        known = t.isfinite().all(-1) & s.isfinite().all(-1)
        self.broken += not known.any()
        if known.any():
            self._history[self.calls] = self._numbers(s[known].float(), t[known].float(), y[known])

    def _numbers(self, s: Tensor, t: Tensor, y: Tensor) -> dict[str, float]:
        """Means over rows of what gradients at the student's logits are made of; w as `examples.weights_of_student`."""
        tau, one_hot = self.tau, torch.nn.functional.one_hot(y, s.shape[-1])
        soft = self.soft / tau * ((s / tau).softmax(-1) - (t / tau).softmax(-1))
        hard = self.hard * (s.softmax(-1) - one_hot)
        one, softened, mass = (torch.sigmoid(-log_odds_of(v, y)) for v in (s, s / tau, t / tau))
        w = self.hard + self.soft / tau * (softened - mass) / one.clamp(min=1e-30)
        named, teacher = s.argmax(-1), t.argmax(-1)
        heard, both = soft.norm(dim=-1).sum(), (soft.norm(dim=-1) + hard.norm(dim=-1)).sum()
        even = self.soft / tau * ((t / tau).softmax(-1) - 1 / s.shape[-1]).norm(dim=-1).sum()
        numbers = torch.stack([
            mass.mean(), w.mean(), w.sum() ** 2 / (len(w) * (w**2).sum()).clamp(min=1e-30),
            (named == teacher).float().mean(), heard / both.clamp(min=1e-30), (teacher == y).float().mean(),
            (named == y).float().mean(), heard / even.clamp(min=1e-30),
        ]).tolist()  # fmt: skip
        return dict(zip([*COLUMNS, "soft_left"], numbers))


# ---------------------------------------------------------------- what only a run shows


@finding(shows="run_soft_share")
def teacher_unheard(s: Statistics, limit: Limits) -> Found:
    """Hardly any of the gradient comes from the teacher.

    What the student learns are the labels: raise alpha, multiply the soft part by tau squared, and check that its mean
    is over examples, as that of the hard part is (kdstudy check-loss).
    """
    return below(s["run_soft_share"], UNHEARD) and not _same(s)


@finding(shows="run_agreement run_soft_left")
def student_is_teacher(s: Statistics, limit: Limits) -> Found:
    """Student and teacher give the same probabilities from the first steps on.

    One module may stand in both places, or one's logits were passed twice: there is nothing to learn from it.
    """
    return _same(s)


def _same(s: Statistics) -> bool:
    return above(s["run_agreement"], 0.999) and below(s["run_soft_left"], SAME)
