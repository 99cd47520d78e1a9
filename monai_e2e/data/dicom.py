"""Reading mammograms and lesion masks from DICOM, PNG, TIFF and JPEG.

Every reader of this project goes through :func:`read_film`, so that polarity, orientation and scaling are decided in
one place: rows × columns, air dark, tissue bright, 0…1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder

from monai_e2e.data.pixels import apply_window, exact_mask, jpeg_mask, look_up, read_picture, without_unused_bits
from monai_e2e.data.pixels import draw_outline as draw_outline
from monai_e2e.data.pixels import is_two_valued as is_two_valued
from monai_e2e.data.pixels import resize_mammogram as resize_mammogram
from monai_e2e.data.pixels import resize_mask as resize_mask
from monai_e2e.data.pixels import same_aspect as same_aspect
from monai_e2e.errors import UserError

_DICOM_PREFIX_OFFSET = 128
#: What pydicom raises on broken files (it has no common base class).
DICOM_ERRORS = (InvalidDicomError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, struct.error)
_DECODE_ERRORS = (*DICOM_ERRORS, RuntimeError, NotImplementedError, MemoryError)
_HEADER_ERRORS = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
#: Larger elements, the pixels, stay in the file until they are asked for: refusing gigabytes of frames costs nothing.
_DEFER_BYTES = 1 << 16
_TOMOSYNTHESIS = (uid.BreastTomosynthesisImageStorage, uid.XRay3DCraniofacialImageStorage)
_PROJECTIONS = (
    uid.BreastProjectionXRayImageStorageForPresentation,
    uid.BreastProjectionXRayImageStorageForProcessing,
)
#: pydicom's plugins in the order of preference: first what is always installed, so that a film reads the same with and
#: without the extra; GDCM last, since a damaged stream may make it end the whole process.
_PLUGINS = ("pydicom", "pillow", "pyjpegls", "pylibjpeg", "gdcm")


@dataclass(frozen=True)
class Film:
    """One film as the networks see it.

    Args:
        pixels: float32 ``[rows, columns]``, 0…1, air dark, tissue bright.
        pixel_spacing: mm between rows and between columns at the detector (Imager Pixel Spacing, else Pixel Spacing;
            PS3.3 §10.7.1.3), None where the file doesn't say.
    """

    pixels: np.ndarray
    pixel_spacing: tuple[float, float] | None


def is_dicom(path: str | Path) -> bool:
    """Whether the file has DICOM's preamble (PS3.10 §7.1); False for files that are missing or too short."""
    try:
        with open(path, "rb") as file:
            file.seek(_DICOM_PREFIX_OFFSET)
            return file.read(4) == b"DICM"
    except OSError:
        return False


def read_film(path: str | Path, voi_lut: bool = False) -> Film:
    """Read one film.

    DICOM: the rescale slope and intercept (or modality LUT) are applied, then the film's own minimum…maximum is mapped
    to 0…1, MONOCHROME1 is inverted, and pixel padding becomes 0. The film's range and not that of Bits Stored is used
    because detectors and digitisers fill their range differently.

    PNG, TIFF and JPEG: divided by the largest value of the type (255 or 65535), nothing else, so that a prepared image
    reads back as it was written.

    Args:
        path: DICOM, PNG, TIFF or JPEG file with one grey image.
        voi_lut: apply the file's first VOI LUT or window (PS3.3 §C.11.2) after the modality LUT, and map the window's
            range to 0…1 instead of the film's own; files without one are read as with False. It shows the film as a
            workstation would, and helps where markers or the skin's edge stretch a digital detector's own range. It
            clips what lies outside the window, and most public data sets (CBIS-DDSM) have none. Choose once: a network
            must be trained and applied with the same setting.

    Raises:
        UserError: when the file is missing, broken or no image, in colour, a tomosynthesis, has several frames, raw
            detector data (FOR PROCESSING) or one single value, or when its compression needs a decoder that isn't
            installed.
    """
    path = Path(path)
    if not is_dicom(path):
        picture = read_picture(path)
        return Film(np.divide(picture.pixels, picture.maximum, dtype=np.float32), None)
    dataset = _open(path)
    intent = str(dataset.get("PresentationIntentType") or _kind(dataset)).upper()
    if intent.endswith("FOR PROCESSING"):
        raise UserError(f"{path}: raw detector data (FOR PROCESSING); take the FOR PRESENTATION image of the same view")
    stored = _decode(path, dataset)
    if stored.dtype.itemsize > 2:
        raise UserError(f"{path}: {8 * stored.dtype.itemsize} bits per pixel; save the film with 8 or 16 bits")
    try:
        table = _brightness(dataset, stored, voi_lut)
    except _HEADER_ERRORS as error:
        raise UserError(
            f"{path}: rescale, LUT, window or padding not understood ({error}); mend the header or leave the file out"
        ) from error
    if table is None:
        where = " in its window" if voi_lut else ""
        raise UserError(f"{path}: the film has a single pixel value{where}; check it in a viewer or leave it out")
    return Film(look_up(table, stored), _pixel_spacing(dataset))


