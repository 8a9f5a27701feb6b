"""Files as people bring them, and what is said: faults of some rows, top-k, tokens, pixels, formats."""

import json

import numpy as np
import pytest
import torch
from healthy_teacher import V, Y, healthy
from logit_files import call, strict

from kdstudy import diagnose
from kdstudy.diagnosis import files, formats
from kdstudy.diagnosis.arrays import OnDisk
from kdstudy.diagnosis.inputs import Unusable
from kdstudy.diagnosis.statistics import shares

RNG = np.random.default_rng(3)
WIDE, LABELS = healthy(600)
TOP = np.argsort(-WIDE, 1)[:, :4]
LOGP = torch.tensor(WIDE).double().log_softmax(-1).numpy()


def dense(fill: float, values: np.ndarray = WIDE) -> np.ndarray:
    """The four largest of each row, and `fill`."""
    out = np.full(values.shape, fill)
    np.put_along_axis(out, TOP, np.take_along_axis(values, TOP, 1), 1)
    return out


def spoilt(rows: slice, values: object) -> np.ndarray:
    out = V.copy()
    out[rows] = values
    return out


SWAPPED = np.where(Y == 3, 8, np.where(Y == 8, 3, Y))
PADDED = np.concatenate([np.append(Y[i : i + 20], [0] * 20) for i in range(0, 600, 20)])
NAMED = np.argsort([str(c) for c in range(12)])  # as a folder lists "0", "1", "10", ...
BACKGROUND = np.concatenate([RNG.standard_normal((1200, 1)) - 1, V], 1)
RANKS = np.concatenate([np.arange(rank, 1200, 4) for rank in range(4)])
USED = np.array([1, 4, 7, 8, 11])
SUBSET = np.isin(Y, USED)
CASES = {
    "top-k, 0": (dense(0.0), LABELS, "truncated_top_k"),
    "top-k, -100": (dense(-100.0), LABELS, "truncated_top_k"),
    "top-k, -1e9": (dense(-1e9), LABELS, "truncated_top_k"),
    "top-k, -inf": (dense(-np.inf), LABELS, "truncated_top_k"),
    "top-k of log p": (dense(-20.0, LOGP), LABELS, "truncated_top_k"),
    "one row of 0": (spoilt(slice(7, 8), 0), Y, "zero_rows"),
    "the last batch 0": (spoilt(slice(-18, None), 0), Y, "zero_rows"),
    "a batch twice": (spoilt(slice(64, 128), V[:64]), Y, "repeated_rows"),
    "a part in another order": (spoilt(slice(300, 500), V[300:500][::-1]), Y, "partly_misaligned"),
    "two classes exchanged": (V, SWAPPED, "classes_exchanged"),
    "two classes take all": (0.5 * V + 9 * np.isin(np.arange(12), (4, 7)) * [[1.0]], Y, "collapsed_predictions"),
    "divided by 4": (V / 4, Y, "already_softened"),
    "divided by 8": (V / 8, Y, "already_softened"),
    "next tokens": (V, np.roll(Y, 1), "token_shift"),
    "padding": (np.concatenate([np.concatenate([V[i : i + 20], V[Y == 0][:20]]) for i in range(0, 600, 20)]), PADDED,
                "padding_as_rows"),
    "classes in the order of a folder": (V[:, NAMED], Y, "misaligned"),
    "a background class": (BACKGROUND, Y, "misaligned"),
    "ranks one after another": (V[RANKS], Y, "misaligned"),
    "labels of a subset": (V[SUBSET], np.searchsorted(USED, Y[SUBSET]), "misaligned"),
    "labels of some rows ignored": (V, np.where(np.arange(1200) % 7, Y, 255), "healthy"),
    "positions, the prompt ignored": (V.reshape(30, 40, 12), np.where(np.arange(40) < 10, -100, Y.reshape(30, 40)),
                                      "healthy"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_named(case):
    v, y, code = CASES[case]
    assert code in diagnose(v, y).codes


def test_labels_of_a_subset_are_given_their_columns_and_no_others():
    [found] = diagnose(V[SUBSET], np.searchsorted(USED, Y[SUBSET])).findings
    assert found.evidence["labels_used"] == [*range(5)] and found.evidence["columns"] == USED.tolist()


MULTI = (RNG.random((1200, 12)) < 0.2).astype(int)
REFUSED = {
    "values of the largest alone": (np.take_along_axis(WIDE, TOP, 1), LABELS, "columns are no classes: give their"),
    "several labels to a row": (V, MULTI, "this is a multi-label task"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_needs_more_or_is_of_another_task_is_refused(case):
    v, y, why = REFUSED[case]
    with pytest.raises(Unusable, match=why):
        diagnose(v, y)


def test_remedies_work_when_typed():
    columns = np.random.default_rng(0).permutation(12)
    for v, y in ((V, np.roll(Y, 1)), (V[::-1], Y), (V[:, columns], Y), (V, SWAPPED)):
        [remedy] = [f.evidence["remedy"] for f in diagnose(v, y).findings if "remedy" in f.evidence]
        space = {"teacher_logits": v.copy(), "np": np}
        exec(remedy, space)
        assert np.mean(space["teacher_logits"].argmax(1) == y) > 0.9


def test_values_and_classes_are_the_rows_that_they_come_from():
    one = diagnose(np.take_along_axis(LOGP, TOP, 1), LABELS, topk_indices=TOP, num_classes=12)
    assert one.ok and "truncated_top_k" in one.codes
    assert one.levels["universe"]["mass"][1] == pytest.approx(diagnose(WIDE, LABELS).levels["universe"]["mass"][1])


def test_positions_are_rows_and_those_without_a_label_are_left_out():
    y, v = Y.reshape(30, 40).copy(), V.reshape(30, 40, 12)
    y[:, 30:] = -100
    wanted = diagnose(v[:, :30].reshape(-1, 12), y[:, :30].ravel()).levels
    assert diagnose(v, y).levels == diagnose(np.moveaxis(v, 2, 1)[..., None], y[..., None]).levels == wanted
    assert diagnose(v, Y.reshape(30, 40), mask=y != -100).levels == wanted


def test_a_student_of_another_vocabulary():
    found = diagnose(V, Y, student_logits=np.pad(V, ((0, 0), (0, 3)), constant_values=-9))
    assert found.ok and {f.code: f for f in found.findings}["other_vocabulary"].evidence["same_column"] == 1


def test_class_sums_in_parts_are_those_of_all(monkeypatch):
    one = diagnose(V, Y).levels
    monkeypatch.setattr(shares, "MEMORY", 8 * 12 * 6 * 50)
    two = diagnose(V, Y).levels
    for level in one:
        for name in ("share", "share_low", "share_high"):
            assert two[level][name] == pytest.approx(one[level][name], abs=1e-9)


def write(path: object) -> None:
    """The logits in the format of the suffix, under names of people's own."""
    logits, label = torch.tensor(V), torch.tensor(Y)
    if path.suffix == ".pt":
        torch.save({"logits": logits, "label": label}, path)
    elif path.suffix == ".npy":
        np.save(path, V)
        np.save(path.with_name("labels.npy"), Y)
    else:
        path.write_text("\n".join(json.dumps({"logits": v.tolist(), "label": int(y)}) for v, y in zip(V, Y)))


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".jsonl"])
def test_formats_and_names_that_people_use(tmp_path, suffix):
    write(tmp_path / f"my{suffix}")
    found = strict(call(tmp_path / f"my{suffix}", "--json").stdout)
    assert found["levels"]["universe"]["mass"] == pytest.approx(diagnose(V, Y).levels["universe"]["mass"])


def test_large_arrays_stay_on_disk_and_are_the_same(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", teacher_logits=V, labels=Y)
    monkeypatch.setattr(formats, "LARGE", 1000)
    arrays, _ = files.read(str(tmp_path / "a.npz"))
    assert isinstance(arrays["teacher_logits"], OnDisk)
    assert diagnose(**arrays).levels == diagnose(V, Y).levels
