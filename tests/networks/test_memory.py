"""Activations computed again: the same results from less memory."""

import copy

import pytest
import torch
from torch import nn

from monai_e2e.networks import BACKBONES, PatchClassifier, WholeImageClassifier
from monai_e2e.networks.memory import checkpoint_activations

CHANNELS = {name: backbone.image_channels for name, backbone in BACKBONES.items()}


def network(name: str) -> WholeImageClassifier:
    torch.manual_seed(0)
    return WholeImageClassifier(PatchClassifier(name, width=0.0625), ["[4-4-8]x2", "8x1"])


def step(model: nn.Module, name: str) -> tuple[torch.Tensor, int]:
    """One training step; returns the loss and the bytes that autograd kept between forward and backward."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    image = torch.randn(2, CHANNELS[name], 256, 256)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = nn.functional.cross_entropy(model.train()(image), torch.tensor([0, 1]))
    total = sum(kept.values())
    loss.backward()
    return loss.detach(), total


@pytest.mark.parametrize("name", BACKBONES)
def test_loss_gradients_and_running_statistics_are_the_same_with_less_kept_for_the_backward_pass(name):
    plain = network(name)
    saving = checkpoint_activations(copy.deepcopy(plain))
    (loss, kept), (same, kept_by_saving) = step(plain, name), step(saving, name)
    assert kept_by_saving < 0.6 * kept
    assert torch.equal(loss, same)
    for (key, first), second in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(first.grad, second.grad, msg=key)
    for key, value in plain.state_dict().items():
        assert torch.equal(value, saving.state_dict()[key]), key
    assert list(plain.state_dict()) == list(saving.state_dict())


def test_frozen_layers_keep_nothing_and_evaluation_is_the_same():
    plain = network("resnet50")
    saving = checkpoint_activations(copy.deepcopy(plain))
    image = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        assert torch.equal(plain.eval()(image), saving.eval()(image))
    for parameter in saving.backbone.parameters():
        parameter.requires_grad_(False)
    step(saving, "resnet50")
    assert all(parameter.grad is None for parameter in saving.backbone.parameters())
    assert all(parameter.grad is not None for parameter in saving.top.parameters())


def test_it_can_be_left_off():
    plain = network("vgg16")
    assert checkpoint_activations(plain, enabled=False) is plain
    assert "forward" not in plain.backbone.features.__dict__
