"""From patch classifier to whole-image classifier: shared layers, sizes of the paper's Table 2, heatmap windows."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from monai_e2e.errors import UserError
from monai_e2e.handlers import StagedTraining
from monai_e2e.networks import (
    PatchClassifier,
    PatchHeatmap,
    WholeImageClassifier,
    initialize,
    read_state,
)

BACKBONE_COUNT = {"resnet50": 23_561_152, "resnet50_keras": 23_587_712, "vgg16": 14_714_688, "yaroslavnet": 5_901_792}


class Row(NamedTuple):
    """A row of the paper's Table 2 at 1152 × 896."""

    backbone: str
    blocks: list[str]
    maps: list[tuple[int, int, int]]  # of the backbone, the heatmap before and after its max-pooling, each block
    top: int  # parameters of all that follows the backbone
    total: int  # with the author's own backbone
    choices: dict[str, Any] = {}  # noqa: RUF012 (never written to)


HEATMAP, FC = [(5, 30, 22)] * 2, {"heatmap": {"max_pool": 5}, "shortcut": True}
ROWS = {
    1: Row(
        "resnet50", ["[512-512-2048]x1"] * 2, [(2048, 36, 28), (2048, 18, 14), (2048, 9, 7)], 17_356_802, 40_944_514
    ),
    2: Row(
        "resnet50", ["[512-512-1024]x2"] * 2, [(2048, 36, 28), (1024, 18, 14), (1024, 9, 7)], 17_354_754, 40_942_466
    ),
    3: Row(
        "resnet50",
        ["[256-256-512]x3", "[128-128-256]x3"],
        [(2048, 36, 28), (512, 18, 14), (256, 9, 7)],
        4_827_906,
        28_415_618,
    ),
    4: Row("vgg16", ["512x3"] * 2, [(512, 36, 28), (512, 18, 14), (512, 9, 7)], 14_172_162, 28_886_850),
    5: Row("vgg16", ["512x1"] * 2, [(512, 36, 28), (512, 18, 14), (512, 9, 7)], 4_724_738, 19_439_426),
    6: Row("vgg16", ["256x1", "128x1"], [(512, 36, 28), (256, 18, 14), (128, 9, 7)], 1_476_738, 16_191_426),
    7: Row("vgg16", ["[512-512-1024]x2"] * 2, [(512, 36, 28), (1024, 18, 14), (1024, 9, 7)], 14_995_458, 29_710_146),
    8: Row(
        "resnet50",
        ["[512-512-1024]x2"] * 2,
        [(2048, 36, 28), *HEATMAP, (1024, 15, 11), (1024, 8, 6)],
        14_226_951,
        37_814_663,
        {"heatmap": {}},
    ),
    9: Row("resnet50", ["FC64", "FC32"], [(2048, 36, 28), (5, 30, 22), (5, 6, 4)], 20_761, 23_608_473, FC),
    10: Row("vgg16", ["FC64", "FC32"], [(512, 36, 28), (5, 30, 22), (5, 6, 4)], 13_081, 14_727_769, FC),
    # The author's own model after the DREAM challenge's winner, not in the table.
    "YaroslavNet": Row(
        "yaroslavnet",
        ["FC16", "FC8"],
        [(512, 18, 14), (5, 16, 12), (5, 3, 2)],
        3_373,
        5_905_165,
        {"heatmap": {"pool_size": 3, "max_pool": 5}, "shortcut": True},
    ),
}


def keras_count(*modules: nn.Module) -> int:
    tensors = [item for module in modules for item in module.state_dict().items()]
    return sum(tensor.numel() for key, tensor in tensors if not key.endswith("num_batches_tracked"))


def tiny_patch_net(backbone: str = "vgg16", **arguments) -> PatchClassifier:
    torch.manual_seed(0)
    return PatchClassifier(backbone, **{"width": 0.0625, **arguments})


def tiny_whole_net(backbone: str = "vgg16", **arguments) -> WholeImageClassifier:
    return WholeImageClassifier(tiny_patch_net(backbone), ["[4-4-8]x2", "8x1"], **arguments)


