"""A mammogram as the networks want it: from its file, or from an array that a program has in memory."""

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
    """An image that several pipelines read, such as those of an ensemble's models, and that is decoded once for all.

    It stands wherever a path is expected; :class:`LoadMammogram` takes the pixels from it.

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
        """What :func:`~monai_e2e.data.images.dicom.decode_image` returns and raises."""
        if voi_lut not in self._images:
            self._images[voi_lut] = decode_image(self.path, voi_lut, self.any_modality)
        return self._images[voi_lut]

    def read(self, voi_lut: VoiLut = False) -> np.ndarray:
        """What :func:`~monai_e2e.data.images.dicom.read_mammogram` returns and raises."""
        return self.decode(voi_lut).pixels

    @property
    def pixels(self) -> np.ndarray:
        """The image as it was read first, float32 ``[rows, columns]``, 0…1."""
        return next(iter(self._images.values())).pixels if self._images else self.read()

    @property
    def flags(self) -> tuple[str, ...]:
        """What was odd about it, each time that it was read."""
        return tuple(dict.fromkeys(flag for image in self._images.values() for flag in image.flags))


class LoadMammogram(Transform):
    """Read a mammogram from DICOM, PNG, TIFF or JPEG: air dark, tissue bright, whatever its polarity and bit depth.

    One reader for all files: MONAI's ``LoadImage`` picks another one depending on what is installed, and they
    differ in shape and polarity. An image that is in memory already, as a program has it that reads DICOM itself, such
    as MONAI Deploy's operators, goes through :class:`ScaleMammogram` in place of the reader.

    Args:
        image_size: see :class:`ResizeMammogram`; None keeps the image's size.
        voi_lut: whether to apply the window that a DICOM file carries, see
            :func:`monai_e2e.data.images.dicom.decode_image`; as the network's training images had it.
        crop: ``"breast"``, see :func:`~monai_e2e.data.images.framing.find_framing`; needs ``image_size``. Images of a
            prepared folder are framed already, and stay as they are.
        orient: ``"left"``, see there.

    Shape: output ``MetaTensor`` ``[1, H, W]`` float32 with intensities 0–255, of a file with the path under
    ``filename_or_obj``.

    Raises:
        UserError: when the file is no readable mammogram; the message names it.
        ValueError: when an array is none.
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
    """Map an image's own range, as stored or after the modality LUT, to 0–255, as the reader of files does.

    A handful of pixels far outside the range of all others is cut off, see
    :func:`~monai_e2e.data.images.brightness.without_outliers`. Pixel padding must be the darkest grey already.

    Args:
        inverted: whether low values are bright, as of MONOCHROME1.

    Shape: ``[H, W]`` or ``[1, H, W]`` of any type, to ``MetaTensor`` ``[1, H, W]`` float32; what the image says of
    itself is kept.

    Raises:
        ValueError: when it is of another shape, of a single value, or holds numbers that aren't finite.
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
    """Resize a mammogram as preparation does: bicubic, the aspect ratio isn't kept.

    Args:
        image_size: rows and columns.

    Shape: ``[1, H, W]`` with intensities 0–255, to ``MetaTensor`` ``[1, *image_size]`` float32.
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
    """What a network takes of a mammogram: centred about the training images' mean, in as many channels as it has.

    MONAI's ``NormalizeIntensity`` and ``RepeatChannel`` give the same numbers one after the other; in training, where
    each sample goes through, this is several times as fast.

    Args:
        pixel_mean: mean intensity of the training images.
        channels: number of the channels, all of them alike.

    Shape: ``[1, H, W]`` to a plain tensor ``[channels, H, W]``, whose channels share their memory.
    """

    def __init__(self, pixel_mean: float, channels: int) -> None:
        self.pixel_mean, self.channels = pixel_mean, channels

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        image = torch.as_tensor(img).as_subclass(torch.Tensor)
        return (image - self.pixel_mean).expand(self.channels, -1, -1)


class LoadMammogramd(MapTransform):
    """Dictionary version of :class:`LoadMammogram`; the path is kept under ``<key>_path``, of an array's meta data.

    Args:
        keys: keys whose paths are read.
        image_size: see :class:`LoadMammogram`.
        voi_lut, crop, orient: see :class:`LoadMammogram`.
        allow_missing_keys: don't raise if a key is missing.
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
