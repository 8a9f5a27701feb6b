"""Every planted fault has the gradient of the faulty code as people write it, and is what its docstring says."""

import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from lessons import F64, close, lessons, many, rho, taught
from torch import Tensor, nn
from torch.testing import assert_close

from kdstudy.distill import conditions, faults
from kdstudy.distill.conditions import Target

FAULTS = [name for name in faults.FAULTS if name != "shuffled_teacher"]  # which is older, and tested as a control


def tf_kd(outputs, labels, teacher_outputs, T, alpha):
    """KLDivLoss's default."""
    D_KL = nn.KLDivLoss()(F.log_softmax(outputs / T, dim=1), F.softmax(teacher_outputs / T, dim=1)) * (T * T)
    return (1.0 - alpha) * F.cross_entropy(outputs, labels) + alpha * D_KL


def distiller(outputs, labels, teacher_outputs, T, alpha):
    soft_log_probs = F.log_softmax(outputs / T, dim=1)
    distillation_loss = F.kl_div(soft_log_probs, F.softmax(teacher_outputs / T, dim=1), reduction="sum")
    return alpha * distillation_loss / outputs.shape[0] + (1 - alpha) * F.cross_entropy(outputs, labels)


def right(outputs, labels, teacher_outputs, T, alpha):
    soft = nn.KLDivLoss(reduction="batchmean")(F.log_softmax(outputs / T, 1), F.softmax(teacher_outputs / T, 1))
    return nn.CrossEntropyLoss()(outputs, labels) * (1 - alpha) + soft * (alpha * T * T)


def of_probabilities(outputs, labels, teacher_outputs, T, alpha):
    model_with_softmax = nn.Sequential(nn.Identity(), nn.Softmax(dim=1))
    return right(outputs, labels, model_with_softmax(teacher_outputs), T, alpha)


def labml(outputs, labels, large_logits, T, alpha):
    """`output` is meant in the first line."""
    soft_prob, soft_targets = F.log_softmax(large_logits / T, dim=-1), F.softmax(large_logits / T, dim=-1)
    soft_targets_loss = nn.KLDivLoss(reduction="batchmean")(soft_prob, soft_targets) * T**2
    return alpha * soft_targets_loss + (1 - alpha) * nn.CrossEntropyLoss()(outputs, labels)


def student_as_target(outputs, labels, teacher_outputs, T, alpha):
    soft = F.kl_div((teacher_outputs / T).log_softmax(1), (outputs.detach() / T).softmax(1), reduction="batchmean")
    return (1 - alpha) * F.cross_entropy(outputs, labels) + alpha * T**2 * soft


def with_background(outputs, labels, teacher_outputs, T, alpha):
    classes = outputs.shape[1]
    with_one_more = torch.cat([teacher_outputs[:, -1:], teacher_outputs], dim=1)  # class 0 is none of ours
    return right(outputs, labels, with_one_more[:, :classes], T, alpha)


def tinybert_paper(outputs, labels, teacher_outputs, T, alpha):
    soft = -(F.softmax(teacher_outputs, -1) * F.log_softmax(outputs / T, -1)).sum(-1).mean()
    return alpha * T**2 * soft + (1 - alpha) * F.cross_entropy(outputs, labels)


def classes_alone(outputs, labels, teacher_outputs, T, alpha):
    cached = teacher_outputs.argmax(dim=1)
    return alpha * T * T * F.cross_entropy(outputs / T, cached) + (1 - alpha) * F.cross_entropy(outputs, labels)


WRITTEN = [
    ("fault_class_mean", tf_kd),
    ("fault_no_tau2", distiller),
    ("fault_softmax_twice", of_probabilities),
    ("fault_detached", labml),
    ("fault_detached", student_as_target),
    ("fault_class_offset", with_background),
    ("fault_student_cooled", tinybert_paper),
    ("fault_argmax", classes_alone),
]


def slope(loss, z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z), z)[0]


def as_written(code, z: Tensor, lesson: tuple) -> Tensor:
    v, y, _, values = lesson
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the default mean, which is what is meant here
        return slope(lambda z: code(z, y, v, values["tau"], values["alpha"]), z)


def of_condition(name: str, z: Tensor, lesson: tuple) -> Tensor:
    goal, tau = taught(name, lesson), torch.tensor(lesson[3]["tau"], dtype=F64)
    return slope(lambda z: conditions.loss(z, goal, lesson[1], tau), z)


