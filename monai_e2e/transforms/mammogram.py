"""Mammograms as input of the networks, read from a file or taken from an array in memory."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import convert_to_numpy, convert_to_tensor

from monai_e2e.data.images.brightness import VoiLut, stretch
from monai_e2e.data.images.dicom import DecodedImage, decode_image
from monai_e2e.data.images.framing import CROPS, ORIENTATIONS, find_framing
from monai_e2e.data.images.pixels import resize_mammogram


class MammogramFile(os.PathLike[str]):
    """Path of an image that several pipelines read, such as the models of an ensemble, and that is decoded only once.

    It can be used wherever a path is expected; :class:`LoadMammogram` takes the decoded pixels from it.

    Args:
        path: DICOM, PNG, TIFF or JPEG file.
        any_modality: see :func:`~monai_e2e.data.images.dicom.decode_image`.
    """

    def __init__(self, path: str | os.PathLike[str], any_modality: bool = False) -> None:
        self.path, self.any_modality = os.fspath(path), any_modality
        self._images: dict[VoiLut, DecodedImage] = {}

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path

    def decode(self, voi_lut: VoiLut = False) -> DecodedImage:
        """Returns and raises what :func:`~monai_e2e.data.images.dicom.decode_image` does."""
        if voi_lut not in self._images:
            self._images[voi_lut] = decode_image(self.path, voi_lut, self.any_modality)
        return self._images[voi_lut]

    def read(self, voi_lut: VoiLut = False) -> np.ndarray:
        """Returns and raises what :func:`~monai_e2e.data.images.dicom.read_mammogram` does."""
        return self.decode(voi_lut).pixels

    @property
    def pixels(self) -> np.ndarray:
        """The image as first decoded, float32 ``[rows, columns]``, 0…1."""
        return next(iter(self._images.values())).pixels if self._images else self.read()

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of all its decodings, each once."""
        return tuple(dict.fromkeys(flag for image in self._images.values() for flag in image.flags))


class LoadMammogram(Transform):
    """Read a mammogram from DICOM, PNG, TIFF or JPEG: air dark, tissue bright, whatever its polarity and bit depth.

    There is one reader for all files. MONAI's ``LoadImage`` chooses a reader by what is installed, and its readers
    differ in shape and polarity. An array, from a program that reads DICOM itself such as MONAI Deploy's operators, is
    scaled by :class:`ScaleMammogram`.

    Args:
        image_size: see :class:`ResizeMammogram`; None keeps the image's size.
        voi_lut: whether to apply a DICOM file's window, see :func:`monai_e2e.data.images.dicom.decode_image`; must be
            the same as for the network's training images.
        crop: ``"breast"``, see :func:`~monai_e2e.data.images.framing.find_framing`; needs ``image_size``. Images of a
            prepared folder are cropped and oriented already, so they are not changed.
        orient: ``"left"``, see there.

    Shape: path, or array as for :class:`ScaleMammogram`, to ``MetaTensor`` ``[1, H, W]`` float32 with intensities
    0–255; that of a file has its path under ``filename_or_obj``.

    Raises:
        UserError: when the file is not a readable mammogram; the message names it.
        ValueError: when an array is not an image, or crop, orient and image_size don't go together.
    """

    def __init__(
        self,
        image_size: Sequence[int] | None = None,
        voi_lut: VoiLut = False,
        crop: str | None = None,
        orient: str | None = None,
    ) -> None:
        if crop not in CROPS or orient not in ORIENTATIONS or (crop and image_size is None):
            raise ValueError(f"crop {crop!r} must be 'breast' with an image_size, or None; orient {orient!r}: 'left'")
        self.resize = None if image_size is None else ResizeMammogram(image_size)
        self.scale = ScaleMammogram()
        self.voi_lut, self.crop, self.orient = voi_lut, crop, orient

    def __call__(self, img: str | os.PathLike[str] | NdarrayOrTensor) -> MetaTensor:
        prepared = False
        if isinstance(img, (str, os.PathLike)):
            decoded = (img if isinstance(img, MammogramFile) else MammogramFile(img)).decode(self.voi_lut)
            prepared = decoded.prepared
            image = MetaTensor(torch.from_numpy(decoded.pixels)[None] * 255.0, meta={"filename_or_obj": str(img)})
        else:
            image = self.scale(img)
        if (self.crop or self.orient) and not prepared:
            image = self._framed(image)
        return image if self.resize is None else self.resize(image)

    def _framed(self, image: MetaTensor) -> MetaTensor:
        values = convert_to_numpy(image[0])
        size = values.shape if self.resize is None else self.resize.image_size
        framing = find_framing(values / 255, size, self.crop, self.orient)
        if framing is None:
            return image
        return MetaTensor(torch.from_numpy(framing.apply(values).copy())[None], meta=dict(image.meta))


