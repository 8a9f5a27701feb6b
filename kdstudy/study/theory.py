"""What can be said without training: first steps, the exact fit of smoothed labels, labels that noise leaves alone."""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import rel_entr

from kdstudy.core.spec import Data, pairs
from kdstudy.data import registry
from kdstudy.engine import ask
from kdstudy.stats import factorial, paired


def with_classes(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `classes`: how many are left, all of the data set's where none were merged."""
    merged = [json.loads(text).get("merge") for text in frame["options"]]
    every = {name: len(ask.classes(name, frame).names) for name in frame["dataset"].unique()}
    return frame.assign(classes=[int(c or every[d]) for c, d in zip(merged, frame["dataset"])])


def first_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """`with_classes` with a column `step`: the size of a student's first gradient over that of cross-entropy.

    A student that knows nothing has q = u. At the logits its gradient is then g = (1 - a)(u - e_t) + a tau (u - rho),
    a the weight, that of cross-entropy u - e_t, and step = sqrt(E|g|^2 / E|u - e_t|^2). With D = E|rho - e_t|^2, the
    sum of the target's parts, and m = E[1 - rho_t]: E|rho|^2 = D + 1 - 2 m, (u - e_t)(u - rho) = rho_t - 1/C.
    """
    frame = with_classes(frame)
    distance = frame[[f"target_{level}" for level in factorial.PLAYERS]].sum(axis=1)
    mass, uniform = frame["target_mass"], 1 / frame["classes"]
    hard, soft = 1 - frame["alpha"], frame["alpha"] * frame["tau"]
    square = hard**2 * (1 - uniform) + 2 * hard * soft * (1 - mass - uniform)
    square += soft**2 * (distance + 1 - 2 * mass - uniform)
    return frame.assign(step=np.sqrt(square.clip(lower=0) / (1 - uniform)))


def collapses(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """KD's first step, how many of its runs collapsed, and n, for each combination of `by` and tau.

    Collapsed: training accuracy below the middle of chance 1/C and that of the data set's hard labels.
    """
    hard = paired.tuned(table[table["condition"] == "hard"]).groupby(["dataset", "options"])["train_accuracy"].mean()
    kd = first_steps(table[table["condition"] == "kd"])
    baseline = [hard.get(where, np.nan) for where in zip(kd["dataset"], kd["options"])]
    kd = kd.assign(collapsed=kd["train_accuracy"] < (1 / kd["classes"] + baseline) / 2)
    groups = kd.groupby([*by, "tau"], sort=False)
    return groups.agg(step=("step", "mean"), collapsed=("collapsed", "sum"), n=("seed", "size"))


def exact_fit_mass(
    epsilon: Float[np.ndarray, " E"] | float, classes: int, tau: float
) -> Float[np.ndarray, " E"] | float:
    """Mass off the label at a temperature of a teacher that fits its smoothed labels exactly.

    Its probabilities are 1 - epsilon + epsilon / C for the label, epsilon / C for any other class; so
    m = (C - 1) r^(1/tau) / (1 + (C - 1) r^(1/tau)), r the ratio of the two. The rest of the target is uniform.
    """
    others = (classes - 1) * (epsilon / classes / (1 - epsilon + epsilon / classes)) ** (1 / tau)
    return others / (1 + others)


def unchanged_share(noise: float | np.ndarray, classes: int) -> float | np.ndarray:
    """The expected share of training labels that noise leaves as they were: 1 - noise (1 - 1 / C)."""
    return 1 - noise * (1 - 1 / classes)


def smoothed_label_kl(dataset: str, options: str) -> float:
    """Mean KL(P(y | x) || (1 - noise) e_y + noise / C) in nats over the training set: what the labels alone can do.

    y is the label as drawn, so its own noise is what is left; infinite where P(y | x) allows what this excludes.
    `options` are the data set's as a table has them, in JSON; the data set must know its P(y | x).
    """
    given = json.loads(options)
    data = registry.load(Data(dataset, pairs(given)))
    posterior, noise = data.extra["train"]["posterior"].numpy(), given.get("noise", 0.0)
    classes = posterior.shape[1]
    target = (1 - noise) * np.eye(classes)[data.train.y.numpy()] + noise / classes
    return float(rel_entr(posterior, target).sum(-1).mean())
