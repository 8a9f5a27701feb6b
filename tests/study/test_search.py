"""The search: the same settings for all, chosen by tuning seeds, and what their edges are."""

from dataclasses import replace
from itertools import product
from math import inf, nan

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_run

from kdstudy.distill import conditions
from kdstudy.study import search
from kdstudy.study.search import Protocol, Setting

# ---------------------------------------------------------------- which settings


def test_the_first_settings_by_hand():
    """Results are known again by these numbers: who changes them trains everything again."""
    names = ["lr", "weight_decay", "tau", "alpha", "epsilon"]
    assert list(search.RANGES)[:5] == names
    assert [[p[n] for n in names] for p in search.points(3)] == [
        [0.0497, 0.0207, 10.8, 0.697, 0.0309],
        [0.17, 0.000147, 1.52, 0.485, 0.115],
        [0.312, 0.000501, 6.65, 0.994, 0.408],
    ]


@pytest.mark.parametrize("count", [1, 5, 24, 33])
def test_fewer_settings_are_the_first_of_more(count):
    assert search.points(count) == search.points(64)[:count]
    assert search.points(3, count) == search.points(64)[count : count + 3]


def test_settings_lie_in_their_ranges_to_three_digits_and_fill_them():
    drawn = pd.DataFrame(search.points(64))
    for name, (low, high) in search.RANGES.items():
        assert drawn[name].between(low, high).all()
        assert all(float(f"{v:.3g}") == v for v in drawn[name])
        at = (
            (drawn[name] - low) / (high - low)
            if name in search.LINEAR
            else np.log(drawn[name] / low) / np.log(high / low)
        )
        assert at.between(0, 0.5).sum() == pytest.approx(32, abs=1 if name not in search.WHOLE else 9)
    assert (drawn["k"] % 1 == 0).all() and drawn["lr"].is_unique


def test_another_parameter_moves_no_other(monkeypatch):
    before = search.points(8)
    monkeypatch.setattr(search, "RANGES", {**search.RANGES, "floor": (0.01, 0.1)})
    after = search.points(8, box=search.RANGES)
    assert [{k: v for k, v in p.items() if k != "floor"} for p in after] == before
    assert all(0.01 <= p["floor"] <= 0.1 for p in after)


def test_conditions_share_what_they_have_in_common_and_keep_what_is_not_searched():
    for point in search.points(4):
        tried = {name: search.at(name, point) for name in conditions.CONDITIONS}
        assert {(s.lr, s.weight_decay) for s in tried.values()} == {(point["lr"], point["weight_decay"])}
        for name, s in tried.items():
            known = conditions.parameters(name)
            assert dict(s.condition.params) == {k: point.get(k, default) for k, default in known.items()}
    assert dict(tried["kd_pt"].condition.params)["dose"] == conditions.parameters("kd_pt")["dose"]


@pytest.mark.parametrize(
    "edge, low, high",
    [
        (("lr", 1), 0.5, 1.0), (("lr", -1), 0.0025, 0.01), (("tau", 1), 16, 64), (("tau", -1), 0.25, 1),
        (("alpha", -1), 0, 0.1), (("epsilon", 1), 0.8, 1), (("weight_decay", -1), 2.5e-7, 1e-6), (("k", -1), 1, 2),
    ],
)  # fmt: skip
def test_beyond_an_edge_one_parameter_goes_on_and_the_others_stay(edge, low, high):
    (name, _), more = edge, search.beyond(search.RANGES, [edge], 6, 24)
    assert len(more) == 6
    for point, inside in zip(more, search.points(6, 24)):
        assert low <= point[name] <= high
        assert {k: v for k, v in point.items() if k != name} == {k: v for k, v in inside.items() if k != name}


def test_beyond_two_edges_there_are_as_many_of_each_and_none_twice():
    more = search.beyond(search.RANGES, {("tau", 1), ("lr", 1)}, 3, 8)
    assert [p["lr"] > 0.5 for p in more] == [True] * 3 + [False] * 3
    assert [p["tau"] > 16 for p in more] == [False] * 3 + [True] * 3
    assert not {p["weight_decay"] for p in more} & {p["weight_decay"] for p in search.points(8)}
    assert len({p["weight_decay"] for p in more}) == 6


# ---------------------------------------------------------------- what is chosen


def tuned(score, names=("kd",), settings: int = 24, seeds: int = 3, **columns: object) -> pd.DataFrame:
    """A table of tuning runs; `score` is a function of (setting, seed)."""
    rows = []
    for name, point, seed in product(names, search.points(settings), range(seeds)):
        s, run = search.at(name, point), tiny_run(name, seed)
        run = replace(run, condition=s.condition, recipe=replace(run.recipe, lr=s.lr, weight_decay=s.weight_decay))
        row = {"run": run, "condition": name, "seed": seed, "validation_accuracy": score(s, seed)}
        rows.append(row | {k: f(s, seed) for k, f in columns.items()})
    return pd.DataFrame(rows)


