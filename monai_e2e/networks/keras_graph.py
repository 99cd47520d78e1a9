"""The architecture of the author's Keras models, read from their graph.

The graph is followed from input to output: a backbone, then a heatmap or top blocks, then a head. The names of the
layers and of the file are not used. What the networks look like was taken from the author's program
(github.com/lishen/end2end-all-conv) and from Keras 2.0; no code of either is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from monai_e2e.networks.backbones.base import KERAS_EPS
from monai_e2e.networks.backbones.vgg import VGG16, VGG19
from monai_e2e.networks.keras_file import KerasLayer, KerasModel
from monai_e2e.networks.keras_walk import GraphWalk, is_layer

_LINEAR = {"activation": "linear", "use_bias": True, "dilation_rate": [1, 1]}


class GraphReader(GraphWalk):
    """Follows a Keras graph, and collects the arguments with which our classes make the same network.

    Attributes:
        layers: filled by :meth:`architecture`, see :class:`~monai_e2e.networks.keras_walk.GraphWalk`.
    """

    def __init__(self, model: KerasModel) -> None:
        super().__init__(model)
        self.image_size = list(self.at.config["batch_input_shape"][1:3])
        self.arguments: dict[str, Any] = {"in_channels": self.at.config["batch_input_shape"][3]}
        self.norm_eps: float | None = None

    def architecture(self) -> dict[str, Any]:
        """Arguments of :func:`monai_e2e.networks.make_classifier`.

        Raises:
            UserError: when the graph is not one that the author's program makes. The message names the layer.
        """
        try:
            self._backbone()
            blocks = list(self._top())
            flattened = self._next_is("Flatten")
            if blocks or flattened or "heatmap" in self.arguments:
                blocks += self._fully_connected() if flattened else self._global_pooling()
                self.arguments |= {"top_blocks": blocks, "image_size": self.image_size}
                self.arguments["norm_eps"] = KERAS_EPS if self.norm_eps is None else self.norm_eps
            else:
                self._patch_head()
        except (LookupError, TypeError) as error:
            raise self.refusal(self.at, f"is followed by something else ({type(error).__name__}: {error})") from error
        self._check_complete()
        if "top_blocks" in self.arguments and None not in self.image_size:
            self.arguments["preparation"] = {"image_size": self.image_size}
        return self.arguments

    def _norm(self, key: str) -> None:
        layer = self._step("BatchNormalization", key, scale=True, center=True)
        eps, axis = layer.config["epsilon"], layer.config["axis"]
        if axis not in (-1, 1 if key.startswith("fully_connected.") else 3):
            raise self.refusal(layer, f"normalises along axis {axis} where the channels, the last one, are supported")
        if key.startswith("backbone.") and eps != KERAS_EPS:
            raise self.refusal(layer, f"has epsilon {eps} where {KERAS_EPS} is supported")
        if not key.startswith("backbone."):
            if self.norm_eps not in (None, eps):
                raise self.refusal(layer, f"has epsilon {eps} where all layers before it have {self.norm_eps}")
            self.norm_eps = eps

    # Backbones

    def _backbone(self) -> None:
        following = self._following()
        first = following[0] if following else self.at
        if first.class_name == "ZeroPadding2D" or is_layer(first, "Conv2D", kernel_size=[7, 7]):
            self._resnet()
        elif is_layer(first, "Conv2D", activation="relu"):
            self._vgg()
        else:
            self._yaroslavnet()

    def _resnet(self) -> None:
        options: dict[str, Any] = {"stem_padding": "same"}
        if self._next_is("ZeroPadding2D"):
            options["stem_padding"] = "zeros"
            self._step("ZeroPadding2D", padding=[[3, 3], [3, 3]])
        padding = "same" if options["stem_padding"] == "same" else "valid"
        conv = self._step("Conv2D", "backbone.conv1", kernel_size=[7, 7], strides=[2, 2], padding=padding, **_LINEAR)
        self._norm("backbone.bn1")
        self._step("Activation", activation="relu")
        self._step("MaxPooling2D", pool_size=[3, 3], strides=[2, 2], padding="valid")
        widths = []
        for stage, units in enumerate((3, 4, 6, 3), start=1):
            for unit in range(units):
                key = f"backbone.layer{stage}.{unit}"
                names = [(f"{key}.conv{n}", f"{key}.bn{n}") for n in (1, 2, 3)]
                shortcut = (f"{key}.downsample.0", f"{key}.downsample.1")
                stride = 0 if unit else (1 if stage == 1 else 2)
                width = self._bottleneck(names, shortcut, stride)[0]
                last = stage == 4 and unit == units - 1
                if last and not self._next_is("Activation"):
                    options["last_layer"] = False
                else:
                    self._step("Activation", activation="relu")
            widths.append(width)
        if conv.config["filters"] != widths[0]:
            raise self.refusal(conv, f"has {conv.config['filters']} filters where {widths[0]} are supported")
        self._set_backbone("resnet50_keras", (64, 128, 256, 512), widths, options)

    def _bottleneck(
        self, names: Sequence[tuple[str, str]], shortcut: tuple[str, str], stride: int
    ) -> tuple[int, int, int]:
        """Follow a residual unit to its sum; ``stride`` 0: the shortcut is the identity. Returns its three channels."""
        start, following = self.at, self._following()
        convolutions = [layer for layer in following if layer.class_name == "Conv2D"]
        sums = [layer for layer in following if layer.class_name == "Add"]
        if len(following) != 2 or len(convolutions) != (2 if stride else 1) or len(sums) != (0 if stride else 1):
            kinds = ", ".join(layer.class_name for layer in following)
            raise self.refusal(start, f"is followed by {kinds} where a residual unit is supported")
        ends = [start.name]
        if stride:
            # Which branch is which: after the first normalisation the residual one has a ReLU, the shortcut the sum.
            self.at = convolutions[0]
            self._step("BatchNormalization")
            if self._next_is("Activation"):
                convolutions.reverse()
            self._take(convolutions[0], "Conv2D", shortcut[0], kernel_size=[1, 1], strides=[stride] * 2, **_LINEAR)
            self._norm(shortcut[1])
            ends = [self.at.name]
        one, three = {"kernel_size": [1, 1], **_LINEAR}, {"kernel_size": [3, 3], "padding": "same", **_LINEAR}
        (conv1, norm1), (conv2, norm2), (conv3, norm3) = names
        first = self._take(convolutions[-1], "Conv2D", conv1, strides=[stride or 1] * 2, **one)
        self._norm(norm1)
        self._step("Activation", activation="relu")
        second = self._step("Conv2D", conv2, strides=[1, 1], **three)
        self._norm(norm2)
        self._step("Activation", activation="relu")
        third = self._step("Conv2D", conv3, strides=[1, 1], **one)
        self._norm(norm3)
        ends.append(self.at.name)
        add = self._step("Add")
        if sorted(self._source(name) for name in add.inputs) != sorted(ends):
            raise self.refusal(add, f"adds {', '.join(add.inputs)} where {' and '.join(ends)} is supported")
        return first.config["filters"], second.config["filters"], third.config["filters"]

    def _source(self, name: str) -> str:
        layer = self.model.layers[name]
        return self._source(layer.inputs[0]) if layer.class_name == "Dropout" else name

    def _vgg(self) -> None:
        convolutions, widths, index = [], [], 0
        options = {}
        for stage in range(5):
            convolutions.append(0)
            while self._next_is("Conv2D", activation="relu"):
                key = f"backbone.features.{index}"
                window = {"kernel_size": [3, 3], "strides": [1, 1], "dilation_rate": [1, 1], "padding": "same"}
                layer = self._step("Conv2D", key, use_bias=True, **window)
                convolutions[-1] += 1
                index += 2
            widths.append(layer.config["filters"])
            if stage == 4 and not self._next_is("MaxPooling2D"):
                options["last_layer"] = False
            else:
                self._step("MaxPooling2D", pool_size=[2, 2], strides=[2, 2], padding="valid")
                index += 1
        names: dict[tuple[int, ...], str] = {VGG16.convolutions: "vgg16", VGG19.convolutions: "vgg19"}
        name = names.get(tuple(convolutions))
        if name is None:
            raise self.refusal(self.at, f"ends a VGG network of {convolutions} convolutions")
        self._set_backbone(name, (64, 128, 256, 512, 512), widths, options)

    def _yaroslavnet(self) -> None:
        widths = []
        for stage in range(6):
            for index in (7 * stage, 7 * stage + 3):
                conv = self._conv_3x3(f"backbone.features.{index}", f"backbone.features.{index + 1}")
            widths.append(conv.config["filters"])
            self._step("MaxPooling2D", pool_size=[2, 2], strides=[2, 2], padding="valid")
        self._set_backbone("yaroslavnet", (32, 64, 128, 256, 256, 512), widths, {})

    def _conv_3x3(self, conv: str, norm: str) -> KerasLayer:
        layer = self._step("Conv2D", conv, kernel_size=[3, 3], strides=[1, 1], padding="same", **_LINEAR)
        self._norm(norm)
        self._step("Activation", activation="relu")
        return layer

    def _set_backbone(self, name: str, published: Sequence[int], widths: Sequence[int], options: dict) -> None:
        factor = widths[0] / published[0]
        scaled = [int(channels * factor) for channels in published]
        self.arguments |= {"backbone": name, "backbone_options": options}
        self.arguments["width"] = factor if scaled == list(widths) else list(widths)

    # Heatmap and top blocks

    def _top(self) -> Iterator[str]:
        if self._next_is("AveragePooling2D") and is_layer(self._following(self._following()[0])[0], "Dense"):
            self._heatmap()
        block = 0
        while True:
            following = self._following()
            if len(following) == 2 and any(layer.class_name == "Conv2D" for layer in following):
                block += 1
                yield self._residual_block(f"top.block{block}")
            elif self._next_is("Conv2D"):
                block += 1
                yield self._vgg_block(f"top.block{block}")
            else:
                return

    def _heatmap(self) -> None:
        pool = self._step("AveragePooling2D", padding="valid").config
        if len({*pool["pool_size"]}) != 1 or len({*pool["strides"]}) != 1:
            raise self.refusal(self.at, f"pools {pool['pool_size']} by {pool['strides']} where squares are supported")
        dense = self._step("Dense", "heatmap.classifier", use_bias=True).config
        if dense["activation"] not in ("relu", "softmax"):
            raise self.refusal(self.at, f"has activation {dense['activation']} where relu and softmax are supported")
        heatmap = {"pool_size": pool["pool_size"][0], "stride": pool["strides"][0], "activation": dense["activation"]}
        if self._next_is("MaxPooling2D"):
            side = self._following()[0].config["pool_size"][0]
            self._step("MaxPooling2D", pool_size=[side, side], strides=[side, side], padding="valid")
            heatmap["max_pool"] = side
        self.arguments |= {"heatmap": heatmap, "patch_classes": dense["units"]}

    def _residual_block(self, key: str) -> str:
        channels: list[tuple[int, int, int]] = []
        while len(self._following()) == 2:
            starts_block = not any(layer.class_name == "Add" for layer in self._following())
            if channels and starts_block:
                break
            unit = f"{key}.{len(channels)}"
            names = [(f"{unit}.residual.{n}", f"{unit}.residual.{n + 1}") for n in (0, 3, 6)]
            shortcut = (f"{unit}.shortcut.0", f"{unit}.shortcut.1")
            channels.append(self._bottleneck(names, shortcut, stride=2 if starts_block else 0))
            self._step("Activation", activation="relu")
            if channels[-1] != channels[0]:
                raise self.refusal(
                    self.at, f"ends a residual unit {channels[-1]}; the first one of its block is {channels[0]}"
                )
        return f"[{'-'.join(str(number) for number in channels[0])}]x{len(channels)}"

    def _vgg_block(self, key: str) -> str:
        filters: list[int] = []
        while self._next_is("Conv2D"):
            index = 3 * len(filters)
            filters.append(self._conv_3x3(f"{key}.{index}", f"{key}.{index + 1}").config["filters"])
        self._step("MaxPooling2D", pool_size=[2, 2], strides=[2, 2], padding="valid")
        if len(set(filters)) != 1:
            raise self.refusal(self.at, f"ends a block with {filters} filters, where equal numbers are supported")
        return f"{filters[0]}x{len(filters)}"

    # Heads

    def _patch_head(self) -> None:
        if self._next_is("AveragePooling2D"):
            side = self._following()[0].config["pool_size"][0]
            self._step("AveragePooling2D", pool_size=[side, side], strides=[side, side], padding="valid")
            self.arguments["pool_size"] = side
        self._step("GlobalAveragePooling2D")
        head = self._step("Dense", "head", activation="softmax", use_bias=True)
        self.arguments["patch_classes"] = head.config["units"]

    def _global_pooling(self) -> list[str]:
        self._step("GlobalAveragePooling2D")
        head = self._step("Dense", "head", activation="softmax", use_bias=True)
        self.arguments["num_classes"] = head.config["units"]
        return []

    def _fully_connected(self) -> list[str]:
        self._step("Flatten")
        # A shortcut is followed by the sum, the other branch by a normalisation.
        *shortcut, layer = sorted(self._following(), key=lambda dense: not is_layer(self._following(dense)[0], "Add"))
        for dense in shortcut:
            self._take(dense, "Dense", "shortcut", activation="linear", use_bias=True)
        units: list[int] = []
        while any(is_layer(following, "BatchNormalization") for following in self._following(layer)):
            key = f"fully_connected.fc{len(units) + 1}"
            self._take(layer, "Dense", f"{key}.0", activation="linear", use_bias=True)
            self._norm(f"{key}.1")
            self._step("Activation", activation="relu")
            units.append(layer.config["units"])
            layer = self._following()[0]
        self._take(layer, "Dense", "head", activation="linear" if shortcut else "softmax", use_bias=True)
        if shortcut:
            self._step("Add")
            self._step("Activation", activation="softmax")
        self.arguments |= {"shortcut": bool(shortcut), "num_classes": layer.config["units"]}
        return [f"FC{width}" for width in units]

    def _check_complete(self) -> None:
        if self.at.name != self.model.output:
            raise self.refusal(self.at, f"is not the model's output '{self.model.output}'")
        taken = {layer.name for layer in self.layers.values()}
        for layer in self.model.layers.values():
            if layer.weights and layer.name not in taken:
                raise self.refusal(layer, "has weights, and none of the supported networks has such a layer here")
