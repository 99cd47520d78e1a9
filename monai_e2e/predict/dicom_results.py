"""Results as DICOM files for a PACS: the overlay as a Secondary Capture, the score as a Structured Report.

Both refer to the image that they are about by its UIDs. The overlays of an exam are one series, its reports another.
What they take from the image's header is listed here by name (:data:`_REFERENCES`, :data:`_IDENTITY`); no other element
is even read, so that no text of a header reaches a result by accident.

By default a result names no patient: its Patient ID is that of the predictions' table, and name, birth date, accession
number and the study's date are empty. It stands in a study of its own, since no PACS may have one study under two
patients. Such files are for research archives. For a PACS that holds the images, ``keep_identity`` copies patient and
study from them.

UIDs are made from what a result says: the same image, model and score give the same UIDs, and a PACS takes the files of
a repeated run for the ones that it has instead of piling up copies.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from monai_e2e import NOTICE, __version__
from monai_e2e.data.images.dicom_files import is_dicom, one_file, open_dicom
from monai_e2e.data.images.headers import sop_class_name
from monai_e2e.errors import UserError

if TYPE_CHECKING:
    from highdicom import SOPClass

#: The sentence that both results carry.
DISCLAIMER = NOTICE.removesuffix(".")
_NAME = "monai-e2e"
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
#: What every result takes from the image: references, and codes and numbers that belong to the picture.
_REFERENCES = (
    *_UIDS,
    "PatientOrientation",
    "Rows",
    "Columns",
    "BurnedInAnnotation",
    "LossyImageCompression",
)
#: Elements of patient and study that are in every DICOM file, if only empty.
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
#: What a PACS files a result by, of the modules Patient, General Study and Patient Study (PS3.3 §C.7.1.1, §C.7.2).
_IDENTITY = (*_TYPE_2, "IssuerOfPatientID", "PatientAge", "StudyDescription")
#: Columns of predictions.csv that a result shows.
_COLUMNS = ("patient_id", "laterality", "view", "p_malignant", "threshold", "model")
#: High, so that a study's list shows the images first.
_SERIES_NUMBERS = {"overlay": 9001, "report": 9002}
_LATERALITY = {"LEFT": ("L", codes.SCT.Left), "RIGHT": ("R", codes.SCT.Right)}


def write_dicom_results(
    folder: Path,
    image_id: str,
    prediction: Mapping[str, Any],
    overlay: np.ndarray,
    source: Path,
    keep_identity: bool = False,
    number: int = 1,
) -> tuple[Path, Path]:
    """Write both results of one image, ``<image_id>_overlay.dcm`` and ``<image_id>_report.dcm``.

    Args:
        folder: where to write; folders within ``image_id`` are made.
        image_id: the image's id in predictions.csv; it may contain ``/``.
        prediction: the image's row of predictions.csv, as text or as numbers.
        overlay: see :func:`write_secondary_capture`.
        source: the image's DICOM file.
        keep_identity: copy patient and study from the image, see the module's text.
        number: of the image among those of its exam, from 1; the results' Instance Number.

    Returns:
        The paths of the Secondary Capture and of the Structured Report.

    Raises:
        UserError: when highdicom isn't installed, the image is no DICOM file, or its header or the row doesn't allow a
            result; no file is left half-written.
    """
    overlay_path, report_path = (Path(folder, f"{image_id}_{kind}.dcm") for kind in ("overlay", "report"))
    if not overlay_path.resolve().is_relative_to(Path(folder).resolve()):
        raise UserError(f"{source}: the image id {image_id!r} leads out of {folder}; change it in the table")
    write_structured_report(prediction, source, report_path, keep_identity, number)
    write_secondary_capture(overlay, prediction, source, overlay_path, keep_identity, number)
    return overlay_path, report_path


def write_secondary_capture(
    overlay: np.ndarray,
    prediction: Mapping[str, Any],
    source: Path,
    out: Path,
    keep_identity: bool = False,
    number: int = 1,
) -> None:
    """Write a picture of the image as a Secondary Capture Image (PS3.3 §A.8.1), derived from the image.

    Its modality is OT, not MG, so that no workstation hangs it among the mammograms.

    Args:
        overlay: uint8 ``[rows, columns, 3]``, RGB: the whole image, in its own orientation and at any size.
        prediction: the image's row of predictions.csv.
        source: the image's DICOM file.
        out: file to write.
        keep_identity: copy patient and study from the image.
        number: Instance Number.

    Raises:
        UserError: as :func:`write_dicom_results`.
    """
    _require_highdicom()
    from highdicom import PhotometricInterpretationValues
    from highdicom.sc import ConversionTypeValues, SCImage
    from highdicom.sr import CodedConcept

    if overlay.dtype != np.uint8 or overlay.ndim != 3 or overlay.shape[2] != 3:
        raise UserError(
            f"{source}: the overlay has shape {overlay.shape} and type {overlay.dtype}; "
            f"it must be [rows, columns, 3] of uint8"
        )
    mammogram, identity = _read_header(source, prediction, keep_identity)
    pixels = np.ascontiguousarray(overlay)
    image = SCImage.from_ref_dataset(
        mammogram,
        pixels,
        PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("A", "F"),  # stands in for the image's own, which may have two letters a direction
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **_common("overlay", mammogram, identity, prediction, number, hashlib.sha256(pixels.tobytes()).hexdigest()),
    )
    image.PatientOrientation = _orientation(mammogram)
    image.ConversionType = ConversionTypeValues.WSD.value
    image.BodyPartExamined = "BREAST"
    if side := _LATERALITY.get(prediction.get("laterality") or ""):
        image.ImageLaterality = side[0]
    else:
        image.Laterality = ""  # of a paired organ one of the two has to be there, if only empty
    image.ImageComments = _comment(prediction)
    image.DerivationDescription = f"Result of {_NAME} {__version__} drawn on the image. {DISCLAIMER}."
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
        mammogram.SOPClassUID,
        mammogram.SOPInstanceUID,
    )
    purpose = CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
    reference.PurposeOfReferenceCodeSequence = [purpose]
    same_size = (mammogram.get("Rows"), mammogram.get("Columns")) == overlay.shape[:2]
    reference.SpatialLocationsPreserved = "YES" if same_size else "NO"
    image.SourceImageSequence = [reference]
    # What the image's pixels show or have lost, the overlay's do too. Where the image doesn't say, nor does the
    # overlay.
    if mammogram.get("BurnedInAnnotation") in ("YES", "NO"):
        image.BurnedInAnnotation = mammogram.BurnedInAnnotation
    if mammogram.get("LossyImageCompression") == "01":
        image.LossyImageCompression = "01"
    _set_aspect_ratio(image, mammogram)
    _save(image, identity, out)


def write_structured_report(
    prediction: Mapping[str, Any], source: Path, out: Path, keep_identity: bool = False, number: int = 1
) -> None:
    """Write the image's score as a Comprehensive SR with a Measurement Report (PS3.16, TID 1500).

    One measurement of the whole image: Probability of cancer (111047, DCM) in percent, the concept and unit of
    mammography CAD reports, with the image as its source and the algorithm's name, version, model and threshold
    (TID 4019). The report is complete, preliminary and unverified.

    Args:
        prediction: the image's row of predictions.csv.
        source: the image's DICOM file.
        out: file to write.
        keep_identity: copy patient and study from the image.
        number: Instance Number.

    Raises:
        UserError: as :func:`write_dicom_results`.
    """
    _require_highdicom()
    from highdicom import sr

    percent = 100 * _probability(prediction, source)
    mammogram, identity = _read_header(source, prediction, keep_identity)
    side = _LATERALITY.get(prediction.get("laterality") or "")
    parameters = [f"model: {prediction['model']}"] if prediction.get("model") else []
    if prediction.get("threshold"):
        parameters.append(f"threshold: {float(prediction['threshold']):.3g}")
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(_uid("measurement", mammogram.SOPInstanceUID), "whole image"),
        algorithm_id=sr.AlgorithmIdentification(_NAME, __version__, parameters),
        finding_sites=[sr.FindingSite(codes.SCT.Breast, laterality=side[1] if side else None)],
        measurements=[sr.Measurement(codes.DCM.ProbabilityOfCancer, round(percent, 1), codes.UCUM.Percent)],
        source_images=[sr.SourceImageForMeasurementGroup(mammogram.SOPClassUID, mammogram.SOPInstanceUID)],
    )
    relation = sr.RelationshipTypeValues.CONTAINS
    group[0].ContentSequence.append(sr.TextContentItem(codes.DCM.Comment, _comment(prediction), relation))
    observer = sr.DeviceObserverIdentifyingAttributes(_uid("device"), name=_NAME, manufacturer_name=_NAME)
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, observer),
        ),
        procedure_reported=codes.SCT.Mammography,
        imaging_measurements=[group],
    )
    common = _common("report", mammogram, identity, prediction, number)
    try:
        report = sr.ComprehensiveSR(evidence=[mammogram], content=content, is_complete=True, **common)
    except KeyError as error:  # from highdicom's table of the standard's classes
        raise UserError(
            f"{source}: a report can't refer to its SOP class ({sop_class_name(mammogram)}); "
            f"convert the image to a mammography class, or do without DICOM results"
        ) from error
    if not keep_identity:  # the image is of another study than the report
        report.PertinentOtherEvidenceSequence = report.CurrentRequestedProcedureEvidenceSequence
        del report.CurrentRequestedProcedureEvidenceSequence
    _save(report, identity, out)


def _require_highdicom() -> None:
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise UserError('DICOM results need a further package: run `pip install "monai-e2e[dicom]"`') from error


def _read_header(source: Path, prediction: Mapping[str, Any], keep_identity: bool) -> tuple[Dataset, Dataset]:
    """What a result says of the image, with an empty patient and study; and the patient and study to put in at last."""
    if not is_dicom(source):
        raise UserError(
            f"{source}: no DICOM file, so there is no image that a DICOM result could refer to; "
            f"give the images as DICOM, or do without DICOM results"
        )
    wanted = [*_REFERENCES, *(_IDENTITY if keep_identity else ())]
    with one_file(source, "header not readable"):
        header = open_dicom(source, wanted)
        elements = {name: header[name] for name in wanted if name in header}
    for name in _UIDS:
        if name not in elements or not UID(str(elements[name].value)).is_valid:
            state = "invalid" if name in elements and elements[name].value else "missing"
            raise UserError(
                f"{source}: {dictionary_description(name)} is {state}, so a DICOM result can't refer to the image; "
                f"mend the header, or do without DICOM results"
            )
    mammogram, identity = Dataset(), Dataset()
    for name in _TYPE_2:
        setattr(mammogram, name, None)
    for name, element in elements.items():
        (mammogram if name in _REFERENCES else identity).add(element)
    if not keep_identity:
        identity.PatientID = _patient_id(prediction, source)
        identity.StudyInstanceUID = _uid("study", mammogram.StudyInstanceUID, identity.PatientID)
    elif not identity.get("PatientID"):
        raise UserError(
            f"{source}: no Patient ID, under which a PACS could file the results; "
            f"mend the header, or write the results without the images' identity"
        )
    return mammogram, identity


def _patient_id(prediction: Mapping[str, Any], source: Path) -> str:
    patient_id = str(prediction.get("patient_id") or "")
    if not re.fullmatch(r"[^\\\x00-\x1f\x7f]{0,64}", patient_id):
        raise UserError(
            f"{source}: patient_id {patient_id!r} can't be a DICOM Patient ID (at most 64 characters, no backslash "
            f"or control character); change it in the table"
        )
    return patient_id


def _probability(prediction: Mapping[str, Any], source: Path) -> float:
    value = prediction.get("p_malignant")
    try:
        probability = float(value)  # type: ignore[arg-type]  # None raises TypeError
    except (TypeError, ValueError):
        probability = math.nan
    if not 0 <= probability <= 1:
        raise UserError(f"{source}: p_malignant must be from 0 to 1, got {value!r}; predict the image again")
    return probability


def _common(
    kind: str, mammogram: Dataset, identity: Dataset, prediction: Mapping[str, Any], number: int, *content: str
) -> dict[str, Any]:
    """Arguments that highdicom's two classes share."""
    said = [f"{name}={prediction.get(name, '')}" for name in _COLUMNS]
    patient = [element.value for element in identity]
    study = identity.get("StudyInstanceUID") or mammogram.StudyInstanceUID
    return {
        "series_instance_uid": _uid(kind, study, identity.PatientID, prediction.get("model")),
        "series_number": _SERIES_NUMBERS[kind],
        "series_description": f"{_NAME} {kind}. {DISCLAIMER}",
        "sop_instance_uid": _uid(kind, mammogram.SOPInstanceUID, *patient, *said, *content),
        "instance_number": number,
        "manufacturer": _NAME,
        "manufacturer_model_name": _NAME,
        "software_versions": __version__,
        "content_qualification": "RESEARCH",
        "specific_character_set": "ISO_IR 192",
    }


