"""The stand-in for Keras that other tests rely on does as the genuine Keras 2.0.8 did in the files of its own."""

import h5py
import numpy as np
import pytest
from keras_models import (
    Graph,
    count_parameters,
    genuine,
    patch_model,
    random_weights,
    read_model_config,
    read_weights_by_name,
    run_keras,
    weight_shapes,
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
HEATMAP = {"pool": 2, "max_pool": 2}
VARIANTS = {
    "resnet": whole_model("resnet50", [("residual", (4, 4, 8), 1)], stem="zero_padding", units=(1, 2, 1, 1)),
    "resnet-pre-relu": whole_model("resnet50", [("residual", (4, 4, 8), 2)], dropout=False, units=(2, 1, 1, 1)),
    "resnet-heatmap-blocks": whole_model("resnet50", [("residual", (4, 4, 8), 2)], heatmap={"pool": 1, "max_pool": 1}),
    "vgg16-heatmap-fc": whole_model("vgg16", heatmap={"pool": 2, "max_pool": None}, fc=(8, 4), image_size=(96, 64)),
    "vgg19-softmax": whole_model(
        "vgg19", heatmap={**HEATMAP, "activation": "softmax"}, fc=(8, 4), shortcut=True, image_size=(160, 96)
    ),
    "vgg16-unpooled": whole_model("vgg16", [("vgg", 8, 2)], dropout=False),
    "yaroslav": whole_model("yaroslav", heatmap=HEATMAP, fc=(16, 8), shortcut=True, image_size=(320, 192)),
    "yaroslav-patch": patch_model("yaroslav", classes=3),
}


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


def weight_names(path, group: str) -> list[str]:
    with h5py.File(path) as file:
        return [name.decode() for name in file["model_weights"][group].attrs["weight_names"]]


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


def assert_same(ours: dict, theirs: dict) -> None:
    assert {name: set(roles) for name, roles in ours.items()} == {name: set(roles) for name, roles in theirs.items()}
    for name, roles in ours.items():
        for role, array in roles.items():
            np.testing.assert_array_equal(array, theirs[name][role], err_msg=f"{name} {role}")


def image(model_config: dict, count: int = 2) -> np.ndarray:
    """Random images of the size that the model takes (of a patch net: any)."""
    size = [side or 64 for side in model_config["config"]["layers"][0]["config"]["batch_input_shape"][1:]]
    return np.random.default_rng(1).uniform(-1, 1, (count, *size))


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


class TestArchitecture:
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
    def test_patch_nets(self, backbone, settings, layers, parameters):
        config = patch_model(backbone, **{"width": 64, **settings})
        assert len(config["config"]["layers"]) == layers
        assert count_parameters(config) == parameters

    @pytest.mark.parametrize(
        ("backbone", "settings", "kept", "layers"),
        [
            ("resnet50", {}, "activation_49", 173),
            ("resnet50", {"stem": "zero_padding"}, "activation_49", 174),
            ("resnet50", {"dropout": False}, "add_16", 172),
            ("vgg16", {}, "block5_pool", 19),
            ("vgg16", {"dropout": False}, "block5_conv3", 18),
            ("vgg19", {}, "block5_pool", 22),
            ("vgg19", {"dropout": False}, "block5_conv4", 21),
            ("yaroslav", {}, "block6_pool", 43),
        ],
    )
    def test_kept_layer(self, backbone, settings, kept, layers):
        inner = flat_layers(whole_model(backbone, **settings)["config"])["model_1"]["config"]
        assert inner["output_layers"] == [[kept, 0, 0]]
        assert inner["layers"][-1]["name"] == kept
        assert len(inner["layers"]) == layers

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
    def test_parameters_of_whole_image_nets(self, backbone, blocks, settings, parameters):
        config = whole_model(backbone, blocks, image_size=(1152, 896), **{"width": 64, **settings})
        assert count_parameters(config) == parameters

    def test_top_of_heatmap_and_fc(self):
        """The published YaroslavNet's: logits from the units and from the flattened maps are added up."""
        layers = VARIANTS["yaroslav"]["config"]["layers"]
        assert [layer["name"] for layer in layers] == [
            "input_1", "model_1", "average_pooling2d_1", "dropout_1", "dense_1", "max_pooling2d_1", "flatten_1",
            "dropout_2", "dense_2", "batch_normalization_1", "activation_1",
            "dropout_3", "dense_3", "batch_normalization_2", "activation_2",
            "dropout_4", "dense_4", "dense_5", "add_1", "activation_3",
        ]  # fmt: skip
        sources = {layer["name"]: [tensor[0] for node in layer["inbound_nodes"] for tensor in node] for layer in layers}
        assert sources["add_1"] == ["dense_4", "dense_5"]
        assert (sources["dense_4"], sources["dense_5"]) == (["dropout_4"], ["flatten_1"])

    def test_fields_of_the_stem(self):
        layers = flat_layers(VARIANTS["resnet"]["config"])
        assert layers["model_1/zero_padding2d_1"]["config"]["padding"] == [[3, 3], [3, 3]]
        assert layers["model_1/conv1"]["config"]["padding"] == "valid"
        assert layers["model_1/conv1"]["inbound_nodes"] == [[["zero_padding2d_1", 0, 0, {}]]]


class TestFiles:
    @pytest.mark.parametrize("suffix", [False, True])
    @pytest.mark.parametrize("frozen", [(), "all"])
    @pytest.mark.parametrize("name", VARIANTS)
    def test_round_trip(self, name, frozen, suffix, tmp_path):
        path = tmp_path / "model.h5"
        weights = write_keras_h5(path, VARIANTS[name], 3, frozen, suffix, optimizer=suffix)
        assert_same(read_weights_by_name(path), weights)
        shapes = {key: {role: array.shape for role, array in roles.items()} for key, roles in weights.items()}
        assert shapes == weight_shapes(VARIANTS[name])
        if not frozen:
            assert read_model_config(path) == VARIANTS[name]

    def test_trainable_weights_of_all_layers_come_first(self, tmp_path):
        inner = [("conv1", "bn_conv1"), ("res2a_branch2a", "bn2a_branch2a")]
        write_keras_h5(tmp_path / "model.h5", VARIANTS["resnet"], frozen=inner[0])
        names = weight_names(tmp_path / "model.h5", "model_1")
        assert names[:4] == [
            "res2a_branch2a/kernel:0", "res2a_branch2a/bias:0", "bn2a_branch2a/gamma:0", "bn2a_branch2a/beta:0",
        ]  # fmt: skip
        start = names.index("conv1/kernel:0")
        assert names[start:][:7] == [
            "conv1/kernel:0", "conv1/bias:0",
            *(f"bn_conv1/{role}:0" for role in ("gamma", "beta", "moving_mean", "moving_variance")),
            "bn2a_branch2a/moving_mean:0",
        ]  # fmt: skip
        assert not any("moving" in name for name in names[:start])

    @pytest.mark.parametrize(("suffix", "ends"), [(False, ("", "_1")), (True, ("_1", "_2"))])
    def test_scopes_of_names_in_both_models(self, suffix, ends, tmp_path):
        """YaroslavNet's top and its nested model both have a batch_normalization_1."""
        path = tmp_path / "model.h5"
        write_keras_h5(path, VARIANTS["yaroslav"], suffix=suffix)
        assert f"batch_normalization_1{ends[0]}/gamma:0" in weight_names(path, "model_1")
        assert weight_names(path, "batch_normalization_1")[0] == f"batch_normalization_1{ends[1]}/gamma:0"

    def test_weights_follow_the_seed(self):
        assert_same(random_weights(VARIANTS["yaroslav"], 1), random_weights(VARIANTS["yaroslav"], 1))
        first, second = (random_weights(VARIANTS["yaroslav"], seed)["dense_1"]["kernel"] for seed in (1, 2))
        assert not np.array_equal(first, second)


class TestRunning:
    @pytest.mark.parametrize("name", VARIANTS)
    def test_random_weights_give_telling_outputs(self, name):
        """Neither saturated nor the same for any image: a wrong conversion shows in them."""
        config = VARIANTS[name]
        y = run_keras(config, random_weights(config, 5), image(config))
        np.testing.assert_allclose(y.sum(1), 1)
        assert y.max() < 0.9999
        assert np.abs(y[0] - y[1]).max() > 1e-4

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("backbone", ["resnet50", "vgg16", "vgg19", "yaroslav"])
    def test_activations_neither_grow_nor_vanish(self, backbone, seed):
        config = whole_model(backbone)
        maps = run_keras(config, random_weights(config, seed), image(config), layer="model_1")
        assert 0.02 < maps.std() < 20

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
    def test_padding_same(self, size, kernel, stride, first_pixels):
        graph = Graph("model", (size, size, 1))
        config = graph.model(graph.conv("input_1", 1, kernel, stride))
        weights = {"conv2d_1": {"kernel": np.zeros((kernel, kernel, 1, 1)), "bias": np.zeros(1)}}
        weights["conv2d_1"]["kernel"][0, kernel // 2] = 1  # the first row's middle
        x = np.repeat(np.arange(1.0, size + 1)[None, :, None, None], size, axis=2)
        y = run_keras(config, weights, x)
        assert y[0, :, len(first_pixels) // 2, 0].tolist() == [pixel + 1 for pixel in first_pixels]

    def test_flatten_takes_rows_then_columns_then_channels(self):
        graph = Graph("model", (2, 3, 4))
        x = np.arange(48.0).reshape(2, 2, 3, 4)
        y = run_keras(graph.model(graph.add("Flatten", "input_1")), {}, x)
        assert y.tolist() == [list(range(24)), list(range(24, 48))]

    def test_dense_acts_on_every_pixel_and_softmax_on_its_channels(self):
        graph, generator = Graph("model", (2, 3, 4)), np.random.default_rng(0)
        x, kernel, bias = (generator.normal(size=shape) for shape in ((1, 2, 3, 4), (4, 5), (5,)))
        config = graph.model(graph.add("Dense", "input_1", units=5, activation="softmax"))
        y = run_keras(config, {"dense_1": {"kernel": kernel, "bias": bias}}, x)
        logits = np.exp(kernel.T @ x[0, 1, 2] + bias)
        np.testing.assert_allclose(y[0, 1, 2], logits / logits.sum())

    def test_pooling_drops_what_does_not_fill_a_window(self):
        graph = Graph("model", (5, 4, 1))
        x = np.arange(20.0).reshape(1, 5, 4, 1)
        largest = run_keras(graph.model(graph.pool("Max", "input_1", 2)), {}, x)
        assert largest[0, :, :, 0].tolist() == [[5, 7], [13, 15]]
        mean = run_keras(graph.model(graph.pool("Average", "input_1", 3, 1)), {}, x)
        assert mean[0, :, :, 0].tolist() == [[5, 6], [9, 10], [13, 14]]

    def test_zero_padding(self):
        graph = Graph("model", (1, 1, 1))
        config = graph.model(graph.add("ZeroPadding2D", "input_1", padding=[[1, 0], [0, 2]]))
        assert run_keras(config, {}, np.ones((1, 1, 1, 1)))[0, :, :, 0].tolist() == [[0, 0, 0], [1, 0, 0]]

    def test_output_of_an_inner_layer(self):
        config = VARIANTS["resnet"]
        weights, x = random_weights(config), image(config)
        assert run_keras(config, weights, x, "model_1/conv1").shape == (2, 32, 32, 4)
        before, after = (run_keras(config, weights, x, f"model_1/{name}") for name in ("add_5", "activation_16"))
        np.testing.assert_array_equal(np.maximum(before, 0), after)
        np.testing.assert_array_equal(run_keras(config, weights, x, "model_1"), after)

    def test_unknown_layers_are_refused(self):
        graph = Graph("model", (2, 2, 1))
        with pytest.raises(ValueError, match="no Lambda layers"):
            run_keras(graph.model(graph.add("Lambda", "input_1")), {}, np.ones((1, 2, 2, 1)))
