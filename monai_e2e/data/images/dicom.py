"""Reading mammograms and lesion masks from DICOM, PNG, TIFF and JPEG.

Every reader of this project goes through :func:`decode_image`, so that polarity, orientation and scaling are decided in
one place: rows × columns, air dark, tissue bright, 0…1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder

from monai_e2e.data.images.brightness import MIN_MAX, VoiLut, brightness, fits, look_up, used_bits
from monai_e2e.data.images.dicom_files import MAX_PIXELS, is_dicom, one_file, open_dicom
from monai_e2e.data.images.headers import examine, sop_class_name
from monai_e2e.data.images.pixels import exact_mask, is_two_valued, jpeg_mask, read_picture
from monai_e2e.data.images.streams import declared_size
from monai_e2e.errors import UserError

_TOMOSYNTHESIS = (uid.BreastTomosynthesisImageStorage, uid.XRay3DCraniofacialImageStorage)
_PROJECTIONS = (
    uid.BreastProjectionXRayImageStorageForPresentation,
    uid.BreastProjectionXRayImageStorageForProcessing,
)
_GREY = ("MONOCHROME1", "MONOCHROME2")
#: Words of Photometric Interpretation that a message may repeat, being the standard's own.
_COLOURS = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
_MASK = "only two grey values, so it is a lesion mask and no mammogram; leave it out"
#: A picture whose pixels differ by less, on a scale of 0…1, shows nothing; JPEG's noise in black is smaller.
_LEAST_CONTRAST = 8 / 255
#: pydicom's plugins in the order of preference: first what is always installed, so that an image reads the same with
#: and without the extra; GDCM last, since a damaged stream may make it end the whole process.
_PLUGINS = ("pydicom", "pillow", "pyjpegls", "pylibjpeg", "gdcm")


@dataclass(frozen=True)
class DecodedImage:
    """One image as the networks see it.

    Args:
        pixels: float32 ``[rows, columns]``, 0…1, air dark, tissue bright.
        pixel_spacing: mm between rows and between columns at the detector (Imager Pixel Spacing, else Pixel Spacing;
            PS3.3 §10.7.1.3), None where the file doesn't say.
        flags: what is odd about the file, see docs/results.md.
        window: what its values went through, see :class:`~monai_e2e.data.images.brightness.Brightness`.
        prepared: whether it is an image of a prepared folder, which is framed already.
    """

    pixels: np.ndarray
    pixel_spacing: tuple[float, float] | None
    flags: tuple[str, ...] = ()
    window: str = MIN_MAX
    prepared: bool = False


def decode_image(path: str | Path, voi_lut: VoiLut = False, any_modality: bool = False) -> DecodedImage:
    """Read one image.

    DICOM: the rescale slope and intercept (or modality LUT) are applied, then the image's own minimum…maximum is mapped
    to 0…1, low values that mean bright are inverted, and pixel padding becomes 0. The image's range and not that of
    Bits Stored is used because detectors and digitisers fill their range differently; a handful of pixels far outside
    the range of all others, which a detector's dead pixels are, is cut off.

    PNG, TIFF and JPEG: divided by the largest value of the type (255 or 65535), so that a prepared image reads back as
    it was written, or of the 8, 10, 12 or 14 bits that a file of 16 uses.

    Args:
        path: DICOM, PNG, TIFF or JPEG file with one grey image.
        voi_lut: apply the file's first VOI LUT or window (PS3.3 §C.11.2) after the modality LUT, and map the window's
            range to 0…1 instead of the image's own; files without one are read as with False, and flagged. It shows the
            image as a workstation would, and helps where markers or the skin's edge stretch a digital detector's own
            range. It clips what lies outside the window, and most public data sets (CBIS-DDSM) have none. Choose once:
            a network must be trained and applied with the same setting. ``"auto"`` is a rule instead: the VOI LUT or
            window of images FOR PRESENTATION, which their maker chose for them; the own range of all others.
        any_modality: also read DICOM files whose header doesn't say that they are mammograms; they are flagged.

    Raises:
        UserError: when the file is missing, broken, larger than any mammogram, or no image; in colour, a tomosynthesis,
            several frames, raw detector data (FOR PROCESSING) or no mammogram by its header; of one single value, or
            a mask; or when its compression needs a decoder that isn't installed.
    """
    path = Path(path)
    if not is_dicom(path):
        return _decode_picture(path)
    dataset = _open(path)
    with one_file(path, "header not understood"):
        verdict = examine(dataset)
    if verdict.refusal and not any_modality:
        raise UserError(f"{path}: {verdict.refusal}; leave it out, or use --any-modality if its header is wrong")
    if verdict.raw:
        raise UserError(f"{path}: raw detector data (FOR PROCESSING); take the FOR PRESENTATION image of the same view")
    stored = _decode(path, dataset)
    if stored.dtype.itemsize > 2:
        raise UserError(f"{path}: {8 * stored.dtype.itemsize} bits per pixel; save the image with 8 or 16 bits")
    with one_file(path, "rescale, LUT, window or padding not understood"):
        found = brightness(dataset, stored, voi_lut)
        spacing = _pixel_spacing(dataset)
        more_bits = () if fits(stored, int(dataset.BitsStored)) else ("more bits than stored",)
    if found is None:
        where = " in its window" if voi_lut else ""
        raise UserError(f"{path}: the image has a single pixel value{where}; check it in a viewer or leave it out")
    pixels = look_up(found.table, stored)
    _refuse_mask(path, pixels)
    return DecodedImage(pixels, spacing, (*verdict.flags, *more_bits, *found.flags), found.window)


def read_mammogram(path: str | Path, voi_lut: VoiLut = False) -> np.ndarray:
    """Pixels of :func:`decode_image`: float32 ``[rows, columns]``, 0…1, air dark, tissue bright."""
    return decode_image(path, voi_lut).pixels


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


def _decode_picture(path: Path) -> DecodedImage:
    picture = read_picture(path)
    pixels = np.minimum(np.divide(picture.pixels, picture.depth, dtype=np.float32), 1)
    if not picture.prepared:
        if pixels.max() - pixels.min() < _LEAST_CONTRAST:
            raise UserError(f"{path}: all pixels have about the same value; check the image or leave it out")
        if picture.jpeg and jpeg_mask(picture.pixels) is not None:
            raise UserError(f"{path}: {_MASK}")
        _refuse_mask(path, pixels)
    flags = () if picture.depth == picture.maximum else ("fewer bits",)
    return DecodedImage(pixels, None, flags, prepared=picture.prepared)


def _refuse_mask(path: Path, pixels: np.ndarray) -> None:
    if is_two_valued(pixels):
        raise UserError(f"{path}: {_MASK}")


def _open(path: Path) -> pydicom.Dataset:
    """Read the header of a file with one grey image."""
    with one_file(path, "not readable as DICOM"):
        dataset = open_dicom(path)
        refusal = _refusal(dataset)
    if refusal:
        raise UserError(f"{path}: {refusal}")
    return dataset


def _refusal(dataset: pydicom.Dataset) -> str | None:
    """Why a file isn't one grey image, and what to do; None where it is."""
    kind, frames = sop_class_name(dataset), int(dataset.get("NumberOfFrames") or 1)
    if "PixelData" not in dataset:
        return f"no pixel data ({kind}); choose a file that holds an image"
    sop_class, intent = dataset.get("SOPClassUID"), dataset.get("PresentationIntentType")
    # A 2D view computed from a tomosynthesis may be stored under its class, as one frame to look at.
    synthesized = sop_class in _TOMOSYNTHESIS and frames == 1 and intent == "FOR PRESENTATION"
    if sop_class in (*_TOMOSYNTHESIS, *_PROJECTIONS) and not synthesized:
        return f"tomosynthesis ({kind}); take the 2D or synthesized 2D image of the same view"
    if frames > 1:
        return "several frames; only single images are read, extract one frame first"
    photometric = str(dataset.get("PhotometricInterpretation", "absent"))
    samples = int(dataset.get("SamplesPerPixel") or 1)
    # Grey images are stored in three equal colours too; whether these are equal, the pixels say.
    if (samples, photometric) != (3, "RGB") and (samples != 1 or photometric not in _GREY):
        named = photometric if photometric in (*_COLOURS, *_GREY, "absent") else "unknown"
        return f"photometric interpretation {named}; allowed: grey, which is MONOCHROME1 or MONOCHROME2"
    high, bits = dataset.get("HighBit"), dataset.get("BitsStored")
    if high is not None and bits is not None and high != bits - 1:
        return "high bit isn't the highest of the bits stored, see PS3.5 §8.1.1; export the file again"
    if int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0) > MAX_PIXELS:
        return f"more than {MAX_PIXELS >> 20} million pixels, too many for a mammogram; leave the file out"
    return None


