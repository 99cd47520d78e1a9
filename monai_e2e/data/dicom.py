"""Reading mammograms and lesion masks from DICOM, PNG and TIFF, and resizing them.

Every reader of this project goes through :func:`read_mammogram`, so that polarity, orientation and scaling are
decided in one place: rows × columns, air dark, tissue bright, 0…1.

Films are resized by Pillow's bicubic filter, which averages over the area that becomes one pixel. The paper's author
used OpenCV's bicubic interpolation, which reads 4 × 4 pixels however far the film is shrunk (about 5 times here) and
so keeps more noise and loses fine calcifications at random.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, ImageDraw, UnidentifiedImageError
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, get_decoder

from monai_e2e.errors import UserError

_DICOM_PREFIX_OFFSET = 128
#: What pydicom raises on broken files (it has no common base class).
DICOM_ERRORS = (InvalidDicomError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, struct.error)
_DECODE_ERRORS = (*DICOM_ERRORS, RuntimeError, NotImplementedError, MemoryError)
_IMAGE_ERRORS = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError)
#: Masks may differ from their film in size, but hardly in shape.
_ASPECT_TOLERANCE = 0.01
_PICTURE_FORMATS = ("PNG", "TIFF")
#: Pillow's grey modes → the largest value of the type ("I" is how some releases open 16-bit PNG).
_GREY_MODES = {"1": 1, "L": 255, "I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I": 65535}


def is_dicom(path: str | Path) -> bool:
    """Whether the file has DICOM's preamble (PS3.10 §7.1); False for files that are missing or too short."""
    try:
        with open(path, "rb") as file:
            file.seek(_DICOM_PREFIX_OFFSET)
            return file.read(4) == b"DICM"
    except OSError:
        return False


def read_mammogram(path: str | Path) -> np.ndarray:
    """Read one film.

    DICOM: the rescale slope and intercept (or modality LUT) are applied, MONOCHROME1 is inverted, pixel padding
    becomes the darkest value, and then the film's own minimum…maximum is mapped to 0…1. The film's range and not
    that of Bits Stored is used because detectors and digitisers fill their range differently. The window (VOI LUT)
    is never applied: it clips, and most data sets don't have one.

    PNG and TIFF: divided by the largest value of the type (255 or 65535), nothing else, so that a prepared image
    reads back as it was written.

    Args:
        path: DICOM, PNG or TIFF file with one grey image.

    Returns:
        float32 ``[rows, columns]``, 0…1, air dark, tissue bright.

    Raises:
        UserError: when the file is missing, broken, in colour, has several frames, no pixel data or one single
            value, or when its compression needs a decoder that isn't installed.
    """
    path = Path(path)
    if not is_dicom(path):
        pixels, maximum = _read_picture(path)
        return pixels.astype(np.float32) / maximum
    dataset, stored = _read_dicom(path)
    padding = _padding(dataset, stored)
    values = _rescaled(dataset, stored)
    inside = values if padding is None else values[~padding]
    low, high = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 0.0)
    if not np.isfinite(high - low) or high <= low:
        raise UserError(f"{path}: the film has a single pixel value; check the file in a viewer or leave it out")
    values -= low
    values /= high - low
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        np.subtract(1.0, values, out=values)
    if padding is not None:
        values[padding] = 0.0
    return np.clip(values, 0.0, 1.0, out=values)


def read_mask(path: str | Path) -> np.ndarray:
    """Read a lesion mask: DICOM, PNG or TIFF whose pixels have at most two values.

    Returns:
        bool ``[rows, columns]``; True where the higher value is (all False where every pixel is zero).

    Raises:
        UserError: when the file can't be read or has more than two values (a cropped image, say).
    """
    pixels = read_pixels(path)
    if not is_two_valued(pixels):
        raise UserError(f"{path}: not a mask (more than two pixel values); pass the ROI mask file")
    low, high = pixels.min(), pixels.max()
    return pixels == high if high > low else pixels > 0


def read_pixels(path: str | Path) -> np.ndarray:
    """Stored pixel values ``[rows, columns]`` of a DICOM, PNG or TIFF file, unscaled; raises :class:`UserError`."""
    path = Path(path)
    return _read_dicom(path)[1] if is_dicom(path) else _read_picture(path)[0]


def is_two_valued(pixels: np.ndarray) -> bool:
    """Whether an array has at most two distinct values; what tells a mask from a film or a crop."""
    return bool(((pixels == pixels.min()) | (pixels == pixels.max())).all())


def resize_mammogram(image: np.ndarray, image_size: Sequence[int]) -> np.ndarray:
    """Resize a film of :func:`~monai_e2e.data.dicom.read_mammogram` as the prepared folder has it.

    Args:
        image: float32 ``[rows, columns]``, 0…1.
        image_size: rows and columns wanted; the aspect ratio isn't kept (the paper doesn't).

    Returns:
        float32 ``[*image_size]``, 0…1 (bicubic overshoot is clipped).
    """
    rows, columns = image_size
    resized = Image.fromarray(image.astype(np.float32, copy=False)).resize((columns, rows), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(resized), 0.0, 1.0)


