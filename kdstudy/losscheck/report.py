"""What a check of a loss found, in words: each fault by name, its evidence, and what to do."""

from dataclasses import dataclass

from kdstudy.core.findings import Finding, Report, plain
from kdstudy.losscheck.variants import METHODS, KDLoss

SEVERITY = dict.fromkeys(("correct", "rounded_inside", "last_token_taught"), "info") | dict.fromkeys(
    (
        "hard_smoothed",
        "value_without_gradient",
        "inexact",
        "not_finite_in_half",
        "not_finite_at_extremes",
        "summed_over_tokens",
        "rows_weighted",
        "classes_weighted",
        *METHODS,
    ),
    "warning",
)  # of all others: error
_METHOD = "another method, to be reported under its own name; state it as divergence if you mean it"
WORDS = {  # what is wrong, what to do
    "correct": ("value and gradient are those of the loss as stated", "nothing to do"),
    "hard_smoothed": ("the hard part smooths the labels",
        "if you mean it, pass hard=partial(cross_entropy, label_smoothing=...)"),
    "value_without_gradient": ("the gradient is right, but the value changes with the student in another way",
        "look for a detached term of the loss; the curve that you log is not the loss that you minimise"),
    "inexact": ("the gradient agrees only roughly",
        "look for an epsilon inside a logarithm, a clamp, or a cast to lower precision"),
    "not_finite_in_half": ("in float16 the loss or its gradient is not finite on logits of ordinary size",
        "compute the loss in float32: logits.float()"),
    "averaged_over_classes": ("the {part} part is averaged over classes too, so it is divided by C",
        "KLDivLoss's default 'mean' divides by B * C: use reduction='batchmean', or sum over classes first"),
    "summed_over_tokens": ("the {part} part is summed over the tokens of a sequence: its weight grows with the length",
        "'batchmean' of (B, T, C) divides by B alone: flatten to (B * T, C) first, or state reduction='batchmean'"),
    "averaged_over_batch": ("the {part} part is a mean over rows, another reduction than stated",
        "state reduction='mean', or reduce as stated"),
    "ignored_rows_counted": ("the {part} part is divided by all rows, with those that are ignored",
        "divide by the number of labels that are kept, (y != ignore_index).sum()"),
    "ignored_rows_taught": ("rows whose label is ignored have a gradient through the {part} part",
        "leave them out of the {part} part too: keep = y != ignore_index; z[keep], v[keep]"),
    "mask_not_shifted": ("the soft part leaves out the rows before those whose label is ignored",
        "the label of row i is y[i + 1]: shift the mask with the labels"),
    "teacher_shifted": ("a student's row is compared with the teacher's row before or after it",
        "cut student and teacher at the same end: z[:, :-1] and v[:, :-1]"),
    "labels_shifted": ("row i is compared with another label than its own: one shift too many or too few",
        "labels are shifted by the data, the model or the loss, and by one of them alone; state shift=True or False"),
    "last_token_taught": ("the soft part has the last token too, which has no label", "nothing to do"),
    "softmax_over_tokens": ("the softmax runs over tokens instead of the classes ({part})", "pass dim=-1"),
    "labels_left_out": ("the {part} part leaves out rows by their label: {labels}",
        "if it is the padding's, state ignore_index; a class is not learnt: look for ignore_index or a mask"),
    "classes_weighted": ("the {part} part weighs classes: {weights}", "state class_weights, or hard=, if you mean it"),
    "rows_weighted": ("the {part} part weighs rows unequally, by {least:.4g} to {most:.4g}",
        "an instance-wise weight is a method of its own; else look for a mask or a division"),
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
    "forward_kl": ("the divergence is KL(p^tau || q^tau)", 'state divergence="forward" if you mean it'),
    "reversed_kl": ("the divergence is reverse KL, KL(q^tau || p^tau), which seeks modes (MiniLLM)",
        'state divergence="reverse" if you mean it; else give kl_div the student\'s log-probabilities first, then '
        "the teacher's probabilities"),
    "jensen_shannon": ("the divergence is the generalised Jensen-Shannon divergence (GKD)",
        'state divergence="jsd" and beta if you mean it'),
    "symmetric_kl": ("the divergence is (1 - beta) KL(p || q) + beta KL(q || p)",
        'state divergence="symmetric" and beta if you mean it'),
    "skew_kl": ("the divergence is KL from a mixture of student and teacher (skew KL, DistiLLM)",
        'state divergence="skew" or "skew reverse" and beta if you mean it'),
    "squared_error": ("the soft part is an error of logits or probabilities (Ba and Caruana 2014)", _METHOD),
    "total_variation": ("the soft part is the distance |p - q|", _METHOD),
    "cosine_of_logits": ("the soft part is the cosine distance of the logits", _METHOD),
    "decoupled_kd": ("the soft part is decoupled KD: label against rest, plus `parameter` times the others", _METHOD),
    "correlation": ("the soft part is the correlation of rows, plus `parameter` times that of classes (DIST)", _METHOD),
    "sorted_probabilities": ("the soft part compares sorted probabilities (ULD)", _METHOD),
    "binary_cross_entropy": ("the {part} part is binary cross-entropy with sigmoids, for several labels each", _METHOD),
    "standardised_logits": ("the soft part standardises the logits of each row first (logit standardisation)", _METHOD),
    "top_k": ("the soft part looks at the {largest_of}'s {k} most likely classes alone ({outside})",
        "state top_k=({k}, '{outside}') if you mean it; the tail bucket keeps what the rest has in sum"),
    "all_classes": ("the soft part looks at all classes", "leave out top_k, or take the k largest"),
    "other_parameter": ("the divergence has another parameter than stated", "bind the beta that you state"),
    "log_missing": ("the {part} part uses the student's probabilities where their logarithm belongs",
        "kl_div and nll_loss take log_softmax(z, -1), not softmax(z, -1)"),
    "log_target_mismatch": (
        "kl_div takes the teacher's logarithms for probabilities or its probabilities for logarithms",
        "give probabilities with log_target=False or log-probabilities with log_target=True"),
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
    "not_finite_at_extremes": ("the loss or its gradient is not finite on {where}",
        "add an epsilon or compute with logarithms, if your network can give such logits"),
    "rounded_inside": ("it rounds the logits to {to} inside, and is judged by that precision",
        "compute the loss in float32 before any cast, if the rounding is not meant"),
    "stated_part_fails": ("what is stated as {part} cannot be called: {found}",
        "hard(student_logits, labels) and divergence(z / tau, v / tau) return a tensor"),
    "reduced": ("it returns one number, not one for each row as stated", "state another reduction, or return rows"),
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
    return Finding(code, SEVERITY.get(code, "error"), evidence, advice.format(**evidence), message.format(**evidence))


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
