"""Statistics against slow twins, identities, and what must not change them."""

import numpy as np
import pytest
import reference_statistics as reference
import torch
from reference_statistics import teacher
from sklearn.metrics import cohen_kappa_score

from kdstudy.diagnosis.inputs import LabelledLogits, labelled, read_inputs
from kdstudy.diagnosis.statistics import alignment, examples
from kdstudy.diagnosis.statistics.all import compute_statistics
from kdstudy.diagnosis.statistics.classes import class_structure, standardised_others, superclass_test
from kdstudy.diagnosis.statistics.examples import row_statistics
from kdstudy.diagnosis.statistics.shares import BLOCKS, LEVEL_NAMES, jackknife_blocks, level_shares, mean_masses
from kdstudy.distill import conditions, levels, loss
from kdstudy.distill.conditions import Context

V, Y = teacher()


def read(v: object, y: object) -> LabelledLogits:
    return labelled("teacher_logits", v, y)


# ---------------------------------------------------------------- shares


@pytest.mark.parametrize("tau", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("classes", [2, 6])
def test_shares_are_those_of_the_levels(tau, classes):
    v, y = teacher(classes=classes)
    found = level_shares(read(v, y), [tau])[0]
    for level, value in reference.shares(v, y, tau).items():
        assert found.shares[level][0] == pytest.approx(value, abs=1e-12)
    rho, mass = (torch.tensor(v) / tau).softmax(-1), levels.off_label_mass(torch.tensor(v), torch.tensor(y), tau)
    np.testing.assert_allclose(found.mass, mass, atol=1e-14)
    assert mean_masses(read(v, y), [tau]) == pytest.approx(float(mass.mean()))
    assert found.entropy == pytest.approx(float(torch.special.entr(rho).sum(-1).mean()))
    assert found.label_largest == np.mean(v.argmax(1) == y)


def test_shares_of_a_sure_teacher_do_not_cancel():
    """Masses of 1e-9, whose squares are far below the rounding of 1: the logits' own scale does not matter."""

    def scaled(size: float) -> np.ndarray:
        p = size * (torch.tensor(V) / 4).softmax(-1).numpy()
        at = np.arange(len(Y)), Y
        p[at] = 1 - (p.sum(1) - p[at])
        return np.log(p)

    found = level_shares(read(scaled(1e-9), Y), [1.0])[0].shares
    for level, value in reference.shares(scaled(1e-3), Y, 1.0).items():
        assert found[level][0] == pytest.approx(value, abs=1e-7)


def test_intervals_are_the_jackknife_of_whole_recomputations():
    block = jackknife_blocks(Y, BLOCKS)
    counts = np.array([np.bincount(Y[block == g], minlength=6) for g in range(BLOCKS)])
    assert (np.ptp(counts, axis=0) <= 1).all() and np.ptp(counts.sum(1)) <= 1  # every class is spread over the blocks
    for level, (share, low, high) in level_shares(read(V, Y), [2.0])[0].shares.items():
        margin = 2.093024 * reference.jackknife(V, Y, 2.0, block, level)  # Student's t with 19 degrees of freedom
        assert (low, high) == pytest.approx((max(0, share - margin), min(1, share + margin)), abs=1e-6)


def test_intervals_cover_the_share_of_many_more_examples():
    """95 % intervals of samples, against the share of a hundred times as many examples."""
    truth = reference.shares(*teacher(24_000, seed=99), 2.0)["instance"]
    found = [level_shares(read(*teacher(400, seed=seed)), [2.0])[0].shares["instance"] for seed in range(40)]
    assert sum(low <= truth <= high for _, low, high in found) >= 34


def test_with_two_classes_the_domain_holds_what_masses_of_classes_do():
    v, y = teacher(classes=2)
    found = level_shares(read(v, y), [1.0])[0]
    means = np.array([found.mass[y == t].mean() for t in (0, 1)])[y]
    expected = np.mean((means - found.mass.mean()) ** 2) / np.mean(found.mass**2)
    assert found.shares["domain"][0] == pytest.approx(expected)


def test_nothing_leaves_the_label_no_share():
    found = level_shares(read(1e6 * np.eye(3)[[0, 1, 2, 0]], [0, 1, 2, 0]), [1.0])[0]
    assert found.shares == dict.fromkeys(LEVEL_NAMES, (None, None, None))


# ---------------------------------------------------------------- rows and alignment


def test_rows_are_those_of_the_twin():
    found = row_statistics(read(V, Y))
    for name, value in reference.rows(V, Y).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9, err_msg=name)
    np.testing.assert_array_equal(found.predicted, V.argmax(1))
    np.testing.assert_allclose(found.nll, -np.log1p(-found.mass), rtol=1e-6)


def test_neither_a_number_added_to_a_row_nor_the_order_of_rows_changes_a_statistic():
    shift, order = np.random.default_rng(1).normal(size=(len(Y), 1)), np.random.default_rng(1).permutation(len(Y))
    one, two, three = (compute_statistics(read_inputs(*given)).value
                       for given in ((V, Y), (V + shift, Y), (V[order], Y[order])))  # fmt: skip
    three |= {name: one[name] for name in ("next_ratio", "padding", "padded")}  # which are about the order
    one_structure = {k: one.pop(k) for k in ("structure", "structure_p")}  # the null's draws belong to places
    assert one_structure == pytest.approx({k: two.pop(k) for k in one_structure}) and one_structure.keys() <= {*three}
    assert one | {"highest": two["highest"], "lowest": two["lowest"]} == pytest.approx(two)
    assert one == pytest.approx({k: three[k] for k in one})


