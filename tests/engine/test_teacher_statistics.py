"""What a teacher is, computed from its logits, against loops."""

import numpy as np
import pytest
import torch
from conftest import TINY, tiny_run

from kdstudy.data import registry
from kdstudy.distill import levels
from kdstudy.engine import ask
from kdstudy.engine import teacher_statistics as anatomy
from kdstudy.store.working import Store
from kdstudy.study import array_metrics

pytestmark = pytest.mark.usefixtures("on_cpu")


def between_by_loops(x, y):
    mean, b, t = x.mean(0), 0.0, 0.0
    for c in set(y.tolist()):
        group = x[y == c]
        b += len(group) * float(((group.mean(0) - mean) ** 2).sum())
    for row in x:
        t += float(((row - mean) ** 2).sum())
    return b / t


def test_between_is_the_share_of_variance_between_class_means():
    torch.manual_seed(0)
    x, y = torch.randn(60, 5, dtype=torch.float64), torch.randint(4, (60,))
    assert anatomy.between(x, y) == pytest.approx(between_by_loops(x, y), abs=1e-12)
    assert anatomy.between(x + 7, y) == pytest.approx(anatomy.between(x, y))
    assert anatomy.between(torch.eye(4)[y], y) == pytest.approx(1)
    assert anatomy.between(torch.ones(60, 3), y) == 0.0
    absent = torch.tensor([0, 3] * 30)  # classes without examples do not count
    assert anatomy.between(x, absent) == pytest.approx(between_by_loops(x, absent))


@pytest.mark.parametrize("classes, hidden", [(4, 9), (9, 4)])
def test_templates_are_the_activations_on_the_span_of_the_rows(classes, hidden):
    torch.manual_seed(1)
    h, w, b = (torch.randn(*s, dtype=torch.float64) for s in ((30, hidden), (classes, hidden), (classes,)))
    basis = torch.linalg.svd(w, full_matrices=False).Vh
    inside, y = h @ basis.T @ basis, torch.randint(3, (30,))
    found = anatomy.templates(h @ w.T + b, w)
    torch.testing.assert_close(found - found.mean(0), inside - inside.mean(0))
    assert anatomy.between(found, y) == pytest.approx(between_by_loops(inside, y))
    centred = anatomy.templates(h @ w.T + b, None)
    assert centred.sum(-1).abs().max() < 1e-10


def test_the_law_is_no_distance_from_itself():
    p = torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]], dtype=torch.float64)
    assert anatomy.law(p.clamp(min=1e-300).log(), p, 1.0) == pytest.approx(0, abs=1e-12)
    uniform = torch.zeros(2, 3, dtype=torch.float64)
    by_hand = np.mean([sum(q * np.log(3 * q) for q in row if q) for row in p.tolist()])
    assert anatomy.law(uniform, p, 2.0) == pytest.approx(by_hand)


@pytest.fixture
def teacher():
    student = tiny_run("kd", 0)
    ask.ask([student])
    return student.teacher


def test_the_anatomy_of_a_teacher_is_computed_from_its_logits_and_kept(teacher, trained):
    frame = ask.ask([teacher])
    found = array_metrics.anatomies(frame).iloc[0]
    assert list(found.index) == list(anatomy.NAMES) and not trained
    data, z = registry.load(TINY), torch.from_numpy(ask.arrays(frame, "logits_train")[teacher.key])
    p = z.double().softmax(-1)
    assert found["sure_train"] == pytest.approx(float(p[range(96), data.train.y].mean()))
    assert found["mass_1"] == pytest.approx(1 - found["sure_train"])
    pieces = levels.level_split((z.double() / 4).softmax(-1), data.train.y)
    assert found["instance_4"] == pytest.approx(pieces["instance"] / sum(pieces.values()))
    assert found[["universe_2", "domain_2", "instance_2"]].sum() == pytest.approx(1)
    assert Store().has([teacher.key], "anatomy") == {teacher.key}
    assert array_metrics.measured(frame, "between_test", {})["between_test"].iloc[0] == found["between_test"]
    counted = ask.arrays(frame, "counts")[teacher.key]
    assert counted.tolist() == data.train.y.bincount(minlength=6).tolist()


def test_what_needs_no_training_waits_for_nobody(teacher, monkeypatch):
    frame = ask.ask([teacher])

    def held(store):
        raise AssertionError("waited for another process")

    monkeypatch.setattr(ask, "turn", held)
    assert ask.arrays(frame, "anatomy")[teacher.key].shape == (len(anatomy.NAMES),)
    Store().forget([teacher.key])
    with pytest.raises(AssertionError, match="waited for another process"):
        ask.arrays(frame, "counts")
