"""Convolutional networks side by side against the plain loop, pairing, determinism, precision."""

import pictures
import pytest
import reference_images
import torch
from conftest import says
from torch.testing import assert_close

from kdstudy.train import cnn, networks, steppers

pytestmark = pytest.mark.usefixtures("cache")
BOTH = [steppers.OneByOne, steppers.Stacked]


@pytest.fixture(scope="module")
def data():
    return pictures.pictures()


@pytest.mark.parametrize("stepper", BOTH)
@pytest.mark.parametrize("augment", [True, False])
def test_side_by_side_equals_the_loop(data, augment, stepper):
    runs = pictures.mixed(augment=augment)[augment::2]  # between them, every condition
    taught = pictures.teach(runs, data)
    for result in cnn.train(runs, data, taught, keep_logits=True, stepper=stepper):
        alone = reference_images.train_one(result.run, data, taught)(data.test.x.double()).detach()
        assert_close(torch.from_numpy(result.arrays["logits_test"]), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stepper", BOTH)
@pytest.mark.parametrize("net", ["resnet8", "wrn-10-1"])
def test_residual_networks_side_by_side_equal_the_loop(data, net, stepper):
    runs = [pictures.run("hard", net=net, epochs=1), pictures.run("kd", net=net, epochs=1, tau=4.0)]
    taught = pictures.teach(runs, data)
    for result in cnn.train(runs, data, taught, keep_logits=True, stepper=stepper):
        alone = reference_images.train_one(result.run, data, taught)(data.test.x.double()).detach()
        assert_close(torch.from_numpy(result.arrays["logits_test"]), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_run_does_not_depend_on_its_neighbours_and_twice_is_bit_identical(data, dtype):
    runs = pictures.mixed(dtype=dtype)[::3]
    taught = pictures.teach(runs, data)
    together = {r.run.key: r for r in cnn.train(runs, data, taught)}
    for run in runs[::3]:
        (alone,) = cnn.train([run], data, taught)
        assert alone.metrics == together[run.key].metrics
        assert all((a == together[run.key].arrays[name]).all() for name, a in alone.arrays.items())


@pytest.mark.parametrize("stepper", BOTH)
def test_bfloat16_stays_near_float32(data, stepper):
    taught = pictures.teach([pictures.run("kd")], data)
    half, full = (
        cnn.train([pictures.run("kd", dtype=d, epochs=4)], data, taught, keep_logits=True, stepper=stepper)[0]
        for d in ("bfloat16", "float32")
    )
    far = cnn.train([pictures.run("kd", 1, dtype="float32", epochs=4)], data, taught | {
        pictures.run("kd", 1).teacher.key: next(iter(taught.values()))}, keep_logits=True)[0]  # fmt: skip
    near = abs(half.arrays["logits_test"] - full.arrays["logits_test"]).mean()
    assert 0 < near < 0.1 * abs(far.arrays["logits_test"] - full.arrays["logits_test"]).mean()


def test_conditions_of_one_seed_share_weights_order_and_views(data):
    same = [pictures.run("hard"), pictures.run("label_smoothing", epsilon=0.0), pictures.run("kd", alpha=0.0, tau=5.0)]
    first, *others = cnn.train(same, data, pictures.teach(same, data), keep_logits=True)
    for other in others:
        assert_close(first.arrays["logits_test"], other.arrays["logits_test"], rtol=1e-8, atol=1e-9)
    (seed,) = cnn.train([pictures.run(seed=1)], data, {}, keep_logits=True)
    (still,) = cnn.train([pictures.run(augment=False)], data, {}, keep_logits=True)
    for other in (seed, still):
        assert abs(other.arrays["logits_test"] - first.arrays["logits_test"]).max() > 0.05


def test_what_a_run_leaves(data):
    run = pictures.run("kd", epochs=3)
    taught = pictures.teach([run], data)
    (result,) = cnn.train([run], data, taught, keep_logits=True)
    arrays, metrics = result.arrays, result.metrics
    assert arrays["curves"].shape == (3, 2) and arrays["w"].shape == (3, 96)
    assert arrays["curves"][-1].tolist() == [metrics["validation_accuracy"], metrics["validation_nll"]]
    assert {"test_agreement", "target_mass", "student_mass"} <= metrics.keys()
    net = networks.with_weights(cnn.network(run, data), torch.from_numpy(arrays["weights"])).eval()
    with torch.no_grad():
        assert_close(net(data.test.x.double()), torch.from_numpy(arrays["logits_test"]), rtol=1e-4, atol=1e-5)
    assert arrays["rows"].shape == (6, 8)
    assert "weights" not in cnn.train([run], data, taught)[0].arrays


def test_without_epochs_a_network_stays_as_it_was_drawn(data):
    (result,) = cnn.train([pictures.run(epochs=0)], data, {}, keep_logits=True)
    drawn = cnn.network(result.run, data)
    assert_close(torch.from_numpy(result.arrays["weights"]), networks.weight_vector(drawn), rtol=0, atol=0)


def test_what_does_not_stack_is_refused(data):
    message = "a stack needs runs of one data set, network, seed, epochs and batch size"
    for other in (pictures.run(seed=1), pictures.run(net="cnn3"), pictures.run(augment=False)):
        with pytest.raises(ValueError, match=says(message)):
            cnn.train([pictures.run(), other], data, {})


def test_a_teacher_without_weights_is_refused_where_images_are_augmented(data):
    run = pictures.run("kd")
    taught = {k: {n: v for n, v in left.items() if n != "weights"} for k, left in pictures.teach([run], data).items()}
    message = (
        f"teacher {run.teacher.key} of net 'cnn3': found no weights, which logits for augmented images need; allowed: "
        "a teacher whose net is one of kdstudy.train.networks, or no `augment`"
    )
    with pytest.raises(ValueError, match=says(message)):
        cnn.train([run], data, taught)
