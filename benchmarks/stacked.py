"""How many run-steps per second R students make side by side, against the same students one by one.

Synthetic data of the shape of CLINC150 (256 features, 150 classes, splits of the same proportions,
a twentieth of the examples, 10 epochs), students of 12 hidden units, eight conditions (hard labels,
label smoothing, distillation at six temperatures and weights) x R / 8 seeds, a teacher for each seed.
Both sides are `kdstudy.train.mlp.train` on the same data, teachers' logits and seeds, and include all
that a run costs: targets, initial weights, every optimiser step, validation after each epoch, all
measures at the end. Their metrics must be equal bit for bit, or nothing is written.

The third side is a plain loop as distillation code is usually written (torch.nn.Linear, torch.optim.SGD,
cross_entropy and kl_div), each student alone: training and test accuracy only.

All have one thread, as `ask` gives each of its workers. The ratio falls as batches grow, for a student alone then
spends less of its time on calls. Sides alternate. On a machine with a GPU, too, this is measured on the CPU.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import common
from benchmarks.common import Row
from kdstudy.core.spec import Condition, Data, Recipe, Run, pairs
from kdstudy.data import registry
from kdstudy.data.dataset import Dataset
from kdstudy.distill import conditions
from kdstudy.study.beds import TEACHER_SEED
from kdstudy.train import mlp, trainer

SHAPE = {"classes": 150, "features": 256, "superclasses": 10, "train": 768, "validation": 154, "test": 230}
EPOCHS = 10
BATCHES, REPEATS = (16, 64), 3
CONDITIONS = [
    conditions.make("hard"),
    conditions.make("label_smoothing", epsilon=0.1),
    *(conditions.make("kd", tau=t, alpha=a) for t, a in ((1, 0.5), (1, 0.9), (2, 0.9), (4, 0.5), (4, 0.9), (8, 0.9))),
]
Logits = Mapping[str, Mapping[str, Tensor]]


def students(taught: Sequence[Condition], seeds: int, batch: int, epochs: int) -> list[Run]:
    """Every condition for each seed, with a teacher for each seed."""
    data, recipe, hard = Data("synthetic", pairs(SHAPE)), Recipe((12,), epochs, batch), conditions.make("hard")
    by_seed = [Run(data, Recipe((256,), 3, batch), hard, TEACHER_SEED + seed) for seed in range(seeds)]
    return [
        Run(data, recipe, c, seed, teacher if conditions.listens(c.name) else None)
        for c in taught
        for seed, teacher in enumerate(by_seed)
    ]


def teach(runs: list[Run], data: Dataset) -> Logits:
    """The teachers' logits on every split."""
    done = mlp.train(list(dict.fromkeys(r.teacher for r in runs if r.teacher)), data, {}, keep_logits=True)
    return {
        r.run.key: {n.partition("_")[2]: torch.from_numpy(a) for n, a in r.arrays.items() if n.startswith("logits")}
        for r in done
    }


def side_by_side(runs: list[Run], data: Dataset, taught: Logits) -> list[dict[str, float]]:
    """All runs as one stack."""
    return [result.metrics for result in mlp.train(runs, data, taught)]


def one_by_one(runs: list[Run], data: Dataset, taught: Logits) -> list[dict[str, float]]:
    """Each run as a stack of one."""
    return [mlp.train([run], data, taught)[0].metrics for run in runs]


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
    first = mlp.init(run.seed, sizes)
    net = nn.Sequential(nn.Linear(*sizes[:2]), nn.ReLU(), nn.Linear(*sizes[1:]))
    for layer, weight, bias in zip(net[::2], first[::2], first[1::2]):
        layer.weight.data, layer.bias.data = weight[0].T.contiguous(), bias[0, 0]
    return net


def plain(run: Run, data: Dataset, taught: Logits) -> dict[str, float]:
    """One student in a plain loop."""
    recipe, (x, y), n = run.recipe, (data.train.x, data.train.y), len(data.train.y)
    teacher, loss, net = run.teacher and taught[run.teacher.key]["train"], objective(run), network(run, data)
    sgd = torch.optim.SGD(net.parameters(), recipe.lr, recipe.momentum, nesterov=True)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, trainer.steps(run, n))
    for epoch in range(recipe.epochs):
        order = trainer.orders([run.seed], epoch, n)[0]
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


def measure(device: str, quick: bool) -> dict[str, list[Row]]:
    """Timings of the three sides in turn, at each batch size."""
    return {"stacked": [row for batch in BATCHES[: 1 if quick else 2] for row in compared(batch, 8 if quick else 64)]}


def compared(batch: int, r: int) -> list[Row]:
    """Timings of R students, and the mean test accuracy of each side."""
    runs = students(CONDITIONS, -(-r // len(CONDITIONS)), batch, EPOCHS)[:r]
    data = registry.load(runs[0].data)
    taught, steps = teach(runs, data), r * trainer.steps(runs[0], len(data.train.y))
    what = {"r": r, "batch": batch, "steps": steps, "threads": 1}
    found, results = [], {}
    for i in range(REPEATS):
        for work in (side_by_side, one_by_one, plain_loop):
            facts, name = common.machine("cpu"), work.__name__
            with common.threads(1):
                spent, results[name] = common.result("cpu", work, runs, data, taught)
            accuracy = statistics.mean(m["test_accuracy"] for m in results[name])
            row = {"side": name.replace("_", " "), "accuracy": accuracy, "repeat": i, "seconds": round(spent, 5)}
            found.append(what | facts | row)
    check(results)
    return found