#: Choices of a tiny whole-image network, and sides of the images that they are for.
TOPS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "convolutional": ({"top_blocks": ["[4-4-8]x2", "8x1"]}, (128, 160)),
    "heatmap": ({"top_blocks": ["[4-4-8]x2", "8x1"], "heatmap": {"pool_size": 2}}, (192, 160)),
    "heatmap, pooled": ({"top_blocks": ["8x1"], "heatmap": {"pool_size": 2, "max_pool": 2}}, (192, 160)),
    "heatmap, FC": (
        {"top_blocks": ["FC6", "FC4"], "heatmap": {"pool_size": 2, "max_pool": 2}, "shortcut": True},
        (192, 160),
    ),
    "FC": ({"top_blocks": ["FC6"]}, (64, 96)),
    "convolutional, FC": ({"top_blocks": ["8x1", "FC6", "FC4"], "shortcut": True}, (128, 160)),
}


def tiny_network(top: str, backbone: str = "vgg16", patch_net: PatchClassifier | None = None) -> WholeImageClassifier:
    choices, size = TOPS[top]
    return WholeImageClassifier(patch_net or tiny_patch_net(backbone), image_size=size, **choices)


def image_for(top: str, channels: int = 3, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, channels, *TOPS[top][1], generator=torch.Generator().manual_seed(1))


