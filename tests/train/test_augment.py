"""Views of images against the obvious crop, and a teacher's kept logits against calling it."""

import numpy as np
import pictures
import pytest
import reference_images
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from kdstudy.train import augment, cnn, networks


@settings(max_examples=100)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_a_view_is_a_crop_of_a_field_of_zeros(examples, channels, height, width, seed):
    x = torch.randn(examples, channels, height, width, generator=torch.Generator().manual_seed(seed))
    view = augment.draw_views(seed, 0, examples)
    looked = augment.crop(x, view)
    slow = torch.stack([reference_images.seen(image, *v) for image, v in zip(x, view.tolist())])
    assert_close(looked, slow, rtol=0, atol=0)


def test_all_162_views_are_drawn_about_equally_often():
    view = augment.draw_views(0, 0, 162_000)
    assert view.min() == 0 and view.max(0).values.tolist() == [8, 8, 1]
    counts = (view @ torch.tensor([18, 2, 1])).bincount(minlength=162).double()
    assert ((counts - 1000).abs() < 5 * 1000**0.5).all()


def test_views_belong_to_seed_and_epoch():
    one, again, epoch, seed = (augment.draw_views(*at, 500) for at in ((0, 0), (0, 0), (0, 1), (1, 0)))
    assert (one == again).all()
    for other in (epoch, seed):
        assert 0.005 < (one == other).all(1).double().mean() + 0.005 < 0.05


def test_what_is_shown_lies_in_memory_as_convolutions_want_it():
    x = torch.randn(6, 3, 8, 8).half()
    for view in (None, augment.draw_views(0, 0, 6)):
        shown = augment.shown(x, torch.tensor([4, 1]), view, torch.bfloat16)
        assert shown.dtype == torch.bfloat16 and shown.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def teacher():
    """A trained network in float64, and the data it was trained on."""
    data, run = pictures.pictures(), pictures.run(net="resnet8")
    weights = cnn.train([run], data, {}, keep_logits=True)[0].arrays["weights"]
    return networks.with_weights(cnn.network(run, data), torch.from_numpy(weights)), data


def test_kept_logits_are_those_of_calling_the_teacher(teacher, cache):
    net, data = teacher
    for epoch in (0, 1):
        kept = torch.from_numpy(np.array(augment.cached_logits(net, data.train.x, 3, epoch))).double()
        assert_close(kept, reference_images.teacher_says(net, data, 3, epoch), rtol=2**-10, atol=1e-6)
        order, view = torch.randperm(96), augment.draw_views(3, epoch, 96)
        for index in order.split(16):  # as a loop that calls the teacher at each step would
            with torch.no_grad():
                called = net.eval()(augment.shown(data.train.x, index, view, torch.float64))
            assert_close(kept[index], called, rtol=2**-10, atol=1e-6)


def test_they_are_written_once_in_half_precision_and_mapped(teacher, cache, monkeypatch):
    net, data = teacher
    first = augment.cached_logits(net, data.train.x, 0, 0)
    assert isinstance(first, np.memmap) and first.dtype == np.float16 and first.shape == (96, 6)
    monkeypatch.setattr(augment, "predict", lambda *_: pytest.fail("asked again"))
    assert (augment.cached_logits(net, data.train.x, 0, 0) == first).all()


def test_another_teacher_or_other_images_have_a_file_of_their_own(teacher, cache):
    net, data = teacher
    augment.cached_logits(net, data.train.x, 0, 0)
    augment.cached_logits(net, data.train.x + 1, 0, 0)
    with torch.no_grad():
        net.classifier.bias += 1
    augment.cached_logits(net, data.train.x, 0, 0)
    assert len([*(cache / "views").glob("*/0-0.npy")]) == 3
    assert not [*(cache / "views").glob("*/*.part")]


def test_a_half_written_file_is_never_read(teacher, cache, monkeypatch):
    net, data = teacher
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(augment.np, "save", interrupted)
        augment.cached_logits(net, data.train.x, 0, 0)
    assert not [*(cache / "views").glob("*/0-0.npy")]
    kept = torch.from_numpy(np.array(augment.cached_logits(net, data.train.x, 0, 0))).double()
    assert_close(kept, reference_images.teacher_says(net, data, 0, 0), rtol=2**-10, atol=1e-6)


def interrupted(stream, _):
    """The first bytes, then Ctrl-C."""
    stream.write(b"half")
    raise KeyboardInterrupt


def test_being_asked_leaves_a_network_in_its_mode(teacher):
    net, data = teacher
    for training in (True, False):
        augment.predict(net.train(training), data.train.x)
        assert net.training == training