def resize_mask(mask: np.ndarray, image_size: Sequence[int]) -> np.ndarray:
    """Nearest-neighbour resize of a bool mask ``[rows, columns]``; a lesion too small to be hit keeps its centre."""
    rows, columns = image_size
    resized = np.array(
        Image.fromarray(mask.view(np.uint8)).resize((columns, rows), Image.Resampling.NEAREST), dtype=bool
    )
    if mask.any() and not resized.any():
        centre = [points.mean() + 0.5 for points in np.nonzero(mask)]
        resized[int(centre[0] * rows / mask.shape[0]), int(centre[1] * columns / mask.shape[1])] = True
    return resized


def same_aspect(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two sizes agree in rows : columns within 1 %."""
    return abs(first[0] * second[1] / (first[1] * second[0]) - 1) <= _ASPECT_TOLERANCE


def draw_outline(
    outline: Sequence[tuple[float, float]], film_size: Sequence[int], image_size: Sequence[int]
) -> np.ndarray | None:
    """Fill an outline given in the film's pixels at the target size.

    Args:
        outline: ``(row, column)`` points; one or two make a point or a line.
        film_size: rows and columns of the film.
        image_size: rows and columns wanted.

    Returns:
        bool ``[*image_size]``, or None when the outline lies outside the film.
    """
    scale = image_size[0] / film_size[0], image_size[1] / film_size[1]
    points = [(int((column + 0.5) * scale[1] // 1), int((row + 0.5) * scale[0] // 1)) for row, column in outline]
    canvas = Image.new("1", (image_size[1], image_size[0]))
    draw = ImageDraw.Draw(canvas)
    if len(points) > 2:
        draw.polygon(points, fill=1, outline=1)
    else:
        draw.line(points, fill=1)
        draw.point(points, fill=1)
    mask = np.array(canvas)
    return mask if mask.any() else None


def _read_dicom(path: Path) -> tuple[pydicom.Dataset, np.ndarray]:
    try:
        dataset = pydicom.dcmread(path)
        frames = int(dataset.get("NumberOfFrames") or 1)
        samples = int(dataset.get("SamplesPerPixel") or 1)
        photometric = str(dataset.get("PhotometricInterpretation", "absent"))
        syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    except DICOM_ERRORS as error:
        raise UserError(
            f"{path}: not readable as DICOM ({type(error).__name__}); download or copy the file again"
        ) from error
    if "PixelData" not in dataset:
        raise UserError(f"{path}: no pixel data; choose a file that holds an image")
    if frames > 1:
        raise UserError(f"{path}: {frames} frames; only single films are read, extract one frame first")
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UserError(f"{path}: photometric interpretation {photometric}; allowed: MONOCHROME1, MONOCHROME2")
    if syntax is not None and syntax.is_compressed and not _has_decoder(syntax):
        raise UserError(
            f"{path}: no decoder for {syntax.name}; run `pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg`"
        )
    try:
        pixels = dataset.pixel_array
    except _DECODE_ERRORS as error:
        raise UserError(
            f"{path}: pixel data can't be decoded ({type(error).__name__}); download or copy the file again"
        ) from error
    return dataset, pixels


def _has_decoder(syntax: pydicom.uid.UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _rescaled(dataset: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """Modality values as a new float32 array (exact for 16-bit pixels)."""
    if dataset.get("ModalityLUTSequence"):
        return apply_modality_lut(stored, dataset).astype(np.float32)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    values = stored.astype(np.float32)
    if slope is not None:
        values *= np.float32(slope)
    if intercept is not None:
        values += np.float32(intercept)
    return values


def _padding(dataset: pydicom.Dataset, stored: np.ndarray) -> np.ndarray | None:
    """Where the detector saw nothing (PS3.3 §C.7.5.1.1.2), or None.

    Padding at the air's end of the range needs no care, but under MONOCHROME1 it would turn white.
    """
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    padding = (stored >= low) & (stored <= high)
    return padding if padding.any() else None


def _read_picture(path: Path) -> tuple[np.ndarray, int]:
    """Pixels of a grey PNG or TIFF and the largest value of their type."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    try:
        with Image.open(path, formats=_PICTURE_FORMATS) as image:
            mode, frames = image.mode, getattr(image, "n_frames", 1)
            pixels = np.array(image) if mode in _GREY_MODES and frames == 1 else None
            name = image.format
    except _IMAGE_ERRORS as error:
        raise UserError(f"{path}: not readable as DICOM, PNG or TIFF; download or copy the file again") from error
    if pixels is None:
        raise UserError(f"{path}: mode {mode}, {frames} frame(s); only single grey images of 8 or 16 bits are read")
    if mode == "I" and (name != "PNG" or pixels.min() < 0):
        raise UserError(f"{path}: 32 bits per pixel; save the image with 8 or 16 bits")
    return pixels, _GREY_MODES[mode]