def far(s: Setting) -> float:
    """How far from a setting well inside."""
    inside = {"lr": 0.07, "weight_decay": 1e-4, "tau": 4.0, "alpha": 0.4}
    return sum(abs(np.log(value / inside[name])) for name, value in s.values.items())


def test_the_best_on_average_is_chosen_and_a_planted_optimum_found():
    found = search.choose(tuned(lambda s, seed: 0.9 - 0.1 * far(s) + 0.01 * seed, ["hard", "kd"]))
    for name, choice in found.items():
        assert choice.setting == min((search.at(name, p) for p in search.points(24)), key=far)
        assert choice.edges == () and set(choice.instead.values()) == {choice.setting}


def test_every_resample_of_the_tuning_seeds_chooses_as_a_search_on_those_seeds_would():
    rng = np.random.default_rng(0)
    noise = {(p["lr"], s): rng.normal() for p in search.points(6) for s in range(3)}
    table = tuned(lambda s, seed: noise[s.lr, seed], settings=6)
    choice = search.choose(table)["kd"]
    assert len(choice.instead) == 10 and len(set(choice.instead.values())) > 1
    for counts, setting in choice.instead.items():
        drawn = [seed for seed, n in enumerate(counts) for _ in range(n)]
        mean = {p["lr"]: sum(noise[p["lr"], s] for s in drawn) for p in search.points(6)}
        assert setting.lr == max(mean, key=mean.get)
    assert choice.instead[1, 1, 1] == choice.setting


@pytest.mark.parametrize("lost", [{"validation_accuracy": nan}, {"diverged": 1}])
def test_a_setting_that_diverged_is_never_chosen(lost):
    table = tuned(lambda s, seed: s.lr, settings=6)
    best = table["validation_accuracy"].idxmax()  # of one seed alone
    for column, value in lost.items():
        table.loc[best, column] = value
    order = sorted({p["lr"] for p in search.points(6)})
    assert search.choose(table)["kd"].setting.lr == order[-2]
    assert {s.lr for s in search.choose(table)["kd"].instead.values()} <= set(order)


def edges(score) -> tuple[tuple[str, int], ...]:
    return search.choose(tuned(score))["kd"].edges


def test_a_choice_lies_at_an_edge_if_it_is_outermost_and_clearly_better_than_what_is_not():
    assert edges(lambda s, seed: s.lr) == (("lr", 1),)
    assert edges(lambda s, seed: -np.log(s.values["tau"])) == (("tau", -1),)
    assert edges(lambda s, seed: s.weight_decay + 0.1 * (seed == 0)) == (("weight_decay", 1),)
    flat = {p["lr"]: i for i, p in enumerate(sorted(search.points(24), key=lambda p: p["lr"]))}
    assert edges(lambda s, seed: 1e-4 * flat[s.lr] + 0.1 * ((flat[s.lr] + seed) % 3)) == ()  # within a standard error


def test_where_a_range_cannot_be_widened_there_is_no_edge(monkeypatch):
    largest = max(p["alpha"] for p in search.points(24))
    assert edges(lambda s, seed: s.values["alpha"]) == (("alpha", 1),)
    monkeypatch.setitem(search.BOUNDS, "alpha", (0.0, largest))
    assert edges(lambda s, seed: s.values["alpha"]) == ()
    fixed = tuned(lambda s, seed: far(s)).assign(
        run=lambda t: [replace(r, recipe=replace(r.recipe, lr=0.1)) for r in t["run"]]
    )
    assert "lr" not in dict(search.choose(fixed)["kd"].edges)


# ---------------------------------------------------------------- seeds


@pytest.mark.parametrize("seeds", [1, 2, 3, 4])
def test_resamples_have_the_probability_of_their_draws(seeds):
    drawn = [tuple(d.count(s) for s in range(seeds)) for d in product(range(seeds), repeat=seeds)]
    wanted = {c: drawn.count(c) / len(drawn) for c in set(drawn)}
    found = search.resamples(seeds)
    assert found.keys() == wanted.keys() and sum(found.values()) == pytest.approx(1)
    assert all(found[c] == pytest.approx(wanted[c]) for c in wanted)


def test_seeds_of_one_role_are_none_of_another():
    roles = ("tuning", "evaluation", "admission")
    for protocol in (Protocol(), Protocol(4, 1000, 1000, 1000)):
        each = [protocol.seeds(role) for role in roles]
        assert [len(s) for s in each] == [getattr(protocol, role) for role in roles]
        assert len(set().union(*each)) == sum(map(len, each)) and max(map(max, each)) < 10_000 < inf
