"""Whether bfloat16, and the way that networks are put side by side, change what students learn, over seeds.

For each seed, KD students at two temperatures are trained from the same first weights on the same batches: stacked into
one network and one by one, in bfloat16 and in float32. An accuracy is the mean of the seed's students on test images.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

from benchmarks import common
from benchmarks.common import Row
from benchmarks.engine import TEACHER_SEED, Bench, bench, images, recipe
from kdstudy.core.spec import Data, Run
from kdstudy.data import registry
from kdstudy.distill import conditions
from kdstudy.engine import stacks
from kdstudy.train import cnn, steppers

NET, TAUS, SEEDS = "cnn16", (2.0, 4.0), 12
WAYS = {
    "side by side, bfloat16": (steppers.Stacked, "bfloat16"),
    "one by one, bfloat16": (steppers.OneByOne, "bfloat16"),
    "one by one, float32": (steppers.OneByOne, "float32"),
}


def students(data: Data, seed: int, epochs: int) -> list[Run]:
    """The students of a seed, in bfloat16; all seeds have one teacher."""
    how = replace(recipe(NET, epochs), augment=False)
    teacher = Run(data, how, conditions.make("hard"), TEACHER_SEED)
    return [Run(data, how, conditions.make("kd", tau=tau, alpha=0.9), seed, teacher) for tau in TAUS]


def reached(place: Bench, runs: Sequence[Run], way: str, device: str) -> float:
    """Mean test accuracy of a seed's students trained in one way."""
    stepper, dtype = WAYS[way]
    mine = [replace(r, recipe=replace(r.recipe, dtype=dtype)) for r in runs]
    left = stacks.teachers(place.store, mine)
    found = cnn.train(mine, registry.load(mine[0].data), left, device, stepper=stepper)
    return mean(r.metrics["test_accuracy"] for r in found)


def measure(device: str, quick: bool) -> dict[str, list[Row]]:
    """Test accuracies of every way for each seed."""
    data = images(train=128, test=64, classes=10) if quick else images(train=2048, test=1000, classes=10)
    seeds, epochs, found = 2 if quick else SEEDS, 1 if quick else 4, []
    with bench() as place, common.threads(1):
        place.teach(students(data, 0, epochs))
        for seed in range(seeds):
            runs = students(data, seed, epochs)
            for way in WAYS:
                what = {"side": way, "net": NET, "students": len(runs), "epochs": epochs} | common.machine(device)
                spent, accuracy = common.result(device, reached, place, runs, way, device)
                found.append(what | {"seed": seed, "accuracy": accuracy, "seconds": round(spent, 4)})
    return {"precision": found}