def _uid(*parts: object) -> UID:
    return generate_uid(entropy_srcs=["\n".join(map(str, (_NAME, __version__, *parts)))])


def _orientation(mammogram: Dataset) -> list[str]:
    """The image's Patient Orientation (PS3.3 §C.7.6.1.1.1), empty where it is absent or something else."""
    directions = mammogram.get("PatientOrientation") or ""
    if isinstance(directions, str) or len(directions) != 2:
        return []  # CBIS-DDSM has the view here
    return list(directions) if all(re.fullmatch("[APRLHF]{1,3}", direction) for direction in directions) else []


def _comment(prediction: Mapping[str, Any]) -> str:
    shown = " ".join(filter(None, (prediction.get("laterality"), prediction.get("view"))))
    return " ".join(f"{sentence}." for sentence in (DISCLAIMER, shown) if sentence)


def _set_aspect_ratio(image: Dataset, mammogram: Dataset) -> None:
    """Images are resized to the networks' shape; the ratio lets viewers show them undistorted (PS3.3 §C.7.6.3.1.7)."""
    height, width = (mammogram.get("Rows") or 0) * image.Columns, (mammogram.get("Columns") or 0) * image.Rows
    if height and width and height != width:
        image.PixelAspectRatio = [height // math.gcd(height, width), width // math.gcd(height, width)]


def _save(result: SOPClass, identity: Dataset, out: Path) -> None:
    """Write the result with its patient, whole or not at all."""
    for element in identity:
        result.add(element)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}")
    result.save_as(unfinished, enforce_file_format=True)
    unfinished.replace(out)
