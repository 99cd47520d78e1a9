"""The stand-in for Keras that other tests rely on does as the genuine Keras 2.0.8 did in the files of its own."""

import h5py
import numpy as np
import pytest
from keras_models import (
    Graph,
    count_parameters,
    genuine,
    patch_model,
    read_model_config,
    read_weights_by_name,
    run_keras,
    whole_model,
    write_keras_h5,
)

SMALL = {"image_size": (192, 160), "rate": 0.0, "avg_pool": 2}
GENUINE = {
    "vgg_plain_patch": patch_model("vgg16"),
    "vgg_plain_whole": whole_model("vgg16", [("vgg", 8, 1)] * 2, **SMALL),
    "vgg_plain_whole_suffixed": whole_model("vgg16", [("vgg", 8, 1)] * 2, **SMALL),
    "vgg_hybrid_whole": whole_model("vgg16", [("residual", (8, 8, 16), 2)] * 2, **SMALL),
    "resnet_patch": patch_model("resnet50", avg_pool=2),
    "resnet_whole": whole_model("resnet50", [("residual", (8, 8, 16), 2)] * 2, **SMALL),
}
UNIMPORTANT = ("_initializer", "_regularizer", "_constraint")  # ends of settings that matter in training only


def flat_layers(config: dict, prefix: str = "") -> dict[str, dict]:
    """All layers in their order, those of the nested model after it under its name."""
    layers = {}
    for layer in config["layers"]:
        layers[prefix + layer["name"]] = layer
        if layer["class_name"] == "Model":
            layers |= flat_layers(layer["config"], f"{layer['name']}/")
    return layers


def important(item: dict) -> dict:
    """What makes up a layer or a model, without its sublayers and without what matters in training only."""
    settings = {key: value for key, value in item["config"].items() if not key.endswith(UNIMPORTANT)}
    settings.pop("layers", None)
    settings.pop("trainable", None)  # compared where files are written
    if "axis" in settings:
        settings["axis"] %= 4  # -1 in the backbone of the genuine files, 3 in the networks that Keras came with
    return {**item, "config": settings}


def frozen_layers(model_config: dict) -> list[str]:
    layers = flat_layers(model_config["config"]).values()
    return [layer["name"] for layer in layers if layer["config"].get("trainable") is False]


def describe(path) -> list:
    """Everything in a file except for the weights' values and the settings of the model, in its order."""
    with h5py.File(path) as file:
        weights = file["model_weights"]
        content = [[*sorted(file), *sorted(file.attrs), file.attrs["keras_version"], file.attrs["backend"]]]
        for layer in weights.attrs["layer_names"]:
            names = weights[layer].attrs["weight_names"]
            content.append([layer, names.dtype, *((name, weights[layer][name].shape) for name in names)])
            assert all(weights[layer][name].dtype == np.float32 for name in names)
        return content


class TestGenuineFiles:
    @pytest.mark.parametrize("name", GENUINE)
    def test_output(self, name):
        path, x, y = genuine(name)
        ours = run_keras(read_model_config(path), read_weights_by_name(path), x)
        assert ours.shape == y.shape
        assert np.abs(ours - y).max() < 1e-6

    @pytest.mark.parametrize("name", GENUINE)
    def test_architecture(self, name):
        ours, theirs = GENUINE[name], read_model_config(genuine(name)[0])
        assert important(ours) == important(theirs)
        ours, theirs = flat_layers(ours["config"]), flat_layers(theirs["config"])
        assert list(ours) == list(theirs)
        for layer in ours:
            assert important(ours[layer]) == important(theirs[layer])

    @pytest.mark.parametrize("name", GENUINE)
    def test_layout(self, name, tmp_path):
        path, ours = genuine(name)[0], tmp_path / "ours.h5"
        frozen, suffix = frozen_layers(read_model_config(path)), name.endswith("suffixed")
        assert bool(frozen) == (name == "resnet_whole")  # one such file is among them
        write_keras_h5(ours, GENUINE[name], frozen=frozen, suffix=suffix, optimizer=suffix)
        assert describe(ours) == describe(path)
        assert frozen_layers(read_model_config(ours)) == frozen

    def test_wrong_weights_or_settings_would_be_noticed(self):
        path, x, y = genuine("vgg_hybrid_whole")
        config, weights = read_model_config(path), read_weights_by_name(path)
        pair = "batch_normalization_3", "batch_normalization_4"
        swapped = weights | dict(zip(pair, (weights[name] for name in reversed(pair)), strict=True))
        assert np.abs(run_keras(config, swapped, x) - y).max() > 1e-4
        for layer in flat_layers(config["config"]).values():
            if layer["class_name"] == "BatchNormalization":
                layer["config"]["epsilon"] = 1e-5
        assert np.abs(run_keras(config, weights, x) - y).max() > 1e-4


