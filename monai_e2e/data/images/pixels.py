"""Pictures: PNG, TIFF and JPEG files, masks among them, and resizing images and masks.

Images are resized by Pillow's bicubic filter, which averages over the area that becomes one pixel. The paper's author
used OpenCV's bicubic interpolation, which reads 4 × 4 pixels however far the image is shrunk (about 5 times here) and
so keeps more noise and loses fine calcifications at random.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from monai_e2e.data.images.brightness import count_values, without_outliers
from monai_e2e.data.images.dicom_files import MAX_PIXELS, one_file
from monai_e2e.errors import UserError

_FORMATS = ("PNG", "TIFF", "JPEG", "PPM")
#: Pillow's grey modes → the largest value of the type ("I" is how it opens 16-bit PGM and some releases 16-bit PNG).
_GREY_MODES = {"1": 1, "L": 255, "I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I": 65535}
#: Modes in which grey pictures are stored too; the opacity says nothing.
_COLOUR_MODES = ("RGB", "RGBA")
#: PNG's keyword and word by which images of the prepared folder are known: their values span 16 bits, dark or not.
_PREPARED = ("Software", "monai-e2e")
#: Bytes of a PNG's signature and first chunk, after which texts may stand.
_PNG_HEADER = 33
#: One of so many rows and columns shows that an image has more than two values.
_SPARSE = 64
#: Bits of detectors and digitisers whose values are saved in pictures of 16 bits, unscaled.
_DEPTHS = (8, 10, 12, 14)
_TIFF_PHOTOMETRIC = 262
#: A JPEG mask's pixels lie within 32 of black or white, except near edges. Measured with Pillow's encoder at qualities
#: 75–95 on filled shapes, outlines and lesions of a few pixels, 100 × 80 to 4600 × 3000: at most 0.05 % of the pixels
#: are grey, and at most 0.034 for each white one. A crop that is nearly black passes the first test but has far more
#: grey than white.
_JPEG_NOISE = 32
_JPEG_GREY_SHARE = 0.005
_JPEG_GREY_PER_WHITE = 0.1
#: Rows of an image that are resized at a time: small enough for the processor's cache.
_BAND = 128
#: Masks may differ from their image in size, but hardly in shape.
_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class Picture:
    """Stored pixels of a picture file.

    Args:
        pixels: ``[rows, columns]``, bool, uint8 or uint16.
        maximum: the largest value of the file's type: 1, 255 or 65535.
        jpeg: whether the values are only nearly those that were saved.
        prepared: whether the preparation wrote the file.
        depth: the largest value that its pixels can have: ``maximum``, or that of the fewer bits that are used.
    """

    pixels: np.ndarray
    maximum: int
    jpeg: bool
    prepared: bool
    depth: int


def read_picture(path: Path) -> Picture:
    """Read a grey PNG, TIFF or JPEG, upright by its Exif orientation and with low values dark.

    A picture whose red, green and blue are equal is grey, whatever its opacity.

    Raises:
        UserError: when the file is missing, broken, in colour, has several frames, more than 16 bits, or more pixels
            than any mammogram.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    with one_file(path, "not readable as DICOM, PNG, TIFF or JPEG"):  # noqa: SIM117 # refusals pass through it
        # Not by its name: Pillow 13 maps an uncompressed TIFF of that into memory as if it weren't to be turned.
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            mode, frames = image.mode, getattr(image, "n_frames", 1)
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"{path}: {image.height} × {image.width} pixels are too many for a mammogram; leave it out"
                )
            if frames > 1 or (mode not in _GREY_MODES and mode not in _COLOUR_MODES):
                raise UserError(
                    f"{path}: mode {mode}, {frames} frame(s); allowed is one grey image of 8 or 16 bits: convert it"
                )
            # Pillow inverts 8 bits but not 16 where white is zero.
            white_is_zero = mode.startswith("I;16") and getattr(image, "tag_v2", {}).get(_TIFF_PHOTOMETRIC) == 0
            kind, prepared = image.format, image.info.get(_PREPARED[0]) == _PREPARED[1]
            pixels = np.array(ImageOps.exif_transpose(image))
    if mode in _COLOUR_MODES:
        if not (pixels[..., :1] == pixels[..., 1:3]).all():
            raise UserError(f"{path}: in colour; allowed is one grey image of 8 or 16 bits: convert it")
        mode, pixels = "L", pixels[..., 0].copy()
    if mode == "I":
        if kind not in ("PNG", "PPM") or pixels.min() < 0:
            raise UserError(f"{path}: 32 bits per pixel; save the image with 8 or 16 bits")
        pixels = pixels.astype(np.uint16)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    maximum = _GREY_MODES[mode]
    depth = maximum if maximum != 65535 or prepared else _used_depth(pixels)
    if white_is_zero:
        pixels = depth - np.minimum(pixels, depth)
    return Picture(pixels, maximum, kind == "JPEG", prepared, depth)


def _used_depth(pixels: np.ndarray) -> int:
    """Largest value of the bits that uint16 pixels use.

    Values of 12 bits in a file of 16 would be a sixteenth as bright as they are. Images of the prepared folder are
    taken as they are, since they are scaled to their type, however dark they may be.
    """
    _, high = without_outliers(count_values(pixels))
    return next((2**bits - 1 for bits in _DEPTHS if high < 2**bits), 65535)


