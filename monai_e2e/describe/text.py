"""What ``monai-e2e describe`` prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from monai_e2e.describe.stored import TABLE_2, Description, stored_row


def report(
    network: str | None = None,
    image_size: Sequence[int] | None = None,
    bundles: str | Path | None = None,
    as_json: bool = False,
) -> str:
    """What ``monai-e2e describe`` prints: a network block by block, or if none is named, Table 2 row by row.

    Args:
        network: a row as in :func:`from_row`, configs separated by commas, or a checkpoint (``.pt``).
        image_size: rows and columns of the input; None for the network's own.
        bundles: folder of the bundles; None: those that come with the package.
        as_json: whether to write JSON: an object, or a list of objects for the table.
    """
    if network is None:
        rows = [_row(row, image_size, bundles) for row in TABLE_2]
        return json.dumps([row.to_dict() for row in rows], indent=4) if as_json else format_table(rows)
    if network.endswith((".json", ".pt")):
        from monai_e2e.describe.network import from_checkpoint, from_config  # seconds: it needs MONAI

        configs = [file for file in network.split(",") if file]
        found = from_checkpoint(network, image_size) if network.endswith(".pt") else from_config(configs, image_size)
    else:
        found = _row(network, image_size, bundles)
    return json.dumps(found.to_dict(), indent=4) if as_json else format_blocks(found)


def _row(name: str, image_size: Sequence[int] | None, bundles: str | Path | None) -> Description:
    stored = stored_row(name, bundles) if image_size is None else None
    if stored is not None:
        return stored
    from monai_e2e.describe.network import from_row  # seconds: it needs MONAI

    return from_row(name, bundles, image_size)


def format_table(rows: Sequence[Description]) -> str:
    """Networks of one image size, two lines for each, as text of at most 120 columns."""
    cells = [("#", "patch net", "top layers", "parameters", "author's", "top only", "mult-adds", "field", "stride")]
    for item in rows:
        counts = [f"{n:,}" for n in (item.parameters, item.author_parameters, item.top_parameters)]
        work = f"{item.multiply_adds / 1e9:.2f} G"
        net = (str(item.row or ""), item.architecture["backbone"], item.top)
        cells.append((*net, *counts, work, str(item.receptive_field), str(item.stride)))
    lines = _align(cells, left=3)
    for index, item in enumerate(rows, start=1):
        lines[index] += f"\n    {item.name}: {item.maps}"
    return "\n".join(lines) + _TABLE_NOTES.format("x".join(map(str, rows[0].image_size)))


def format_blocks(item: Description) -> str:
    """One network block by block, as text."""
    cells = [("block", "output", "parameters", "multiply-adds", "receptive field", "stride")]
    for block in item.blocks:
        counts = (f"{block.parameters:,}", f"{block.multiply_adds:,}")
        seen = (str(block.receptive_field or "image"), str(block.stride or "-"))
        cells.append((block.name, block.output, *counts, *seen))
    cells.append(("total", "", f"{item.parameters:,}", f"{item.multiply_adds:,}", "", ""))
    row = f" (row {item.row} of the paper's Table 2)" if item.row else ""
    size = "x".join(map(str, (*item.image_size, item.architecture["in_channels"])))
    lines = [item.name + row, f"{item.architecture['backbone']}, {item.top}; input {size}", "", *_align(cells, left=2)]
    lines += ["", f"After the backbone: {item.top_parameters:,} parameters."]
    if item.author_parameters != item.parameters:
        lines.append(f"With the author's ResNet-50, which has biases: {item.author_parameters:,} parameters.")
    lines.append(f"Trainable: {item.trainable:,}; the others are batch normalisation's running mean and variance.")
    return "\n".join(lines)


_TABLE_NOTES = """

Second lines: name of the row; its maps from the backbone's on, rows x columns x channels, for images of {}.
parameters: of this package's network. author's: the same with the author's ResNet-50, whose convolutions have biases.
Both as Keras counts, with running mean and variance of batch normalisation. top only: of the layers after the backbone.
mult-adds: for one image. field, stride: receptive field and stride of the last map, in pixels of the image."""


def _align(cells: Sequence[Sequence[str]], left: int) -> list[str]:
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(
            f"{cell:{'<' if column < left else '>'}{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
