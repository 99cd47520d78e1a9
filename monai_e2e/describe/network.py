"""What a network is made of: maps, parameters, multiply-adds and receptive fields, to compare with the paper's Table 2.

Networks are built and run on PyTorch's meta device, where tensors have shapes but no values: nothing is allocated,
computed or downloaded. Parameters are counted as the author's Keras does, with batch normalisation's running mean and
variance.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.bundle import ConfigParser
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from monai_e2e.describe.stored import Block, Description, find_row
from monai_e2e.errors import UserError
from monai_e2e.networks import (
    PatchClassifier,
    PatchHeatmap,
    WholeImageClassifier,
    architecture,
    make_classifier,
    read_architecture,
)
from monai_e2e.networks.empty import without_numbers

IMAGE_SIZE = (1152, 896)

#: Backbone → the one with the layers of the author's network, where that differs.
_AUTHORS_LAYOUT = {"resnet50": "resnet50_keras"}
#: Keys with which a config makes the paper's network without reading data or a checkpoint.
_NOTHING_TO_READ = {"recipe": "paper", "pixel_mean": 0.0, "weights": "scratch", "checkpoint": None}
#: Branches beside the deepest path, which don't count for the receptive field.
_SHORTCUTS = {"downsample", "shortcut"}
_NOT_COUNTED = ("num_batches_tracked", "pixel_mean", "threshold", "architecture", "patients")


def describe(
    network: PatchClassifier | WholeImageClassifier, image_size: Sequence[int], name: str = "", row: int | None = None
) -> Description:
    """Describe a classifier, on any device, for an input of ``image_size`` rows and columns.

    Raises:
        UserError: when images of this size are too small for its layers, or have another size than its FC layers need.
    """
    rows, columns = image_size
    arguments = architecture(network)
    try:
        blocks = _trace(
            copy.deepcopy(network).to("meta", torch.float32).eval(), arguments["in_channels"], rows, columns
        )
    except RuntimeError as error:
        raise UserError(f"{rows}x{columns} pixels don't suit {name or 'this network'}: {_reason(error)}") from error
    parameters = _count(network)
    layout = _AUTHORS_LAYOUT.get(arguments["backbone"])
    last = [block for block in blocks if block.receptive_field is not None][-1]
    return Description(
        name=name,
        row=row,
        image_size=(rows, columns),
        architecture=arguments,
        parameters=parameters,
        author_parameters=parameters if layout is None else _count(_build({**arguments, "backbone": layout})),
        trainable=sum(parameter.numel() for parameter in network.parameters()),
        top_parameters=parameters - _count(network.backbone),
        multiply_adds=sum(block.multiply_adds for block in blocks),
        receptive_field=last.receptive_field,
        stride=last.stride,
        blocks=tuple(blocks),
    )


def from_config(
    files: Sequence[str | Path], image_size: Sequence[int] | None = None, name: str = "", row: int | None = None
) -> Description:
    """Describe the network that a bundle's configs make with the recipe "paper"; no checkpoint is read.

    Args:
        files: configs; later ones override earlier ones, as for ``python -m monai.bundle``.
        image_size: rows and columns, of patches for a patch classifier; None for the configs' own.
        name: what to call it, by default as the files.
        row: its number in the paper's Table 2.

    Raises:
        UserError: when a file is missing or isn't a config, or they make no classifier.
    """
    name = name or ",".join(map(str, files))
    for file in files:
        if not Path(file).is_file():
            raise UserError(f"no config at {file}: name a bundle's train.json or inference.json")
        try:
            content = ConfigParser.load_config_file(file)
        except (OSError, ValueError) as error:
            raise UserError(f"{file} is not a config: {error}") from error
        if not isinstance(content, dict):
            raise UserError(f"{file} is not a config, which is a JSON object: name a bundle's train.json")
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser.update(_NOTHING_TO_READ)
    if "prepared_dir" in parser:  # a training takes it from the data, inference from the checkpoint
        parser.update({"preparation": None})
    if image_size is not None:
        parser.update({"image_size": list(image_size), "patch_size": list(image_size)})
    if "network_def" not in parser:
        raise UserError(f"{name} has no 'network_def': give a bundle's train.json or inference.json")
    try:
        with without_numbers():
            network = parser.get_parsed_content("network_def")
        if not isinstance(network, (PatchClassifier, WholeImageClassifier)):
            made = type(network).__name__
            raise UserError(f"'network_def' makes a {made}; name a config with a classifier of this package")
        key, size = ("patch_size", 224) if isinstance(network, PatchClassifier) else ("image_size", IMAGE_SIZE)
        size = parser.get_parsed_content(key) if key in parser else size
    except (RuntimeError, ValueError, LookupError) as error:
        raise UserError(f"{name}: {_reason(error)}") from error
    return describe(network, (size, size) if isinstance(size, int) else size, name, row)


def from_checkpoint(path: str | Path, image_size: Sequence[int] | None = None) -> Description:
    """Describe the network that a checkpoint belongs to. Raises a UserError when it can't be read or doesn't say."""
    arguments = read_architecture(path)
    try:
        network = _build(arguments)
    except (TypeError, ValueError) as error:
        reason = f" ({_reason(error)})" if arguments else ""
        raise UserError(
            f"{path} does not say which network it belongs to{reason}: describe the config that it was trained with"
        ) from error
    prepared = network.preparation
    if isinstance(network, PatchClassifier):
        size = [prepared["patch_size"]] * 2
    else:
        size = arguments.get("image_size") or prepared["image_size"]
    return describe(network, image_size or size, str(path))


def from_row(name: str, bundles: str | Path | None = None, image_size: Sequence[int] | None = None) -> Description:
    """Describe a row of the paper's Table 2 as the bundle ``ddsm_whole`` makes it.

    Args:
        name: an overlay of the bundle, in ``configs/models``, or a row's number in the table.
        bundles: folder of the bundles; None: those that come with the package.
        image_size: rows and columns; None for the bundle's own.

    Raises:
        UserError: when there is no such row or no such bundle.
    """
    name, row, files = find_row(name, bundles)
    return from_config(files, image_size, name, row)


class _Begin(NamedTuple):
    """The start of a block: its input; multiply-adds, receptive field and stride so far."""

    shape: torch.Size
    work: int
    field: int
    stride: int


def _trace(network: PatchClassifier | WholeImageClassifier, channels: int, rows: int, columns: int) -> list[Block]:
    """Run a network on the meta device, and note what has been computed at the first layer of each block."""
    parts = _parts(network)
    begins: list[_Begin] = []
    field, stride = 1, 1
    counter = FlopCounterMode(display=False)

    def mark(shape: torch.Size) -> None:
        begins.append(_Begin(shape, counter.get_total_flops() // 2, field, stride))

    def step(kernel_size: Any, step_size: Any, dilation: Any = 1) -> None:
        nonlocal field, stride
        kernel, by, spread = (n if isinstance(n, int) else n[0] for n in (kernel_size, step_size, dilation))
        field, stride = field + (kernel - 1) * spread * stride, stride * by

    for paths in parts.values():
        network.get_submodule(paths[0]).register_forward_pre_hook(lambda _, inputs: mark(inputs[0].shape))
    for name, module in network.named_modules():
        if isinstance(module, PatchHeatmap):  # its average pooling is a function, not a layer
            module.register_forward_pre_hook(lambda module, _: step(module.pool_size, module.stride))
        elif isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)) and not _SHORTCUTS & set(name.split(".")):
            module.register_forward_hook(
                lambda module, *_: step(module.kernel_size, module.stride, getattr(module, "dilation", 1))
            )
    with torch.no_grad(), counter:
        mark(network(torch.empty(1, channels, rows, columns, device="meta")).shape)

    blocks = []
    whole = False
    for (name, paths), (begin, end) in zip(parts.items(), pairwise(begins), strict=True):
        whole |= name in ("pool", "flatten")
        height, width = end.shape[2:] if len(end.shape) == 4 else (1, 1)
        parameters = sum(_count(network.get_submodule(path)) for path in paths)
        seen = (None, None) if whole else (end.field, end.stride)
        blocks.append(Block(name, height, width, end.shape[1], parameters, end.work - begin.work, *seen))
    return blocks


def _parts(network: PatchClassifier | WholeImageClassifier) -> dict[str, tuple[str, ...]]:
    """Blocks in the order in which they run → their modules, with those without parameters, which are no stages."""
    parts: dict[str, tuple[str, ...]] = {}
    for name, paths in network.stages.items():
        if "pool" not in parts and "flatten" not in parts and (name == "head" or paths[0].startswith("fully")):
            parts["flatten" if isinstance(network.pool, nn.Identity) else "pool"] = ("pool",)
        parts[name] = paths
        if name == "heatmap" and not isinstance(network.get_submodule("heatmap.max_pool"), nn.Identity):
            parts["heatmap.max_pool"] = ("heatmap.max_pool",)
    return parts


def _count(module: nn.Module) -> int:
    tensors = module.state_dict().items()
    return sum(tensor.numel() for key, tensor in tensors if not key.endswith(_NOT_COUNTED))


def _build(arguments: Mapping[str, Any]) -> PatchClassifier | WholeImageClassifier:
    with without_numbers():
        return make_classifier(**arguments)


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