def _decode(path: Path, dataset: pydicom.Dataset) -> np.ndarray:
    """Stored values ``[rows, columns]``, read-only where they are a view of the file's bytes."""
    with one_file(path, "pixel data can't be decoded"):
        syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
        if syntax is None:
            raise UserError(f"{path}: no Transfer Syntax UID, so can't be decoded; download or copy the file again")
        plugin = _plugin(path, dataset, syntax)
        if plugin and syntax != uid.RLELossless:
            declared = declared_size(get_frame(dataset.PixelData, 0, number_of_frames=1))
            if declared != (dataset.Rows, dataset.Columns, int(dataset.get("SamplesPerPixel") or 1)):
                raise UserError(
                    f"{path}: the compressed pixels have no size, or another one than the header; download or copy "
                    "the file again, or leave it out"
                )
        options: dict[str, Any] = {"view_only": True, "correct_unused_bits": False, "allow_excess_frames": False}
        if plugin == "gdcm":  # ends the process on 7 bits stored in 8, and needs no more than the size of a pixel
            options["bits_stored"] = dataset.get("BitsAllocated")
        pixels, _ = get_decoder(syntax).as_array(dataset, decoding_plugin=plugin, **options)
        if pixels.ndim == 3:
            if not (pixels[..., :1] == pixels[..., 1:]).all():
                raise UserError(f"{path}: in colour (RGB); allowed is grey, also as three equal channels: convert it")
            pixels = np.ascontiguousarray(pixels[..., 0])
        native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        return used_bits(native, int(dataset.BitsStored))


def _plugin(path: Path, dataset: pydicom.Dataset, syntax: uid.UID) -> str:
    """Name of the pydicom plugin that decodes the file; empty for uncompressed pixels, which need none."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise UserError(
            f"{path}: transfer syntax {_name(syntax)} isn't supported; convert the file, such as by `gdcmconv --raw`"
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


def _name(syntax: uid.UID) -> str:
    return "not of the standard" if syntax.name == str(syntax) else syntax.name


def _pixel_spacing(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    for name in ("ImagerPixelSpacing", "PixelSpacing"):
        try:
            rows, columns = (float(distance) for distance in dataset.get(name) or ())
        except (TypeError, ValueError):
            continue  # absent, or not two numbers
        if 0 < rows < np.inf and 0 < columns < np.inf:
            return rows, columns
    return None