@pytest.mark.parametrize(
    ("backbone", "settings", "layers", "parameters"),
    [
        ("resnet50", {}, 177, 23_597_957),
        ("resnet50", {"dropout": False}, 176, 23_597_957),
        ("resnet50", {"stem": "zero_padding"}, 178, 23_597_957),
        ("vgg16", {}, 22, 14_717_253),
        ("vgg16", {"dropout": False}, 21, 14_717_253),
        ("vgg19", {}, 25, 20_026_949),
        ("yaroslav", {"width": 32}, 45, 5_904_357),
    ],
)
def test_parameters_of_patch_nets(backbone, settings, layers, parameters):
    config = patch_model(backbone, **{"width": 64, **settings})
    assert len(config["config"]["layers"]) == layers
    assert count_parameters(config) == parameters


@pytest.mark.parametrize(
    ("backbone", "blocks", "settings", "parameters"),
    [
        ("resnet50", [("residual", (512, 512, 2048), 1)] * 2, {}, 40_944_514),
        ("resnet50", [("residual", (512, 512, 1024), 2)] * 2, {}, 40_942_466),
        ("resnet50", [("residual", (256, 256, 512), 3), ("residual", (128, 128, 256), 3)], {}, 28_415_618),
        ("vgg16", [("vgg", 512, 3)] * 2, {}, 28_886_850),
        ("vgg16", [("vgg", 512, 1)] * 2, {}, 19_439_426),
        ("vgg16", [("vgg", 256, 1), ("vgg", 128, 1)], {}, 16_191_426),
        ("vgg16", [("residual", (512, 512, 1024), 2)] * 2, {}, 29_710_146),
        ("resnet50", [("residual", (512, 512, 1024), 2)] * 2, {"heatmap": {}}, 37_814_663),
        ("resnet50", [], {"heatmap": {}, "fc": (64, 32), "shortcut": True}, 23_608_473),
        ("resnet50", [], {"heatmap": {}, "fc": (64, 32)}, 23_608_231),
        ("vgg16", [], {"heatmap": {}, "fc": (64, 32), "shortcut": True}, 14_727_769),
        ("vgg16", [], {"heatmap": {}, "fc": (64, 32)}, 14_727_527),
        ("yaroslav", [], {"heatmap": {"pool": 3}, "fc": (16, 8), "shortcut": True, "width": 32}, 5_905_165),
    ],
)
def test_parameters_of_whole_image_nets(backbone, blocks, settings, parameters):
    config = whole_model(backbone, blocks, image_size=(1152, 896), **{"width": 64, **settings})
    assert count_parameters(config) == parameters


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "first_pixels"),  # which pixel the window's first weight meets; -1 is padding
    [
        (4, 3, 1, [-1, 0, 1, 2]),
        (4, 3, 2, [0, 2]),
        (5, 3, 2, [-1, 1, 3]),
        (8, 7, 2, [-1, 0, 2, 4]),
        (7, 7, 2, [-1, -1, 1, 3]),
        (5, 1, 2, [0, 2, 4]),
        (4, 1, 2, [0, 2]),
    ],
)
def test_padding_same(size, kernel, stride, first_pixels):
    graph = Graph("model", (size, size, 1))
    config = graph.model(graph.conv("input_1", 1, kernel, stride))
    weights = {"conv2d_1": {"kernel": np.zeros((kernel, kernel, 1, 1)), "bias": np.zeros(1)}}
    weights["conv2d_1"]["kernel"][0, kernel // 2] = 1  # the first row's middle
    x = np.repeat(np.arange(1.0, size + 1)[None, :, None, None], size, axis=2)
    y = run_keras(config, weights, x)
    assert y[0, :, len(first_pixels) // 2, 0].tolist() == [pixel + 1 for pixel in first_pixels]
