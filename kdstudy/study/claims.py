"""Claims (claims.toml), and the rule by which data give each its verdict.

A claim is *practical* or about a *mechanism*. A practical one compares sides each at its own choice: should I use it?
Its interval resamples seeds, test examples, and the search. One about a mechanism compares sides that are equal in all
but what they are taught: at KD's choice, which gives the verdict, and at hard labels' learning rate and weight decay,
shown beside. On a transfer set, where a teacher labels what students without one never see, neither is judged of sides
that differ in that too (`comparable`). On one bed, with `direction` the sign claimed and `margin` the smallest effect
that counts, the effect is

    practically none   its interval lies within +- margin
    supported          otherwise, its interval lies beyond 0 in the claimed direction
    contradicted       otherwise, it lies beyond 0 in the other direction
    undecided          otherwise: it may be there and these seeds did not see it

A claim of equivalence says that there is practically no effect: supported if the interval lies within +- margin,
contradicted if it lies outside. Over beds, of which only the admitted ones vote: *mixed* if some support and some
contradict, else what more than half of them say, else mixed or undecided as several or none have decided.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from kdstudy.core import plugins
from kdstudy.distill import identities
from kdstudy.engine import ask
from kdstudy.stats import headline, paired
from kdstudy.study import admission, array_metrics, search
from kdstudy.study.experiment import AT, BASELINE, TREATMENT, Experiment, Study

FILE = Path(__file__).with_suffix(".toml")
COLUMNS = ["claim", "dataset", "at", "effect", "low", "high", "n", "p", "detectable",
           "verdict", "edge", "search", "votes"]  # fmt: skip
SUPPORTED, CONTRADICTED, NONE, MIXED, UNDECIDED = "supported", "contradicted", "practically none", "mixed", "undecided"
PRACTICAL, MECHANISM, IDENTITY = "practical", "mechanism", "identity"
KINDS = (PRACTICAL, MECHANISM, IDENTITY)
RULES = ("difference", "equivalence")
OWN, AT_KD = "own", "at_kd"  # at which settings an effect was measured


@dataclass(frozen=True)
class Claim:
    """One row of claims.toml, which says what the fields mean."""

    id: str
    level: str
    chapter: str
    kind: str
    statement: str
    source: str
    identity: str = ""
    contrast: Mapping[str, float] = field(default_factory=dict)
    measure: str = "test_accuracy"
    direction: int = 1
    margin: float = 0.005
    rule: str = "difference"
    part: str = ""


def load(*paths: Path) -> list[Claim]:
    """The claims of these files: unless any is named, of `FILE` and of each plugin's .toml, which lies beside it.

    ValueError for an unknown or missing field, an unknown kind or rule, or a repeated id.
    """
    paths = paths or (FILE, *plugins.claims())
    known, rows = {f.name for f in fields(Claim)}, [row for path in paths for row in _rows(path)]
    for row in rows:
        if odd := sorted(row.keys() - known):
            raise ValueError(
                f"claim {row.get('id')!r}: unknown field {', '.join(odd)}; there are: {', '.join(sorted(known))}"
            )
        if lack := [f.name for f in fields(Claim) if f.default is f.default_factory is MISSING and f.name not in row]:
            raise ValueError(f"claim {row.get('id')!r}: lacks {', '.join(lack)}")
        for name, allowed in (("kind", KINDS), ("rule", RULES)):
            if row.get(name, allowed[0]) not in allowed:
                words = ", ".join(map(repr, allowed))
                raise ValueError(f"claim {row['id']!r}: {name} {row[name]!r}, allowed: {words}")
        row["contrast"] = {c: _weight(row["id"], w) for c, w in row.get("contrast", {}).items()}
    claims = [Claim(**row) for row in rows]
    if len({c.id for c in claims}) < len(claims):
        raise ValueError(f"{', '.join(path.name for path in paths)}: an id occurs twice")
    return claims


def _rows(path: Path) -> list[dict[str, object]]:
    try:
        return tomllib.loads(path.read_text("utf-8"))["claim"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise ValueError(f"{path}: found no claims ({error}), allowed: TOML with a table [[claim]] for each") from error


def _weight(claim: str, text: str | float) -> float:
    """A weight of a contrast: a number, or a fraction as text."""
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"claim {claim!r}: weight {text!r}, allowed: a number or a fraction such as '-1/2'") from None


def verdict(claim: Claim, found: headline.Estimate) -> str:
    """The verdict of one estimate (rule above)."""
    low, high = sorted((claim.direction * found.low, claim.direction * found.high))
    within = -claim.margin < low and high < claim.margin
    if claim.rule == "equivalence":
        return SUPPORTED if within else CONTRADICTED if low > claim.margin or high < -claim.margin else UNDECIDED
    return NONE if within else SUPPORTED if low > 0 else CONTRADICTED if high < 0 else UNDECIDED


def p_value(claim: Claim, found: headline.Estimate) -> float:
    """Two-sided p by which an estimate is decided: below 0.05 if and only if it has a verdict.

    The lesser of that of no effect and that of one of +- margin or more; for equivalence the latter, or, where the
    effect is larger than the margin, that of one of +- margin or less.
    """
    within = found.p_within(claim.margin)
    if claim.rule == "difference":
        return min(found.p(), within)
    return within if abs(found.mean) <= claim.margin else max(found.p(claim.margin), found.p(-claim.margin))


def overall(verdicts: Sequence[str]) -> str:
    """The verdict over beds (rule above)."""
    counts = Counter(verdicts)
    if counts[SUPPORTED] and counts[CONTRADICTED]:
        return MIXED
    name, most = counts.most_common(1)[0] if counts else (UNDECIDED, 0)
    if 2 * most > len(verdicts):
        return name
    return MIXED if len(counts.keys() - {UNDECIDED}) > 1 else UNDECIDED


# ---------------------------------------------------------------- effects on one bed


def effect(claim: Claim, table: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> headline.Estimate | None:
    """The claim's contrast of one bed's table: over seeds, of accuracy over test examples too.

    None where a side has no such measure, as no likeness to super-classes where there are none. A seed at which a
    side diverged or has no such measure, as no likeness of rows that are all alike, is left out, and n is one less.
    """
    frame = converged(table[table["condition"].isin(claim.contrast)])
    if claim.measure != "test_accuracy":
        frame = array_metrics.measured(frame, claim.measure, tables)
        sides = frame.groupby("seed")["condition"].transform("nunique")
        frame = frame[sides == len(claim.contrast)]
        if frame.empty:
            return None
        return headline.over_seeds(paired.contrast(frame, claim.contrast, claim.measure).to_numpy())
    return headline.over_seeds_and_examples(correctness(claim.contrast, frame))


def converged(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of seeds at which none diverged."""
    lost = frame.loc[frame["diverged"] == 1, "seed"] if "diverged" in frame else ()
    return frame[~frame["seed"].isin(lost)]


