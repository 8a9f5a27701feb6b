"""The benchmarks compare like with like: every way takes the same step, work is counted right, rows are kept."""

import sys

import pandas as pd
import pytest
import torch
from conftest import says
from torch.testing import assert_close

from kdstudy.core.paths import ROOT

sys.path.insert(0, str(ROOT))

from benchmarks import __main__ as command
from benchmarks import common, crew, engine, plain, side_by_side, stackable, stacked, ways, work
from kdstudy.core.spec import Data, Recipe, Run
from kdstudy.data import registry
from kdstudy.data.dataset import Dataset, Images
from kdstudy.distill import conditions
from kdstudy.train import networks

F64 = torch.float64
registry.DATASETS.pop("benchmark_images")  # other tests list the data sets there are


@pytest.fixture(autouse=True)
def benchmark_images(monkeypatch):
    """The benchmarks' own data set, for these tests alone."""
    monkeypatch.setitem(registry.DATASETS, "benchmark_images", engine.benchmark_images)


@pytest.mark.parametrize("net", ["cnn4", "resnet8"])
@pytest.mark.parametrize("make", [ways.one_by_one, ways.vmap, ways.grouped, ways.unfolded], ids=lambda f: f.__name__)
def test_every_way_takes_the_step_of_the_loop(net, make):
    job = ways.Job(net, 3, dtype=F64, batch=4, side=8)
    (step, weights), (alone, expected) = make(job), ways.loop(job)
    before = {k: v.detach().clone() for k, v in expected().items()}
    for _ in range(2):
        step()
        alone()
    found = weights()
    for name, value in expected().items():
        assert not torch.equal(value, before[name])
        assert_close(found[name].detach(), value, rtol=1e-5, atol=1e-7)


def test_networks_are_walked_as_they_run():
    job = ways.Job("resnet14", 1, dtype=F64, batch=3, side=8)
    net, (x, _) = job.first[0], job.examples()
    assert_close(stackable.forward(net, dict(net.named_parameters()), x, stackable.ALONE), net(x))


def test_a_crew_shares_the_networks():
    assert len(crew.times(ways.Job("cnn4", 3, batch=2, side=8), processes=2, repeats=2)) == 2


def by_hand(into: int, out: int, size: int, side: int) -> int:
    """Multiplications of a convolution of side x side outputs."""
    return into * out * size**2 * side**2


def test_operations_are_those_of_the_layers():
    stages = [(16, 32), (32, 16), (64, 8)]
    image = by_hand(3, 16, 3, 32)
    total = image + 64 * work.CLASSES
    for i, (width, side) in enumerate(stages):
        into = stages[i - 1][0] if i else width
        total += by_hand(into, width, 3, side) + 5 * by_hand(width, width, 3, side)
        total += by_hand(into, width, 1, side) if i else 0
    assert round(total / 1e6) == 41
    assert work.forward_flops("resnet20", 32) == 2 * total
    assert work.flops("resnet20", 32) == 2 * (3 * total - image)


def test_bytes_of_norms_are_those_of_their_pictures():
    numbers = 8 * (4 * 16**2 + 8 * 8**2 + 16 * 4**2)
    assert work.moved("cnn4", 32, 2) == 2 * numbers
    assert work.moved("resnet8", 32, 4) > work.moved("resnet8", 32, 2) > 0


def test_rows_of_the_same_hardware_are_replaced_and_others_stay(tmp_path):
    here = common.machine("cpu")
    other = here | {"hardware": "another"}
    common.keep("part", [other | {"seconds": 1.0}, here | {"seconds": 2.0}], "cpu", tmp_path)
    path = common.keep("part", [here | {"seconds": 3.0}], "cpu", tmp_path)
    assert pd.read_csv(path)["seconds"].tolist() == [1.0, 3.0]
    assert [p.name for p in tmp_path.iterdir()] == ["part.csv"]


