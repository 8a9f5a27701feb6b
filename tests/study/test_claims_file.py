"""The file of claims: each names what exists, and one that cannot be read is refused."""

import dataclasses

import numpy as np
import pytest
from conftest import says

from kdstudy.distill import identities
from kdstudy.engine import teacher_statistics as anatomy
from kdstudy.stats import factorial
from kdstudy.study import array_metrics, claims, plans
from kdstudy.study.claims import Claim, load
from kdstudy.train import metrics

ALL = load()


@pytest.mark.parametrize("claim", ALL, ids=lambda c: c.id)
def test_a_claim_names_what_exists(claim):
    assert claim.chapter in plans.PLANS
    assert claim.statement.endswith(".") and claim.source and claim.level
    if claim.rule == "identity":
        assert claim.identity in identities.IDENTITIES
        assert (claim.contrast, claim.measure, claim.direction) == ({}, "", 0)
        return
    measured = {f"{s}_{m}" for s in metrics.SPLITS for m in metrics.MEASURES}
    assert claim.measure in measured | array_metrics.DERIVED.keys() | {*anatomy.NAMES}
    assert claim.direction in (-1, 1) and not claim.identity
    parts = plans.PLANS[claim.chapter](seeds=1)
    for name in claim.contrast:
        part, condition = claims.place(claim, name)
        able = [r for r in parts[part] if r.condition.name == condition]
        held = [r for r in able if all(dict(r.condition.params).get(k, v) == v for k, v in claim.at.items())]
        assert held, f"no run of {name} at {claim.at}"
    asked = parts[claim.part]
    total = sum(claim.contrast.values())
    assert total == pytest.approx(0, abs=1e-12) or list(claim.contrast.values()) == [1.0]
    if claim.rule == "slope":
        assert len({dict(r.data.options)[claim.over] for r in asked}) > 2


def test_shapley_claims_have_the_weights_of_shapley_values():
    conditions = sorted(set(factorial.LEVELS.values()))
    unit = {c: np.array([float(c == other) for other in conditions]) for c in conditions}
    values = factorial.shapley({s: unit[c] for s, c in factorial.LEVELS.items()})
    for level, weights in values.items():
        claim = next(c for c in ALL if c.id == f"A2-{level}")
        assert [claim.contrast.get(c, 0.0) for c in conditions] == pytest.approx(list(weights))


def toml(*rows: dict[str, object]) -> str:
    return "\n".join("[[claim]]\n" + "\n".join(f"{k} = {v!r}" for k, v in row.items()) for row in rows)


ROW = {"id": "T1", "level": "a", "chapter": "b", "rule": "difference", "statement": "c", "source": "d"}
FIELDS = ", ".join(sorted(f.name for f in dataclasses.fields(Claim)))


def test_load_reads_claims(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(toml(ROW | {"direction": -1, "margin": 0.5}, ROW | {"id": "T2"}), "utf-8")
    first, second = load(path)
    assert first == Claim("T1", "a", "b", "difference", "c", "d", direction=-1, margin=0.5)
    assert second == Claim("T2", "a", "b", "difference", "c", "d")


def test_weights_are_numbers_or_fractions(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(toml(ROW) + '\ncontrast = { kd = "1/3", hard = -1, kd_pt = "-0.5" }', "utf-8")
    assert load(path)[0].contrast == {"kd": 1 / 3, "hard": -1.0, "kd_pt": -0.5}
    path.write_text(toml(ROW) + '\ncontrast = { kd = "1/0" }', "utf-8")
    message = "claim 'T1': weight '1/0', allowed: a number or a fraction such as '-1/2'"
    with pytest.raises(ValueError, match=says(message)):
        load(path)


@pytest.mark.parametrize(
    "rows, message",
    [
        ([ROW | {"margn": 0.1, "colour": 1}], f"claim 'T1': unknown field colour, margn; there are: {FIELDS}"),
        ([ROW | {"rule": "guess"}], "claim 'T1': rule 'guess', allowed: 'difference', 'slope', 'identity'"),
        ([{k: v for k, v in ROW.items() if k not in ("rule", "source")}], "claim 'T1': lacks rule, source"),
        ([{k: v for k, v in ROW.items() if k != "id"}], "claim None: lacks id"),
        ([ROW, ROW], "claims.toml: an id occurs twice"),
    ],
)
def test_load_refuses(tmp_path, rows, message):
    path = tmp_path / "claims.toml"
    path.write_text(toml(*rows), "utf-8")
    with pytest.raises(ValueError, match=says(message)):
        load(path)
