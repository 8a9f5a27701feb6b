"""Wall time against the number of runs, of conditions and of epochs, all else equal: a fixed part and a slope.

Perceptrons train as one stack in this process (`kdstudy.train.mlp.train`, the data of `benchmarks.stacked`);
convolutional networks on every core (`benchmarks.engine`), logits of the teacher for augmented images included and
computed anew each time.
"""

from collections.abc import Callable

from benchmarks import common, engine, stacked
from benchmarks.common import Row
from kdstudy.core.spec import Run
from kdstudy.data import registry
from kdstudy.distill.conditions import make
from kdstudy.train import mlp

TAUS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)


def perceptrons(runs: int = 8, conditions: int = 2, epochs: int = 10) -> list[Run]:
    """`runs` seeds of so many conditions."""
    return stacked.students([make("kd", tau=t, alpha=0.9) for t in TAUS[:conditions]], runs, 64, epochs)


def convolutional(runs: int = 2, conditions: int = 1, epochs: int = 1) -> list[Run]:
    """The same for images."""
    return engine.students(engine.images(train=512, test=128), TAUS[:conditions], runs, epochs)


COUNTS = {"perceptrons": {"runs": (4, 8, 16, 32), "conditions": (1, 2, 4, 8), "epochs": (5, 10, 20, 40)},
          "convolutional": {"runs": (2, 4, 8), "conditions": (1, 2, 4), "epochs": (1, 2, 4)}}  # fmt: skip
MAKERS = {"perceptrons": perceptrons, "convolutional": convolutional}


def timed(kind: str, work: Callable[[list[Run]], object], processes: int, device: str, quick: bool) -> list[Row]:
    """Timings of every count of every axis; each count of an axis once, then each again."""
    found, make_runs = [], MAKERS[kind]
    for axis, counts in COUNTS[kind].items():
        for i in range(1 if quick else 3):
            for n in counts[:2] if quick else counts:
                runs = make_runs(**{axis: n})
                what = {"kind": kind, "axis": axis, "n": n, "trained": len(runs), "repeat": i, "processes": processes}
                what |= {"net": runs[0].recipe.net, "batch": runs[0].recipe.batch, **common.machine(device)}
                spent, _ = common.result(device, work, runs)
                found.append(what | {"seconds": round(spent, 5)})
    return found


def measure(device: str, quick: bool) -> dict[str, list[Row]]:
    """Timings of both kinds of networks."""
    most = perceptrons(runs=max(COUNTS["perceptrons"]["runs"]))
    data = registry.load(most[0].data)
    with common.threads(1):
        taught = stacked.teach(most, data)
        mlp.train(most, data, taught, device)
        found = timed("perceptrons", lambda runs: mlp.train(runs, data, taught, device), 1, device, quick)
    with engine.bench() as place:
        place.teach(convolutional())
        place.train(convolutional())

        def anew(runs: list[Run]) -> None:
            place.forget()
            place.train(runs)

        many = 1 if device == "cuda" else common.cores()
        found += timed("convolutional", anew, many, device, quick)
    return {"growth": found}
