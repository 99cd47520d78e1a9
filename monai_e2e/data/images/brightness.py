"""From stored values to brightness, 0…1: modality LUT, window, polarity, padding and outliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import pydicom

#: Whether an image's own window is applied: in no image, in all that have one, or by the rule :data:`AUTO`.
VoiLut = bool | Literal["auto"]
AUTO: Literal["auto"] = "auto"
#: Name of what is done without a window: the image's own range.
MIN_MAX = "min-max"
#: Rows of an image that are worked on at a time: small enough for the processor's cache.
_BAND = 128
#: Whole numbers up to here are exact in float32.
_EXACT = 1 << 24
#: Outlying pixels are at most 1 of 100,000, or a handful; a pixel of a thumbnail is never one.
_OUTLYING_SHARE, _HANDFUL, _SMALLEST = 100_000, 16, 1_000


@dataclass(frozen=True)
class Brightness:
    """What each stored value becomes.

    Args:
        table: float32 0…1, to be indexed by the value's bits, see :func:`look_up`.
        flags: ``no window``, ``outlying pixels``, ``polarity contradictory``, as far as they hold.
        window: what was applied: ``VOI LUT``, the function of a window such as ``SIGMOID``, or :data:`MIN_MAX`.
    """

    table: np.ndarray
    flags: tuple[str, ...]
    window: str = MIN_MAX


def brightness(dataset: pydicom.Dataset, stored: np.ndarray, voi_lut: VoiLut) -> Brightness | None:
    """What each stored value becomes (PS3.4 §N.2).

    An image has at most 65,536 values, so everything happens once to each of those between its lowest and its highest.

    Args:
        dataset: the image's header.
        stored: ``[rows, columns]`` of 8 or 16 bits.
        voi_lut: whether to apply the image's first VOI LUT or window; ``"auto"``: where the image is FOR PRESENTATION.

    Returns:
        None where the image is of one brightness.
    """
    counts, lowest = count_values(stored), int(np.iinfo(stored.dtype).min)
    inverted, flags = _polarity(dataset)
    padding = _padding(dataset, stored.dtype)
    if padding is not None:
        padded = counts[padding[0] - lowest : padding[1] - lowest + 1]
        number, padded[:] = int(padded.sum()), 0
        black = _black_padding(dataset, padding, counts, inverted)
        if black is not None:
            counts[black - lowest] = number
    used = np.flatnonzero(counts)
    if len(used) < 2:
        return None
    codes = np.arange(int(used[0]), int(used[-1]) + 1) + lowest
    values = _modality_values(dataset, codes)
    wanted = is_for_presentation(dataset) if voi_lut == AUTO else voi_lut
    shares, window = _windowed(dataset, values) if wanted else (None, MIN_MAX)
    if voi_lut is True and shares is None:
        flags.append("no window")
    if shares is None:
        ends = without_outliers(counts)
        shares = values - values.min()
        if ends != (used[0], used[-1]):
            flags.append("outlying pixels")
            low, high = sorted(values[np.array(ends) - used[0]])
            shares = np.clip(values, low, high) - low
        shares = shares / (shares.max() or 1)
    if not shares.min() < shares.max():
        return None
    if inverted:
        shares = 1 - shares
    table = np.zeros(len(counts), dtype=np.float32)
    table[codes] = shares  # negative values count from the end, as their bits do
    if padding is not None:
        table[np.arange(padding[0], padding[1] + 1)] = 0
    return Brightness(table, tuple(flags), window)


def is_for_presentation(dataset: pydicom.Dataset) -> bool:
    """Whether the image is made to be looked at (PS3.3 §C.8.11.1), by its intent, else by its class."""
    intent = str(dataset.get("PresentationIntentType") or "").upper()
    by_class = "for presentation" in pydicom.uid.UID(str(dataset.get("SOPClassUID") or "")).name.lower()
    return intent == "FOR PRESENTATION" if intent else by_class


def look_up(table: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """``table[stored]``, in bands because NumPy makes 64-bit indices of what it is given."""
    codes = stored.view(f"u{stored.dtype.itemsize}")
    pixels = np.empty(stored.shape, dtype=table.dtype)
    for first in range(0, len(codes), _BAND):
        np.take(table, codes[first : first + _BAND], out=pixels[first : first + _BAND], mode="clip")
    return pixels


def count_values(stored: np.ndarray) -> np.ndarray:
    """How often each value of the type of ``stored``, 8 or 16 bits, occurs, from its lowest to its highest."""
    codes = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("=")).view(f"u{stored.dtype.itemsize}")
    values = 1 << 8 * stored.dtype.itemsize
    counts = np.zeros(values, dtype=np.int64)
    rows = max(1, _EXACT // max(1, codes.shape[1]))  # OpenCV counts in float32
    for first in range(0, len(codes), rows):
        counts += cv2.calcHist([codes[first : first + rows]], [0], None, [values], [0, values]).ravel().astype(np.int64)
    return np.roll(counts, values // 2) if stored.dtype.kind == "i" else counts


def without_outliers(counts: np.ndarray) -> tuple[int, int]:
    """Places of the lowest and the highest value of an image, but for a handful of pixels far from all others.

    A dead or hot pixel would squeeze the image into a part of its range. Pixels are left out at an end only where the
    range of all others is less than half as wide, which in an image without such pixels it is not.

    Args:
        counts: of :func:`count_values`; at least one isn't zero.
    """
    used = np.flatnonzero(counts)
    low, high = int(used[0]), int(used[-1])
    total = int(counts.sum())
    few = min(max(total // _OUTLYING_SHARE, _HANDFUL), total // _SMALLEST)
    below = np.cumsum(counts[used])
    inner_low = int(used[np.searchsorted(below, few, "right")])
    inner_high = int(used[np.searchsorted(below, total - few)])
    if inner_high <= inner_low:  # what remains has one value: the handful is all that there is to see
        return low, high
    if inner_high - low < (high - low) / 2:
        high = inner_high
    if high - inner_low < (high - low) / 2:
        low = inner_low
    return low, high


def stretch(values: np.ndarray) -> np.ndarray | None:
    """An image's own range, less outlying pixels, mapped to 0…1, of what an image's file has become in memory.

    Args:
        values: ``[rows, columns]`` of whole numbers or fractions.

    Returns:
        float32 of the same shape; None where the image has one value alone, or numbers that aren't finite.
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)) or low == high:
        return None
    limit = np.iinfo(np.uint16).max
    whole = high - low <= limit and bool((values == np.rint(values)).all())
    step = 1.0 if whole else (high - low) / limit
    codes = np.rint((values - low) / step).astype(np.uint16)
    first, last = without_outliers(count_values(codes))
    return np.clip((values - low - first * step) / ((last - first) * step), 0, 1).astype(np.float32)