def read_mammogram(path: str | Path, voi_lut: bool = False) -> np.ndarray:
    """Pixels of :func:`read_film`: float32 ``[rows, columns]``, 0…1, air dark, tissue bright."""
    return read_film(path, voi_lut).pixels


def read_mask(path: str | Path) -> np.ndarray:
    """Read a lesion mask: DICOM, PNG or TIFF whose pixels have at most two values, or a nearly two-valued JPEG.

    Returns:
        bool ``[rows, columns]``; True where the higher value is (all False where every pixel is zero).

    Raises:
        UserError: when the file can't be read or has more than two values (a cropped image, say).
    """
    mask = find_mask(path)
    if mask is None:
        raise UserError(f"{path}: not a mask (more than two pixel values); pass the ROI mask file")
    return mask


def find_mask(path: str | Path) -> np.ndarray | None:
    """As :func:`read_mask`, but None where the file's grey values show that it is no mask (data sets mix them up)."""
    path = Path(path)
    if is_dicom(path):
        return exact_mask(_decode(path, _open(path)))
    picture = read_picture(path)
    return jpeg_mask(picture.pixels) if picture.jpeg else exact_mask(picture.pixels)


def read_pixels(path: str | Path) -> np.ndarray:
    """Stored pixel values ``[rows, columns]`` of a file, unscaled, possibly read-only; raises :class:`UserError`."""
    path = Path(path)
    return _decode(path, _open(path)) if is_dicom(path) else read_picture(path).pixels


def _open(path: Path) -> pydicom.Dataset:
    """Read the header of a file with one grey image."""
    try:
        dataset = pydicom.dcmread(path, defer_size=_DEFER_BYTES)
        refusal = _refusal(dataset)
    except DICOM_ERRORS as error:
        raise UserError(
            f"{path}: not readable as DICOM ({type(error).__name__}); download or copy the file again"
        ) from error
    if refusal:
        raise UserError(f"{path}: {refusal}")
    return dataset


def _refusal(dataset: pydicom.Dataset) -> str | None:
    """Why a file isn't one grey image, and what to do; None where it is."""
    kind, frames = _kind(dataset), int(dataset.get("NumberOfFrames") or 1)
    if "PixelData" not in dataset:
        return f"no pixel data ({kind}); choose a file that holds an image"
    sop_class, intent = dataset.get("SOPClassUID"), dataset.get("PresentationIntentType")
    # A 2D view computed from a tomosynthesis may be stored under its class, as one frame to look at.
    synthesized = sop_class in _TOMOSYNTHESIS and frames == 1 and intent == "FOR PRESENTATION"
    if sop_class in (*_TOMOSYNTHESIS, *_PROJECTIONS) and not synthesized:
        return f"tomosynthesis ({kind}, {frames} frames); take the 2D or synthesized 2D image of the same view"
    if frames > 1:
        return f"{frames} frames; only single films are read, extract one frame first"
    photometric = str(dataset.get("PhotometricInterpretation", "absent"))
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return f"photometric interpretation {photometric}; allowed: grey, which is MONOCHROME1 or MONOCHROME2"
    high, bits = dataset.get("HighBit"), dataset.get("BitsStored")
    if high is not None and bits is not None and high != bits - 1:
        return f"high bit {high} with {bits} bits stored; allowed: {bits - 1}, see PS3.5 §8.1.1; export the file again"
    return None


def _kind(dataset: pydicom.Dataset) -> str:
    """Name of the SOP class, such as ``Basic Text SR Storage``."""
    sop_class = dataset.get("SOPClassUID")
    return sop_class.name if sop_class else "unknown kind of file"


def _decode(path: Path, dataset: pydicom.Dataset) -> np.ndarray:
    """Stored values ``[rows, columns]``, read-only where they are a view of the file's bytes."""
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    if syntax is None:
        raise UserError(f"{path}: no Transfer Syntax UID, so can't be decoded; download or copy the file again")
    plugin = _plugin(path, dataset, syntax)
    options: dict[str, Any] = {"view_only": True, "correct_unused_bits": False, "allow_excess_frames": False}
    if plugin == "gdcm":  # ends the process on 7 bits stored in 8, and needs no more than the size of a pixel
        options["bits_stored"] = dataset.get("BitsAllocated")
    try:
        pixels, _ = get_decoder(syntax).as_array(dataset, decoding_plugin=plugin, **options)
        native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        return without_unused_bits(native, int(dataset.BitsStored))
    except _DECODE_ERRORS as error:
        raise UserError(
            f"{path}: pixel data can't be decoded ({type(error).__name__}); download or copy the file again"
        ) from error


