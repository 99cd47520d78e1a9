"""Read the author's published Keras models without Keras: layers, graph and weights of a legacy ``.h5`` file.

Nothing in the file is executed, and no other file is opened. The layout is that of Keras 2.0.8:
``keras/models.py:102`` (file), ``keras/engine/topology.py:2839`` (weights) and ``:345``, ``:1959`` (their order).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from monai_e2e.errors import UserError
from monai_e2e.networks.keras_hdf5 import FILE_ERRORS, check_kind, member, names_in, texts_in

LAYERS = (
    *("InputLayer", "Conv2D", "BatchNormalization", "Activation", "Add", "ZeroPadding2D", "MaxPooling2D"),
    *("AveragePooling2D", "GlobalAveragePooling2D", "Flatten", "Dropout", "Dense"),
)
CONTAINERS = ("Model", "Functional")

#: Exceptions when a malformed configuration is parsed, also one with loops.
_CONFIG_ERRORS = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class KerasLayer:
    """One layer of a Keras model.

    Shape: ``weights`` are float32 in Keras's axis order: ``kernel`` ``[kh, kw, in, out]`` or ``[in, out]``; ``bias``,
    ``gamma``, ``beta``, ``moving_mean``, ``moving_variance`` ``[out]``. Which of them exist depends on its options.
    """

    name: str  # unique in the flattened graph, such as "model_1/conv1" for a layer of a nested model
    class_name: str  # one of LAYERS
    config: Mapping[str, Any]  # the layer's options, as Keras wrote them
    inputs: tuple[str, ...]  # names of the layers before it, in Keras's order
    weights: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class KerasModel:
    """A Keras model with one input and one output, with its nested models flattened into one graph."""

    path: Path
    layers: Mapping[str, KerasLayer]  # by name, in topological order
    output: str  # name of the output layer

    def consumers(self, name: str) -> tuple[KerasLayer, ...]:
        """The layers that take the output of the layer ``name``."""
        return tuple(layer for layer in self.layers.values() if name in layer.inputs)


class _Weight(NamedTuple):
    layer: str  # name in the flattened graph
    scope: str  # name in its own model, with which the dataset's name begins
    role: str
    shape: tuple[int | None, ...]  # None: any size


def read_keras(path: str | Path) -> KerasModel:
    """Read a model that ``model.save`` of Keras 2 wrote with the TensorFlow backend.

    Args:
        path: a legacy ``.h5`` file.

    Raises:
        UserError: when the file is missing, damaged, of another kind or version, has layers that are not in
            :data:`LAYERS`, or weights that don't fit its layers. The message begins with the path.
    """
    path = Path(path)
    try:
        check_kind(path)
        with h5py.File(path, "r") as file:
            layers, groups, output = _parse_config(_read_config(file))
            weights = _read_weights(file, groups, path.stat().st_size)
    except UserError as error:
        raise UserError(f"{path} {error}") from error
    except FILE_ERRORS as error:
        raise UserError(f"{path} is damaged or unreadable ({' '.join(str(error).split())}): fetch it again") from error
    layers = {name: replace(layer, weights=weights.get(name, {})) for name, layer in layers.items()}
    return KerasModel(path, layers, output)


def _read_config(file: h5py.File) -> str:
    """``model_config`` of a file; raises a UserError if version or backend is not supported."""
    if "model_config" not in file.attrs:
        if "layer_names" in file.attrs or "layer_names0" in file.attrs:
            raise UserError("holds weights without their model: save with model.save, not save_weights")
        raise UserError("is an HDF5 file without a Keras model ('model_config'): save one with model.save of Keras 2")
    # Some versions of Keras record version and backend only with the weights.
    weights = member(file, "model_weights", h5py.Group)
    version, backend = (
        "".join(texts_in(file if key in file.attrs else weights, key)) or "unknown"
        for key in ("keras_version", "backend")
    )
    if not version.startswith("2."):
        raise UserError(f"was saved by Keras {version}, supported are 2.0 to 2.x: save it again with one of these")
    if backend != "tensorflow":  # kernels of Theano are flipped
        raise UserError(f"was saved with the backend {backend}, supported is tensorflow: save it again with that")
    return "".join(texts_in(file, "model_config"))


def _parse_config(text: str) -> tuple[dict[str, KerasLayer], dict[str, list[_Weight]], str]:
    """Layers in topological order; weights of each top-level layer in the order of ``weight_names``; output layer."""
    layers: dict[str, KerasLayer] = {}
    aliases: dict[str, str] = {}

    def resolve(name: str) -> str:
        return name if name in layers else resolve(aliases[name])

    try:
        model = json.loads(text)
        if model["class_name"] not in CONTAINERS:
            raise UserError(f"holds a {model['class_name']}, supported are functional models: {', '.join(CONTAINERS)}")
        parts = _flatten(model["config"], "", "", layers, aliases)
        for name, layer in layers.items():
            layers[name] = replace(layer, inputs=tuple(map(resolve, layer.inputs)))
        order = list(TopologicalSorter({name: layer.inputs for name, layer in layers.items()}).static_order())
        output = resolve(model["config"]["output_layers"][0][0])
    except UserError:
        raise  # a UserError is a ValueError, which the next clause would catch
    except _CONFIG_ERRORS as error:
        raise UserError(
            f"has a 'model_config' that describes no functional model of Keras 2 ({type(error).__name__}: {error}): "
            "fetch it again, or save it again by model.save of Keras 2"
        ) from error
    groups = {name: trainable + frozen for name, (trainable, frozen) in parts.items()}
    return {name: layers[name] for name in order}, groups, output


def _flatten(
    config: dict[str, Any], prefix: str, feed: str, layers: dict[str, KerasLayer], aliases: dict[str, str]
) -> dict[str, tuple[list[_Weight], list[_Weight]]]:
    """Add a model's layers to ``layers``, with those of its nested models.

    Args:
        config: the model's configuration.
        prefix: for the names of its layers, such as ``"model_1/"``; empty for the outermost model.
        feed: name of the layer that a nested model takes its input from.
        layers: filled by name.
        aliases: filled with other names that inputs may have: a nested model → its output layer, its input layer →
            ``feed``.

    Returns:
        For each layer, its trainable weights and the others, both in Keras's order.
    """
    (start, *more_starts), (end, *more_ends) = config["input_layers"], config["output_layers"]
    if more_starts or more_ends:
        raise UserError("has several inputs or outputs; supported are models with one of each")
    if prefix:
        aliases[prefix.removesuffix("/")] = prefix + end[0]
    parts: dict[str, tuple[list[_Weight], list[_Weight]]] = {}
    for item in config["layers"]:
        scope, kind, options = item["name"], item["class_name"], item["config"]
        name = prefix + scope
        if scope in parts or not re.fullmatch(r"[\w.-]+", scope, re.ASCII):
            raise UserError(f"has a second or malformed layer name {name!r}: fetch it again")
        if kind not in LAYERS + CONTAINERS:
            code, supported = " (code, which is never run)" if kind == "Lambda" else "", ", ".join(LAYERS + CONTAINERS)
            raise UserError(f"has the layer '{name}' of class {kind}{code}; supported are: {supported}")
        if options.get("data_format", "channels_last") != "channels_last":
            raise UserError(f"has the layer '{name}' with {options['data_format']}; supported is channels_last")
        inputs = _inputs(item, name, prefix)
        if kind in CONTAINERS:
            inner = _flatten(options, f"{name}/", inputs[0], layers, aliases).values()
            parts[scope] = [w for part, _ in inner for w in part], [w for _, part in inner for w in part]
            continue
        if kind == "InputLayer" and scope != start[0]:
            raise UserError(f"has a second input, '{name}'; supported are models with one")
        if kind == "InputLayer" and prefix:
            aliases[name] = feed
        else:
            layers[name] = KerasLayer(name, kind, options, inputs, {})
        weights = [_Weight(name, scope, role, shape) for role, shape in _shapes(kind, options).items()]
        # Not trainable are all weights of a frozen layer, and the moving statistics of any layer.
        still = [w for w in weights if w.role.startswith("moving_") or not options.get("trainable", True)]
        parts[scope] = [w for w in weights if w not in still], still
    return parts


def _inputs(item: dict[str, Any], name: str, prefix: str) -> tuple[str, ...]:
    calls, kind = item["inbound_nodes"], item["class_name"]
    if len(calls) > 1:
        raise UserError(f"shares the layer '{name}' among {len(calls)} places; supported are layers in one place")
    inputs = []
    for source, _, tensor, *arguments in calls[0] if calls else []:
        if tensor != 0 or any(arguments):
            raise UserError(
                f"calls the layer '{name}' with {[tensor, *arguments]}; supported are calls without arguments"
            )
        inputs.append(prefix + source)
    if len(inputs) < 2 if kind == "Add" else len(inputs) != (kind != "InputLayer"):
        raise UserError(f"has the layer '{name}' of class {kind} with {len(inputs)} inputs: fetch it again")
    return tuple(inputs)


def _shapes(kind: str, config: dict[str, Any]) -> dict[str, tuple[int | None, ...]]:
    """Roles and shapes of a layer's weights, in Keras's order; None is any size."""
    if kind == "BatchNormalization":
        used = {"gamma": config["scale"], "beta": config["center"], "moving_mean": True, "moving_variance": True}
        return {role: (None,) for role, present in used.items() if present}
    if kind not in ("Conv2D", "Dense"):
        return {}
    size = int(config["filters" if kind == "Conv2D" else "units"])
    field = [int(n) for n in config["kernel_size"]] if kind == "Conv2D" else []
    bias: dict[str, tuple[int | None, ...]] = {"bias": (size,)} if config["use_bias"] else {}
    return {"kernel": (*field, None, size), **bias}


def _read_weights(file: h5py.File, groups: dict[str, list[_Weight]], room: int) -> dict[str, dict[str, np.ndarray]]:
    """Arrays by layer and role, matched by their order and checked by their names.

    ``room`` is the file's size in bytes: its arrays can't have more.
    """
    root = member(file, "model_weights", h5py.Group)
    if sorted(names_in(root, "layer_names")) != sorted(groups):
        raise UserError("has weights of other layers than its model's: fetch it again")
    arrays: dict[str, dict[str, np.ndarray]] = {}
    scopes: dict[str, str] = {}
    for key, expected in groups.items():
        group = member(root, key, h5py.Group)
        names = names_in(group, "weight_names")
        if len(names) != len(expected) or len(set(names)) != len(names):
            raise UserError(f"has {len(set(names))} weights for '{key}', not {len(expected)}: fetch it again")
        for name, weight in zip(names, expected, strict=True):
            # TensorFlow numbers scopes of the same name: the gamma of bn_1 may be called bn_1_2/gamma:0.
            scope, _, role = name.removesuffix(":0").rpartition("/")
            fits = role == weight.role and re.fullmatch(re.escape(weight.scope) + "(_[0-9]+)?", scope)
            if not fits or scopes.setdefault(weight.layer, scope) != scope:
                raise UserError(
                    f"has {name!r} in place of the {weight.role} of '{weight.layer}', so order and names of its "
                    "weights disagree: save it again by model.save of Keras 2"
                )
            dataset = member(group, name, h5py.Dataset)
            siblings = arrays.setdefault(weight.layer, {})
            if siblings and weight.shape == (None,):  # BatchNormalization, whose options don't include its size
                weight = weight._replace(shape=next(iter(siblings.values())).shape)
            siblings[role] = _read_array(dataset, weight, room)
            room -= dataset.nbytes
    return arrays


def _read_array(dataset: h5py.Dataset, weight: _Weight, room: int) -> np.ndarray:
    what = f"the {weight.role} of '{weight.layer}'"
    # Other layouts may refer to other files, which would be opened as soon as the shape is read.
    layout = dataset.id.get_create_plist().get_layout()
    if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) or dataset.external:
        raise UserError(f"stores {what} in chunks or in another file: save it again by model.save of Keras 2")
    shape, wanted = dataset.shape, weight.shape
    if len(shape) != len(wanted) or any(w not in (None, n) for n, w in zip(shape, wanted, strict=True)):
        raise UserError(f"has {list(shape)} for {what}, its model {list(wanted)} (None is any): fetch it again")
    if dataset.dtype.kind != "f" or dataset.nbytes > room or dataset.id.get_storage_size() != dataset.nbytes:
        raise UserError(f"does not hold {what} as a complete array of floats: fetch it again")
    array = dataset.astype(np.float32)[()]
    if not np.isfinite(array).all():
        raise UserError(f"has values in {what} that are not finite, as after a failed training: take another file")
    return array
