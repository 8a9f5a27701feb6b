"""How many run-steps per second R students make side by side, against the same students one by one.

Synthetic data of the shape of CLINC150 (256 features, 150 classes, splits of the same proportions,
a twentieth of the examples, 10 epochs), students of 12 hidden units, eight conditions (hard labels,
label smoothing, distillation at six temperatures and weights) x R / 8 seeds, a teacher for each seed.
Both sides are `kdstudy.training.train` on the same data, teachers' logits and seeds, and include all
that a run costs: targets, initial weights, every optimiser step, validation after each epoch, all
measures at the end. Their metrics must be equal bit for bit, or nothing is printed.

A second line measures a plain loop as distillation code is usually written (torch.nn.Linear,
torch.optim.SGD, cross_entropy and kl_div), each student alone: training and test accuracy only.

Both sides have one thread, as `ask` gives each of its workers; `--threads` gives the stack more.
The ratio falls as batches grow, for a student alone then spends less of its time on calls: the
study's own batches are `--batch 64` and 128. Sides alternate; rates are medians over the repeats of
wall time, so other work on the machine falsifies them. Usage: python benchmarks/stacked.py
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdstudy import datasets, models, plans, setups, targets, training
from kdstudy.datasets import Dataset
from kdstudy.spec import Data, Recipe, Run, pairs

SHAPE = {"classes": 150, "features": 256, "superclasses": 10, "train": 768, "validation": 154, "test": 230}
EPOCHS = 10
CONDITIONS = [
    targets.make("hard"),
    targets.make("label_smoothing", epsilon=0.1),
    *(targets.make("kd", tau=t, alpha=a) for t, a in ((1, 0.5), (1, 0.9), (2, 0.9), (4, 0.5), (4, 0.9), (8, 0.9))),
]
Logits = Mapping[str, Mapping[str, Tensor]]


def students(r: int, batch: int) -> list[Run]:
    """R students: every condition for each seed."""
    data = Data("synthetic", pairs(SHAPE))
    own = setups.Setup(Recipe((256,), 3, batch), Recipe((12,), EPOCHS, batch))
    return plans.students(data, own, CONDITIONS, range(-(-r // len(CONDITIONS))))[:r]


def teach(runs: list[Run], data: Dataset) -> Logits:
    """The teachers' logits on every split."""
    done = training.train(list(dict.fromkeys(r.teacher for r in runs if r.teacher)), data, {}, keep_logits=True)
    return {
        r.run.key: {n.partition("_")[2]: torch.from_numpy(a) for n, a in r.arrays.items() if n.startswith("logits")}
        for r in done
    }


def side_by_side(runs: list[Run], data: Dataset, taught: Logits) -> list[dict[str, float]]:
    """All runs as one stack."""
    return [result.metrics for result in training.train(runs, data, taught)]


def one_by_one(runs: list[Run], data: Dataset, taught: Logits) -> list[dict[str, float]]:
    """Each run as a stack of one."""
    return [training.train([run], data, taught)[0].metrics for run in runs]


def objective(run: Run) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """The loss of a condition as a function of student logits, labels and teacher logits."""
    options, tau = dict(run.condition.params), run.condition.tau

    def distil(z: Tensor, y: Tensor, v: Tensor | None) -> Tensor:
        soft = F.kl_div((z / tau).log_softmax(-1), (v / tau).softmax(-1), reduction="batchmean")
        return options["alpha"] * tau**2 * soft + (1 - options["alpha"]) * F.cross_entropy(z, y)

    if run.condition.name == "kd":
        return distil
    return lambda z, y, v: F.cross_entropy(z, y, label_smoothing=options.get("epsilon", 0.0))


def network(run: Run, data: Dataset) -> nn.Sequential:
    """The student as torch modules, with the same first weights."""
    sizes = (data.train.x.shape[1], *run.recipe.hidden, len(data.classes))
    first = models.init(run.seed, sizes)
    net = nn.Sequential(nn.Linear(*sizes[:2]), nn.ReLU(), nn.Linear(*sizes[1:]))
    for layer, weight, bias in zip(net[::2], first[::2], first[1::2]):
        layer.weight.data, layer.bias.data = weight[0].T.contiguous(), bias[0, 0]
    return net


