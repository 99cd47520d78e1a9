"""What the phantoms of both data sets share: the checks of arguments, and DICOM files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, ExplicitVRLittleEndian

from monai_e2e.errors import UserError

#: Written into every file, so that no phantom is mistaken for a patient.
PHANTOM_NOTE = "monai-e2e phantom, not a patient"
_FEWEST_ROWS = 256


def rows_for(image_size: Sequence[int]) -> int:
    """Number of rows to draw for images that will be prepared at ``image_size`` (rows, columns).

    It is 16/9 of the prepared rows, between 256 and 768, since the time for drawing grows with the area. Preparation
    then averages about three pixels into one, which removes most of the grain.
    """
    return min(768, max(_FEWEST_ROWS, image_size[0] * 16 // 9))


def prepare_out(out: Path, patients: int, rows: int) -> None:
    """Check the arguments that both writers take and create the folder.

    Raises:
        UserError: when ``patients`` or ``rows`` is out of range, or ``out`` isn't a new or empty folder.
    """
    if not 1 <= patients <= 99999:
        raise UserError(f"{patients} patients: give a number from 1 to 99999")
    if not _FEWEST_ROWS <= rows <= 4096:
        raise UserError(f"{rows} rows: give a number from {_FEWEST_ROWS} to 4096, such as 768")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: name a new or empty folder for the phantoms")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: name a new folder for the phantoms, or empty this one first")
    out.mkdir(parents=True, exist_ok=True)


def random_uid(rng: np.random.Generator, root: str) -> UID:
    """A random UID: ``root``, which ends in a dot, and 38 digits, which fit into DICOM's 64 characters."""
    digits = rng.integers(0, 10, 38)
    digits[0] = rng.integers(1, 10)  # a component must not start with 0
    return UID(root + "".join(map(str, digits)))


def new_dataset(sop_class: UID, sop_instance: UID, pixels: np.ndarray, bits: int) -> Dataset:
    """A DICOM data set with file meta information and the pixel module of one uint8 or uint16 image ``[H, W]``."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = sop_instance
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset.file_meta.ImplementationVersionName = "MONAI-E2E"  # not pydicom's version, so that the bytes stay the same
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = sop_instance
    dataset.ImageComments = PHANTOM_NOTE
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    # Their value representation depends on the pixels' sign, so it is given explicitly.
    dataset.add_new("SmallestImagePixelValue", "US", int(pixels.min()))
    dataset.add_new("LargestImagePixelValue", "US", int(pixels.max()))
    data = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    dataset.add_new(0x7FE00010, "OB" if bits <= 8 else "OW", data + b"\0" * (len(data) % 2))
    return dataset


def save(dataset: Dataset, path: Path) -> None:
    """Write ``dataset`` as a conforming DICOM file, and create its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