def correctness(contrast: Mapping[str, float], frame: pd.DataFrame) -> np.ndarray:
    """sum of weight x (1 if the test example was classified rightly): seeds x examples."""
    keys = frame.pivot(index="seed", columns="condition", values="key")
    right = {k: np.unpackbits(bits) for k, bits in ask.arrays(frame.drop_duplicates("key"), "right").items()}
    every = sum(w * np.stack([right[k] for k in keys[c]]).astype(float) for c, w in contrast.items())
    return every[:, : examples(frame)]


def examples(frame: pd.DataFrame) -> int:
    """How many test examples a bed has: what the published counts by class say."""
    first = frame.head(1)
    return int(ask.arrays(first, "per_class")[first["key"].iloc[0]][1].sum())


def shifts(claim: Claim, experiment: Experiment) -> dict[tuple[int, ...], np.ndarray]:
    """How far, on each of a few seeds, the effect would have been from the one at the choices, for each resample of the
    tuning seeds.
    """
    table = experiment.tables["instead"]
    table = converged(table[table["condition"].isin(claim.contrast)])
    table = table.assign(setting=[search.setting(r) for r in table["run"]])
    table = array_metrics.measured(table, claim.measure, experiment.tables)
    each = table.sort_values("seed").groupby(["condition", "setting"], sort=False)[claim.measure]
    at = {chosen: values.to_numpy() for chosen, values in each}
    ways = search.resamples(experiment.protocol.tuning)
    sides = {c: experiment.choices[c] for c in claim.contrast}
    moved = {w: {c: at[c, s.instead[w]] - at[c, s.setting] for c, s in sides.items()} for w in ways}
    return {w: sum(claim.contrast[c] * d for c, d in way.items()) for w, way in moved.items()}


