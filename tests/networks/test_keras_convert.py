"""The author's Keras models as ours: the same outputs to 1e-4, the same structure, and no other network let through."""

from pathlib import Path

import numpy as np
import pytest
import torch
from keras_models import Graph, genuine, patch_model, run_keras, whole_model, write_keras_h5

from monai_e2e.checkpoints.files import save_atomically
from monai_e2e.cli.main import main
from monai_e2e.errors import UserError
from monai_e2e.networks import (
    PatchClassifier,
    WholeImageClassifier,
    architecture,
    load_weights,
    make_classifier,
    read_architecture,
    read_state,
)
from monai_e2e.networks.keras_convert import convert_keras

GENUINE = sorted(
    path.stem.removeprefix("k208_") for path in (Path(__file__).parents[1] / "data" / "keras").glob("*.h5")
)
RESIDUAL = ("residual", (8, 8, 16), 2)


def probabilities(network: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    """Softmax of the logits for images ``[B, H, W, C]``, in the precision of ``x``."""
    images = torch.from_numpy(x).permute(0, 3, 1, 2)
    with torch.no_grad():
        return torch.softmax(network.to(images.dtype)(images), dim=1).numpy()


def written(tmp_path, config, **options):
    """A model file, its weights, and images of the size that it takes."""
    path = tmp_path / "model.h5"
    weights = write_keras_h5(path, config, seed=3, **options)
    rows, columns, channels = config["config"]["layers"][0]["config"]["batch_input_shape"][1:]
    x = np.random.default_rng(0).uniform(-1, 1, (2, rows or 96, columns or 128, channels))
    return path, weights, x


@pytest.mark.parametrize("name", GENUINE)
def test_files_of_genuine_keras_give_keras_own_outputs(name):
    path, x, y = genuine(name)
    np.testing.assert_allclose(probabilities(convert_keras(path), x), y, atol=1e-5)


MODELS = {
    # The published whole-image models, narrow: VGG-16 512x1, hybrid, ResNet-50 [512-512-1024]x2, YaroslavNet.
    "VGG-16 512x1": whole_model("vgg16", [("vgg", 8, 1)] * 2, image_size=(128, 160)),
    "VGG-16 hybrid": whole_model("vgg16", [RESIDUAL] * 2),
    "ResNet-50, stem padded by zeros": whole_model("resnet50", [RESIDUAL] * 2, stem="zero_padding"),
    "ResNet-50, stem padded as TensorFlow does": whole_model("resnet50", [RESIDUAL] * 2, image_size=(65, 90)),
    "YaroslavNet": whole_model("yaroslav", heatmap={"pool": 3}, fc=(16, 8), shortcut=True, image_size=(512, 448)),
    # His patch classifiers.
    "patch ResNet-50": patch_model("resnet50", stem="zero_padding", avg_pool=2),
    "patch ResNet-50 without dropout": patch_model("resnet50", dropout=False, avg_pool=2),
    "patch VGG-16": patch_model("vgg16"),
    "patch VGG-19": patch_model("vgg19", dropout=False),
    "patch YaroslavNet": patch_model("yaroslav"),
    "patch VGG-16 of 3 classes": patch_model("vgg16", classes=3),
    # What else his program makes.
    "cut before the last ReLU": whole_model("resnet50", [RESIDUAL] * 2, dropout=False),
    "cut before the last pooling": whole_model("vgg19", [("vgg", 8, 1)] * 2, dropout=False),
    "blocks of other sizes": whole_model("vgg16", [("vgg", 8, 3), ("residual", (4, 6, 10), 3)], image_size=(128, 96)),
    "heatmap and residual blocks": whole_model(
        "resnet50", [RESIDUAL, ("residual", (4, 4, 8), 1)], heatmap={"max_pool": None}, image_size=(288, 256)
    ),
    "heatmap of his older program": whole_model(
        "resnet50", [RESIDUAL], heatmap={"activation": "softmax", "max_pool": 1}, image_size=(288, 256)
    ),
    "heatmap, FC and shortcut": whole_model("resnet50", heatmap={}, fc=(16, 8), shortcut=True, image_size=(480, 352)),
    "heatmap and FC": whole_model("vgg16", heatmap={}, fc=(16, 8), image_size=(480, 352)),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_network_of_his_program_computes_the_same(name, tmp_path):
    path, weights, x = written(tmp_path, MODELS[name])
    expected = run_keras(MODELS[name], weights, x)
    assert expected.std(axis=0).max() > 1e-6  # images differ in it, or it would prove little
    np.testing.assert_allclose(probabilities(convert_keras(path), x), expected, atol=1e-10)
    single = x.astype(np.float32)
    np.testing.assert_allclose(probabilities(convert_keras(path), single), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["VGG-16 hybrid", "YaroslavNet", "ResNet-50, stem padded by zeros"])
@pytest.mark.parametrize("options", [{"suffix": True}, {"frozen": "all"}, {"optimizer": True}])
def test_renamed_scopes_frozen_layers_and_optimizer_weights_change_nothing(name, options, tmp_path):
    path, weights, x = written(tmp_path, MODELS[name], **options)
    np.testing.assert_allclose(probabilities(convert_keras(path), x), run_keras(MODELS[name], weights, x), atol=1e-10)


def test_layers_frozen_one_by_one_are_not_confused(tmp_path):
    """Keras writes the weights of frozen layers after all others, so that the order is another."""
    config = MODELS["ResNet-50, stem padded by zeros"]
    path, weights, x = written(tmp_path, config, frozen=["conv1", "bn_conv1", "res2a_branch2a", "bn3b_branch2c"])
    np.testing.assert_allclose(probabilities(convert_keras(path), x), run_keras(config, weights, x), atol=1e-10)


def test_the_structure_is_read_from_the_file(tmp_path):
    path, _, _ = written(tmp_path, MODELS["blocks of other sizes"])
    found = architecture(convert_keras(path))
    assert found["backbone"] == "vgg16"
    assert found["width"] == 4 / 64
    assert found["top_blocks"] == ["8x3", "[4-6-10]x3"]
    assert found["norm_eps"] == 1e-3
    path, _, _ = written(tmp_path, MODELS["YaroslavNet"])
    found = architecture(convert_keras(path))
    assert found["backbone"] == "yaroslavnet"
    assert found["in_channels"] == 1
    assert found["top_blocks"] == ["FC16", "FC8"]
    assert found["shortcut"] is True
    assert found["heatmap"] == {"pool_size": 3, "stride": 1, "activation": "relu", "max_pool": 5}
    assert found["image_size"] == [512, 448]


def test_widths_that_are_no_multiple_of_the_published_ones_are_kept(tmp_path):
    config = patch_model("vgg16")
    for layer in config["config"]["layers"]:
        if layer["name"].startswith("block3_conv"):
            layer["config"]["filters"] = 11
    path, weights, x = written(tmp_path, config)
    network = convert_keras(path)
    assert architecture(network)["width"] == [4, 8, 11, 32, 32]
    np.testing.assert_allclose(probabilities(network, x), run_keras(config, weights, x), atol=1e-10)


def test_the_checkpoint_is_plain_tensors_and_says_what_it_is(tmp_path):
    path, _, x = written(tmp_path, MODELS["VGG-16 hybrid"])
    converted = convert_keras(path)
    save_atomically(converted.state_dict(), tmp_path / "new folder" / "model.pt")
    assert [file.name for file in (tmp_path / "new folder").iterdir()] == ["model.pt"]
    checkpoint = tmp_path / "new folder" / "model.pt"
    again = load_weights(make_classifier(**read_architecture(checkpoint)), checkpoint).eval()
    assert isinstance(again, WholeImageClassifier)
    np.testing.assert_array_equal(probabilities(again, x), probabilities(converted, x))


@pytest.mark.parametrize(
    ("name", "chosen", "mean"),
    [
        ("ddsm_vgg16_s10_512x1.h5", None, 52.18),
        ("INbreast_vgg16_512x1.h5", None, 44.33),
        ("INbreast_vgg16_512x1.h5", 40.0, 40.0),
    ],
)
def test_the_published_mean_goes_with_the_weights(name, chosen, mean, tmp_path):
    path, _, _ = written(tmp_path, MODELS["VGG-16 512x1"])
    path = path.rename(tmp_path / name)
    assert convert_keras(path, chosen).state_dict()["pixel_mean"].item() == pytest.approx(mean)


def test_converted_layers_train(tmp_path):
    path, _, x = written(tmp_path, MODELS["VGG-16 hybrid"])
    network = convert_keras(path).train()
    images = torch.from_numpy(x).permute(0, 3, 1, 2).float()
    torch.nn.functional.cross_entropy(network(images), torch.tensor([0, 1])).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}


class TestRefusals:
    def refusal(self, tmp_path, config) -> str:
        path, _, _ = written(tmp_path, config)
        with pytest.raises(UserError) as caught:
            convert_keras(path)
        assert str(path) in str(caught.value)
        assert "supported are the author's networks (ResNet-50, VGG-16" in str(caught.value)
        return str(caught.value)

    @staticmethod
    def change(config, name, **settings):
        """Change a layer, be it in the nested model or not."""
        layers = [*config["config"]["layers"]]
        for layer in config["config"]["layers"]:
            layers += layer["config"].get("layers", [])
        (layer,) = [layer for layer in layers if layer["name"] == name]
        for key in settings:
            assert key in layer["config"]
        layer["config"].update(settings)
        return config

    @pytest.mark.parametrize(
        ("layer", "settings", "message"),
        [
            ("bn3a_branch2b", {"epsilon": 1e-5}, r"'model_1/bn3a_branch2b' has epsilon 1e-05 where 0.001"),
            ("res3a_branch2a", {"strides": [1, 1]}, r"'model_1/res3a_branch2a' has strides \[1, 1\] where \[2, 2\]"),
            ("conv2d_2", {"dilation_rate": [2, 2]}, r"'conv2d_2' has dilation_rate \[2, 2\]"),
            ("conv2d_1", {"activation": "relu"}, "'conv2d_1' has activation relu where linear"),
            ("batch_normalization_2", {"epsilon": 1e-5}, "'batch_normalization_2' has epsilon 1e-05"),
            ("batch_normalization_3", {"axis": 1}, "'batch_normalization_3' normalises along axis 1"),
            ("dense_1", {"activation": "sigmoid"}, "'dense_1' has activation sigmoid where softmax"),
            ("max_pooling2d_1", {"padding": "same"}, "'model_1/max_pooling2d_1' has padding same where valid"),
        ],
    )
    def test_a_layer_of_another_kind_is_named(self, layer, settings, message, tmp_path):
        config = self.change(whole_model("resnet50", [RESIDUAL] * 2), layer, **settings)
        path, _, _ = written(tmp_path, config)
        with pytest.raises(UserError, match=message):
            convert_keras(path)

    def test_a_vgg_of_another_depth(self, tmp_path):
        message = self.refusal(tmp_path, patch_model("vgg16", units=(2, 2, 2, 2, 2)))
        assert "ends a VGG network of [2, 2, 2, 2, 2] convolutions" in message

    def test_a_resnet_of_another_depth(self, tmp_path):
        assert "residual unit" in self.refusal(tmp_path, patch_model("resnet50", units=(2, 2, 2, 2)))

    def test_a_network_that_ends_elsewhere(self, tmp_path):
        graph = Graph("model", (64, 64, 3))
        node = graph.conv("input_1", 4)
        self.refusal(tmp_path, graph.model(node))

    def test_a_damaged_file_is_named(self, tmp_path):
        path, _, _ = written(tmp_path, MODELS["VGG-16 512x1"])
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match=str(path)):
            convert_keras(path)