def settled(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, its averages those of random images, so that its logits are of ordinary size."""
    image = torch.randn(8, next(network.backbone.parameters()).shape[1], 192, 160)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.backbone.train()(image)
    return network.eval()


@pytest.mark.parametrize("row", ROWS)
def test_table_2_on_a_full_size_image(row):
    backbone, blocks, maps, top_count, _, choices = ROWS[row]
    with torch.device("meta"):
        network = WholeImageClassifier(PatchClassifier(backbone), blocks, image_size=(1152, 896), **choices)
        image = torch.empty(2, network.backbone.image_channels, 1152, 896)
    shapes: list[tuple[int, ...]] = []
    heatmap = [network.heatmap.activation, network.heatmap.max_pool] if "heatmap" in choices else []
    for module in (network.backbone, *heatmap, *network.top):
        module.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    assert network(image).shape == (2, 2)
    assert shapes == maps
    shortcut = [network.shortcut] if choices.get("shortcut") else []
    added = [network.heatmap, network.top, network.fully_connected, network.head, *shortcut]
    assert keras_count(*added) == top_count
    assert keras_count(network.backbone) == BACKBONE_COUNT[backbone]


@pytest.mark.parametrize("row", ROWS)
def test_table_2_has_as_many_parameters_as_the_authors_networks(row):
    backbone, blocks, _, _, total, choices = ROWS[row]
    with torch.device("meta"):
        patch_net = PatchClassifier("resnet50_keras" if backbone == "resnet50" else backbone)
        network = WholeImageClassifier(patch_net, blocks, image_size=(1152, 896), **choices)
    extra = ("architecture", "pixel_mean", "threshold", "num_batches_tracked")
    assert sum(t.numel() for key, t in network.state_dict().items() if not key.endswith(extra)) == total


@pytest.mark.parametrize(
    ("backbone", "count"),
    [("resnet50_keras", 23_597_957), ("vgg16", 14_717_253), ("vgg19", 20_026_949), ("yaroslavnet", 5_904_357)],
)
def test_patch_classifiers_have_as_many_parameters_as_the_authors(backbone, count):
    with torch.device("meta"):
        network = PatchClassifier(backbone)
    assert keras_count(network.backbone, network.head) == count


def test_five_class_patch_classifier_adds_one_linear_layer():
    with torch.device("meta"):
        assert keras_count(PatchClassifier("vgg16").head) == 512 * 5 + 5
        assert keras_count(PatchClassifier("resnet50").head) == 2048 * 5 + 5


class TestPoolSize:
    """The author's ResNet-50 averages windows of 7 × 7 before it averages the rest."""

    @staticmethod
    def logits(pool_size: int | None, image: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return tiny_patch_net("resnet50", pool_size=pool_size).eval()(image)

    def test_it_changes_nothing_on_a_window_of_that_size(self):
        window = torch.randn(2, 3, 96, 96)  # 3 × 3 positions
        torch.testing.assert_close(self.logits(3, window), self.logits(None, window))

    def test_it_leaves_out_the_margin_of_a_larger_one(self):
        image = torch.randn(2, 3, 128, 128)  # 4 × 4 positions, of which one window of 3 × 3 is taken
        assert not torch.allclose(self.logits(3, image), self.logits(None, image), rtol=1e-3)
        network = tiny_patch_net("resnet50").eval()
        with torch.no_grad():
            expected = network.head(network.backbone(image)[..., :3, :3].mean(dim=(2, 3)))
        torch.testing.assert_close(self.logits(3, image), expected)

    def test_it_changes_nothing_where_windows_tile_the_map(self):
        image = torch.randn(2, 3, 128, 128)
        torch.testing.assert_close(self.logits(2, image), self.logits(None, image))


def test_conversion_shares_the_trained_layers_and_does_not_copy_them():
    patch_net = tiny_patch_net()
    whole_net = WholeImageClassifier(patch_net, ["8x1"])
    assert whole_net.backbone is patch_net.backbone


@pytest.mark.parametrize("backbone", ["resnet50", "vgg16"])
def test_on_a_patch_the_top_layers_see_the_features_of_the_patch_network(backbone):
    patch_net = tiny_patch_net(backbone).eval()
    whole_net = WholeImageClassifier(patch_net, ["[4-4-8]x1"]).eval()
    seen: dict[str, torch.Tensor] = {}
    whole_net.top.register_forward_hook(lambda module, inputs, output: seen.update(top=inputs[0].clone()))
    patch_net.pool.register_forward_hook(lambda module, inputs, output: seen.update(pool=inputs[0].clone()))
    patch = torch.randn(2, 3, 64, 64)
    whole_net(patch), patch_net(patch)
    assert seen["top"].abs().sum() > 0
    assert torch.equal(seen["top"], seen["pool"])


@pytest.mark.parametrize("top", TOPS)
def test_a_whole_image_loss_trains_the_patch_layers_too(top):
    network = tiny_network(top)
    F.cross_entropy(network(image_for(top, batch=4)), torch.tensor([0, 1, 0, 1])).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert network.backbone.features[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("backbone", ["resnet50", "vgg16", "vgg19", "densenet121", "resnet50_keras"])
@pytest.mark.parametrize("size", [(128, 128), (288, 224), (161, 193)])
def test_any_image_size_gives_one_pair_of_logits(backbone, size):
    network = tiny_whole_net(backbone).eval()
    assert network(torch.randn(1, 3, *size)).shape == (1, 2)


@pytest.mark.parametrize("top", ["heatmap", "heatmap, pooled"])
@pytest.mark.parametrize("size", [(192, 160), (288, 224), (225, 193)])
def test_with_a_heatmap_too_any_image_size_gives_one_pair_of_logits(top, size):
    assert tiny_network(top).eval()(torch.randn(1, 3, *size)).shape == (1, 2)


def test_classes_and_channels_are_choices():
    assert tiny_patch_net(num_classes=3, in_channels=1).eval()(torch.randn(2, 1, 64, 64)).shape == (2, 3)
    assert tiny_whole_net(num_classes=4).eval()(torch.randn(1, 3, 128, 128)).shape == (1, 4)


@pytest.mark.parametrize("backbone", ["resnet50", "vgg16"])
def test_on_one_window_the_heatmap_is_the_patch_classifier(backbone):
    network, patch = tiny_patch_net(backbone).eval(), torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(network.forward_windows(patch, 96)[..., 0, 0], network(patch))
        assert network.forward_windows(patch, 96).shape == (2, 5, 1, 1)


class TestHeatmap:
    """The patch classifier's linear layer as a layer of the whole-image network (paper §3.1.2)."""

    def test_it_shares_the_patch_classifiers_linear_layer_and_does_not_copy_it(self):
        patch_net = tiny_patch_net()
        network = tiny_network("heatmap", patch_net=patch_net)
        assert network.heatmap.classifier is patch_net.head
        assert network.heatmap.classifier.weight is patch_net.head.weight

    @pytest.mark.parametrize("stride", [1, 2])
    def test_it_is_the_patch_classifier_on_every_window_then_relu(self, stride):
        patch_net, image = settled(tiny_patch_net("resnet50")), torch.randn(2, 3, 192, 160)
        network = WholeImageClassifier(patch_net, ["8x1"], heatmap={"pool_size": 2, "stride": stride}).eval()
        with torch.no_grad():
            logits = patch_net.forward_windows(image, 64)
            heatmap = network.heatmap(network.backbone(image))
        assert logits.min() < -1e-2 < 1e-2 < logits.max()
        torch.testing.assert_close(heatmap, logits.relu()[..., ::stride, ::stride])
        assert heatmap.shape == ((2, 5, 5, 4) if stride == 1 else (2, 5, 3, 2))

    def test_of_one_patch_it_is_the_patch_classifiers_answer(self):
        patch_net, patch = settled(tiny_patch_net("resnet50")), torch.randn(2, 3, 224, 224)
        network = WholeImageClassifier(patch_net, ["FC4"], heatmap={}, image_size=(224, 224)).eval()
        with torch.no_grad():
            torch.testing.assert_close(network.heatmap(network.backbone(patch))[..., 0, 0], patch_net(patch).relu())

    def test_the_map_before_vggs_last_pooling_has_windows_of_half_the_pixels(self):
        patch_net = tiny_patch_net(backbone_options={"last_layer": False}).eval()
        image = torch.randn(1, 3, 96, 128)
        with torch.no_grad():
            assert patch_net.forward_windows(image, 48).shape == (1, 5, 4, 6)  # (96 − 48) / 16 + 1, (128 − 48) / 16 + 1
            torch.testing.assert_close(
                patch_net.forward_windows(image[..., :96], 96)[..., 0, 0], patch_net(image[..., :96])
            )

    def test_softmax_gives_each_windows_probabilities(self):
        patch_net, image = settled(tiny_patch_net("resnet50")), torch.randn(2, 3, 192, 160)
        heatmap = {"pool_size": 2, "activation": "softmax"}
        network = WholeImageClassifier(patch_net, ["8x1"], heatmap=heatmap).eval()
        with torch.no_grad():
            probabilities = network.heatmap(network.backbone(image))
            torch.testing.assert_close(probabilities, patch_net.forward_windows(image, 64).softmax(dim=1))
        torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2, 5, 4))
        assert probabilities.std() > 1e-2

    @pytest.mark.parametrize("max_pool", [2, 3])
    def test_max_pooling_follows_the_activation(self, max_pool):
        patch_net, image = settled(tiny_patch_net("resnet50")), torch.randn(2, 3, 224, 160)
        networks = [
            WholeImageClassifier(patch_net, ["8x1"], heatmap={"pool_size": 2, **more}).eval()
            for more in ({}, {"max_pool": max_pool})
        ]
        with torch.no_grad():
            before, after = (network.heatmap(network.backbone(image)) for network in networks)
        assert torch.equal(after, F.max_pool2d(before, max_pool))
        assert after.std() > 1e-3

    def test_the_top_layers_see_the_heatmap(self):
        network, image = (
            tiny_network("heatmap", patch_net=settled(tiny_patch_net("resnet50"))).eval(),
            image_for("heatmap"),
        )
        seen: list[torch.Tensor] = []
        network.top.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].clone()))
        with torch.no_grad():
            network(image)
            assert torch.equal(seen[0], network.heatmap(network.backbone(image)))
        assert seen[0].shape == (2, 5, 5, 4)

    def test_it_has_as_many_channels_as_the_patch_classifier_has_classes(self):
        network = tiny_network("heatmap", patch_net=tiny_patch_net(num_classes=3))
        assert network.top.block1[0].residual[0].in_channels == 3
        assert network.eval()(image_for("heatmap")).shape == (2, 2)

    def test_an_unknown_activation_is_refused(self):
        with pytest.raises(ValueError, match="'relu' or 'softmax', got 'sigmoid'"):
            PatchHeatmap(nn.Linear(4, 5), activation="sigmoid")

    @pytest.mark.parametrize("unknown", ["poolsize", "classifier"])
    def test_an_unknown_option_is_answered_with_the_known_ones(self, unknown):
        known = "pool_size, stride, activation, max_pool"
        with pytest.raises(ValueError, match=rf"option '{unknown}' of heatmap, known: {known}$"):
            WholeImageClassifier(tiny_patch_net(), ["8x1"], heatmap={unknown: 7})


