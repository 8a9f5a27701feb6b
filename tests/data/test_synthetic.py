"""The synthetic data set: its similarities, its law of labels, its noise and margins."""

import math

import pytest
import torch
from tiny_files import SPLITS, load
from torch.testing import assert_close

from kdstudy.core.random import generator

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("classes, superclasses, features", [(20, 5, 32), (7, 3, 10), (4, 1, 5), (3, 3, 6)])
def test_cosine_similarity_is_exactly_what_was_asked(similarity, classes, superclasses, features):
    data = load(
        "synthetic", similarity=similarity, classes=classes, superclasses=superclasses, features=features, seed=3
    )
    w, g = data.extra["law"]["vectors"], data.superclass
    wanted = (similarity * (g[:, None] == g).double()).fill_diagonal_(1)
    assert_close(w @ w.T, wanted, rtol=0, atol=1e-12)
    assert g.unique().tolist() == list(range(superclasses))
    assert g.bincount().max() - g.bincount().min() <= 1


def test_posterior_is_the_formula():
    noise, softness, sines = 0.3, 0.7, 5
    data = load("synthetic", noise=noise, softness=softness, sines=sines, train=5, seed=2)
    phases = 2 * torch.pi * torch.rand(sines, generator=generator(2, "synthetic:phases"), dtype=torch.float64)
    for x, p in zip(data.train.x.double(), data.extra["train"]["posterior"]):
        scores = []
        for w in data.extra["law"]["vectors"]:
            u = sum(float(a) * float(b) for a, b in zip(w, x))
            scores.append(
                2 * u + sum(math.sin(m * u + float(phases[m - 1])) / math.sqrt(m) for m in range(1, sines + 1))
            )
        mass = [math.exp(s / softness) for s in scores]
        expected = [(1 - noise) * m / sum(mass) + noise / len(mass) for m in mass]
        assert_close(p, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("noise, softness", [(0.0, 0.0), (0.3, 0.0), (0.0, 0.8), (0.2, 0.5), (1.0, 0.0)])
def test_labels_follow_the_posterior(noise, softness):
    """No class is drawn more or less often, and no label has more or less probability, than chance allows."""
    data = load("synthetic", noise=noise, softness=softness, train=8000, test=8000, seed=1)
    for split in SPLITS:
        y, p = getattr(data, split).y, data.extra[split]["posterior"]
        assert_close(p.sum(-1), torch.ones(len(y), dtype=torch.float64), rtol=0, atol=1e-12)
        count, spread = torch.bincount(y, minlength=20), (p * (1 - p)).sum(0).sqrt()
        assert ((count - p.sum(0)).abs() <= 4.5 * spread + 1e-9).all()
        own, mean = p.gather(-1, y[:, None]).squeeze(-1), (p**2).sum(-1)
        sd = ((p**3).sum(-1) - mean**2).clamp(min=0).sum().sqrt()
        assert (own - mean).sum().abs() <= 4.5 * sd + 1e-6


def test_without_noise_the_posterior_is_the_label():
    data = load("synthetic")
    for split in SPLITS:
        y = getattr(data, split).y
        assert torch.equal(data.extra[split]["posterior"], torch.nn.functional.one_hot(y, 20).double())


def test_noise_touches_training_labels_only():
    clean, noisy = load("synthetic"), load("synthetic", noise=0.4)
    for split in SPLITS:
        assert torch.equal(getattr(clean, split).x, getattr(noisy, split).x)
        assert torch.equal(clean.extra[split]["margin"], noisy.extra[split]["margin"])
    assert torch.equal(clean.validation.y, noisy.validation.y)
    assert torch.equal(clean.test.y, noisy.test.y)
    changed = (clean.train.y != noisy.train.y).double().mean()
    assert changed == pytest.approx(0.4 * 19 / 20, abs=4.5 * math.sqrt(0.38 * 0.62 / 4000))


def test_margin_is_the_log_odds_of_the_two_likeliest_classes():
    data = load("synthetic", softness=0.5)
    for split in SPLITS:
        first, second = data.extra[split]["posterior"].log().topk(2).values.unbind(-1)
        assert_close(data.extra[split]["margin"], 0.5 * (first - second), rtol=1e-7, atol=1e-9)
        assert (data.extra[split]["margin"] >= 0).all()


def test_one_sine_keeps_the_order_of_scores_and_more_do_not():
    zero, one, four = (load("synthetic", sines=s).train.y for s in (0, 1, 4))
    assert torch.equal(zero, one)
    assert (zero != four).double().mean() > 0.1


def test_synthetic_classes_are_balanced():
    count = load("synthetic", train=40_000).train.y.bincount()
    assert ((count - 2000).abs() < 4.5 * math.sqrt(40_000 * 0.05 * 0.95)).all()