@pytest.mark.parametrize("name, code", WRITTEN, ids=[code.__name__ for _, code in WRITTEN])
@given(lesson=lessons(), spread=st.floats(0.1, 5))
def test_the_gradient_is_that_of_the_code_as_people_write_it(name, code, lesson, spread):
    z = spread * torch.randn(lesson[0].shape, generator=torch.Generator().manual_seed(0), dtype=F64)
    assert_close(of_condition(name, z, lesson), as_written(code, z, lesson), rtol=1e-10, atol=1e-12)


def test_every_fault_is_compared_and_none_is_kd_or_another():
    assert FAULTS == list(dict.fromkeys(name for name, _ in WRITTEN))
    assert FAULTS == [name for name in conditions.CONDITIONS if name.startswith("fault_")]
    lesson = many(24, 6)
    lesson[3]["alpha"] = 0.7
    z = torch.randn(24, 6, generator=torch.Generator().manual_seed(1), dtype=F64)
    slopes = {name: of_condition(name, z, lesson) for name in ["kd", *FAULTS]}
    assert_close(slopes["kd"], as_written(right, z, lesson), rtol=1e-10, atol=1e-12)
    for a in slopes:
        for b in slopes.keys() - {a}:
            assert (slopes[a] - slopes[b]).norm() > 0.01 * slopes["kd"].norm(), (a, b)


@given(lessons())
def test_at_temperature_one_no_fault_of_the_temperature_is_one(lesson):
    for name in ("fault_no_tau2", "fault_student_cooled"):
        close(taught(name, lesson, tau=1.0), taught("kd", lesson, tau=1.0), atol=1e-15)


@given(lessons())
def test_of_probabilities_the_targets_are_next_to_uniform(lesson):
    tau, classes = lesson[3]["tau"], lesson[2].classes
    assert float(rho("fault_softmax_twice", lesson).max()) <= math.exp(1 / tau) / (classes - 1 + math.exp(1 / tau))


def test_a_virtual_teacher_of_99_percent_is_next_to_uniform():
    """Tf-KD_reg at its temperature of 20 on 100 classes: 0.0105 for the label, where uniform is 0.0100."""
    virtual = torch.full((1, 100), 0.01 / 99, dtype=F64)
    virtual[0, 0] = 0.99
    goal = faults.fault_softmax_twice(
        virtual.log(), torch.tensor([0]), conditions.Context(100, F64), tau=20.0, alpha=1.0
    )
    assert round(float(goal.soft[0, 0]), 4) == 0.0105


def test_by_hand():
    """Two examples of three classes, p = (0.7, 0.2, 0.1) and (0.2, 0.2, 0.6), the labels 0 and 1."""
    p = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]], dtype=F64)
    label, ctx, half = torch.tensor([0, 1]), conditions.Context(3, F64), {"tau": 1.0, "alpha": 0.5}
    hard = torch.tensor([[0.5, 0, 0], [0, 0.5, 0]], dtype=F64)
    found = {
        "fault_class_mean": p / 6,
        "fault_detached": 0 * p,
        "fault_class_offset": torch.tensor([[0.05, 0.35, 0.1], [0.3, 0.1, 0.1]], dtype=F64),
        "fault_argmax": torch.tensor([[0.5, 0, 0], [0, 0, 0.5]], dtype=F64),
    }
    for name, soft in found.items():
        goal = conditions.named(name)(p.log(), label, ctx, **half)
        close(goal, Target(hard, soft, torch.zeros(2, dtype=F64)), atol=1e-15)


# ---------------------------------------------------------------- a wrong measure


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(3))
def test_both_numbers_are_those_of_torch(seed, dtype):
    g = np.random.default_rng(seed)
    z, y = (4 * g.normal(size=(50, 7))).astype(dtype), g.integers(0, 5, 50)  # two classes have no example
    logits, label = torch.from_numpy(z).double(), torch.from_numpy(y)
    table = -logits.log_softmax(-1)[..., label]
    assert table.shape == (50, 50)
    found = faults.nlls(z, y)
    assert found == {
        "right": pytest.approx(float(F.cross_entropy(logits, label)), rel=1e-12),
        "all pairs": pytest.approx(float(table.mean()), rel=1e-12),
    }


def test_a_sure_and_right_student_seems_a_bad_one():
    y = np.arange(100) % 10
    found = faults.nlls(8.0 * np.eye(10)[y], y)
    assert found["right"] < 0.01 and found["all pairs"] == pytest.approx(found["right"] + 8 * 0.9)
