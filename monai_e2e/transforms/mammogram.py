"""Reading a mammogram file as the networks want it."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from monai_e2e.data.dicom import Film, read_film, resize_mammogram


class FilmFile(os.PathLike[str]):
    """A film that several pipelines read, such as those of an ensemble's models, and that is decoded once for all.

    It stands wherever a path is expected; :class:`LoadMammogram` takes the pixels from it.

    Args:
        path: DICOM, PNG, TIFF or JPEG file.
        any_modality: see :func:`~monai_e2e.data.dicom.read_film`.
    """

    def __init__(self, path: str | os.PathLike[str], any_modality: bool = False) -> None:
        self.path, self.any_modality = os.fspath(path), any_modality
        self._films: dict[bool, Film] = {}

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path

    def read(self, voi_lut: bool = False) -> np.ndarray:
        """What :func:`~monai_e2e.data.dicom.read_mammogram` returns and raises."""
        if voi_lut not in self._films:
            self._films[voi_lut] = read_film(self.path, voi_lut, self.any_modality)
        return self._films[voi_lut].pixels

    @property
    def pixels(self) -> np.ndarray:
        """The film as it was read first, float32 ``[rows, columns]``, 0…1."""
        return next(iter(self._films.values())).pixels if self._films else self.read()

    @property
    def flags(self) -> tuple[str, ...]:
        """What was odd about it, each time that it was read."""
        return tuple(dict.fromkeys(flag for film in self._films.values() for flag in film.flags))


class LoadMammogram(Transform):
    """Read a mammogram from DICOM, PNG, TIFF or JPEG: air dark, tissue bright, whatever its polarity and bit depth.

    One reader for all files: MONAI's ``LoadImage`` picks another one depending on what is installed, and they
    differ in shape and polarity.

    Args:
        image_size: rows and columns to resize to, as preparation does; None keeps the file's size.
        voi_lut: whether to apply the window that a DICOM file carries, see :func:`monai_e2e.data.dicom.read_film`; as
            the network's training images had it.

    Returns:
        ``MetaTensor`` ``[1, H, W]`` float32 with intensities 0–255 and the path under ``filename_or_obj``.

    Raises:
        UserError: when the file is no readable mammogram; the message names it.
    """

    def __init__(self, image_size: Sequence[int] | None = None, voi_lut: bool = False) -> None:
        self.image_size = None if image_size is None else (int(image_size[0]), int(image_size[1]))
        self.voi_lut = voi_lut

    def __call__(self, path: str | os.PathLike[str]) -> MetaTensor:
        image = (path if isinstance(path, FilmFile) else FilmFile(path)).read(self.voi_lut)
        if self.image_size is not None and image.shape != self.image_size:
            image = resize_mammogram(image, self.image_size)
        return MetaTensor(torch.from_numpy(image)[None] * 255.0, meta={"filename_or_obj": str(path)})


class LoadMammogramd(MapTransform):
    """Dictionary version of :class:`LoadMammogram`; the path is kept under ``<key>_path``.

    Args:
        keys: keys whose paths are read.
        image_size: see :class:`LoadMammogram`.
        voi_lut: see :class:`LoadMammogram`.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_size: Sequence[int] | None = None,
        allow_missing_keys: bool = False,
        voi_lut: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.loader = LoadMammogram(image_size, voi_lut)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            path = d[key]
            d[key] = self.loader(path)
            d[f"{key}_path"] = str(path)
        return d


LoadMammogramD = LoadMammogramDict = LoadMammogramd
