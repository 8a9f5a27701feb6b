"""What a check of a loss found, in words: each fault by name, its evidence, and what to do."""

from dataclasses import dataclass

from kdstudy.lossfaults import Setting

# code: (severity, what is wrong, what to do)
WORDS: dict[str, tuple[str, str, str]] = {
    "correct": ("info", "value and gradient are those of the loss as stated", "nothing to do"),
    "averaged_over_classes": (
        "error",
        "the {part} part is averaged over classes too, so it is divided by C",
        "KLDivLoss's default 'mean' divides by B * C: use reduction='batchmean', or sum over classes first",
    ),
    "summed_over_batch": (
        "error",
        "the {part} part is summed over the batch, so its weight grows with the batch size",
        "divide by the batch size: reduction='batchmean' for kl_div, 'mean' for cross_entropy",
    ),
    "averaged_twice": (
        "error",
        "the {part} part is divided by the batch size twice",
        "'batchmean' and 'mean' have divided by it already: remove your own division",
    ),
    "tau_squared_missing": (
        "error",
        "the soft part is not multiplied by tau^2, so it fades as tau grows",
        "multiply the divergence by tau ** 2, or pass tau_squared=False if you mean it so",
    ),
    "tau_not_squared": ("error", "the soft part is multiplied by tau, not by tau^2", "multiply by tau ** 2"),
    "tau_squared_twice": ("error", "the soft part is multiplied by tau^2 twice", "multiply by tau ** 2 once"),
    "tau_squared_not_wanted": (
        "error",
        "the soft part is multiplied by tau^2, which tau_squared=False says it should not be",
        "remove tau ** 2, or check with tau_squared=True",
    ),
    "tau_not_wanted": (
        "error",
        "the soft part is multiplied by tau, which tau_squared=False says it should not be",
        "remove tau, or multiply by tau ** 2 and check with tau_squared=True",
    ),
    "tau_squared_on_hard": (
        "error",
        "the hard part is multiplied by tau^2 too",
        "multiply the divergence alone by tau ** 2",
    ),
    "alpha_swapped": (
        "error",
        "alpha weighs the hard part and 1 - alpha the soft part",
        "exchange the two weights, or check with 1 - alpha",
    ),
    "alpha_missing": (
        "error",
        "the weight of the {part} part is missing",
        "weigh the hard part by 1 - alpha and the soft part by alpha",
    ),
    "hard_term_missing": ("error", "the labels have no part in the gradient", "add (1 - alpha) * cross_entropy(z, y)"),
    "soft_term_missing": (
        "error",
        "the teacher has no part in the gradient: nothing is distilled",
        "add alpha * tau ** 2 * KL(p^tau || q^tau)",
    ),
    "other_weights": (
        "error",
        "both parts are right but for their weights, which no known fault gives",
        "compare the weights with 1 - alpha and alpha tau^2",
    ),
    "other_alpha": ("error", "the loss is right for another alpha than stated", "bind the alpha that you state"),
    "other_temperature": ("error", "the loss fits another tau than stated", "bind the tau that you state"),
    "tau_on_student_only": ("error", "only the student's logits are divided by tau", "divide the teacher's too"),
    "tau_on_teacher_only": ("error", "only the teacher's logits are divided by tau", "divide the student's too"),
    "tau_not_applied": ("error", "no logits are divided by tau", "divide the student's and the teacher's by tau"),
    "softmax_twice": (
        "error",
        "a softmax is taken of probabilities ({part}), which makes them almost uniform",
        "pass logits: log_softmax and cross_entropy take the softmax themselves",
    ),
    "softmax_over_batch": (
        "error",
        "the softmax runs over the batch instead of the classes ({part})",
        "pass dim=-1",
    ),
    "reversed_kl": (
        "error",
        "the divergence is KL(q^tau || p^tau): student and teacher stand the other way round in it",
        "kl_div(log_q, p) takes the student's log-probabilities first and the teacher's probabilities second",
    ),
    "log_missing": (
        "error",
        "the {part} part uses the student's probabilities where their logarithm belongs",
        "kl_div and nll_loss take log_softmax(z, -1), not softmax(z, -1)",
    ),
    "log_target_mismatch": (
        "error",
        "kl_div takes the teacher's logarithms for probabilities or its probabilities for logarithms",
        "give probabilities with log_target=False or log-probabilities with log_target=True",
    ),
    "squared_error": (
        "error",
        "the soft part is a squared error, not a divergence",
        "another method (Ba and Caruana 2014), to be reported under its own name; for KD use KL(p^tau || q^tau)",
    ),
    "teacher_argmax": (
        "error",
        "the soft part is cross-entropy with the teacher's most likely class",
        "pass the teacher's probabilities, not their argmax",
    ),
    "hard_softened": ("error", "the hard part has its logits divided by tau", "cross_entropy(z, y), not (z / tau, y)"),
    "hard_all_pairs": (
        "error",
        "the hard part averages over all B x B pairs of rows and labels",
        "log_softmax(z, -1)[..., y] is B x B: use cross_entropy, or gather(-1, y[:, None])",
    ),
    "hard_smoothed": (
        "warning",
        "the hard part smooths the labels",
        "if you mean it, pass hard=partial(cross_entropy, label_smoothing=...)",
    ),
    "arguments_swapped": (
        "error",
        "the first argument, the student, is treated as the teacher and the second as the student",
        "fn is called as fn(student_logits, teacher_logits, labels): exchange the two in the call or in fn",
    ),
    "student_detached": (
        "error",
        "no gradient reaches the student through the {part} part of the loss",
        "remove detach, no_grad, item, numpy or argmax from the student's side",
    ),
    "teacher_not_detached": (
        "warning",
        "a gradient reaches the teacher's logits",
        "harmless if they come from torch.no_grad(); else detach them, or the teacher is trained towards the student",
    ),
    "value_without_gradient": (
        "warning",
        "the gradient is right, but the value changes with the student in another way",
        "look for a detached term of the loss; the curve that you log is not the loss that you minimise",
    ),
    "inexact": (
        "warning",
        "the gradient agrees only roughly",
        "look for an epsilon inside a logarithm, a clamp, or a cast to lower precision",
    ),
    "depends_on_order": (
        "error",
        "the loss changes when the rows of the batch are permuted together",
        "row i of student, teacher and labels must be the same example: look for a shuffle, flip or fixed index",
    ),
    "depends_on_other_rows": (
        "error",
        "an example's gradient depends on the other examples of its batch",
        "look for a sum, softmax or normalisation over the batch, dim=0 or no dim",
    ),
    "not_deterministic": (
        "error",
        "two calls with the same input differ",
        "call eval() on modules with dropout, and keep no state between calls",
    ),
    "modifies_its_input": (
        "error",
        "the function writes into its input, so whatever is computed from it later is wrong",
        "replace z /= tau by z = z / tau, and other operations in place likewise",
    ),
    "not_finite": (
        "error",
        "the loss or its gradient is not finite on {where}",
        "use log_softmax instead of log of softmax, and kl_div or xlogy where p log p can be 0 log 0",
    ),
    "not_finite_in_half": (
        "warning",
        "in float16 the loss or its gradient is not finite on logits of ordinary size",
        "compute the loss in float32: logits.float()",
    ),
    "per_example": ("error", "it returns a tensor of shape {shape}, not one number", "end with .mean() over the batch"),
    "not_a_tensor": (
        "error",
        "it returns {found}, from which no gradient can be taken",
        "return the loss as a tensor: no item(), no tuple",
    ),
    "raises": (
        "error",
        "it raises {error}: {message}",
        "fn is called as fn(student_logits, teacher_logits, labels) with (B, C), (B, C) and (B,)",
    ),
    "unknown": (
        "error",
        "the gradient is that of no loss known here: it differs from the stated one by {difference:.2%}",
        "see the factors on the hard, soft and reversed soft part (1, 1, 0 is right) and what is left beside them",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One fault (or its absence): its name, how grave it is, the numbers behind it, in words, and the remedy."""

    code: str
    severity: str
    evidence: dict[str, object]
    says: str
    advice: str

    @property
    def numbers(self) -> str:
        """The evidence as text."""
        return ", ".join(f"{k} {f'{v:.4g}' if isinstance(v, float) else v}" for k, v in self.evidence.items())

    def __str__(self) -> str:
        numbers = f" [{self.numbers}]" if self.evidence else ""
        return f"{self.severity} {self.code}: {self.says}{numbers}. To do: {self.advice}."


def finding(code: str, **evidence: object) -> Finding:
    """The finding of that name with its evidence."""
    severity, says, advice = WORDS[code]
    return Finding(code, severity, evidence, says.format(**evidence), advice)


@dataclass(frozen=True)
class LossReport:
    """What was meant, in which precision it was checked, and everything found."""

    meant: Setting
    dtype: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings are allowed."""
        return not any(f.severity == "error" for f in self.findings)

    @property
    def codes(self) -> tuple[str, ...]:
        """The names of all findings."""
        return tuple(f.code for f in self.findings)

    def _against(self) -> str:
        m = self.meant
        return f"{m}; tau = {m.tau:g}, alpha = {m.alpha:g}, C = {m.classes}, {self.dtype}"

    def __str__(self) -> str:
        return "\n".join([f"{'ok' if self.ok else 'FAULTY'}, against {self._against()}", *map(str, self.findings)])

    def _repr_markdown_(self) -> str:
        rows = [["", "finding", "what", "evidence", "to do"], ["---"] * 5]
        rows += [[f.severity, f"`{f.code}`", f.says, f.numbers, f.advice] for f in self.findings]
        lines = [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
        table = "\n".join(f"| {line} |" for line in lines)
        return f"**{'ok' if self.ok else 'Faulty'}**, against `{self._against()}`\n\n{table}"