def test_temperature_does_not_change_structure():
    one, two = (read(V / t, Y) for t in (1.0, 5.0))
    np.testing.assert_allclose(row_statistics(one).spread, 5 * row_statistics(two).spread)
    assert class_structure(one).strength == pytest.approx(class_structure(two).strength)


@pytest.mark.parametrize("k", [1, -1, 37, 120])
def test_kappa_is_that_of_sklearn_and_a_shift_is_found(k):
    predicted = np.roll(V.argmax(1), k)
    for guess in (predicted, V.argmax(1)):
        assert alignment.agreement(guess, Y, 6)["kappa"] == pytest.approx(cohen_kappa_score(guess, Y))
    found = alignment.best_shift(predicted, Y, 6)
    assert found == reference.best_shift(predicted, Y) and found[0] == k


def test_a_renaming_is_found_and_its_null_is_near_chance():
    v, y = teacher(600)
    to = np.array([3, 5, 0, 1, 2, 4])  # class t is called to[t] by the teacher
    best, null, back = alignment.best_renaming(to[v.argmax(1)], y, 6)
    assert best == np.mean(v.argmax(1) == y)
    assert back == dict(enumerate(to))
    assert null < 0.3


def test_separation_is_that_of_the_twin_and_below_0_for_independent_gaussians():
    predicted = V.argmax(1)
    expected = reference.separation(V, predicted) - alignment.gaussian_separation(6) - len(Y) ** -0.5
    assert alignment.separation(read(V, Y), predicted) == pytest.approx(expected)
    for classes, n in ((2, 100), (10, 300), (100, 300), (1000, 2000)):
        noise = np.random.default_rng(classes).standard_normal((n, classes))
        assert -0.1 < alignment.separation(read(noise, np.zeros(n, int)), noise.argmax(1)) < 0
    assert alignment.gaussian_separation(2) == pytest.approx(2 / np.pi)


# ---------------------------------------------------------------- classes


def test_structure_is_that_of_the_twin():
    found = class_structure(read(V[:120], Y[:120]))
    assert found.explained == pytest.approx(reference.explained(V[:120], Y[:120]))
    assert found.p == 0.01
    assert found.strength == pytest.approx((found.explained - found.null[1]) / (1 - found.null[1]), abs=0.02)


def test_structure_of_noise_is_none():
    rng = np.random.default_rng(3)
    y = rng.integers(6, size=600)
    p = np.array([class_structure(read(rng.standard_normal((600, 6)), y)).p for _ in range(40)])
    assert min(p) < 0.2 and max(p) > 0.8  # uniform
    assert np.mean(p <= 0.1) <= 0.25


def test_what_all_classes_share_is_hardly_structure():
    """A column's mean explains most of these logits, and little of it is called structure."""
    rng = np.random.default_rng(4)
    y = rng.integers(6, size=3000)
    biased = rng.standard_normal((3000, 6)) + np.arange(6)
    z = standardised_others(torch.tensor(biased), torch.tensor(y))
    means = np.array([z[y == t].mean(0).numpy() for t in range(6)])
    assert (means[y] ** 2).sum() / (z**2).sum() > 0.7
    assert class_structure(read(biased, y)).strength < 0.05


def test_superclasses_that_the_teacher_sees_correlate():
    rng, group = np.random.default_rng(5), np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    y = rng.integers(9, size=900)
    v = 2.0 * (group[y][:, None] == group) + 5.0 * (y[:, None] == np.arange(9)) + rng.standard_normal((900, 9))
    found = class_structure(read(v, y))
    assert superclass_test(found, group).p < 0.02
    assert superclass_test(found, np.arange(9)) is None


def test_the_other_classes_leave_the_label_out():
    v, y = torch.tensor([[9.0, 1.0, 3.0], [1.0, 7.0, 1.0]]), torch.tensor([0, 1])
    assert standardised_others(v, y).tolist() == [[-1.0, 1.0], [0.0, 0.0]]


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_weights_are_those_of_the_loss(tau):
    v, y, z = *map(torch.tensor, (V, Y)), torch.tensor(teacher(seed=1)[0])
    goal = conditions.target(conditions.make("kd", tau=tau, alpha=0.9), v, y, Context(6, torch.float64))
    terms, mass = loss.LossGradient.of(goal, tau), levels.off_label_mass(v, y, tau).numpy()
    start, now = (loss.rescaling(x, terms, y, torch.tensor(tau)) for x in (torch.zeros_like(v), z))
    np.testing.assert_allclose(examples.weights_at_start(mass, tau, 6), start, rtol=1e-9)
    log_odds = (row_statistics(read(z / t, y)).log_odds for t in (1.0, tau))
    np.testing.assert_allclose(examples.weights_of_student(mass, tau, *log_odds), now, rtol=1e-7)


def test_summary_of_weights():
    assert examples.summary(np.array([1.0, 1.0, 0.0, 0.0]))["effective"] == 0.5
    assert examples.summary(np.full(7, 3e200))["effective"] == pytest.approx(1.0)
    assert examples.summary(np.zeros(3))["effective"] is None
