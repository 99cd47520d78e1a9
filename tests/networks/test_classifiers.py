"""From patch classifier to whole-image classifier: shared layers, sizes of the paper's Table 2, heatmap windows."""

import pytest
import torch
from torch import nn

from monai_e2e.networks import PatchClassifier, WholeImageClassifier

BACKBONE_COUNT = {"resnet50": 23_561_152, "vgg16": 14_714_688}

# Table 2 of the paper at 1152 × 896: backbone, blocks, feature maps, parameters of all that follows the backbone.
ROWS = {
    1: ("resnet50", ["[512-512-2048]x1"] * 2, [(2048, 36, 28), (2048, 18, 14), (2048, 9, 7)], 17_356_802),
    2: ("resnet50", ["[512-512-1024]x2"] * 2, [(2048, 36, 28), (1024, 18, 14), (1024, 9, 7)], 17_354_754),
    3: (
        "resnet50",
        ["[256-256-512]x3", "[128-128-256]x3"],
        [(2048, 36, 28), (512, 18, 14), (256, 9, 7)],
        4_827_906,
    ),
    4: ("vgg16", ["512x3"] * 2, [(512, 36, 28), (512, 18, 14), (512, 9, 7)], 14_172_162),
    5: ("vgg16", ["512x1"] * 2, [(512, 36, 28), (512, 18, 14), (512, 9, 7)], 4_724_738),
    6: ("vgg16", ["256x1", "128x1"], [(512, 36, 28), (256, 18, 14), (128, 9, 7)], 1_476_738),
    7: ("vgg16", ["[512-512-1024]x2"] * 2, [(512, 36, 28), (1024, 18, 14), (1024, 9, 7)], 14_995_458),
}


def keras_count(*modules: nn.Module) -> int:
    tensors = [item for module in modules for item in module.state_dict().items()]
    return sum(tensor.numel() for key, tensor in tensors if not key.endswith("num_batches_tracked"))


def tiny_patch_net(backbone: str = "vgg16", **arguments) -> PatchClassifier:
    torch.manual_seed(0)
    return PatchClassifier(backbone, **{"width": 0.0625, **arguments})


def tiny_whole_net(backbone: str = "vgg16", **arguments) -> WholeImageClassifier:
    return WholeImageClassifier(tiny_patch_net(backbone), ["[4-4-8]x2", "8x1"], **arguments)


@pytest.mark.parametrize("row", ROWS)
def test_table_2_on_a_full_size_image(row):
    backbone, blocks, maps, top_count = ROWS[row]
    with torch.device("meta"):
        network = WholeImageClassifier(PatchClassifier(backbone), blocks)
        image = torch.empty(2, 3, 1152, 896)
    shapes: list[tuple[int, ...]] = []
    for module in (network.backbone, *network.top):
        module.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    assert network(image).shape == (2, 2)
    assert shapes == maps
    assert keras_count(network.top, network.head) == top_count
    assert keras_count(network.backbone) == BACKBONE_COUNT[backbone]


def test_five_class_patch_classifier_adds_one_linear_layer():
    with torch.device("meta"):
        assert keras_count(PatchClassifier("vgg16").head) == 512 * 5 + 5
        assert keras_count(PatchClassifier("resnet50").head) == 2048 * 5 + 5


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


def test_a_whole_image_loss_trains_the_patch_layers_too():
    network = tiny_whole_net()
    nn.functional.cross_entropy(network(torch.randn(4, 3, 128, 128)), torch.tensor([0, 1, 0, 1])).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert network.backbone.features[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("backbone", ["resnet50", "vgg16"])
@pytest.mark.parametrize("size", [(128, 128), (288, 224), (161, 193)])
def test_any_image_size_gives_one_pair_of_logits(backbone, size):
    network = tiny_whole_net(backbone).eval()
    assert network(torch.randn(1, 3, *size)).shape == (1, 2)


def test_classes_and_channels_are_choices():
    assert tiny_patch_net(num_classes=3, in_channels=1).eval()(torch.randn(2, 1, 64, 64)).shape == (2, 3)
    assert tiny_whole_net(num_classes=4).eval()(torch.randn(1, 3, 128, 128)).shape == (1, 4)


@pytest.mark.parametrize("backbone", ["resnet50", "vgg16"])
def test_on_one_window_the_heatmap_is_the_patch_classifier(backbone):
    network, patch = tiny_patch_net(backbone).eval(), torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(network.forward_windows(patch, 96)[..., 0, 0], network(patch))
        assert network.forward_windows(patch, 96).shape == (2, 5, 1, 1)


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
    network = make(dropout=0.5) if make is tiny_patch_net else tiny_whole_net(dropout=0.5)
    network.backbone.eval()
    if hasattr(network, "top"):
        network.top.eval()
    image = torch.randn(1, 3, 128, 128)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


@pytest.mark.parametrize("make", [tiny_patch_net, tiny_whole_net])
@pytest.mark.parametrize("backbone", ["resnet50", "vgg16"])
def test_stages_hold_every_parameter_once(make, backbone):
    network = make(backbone)
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


@pytest.mark.parametrize("backbone", ["resnet50", "vgg16"])
def test_weight_decay_is_for_kernels_of_the_added_layers_alone(backbone):
    network = tiny_whole_net(backbone)
    groups = {group["name"]: group["params"] for group in network.parameter_groups()}
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decay, rest = ([names[id(parameter)] for parameter in groups[name]] for name in ("decay", "no decay"))
    assert sorted(decay + rest) == sorted(names.values())
    assert all(name.startswith(("top.", "head.")) and name.endswith(".weight") for name in decay)
    added = [m for part in (network.top, network.head) for m in part.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(decay) == len(added) > 0
    assert torch.optim.Adam(network.parameter_groups(), weight_decay=0.1).param_groups[1]["weight_decay"] == 0.0


@pytest.mark.parametrize("make", [tiny_patch_net, tiny_whole_net])
def test_pixel_mean_travels_in_the_state_dict(make):
    trained = make(pixel_mean=52.18) if make is tiny_patch_net else tiny_whole_net(pixel_mean=52.18)
    fresh = make()
    assert fresh.pixel_mean == 0
    fresh.load_state_dict(trained.state_dict())
    assert fresh.pixel_mean.item() == pytest.approx(52.18)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("make", [tiny_patch_net, tiny_whole_net])
@pytest.mark.parametrize("backbone", ["resnet50", "vgg16"])
def test_traced_network_computes_the_same_on_another_size(make, backbone):
    network = make(backbone).eval()
    traced = torch.jit.trace(network, torch.randn(1, 3, 128, 128))
    image = torch.randn(2, 3, 192, 128)
    with torch.no_grad():
        torch.testing.assert_close(traced(image), network(image))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("make", [tiny_patch_net, tiny_whole_net])
@pytest.mark.parametrize("backbone", ["resnet50", "vgg16"])
def test_scripted_network_computes_the_same(make, backbone):
    """``python -m monai.bundle ckpt_export`` scripts the network."""
    network, image = make(backbone).eval(), torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(image), network(image))
