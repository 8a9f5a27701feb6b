"""Signals against slow twins, identities, and what must not change them."""

import numpy as np
import pytest
import reference_signals as reference
import torch

from kdstudy import (
    objective,
    shapes,
    signals,
    signals_classes,
    signals_input,
    signals_pairing,
    signals_parts,
    signals_rows,
    signals_weights,
    targets,
)
from kdstudy.registry import Context


def teacher(examples: int = 240, classes: int = 6, seed: int = 0, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a teacher that knows its labels, and that neighbouring classes are alike."""
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=examples)
    near = -np.minimum(abs(y[:, None] - np.arange(classes)), 3.0)
    return scale * (near + 0.4 * rng.standard_normal((examples, classes))), y


def table(v: object, y: object) -> signals_input.Table:
    return signals_input.table("teacher_logits", v, y, "labels")


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("tau", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("classes", [2, 6])
def test_shares_are_those_of_shapes(tau, classes):
    v, y = teacher(classes=classes)
    found = signals_parts.parts(table(v, y), tau)
    for level, value in reference.shares(v, y, tau).items():
        assert found.shares[level][0] == pytest.approx(value, abs=1e-12)
    rho = (torch.tensor(v) / tau).softmax(-1)
    np.testing.assert_allclose(found.mass, shapes.off_label_mass(torch.tensor(v), torch.tensor(y), tau), atol=1e-14)
    assert found.entropy == pytest.approx(float(torch.special.entr(rho).sum(-1).mean()))
    assert found.label_largest == np.mean(v.argmax(1) == y)


def test_shares_of_a_sure_teacher_do_not_cancel():
    """Masses of 1e-9, whose squares are far below the rounding of 1: the logits' own scale does not matter."""
    v, y = teacher()
    p = (torch.tensor(v) / 4).softmax(-1).numpy()
    tiny = 1e-9 * p
    tiny[np.arange(len(y)), y] = 1 - (tiny.sum(1) - tiny[np.arange(len(y)), y])
    found = signals_parts.parts(table(np.log(tiny), y), 1.0).shares
    pieces = {}
    for level, (share, *_) in found.items():
        pieces[level] = share
    larger = 1e-3 * p
    larger[np.arange(len(y)), y] = 1 - (larger.sum(1) - larger[np.arange(len(y)), y])
    for level, value in reference.shares(np.log(larger), y, 1.0).items():
        assert pieces[level] == pytest.approx(value, abs=1e-7)


def test_intervals_are_the_jackknife_of_whole_recomputations():
    v, y = teacher()
    block = signals_parts.blocks(y, signals_parts.BLOCKS)
    found = signals_parts.parts(table(v, y), 2.0).shares
    for level, (share, low, high) in found.items():
        error = reference.jackknife(v, y, 2.0, block, level)
        reach = 2.093024 * error  # Student's t with 19 degrees of freedom
        assert (low, high) == pytest.approx((max(0, share - reach), min(1, share + reach)), abs=1e-6)


def test_blocks_spread_every_class():
    y = np.sort(teacher()[1])
    counts = np.array([np.bincount(y[signals_parts.blocks(y, 20) == g], minlength=6) for g in range(20)])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(1)) <= 1


def test_intervals_cover_the_share_of_many_more_examples():
    """95 % intervals of samples, against the share of a hundred times as many examples."""
    truth = reference.shares(*teacher(24_000, seed=99), 2.0)["instance"]
    hits = 0
    for seed in range(40):
        _, low, high = signals_parts.parts(table(*teacher(400, seed=seed)), 2.0).shares["instance"]
        hits += low <= truth <= high
    assert hits >= 34


def test_with_two_classes_the_domain_holds_what_masses_of_classes_do():
    v, y = teacher(classes=2)
    mass = signals_parts.parts(table(v, y), 1.0).mass
    means = np.array([mass[y == t].mean() for t in (0, 1)])[y]
    square = 2 * np.mean(mass**2)
    assert signals_parts.parts(table(v, y), 1.0).shares["domain"][0] == pytest.approx(
        2 * np.mean((means - mass.mean()) ** 2) / square
    )


def test_nothing_leaves_the_label_no_share():
    found = signals_parts.parts(table(1e6 * np.eye(3)[[0, 1, 2, 0]], [0, 1, 2, 0]), 1.0)
    assert found.shares == dict.fromkeys(signals_parts.LEVELS, (None, None, None))


# ---------------------------------------------------------------- rows and pairing


def test_rows_are_those_of_the_twin():
    v, y = teacher(60)
    found = signals_rows.rows(table(v, y))
    for name, value in reference.rows(v, y).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9, err_msg=name)
    np.testing.assert_array_equal(found.guess, v.argmax(1))
    np.testing.assert_allclose(found.nll, -np.log1p(-found.mass), rtol=1e-6)


def test_temperature_does_not_change_structure():
    v, y = teacher()
    one, two = (signals.measure(signals.Given(table(v / t, y))) for t in (1.0, 5.0))
    np.testing.assert_allclose(one.rows.spread, 5 * two.rows.spread)
    assert one["structure"] == pytest.approx(two["structure"])


def test_a_number_added_to_a_row_changes_nothing():
    v, y = teacher()
    shift = np.random.default_rng(1).normal(size=(len(y), 1))
    one, two = (signals.measure(signals.Given(table(x, y))).value for x in (v, v + shift))
    assert {k: one[k] for k in one if k != "highest"} == pytest.approx({k: two[k] for k in two if k != "highest"})


