"""A diagnosis that is made batch by batch is that of the whole arrays, as far as it says so."""

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from kdstudy import Diagnosis, diagnose
from kdstudy.diagnosis import Unusable

N, C, TAU = 3000, 12, 3.0
EXACT = (
    "examples left_out constant zero highest accuracy chance kappa z histogram chance_high mass under confidence sure"
)


def teacher(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that know which classes are alike, labels, and a student's logits."""
    rng = np.random.default_rng(seed)
    y, means = rng.integers(C, size=n), 3 * np.eye(C) + np.random.default_rng(9).normal(size=(C, C))
    v = means[y] + 1.5 * rng.normal(size=(n, C))
    return v.astype(np.float32), y, (0.5 * v + rng.normal(size=(n, C))).astype(np.float32)


def running(*arrays: np.ndarray, batch: int = 70, **options: object) -> Diagnosis:
    d = Diagnosis(C, tau=TAU, **options)
    for i in range(0, len(arrays[0]), batch):
        d.update(*(a[i : i + batch] for a in arrays))
    return d


def assert_exact(of_stream, of_whole) -> None:
    """What sums over all rows give is that of the whole arrays."""
    for name in EXACT.split():
        assert of_stream.facts["signals"][name] == pytest.approx(of_whole.facts["signals"][name], rel=1e-9), name
    for level in of_whole.levels:
        for name in ("share", "mass", "entropy", "label_largest"):
            if name in of_whole.levels[level]:
                assert of_stream.levels[level][name] == pytest.approx(of_whole.levels[level][name], rel=1e-6), name


def test_it_is_diagnose_while_all_rows_are_kept():
    v, y, z = teacher()
    assert running(v, y, z).compute().as_dict() == diagnose(v, y, student_logits=z, tau=TAU).as_dict()


def test_beyond_that_sums_are_exact_and_the_rest_is_within_the_error_that_it_states():
    v, y, z = teacher()
    v[[5, 2900]], v[7] = 0.0, np.nan  # few rows that a sample would miss
    got, whole = running(v, y, z, rows=600).compute(), diagnose(v, y, student_logits=z, tau=TAU)
    assert_exact(got, whole)
    assert got.codes == whole.codes and {"zero_rows", "non_finite"} <= set(got.codes)
    assert (got.facts["examples"], got.facts["rows_left_out"]) == (N, 1)
    assert "a sample of 600: a share of rows is within 0.041" in got.facts["notes"][-1]
    found = {f.code: f.evidence for f in got.findings}
    assert found["zero_rows"]["which"] == "5, 2900" and found["non_finite"]["first_rows"] == [7]
    for name in ("student_accuracy", "teacher_accuracy", "mass_middle", "structure"):
        assert abs(got.facts["signals"][name] - whole.facts["signals"][name]) < 600**-0.5, name
    for level in ("domain", "instance"):
        width, wide = (np.subtract(d.levels[level]["share_high"], d.levels[level]["share_low"]) for d in (got, whole))
        assert (np.abs(np.log(width / wide)) < 1).all()


def test_the_sample_is_uniform_and_bounded():
    rows, tries, times = 50, 80, np.zeros(400)
    for seed in range(tries):
        v, y, _ = teacher(400, seed)
        d = running(v, y, batch=90, rows=rows)
        times[d._sample()["place"]] += 1
        assert sum(len(part["key"]) for part in d._kept) <= 2 * rows
    expected = tries * rows / 400
    chi_square = ((times - expected) ** 2).sum() / (expected * (1 - rows / 400))
    assert times.sum() == tries * rows and abs(chi_square - 400) < 5 * 800**0.5


def test_two_that_are_merged_are_one():
    v, y, z = teacher()
    for rows in (None, 500):
        one, two = running(v[:1000], y[:1000], z[:1000], rows=rows), running(v[1000:], y[1000:], z[1000:], rows=rows)
        one.merge_state(two)
        whole = diagnose(v, y, student_logits=z, tau=TAU)
        if rows is None:
            assert one.compute().as_dict() == whole.as_dict()
        assert_exact(one.compute(), whole)
    one.reset()
    assert one.seen == 0
    with pytest.raises(Unusable, match=r"call update\(teacher_logits, labels\) before compute"):
        one.compute()
    with pytest.raises(Unusable, match="found 3 classes"):
        one.merge_state(Diagnosis(3))


def _worker(rank: int, address: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    v, y, z = teacher()
    mine, whole = (slice(0, 2000), slice(2000, N))[rank], diagnose(v, y, student_logits=z, tau=TAU)
    d = running(v[mine], y[mine], z[mine])
    assert d.compute().as_dict() == whole.as_dict()
    assert d.seen == (2000, 1000)[rank]
    assert_exact(running(v[mine], y[mine], z[mine], rows=500).compute(), whole)
    nothing = running(v[: N * rank], y[: N * rank])  # of one of them
    assert nothing.compute().facts["examples"] == N
    distributed.destroy_process_group()


def test_two_processes_reduce_to_one(tmp_path):
    multiprocessing.spawn(_worker, (str(tmp_path / "meet"),), nprocs=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tokens_pixels_and_mixed_labels(dtype):
    v, y, _ = (torch.from_numpy(a) for a in teacher(240))
    v, y[::7] = v.to(dtype), -100
    tokens, pixels = (v.view(6, 40, C), y.view(6, 40)), (v.view(6, 5, 8, C).movedim(-1, 1), y.view(6, 5, 8))
    mixed = 0.7 * torch.nn.functional.one_hot(y.clamp(min=0), C) + 0.3 / C
    for given, labels in (((v, y), y), (tokens, y), (pixels, y), ((v, mixed), y.clamp(min=0))):
        d = Diagnosis(C)
        d.update(*given)
        want = diagnose(v[labels >= 0], labels[labels >= 0])
        assert (d.compute().codes, d.compute().levels) == (want.codes, want.levels)


@pytest.mark.parametrize(
    ("logits", "labels", "student", "said"),
    [
        (
            torch.zeros(4, 3),
            torch.zeros(4),
            None,
            r"teacher_logits: found \(4, 3\) with labels \(4,\), allowed: \(B, 12",
        ),
        (torch.zeros(4, C), torch.full((4,), 0.5), None, "labels: found fractions, allowed: whole numbers 0 to 11"),
        ("logits", torch.zeros(4), None, "found no arrays of numbers"),
        (torch.zeros(4, C), torch.zeros(5), None, r"with labels \(5,\)"),
        (torch.zeros(4, C), torch.full((4,), C), None, "labels: found 12 to 12, allowed: 0 to 11, or -100"),
        (torch.zeros(4, C), torch.zeros(4), torch.zeros(4, 3), "student_logits: found"),
    ],
)
def test_what_does_not_fit_is_said(logits, labels, student, said):
    with pytest.raises(Unusable, match=said):
        Diagnosis(C).update(logits, labels, student)
    d = running(*teacher(50))
    with pytest.raises(Unusable, match="student_logits: found in some batches only"):
        d.update(*teacher(50)[:2])
