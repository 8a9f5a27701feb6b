"""A watch for Hugging Face's Trainer, and so for TRL's trainers: pip install 'kdstudy[hf]'."""

import torch
from torch import Tensor
from transformers import TrainerCallback
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from kdstudy.diagnosis.watch import Watch, log

UNSEEN = (
    "no pair of logits was seen: does the loss call both the model and this teacher, and do their outputs have logits "
    "(those of fused and chunked losses have none)?"
)


class WatchCallback(TrainerCallback):
    """Watch the logits of a student that a Trainer trains, and of its `teacher`, whichever way the loss calls them.

    `options` are those of `Watch`: tau, alpha, say_at, ... Labels are those that the student is called with, shifted if
    it is a causal language model; where this is called without (GKD), the tokens that attention_mask leaves in, prompts
    included. At the end of training the report is logged; `watch.report()` gives it.

        trainer = Trainer(model=student, ..., callbacks=[WatchCallback(teacher, tau=2.0, alpha=0.5)])
    """

    def __init__(self, teacher: torch.nn.Module, **options: object) -> None:
        self.teacher, self.watch, self._seen, self._hooks = teacher, Watch(**options), {}, []

    def on_train_begin(self, args: object, state: object, control: object, model: object = None, **_: object) -> None:
        """Look at what both modules are called with and return, while the student is in training mode."""
        for name, module in (("student", model), ("teacher", self.teacher)):

            def hook(_: object, args: tuple, kwargs: dict, output: object, name: str = name) -> None:
                if model.training:
                    self._see(name, type(model).__name__, kwargs, output)

            self._hooks.append(module.register_forward_hook(hook, with_kwargs=True))

    def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
        """Say so if nothing could be seen."""
        if state.global_step == self.watch.say_at and not self.watch.calls:
            log.warning("step %d: %s", state.global_step, UNSEEN)

    def on_train_end(self, args: object, state: object, control: object, **_: object) -> None:
        """Take the hooks off, and log the report."""
        for hook in self._hooks:
            hook.remove()
        if self.watch.calls and state.is_world_process_zero:
            log.info("%s", self.watch.report().headline)

    def _see(self, name: str, model: str, given: dict[str, object], output: object) -> None:
        logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
        if logits is None:
            return
        causal = "CausalLM" in model or model in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
        self._seen[name] = logits.detach()
        if name == "student":
            self._seen["labels"] = given.get("labels", self._tokens(given) if causal else None)
        if self._seen.keys() >= {"student", "teacher"}:
            student, teacher, labels = (self._seen.pop(k) for k in ("student", "teacher", "labels"))
            if causal and labels is not None:
                student, teacher, labels = student[:, :-1], teacher[:, :-1], labels[:, 1:]
            if labels is not None and student.shape == teacher.shape:
                self.watch.step(student, teacher, labels)

    def _tokens(self, given: dict[str, object]) -> Tensor | None:
        tokens, mask = given.get("input_ids"), given.get("attention_mask")
        return tokens if tokens is None or mask is None else tokens.masked_fill(mask == 0, self.watch.ignore_index)
