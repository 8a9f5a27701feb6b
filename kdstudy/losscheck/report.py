"""What a check of a loss found, in words: each fault by name, its evidence, and what to do."""

from dataclasses import dataclass

from kdstudy.core.findings import Finding, Report, plain
from kdstudy.losscheck.variants import KDLoss

SEVERITY = {"correct": "info"} | dict.fromkeys(
    ("hard_smoothed", "teacher_not_detached", "value_without_gradient", "inexact", "not_finite_in_half"), "warning"
)  # of all others: error
WORDS = {  # what is wrong, what to do
    "correct": ("value and gradient are those of the loss as stated", "nothing to do"),
    "hard_smoothed": ("the hard part smooths the labels",
        "if you mean it, pass hard=partial(cross_entropy, label_smoothing=...)"),
    "teacher_not_detached": ("a gradient reaches the teacher's logits",
        "harmless if they come from torch.no_grad(); else detach them, or the teacher is trained towards the student"),
    "value_without_gradient": ("the gradient is right, but the value changes with the student in another way",
        "look for a detached term of the loss; the curve that you log is not the loss that you minimise"),
    "inexact": ("the gradient agrees only roughly",
        "look for an epsilon inside a logarithm, a clamp, or a cast to lower precision"),
    "not_finite_in_half": ("in float16 the loss or its gradient is not finite on logits of ordinary size",
        "compute the loss in float32: logits.float()"),
    "averaged_over_classes": ("the {part} part is averaged over classes too, so it is divided by C",
        "KLDivLoss's default 'mean' divides by B * C: use reduction='batchmean', or sum over classes first"),
    "summed_over_batch": ("the {part} part is summed over the batch, so its weight grows with the batch size",
        "divide by the batch size: reduction='batchmean' for kl_div, 'mean' for cross_entropy"),
    "averaged_twice": ("the {part} part is divided by the batch size twice",
        "'batchmean' and 'mean' have divided by it already: remove your own division"),
    "tau_squared_missing": ("the soft part is not multiplied by tau^2, so it fades as tau grows",
        "multiply the divergence by tau ** 2, or pass tau_squared=False if you mean it so"),
    "tau_not_squared": ("the soft part is multiplied by tau, not by tau^2", "multiply by tau ** 2"),
    "tau_squared_twice": ("the soft part is multiplied by tau^2 twice", "multiply by tau ** 2 once"),
    "tau_squared_not_wanted": ("the soft part is multiplied by tau^2, which tau_squared=False says it should not be",
        "remove tau ** 2, or check with tau_squared=True"),
    "tau_not_wanted": ("the soft part is multiplied by tau, which tau_squared=False says it should not be",
        "remove tau, or multiply by tau ** 2 and check with tau_squared=True"),
    "tau_squared_on_hard": ("the hard part is multiplied by tau^2 too", "multiply the divergence alone by tau ** 2"),
    "alpha_swapped": ("alpha weighs the hard part and 1 - alpha the soft part",
        "exchange the two weights, or check with 1 - alpha"),
    "alpha_missing": ("the weight of the {part} part is missing",
        "weigh the hard part by 1 - alpha and the soft part by alpha"),
    "hard_term_missing": ("the labels have no part in the gradient", "add (1 - alpha) * cross_entropy(z, y)"),
    "soft_term_missing": ("the teacher has no part in the gradient: nothing is distilled",
        "add alpha * tau ** 2 * KL(p^tau || q^tau)"),
    "other_weights": ("both parts are right but for their weights, which no known fault gives",
        "compare the weights with 1 - alpha and alpha tau^2"),
    "other_alpha": ("the loss is right for another alpha than stated", "bind the alpha that you state"),
    "other_temperature": ("the loss fits another tau than stated", "bind the tau that you state"),
    "tau_on_student_only": ("only the student's logits are divided by tau", "divide the teacher's too"),
    "tau_on_teacher_only": ("only the teacher's logits are divided by tau", "divide the student's too"),
    "tau_not_applied": ("no logits are divided by tau", "divide the student's and the teacher's by tau"),
    "softmax_twice": ("a softmax is taken of probabilities ({part}), which makes them almost uniform",
        "pass logits: log_softmax and cross_entropy take the softmax themselves"),
    "softmax_over_batch": ("the softmax runs over the batch instead of the classes ({part})", "pass dim=-1"),
    "reversed_kl": ("the divergence is KL(q^tau || p^tau): student and teacher stand the other way round in it",
        "kl_div(log_q, p) takes the student's log-probabilities first and the teacher's probabilities second"),
    "log_missing": ("the {part} part uses the student's probabilities where their logarithm belongs",
        "kl_div and nll_loss take log_softmax(z, -1), not softmax(z, -1)"),
    "log_target_mismatch": (
        "kl_div takes the teacher's logarithms for probabilities or its probabilities for logarithms",
        "give probabilities with log_target=False or log-probabilities with log_target=True"),
    "squared_error": ("the soft part is a squared error, not a divergence",
        "another method (Ba and Caruana 2014), to be reported under its own name; for KD use KL(p^tau || q^tau)"),
    "teacher_argmax": ("the soft part is cross-entropy with the teacher's most likely class",
        "pass the teacher's probabilities, not their argmax"),
    "hard_softened": ("the hard part has its logits divided by tau", "cross_entropy(z, y), not (z / tau, y)"),
    "hard_all_pairs": ("the hard part averages over all B x B pairs of rows and labels",
        "log_softmax(z, -1)[..., y] is B x B: use cross_entropy, or gather(-1, y[:, None])"),
    "arguments_swapped": ("the first argument, the student, is treated as the teacher and the second as the student",
        "fn is called as fn(student_logits, teacher_logits, labels): exchange the two in the call or in fn"),
    "student_detached": ("no gradient reaches the student through the {part} part of the loss",
        "remove detach, no_grad, item, numpy or argmax from the student's side"),
    "depends_on_order": ("the loss changes when the rows of the batch are permuted together",
        "row i of student, teacher and labels must be the same example: look for a shuffle, flip or fixed index"),
    "depends_on_other_rows": ("an example's gradient depends on the other examples of its batch",
        "look for a sum, softmax or normalisation over the batch, dim=0 or no dim"),
    "not_deterministic": ("two calls with the same input differ",
        "call eval() on modules with dropout, and keep no state between calls"),
    "modifies_its_input": ("the function writes into its input, so whatever is computed from it later is wrong",
        "replace z /= tau by z = z / tau, and other operations in place likewise"),
    "not_finite": ("the loss or its gradient is not finite on {where}",
        "use log_softmax instead of log of softmax, and kl_div or xlogy where p log p can be 0 log 0"),
    "per_example": ("it returns a tensor of shape {shape}, not one number", "end with .mean() over the batch"),
    "not_a_tensor": ("it returns {found}, from which no gradient can be taken",
        "return the loss as a tensor: no item(), no tuple"),
    "raises": ("it raises {error}: {message}",
        "fn is called as fn(student_logits, teacher_logits, labels) with (B, C), (B, C) and (B,)"),
    "unknown": ("the gradient is that of no loss known here: it differs from the stated one by {difference:.2%}",
        "see the factors on the hard, soft and reversed soft part (1, 1, 0 is right) and what is left beside them"),
}  # fmt: skip


def finding(code: str, **evidence: object) -> Finding:
    """The finding of that name with its evidence."""
    message, advice = WORDS[code]
    return Finding(code, SEVERITY.get(code, "error"), evidence, advice, message.format(**evidence))


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
        return plain({"loss": {"formula": str(self.loss)} | vars(self.loss), "dtype": self.dtype}) | super().as_dict()
