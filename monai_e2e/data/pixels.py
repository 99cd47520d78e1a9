"""Pictures: PNG, TIFF and JPEG files, masks among them, and resizing films and masks.

Films are resized by Pillow's bicubic filter, which averages over the area that becomes one pixel. The paper's author
used OpenCV's bicubic interpolation, which reads 4 × 4 pixels however far the film is shrunk (about 5 times here) and
so keeps more noise and loses fine calcifications at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, UnidentifiedImageError

from monai_e2e.errors import UserError

_FORMATS = ("PNG", "TIFF", "JPEG")
#: Pillow's grey modes → the largest value of the type ("I" is how some releases open 16-bit PNG).
_GREY_MODES = {"1": 1, "L": 255, "I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I": 65535}
_IMAGE_ERRORS = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError)

#: A JPEG mask's pixels lie within 32 of black or white, except near edges. Measured with Pillow's encoder at qualities
#: 75–95 on filled shapes, outlines and lesions of a few pixels, 100 × 80 to 4600 × 3000: at most 0.05 % of the pixels
#: are grey, and at most 0.034 for each white one. A crop that is nearly black passes the first test but has far more
#: grey than white.
_JPEG_NOISE = 32
_JPEG_GREY_SHARE = 0.005
_JPEG_GREY_PER_WHITE = 0.1
#: Rows of a film that are worked on at a time: small enough for the processor's cache.
_BAND = 128
#: Masks may differ from their film in size, but hardly in shape.
_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class Picture:
    """Stored pixels of a picture file.

    Args:
        pixels: ``[rows, columns]``, bool, uint8, uint16 or int32.
        maximum: the largest value of the file's type: 1, 255 or 65535.
        jpeg: whether the values are only nearly those that were saved.
    """

    pixels: np.ndarray
    maximum: int
    jpeg: bool


def read_picture(path: Path) -> Picture:
    """Read a grey PNG, TIFF or JPEG; an RGB picture whose three channels are equal is grey.

    Raises:
        UserError: when the file is missing, broken, in colour, has several frames or more than 16 bits.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    try:
        with Image.open(path, formats=_FORMATS) as image:
            mode, frames, kind = image.mode, getattr(image, "n_frames", 1), image.format
            readable = frames == 1 and (mode in _GREY_MODES or mode == "RGB")
            pixels = np.array(image) if readable else np.empty(0)
    except _IMAGE_ERRORS as error:
        raise UserError(f"{path}: not readable as DICOM, PNG, TIFF or JPEG; download or copy the file again") from error
    if mode == "RGB" and readable:
        readable = bool((pixels[..., :1] == pixels[..., 1:]).all())
        mode, pixels = ("L", pixels[..., 0].copy()) if readable else ("RGB in colour", pixels)
    if not readable:
        raise UserError(f"{path}: mode {mode}, {frames} frame(s); only single grey images of 8 or 16 bits are read")
    if mode == "I" and (kind != "PNG" or pixels.min() < 0):
        raise UserError(f"{path}: 32 bits per pixel; save the image with 8 or 16 bits")
    return Picture(pixels, _GREY_MODES[mode], kind == "JPEG")


def is_two_valued(pixels: np.ndarray) -> bool:
    """Whether an array has at most two distinct values; what tells a mask from a film or a crop."""
    return bool(((pixels == pixels.min()) | (pixels == pixels.max())).all())


def exact_mask(pixels: np.ndarray) -> np.ndarray | None:
    """Where pixels ``[rows, columns]`` with at most two values have the higher one (one value: where it isn't zero).

    Returns:
        bool ``[rows, columns]``, or None where there are more values.
    """
    if not is_two_valued(pixels):
        return None
    low, high = pixels.min(), pixels.max()
    return pixels == high if high > low else pixels > 0


