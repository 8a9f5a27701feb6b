"""Silent bugs: what each leaves of the teacher at KD's setting, and logits to plant bugs into."""

import pytest

from kdstudy import diagnose
from kdstudy.distill import faults
from kdstudy.figures.chapters import silent_bugs


def test_what_a_fault_leaves_is_said_at_the_setting_of_kd(perform):
    study = perform("silent_bugs")
    found, kd = silent_bugs.taught(study), study.tables["at_kd"]
    assert [c for _, c in found.index] == ["kd", *faults.FAULTS]
    assert kd.loc[kd["condition"] != "hard", ["tau", "alpha", "lr"]].drop_duplicates().shape[0] == 1
    for name, row in found.loc[study.experiments[0].name].iterrows():
        mine = kd[kd["condition"] == name]
        assert row["test_agreement"] == pytest.approx(mine["test_agreement"].mean())
        share = mine["target_domain"] / (mine["target_universe"] + mine["target_domain"] + mine["target_instance"])
        assert row["domain_share"] == pytest.approx(share.mean(), nan_ok=True)


def test_the_example_is_a_fair_teacher_whose_reordered_rows_are_found():
    logits, label = silent_bugs.example()
    assert logits.shape == (len(label), 10) and (logits.argmax(1) == label).mean() > 0.9
    assert "misaligned" not in diagnose(logits, label).codes
    assert "misaligned" in diagnose(logits[::-1].copy(), label).codes