def _plugin(path: Path, dataset: pydicom.Dataset, syntax: uid.UID) -> str:
    """Name of the pydicom plugin that decodes the file; empty for uncompressed pixels, which need none."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise UserError(
            f"{path}: transfer syntax {syntax.name} isn't supported; convert the file, with `gdcmconv --raw` say"
        ) from error
    if decoder.is_native:
        return ""
    available = decoder.available_plugins
    if syntax == uid.JPEGExtended12Bit and dataset.get("BitsStored") != 8:
        available = tuple(name for name in available if name == "pylibjpeg")
        if not available:
            raise UserError(
                f"{path}: no decoder for {syntax.name} with more than 8 bits; convert the file with DCMTK's "
                f"`dcmdjpeg`, or run `pip install pylibjpeg pylibjpeg-libjpeg` (GPL)"
            )
    plugin = next((name for name in _PLUGINS if name in available), None)
    if plugin is None:
        raise UserError(f'{path}: no decoder for {syntax.name}; run `pip install "monai-e2e[compressed]"`')
    return plugin


def _brightness(dataset: pydicom.Dataset, stored: np.ndarray, voi_lut: bool) -> np.ndarray | None:
    """What each stored value becomes (PS3.4 §N.2): float32 0…1, to be indexed by the value's bits.

    A film has at most 65,536 values, so everything happens once to each of those between its lowest and its highest.
    None where the film is of one brightness.
    """
    limits = np.iinfo(stored.dtype)
    padding = _padding(dataset, stored.dtype)
    if padding is None:
        low, high = stored.min(), stored.max()
    else:
        inside = (stored < padding[0]) | (stored > padding[1])
        low = stored.min(where=inside, initial=limits.max)
        high = stored.max(where=inside, initial=limits.min)
    codes = np.arange(int(low), int(high) + 1)
    if len(codes) < 2:
        return None
    values = _modality_values(dataset, codes)
    shares = _windowed(dataset, values) if voi_lut else None
    if shares is None:
        shares = values - values.min()
        shares /= shares.max() or 1
    if not shares.min() < shares.max():
        return None
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shares = 1 - shares
    table = np.zeros(limits.max - limits.min + 1, dtype=np.float32)
    table[codes] = shares  # negative values count from the end, as their bits do
    if padding is not None:
        table[np.arange(padding[0], padding[1] + 1)] = 0
    return table


def _modality_values(dataset: pydicom.Dataset, codes: np.ndarray) -> np.ndarray:
    """Stored values after the modality LUT, or the rescale slope and intercept (PS3.3 §C.11.1)."""
    if sequence := dataset.get("ModalityLUTSequence"):
        return _apply_lut(dataset, sequence[0], codes)[0]
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    return codes * float(1 if slope is None else slope) + float(0 if intercept is None else intercept)


def _windowed(dataset: pydicom.Dataset, values: np.ndarray) -> np.ndarray | None:
    """Modality values after the first VOI LUT or else the first window (PS3.3 §C.11.2), 0…1; None without either."""
    if sequence := dataset.get("VOILUTSequence"):
        entries, maximum = _apply_lut(dataset, sequence[0], values)
        return np.clip(entries / maximum, 0, 1)
    center, width = (_first(dataset, name) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None:
        return None
    return apply_window(values, center, width, str(dataset.get("VOILUTFunction") or "LINEAR"))


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
    """Lowest and highest of the stored values where the detector saw nothing (PS3.3 §C.7.5.1.1.2), or None.

    Padding at the air's end of the range needs no care, but under MONOCHROME1 it would turn white.
    """
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return None
    # Signed films often have the padding's bits as an unsigned number: 63536 for -2000.
    ends = np.array([value, limit if isinstance(limit, int) else value]).astype(dtype)
    low, high = sorted(int(end) for end in without_unused_bits(ends, int(dataset.BitsStored)))
    return low, high


def _pixel_spacing(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    for name in ("ImagerPixelSpacing", "PixelSpacing"):
        try:
            rows, columns = (float(distance) for distance in dataset.get(name) or ())
        except (TypeError, ValueError):
            continue  # absent, or not two numbers
        if 0 < rows < np.inf and 0 < columns < np.inf:
            return rows, columns
    return None


def _first(dataset: pydicom.Dataset, name: str) -> float | None:
    """The first value of an element, None where it is absent or empty."""
    values = np.atleast_1d(dataset.get(name) if dataset.get(name) is not None else [])
    return float(values[0]) if values.size else None