class TestFullyConnected:
    """Layers on the flattened map, with which the paper compares its design (Table 2, last two rows)."""

    @pytest.mark.parametrize("top", ["heatmap, FC", "FC", "convolutional, FC"])
    def test_it_computes_layer_by_layer_what_the_author_did(self, top):
        network, image = tiny_network(top, patch_net=settled(tiny_patch_net())).eval(), image_for(top)
        torch.manual_seed(2)
        for layer in network.fully_connected:
            nn.init.normal_(layer[1].running_mean)
            nn.init.uniform_(layer[1].running_var, 0.5, 2.0)
        with torch.no_grad():
            flat = network.top(network.heatmap(network.backbone(image))).flatten(1)
            features = flat
            for layer in network.fully_connected:
                linear, norm = layer[0], layer[1]
                features = F.linear(features, linear.weight, linear.bias)
                features = F.batch_norm(features, norm.running_mean, norm.running_var, norm.weight, norm.bias).relu()
            expected = F.linear(features, network.head.weight, network.head.bias)
            if TOPS[top][0].get("shortcut"):
                beside = F.linear(flat, network.shortcut.weight, network.shortcut.bias)
                assert beside.abs().max() > 1e-4
                expected = expected + beside
            torch.testing.assert_close(network(image), expected)

    def test_dropout_falls_on_the_flattened_map_and_on_each_layers_output_but_not_on_the_shortcut(self):
        choices = {"top_blocks": ["FC6", "FC4"], "shortcut": True, "image_size": (64, 64), "dropout": 0.5}
        network = WholeImageClassifier(tiny_patch_net(), **choices)
        dropped: list[str] = []
        for name, module in network.named_modules():
            if isinstance(module, nn.Dropout):
                assert module.p == 0.5
                module.register_forward_hook(lambda module, inputs, output, name=name: dropped.append(name))
        seen: list[torch.Tensor] = []
        network.shortcut.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
        image = torch.randn(4, 3, 64, 64)
        network(image)
        assert dropped == ["dropout", "fully_connected.fc1.3", "fully_connected.fc2.3"]
        assert torch.equal(seen[0], network.backbone(image).flatten(1))

    @pytest.mark.parametrize("blocks", [["FC6"], ["8x1", "FC6", "FC4"]])
    def test_without_an_image_size_it_says_that_it_needs_one(self, blocks):
        with pytest.raises(ValueError, match=r"fully connected layers need image_size.*fix the size of the images"):
            WholeImageClassifier(tiny_patch_net(), blocks)

    def test_a_convolutional_top_needs_no_image_size(self):
        assert tiny_whole_net().eval()(torch.randn(1, 3, 128, 128)).shape == (1, 2)

    @pytest.mark.parametrize(
        ("size", "heatmap"), [((20, 96), None), ((160, 192), {"pool_size": 7}), ((192, 192), {"max_pool": 5})]
    )
    def test_images_too_small_for_the_layers_are_refused(self, size, heatmap):
        with pytest.raises(ValueError, match=rf"images of {re.escape(str(list(size)))} pixels are too small"):
            WholeImageClassifier(tiny_patch_net(), ["FC6"], image_size=size, heatmap=heatmap)

    def test_another_image_size_does_not_fit(self):
        network = tiny_network("heatmap, FC").eval()
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            network(torch.randn(1, 3, 256, 256))

    @pytest.mark.parametrize("blocks", [[], ["8x1"], ["[4-4-8]x1", "8x1"]])
    def test_a_shortcut_needs_layers_to_lead_past(self, blocks):
        with pytest.raises(ValueError, match=rf"shortcut.*top_blocks {re.escape(str(blocks))} has none"):
            WholeImageClassifier(tiny_patch_net(), blocks, shortcut=True)

    @pytest.mark.parametrize("blocks", [["FC6", "8x1"], ["FC6", "8x1", "FC4"]])
    def test_they_come_last(self, blocks):
        with pytest.raises(ValueError, match=r"cannot read top block 'FC6'.*after all of these, 'FC64'"):
            WholeImageClassifier(tiny_patch_net(), blocks, image_size=(128, 128))

    @pytest.mark.parametrize(
        "block",
        [
            *("FC", "fc64", "FC6.4", "FC-6", "FC6x2"),
            "FC0",
        ],
    )
    @pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
    def test_what_is_no_number_of_units_is_quoted(self, block):
        with pytest.raises(ValueError, match=f"'{block}'"):
            WholeImageClassifier(tiny_patch_net(), [block], image_size=(128, 128))

    def test_weights_start_he_normal_with_zero_biases(self):
        torch.manual_seed(0)
        network = WholeImageClassifier(tiny_patch_net(), ["FC64", "FC32"], image_size=(256, 256))
        for layer in network.fully_connected:
            weight, bias = layer[0].weight, layer[0].bias
            assert weight.std().item() == pytest.approx((2 / weight.shape[1]) ** 0.5, rel=0.03)
            assert not bias.any()

    @pytest.mark.parametrize("norm_eps", [1e-5, 1e-3])
    def test_norm_eps_reaches_every_added_normalisation_and_no_other(self, norm_eps):
        patch_net = tiny_patch_net("resnet50")
        choices = {"top_blocks": ["[4-4-8]x2", "8x1", "FC6", "FC4"], "image_size": (256, 256), "norm_eps": norm_eps}
        network = WholeImageClassifier(patch_net, **choices)
        norms = {name: m.eps for name, m in network.named_modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)}
        added = {name: eps for name, eps in norms.items() if not name.startswith("backbone.")}
        assert len(added) == 4 + 3 + 1 + 2  # residual unit with and without projection, VGG block, two layers
        assert set(added.values()) == {norm_eps}
        assert {eps for name, eps in norms.items() if name not in added} == {1e-5}