def without_unused_bits(stored: np.ndarray, bits: int) -> np.ndarray:
    """Stored values from their low bits, whatever overlays or garbage the bits above hold (PS3.5 §8.1.1).

    pydicom 3.0 does this too, but not for JPEG 2000 and not for JPEG-LS.
    """
    shift = 8 * stored.dtype.itemsize - bits
    return stored if fits(stored, bits) else (stored << shift) >> shift


def fits(stored: np.ndarray, bits: int) -> bool:
    """Whether values need no more than the given number of bits."""
    shift, limits = 8 * stored.dtype.itemsize - bits, np.iinfo(stored.dtype)
    return shift <= 0 or bool(stored.min() >= limits.min >> shift and stored.max() <= limits.max >> shift)


def used_bits(stored: np.ndarray, bits: int) -> np.ndarray:
    """Stored values by :func:`without_unused_bits`, or as they are where Bits Stored is too small for them.

    Of overlays and garbage above the pixel's bits neighbours know nothing, while values cut at a bit that is too low
    jump where they pass it: what makes the smoother picture is right.
    """
    low = without_unused_bits(stored, bits)
    return low if low is stored or _variation(low) <= _variation(stored) else stored


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
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or not width >= (function == "LINEAR") or width <= 0:
        raise ValueError("no such window")
    if function == "SIGMOID":
        return (1 + np.tanh(2 * (values - center) / width)) / 2  # the standard's formula, but can't overflow
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(float)
    return np.clip((values - center) / width + 0.5, 0, 1)


