"""R networks of one make advanced by one step on the same batch: one after another, or stacked into one.

Which is faster depends on the device (the book's Speed page has the measurements): a CPU core is kept busy by one
network, a GPU by many.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from kdstudy.core.spec import Recipe
from kdstudy.train.networks import Net, Norm

Images = Float[Tensor, "B ch h w"]
Logits = Float[Tensor, "R B C"]
Gradient = Callable[[Logits], Logits]  # the gradient of each run's loss by its logits


def compute(recipe: Recipe, device: str) -> torch.autocast:
    """The precision that a recipe computes in."""
    return torch.autocast(device, torch.bfloat16, enabled=recipe.dtype == "bfloat16")


class OneByOne:
    """Every network on its own; SGD in one fused pass over each one's weights."""

    def __init__(self, nets: Sequence[nn.Module], recipes: Sequence[Recipe], device: str) -> None:
        self.nets, self.recipes, self.device = list(nets), list(recipes), device
        groups = [
            {"params": [*net.parameters()], "lr": r.lr, "weight_decay": r.weight_decay} for net, r in zip(nets, recipes)
        ]
        self.sgd = torch.optim.SGD(groups, momentum=recipes[0].momentum, nesterov=recipes[0].momentum > 0, fused=True)

    def step(self, x: Images, gradient: Gradient, factor: float) -> None:
        """One step of every run, its learning rate times `factor`."""
        with compute(self.recipes[0], self.device):
            logits = [net(x) for net in self.nets]
        logits = [z.to(p) for z, p in zip(logits, (next(net.parameters()) for net in self.nets))]
        self.sgd.zero_grad()
        torch.autograd.backward(logits, list(gradient(torch.stack([z.detach() for z in logits]))))
        for group, recipe in zip(self.sgd.param_groups, self.recipes):
            group["lr"] = recipe.lr * factor
        self.sgd.step()

    def net(self, i: int) -> nn.Module:
        """The network of run i."""
        return self.nets[i]


class Stacked:
    """All networks, of `nets.Net`, as one by `torch.func.vmap`: convolutions become grouped convolutions."""

    def __init__(self, nets: Sequence[nn.Module], recipes: Sequence[Recipe], device: str) -> None:
        self.base, self.recipes = copy.deepcopy(nets[0]), list(recipes)
        for norm in (m for m in self.base.modules() if isinstance(m, Norm)):
            norm.plain = True
        params, self.buffers = stack_module_state(list(nets))
        self.params = {k: v.detach().requires_grad_() for k, v in params.items()}
        self.momenta = {k: torch.zeros_like(v) for k, v in self.params.items()}
        self.lr, self.decay = (
            torch.tensor([getattr(r, f) for r in recipes], device=device) for f in ("lr", "weight_decay")
        )

    def step(self, x: Images, gradient: Gradient, factor: float) -> None:
        """One step of every run, its learning rate times `factor`."""
        cast = {k: v.to(x.dtype) if v.dim() == 5 else v for k, v in self.params.items()}  # autocast ends at vmap
        logits = vmap(lambda p, b: functional_call(self.base, (p, b), (x,)))(cast, self.buffers)
        grads = torch.autograd.grad(logits, list(self.params.values()), gradient(logits.detach()))
        mu = self.recipes[0].momentum
        with torch.no_grad():
            for (name, p), g in zip(self.params.items(), grads):
                lr, decay = (v.to(p).view(-1, *[1] * (p.dim() - 1)) for v in (factor * self.lr, self.decay))
                g = g + decay * p
                m = self.momenta[name].mul_(mu).add_(g)
                p.sub_(lr * g.add(m, alpha=mu))

    def net(self, i: int) -> nn.Module:
        """A copy of the network of run i."""
        alone = copy.deepcopy(self.base)
        alone.load_state_dict({k: v[i].detach() for k, v in (self.params | self.buffers).items()})
        return alone


Stepper = OneByOne | Stacked
STEPPERS = {"cpu": OneByOne, "cuda": Stacked}  # by device; for a GPU by reasoning, not by measurement


def fastest(device: str, net: nn.Module) -> type[Stepper]:
    """The stepper for this kind of network on this device."""
    return STEPPERS[device] if isinstance(net, Net) else OneByOne
