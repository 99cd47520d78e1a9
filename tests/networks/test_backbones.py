"""Backbones: torchvision's layers and names, the paper's map sizes, and what a feature depends on."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from monai_e2e import networks
from monai_e2e.networks import PatchClassifier, make_backbone

NAMES = ("resnet50", "vgg16")


def on_meta(name: str, **arguments) -> nn.Module:
    with torch.device("meta"):
        return make_backbone(name, **arguments)


def keras_count(module: nn.Module) -> int:
    """Parameters as Keras counts them: BatchNorm's running mean and variance included."""
    return sum(t.numel() for key, t in module.state_dict().items() if not key.endswith("num_batches_tracked"))


def randomized(name: str, width: float = 0.0625) -> nn.Module:
    """A tiny network in evaluation mode whose BatchNorm statistics are those of no fresh network."""
    torch.manual_seed(0)
    network = make_backbone(name, width=width)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


def torchvision_resnet50(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """ResNet-50 "V1.5" up to its last feature map, from torchvision's weights."""

    def conv(x, name, stride=1, padding=0):
        return F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)

    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    x = F.max_pool2d(F.relu(norm(conv(x, "conv1", 2, 3), "bn1")), 3, 2, 1)
    for layer, units in enumerate((3, 4, 6, 3), start=1):
        for unit in range(units):
            at = f"layer{layer}.{unit}"
            stride = 2 if layer > 1 and unit == 0 else 1
            out = F.relu(norm(conv(x, f"{at}.conv1"), f"{at}.bn1"))
            out = F.relu(norm(conv(out, f"{at}.conv2", stride, 1), f"{at}.bn2"))
            out = norm(conv(out, f"{at}.conv3"), f"{at}.bn3")
            if unit == 0:
                x = norm(conv(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
            x = F.relu(out + x)
    return x


def torchvision_vgg16(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    index = 0
    for convolutions in (2, 2, 3, 3, 3):
        for _ in range(convolutions):
            x = F.relu(F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1))
            index += 2
        x, index = F.max_pool2d(x, 2), index + 1
    assert len(state) == 2 * 13
    return x


@pytest.mark.parametrize(("name", "count"), [("resnet50", 23_561_152), ("vgg16", 14_714_688)])
def test_number_of_parameters_is_that_of_the_published_networks(name, count):
    assert keras_count(on_meta(name)) == count


@pytest.mark.parametrize(("name", "reference"), [("resnet50", torchvision_resnet50), ("vgg16", torchvision_vgg16)])
def test_computes_what_torchvision_computes_from_the_same_state_dict(name, reference):
    network, x = randomized(name), torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        features, expected = network(x), reference(network.state_dict(), x)
    assert expected.std() > 1e-4
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("resnet50", (1152, 896), (1, 2048, 36, 28)),
        ("vgg16", (1152, 896), (1, 512, 36, 28)),
        ("resnet50", (224, 224), (1, 2048, 7, 7)),
        ("vgg16", (224, 224), (1, 512, 7, 7)),
        ("resnet50", (225, 250), (1, 2048, 8, 8)),
        ("vgg16", (225, 250), (1, 512, 7, 7)),
    ],
)
def test_feature_map_sizes(name, size, shape):
    backbone = on_meta(name)
    assert backbone(torch.empty(1, 3, *size, device="meta")).shape == shape
    assert backbone.out_channels == shape[1]


@pytest.mark.parametrize("name", NAMES)
def test_width_scales_every_layer(name):
    full, half = on_meta(name).state_dict(), on_meta(name, width=0.5).state_dict()
    assert list(full) == list(half)
    assert all(2 * half[key].shape[0] == full[key].shape[0] for key in full if full[key].ndim)


@pytest.mark.parametrize("name", NAMES)
def test_stages_hold_every_parameter_once_from_input_to_output(name):
    backbone = on_meta(name)
    assert list(backbone.stages) == [f"stage{number}" for number in range(1, 6)]
    staged = [
        id(parameter)
        for modules in backbone.stages.values()
        for module in modules
        for parameter in backbone.get_submodule(module).parameters()
    ]
    assert staged == [id(parameter) for parameter in backbone.parameters()]


@pytest.mark.parametrize("name", NAMES)
def test_each_stage_halves_the_resolution(name):
    backbone = on_meta(name)
    sizes = []
    for modules in backbone.stages.values():
        last = backbone.get_submodule(modules[-1])
        last.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[-1]))
    backbone(torch.empty(1, 3, 256, 256, device="meta"))
    # ResNet's stages end after their stride (its second one with the max-pool in front), VGG's before their pooling.
    assert sizes == ([128, 64, 32, 16, 8] if name == "resnet50" else [256, 128, 64, 32, 16])


@pytest.mark.parametrize(
    ("name", "patch", "offset", "inner"),
    [
        ("vgg16", 320, 64, slice(3, 7)),  # receptive field 212 pixels: centres 112 pixels or more from the edge
        ("resnet50", 544, 32, slice(8, 10)),  # 483 pixels: 256 or more from the edge
    ],
)
def test_a_feature_is_the_same_in_a_patch_and_in_the_whole_image_around_it(name, patch, offset, inner):
    backbone = randomized(name)
    image = torch.randn(1, 3, patch + 2 * offset, patch + 2 * offset)
    with torch.no_grad():
        whole = backbone(image)
        cut = backbone(image[..., offset : offset + patch, offset : offset + patch])
    shift = offset // backbone.stride
    same = whole[..., shift:-shift, shift:-shift]
    torch.testing.assert_close(cut[..., inner, inner], same[..., inner, inner])
    # At the patch's edge the padding with zeros shows: there the two must differ, or this test would prove nothing.
    assert not torch.allclose(cut[..., 0, 0], same[..., 0, 0], rtol=1e-3)


def test_unknown_backbone_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'vgg11'.*resnet50, vgg16, vgg19, densenet121, yaroslavnet, resnet50_keras"):
        PatchClassifier("vgg11")


@pytest.mark.parametrize("width", [0.0, -1.0])
def test_width_must_be_positive(width):
    with pytest.raises(ValueError, match="width"):
        make_backbone("vgg16", width=width)


def test_all_public_names_exist():
    assert [name for name in networks.__all__ if not hasattr(networks, name)] == []