class ScaleMammogram(Transform):
    """Map an image's own range, as stored or after the modality LUT, to 0–255, as for images from files.

    A few pixels far outside the range of all others are clipped, see
    :func:`~monai_e2e.data.images.brightness.without_outliers`. Pixel padding must have the darkest value already.

    Args:
        inverted: whether low values are bright, as in MONOCHROME1.

    Shape: ``[H, W]`` or ``[1, H, W]`` of any type, to ``MetaTensor`` ``[1, H, W]`` float32 with intensities 0–255;
    meta data are kept.

    Raises:
        ValueError: when the array has another shape, only one value, or values that are not finite.
    """

    def __init__(self, inverted: bool = False) -> None:
        self.inverted = inverted

    def __call__(self, img: NdarrayOrTensor) -> MetaTensor:
        values = np.asarray(convert_to_numpy(img), dtype=np.float64)
        if values.ndim == 2:
            values = values[None]
        if values.ndim != 3 or len(values) != 1:
            raise ValueError(f"a mammogram must be [H, W] or [1, H, W], got {list(values.shape)}")
        shares = stretch(values[0])
        if shares is None:
            raise ValueError("a mammogram must have more than one value, all of them finite")
        image = torch.from_numpy(1 - shares if self.inverted else shares)[None] * 255.0
        return MetaTensor(image, meta=dict(img.meta)) if isinstance(img, MetaTensor) else MetaTensor(image)


class ResizeMammogram(Transform):
    """Resize a mammogram as ``monai-e2e prepare`` does: bicubic, without keeping the aspect ratio.

    Args:
        image_size: rows and columns.

    Shape: ``[1, H, W]`` with intensities 0–255, to ``MetaTensor`` ``[1, *image_size]`` float32 with the same range.
    """

    def __init__(self, image_size: Sequence[int]) -> None:
        self.image_size = (int(image_size[0]), int(image_size[1]))

    def __call__(self, img: NdarrayOrTensor) -> MetaTensor:
        image = convert_to_tensor(img, dtype=torch.float32, track_meta=True)
        if tuple(image.shape[1:]) == self.image_size:
            return image
        resized = resize_mammogram(convert_to_numpy(image[0]), self.image_size, maximum=255.0)
        return MetaTensor(torch.from_numpy(resized)[None], meta=dict(image.meta))


class NetworkInput(Transform):
    """Subtract the training images' mean and repeat the one channel, which makes a mammogram a network's input.

    MONAI's ``NormalizeIntensity`` and ``RepeatChannel`` together give the same numbers; for training, this is several
    times as fast.

    Args:
        pixel_mean: mean intensity (0–255) of the training images.
        channels: number of equal channels.

    Shape: ``[1, H, W]`` to a plain tensor ``[channels, H, W]``, whose channels share their memory.
    """

    def __init__(self, pixel_mean: float, channels: int) -> None:
        self.pixel_mean, self.channels = pixel_mean, channels

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        image = torch.as_tensor(img).as_subclass(torch.Tensor)
        return (image - self.pixel_mean).expand(self.channels, -1, -1)


class LoadMammogramd(MapTransform):
    """Dictionary version of :class:`LoadMammogram`, which puts the path under ``<key>_path``.

    For an array this is the path in its meta data, or empty.

    Args:
        keys: keys whose paths are read.
        image_size: see :class:`LoadMammogram`.
        allow_missing_keys: don't raise if a key is missing.
        voi_lut: see :class:`LoadMammogram`.
        crop: see there.
        orient: see there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_size: Sequence[int] | None = None,
        allow_missing_keys: bool = False,
        voi_lut: VoiLut = False,
        crop: str | None = None,
        orient: str | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.loader = LoadMammogram(image_size, voi_lut, crop, orient)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.loader(d[key])
            d[f"{key}_path"] = str(d[key].meta.get("filename_or_obj", ""))
        return d


class ScaleMammogramd(MapTransform):
    """Dictionary version of :class:`ScaleMammogram`.

    Args:
        keys: keys of the images.
        inverted: see :class:`ScaleMammogram`.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(self, keys: KeysCollection, inverted: bool = False, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.scaler = ScaleMammogram(inverted)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.scaler(d[key])
        return d


class ResizeMammogramd(MapTransform):
    """Dictionary version of :class:`ResizeMammogram`.

    Args:
        keys: keys of the images.
        image_size: see :class:`ResizeMammogram`.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(self, keys: KeysCollection, image_size: Sequence[int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.resizer = ResizeMammogram(image_size)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.resizer(d[key])
        return d


class NetworkInputd(MapTransform):
    """Dictionary version of :class:`NetworkInput`.

    Args:
        keys: keys of the images.
        pixel_mean: see :class:`NetworkInput`.
        channels: see there.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(
        self, keys: KeysCollection, pixel_mean: float, channels: int, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.maker = NetworkInput(pixel_mean, channels)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.maker(d[key])
        return d


LoadMammogramD = LoadMammogramDict = LoadMammogramd
ScaleMammogramD = ScaleMammogramDict = ScaleMammogramd
ResizeMammogramD = ResizeMammogramDict = ResizeMammogramd
NetworkInputD = NetworkInputDict = NetworkInputd
