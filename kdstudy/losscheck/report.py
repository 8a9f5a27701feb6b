"""What a check of a loss found, in words: each fault by name, its evidence, and what to do (`findings.toml`)."""

from dataclasses import dataclass

from kdstudy.core.findings import Finding, Report, plain
from kdstudy.losscheck.variants import WORDS, KDLoss


def finding(code: str, **evidence: object) -> Finding:
    """The finding of that name with its evidence."""
    words = WORDS[code]
    wrong, do = (words[name].format(**evidence) for name in ("wrong", "do"))
    severity = words.get("severity", "error")
    return Finding(code, "warning" if severity == "method" else severity, evidence, do, wrong)


@dataclass(frozen=True)
class LossReport(Report):
    """The loss that was meant, the precision in which it was checked, and everything found."""

    loss: KDLoss
    dtype: str
    findings: tuple[Finding, ...]

    @property
    def headline(self) -> str:
        """Whether it is ok, and what it was compared with."""
        tau, alpha, classes = self.loss.tau, self.loss.alpha, self.loss.classes
        verdict = "ok" if self.ok else "FAULTY"
        return f"{verdict}, against {self.loss}; tau = {tau:g}, alpha = {alpha:g}, C = {classes}, {self.dtype}"

    def as_dict(self) -> dict[str, object]:
        """The loss that was meant, the precision, and the findings, as JSON knows them."""
        stated = {name: value for name, value in vars(self.loss).items() if name not in ("said", "form", "reduction")}
        return plain({"loss": {"formula": str(self.loss)} | stated, "dtype": self.dtype}) | super().as_dict()
