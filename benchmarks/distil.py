"""Student training images per second: the engine against a plain loop, and that both end at the same accuracy.

A resnet56 teaches resnet20s, batch 64. The engine trains two seeds at several temperatures in bfloat16, on every core;
`cold` fills its cache of teacher logits within the time, `warm` finds it filled. The plain loop (`benchmarks.plain`)
trains one of these students with every core. Both evaluate after each epoch within the time; processes of the engine
are up and data are loaded before. Epochs are enough for the last evaluation, of all splits, to weigh little, as it does
in a study. The accuracy part trains a teacher, then a student for each of several seeds on
both sides, on ten classes.
"""

import torch

from benchmarks import common, plain
from benchmarks.common import Row
from benchmarks.engine import STUDENT, TEACHER, Bench, bench, images, students
from kdstudy.core.spec import Run
from kdstudy.data import registry
from kdstudy.data.download import at_hand
from kdstudy.engine import stacks

TAUS = {"cpu": (2.0, 4.0), "cuda": tuple(1 + i / 4 for i in range(stacks.SIDE_BY_SIDE["cuda"]))}


def weights(place: Bench, runs: list[Run]) -> dict[str, torch.Tensor]:
    """What the teachers of runs weigh."""
    held = place.store.arrays([r.teacher.key for r in runs], ["weights"])
    return {key: torch.from_numpy(arrays["weights"]) for key, arrays in held.items()}


def facts(runs: list[Run], side: str, device: str) -> Row:
    """What a timing is of; `images` are those that students were trained on."""
    first, n = runs[0], len(registry.load(runs[0].data).train.y)
    many = stacks.workers() if side != "plain loop" else 1
    each = 1 if side != "plain loop" and device == "cpu" else common.cores()
    return {
        "side": side,
        "teacher": TEACHER,
        "student": STUDENT,
        "data": "tiny_imagenet" if at_hand("tiny_imagenet") else "random",
        "classes": len(registry.load(first.data).classes),
        "students": len(runs),
        "seeds": len({r.seed for r in runs}),
        "epochs": first.recipe.epochs,
        "batch": first.recipe.batch,
        "dtype": first.recipe.dtype if side != "plain loop" else "float32",
        "processes": many,
        "threads": each,
        "loaders": plain.LOADERS if side == "plain loop" else 0,
        "images": len(runs) * first.recipe.epochs * (n // first.recipe.batch * first.recipe.batch),
        **common.machine(device),
    }


def loop(place: Bench, runs: list[Run], device: str) -> list[float]:
    """Test accuracies of students trained one after another in a plain loop."""
    data, taught = registry.load(runs[0].data), weights(place, runs)
    with common.threads(common.cores()):
        return [plain.student(run, data, taught, device) for run in runs]


def engine(place: Bench, runs: list[Run]) -> list[float]:
    """Test accuracies of students trained by the engine."""
    found = {r.key: r.row["test_accuracy"] for r in place.train(runs)}
    return [found[r.key] for r in runs]


def side(place: Bench, name: str, runs: list[Run], device: str) -> tuple[Row, list[float]]:
    """One timing of a side, and the test accuracies it reached."""
    what = facts(runs, name, device)
    given = (loop, place, runs, device) if name == "plain loop" else (engine, place, runs)
    spent, reached = common.result(device, *given)
    return what | {"seconds": round(spent, 4)}, reached


def measure(device: str, quick: bool) -> dict[str, list[Row]]:
    """Timings of both sides in turn."""
    data = images(train=128, test=64) if quick else images(train=4096, test=256)
    taus = TAUS[device]
    runs, found = students(data, taus[:1], 1, 1) if quick else students(data, taus, 2, 8), []
    with bench() as place:
        place.teach(runs)
        place.train(students(data, taus[:1], 2, 1))  # processes are up, data loaded
        for i in range(1 if quick else 3):
            place.forget()
            for name, mine in (("cold", runs), ("warm", runs), ("plain loop", runs[:1])):
                found.append(side(place, name, mine, device)[0] | {"repeat": i})
    return {"distil": found}


def accuracy(device: str, quick: bool) -> dict[str, list[Row]]:
    """Test accuracy of both sides for each seed, after equal training; `seconds` are those of all seeds."""
    if quick:
        runs = students(images(train=128, test=64, classes=10), [4.0], 2, 1, 1)
    else:
        runs = students(images(train=3072, test=1000, classes=20), [4.0], 4, 4, 5)
    found = []
    with bench() as place:
        place.teach(runs)
        for name in ("engine", "plain loop"):
            what, reached = side(place, name, runs, device)
            found += [what | {"seed": run.seed, "accuracy": a} for run, a in zip(runs, reached)]
    return {"distil_accuracy": found}