def _rows_on(claim: Claim, study: Study, places: Iterable[str]) -> pd.DataFrame:
    """A row for each bed that has the claim's sides and their measure, and each setting."""
    able = [e for e in study.experiments if {*claim.contrast} <= e.choices.keys()]
    rows = [row for e in able for at in places if (row := _row(claim, e, at))]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(claim: Claim, experiment: Experiment, at: str) -> dict[str, object] | None:
    part = claim.part or ("practical" if at == OWN else at)
    if (found := effect(claim, experiment.tables[part], experiment.tables)) is None:
        return None
    bare = verdict(claim, found)
    if part == "practical":
        found = headline.with_search(found, shifts(claim, experiment), search.resamples(experiment.protocol.tuning))
    given = verdict(claim, found)
    return {
        "claim": claim.id, "dataset": experiment.name, "at": at, "effect": found.mean, "low": found.low,
        "high": found.high, "n": found.n, "p": p_value(claim, found), "detectable": found.detectable, "verdict": given,
        "edge": not claim.part and bool(_edges(claim, experiment.choices, at)), "search": given != bare,
    }  # fmt: skip


def _edges(claim: Claim, choices: Mapping[str, search.Choice], at: str) -> set[tuple[str, int]]:
    """The edges at which the settings lie that a claim compares, `at` its sides' own choices or a common one."""
    own = {edge for c in claim.contrast for edge in choices[c].edges}
    if at == OWN:
        return own
    kd = choices[TREATMENT]
    common = {e for e in choices[AT[at]].edges if e[0] in search.NUISANCE}
    common |= {e for e in kd.edges if e[0] not in search.NUISANCE}
    return common | {e for e in own if e[0] not in kd.setting.values}


def described(
    study: Study, contrast: Mapping[str, float], part: str = "practical", measure: str = "test_accuracy"
) -> pd.DataFrame:
    """A contrast that nothing was claimed of, estimated as a claim's: a row for each bed that has its sides."""
    at = OWN if part == "practical" else part
    other = "" if at == OWN or at in AT else part
    claim = Claim("", "", "", PRACTICAL, "", "", contrast=contrast, measure=measure, part=other)
    return _rows_on(claim, study, [at]).drop(columns=["claim", "verdict", "search", "votes"])


def places(claim: Claim) -> tuple[str, ...]:
    """At which settings a claim is measured; the first gives the verdict."""
    return (OWN,) if claim.kind == PRACTICAL or claim.part else tuple(AT)


def comparable(claim: Claim, experiment: Experiment) -> bool:
    """Whether a claim's sides see the same examples: on a transfer set those without a teacher see fewer.

    What KD gains is asked there all the same, and so is what sides that are named by their beds differ in.
    """
    gain = claim.kind == PRACTICAL and {*claim.contrast} == {TREATMENT, BASELINE}
    if gain or any(":" in c for c in claim.contrast):
        return True
    table = experiment.tables["practical"]
    seen = table.loc[table["condition"].isin(claim.contrast), "run"]
    return len({"transfer" in dict(run.data.options) for run in seen}) < 2


def judge(claim: Claim, study: Study, voters: Iterable[str]) -> pd.DataFrame:
    """The claim's rows: one for each bed that has its sides, `comparable`, and each setting; or one for an identity."""
    if claim.kind == IDENTITY:
        found = identities.check(claim.identity)
        row = {"claim": claim.id, "dataset": IDENTITY, "effect": found.error, "n": found.n, "votes": True}
        given = {"verdict": SUPPORTED if found.holds else CONTRADICTED}
        return pd.DataFrame([row | given], columns=COLUMNS)
    frame = _rows_on(claim, Study([e for e in study.experiments if comparable(claim, e)]), places(claim))
    return frame.assign(votes=frame["dataset"].isin(voters) & (frame["at"] == places(claim)[0]))


def chapter(name: str, study: Study) -> pd.DataFrame:
    """All rows of a chapter's claims."""
    voters = admission.admitted(study)
    rows = [judge(c, study, voters) for c in load() if c.chapter == name]
    rows = [r for r in rows if len(r)]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)


def by_claim(rows: pd.DataFrame, column: str = "verdict") -> dict[str, str]:
    """Each claim's verdict over the beds that vote."""
    return {key: overall(list(g.loc[g["votes"].astype(bool), column])) for key, g in rows.groupby("claim", sort=False)}


def board(**given: object) -> tuple[pd.DataFrame, dict[str, Study]]:
    """The rows of all claims, and the study of each chapter, all with these parameters, which every plan must have."""
    from kdstudy.study import plans

    studies = {name: plans.study(name, **given) for name in plans.PLANS}
    rows = [chapter(name, study) for name, study in studies.items()]
    return pd.concat([r for r in rows if len(r)], ignore_index=True), studies