def test_order_of_the_rows_changes_nothing():
    v, y = teacher()
    order = np.random.default_rng(1).permutation(len(y))
    one, two = (signals.measure(signals.Given(table(v[at], y[at]))).value for at in (np.arange(len(y)), order))
    sampled = ("structure", "structure_p")  # the null's draws belong to places
    assert {k: v for k, v in one.items() if k not in sampled} == pytest.approx(
        {k: v for k, v in two.items() if k not in sampled}
    )


def test_kappa_is_that_of_sklearn():
    from sklearn.metrics import cohen_kappa_score

    v, y = teacher(scale=1.0)
    guess = np.random.default_rng(0).permutation(v.argmax(1))
    guess[:100] = y[:100]
    assert signals_pairing.pairing(guess, y, 6).kappa == pytest.approx(cohen_kappa_score(guess, y))


@pytest.mark.parametrize("k", [1, -1, 37, 120])
def test_a_shift_is_found(k):
    v, y = teacher()
    guess = np.roll(v.argmax(1), k)
    assert signals_pairing.shift(guess, y, 6) == reference.best_shift(guess, y)
    assert signals_pairing.shift(guess, y, 6)[0] == k


def test_a_renaming_is_found_and_its_null_is_near_chance():
    v, y = teacher(600)
    to = np.array([3, 5, 0, 1, 2, 4])  # class t is called to[t] by the teacher
    best, null, back = signals_pairing.reassigned(to[v.argmax(1)], y, 6)
    assert best == np.mean(v.argmax(1) == y)
    assert [back[c] for c in to] == list(range(6))
    assert null < 0.3


def test_apart_is_that_of_the_twin_and_below_0_for_independent_gaussians():
    v, y = teacher()
    guess = v.argmax(1)
    expected = reference.apart(v, guess) - signals_rows.gaussian(6) - len(y) ** -0.5
    assert signals_rows.apart(table(v, y), guess) == pytest.approx(expected)
    for classes, n in ((2, 100), (10, 300), (100, 300), (1000, 2000)):
        noise = np.random.default_rng(classes).standard_normal((n, classes))
        assert -0.1 < signals_rows.apart(table(noise, np.zeros(n, int)), noise.argmax(1)) < 0
    assert signals_rows.gaussian(2) == pytest.approx(2 / np.pi)


# ---------------------------------------------------------------- classes


def test_structure_is_that_of_the_twin():
    v, y = teacher(120)
    found = signals_classes.structure(table(v, y), y)
    assert found.explained == pytest.approx(reference.explained(v, y))
    assert found.p == 0.01
    assert found.strength == pytest.approx((found.explained - found.null[1]) / (1 - found.null[1]), abs=0.02)


def test_structure_of_noise_is_none():
    rng = np.random.default_rng(3)
    y = rng.integers(6, size=600)
    p = [signals_classes.structure(table(rng.standard_normal((600, 6)), y), y).p for _ in range(40)]
    assert min(p) < 0.2 and max(p) > 0.8  # uniform
    assert np.mean(np.array(p) <= 0.1) <= 0.25


def test_what_all_classes_share_is_hardly_structure():
    """A column's mean explains most of these logits, and little of it is called structure."""
    rng = np.random.default_rng(4)
    y = rng.integers(6, size=3000)
    biased = rng.standard_normal((3000, 6)) + np.arange(6)
    z = signals_classes.rest(torch.tensor(biased), torch.tensor(y))
    means = np.array([z[y == t].mean(0).numpy() for t in range(6)])
    assert (means[y] ** 2).sum() / (z**2).sum() > 0.7
    assert signals_classes.structure(table(biased, y), y).strength < 0.05


def test_superclasses_that_the_teacher_sees_correlate():
    rng = np.random.default_rng(5)
    group = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    y = rng.integers(9, size=900)
    v = 2.0 * (group[y][:, None] == group) + 5.0 * (y[:, None] == np.arange(9)) + rng.standard_normal((900, 9))
    found = signals_classes.structure(table(v, y), y)
    assert signals_classes.against(found, group).p < 0.02
    assert signals_classes.against(found, np.arange(9)) is None


def test_rest_leaves_the_label_out():
    v, y = torch.tensor([[9.0, 1.0, 3.0], [1.0, 7.0, 1.0]]), torch.tensor([0, 1])
    assert signals_classes.rest(v, y).tolist() == [[-1.0, 1.0], [0.0, 0.0]]


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_weights_are_those_of_the_loss(tau):
    v, y = (torch.tensor(x) for x in teacher())
    goal = targets.target(targets.make("kd", tau=tau, alpha=0.9), v, y, Context(6, torch.float64))
    pull, mass = objective.LossGradient.of(goal, tau), shapes.off_label_mass(v, y, tau).numpy()
    start = objective.rescaling(torch.zeros_like(v), pull, y, torch.tensor(tau))
    np.testing.assert_allclose(signals_weights.at_start(mass, tau, 6), start, rtol=1e-9)
    z = torch.tensor(teacher(seed=1)[0])
    odds = {t: signals_weights._odds(table(z.numpy(), y.numpy()), t) for t in (1.0, tau)}
    mine = signals_weights.actual(mass, tau, odds[1.0], odds[tau])
    np.testing.assert_allclose(mine, objective.rescaling(z, pull, y, torch.tensor(tau)), rtol=1e-7)


def test_spread_of_weights():
    found = signals_weights.spread(np.array([1.0, 1.0, 0.0, 0.0]))
    assert found["effective"] == 0.5
    assert signals_weights.spread(np.full(7, 3e200))["effective"] == pytest.approx(1.0)
    assert signals_weights.spread(np.zeros(3))["effective"] is None