def _polarity(dataset: pydicom.Dataset) -> tuple[bool, list[str]]:
    """Whether low values are bright, by Photometric Interpretation and Presentation LUT Shape (PS3.3 §C.11.6).

    MONOCHROME1 goes with INVERSE and MONOCHROME2 with IDENTITY; of the other two pairs either says inverted.
    """
    shape = str(dataset.get("PresentationLUTShape") or "")
    first = dataset.PhotometricInterpretation == "MONOCHROME1"
    contradictory = shape == ("IDENTITY" if first else "INVERSE")
    return first or shape == "INVERSE", ["polarity contradictory"] if contradictory else []


def _modality_values(dataset: pydicom.Dataset, codes: np.ndarray) -> np.ndarray:
    """Stored values after the modality LUT, or the rescale slope and intercept (PS3.3 §C.11.1)."""
    if sequence := dataset.get("ModalityLUTSequence"):
        return _apply_lut(dataset, sequence[0], codes)[0]
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    return codes * float(1 if slope is None else slope) + float(0 if intercept is None else intercept)


def _windowed(dataset: pydicom.Dataset, values: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Modality values after the first VOI LUT or else the first window (PS3.3 §C.11.2), 0…1, and which; or neither."""
    if sequence := dataset.get("VOILUTSequence"):
        entries, maximum = _apply_lut(dataset, sequence[0], values)
        return np.clip(entries / maximum, 0, 1), "VOI LUT"
    center, width = (_first(dataset, name) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None:
        return None, MIN_MAX
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    return apply_window(values, center, width, function), function


def _apply_lut(dataset: pydicom.Dataset, item: pydicom.Dataset, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Entries of a modality or VOI LUT for values, which beyond its ends get its first or last; and its maximum.

    pydicom 3.0's own functions let values wrap around where a table of more than 256 entries has 8-bit entries.
    """
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    data, order = item.LUTData, "<" if dataset.original_encoding[1] else ">"
    if isinstance(data, bytes):  # OW; a count of 0 means 65,536
        data = np.frombuffer(data, f"{order}u{1 if len(data) < 2 * (count or 65536) else 2}")
    entries = np.atleast_1d(np.asarray(data, dtype=float))[: count or 65536]
    return entries[np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.intp)], 2**bits - 1


def _padding(dataset: pydicom.Dataset, dtype: np.dtype) -> tuple[int, int] | None:
    """Lowest and highest of the stored values where the detector saw nothing (PS3.3 §C.7.5.1.1.2), or None."""
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return None
    # Signed images often have the padding's bits as an unsigned number: 63536 for -2000.
    ends = np.array([value, limit if isinstance(limit, int) else value]).astype(dtype)
    low, high = sorted(int(end) for end in without_unused_bits(ends, int(dataset.BitsStored)))
    return low, high


def _black_padding(
    dataset: pydicom.Dataset, padding: tuple[int, int], counts: np.ndarray, inverted: bool
) -> int | None:
    """The padding's value that is an unsigned image's darkest grey, as in images that don't declare it; else None.

    Left out of the image's range, it would make the darkest tissue as dark as air. Below the image's values there is
    room down to 0 alone; above them padding is a grey only where it is no farther away than the image's range.

    Args:
        dataset: the image's header.
        padding: of :func:`_padding`.
        counts: of the image's values, without padding.
        inverted: whether low values are bright.
    """
    used = np.flatnonzero(counts)
    if dataset.get("PixelRepresentation") != 0 or len(used) < 2:
        return None
    first, last = int(used[0]), int(used[-1])
    if padding[1] < first:
        value, tissue = padding[1], first
    elif last < padding[0] <= 2 * last - first:
        value, tissue = padding[0], last
    else:
        return None
    of_padding, of_tissue = _modality_values(dataset, np.array([value, tissue]))
    return value if (of_padding > of_tissue) == inverted else None


def _variation(stored: np.ndarray) -> int:
    """Sum of the differences between neighbours in a row."""
    return int(np.abs(np.diff(stored.astype(np.int32), axis=1)).sum(dtype=np.int64))


def _first(dataset: pydicom.Dataset, name: str) -> float | None:
    """The first value of an element, None where it is absent or empty."""
    values = np.atleast_1d(dataset.get(name) if dataset.get(name) is not None else [])
    return float(values[0]) if values.size else None
