"""The runs of the chapters of the levels; and the temperatures, weights and others searched where a plan names none.

A plan is a function of the chapter's parameters that returns runs by part: "study", which holds the
conditions that are compared, and what else the chapter shows. `PLANS` names them. Arguments may be
single values or lists; `seeds` is a count (seeds 0, 1, ...), a list of seeds, or None for the data set's own.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain, product

from kdstudy.core.registry import Registry
from kdstudy.core.spec import Data, Run
from kdstudy.data import registry, transforms
from kdstudy.study.recipes import (
    Several,
    seed_list,
    settings,
    setup,
    several,
    students,
    teacher_of,
    teachers,
)

DATASETS = ("synthetic", "digits", "fashion_mnist", "clinc150")
WEIGHT_DECAYS = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # the baseline's own search

TAUS, ALPHAS = (1.0, 2.0, 4.0, 8.0), (0.5, 0.9)
EPSILONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
WEIGHTS = (1.0, 2.0)  # of the parts of decoupled KD
DOSES = (0.0, 0.25, 0.5, 0.75, 1.0)
WIDTHS = (1, 2, 4, 8)
SIMILARITIES = (0.0, 0.3, 0.6, 0.9)

GRID = ("label_smoothing_matched", "class_matched", "instance_matched", "kd_pt", "kd_pt_class", "kd")
UNIVERSE = ("hard", "label_smoothing", "label_smoothing_matched", "kd")
DOMAIN = ("hard", "label_smoothing_matched", "class_matched", "class_mean", "kd_sim", "kd_rel", "class_permuted", "kd")
INSTANCE = ("hard", "label_smoothing_matched", "kd_pt", "cwtm", "instance_matched", "example_permuted",
            "shuffled_teacher", "random_teacher", "kd")  # fmt: skip
DECOMPOSITION = ("hard", *GRID, "kd_sim", "kd_pt_sim", "topk", "tckd", "nckd", "dkd")
IMAGES = ("fashion_images", "tiny_imagenet")  # on which convolutional networks are trained beside the perceptrons
IMAGE_SEARCH = {"tau": (2.0, 4.0), "alpha": (0.9,), "epsilon": (0.1, 0.2, 0.4), "weight_decay": (0.0, 5e-4, 2e-3)}
ALIKE = ("label_smoothing_matched", "class_matched", "class_permuted")
NOT_PLANNED = ("executor",)  # chapter parameters that do not change which runs are asked

Parts = dict[str, list[Run]]
PLANS: Registry[Callable[..., Parts]] = Registry("plan", in_workers=False)
plan = PLANS.register  # the plan of the chapter of the same name


def folds(dataset: Several[str] = DATASETS, epochs: int | None = None, teachers: int = 3) -> list[Run]:
    """Teachers of each data set that leave out one fold each: their misses there say how hard an example is."""
    out = []
    for data in map(registry.named, several(dataset)):
        for fold, seed in product(range(transforms.FOLDS), range(teachers)):
            part = replace(data, options=(*data.options, ("fold", fold)))
            out.append(teacher_of(part, setup(data.name, epochs=epochs).teacher, seed))
    return out


def study(
    dataset: Several[str | Data] = DATASETS,
    conditions: Several[str] = "hard, kd",
    weight_decay: Several[float] = WEIGHT_DECAYS,
    seeds: Several[int] | None = None,
    hidden: int | None = None,
    epochs: int | None = None,
    **searched: Several[float],
) -> list[Run]:
    """Every condition at every value of `searched` that it has a parameter for, hard labels over `weight_decay`.

    Without its own value a temperature is searched over `TAUS`, a weight over `ALPHAS`.
    """
    searched = {"tau": TAUS, "alpha": ALPHAS} | searched
    wanted = [c for name in several(conditions) for c in settings(name, **searched)]
    runs = []
    for data in map(registry.named, several(dataset)):
        own = setup(data.name, hidden, epochs)
        mine = students(data, own, wanted, seed_list(seeds, own))
        plain = [r for r in mine if r.condition.name == "hard"]
        runs += mine
        runs += [
            replace(r, recipe=replace(r.recipe, weight_decay=float(w))) for r in plain for w in several(weight_decay)
        ]
    return list(dict.fromkeys(runs))


def alike(similarity: Several[float] = SIMILARITIES, conditions: Several[str] = ALIKE, **given: object) -> list[Run]:
    """The synthetic task at several similarities of the classes within a super-class."""
    return study([registry.variant("synthetic", similarity=s) for s in several(similarity)], conditions, **given)


def doses(dataset: Several[str], dose: Several[float] = DOSES, **given: object) -> list[Run]:
    """KD-pt, the teacher's masses drawn together to the fraction `dose` of their spread."""
    return study(dataset, "kd_pt", dose=dose, **given)


