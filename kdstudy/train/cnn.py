"""Convolutional networks trained side by side.

Runs of one stack share the seed too: the same first weights, the same order, the same views of the images, of which one
copy serves all. Where images are augmented, what a condition asks is computed anew each epoch from the teacher's logits
for exactly the views the students will see (`kdstudy.train.augment`).
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kdstudy.core.spec import Run
from kdstudy.data.dataset import Dataset
from kdstudy.distill import loss
from kdstudy.train import augment, networks, steppers, trainer
from kdstudy.train.trainer import Progress, Result, Teachers


def network(run: Run, data: Dataset) -> nn.Module:
    """The network of a run with its first weights, float32 where only the arithmetic of training is bfloat16."""
    dtype = torch.float64 if run.recipe.dtype == "float64" else torch.float32
    return networks.build(run.recipe.net, data.train.x.shape[1], len(data.classes), run.seed).to(dtype)


class Convolutional(trainer.Trainer):
    """R convolutional networks of one make and seed, their images in the float16 they are kept in."""

    examples, shared = ("images", 4), "network, seed"

    def __init__(
        self,
        runs: Sequence[Run],
        data: Dataset,
        teachers: Teachers,
        device: str = "cpu",
        stepper: type[steppers.Stepper] | None = None,
    ) -> None:
        super().__init__(runs, data, teachers, device)
        made = [network(r, data).to(device) for r in runs]
        self.stepper = (stepper or steppers.fastest(device, made[0]))(made, [r.recipe for r in runs], device)
        self.computed_in = torch.bfloat16 if self.recipe.dtype == "bfloat16" else self.dtype
        self.view = None

    @staticmethod
    def shape(run: Run) -> tuple[object, ...]:
        """What runs must have in common to be trained in one stack."""
        r = run.recipe
        return run.data, r.net, r.augment, r.epochs, r.batch, r.momentum, r.dtype, run.seed

    def start(self, epoch: int) -> None:
        """Draw an epoch's views, and what conditions ask for them."""
        if not self.recipe.augment:
            return
        device = self.tau.device
        logits = {t: self.teacher_logits(t, epoch) for t in {t for _, t in self.kinds if t}}
        asked = ((self.target(c, t, logits.get(t)), c.tau) for c, t in self.kinds)
        gradients = loss.stack([loss.LossGradient.of(target, tau) for target, tau in asked])
        self.gradients = gradients.map(lambda t: t.to(device))
        self.view = augment.draw_views(self.seeds[0], epoch, len(self.data.train.y)).to(device)

    def teacher_logits(self, teacher: Run, epoch: int) -> Float[Tensor, "N C"]:
        """A teacher's logits for the views of an epoch."""
        left = self.teachers[teacher.key]
        if "weights" not in left:
            raise ValueError(
                f"teacher {teacher.key} of net {teacher.recipe.net!r}: found no weights, which logits for augmented "
                "images need; allowed: a teacher whose net is one of kdstudy.train.networks, or no `augment`"
            )
        net = networks.with_weights(network(teacher, self.data), left["weights"]).to(self.tau.device)
        table = augment.cached_logits(net, self.splits["train"].x, self.seeds[0], epoch)
        return torch.from_numpy(np.array(table)).to(self.dtype)

    def step(self, index: Int[Tensor, "1 B"], factor: float) -> None:
        """One SGD step of every run on its batch."""
        x = augment.shown(self.splits["train"].x, index[0], self.view, self.computed_in)
        self.stepper.step(x, lambda logits: self.gradient(logits, index), factor)

    def logits(self, i: int, x: Float[Tensor, "N ch h w"]) -> Float[Tensor, "N C"]:
        """Logits of run i."""
        return augment.predict(self.stepper.net(i), x)

    def logit_rows(self, i: int) -> Float[Tensor, "C H"]:
        """The logit layer's weight vector of each class in run i."""
        return networks.logit_rows(self.stepper.net(i))

    def weights(self, i: int) -> dict[str, Tensor]:
        """All weights of run i as one vector."""
        return {"weights": networks.weight_vector(self.stepper.net(i))}


shape = Convolutional.shape


def train(
    runs: Sequence[Run],
    data: Dataset,
    teachers: Teachers,
    device: str = "cpu",
    progress: Progress = lambda n: None,
    keep_logits: bool = False,
    stepper: type[steppers.Stepper] | None = None,
) -> list[Result]:
    """Train `runs` as one stack and measure each at its last epoch, as `mlp.train` does for perceptrons.

    `teachers` maps a teacher's key to its logits by split, its logit-layer "rows" and, for students of augmented
    images, its "weights". `keep_logits` adds the arrays that make a run fit to teach. `stepper` is how the networks
    are advanced, by default the fastest for the device. Raises ValueError if the runs do not fit one stack.
    """
    return trainer.train(Convolutional(runs, data, teachers, device, stepper), progress, keep_logits)