def plain(run: Run, data: Dataset, taught: Logits) -> dict[str, float]:
    """One student in a plain loop."""
    recipe, (x, y), n = run.recipe, (data.train.x, data.train.y), len(data.train.y)
    teacher, loss, net = run.teacher and taught[run.teacher.key]["train"], objective(run), network(run, data)
    sgd = torch.optim.SGD(net.parameters(), recipe.lr, recipe.momentum, nesterov=True)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, training.steps(run, n))
    for epoch in range(recipe.epochs):
        order = training.orders([run.seed], epoch, n)[0]
        for at in order[: n // recipe.batch * recipe.batch].split(recipe.batch):
            value = loss(net(x[at]), y[at], None if teacher is None else teacher[at])
            sgd.zero_grad()
            value.backward()
            sgd.step()
            cosine.step()
    with torch.no_grad():
        return {"test_accuracy": float((net(data.test.x).argmax(-1) == data.test.y).float().mean())}


def plain_loop(runs: list[Run], data: Dataset, taught: Logits) -> list[dict[str, float]]:
    """Each run in a plain loop."""
    return [plain(run, data, taught) for run in runs]


def check(results: dict[str, list[dict[str, float]]]) -> None:
    """Stop unless all sides trained the same students."""
    if results["side_by_side"] != results["one_by_one"]:
        raise SystemExit("side by side and one by one differ: no ratio")
    gaps = [
        abs(a["test_accuracy"] - b["test_accuracy"]) for a, b in zip(*map(results.get, ("one_by_one", "plain_loop")))
    ]
    if statistics.mean(gaps) > 0.01:
        raise SystemExit(f"the plain loop's test accuracy differs by {statistics.mean(gaps):.3f} on average: no ratio")


def seconds(work: Callable[[], list], kept: dict[str, list], name: str, threads: int) -> float:
    """Wall time of one call, whose result is kept."""
    torch.set_num_threads(threads)
    began = time.perf_counter()
    kept[name] = work()
    return time.perf_counter() - began


def hardware() -> str:
    """The processor's name, where the system tells it, and its cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.processor() or platform.machine()])[0]}, {os.cpu_count()} cores"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--r", type=int, default=64, help="runs side by side")
    parser.add_argument("--repeats", type=int, default=3, help="of each side")
    parser.add_argument("--batch", type=int, default=16, help="examples in a batch")
    parser.add_argument("--threads", type=int, default=1, help="of the stack")
    given = parser.parse_args()
    runs = students(given.r, given.batch)
    data = datasets.load(runs[0].data)
    taught, total = teach(runs, data), len(runs) * training.steps(runs[0], len(data.train.y))
    sides = {f.__name__: partial(f, runs, data, taught) for f in (side_by_side, one_by_one, plain_loop)}
    taken, results = {name: [] for name in sides}, {}
    for _ in range(given.repeats):
        for name, work in sides.items():
            threads = given.threads if name == "side_by_side" else 1
            taken[name].append(seconds(work, results, name, threads))
    check(results)
    stacked, alone, loop = (total / statistics.median(taken[name]) for name in sides)
    print(f"{stacked / alone:.2f} = {stacked:.0f} run-steps/s, R = {len(runs)} side by side / {alone:.0f} one by one")
    print(
        f"{stacked / loop:.2f} = {stacked:.0f} run-steps/s, R = {len(runs)} side by side / {loop:.0f} in a plain loop"
    )
    print(
        f"medians of n = {given.repeats}; {total // len(runs)} steps, batch {given.batch}; metrics of the first line "
        f"equal bit for bit; torch {torch.__version__}; {hardware()}; threads: {given.threads} side by side, 1 else"
    )


if __name__ == "__main__":
    main()