def save_grey16(image: np.ndarray, path: Path) -> None:
    """Write uint16 ``[rows, columns]`` as PNG, marked as the preparation's."""
    png = _as_png(image.astype(np.uint16, copy=False))
    chunk = b"tEXt" + "\0".join(_PREPARED).encode("latin-1")
    text = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    path.write_bytes(png[:_PNG_HEADER] + text + png[_PNG_HEADER:])


def save_mask(mask: np.ndarray, path: Path) -> None:
    """Write a bool mask ``[rows, columns]`` as PNG of 0 and 255."""
    path.write_bytes(_as_png(mask.view(np.uint8) * 255))


def _as_png(pixels: np.ndarray) -> bytes:
    """In less than half of Pillow's time, and no larger: OpenCV chooses zlib's strategy for runs, and one filter."""
    import cv2  # which processes that find all images finished needn't load

    return cv2.imencode(".png", pixels)[1].tobytes()


def is_two_valued(pixels: np.ndarray) -> bool:
    """Whether an array has at most two distinct values; what tells a mask from an image or a crop."""
    return exact_mask(pixels) is not None


def exact_mask(pixels: np.ndarray) -> np.ndarray | None:
    """Where pixels ``[rows, columns]`` with at most two values have the higher one (one value: where it isn't zero).

    Returns:
        bool ``[rows, columns]``, or None where there are more values.
    """
    if len(np.unique(pixels[::_SPARSE, ::_SPARSE])) > 2:  # true of nearly every image, and found in no time
        return None
    low, high = pixels.min(), pixels.max()
    if low == high:
        return pixels > 0
    mask = pixels == high
    others = pixels.size - np.count_nonzero(mask) - np.count_nonzero(pixels == low)
    return None if others else mask


def jpeg_mask(pixels: np.ndarray) -> np.ndarray | None:
    """Where the pixels ``[rows, columns]`` of a JPEG, 0…255, are brighter than mid-grey, if they are a mask's.

    JPEG leaves noise around black and white, and rings at edges, so a mask is told by the shares of its pixels that are
    black, white and neither. All black is a mask without a lesion.

    Returns:
        bool ``[rows, columns]``, or None where they are an image's or a crop's.
    """
    low, high = pixels.min(), pixels.max()
    if low == high <= _JPEG_NOISE:
        return np.zeros(pixels.shape, dtype=bool)
    white = int((pixels >= 255 - _JPEG_NOISE).sum())
    grey = pixels.size - white - int((pixels <= _JPEG_NOISE).sum())
    if not white or low > _JPEG_NOISE or grey > min(_JPEG_GREY_SHARE * pixels.size, _JPEG_GREY_PER_WHITE * white):
        return None
    return pixels > 127


def resize_mammogram(image: np.ndarray, image_size: Sequence[int], maximum: float = 1.0) -> np.ndarray:
    """Resize an image of :func:`~monai_e2e.data.images.dicom.decode_image` as the prepared folder has it.

    Args:
        image: float32 ``[rows, columns]``, 0…maximum.
        image_size: rows and columns wanted; the aspect ratio isn't kept (the paper doesn't).
        maximum: of the image's values.

    Returns:
        float32 ``[*image_size]``, 0…maximum (bicubic overshoot is clipped).
    """
    rows, columns = image_size
    # Along the rows first, in bands: the numbers of one go, in less time since no copy of the whole image is made.
    narrow = np.empty((len(image), columns), dtype=np.float32)
    for first in range(0, len(image), _BAND):
        band = image[first : first + _BAND]
        narrow[first : first + _BAND] = _bicubic(band, (len(band), columns))
    return np.clip(_bicubic(narrow, (rows, columns)), 0.0, maximum)


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
    outline: Sequence[tuple[float, float]], original_size: Sequence[int], image_size: Sequence[int]
) -> np.ndarray | None:
    """Fill an outline given in the image's pixels at the target size.

    Args:
        outline: ``(row, column)`` points; one or two make a point or a line.
        original_size: rows and columns of the image.
        image_size: rows and columns wanted.

    Returns:
        bool ``[*image_size]``, or None when the outline lies outside the image, or reaches farther out of it than it is
        long: a damaged point would make the lesion reach to the edge.
    """
    rows, columns = original_size
    if not all(-rows <= row <= 2 * rows and -columns <= column <= 2 * columns for row, column in outline):
        return None
    scale = image_size[0] / original_size[0], image_size[1] / original_size[1]
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


def scaled_outline(
    outline: tuple[tuple[float, float], ...], drawn_on: Sequence[int], size: Sequence[int]
) -> tuple[tuple[float, float], ...]:
    """An outline of an image ``[*drawn_on]`` on a copy ``[*size]``; ``(0, 0)`` is the first pixel's centre in both."""
    if tuple(drawn_on) == tuple(size):
        return outline
    down, across = size[0] / drawn_on[0], size[1] / drawn_on[1]
    return tuple(((row + 0.5) * down - 0.5, (column + 0.5) * across - 0.5) for row, column in outline)


def has_area(points: Sequence[tuple[float, float]]) -> bool:
    """Whether a polygon encloses any of a pixel (shoelace formula)."""
    following = [*points[1:], *points[:1]]
    return abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(points, following, strict=True))) > 1e-6


def _bicubic(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(image.astype(np.float32, copy=False))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC))
