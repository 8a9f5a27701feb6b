"""The file of claims: each names what exists, and one that cannot be read is refused."""

import dataclasses
import inspect

import pytest
from conftest import says

from kdstudy import identities, measures, plans, targets
from kdstudy.claims import Claim, load

ALL = load()


@pytest.mark.parametrize("claim", ALL, ids=lambda c: c.id)
def test_a_claim_names_what_exists(claim):
    assert claim.chapter in plans.PLANS
    assert claim.statement.endswith(".") and claim.source and claim.level
    if claim.kind == "identity":
        assert claim.identity in identities.IDENTITIES
        assert (claim.treatment, claim.control, claim.measure, claim.direction) == ("", "", "", 0)
        return
    measured = {f"{s}_{m}" for s in measures.SPLITS for m in measures.MEASURES} | {"target_mass", "target_entropy"}
    assert claim.measure in measured
    assert claim.direction in (-1, 1) and claim.margin >= 0 and not claim.identity
    asked = inspect.signature(plans.PLANS[claim.chapter]).parameters["conditions"].default
    assert claim.treatment != claim.control
    assert {claim.treatment, claim.control} <= targets.CONDITIONS.keys() & set(asked)


def toml(*rows: dict[str, object]) -> str:
    return "\n".join("[[claim]]\n" + "\n".join(f"{k} = {v!r}" for k, v in row.items()) for row in rows)


ROW = {"id": "T1", "level": "a", "chapter": "b", "kind": "contrast", "statement": "c", "source": "d"}
FIELDS = ", ".join(sorted(f.name for f in dataclasses.fields(Claim)))


def test_load_reads_claims(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(toml(ROW | {"direction": -1, "margin": 0.5}, ROW | {"id": "T2"}), "utf-8")
    first, second = load(path)
    assert first == Claim("T1", "a", "b", "contrast", "c", "d", direction=-1, margin=0.5)
    assert second == Claim("T2", "a", "b", "contrast", "c", "d")


@pytest.mark.parametrize(
    "rows, message",
    [
        ([ROW | {"margn": 0.1, "colour": 1}], f"claim 'T1': unknown field colour, margn; there are: {FIELDS}"),
        ([ROW | {"kind": "guess"}], "claim 'T1': kind 'guess', allowed: 'contrast', 'identity'"),
        ([{k: v for k, v in ROW.items() if k not in ("kind", "source")}], "claim 'T1': lacks kind, source"),
        ([{k: v for k, v in ROW.items() if k != "id"}], "claim None: lacks id"),
        ([ROW, ROW], "claims.toml: an id occurs twice"),
    ],
)
def test_load_refuses(tmp_path, rows, message):
    path = tmp_path / "claims.toml"
    path.write_text(toml(*rows), "utf-8")
    with pytest.raises(ValueError, match=says(message)):
        load(path)
