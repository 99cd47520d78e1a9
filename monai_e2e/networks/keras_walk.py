"""Follow a Keras graph layer by layer, and check that each layer is as expected."""

from __future__ import annotations

from typing import Any

from monai_e2e.errors import UserError
from monai_e2e.networks.keras_file import KerasLayer, KerasModel


class GraphWalk:
    """A position in a Keras graph, and the layers with weights that were passed.

    Attributes:
        at: the current layer, which is the input at first.
        layers: names of our modules → Keras layers with their weights.
    """

    def __init__(self, model: KerasModel) -> None:
        self.model = model
        self.layers: dict[str, KerasLayer] = {}
        self.at = next(layer for layer in model.layers.values() if layer.class_name == "InputLayer")

    def _following(self, layer: KerasLayer | None = None) -> list[KerasLayer]:
        """The layers after a layer, without dropout layers, which do nothing in inference."""
        found = []
        for consumer in self.model.consumers((layer or self.at).name):
            found += self._following(consumer) if consumer.class_name == "Dropout" else [consumer]
        return found

    def _step(self, class_name: str, key: str | None = None, **config: Any) -> KerasLayer:
        """Go to the next layer; there must be only one, as described. ``key`` is our module for its weights."""
        following = self._following()
        if len(following) != 1:
            raise self.refusal(self.at, f"is followed by {len(following)} layers where {class_name} alone is supported")
        return self._take(following[0], class_name, key, **config)

    def _take(self, layer: KerasLayer, class_name: str, key: str | None = None, **config: Any) -> KerasLayer:
        if layer.class_name != class_name:
            raise self.refusal(layer, f"is {layer.class_name} where {class_name} is supported")
        for name, value in config.items():
            if layer.config.get(name) != value:
                raise self.refusal(layer, f"has {name} {layer.config.get(name)} where {value} is supported")
        if key is not None:
            self.layers[key] = layer
        self.at = layer
        return layer

    def _next_is(self, class_name: str, **config: Any) -> bool:
        following = self._following()
        return len(following) == 1 and is_layer(following[0], class_name, **config)

    def refusal(self, layer: KerasLayer, reason: str) -> UserError:
        """The error to raise where a layer does not belong to a supported network."""
        return UserError(
            f"{self.model.path}: layer '{layer.name}' {reason}; supported are the author's networks (ResNet-50, "
            "VGG-16, VGG-19, YaroslavNet, with or without his top layers), as his program's last version makes them"
        )


def is_layer(layer: KerasLayer, class_name: str, **config: Any) -> bool:
    """Whether a layer has this class and these settings."""
    return layer.class_name == class_name and all(layer.config.get(name) == value for name, value in config.items())
