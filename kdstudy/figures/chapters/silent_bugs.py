"""Silent bugs: where each was seen, what it leaves of the teacher, and logits to plant bugs into."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from kdstudy.core.spec import Data
from kdstudy.data import registry
from kdstudy.distill import faults
from kdstudy.stats import paired
from kdstudy.study import array_metrics
from kdstudy.study.experiment import TREATMENT, Study
from kdstudy.study.known_bugs import KNOWN_BUGS

TAUGHT = ["target_mass", "domain_share", "instance_share", "test_agreement", "test_teacher_kl", "train_accuracy"]


def bugs_seen() -> pd.DataFrame:
    """The known bugs as a table: fault, where it was seen, what it did there, and which level of knowledge it takes."""
    return pd.DataFrame(
        {"fault": b.name, "seen in": b.seen, "consequence there": b.consequence, "takes": b.takes} for b in KNOWN_BUGS
    )


def taught(study: Study) -> pd.DataFrame:
    """What KD and every fault teach at KD's setting, and how like its teacher the student becomes: means over seeds.

    The mass off the label and the shares of two levels in the targets, whatever the weight of the soft part; agreement
    with the teacher, KL from it in nats; training accuracy.
    """
    frame = study.tables["at_kd"]
    frame = frame[frame["condition"].isin([TREATMENT, *faults.FAULTS])]
    shares = {name: array_metrics.DERIVED[name](frame, study.tables) for name in ("domain_share", "instance_share")}
    frame = frame.assign(**shares)  # none where nothing is taught
    return paired.levels(frame, TAUGHT, ["dataset", "condition"])


def example() -> tuple[Float[np.ndarray, "N C"], Int[np.ndarray, " N"]]:
    """Somebody's logits to plant bugs into, and their labels: logistic regression on the digits, by held-out folds."""
    train = registry.load(Data("digits")).train
    x, y = train.x.double().numpy(), train.y.numpy()
    return cross_val_predict(LogisticRegression(max_iter=1000), x, y, cv=5, method="decision_function"), y
