"""The figures of a network, and the stored ones of the paper's Table 2, which are shown without importing PyTorch.

:mod:`monai_e2e.describe.network` computes them. ``python -m monai_e2e.describe.stored`` writes those of Table 2 again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai_e2e.errors import UserError
from monai_e2e.shipped.bundles import bundles_folder
from monai_e2e.work.files import write_json

#: Overlays of the bundle ``ddsm_whole``, one for each row of the paper's Table 2 and in its order.
TABLE_2 = (
    "resnet50_512-512-2048x1",
    "resnet50_512-512-1024x2",
    "resnet50_256-256-512x3_128-128-256x3",
    "vgg16_512x3",
    "vgg16_512x1",
    "vgg16_256x1_128x1",
    "vgg16_hybrid_512-512-1024x2",
    "resnet50_heatmap_512-512-1024x2",
    "resnet50_heatmap_fc64_fc32",
    "vgg16_heatmap_fc64_fc32",
)
#: Figures of networks, by :func:`_digest` of their configs.
_STORED = Path(__file__).parent / "table2.json"


@dataclass(frozen=True)
class Block:
    """One part of a network, up to the first layer of the next part; figures are for one image, lengths in pixels.

    Its name is the one in training stages, or ``heatmap.max_pool``, or ``pool`` (the global one), or ``flatten``
    before FC layers. From ``pool`` or ``flatten`` on, ``receptive_field`` and ``stride`` are None: the whole image is
    seen.
    """

    name: str
    rows: int
    columns: int
    channels: int
    parameters: int
    multiply_adds: int
    receptive_field: int | None
    stride: int | None

    @property
    def output(self) -> str:
        return f"{self.rows}x{self.columns}x{self.channels}" if self.receptive_field else str(self.channels)


@dataclass(frozen=True)
class Description:
    """A network and its figures; ``receptive_field`` and ``stride``, in pixels, are those of its last map."""

    name: str
    row: int | None  # in the paper's Table 2
    image_size: tuple[int, int]  # rows and columns, of patches for a patch classifier
    architecture: dict[str, Any]  # what monai_e2e.networks.make_classifier takes
    parameters: int
    author_parameters: int  # the same, with the layers of the author's backbone
    trainable: int  # without batch normalisation's running mean and variance
    top_parameters: int  # of all layers after the backbone
    multiply_adds: int
    receptive_field: int | None
    stride: int | None
    blocks: tuple[Block, ...]

    @property
    def top(self) -> str:
        """What follows the backbone, in the paper's words."""
        heatmap = self.architecture.get("heatmap")
        words = [] if heatmap is None else ["heatmap"]
        words += [f"max-pool {heatmap['max_pool']}"] if heatmap and heatmap.get("max_pool") else []
        words += self.architecture.get("top_blocks", [f"{self.architecture['patch_classes']} classes"])
        return ", ".join(words + (["shortcut"] if self.architecture.get("shortcut") else []))

    @property
    def maps(self) -> str:
        """Sizes of the maps, from the backbone's on; the last one is the input of FC layers, where there are any."""
        first = max(index for index, block in enumerate(self.blocks) if block.name.startswith("backbone."))
        return " > ".join(b.output for b in self.blocks[first:] if b.receptive_field or b.name == "flatten")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def find_row(name: str, bundles: str | Path | None = None) -> tuple[str, int | None, list[Path]]:
    """Name, number and configs of a row of the paper's Table 2, which may be named by its number.

    Args:
        name: an overlay of the bundle ``ddsm_whole``, in ``configs/models``, or a row's number in the table.
        bundles: folder of the bundles; None: those that come with the package.

    Raises:
        UserError: when there is no such row or no such bundle.
    """
    configs = (bundles_folder() if bundles is None else Path(bundles)) / "ddsm_whole" / "configs"
    if not (configs / "train.json").is_file():
        raise UserError(f"no bundle at {configs.parent}: name another folder with --bundles, or leave it out")
    numbers = {str(number): row for number, row in enumerate(TABLE_2, start=1)}
    name = numbers.get(name, name)
    known = sorted(path.stem for path in (configs / "models").glob("*.json"))
    if name not in known:
        raise UserError(
            f"unknown row '{name}': give a number from 1 to {len(TABLE_2)}, the path of a config (.json) or of a "
            f"checkpoint (.pt), or one of: {', '.join(known)}"
        )
    row = TABLE_2.index(name) + 1 if name in TABLE_2 else None
    return name, row, [configs / "train.json", configs / "models" / f"{name}.json"]


def stored_row(name: str, bundles: str | Path | None = None) -> Description | None:
    """A row as it was stored; None if its configs have changed since then. Raises as :func:`find_row`."""
    _, _, files = find_row(name, bundles)
    found = json.loads(_STORED.read_text(encoding="utf-8")).get(_digest(files))
    if found is None:
        return None
    blocks = tuple(Block(**block) for block in found["blocks"])
    return Description(**{**found, "blocks": blocks, "image_size": tuple(found["image_size"])})


def _digest(files: Sequence[Path]) -> str:
    """Of what the configs make their network from; the rest of a training may change."""
    content: dict[str, Any] = {}
    for file in files:
        content |= json.loads(file.read_text(encoding="utf-8"))
    needed = ["network_def"]
    for name in needed:  # which grows
        named = re.findall(r"@(\w+)", json.dumps(content.get(name)))
        needed += [other for other in dict.fromkeys(named) if other not in needed]
    parts = {key: value for key, value in content.items() if re.split("#|::", key)[0] in needed}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _store() -> None:
    from monai_e2e.describe.network import from_row

    rows = {_digest(find_row(name)[2]): from_row(name).to_dict() for name in TABLE_2}
    write_json(_STORED, rows, indent=1)


if __name__ == "__main__":
    _store()