def beside(conditions: Several[str], images: Several[str] | None) -> Parts:
    """The same conditions in convolutional networks on `images` (None: `IMAGES`), each data set's own seeds; and
    their teachers. What is searched is narrower, because a run costs far more.
    """
    names = several(IMAGES if images is None else images)
    asked = [r for name in names for r in study(name, conditions, **IMAGE_SEARCH)]
    return {"images": asked, "image_teachers": teachers(asked)}


@plan
def universe(
    conditions: Several[str] = UNIVERSE,
    epsilon: Several[float] = EPSILONS,
    images: Several[str] | None = None,
    **given: object,
) -> Parts:
    """What smoothing alone gives: label smoothing over `epsilon`."""
    return {"study": study(conditions=conditions, epsilon=epsilon, **given)} | beside(conditions, images)


@plan
def domain(
    conditions: Several[str] = DOMAIN,
    similarity: Several[float] = SIMILARITIES,
    images: Several[str] | None = None,
    **given: object,
) -> Parts:
    """What knowledge of classes adds; and the synthetic task at several class similarities."""
    rest = {k: v for k, v in given.items() if k != "dataset"}
    asked = study(conditions=conditions, **given)
    own = {"study": asked, "alike": alike(similarity, **rest), "teachers": teachers(asked)}
    return own | beside(conditions, images)


def widths(dataset: Several[str] = DATASETS, width: Several[int] = WIDTHS, **given: object) -> list[Run]:
    """Matched smoothing and KD-pt at the heaviest weight and the two highest temperatures, in students `width` times
    as wide as the data set's own (or as `hidden`).
    """
    alpha, tau = max(several(given.pop("alpha", ALPHAS))), sorted(several(given.pop("tau", TAUS)))[-2:]
    hidden, asked = given.pop("hidden", None), []
    for data in map(registry.named, several(dataset)):
        own = hidden or setup(data.name).student.hidden[-1]
        for times in several(width):
            rest = given | {"hidden": own * times, "alpha": alpha, "tau": tau, "weight_decay": ()}
            asked += study(data, ("label_smoothing_matched", "kd_pt"), **rest)
    return asked


@plan
def instance(
    conditions: Several[str] = INSTANCE,
    dose: Several[float] = DOSES,
    width: Several[int] = WIDTHS,
    images: Several[str] | None = None,
    **given: object,
) -> Parts:
    """What knowledge of examples adds; KD-pt by doses and by width; teachers by folds, who say which are hard."""
    part = {k: v for k, v in given.items() if k in ("dataset", "epochs")}
    return {
        "study": study(conditions=conditions, **given),
        "doses": doses(dose=dose, **{"dataset": DATASETS} | given),
        "widths": widths(width=width, **given),
        "folds": folds(**part),
    } | beside(conditions, images)


def decayed(
    dataset: Several[str] = DATASETS, weight_decay: Several[float] = WEIGHT_DECAYS, **given: object
) -> list[Run]:
    """KD and matched smoothing at the heaviest weight, with every weight decay that hard labels search."""
    given |= {"alpha": max(several(given.get("alpha", ALPHAS))), "weight_decay": ()}
    asked = study(dataset, ("label_smoothing_matched", "kd"), **given)
    return [replace(r, recipe=replace(r.recipe, weight_decay=float(w))) for r in asked for w in several(weight_decay)]


@plan
def decomposition(
    conditions: Several[str] = DECOMPOSITION,
    weights: Several[float] = WEIGHTS,
    images: Several[str] | None = None,
    **given: object,
) -> Parts:
    """The grid of mass x shape; decoupled KD over `weights` of one of its parts, that of `dkd` the non-target; and
    KD with weight decay.
    """
    parts = {c: "target" if c == "tckd" else "nontarget" for c in several(conditions)}
    asked = (study(conditions=c, **{part: weights}, **given) for c, part in parts.items())
    own = {"study": list(dict.fromkeys(chain.from_iterable(asked))), "decayed": decayed(**given)}
    return own | beside(conditions, images)


def every(chapter: str, **given: object) -> list[Run]:
    """All runs of a chapter, each once; the scoreboard shows all chapters. What is None is left to the plan."""
    names = PLANS if chapter == "scoreboard" else {chapter} & PLANS.keys()
    given = {k: v for k, v in given.items() if v is not None and k not in NOT_PLANNED}
    return list(dict.fromkeys(run for name in names for part in PLANS[name](**given).values() for run in part))
