"""Reading a mammogram file as the networks want it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from monai_e2e.data.dicom import read_mammogram, resize_mammogram


class LoadMammogram(Transform):
    """Read a mammogram from DICOM, PNG, TIFF or JPEG: air dark, tissue bright, whatever its polarity and bit depth.

    One reader for all files: MONAI's ``LoadImage`` picks another one depending on what is installed, and they
    differ in shape and polarity.

    Args:
        image_size: rows and columns to resize to, as preparation does; None keeps the file's size.

    Returns:
        ``MetaTensor`` ``[1, H, W]`` float32 with intensities 0–255 and the path under ``filename_or_obj``.

    Raises:
        UserError: when the file is no readable mammogram; the message names it.
    """

    def __init__(self, image_size: Sequence[int] | None = None) -> None:
        self.image_size = None if image_size is None else (int(image_size[0]), int(image_size[1]))

    def __call__(self, path: str | Path) -> MetaTensor:
        image = read_mammogram(path)
        if self.image_size is not None and image.shape != self.image_size:
            image = resize_mammogram(image, self.image_size)
        return MetaTensor(torch.from_numpy(image)[None] * 255.0, meta={"filename_or_obj": str(path)})


class LoadMammogramd(MapTransform):
    """Dictionary version of :class:`LoadMammogram`; the path is kept under ``<key>_path``.

    Args:
        keys: keys whose paths are read.
        image_size: see :class:`LoadMammogram`.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(
        self, keys: KeysCollection, image_size: Sequence[int] | None = None, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.loader = LoadMammogram(image_size)

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        d = dict(data)
        for key in self.key_iterator(d):
            path = str(d[key])
            d[key] = self.loader(path)
            d[f"{key}_path"] = path
        return d


LoadMammogramD = LoadMammogramDict = LoadMammogramd
