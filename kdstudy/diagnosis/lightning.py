"""A watch for Lightning's Trainer: pip install 'kdstudy[lightning]'."""

from lightning.pytorch import Callback

from kdstudy.diagnosis.inputs import Unusable
from kdstudy.diagnosis.watch import Watch, log

NAMES = ("student_logits", "teacher_logits", "labels")


class WatchCallback(Callback):
    """Watch the logits that `training_step` returns beside the loss.

    `options` are those of `Watch`: tau, alpha, say_at, ... At the end of training the report is logged;
    `watch.report()` gives it. Raises Unusable if training_step returns no logits.

        return {"loss": loss, "student_logits": z, "teacher_logits": v, "labels": y}  # in training_step
        trainer = Trainer(..., callbacks=[WatchCallback(tau=2.0, alpha=0.5)])
    """

    def __init__(self, **options: object) -> None:
        self.watch = Watch(**options)

    def on_train_batch_end(self, trainer: object, pl_module: object, outputs: object, *_: object) -> None:
        """Look at what a training step returned."""
        given = outputs if isinstance(outputs, dict) else {}
        if missing := [name for name in NAMES if name not in given]:
            allowed = f"a dictionary of loss, {', '.join(NAMES)}"
            raise Unusable(f"training_step: found a result without {', '.join(missing)}, allowed: {allowed}")
        self.watch.step(*(given[name] for name in NAMES))

    def on_train_end(self, trainer: object, pl_module: object) -> None:
        """Log the report."""
        if self.watch.calls and trainer.is_global_zero:
            log.info("%s", self.watch.report().headline)