def test_timings_stop_at_their_number_or_their_budget():
    calls = []
    assert len(common.times(lambda: calls.append(1), 4)) == 4
    assert len(common.times(lambda: calls.append(1), 4, budget=0.0)) == 1
    assert len(calls) == 5 + 2
    assert [r["repeat"] for r in common.rows({"a": 1}, [0.5, 0.25])] == [0, 1]


def test_unknown_parts_are_refused(capsys):
    with pytest.raises(SystemExit):
        command.options(["--only", "stacked, speed"])
    text = "part: found 'speed', allowed: stacked, side_by_side, precision, ceilings, growth, distil, accuracy"
    assert text in capsys.readouterr().err


def test_sides_that_trained_other_students_give_no_ratio():
    same = [{"test_accuracy": 0.5}]
    stacked.check({"side_by_side": same, "one_by_one": same, "plain_loop": same})
    with pytest.raises(SystemExit, match=says("side by side and one by one differ: no ratio")):
        stacked.check({"side_by_side": [{"test_accuracy": 0.6}], "one_by_one": same, "plain_loop": same})


@pytest.fixture
def pictures() -> Dataset:
    """Bright and dark images, two classes that anything learns."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(64) % 2
    x = (torch.rand(64, 3, 8, 8, generator=g) + 2 * y[:, None, None, None]).half()
    return Dataset("pictures", *[Images(x, y)] * 3, classes=("dark", "bright"), digest="")


def test_the_plain_loop_sees_the_images_of_the_data_set(pictures):
    _, batches = plain.loaders(pictures, 64)
    images = batches.dataset
    seen = torch.stack([images[i][0] for i in range(64)])
    assert_close(seen, pictures.test.x.float(), rtol=0, atol=3 / 255)
    assert [images[i][1] for i in range(4)] == [0, 1, 0, 1]


def test_the_plain_loop_learns(pictures, monkeypatch):
    monkeypatch.setattr(plain, "LOADERS", 0)
    recipe = Recipe((), 3, 16, 0.05, net="cnn4")
    teacher = Run(Data("pictures"), recipe, conditions.make("hard"), 1)
    run = Run(Data("pictures"), recipe, conditions.make("kd", tau=2.0, alpha=0.1), 0, teacher)
    weights = networks.weight_vector(networks.build("cnn4", 3, 2, 1))
    assert plain.student(run, pictures, {teacher.key: weights}, "cpu") > 0.9


@pytest.mark.parametrize("part", ["stacked", "ceilings"])
def test_a_quick_run_writes_rows(part, tmp_path, monkeypatch):
    monkeypatch.setattr(stacked, "EPOCHS", 1)
    monkeypatch.setattr(stacked, "REPEATS", 1)
    command.main(["--quick", "--device", "cpu", "--only", part, "--folder", str(tmp_path)])
    for path in tmp_path.glob("*.csv"):
        frame = pd.read_csv(path)
        assert (frame["seconds"] >= 0).all() and set(common.machine("cpu")) <= set(frame)
    assert (tmp_path / f"{part}.csv").exists()


def test_every_way_is_measured(monkeypatch):
    monkeypatch.setattr(ways, "compiled", ways.loop)
    monkeypatch.setattr(side_by_side, "WAYS", [w for w in side_by_side.WAYS if w[0] != "compiled"])
    found = pd.DataFrame(side_by_side.here("cpu", ways.Job("cnn4", 1, batch=2, side=16), 1))
    assert set(found["way"]) == {"loop", "engine", "grouped", "unfolded", "vmap", "processes"}
    assert (found["flops"] == work.flops("cnn4", 16)).all()


def test_committed_timings_have_what_the_page_needs():
    for path in common.FOLDER.glob("*.csv"):
        assert set(common.machine("cpu")) <= set(pd.read_csv(path)), path.name


def test_the_part_of_the_images_is_balanced_enough():
    data = registry.load(engine.images(train=64, test=32, classes=10))
    assert data.train.x.shape == (64, 3, 32, 32) and len(data.classes) == 10
    assert len(data.test.y.unique()) > 5 and int(data.train.y.max()) < 10