class TestStartFromAPatchClassifier:
    @pytest.mark.parametrize("top", TOPS)
    def test_parts_that_a_patch_checkpoint_fills(self, top):
        parts = tiny_network(top).patch_parts
        assert parts == {"backbone": "backbone"} | ({"heatmap.classifier": "head"} if "heatmap" in top else {})

    @pytest.mark.parametrize("backbone", ["vgg16", "resnet50_keras"])
    @pytest.mark.parametrize("top", TOPS)
    def test_its_checkpoint_fills_the_backbone_and_the_heatmaps_classifier_and_nothing_else(
        self, top, backbone, tmp_path
    ):
        torch.manual_seed(1)
        trained = PatchClassifier(backbone, width=0.0625, pixel_mean=52.0)
        trained(torch.randn(2, 3, 64, 64))  # moves the running statistics
        path = tmp_path / "patch.pt"
        torch.save({"model": trained.state_dict()}, path)
        network = tiny_network(top, backbone)
        fresh = {key: value.clone() for key, value in network.state_dict().items()}
        initialize(network, "checkpoint", path, network.patch_parts, "")
        state, filled = read_state(path), 0
        for key, value in network.state_dict().items():
            source = key.replace("heatmap.classifier.", "head.") if key.startswith("heatmap.") else key
            if key.startswith(("backbone.", "heatmap.")):
                assert torch.equal(value, state[source]), key
                filled += 1
            else:
                assert torch.equal(value, fresh[key]), key
        assert filled == len(trained.backbone.state_dict()) + (2 if "heatmap" in top else 0)
        assert not torch.equal(next(iter(network.parameters())), fresh[next(iter(fresh))])

    def test_the_converted_networks_heatmap_is_the_trained_classifiers(self, tmp_path):
        torch.manual_seed(1)
        trained, image = settled(PatchClassifier("resnet50", width=0.0625)), torch.randn(1, 3, 192, 160)
        torch.save(trained.state_dict(), tmp_path / "patch.pt")
        network = tiny_network("heatmap", "resnet50")
        initialize(network, "checkpoint", tmp_path / "patch.pt", network.patch_parts, "").eval()
        with torch.no_grad():
            heatmap = network.heatmap(network.backbone(image))
            assert heatmap.std() > 1e-3
            torch.testing.assert_close(heatmap, trained.forward_windows(image, 64).relu())

    def test_a_classifier_of_other_classes_is_refused_by_name(self, tmp_path):
        path = tmp_path / "patch.pt"
        torch.save(tiny_patch_net(num_classes=3).state_dict(), path)
        network = tiny_network("heatmap")
        with pytest.raises(UserError, match="patch_classes is 3 in the file and 5 in the network"):
            initialize(network, "checkpoint", path, network.patch_parts, "")


