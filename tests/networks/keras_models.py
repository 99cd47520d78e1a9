"""Models of the published form without Keras: their `model_config`, files that hold them, and what they compute.

This is the reference that tests compare the package's reader of Keras files with, so nothing of the package is used
here. `test_keras_models.py` holds it against files and outputs of the genuine Keras 2.0.8 (`tests/data/keras`).
"""

import copy
import json
import re
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.nn import functional

UNITS = {
    "resnet50": (3, 4, 6, 3),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
    "yaroslav": (2, 2, 2, 2, 2, 2),
}
KEPT_LAYER = {"resnet50": -5, "vgg16": -4, "vgg19": -4, "yaroslav": -3}  # of the patch net; the rest is cut off
Weights = dict[str, dict[str, np.ndarray]]  # {"model_1/conv1" or "dense_1": {"kernel": array, "bias": array}}

_CHANNELS_LAST = {"data_format": "channels_last"}
_DEFAULTS = {
    "Conv2D": {"dilation_rate": [1, 1], "use_bias": True, **_CHANNELS_LAST},
    "BatchNormalization": {"axis": 3, "momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True},
    "Dense": {"activation": "linear", "use_bias": True},
    "MaxPooling2D": {"padding": "valid", **_CHANNELS_LAST},
    "AveragePooling2D": {"padding": "valid", **_CHANNELS_LAST},
    "GlobalAveragePooling2D": _CHANNELS_LAST,
    "ZeroPadding2D": _CHANNELS_LAST,
}


class Graph:
    """Layers in the order of their creation, named as Keras names them. Every method returns the new layer's name."""

    def __init__(self, name: str, input_shape: tuple[int | None, ...]):
        self.name, self.counts = name, Counter()
        config = {"name": "input_1", "batch_input_shape": [None, *input_shape], "dtype": "float32", "sparse": False}
        self.layers = {
            "input_1": {"name": "input_1", "class_name": "InputLayer", "config": config, "inbound_nodes": []}
        }

    def add(self, class_name: str, source: str | list[str], name: str | None = None, **config) -> str:
        if name is None:
            stem = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", class_name).lower()  # MaxPooling2D -> max_pooling2d
            self.counts[stem] += 1  # layers with a name of their own aren't counted
            name = f"{stem}_{self.counts[stem]}"
        config = {"name": name, "trainable": True, **_DEFAULTS.get(class_name, {}), **config}
        return self._append(name, class_name, source, config)

    def conv(self, source, filters, size=3, stride=1, padding="same", activation="linear", name=None) -> str:
        window = {"kernel_size": [size, size], "strides": [stride, stride], "padding": padding}
        return self.add("Conv2D", source, name, filters=filters, activation=activation, **window)

    def normalized_conv(self, source, *args, names=(None, None), **kwargs) -> str:
        return self.add("BatchNormalization", self.conv(source, *args, name=names[0], **kwargs), names[1])

    def relu(self, source) -> str:
        return self.add("Activation", source, activation="relu")

    def pool(self, kind, source, size, stride=None, name=None) -> str:
        stride = size if stride is None else stride
        return self.add(f"{kind}Pooling2D", source, name, pool_size=[size, size], strides=[stride, stride])

    def nest(self, model: dict, source: str) -> str:
        return self._append(model["config"]["name"], "Model", source, model["config"])

    def model(self, output: str) -> dict:
        return _model(self.name, _keras_order(self.layers, output), output)

    def _append(self, name, class_name, source, config) -> str:
        # A nested model's node 0 is its own graph, node 1 its call within the outer one.
        sources = [source] if isinstance(source, str) else source
        nodes = [[[one, int(self.layers[one]["class_name"] == "Model"), 0, {}] for one in sources]]
        self.layers[name] = {"name": name, "class_name": class_name, "config": config, "inbound_nodes": nodes}
        return name


def _model(name: str, layers: list[dict], output: str) -> dict:
    ends = {"input_layers": [["input_1", 0, 0]], "output_layers": [[output, 0, 0]]}
    return {"class_name": "Model", "config": {"name": name, "layers": layers, **ends}}


def _sources(layer: dict) -> list[str]:
    return [tensor[0] for node in layer["inbound_nodes"] for tensor in node]


def _keras_order(layers: dict[str, dict], output: str) -> list[dict]:
    """Farthest from the output first; at one distance, as met on the walk from the output through the inputs in turn.

    A block's shortcut thus comes before its residual branch where it is the first input of the sum.
    """
    met, depth = {}, dict.fromkeys(layers, 0)

    def walk(name):
        if name not in met:
            met[name] = len(met)
            for source in _sources(layers[name]):
                walk(source)

    walk(output)
    for name in reversed(layers):  # made after its sources, so consumers come first here
        for source in _sources(layers[name]):
            depth[source] = max(depth[source], depth[name] + 1)
    return [layers[name] for name in sorted(met, key=lambda name: (-depth[name], met[name]))]


def patch_model(backbone, width=4, classes=5, dropout=True, stem="same", units=None, avg_pool=7, rate=0.5) -> dict:
    """`model_config` of a patch classifier whose first layer has `width` filters and the others as many more as theirs.

    `units` are the residual units of ResNet's stages or the convolutions of the blocks, where not the original's;
    `stem` "same" or "zero_padding" is ResNet50 of Keras 2.0.7 and on, or the one before; YaroslavNet has no dropout.
    """
    graph = Graph("model_1", (None, None, 1 if backbone == "yaroslav" else 3))
    units = units or UNITS[backbone]
    if backbone == "resnet50":
        x = _resnet(graph, width, units, stem, avg_pool)
    else:
        x = _plain(graph, width, units, normalize=backbone == "yaroslav")
    x = graph.add("GlobalAveragePooling2D", x)
    if backbone == "yaroslav":
        return graph.model(graph.add("Dense", x, "predictions", units=classes, activation="softmax"))
    if dropout:
        x = graph.add("Dropout", x, rate=rate)
    return graph.model(graph.add("Dense", x, units=classes, activation="softmax"))


def _plain(graph: Graph, width: int, convs: tuple[int, ...], normalize: bool) -> str:
    """Blocks of 3x3 convolutions (VGG, YaroslavNet), each with a max-pooling after it."""
    x = "input_1"
    for block, (repeats, factor) in enumerate(zip(convs, (1, 2, 4, 8, 8, 16), strict=False), 1):
        for index in range(1, repeats + 1):
            name = f"block{block}_conv{index}"
            if normalize:
                x = graph.relu(graph.normalized_conv(x, width * factor, names=(name, None)))
            else:
                x = graph.conv(x, width * factor, activation="relu", name=name)
        x = graph.pool("Max", x, 2, name=f"block{block}_pool")
    return x


def _resnet(graph: Graph, width: int, units: tuple[int, ...], stem: str, avg_pool: int) -> str:
    """ResNet50 with the stride in the first 1x1 convolution of a unit."""
    x, padding = "input_1", "same"
    if stem == "zero_padding":
        x, padding = graph.add("ZeroPadding2D", x, padding=[[3, 3], [3, 3]]), "valid"
    x = graph.normalized_conv(x, width, 7, 2, padding, names=("conv1", "bn_conv1"))
    x = graph.pool("Max", graph.relu(x), 3, 2)
    for stage, repeats in enumerate(units, 2):
        narrow = width * 2 ** (stage - 2)
        for index in range(repeats):
            unit, stride = f"{stage}{chr(ord('a') + index)}_branch", 2 if index == 0 and stage > 2 else 1
            names = [(f"res{unit}{part}", f"bn{unit}{part}") for part in ("2a", "2b", "2c", "1")]
            y = graph.relu(graph.normalized_conv(x, narrow, 1, stride, "valid", names=names[0]))
            y = graph.relu(graph.normalized_conv(y, narrow, 3, names=names[1]))
            y = graph.normalized_conv(y, 4 * narrow, 1, padding="valid", names=names[2])
            if index == 0:
                x = graph.normalized_conv(x, 4 * narrow, 1, stride, "valid", names=names[3])
            x = graph.relu(graph.add("Add", [y, x]))
    return graph.pool("Average", x, avg_pool, name="avg_pool")


def whole_model(
    backbone, blocks=(), *, image_size=(64, 64), heatmap=None, fc=None, shortcut=False, classes=5, rate=0.5, **patch
) -> dict:
    """`model_config` of a whole-image classifier: the patch net (`patch`: see there) up to its kept layer, and a top.

    `blocks`: ("residual", (M, N, O), repeats) or ("vgg", M, repeats). `heatmap`: {"pool": 7, "stride": 1, "activation":
    "relu", "max_pool": 5}, these where left out; `max_pool` None is no such layer. `fc`: units, say (64, 32), instead
    of the global pooling; `shortcut` adds logits straight from the flattened maps to theirs.
    """
    whole_patch = patch_model(backbone, classes=classes, **patch)["config"]
    kept = whole_patch["layers"][: len(whole_patch["layers"]) + KEPT_LAYER[backbone] + 1]
    graph = Graph("model_2", (*image_size, kept[0]["config"]["batch_input_shape"][-1]))
    x = graph.nest(_model("model_1", kept, kept[-1]["name"]), "input_1")
    if heatmap is not None:
        heatmap = {"pool": 7, "stride": 1, "activation": "relu", "max_pool": 5, **heatmap}
        x = graph.add("Dropout", graph.pool("Average", x, heatmap["pool"], heatmap["stride"]), rate=rate)
        x = graph.add("Dense", x, units=classes, activation=heatmap["activation"])
        if heatmap["max_pool"]:
            x = graph.pool("Max", x, heatmap["max_pool"])
    for kind, filters, repeats in blocks:
        x = {"residual": _residual_block, "vgg": _vgg_block}[kind](graph, x, filters, repeats, rate)
    x = flat = graph.add("Flatten" if fc else "GlobalAveragePooling2D", x)
    x = graph.add("Dropout", x, rate=rate)
    for units in fc or ():
        x = graph.add("BatchNormalization", graph.add("Dense", x, units=units), axis=-1)
        x = graph.add("Dropout", graph.relu(x), rate=rate)
    if shortcut:
        x = graph.add("Add", [graph.add("Dense", x, units=2), graph.add("Dense", flat, units=2)])
        return graph.model(graph.add("Activation", x, activation="softmax"))
    return graph.model(graph.add("Dense", x, units=2, activation="softmax"))


def _residual_block(graph: Graph, x: str, filters: tuple[int, int, int], repeats: int, rate: float) -> str:
    for unit in range(repeats):
        stride, y = 1 if unit else 2, x
        for index, (count, size) in enumerate(zip(filters, (1, 3, 1), strict=True)):
            y = graph.normalized_conv(y, count, size, 1 if index else stride)
            if index < 2:
                y = graph.add("Dropout", graph.relu(y), rate=rate)
        if unit == 0:
            x = graph.normalized_conv(x, filters[2], 1, stride, "valid")
        x = graph.add("Dropout", graph.relu(graph.add("Add", [x, y])), rate=rate)
    return x


def _vgg_block(graph: Graph, x: str, filters: int, repeats: int, rate: float) -> str:
    for _ in range(repeats):
        x = graph.add("Dropout", graph.relu(graph.normalized_conv(x, filters)), rate=rate)
    return graph.pool("Max", x, 2)


def weight_shapes(model_config: dict) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes of all weights in the layers' order, `{"model_1/conv1": {"kernel": (7, 7, 3, 64), "bias": (64,)}}`."""
    found = {}
    _infer_shapes(model_config["config"], None, "", found)
    return found


def count_parameters(model_config: dict) -> int:
    """All weights, also those that training doesn't change."""
    return sum(int(np.prod(shape)) for roles in weight_shapes(model_config).values() for shape in roles.values())


def _infer_shapes(config: dict, shape: list[int | None] | None, prefix: str, found: dict) -> list[int | None]:
    """Output shape (without the batch) of a model on input of `shape`; `found` receives the shapes of its weights."""
    shapes = {}
    for layer in config["layers"]:
        name, kind, settings = layer["name"], layer["class_name"], layer["config"]
        now = shapes[_sources(layer)[0]] if layer["inbound_nodes"] else shape or settings["batch_input_shape"][1:]
        roles = {}
        if kind == "Model":
            now = _infer_shapes(settings, now, f"{prefix}{name}/", found)
        elif kind == "ZeroPadding2D":
            (top, bottom), (left, right) = settings["padding"]
            now = [now[0] and now[0] + top + bottom, now[1] and now[1] + left + right, now[2]]
        elif kind == "Conv2D" or kind in ("MaxPooling2D", "AveragePooling2D"):
            window, out = settings.get("kernel_size") or settings["pool_size"], settings.get("filters", now[2])
            if kind == "Conv2D":
                roles = {"kernel": (*window, now[2], out), "bias": (out,)}
            if settings["padding"] == "same":
                window = (1, 1)
            steps = zip(now[:2], window, settings["strides"], strict=True)
            now = [*(size and (size - extent) // stride + 1 for size, extent, stride in steps), out]
        elif kind == "Dense":
            roles = {"kernel": (now[-1], settings["units"]), "bias": (settings["units"],)}
            now = [*now[:-1], settings["units"]]
        elif kind == "BatchNormalization":
            roles = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (now[-1],))
        elif kind == "GlobalAveragePooling2D":
            now = now[-1:]
        elif kind == "Flatten":
            now = [int(np.prod(now))]
        if roles:
            found[prefix + name] = roles
        shapes[name] = now
    return shapes[config["output_layers"][0][0]]


def random_weights(model_config: dict, seed: int = 0) -> Weights:
    """Weights with which activations neither grow nor vanish, and no two of which are equal."""
    generator, weights, damped = np.random.default_rng(seed), {}, _feeding_sums(model_config["config"], "")
    for name, roles in weight_shapes(model_config).items():
        arrays = weights[name] = {}
        for role, shape in roles.items():
            if role == "kernel":  # He's gain before a ReLU; less in branches that are added up, and in dense layers
                gain = 0.5 if name in damped else 2.0 if len(shape) == 4 else 1.0
                array = generator.normal(0, np.sqrt(gain / np.prod(shape[:-1])), shape)
            elif role in ("gamma", "moving_variance"):
                array = generator.uniform(0.5, 1.5, shape)
            else:
                array = generator.normal(0, 0.1, shape)
            arrays[role] = array.astype(np.float32)
    return weights


def _feeding_sums(config: dict, prefix: str) -> set[str]:
    """Convolutions whose normalized output is a term of a sum."""
    layers, found = {layer["name"]: layer for layer in config["layers"]}, set()
    for layer in config["layers"]:
        if layer["class_name"] == "Model":
            found |= _feeding_sums(layer["config"], f"{prefix}{layer['name']}/")
        elif layer["class_name"] == "Add":
            terms = (layers[name] for name in _sources(layer))
            found |= {prefix + _sources(term)[0] for term in terms if term["class_name"] == "BatchNormalization"}
    return found


def write_keras_h5(path, model_config: dict, seed=0, frozen=(), suffix=False, optimizer=False) -> Weights:
    """Writes a file as `model.save` of Keras 2.0.8 does, with random weights, which it returns.

    `frozen`: layers of the nested model (of a patch net: its own) saved as not trainable, "all" for all. `suffix`: as
    from a session that had loaded such a model before, so that TensorFlow renames the scopes of all variables.
    """
    weights, model_config = random_weights(model_config, seed), copy.deepcopy(model_config)
    layers = model_config["config"]["layers"]
    inner = next((layer["config"]["layers"] for layer in layers if layer["class_name"] == "Model"), None)
    for layer in layers if inner is None else inner:
        if "trainable" in layer["config"] and (frozen == "all" or layer["name"] in frozen):
            layer["config"]["trainable"] = False
    taken = Counter()  # scopes of the session: at least those of the patch net that the whole-image net was made from
    if suffix:
        taken.update({key.split("/")[-1] for key in weights})
    elif inner is not None:
        taken["predictions" if any(layer["name"] == "block6_pool" for layer in inner) else "dense_1"] += 1
    with h5py.File(path, "w") as file:
        attributes = {"keras_version": b"2.0.8", "backend": b"tensorflow"}
        file.attrs.update({**attributes, "model_config": json.dumps(model_config).encode()})
        group = file.create_group("model_weights")
        group.attrs.update({**attributes, "layer_names": _fixed_length([layer["name"] for layer in layers])})
        for layer in layers:
            _write_layer(group.create_group(layer["name"]), layer, weights, taken)
        if optimizer:
            settings = {"class_name": "Adam", "config": {"lr": 1e-4, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}}
            training = {"loss": "categorical_crossentropy", "optimizer_config": settings, "metrics": None}
            file.attrs["training_config"] = json.dumps(training).encode()
            names = ["Adam/iterations:0", *(f"training/Adam/Variable{end}:0" for end in ("", "_1", "_2"))]
            group = file.create_group("optimizer_weights")
            group.attrs["weight_names"] = _fixed_length(names)
            for number, name in enumerate(names):
                group[name] = np.full((3,) if number else (), number, np.float32)
    return weights


def _write_layer(group: h5py.Group, layer: dict, weights: Weights, taken: Counter) -> None:
    """All trainable weights of all layers of a nested model come before the others, whatever layer these belong to."""
    nested = layer["class_name"] == "Model"
    first, second = [], []
    for sublayer in layer["config"]["layers"] if nested else [layer]:
        name = sublayer["name"]
        arrays = weights.get(f"{layer['name']}/{name}" if nested else name)
        if arrays is None:
            continue
        scope = f"{name}_{taken[name]}" if taken[name] else name
        taken[name] += 1
        for role, array in arrays.items():
            fixed = role.startswith("moving_") or not sublayer["config"]["trainable"]
            (second if fixed else first).append((f"{scope}/{role}:0", array))
    group.attrs["weight_names"] = _fixed_length([name for name, _ in first + second])
    for name, array in first + second:
        group[name] = array


def _fixed_length(names: list[str]) -> np.ndarray:
    return np.array([name.encode() for name in names])  # of none: zero floats, as in Keras's files


def read_model_config(path) -> dict:
    with h5py.File(path) as file:
        return json.loads(file.attrs["model_config"])


def read_weights_by_name(path) -> Weights:
    """Weights of a file by the names of its datasets alone, without regard to their order."""
    weights: Weights = {}
    layers = {layer["name"]: layer for layer in read_model_config(path)["config"]["layers"]}
    with h5py.File(path) as file:
        for name, group in file["model_weights"].items():
            sublayers = {layer["name"] for layer in layers[name]["config"].get("layers", ())}
            for key in group.attrs["weight_names"]:
                scope, role = key.decode().removesuffix(":0").rsplit("/", 1)
                scope = scope if scope in sublayers else re.sub(r"_\d+$", "", scope)
                weights.setdefault(f"{name}/{scope}" if sublayers else name, {})[role] = group[key][()]
    return weights


def run_keras(model_config: dict, weights: Weights, x: np.ndarray) -> np.ndarray:
    """What Keras with TensorFlow computes in inference, in float64, for `x` in NHWC."""
    with torch.inference_mode():
        return _run(model_config["config"], weights, torch.from_numpy(np.asarray(x, np.float64))).numpy()


def _run(config: dict, weights: Weights, x: torch.Tensor, prefix: str = "") -> torch.Tensor:
    values = {}
    for layer in config["layers"]:
        name = layer["name"]
        inputs = [values[source] for source in _sources(layer)]
        if layer["class_name"] == "InputLayer":
            values[name] = x
        elif layer["class_name"] == "Model":
            values[name] = _run(layer["config"], weights, inputs[0], f"{name}/")
        else:
            given = weights.get(prefix + name, {})
            arrays = {role: torch.from_numpy(np.asarray(array, np.float64)) for role, array in given.items()}
            values[name] = _apply(layer["class_name"], layer["config"], arrays, inputs)
    return values[config["output_layers"][0][0]]


def _apply(kind: str, config: dict, arrays: dict[str, torch.Tensor], inputs: list[torch.Tensor]) -> torch.Tensor:
    """One layer; all tensors have their channels last."""
    assert config.get("data_format", "channels_last") == "channels_last"
    assert config.get("dilation_rate", [1, 1]) == [1, 1]
    x = inputs[0]
    if kind == "Dropout":
        return x
    if kind == "Add":
        return sum(inputs[1:], x)
    if kind == "Activation":
        return _activate(x, config["activation"])
    if kind == "Dense":
        return _activate(x @ arrays["kernel"] + arrays["bias"], config["activation"])
    if kind == "Flatten":
        return x.reshape(len(x), -1)
    if kind == "GlobalAveragePooling2D":
        return x.mean((1, 2))
    if kind == "BatchNormalization":
        assert config["axis"] in (-1, x.ndim - 1)
        scale = arrays["gamma"] / torch.sqrt(arrays["moving_variance"] + config["epsilon"])
        return (x - arrays["moving_mean"]) * scale + arrays["beta"]
    maps = x.permute(0, 3, 1, 2)
    if kind == "ZeroPadding2D":
        (top, bottom), (left, right) = config["padding"]
        maps = functional.pad(maps, (left, right, top, bottom))
    elif kind == "Conv2D":
        if config["padding"] == "same":
            sides = zip(maps.shape[2:], config["kernel_size"], config["strides"], strict=True)
            (top, bottom), (left, right) = (_same_padding(*side) for side in sides)
            maps = functional.pad(maps, (left, right, top, bottom))
        maps = functional.conv2d(maps, arrays["kernel"].permute(3, 2, 0, 1), arrays["bias"], config["strides"])
    elif kind in ("MaxPooling2D", "AveragePooling2D"):
        assert config["padding"] == "valid"
        pool = functional.max_pool2d if kind == "MaxPooling2D" else functional.avg_pool2d
        maps = pool(maps, config["pool_size"], config["strides"])
    else:
        raise ValueError(f"no {kind} layers in the published models")
    return _activate(maps.permute(0, 2, 3, 1), config.get("activation", "linear"))


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "same": what makes ceil(size / stride) windows fit, the odd one after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _activate(x: torch.Tensor, name: str) -> torch.Tensor:
    return {"linear": lambda x: x, "relu": torch.relu, "softmax": lambda x: x.softmax(-1)}[name](x)


def genuine(name: str) -> tuple[Path, np.ndarray, np.ndarray]:
    """A file of Keras's own in tests/data/keras ("resnet_whole"), an input and Keras's output for it."""
    folder = Path(__file__).parents[1] / "data" / "keras"
    with np.load(folder / f"k208_{name}_io.npz") as arrays:
        return folder / f"k208_{name}.h5", arrays["x"], arrays["y"]