def jpeg_mask(pixels: np.ndarray) -> np.ndarray | None:
    """Where the pixels ``[rows, columns]`` of a JPEG, 0…255, are brighter than mid-grey, if they are a mask's.

    JPEG leaves noise around black and white, and rings at edges, so a mask is told by the shares of its pixels that are
    black, white and neither. All black is a mask without a lesion.

    Returns:
        bool ``[rows, columns]``, or None where they are a film's or a crop's.
    """
    low, high = pixels.min(), pixels.max()
    if low == high <= _JPEG_NOISE:
        return np.zeros(pixels.shape, dtype=bool)
    white = int((pixels >= 255 - _JPEG_NOISE).sum())
    grey = pixels.size - white - int((pixels <= _JPEG_NOISE).sum())
    if not white or low > _JPEG_NOISE or grey > min(_JPEG_GREY_SHARE * pixels.size, _JPEG_GREY_PER_WHITE * white):
        return None
    return pixels > 127


def without_unused_bits(stored: np.ndarray, bits: int) -> np.ndarray:
    """Stored values from their low bits, whatever overlays or garbage the bits above hold (PS3.5 §8.1.1).

    pydicom 3.0 does this too, but not for JPEG 2000 and not for JPEG-LS.
    """
    shift = 8 * stored.dtype.itemsize - bits
    limits = np.iinfo(stored.dtype)
    if shift <= 0 or (stored.min() >= limits.min >> shift and stored.max() <= limits.max >> shift):
        return stored
    return (stored << shift) >> shift


def apply_window(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """Grey values through a window (PS3.3 §C.11.2.1.2–3) whose output is 0…1.

    Args:
        values: modality values.
        center: Window Center (0028,1050).
        width: Window Width (0028,1051): at least 1 for LINEAR, more than 0 for the others.
        function: VOI LUT Function (0028,1056): ``"LINEAR"``, ``"LINEAR_EXACT"`` or ``"SIGMOID"``.

    Raises:
        ValueError: for other functions and widths.
    """
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or width < (function == "LINEAR") or width <= 0:
        raise ValueError(f"window of width {width:g}, VOI LUT function {function}")
    if function == "SIGMOID":
        return (1 + np.tanh(2 * (values - center) / width)) / 2  # the standard's formula, but can't overflow
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(float)
    return np.clip((values - center) / width + 0.5, 0, 1)


def look_up(table: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """``table[stored]``, in bands because NumPy makes 64-bit indices of what it is given."""
    codes = stored.view(f"u{stored.dtype.itemsize}")
    pixels = np.empty(stored.shape, dtype=table.dtype)
    for first in range(0, len(codes), _BAND):
        np.take(table, codes[first : first + _BAND], out=pixels[first : first + _BAND], mode="clip")
    return pixels


def resize_mammogram(image: np.ndarray, image_size: Sequence[int]) -> np.ndarray:
    """Resize a film of :func:`~monai_e2e.data.dicom.read_film` as the prepared folder has it.

    Args:
        image: float32 ``[rows, columns]``, 0…1.
        image_size: rows and columns wanted; the aspect ratio isn't kept (the paper doesn't).

    Returns:
        float32 ``[*image_size]``, 0…1 (bicubic overshoot is clipped).
    """
    rows, columns = image_size
    # Along the rows first, in bands: the numbers of one go, in less time since no copy of the whole film is made.
    narrow = np.empty((len(image), columns), dtype=np.float32)
    for first in range(0, len(image), _BAND):
        band = image[first : first + _BAND]
        narrow[first : first + _BAND] = _bicubic(band, (len(band), columns))
    return np.clip(_bicubic(narrow, (rows, columns)), 0.0, 1.0)


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


def has_area(points: Sequence[tuple[float, float]]) -> bool:
    """Whether a polygon encloses any of a pixel (shoelace formula)."""
    following = [*points[1:], *points[:1]]
    return abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(points, following, strict=True))) > 1e-6


def _bicubic(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(image.astype(np.float32, copy=False))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC))