def test_heatmap_position_is_the_classifier_on_that_part_of_the_feature_map():
    network, image = tiny_patch_net().eval(), torch.randn(2, 3, 160, 128)
    with torch.no_grad():
        heatmap = network.forward_windows(image, 64)
        features = network.backbone(image)
        assert heatmap.shape == (2, 5, 4, 3)  # (160 − 64) / 32 + 1, (128 − 64) / 32 + 1
        for row in range(4):
            for column in range(3):
                window = features[..., row : row + 2, column : column + 2]
                torch.testing.assert_close(heatmap[..., row, column], network.head(window.mean(dim=(2, 3))))
    assert heatmap.std() > 1e-5


@pytest.mark.parametrize("window", [-32, 0, 31, 48, 225])
def test_window_must_be_a_multiple_of_the_stride(window):
    with pytest.raises(ValueError, match=rf"multiple.*32, got {window}"):
        tiny_patch_net().forward_windows(torch.randn(1, 3, 256, 256), window)


@pytest.mark.parametrize("make", [tiny_patch_net, tiny_whole_net])
def test_dropout_acts_in_training_alone(make):
    network = make(dropout=0.5)
    network.backbone.eval()
    if hasattr(network, "top"):
        network.top.eval()
    image = torch.randn(1, 3, 128, 128)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