class TestCommand:
    def test_it_says_what_it_made_and_what_to_do_next(self, tmp_path, capsys):
        path, _, _ = written(tmp_path, MODELS["VGG-16 hybrid"])
        out = tmp_path / "out.pt"
        assert main(["convert-keras", str(path), str(out)]) == 0
        printed = capsys.readouterr().out
        assert f"{out}: whole-image classifier vgg16 + [8-8-16]x2 + [8-8-16]x2" in printed
        assert "pixel mean 52.18" in printed
        assert f"--whole_checkpoint {out}" in printed
        assert "CC BY-NC-SA" in printed
        assert read_state(out)["pixel_mean"].item() == pytest.approx(52.18)

    def test_a_patch_classifier_leads_to_the_whole_image_training(self, tmp_path, capsys):
        path, _, _ = written(tmp_path, MODELS["patch VGG-16"])
        assert main(["convert-keras", str(path), str(tmp_path / "out.pt"), "--pixel-mean", "50"]) == 0
        printed = capsys.readouterr().out
        assert "5-class patch classifier vgg16," in printed
        assert "pixel mean 50.00" in printed
        assert "bundles/ddsm_whole" in printed
        assert "--patch_checkpoint" in printed

    def test_a_mistake_is_one_line_and_writes_nothing(self, tmp_path, capsys):
        (tmp_path / "page.h5").write_text("<html>not found</html>")
        assert main(["convert-keras", str(tmp_path / "page.h5"), str(tmp_path / "out.pt")]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {tmp_path / 'page.h5'}")
        assert error.count("\n") == 1
        assert not (tmp_path / "out.pt").exists()

    @pytest.fixture
    def bundle(self, tmp_path):
        config = tmp_path / "bundle" / "configs" / "inference.json"
        config.parent.mkdir(parents=True)
        config.write_text('{"network_def": {"_target_": "monai_e2e.networks.WholeImageClassifier"}}')
        return tmp_path / "bundle"

    def test_it_puts_the_model_into_a_bundle(self, bundle, tmp_path):
        path, _, _ = written(tmp_path, MODELS["VGG-16 hybrid"])
        arguments = ["convert-keras", str(path), str(tmp_path / "out.pt"), "--bundle", str(bundle)]
        assert main(arguments) == 0
        first, second = read_state(tmp_path / "out.pt"), read_state(bundle / "models" / "model.pt")
        assert list(first) == list(second)
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert main(arguments) == 2  # never over a model that is there

    @pytest.mark.parametrize(
        ("model", "folder", "message"),
        [
            ("patch VGG-16", "bundle", "is for a WholeImageClassifier, and this model is a PatchClassifier"),
            ("VGG-16 hybrid", "absent", "is not a bundle"),
        ],
    )
    def test_a_bundle_that_does_not_suit_is_refused_before_anything_is_written(
        self, model, folder, message, bundle, tmp_path, capsys
    ):
        path, _, _ = written(tmp_path, MODELS[model])
        arguments = ["convert-keras", str(path), str(tmp_path / "out.pt"), "--bundle", str(tmp_path / folder)]
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out.pt").exists()
        assert not (tmp_path / "absent").exists()


def test_a_converted_patch_classifier_is_one_of_ours(tmp_path):
    path, _, _ = written(tmp_path, MODELS["patch VGG-16"])
    network = convert_keras(path)
    assert isinstance(network, PatchClassifier)
    assert not network.training
    assert set(network.state_dict()) == set(PatchClassifier("vgg16", width=4 / 64).state_dict())
