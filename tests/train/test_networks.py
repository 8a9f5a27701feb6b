"""Networks for images: sizes as published, names, weights as one vector."""

import pytest
import torch
from conftest import says
from torch.testing import assert_close

from kdstudy.train import networks


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet8", 0.08), ("resnet20", 0.28), ("resnet32", 0.47), ("resnet56", 0.86), ("resnet110", 1.74),
     ("wrn-16-2", 0.70), ("wrn-40-1", 0.57), ("wrn-40-2", 2.26)],
)  # fmt: skip
def test_parameters_are_as_many_as_published_for_100_classes(name, millions):
    """Tian et al. 2020, table 9, which writes wrn_16_2 and so on."""
    net = networks.build(name, 3, 100, 0)
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("name", ["cnn4", "resnet8", "wrn-10-2"])
@pytest.mark.parametrize("size", [28, 32, 64])
def test_pictures_in_logits_out(name, size):
    net = networks.build(name, 1, 7, 0)
    assert net(torch.randn(3, 1, size, size)).shape == (3, 7)
    assert networks.logit_rows(net).shape[0] == 7


def test_a_torchvision_network():
    net = networks.build("torchvision:resnet18", 3, 5, 0)
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 5)
    assert networks.logit_rows(net).shape == (5, 512)


def test_first_weights_belong_to_the_seed_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, two, other = (networks.weight_vector(networks.build("resnet8", 3, 5, seed)) for seed in (0, 0, 1))
    assert (one == two).all() and not (one == other).all()
    assert (torch.random.get_rng_state() == before).all()


def test_weights_as_one_vector_come_back():
    trained, fresh = networks.build("wrn-10-1", 2, 5, 0), networks.build("wrn-10-1", 2, 5, 1)
    x = torch.randn(8, 2, 12, 12)
    trained(x)  # moves the running statistics
    filled = networks.with_weights(fresh, networks.weight_vector(trained))
    assert_close(filled.eval()(x), trained.eval()(x), rtol=0, atol=0)


DEPTHS = {"resnet21": "'resnet20', of depth 6n + 2", "wrn-15-2": "'wrn-16-2', of depth 6n + 4 and its width"}
FORMS = "'cnn{}', 'resnet{}', 'wrn-{}-{}', 'torchvision:{}', 'own:{}'"


@pytest.mark.parametrize("name", [*DEPTHS, "wrn-16", "vgg8", "resnet20 ", "resnet020", "cnn"])
def test_an_unknown_network_is_refused(name):
    with pytest.raises(ValueError, match=says(f"net: found {name!r}, allowed: {DEPTHS.get(name, FORMS)}")):
        networks.build(name, 3, 10, 0)


def test_torchvision_is_asked_for_what_it_has():
    message = "torchvision model: found 'resnet19', allowed: a name of torchvision.models.list_models"
    with pytest.raises(ValueError, match=says(message)):
        networks.build("torchvision:resnet19", 3, 10, 0)
    with pytest.raises(ValueError, match=says("channels for torchvision:resnet18: found 1, allowed: 3")):
        networks.build("torchvision:resnet18", 1, 10, 0)


def test_logits_without_a_linear_layer_have_no_rows():
    with pytest.raises(ValueError, match="^SqueezeNet has no linear layer, whose rows are what it knows of classes$"):
        networks.logit_rows(networks.build("torchvision:squeezenet1_1", 3, 10, 0))