@pytest.mark.parametrize(
    ("backbone", "top"),
    [*((name, top) for name in ("resnet50", "vgg16") for top in ("patch", *TOPS)), ("densenet121", "heatmap, FC")],
)
def test_stages_hold_every_parameter_once(backbone, top):
    network = tiny_patch_net(backbone) if top == "patch" else tiny_network(top, backbone)
    staged = [
        id(parameter)
        for modules in network.stages.values()
        for module in modules
        for parameter in network.get_submodule(module).parameters()
    ]
    assert sorted(staged) == sorted(id(parameter) for parameter in network.parameters())


def test_stage_names_are_those_of_the_bundles_plans():
    backbone = [f"backbone.stage{number}" for number in range(1, 6)]
    assert list(tiny_patch_net().stages) == [*backbone, "head"]
    assert list(tiny_whole_net().stages) == [*backbone, "top.block1", "top.block2", "head"]
    assert list(tiny_network("heatmap").stages) == [*backbone, "heatmap", "top.block1", "top.block2", "head"]
    assert list(tiny_network("heatmap, FC").stages) == [*backbone, "heatmap", "top.fc1", "top.fc2", "head"]
    assert list(tiny_network("convolutional, FC").stages) == [*backbone, "top.block1", "top.fc1", "top.fc2", "head"]


@pytest.mark.parametrize("top", TOPS)
def test_the_bundles_first_stage_trains_all_added_layers_but_the_heatmap_and_the_backbone(top):
    network = tiny_network(top)
    plan = [{"name": "top layers", "trainable": ["top.*", "head"], "lr": 1e-3, "epochs": 1}]
    optimizer = torch.optim.Adam(network.parameter_groups(), lr=1e-3)
    StagedTraining(network, optimizer, plan)(SimpleNamespace(state=SimpleNamespace(epoch=1)))
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    frozen = ("backbone.", "heatmap.")
    assert trained == [name for name, _ in network.named_parameters() if not name.startswith(frozen)]
    assert any(name.startswith("head.") for name in trained)
    assert any(name.startswith("shortcut.") for name in trained) == bool(TOPS[top][0].get("shortcut"))


@pytest.mark.parametrize("top", TOPS)
@pytest.mark.parametrize("backbone", ["resnet50_keras", "vgg16"])
def test_weight_decay_is_for_kernels_of_the_added_layers_alone(backbone, top):
    """The added layers are the author's: the heatmap's classifier and the shortcut are among them."""
    network = tiny_network(top, backbone)
    groups = {group["name"]: group["params"] for group in network.parameter_groups()}
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decay, rest = ([names[id(parameter)] for parameter in groups[name]] for name in ("decay", "no decay"))
    assert sorted(decay + rest) == sorted(names.values())
    added = [
        f"{name}.weight"
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and not name.startswith("backbone.")
    ]
    assert sorted(decay) == sorted(added)
    assert ("heatmap.classifier.weight" in decay) == ("heatmap" in top)
    assert ("shortcut.weight" in decay) == bool(TOPS[top][0].get("shortcut"))
    assert torch.optim.Adam(network.parameter_groups(), weight_decay=0.1).param_groups[1]["weight_decay"] == 0.0


@pytest.mark.parametrize("make", [tiny_patch_net, tiny_whole_net])
def test_pixel_mean_travels_in_the_state_dict(make):
    trained = make(pixel_mean=52.18)
    fresh = make()
    assert fresh.pixel_mean == 0
    fresh.load_state_dict(trained.state_dict())
    assert fresh.pixel_mean.item() == pytest.approx(52.18)
