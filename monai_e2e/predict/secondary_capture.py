"""A result as a Secondary Capture: the picture for people, derived from the image."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from monai_e2e import __version__
from monai_e2e.predict.dicom_reference import DISCLAIMER, NAME, Reference, common_arguments, save_result


def write_secondary_capture(reference: Reference, overlay: np.ndarray, out: Path) -> None:
    """Write a picture of the image as a Secondary Capture Image (PS3.3 §A.8.1), derived from the image.

    Its modality is OT, not MG, so that no workstation hangs it among the mammograms.

    Args:
        reference: the image.
        overlay: uint8 ``[rows, columns, 3]``, RGB: the whole image, in its own orientation and at any size.
        out: file to write.
    """
    from highdicom import PhotometricInterpretationValues
    from highdicom.sc import ConversionTypeValues, SCImage
    from highdicom.sr import CodedConcept

    mammogram = reference.mammogram
    pixels = np.ascontiguousarray(overlay)
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    image = SCImage.from_ref_dataset(
        mammogram,
        pixels,
        PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("A", "F"),  # stands in for the image's own, which may have two letters a direction
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **common_arguments("overlay", reference, digest),
    )
    image.PatientOrientation = _orientation(mammogram)
    image.ConversionType = ConversionTypeValues.WSD.value
    image.BodyPartExamined = "BREAST"
    if reference.side:
        image.ImageLaterality = reference.side[0]
    else:
        image.Laterality = ""  # of a paired organ one of the two has to be there, if only empty
    image.ImageComments = reference.comment
    image.DerivationDescription = f"Result of {NAME} {__version__} drawn on the image. {DISCLAIMER}."
    derived_from = Dataset()
    derived_from.ReferencedSOPClassUID = mammogram.SOPClassUID
    derived_from.ReferencedSOPInstanceUID = mammogram.SOPInstanceUID
    purpose = CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
    derived_from.PurposeOfReferenceCodeSequence = [purpose]
    same_size = (mammogram.get("Rows"), mammogram.get("Columns")) == overlay.shape[:2]
    derived_from.SpatialLocationsPreserved = "YES" if same_size else "NO"
    image.SourceImageSequence = [derived_from]
    # What the image's pixels show or have lost, the overlay's do too. Where the image doesn't say, nor does the
    # overlay.
    if mammogram.get("BurnedInAnnotation") in ("YES", "NO"):
        image.BurnedInAnnotation = mammogram.BurnedInAnnotation
    if mammogram.get("LossyImageCompression") == "01":
        image.LossyImageCompression = "01"
    _set_aspect_ratio(image, mammogram)
    save_result(image, reference, out)


def _orientation(mammogram: Dataset) -> list[str]:
    """The image's Patient Orientation (PS3.3 §C.7.6.1.1.1), empty where it is absent or something else."""
    directions = mammogram.get("PatientOrientation") or ""
    if isinstance(directions, str) or len(directions) != 2:
        return []  # CBIS-DDSM has the view here
    return list(directions) if all(re.fullmatch("[APRLHF]{1,3}", direction) for direction in directions) else []


def _set_aspect_ratio(image: Dataset, mammogram: Dataset) -> None:
    """Images are resized to the networks' shape; the ratio lets viewers show them undistorted (PS3.3 §C.7.6.3.1.7)."""
    height, width = (mammogram.get("Rows") or 0) * image.Columns, (mammogram.get("Columns") or 0) * image.Rows
    if height and width and height != width:
        image.PixelAspectRatio = [height // math.gcd(height, width), width // math.gcd(height, width)]
