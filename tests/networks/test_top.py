"""The paper's notation of the top layers, and what each kind of block computes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from monai_e2e.networks import BottleneckUnit, make_top, make_top_block


@pytest.mark.parametrize(
    ("block", "size", "shape"),
    [
        ("[4-4-8]x1", (36, 28), (8, 18, 14)),
        ("[4-4-8]x3", (36, 28), (8, 18, 14)),
        ("6x1", (36, 28), (6, 18, 14)),
        ("6x3", (36, 28), (6, 18, 14)),
        ("[4-4-8]x1", (7, 9), (8, 4, 5)),  # strided convolutions round up
        ("6x1", (7, 9), (6, 3, 4)),  # pooling rounds down
        (" [4 - 4 - 8] x 2 ", (8, 8), (8, 4, 4)),
    ],
)
def test_a_block_halves_the_map_and_tells_its_channels(block, size, shape):
    module, channels = make_top_block(5, block)
    assert module(torch.randn(2, 5, *size)).shape == (2, *shape)
    assert channels == shape[0]


def test_repeats_of_a_residual_block_are_units_and_only_the_first_strides():
    block, _ = make_top_block(5, "[3-4-8]x3")
    assert [type(unit) for unit in block] == [BottleneckUnit] * 3
    strides = [[m.stride[0] for m in unit.residual if isinstance(m, nn.Conv2d)] for unit in block]
    assert strides == [[2, 1, 1], [1, 1, 1], [1, 1, 1]]
    kernels = [[tuple(m.weight.shape) for m in unit.residual if isinstance(m, nn.Conv2d)] for unit in block]
    assert kernels[0] == [(3, 5, 1, 1), (4, 3, 3, 3), (8, 4, 1, 1)]
    assert kernels[1] == kernels[2] == [(3, 8, 1, 1), (4, 3, 3, 3), (8, 4, 1, 1)]


def test_repeats_of_a_vgg_block_are_convolutions_before_one_pooling():
    block, _ = make_top_block(5, "6x2")
    layers = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2 + [nn.MaxPool2d]
    assert [type(layer) for layer in block] == layers
    assert [tuple(block[i].weight.shape) for i in (0, 3)] == [(6, 5, 3, 3), (6, 6, 3, 3)]


@pytest.mark.parametrize("stride", [1, 2])
def test_unit_adds_its_input_before_the_last_relu(stride):
    torch.manual_seed(0)
    unit = BottleneckUnit(8, (3, 4, 8), stride).train()
    x = torch.randn(4, 8, 6, 6)

    def conv_norm(x, conv, stride=1, padding=0):  # a fresh BatchNorm in training: zero mean, unit variance
        return F.batch_norm(
            F.conv2d(x, conv.weight, conv.bias, stride, padding), None, None, training=True, eps=unit.residual[1].eps
        )

    first, second, third = (layer for layer in unit.residual if isinstance(layer, nn.Conv2d))
    out = F.relu(conv_norm(x, first, stride))
    out = conv_norm(F.relu(conv_norm(out, second, padding=1)), third)
    shortcut = x if stride == 1 else conv_norm(x, unit.shortcut[0], 2)
    torch.testing.assert_close(unit(x.clone()), F.relu(out + shortcut))


def test_unit_of_stride_1_must_keep_its_channels():
    with pytest.raises(ValueError, match="5 in and 8 out"):
        BottleneckUnit(5, (3, 4, 8), stride=1)


def test_kernels_start_he_normal_with_zero_biases():
    torch.manual_seed(0)
    block, _ = make_top_block(64, "128x1")
    weight, bias = block[0].weight, block[0].bias
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert weight.abs().max() > 3.5 * weight.std()  # normal, not uniform
    assert not bias.any()


@pytest.mark.parametrize(
    "block",
    [
        *("", "512", "x2", "512x", "512x0", "0x1", "-512x1", "512x1x1", "512*1", "512x1.5"),
        *("[512-512]x1", "[512-512-1024]", "[8-0-8]x1", "[8-8-8]x0", "[8-8-8-8]x1"),
    ],
)
def test_a_block_that_is_no_notation_is_quoted_with_an_example(block):
    with pytest.raises(ValueError, match=r"\[512-512-1024\]x2") as caught:
        make_top_block(5, block)
    assert f"'{block}'" in str(caught.value)


def test_blocks_are_chained_and_numbered():
    top, channels = make_top(5, ["[4-4-8]x1", "6x2"])
    assert [name for name, _ in top.named_children()] == ["block1", "block2"]
    assert channels == 6
    assert top(torch.randn(1, 5, 16, 8)).shape == (1, 6, 4, 2)


def test_training_on_a_heatmap_of_few_channels_does_not_damage_memory(run_code):
    """oneDNN writes past its memory in the gradient of a strided 1×1 convolution of few channels."""
    program = """
import torch
from monai_e2e.networks.top import make_top_block
torch.manual_seed(0)
block = make_top_block(5, "[64-64-128]x2")[0].to(memory_format=torch.channels_last)
for _ in range(40):
    x = torch.rand(8, 5, 8, 6).to(memory_format=torch.channels_last).requires_grad_()
    block(x).square().mean().backward()
"""
    assert run_code(program) == (0, "")
