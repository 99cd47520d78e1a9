"""One image from its file to what the models and the pictures need, in a worker process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import convert_to_numpy

from monai_e2e.bundle import user_error
from monai_e2e.data.images.appearance import appearance_flags
from monai_e2e.data.images.dicom import read_mask
from monai_e2e.data.images.pixels import resize_mammogram, resize_mask
from monai_e2e.predict.overlays import PICTURE_ROWS
from monai_e2e.predict.worklist import ListedImage
from monai_e2e.transforms import MammogramFile

#: Images wider than this times their height are drawn narrower than they are.
_WIDEST = 2


@dataclass(frozen=True)
class ReadImage:
    """An image, read.

    Args:
        images: float32 ``[C, H, W]`` for each model's preprocessing.
        size: rows and columns of the file's image.
        picture: uint8 ``[PICTURE_ROWS, columns]`` in its true proportions; empty where none are wanted.
        masks: bool of the same size, for each annotated lesion.
        flags: what is odd about the file and about what it shows.
        mean: of its pixels, 0…255.
        digest: of its pixels.
    """

    images: list[np.ndarray]
    size: tuple[int, int]
    picture: np.ndarray
    masks: list[np.ndarray]
    flags: tuple[str, ...] = ()
    mean: float = 0.0
    digest: str = ""


class ImageReader:
    """Read images for several models; what can't be read is a reason, not an error.

    Args:
        preprocessings: of the models, from ``{"image": path}`` to ``{"image": [C, H, W]}``.
        pictures: whether the image itself and the masks are wanted too.
        any_modality: see :func:`~monai_e2e.data.images.dicom.decode_image`.
    """

    def __init__(
        self,
        preprocessings: Sequence[Callable[[dict[str, Any]], dict[str, Any]]],
        pictures: bool,
        any_modality: bool = False,
    ) -> None:
        self.preprocessings = list(preprocessings)
        self.pictures, self.any_modality = pictures, any_modality

    def __call__(self, listed: ListedImage) -> ReadImage | str:
        file = MammogramFile(listed.path, self.any_modality)
        try:
            images = [convert_to_numpy(prepare({"image": file})["image"]) for prepare in self.preprocessings]
            pixels, picture, masks = file.pixels, np.empty((0, 0), dtype=np.uint8), []
            if self.pictures:
                rows, columns = listed.original_size or pixels.shape
                size = PICTURE_ROWS, min(max(1, round(PICTURE_ROWS * columns / rows)), _WIDEST * PICTURE_ROWS)
                picture = np.rint(resize_mammogram(pixels, size) * 255).astype(np.uint8)
                masks = [resize_mask(read_mask(path), size) for path in listed.masks]
        except Exception as error:  # noqa: BLE001 # whatever fails in reading an image costs this image alone
            return reason_of(error, listed.path)
        shown = [] if listed.judged else appearance_flags(pixels, listed.laterality, listed.view)
        flags = (*file.flags, *shown)
        mean = float(pixels.mean(dtype=np.float64)) * 255
        digest = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
        return ReadImage(images, pixels.shape, picture, masks, flags, mean, digest)


def reason_of(error: BaseException, path: Path) -> str:
    """Why an image has no score, without its path on this machine."""
    mistake = user_error(error)
    if mistake is None:  # of a transform that isn't ours; its message may hold anything
        return f"{type(error.__cause__ or error).__name__} while the image was read; run it alone to see more"
    return str(mistake).replace(f"{path}: ", "").replace(str(path), path.name)
