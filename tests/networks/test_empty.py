"""Networks as shapes alone."""

import torch
from torch import nn

from monai_e2e.networks import make_classifier
from monai_e2e.networks.empty import without_numbers


def test_a_network_without_numbers_has_shapes_alone_and_draws_none():
    before = torch.get_rng_state()
    with without_numbers():
        network = make_classifier(backbone="vgg16", width=0.125, top_blocks=["64x1"])
    assert all(value.is_meta for value in network.parameters())
    assert network.head.weight.shape == (2, 64)
    assert torch.equal(torch.get_rng_state(), before)
    assert not nn.Linear(2, 3).weight.is_meta
