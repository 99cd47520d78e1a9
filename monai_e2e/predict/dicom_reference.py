"""What DICOM results take from their image, and what the two kinds have in common.

Other elements of a header aren't read, so none of its text can reach a result by accident.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, generate_uid

from monai_e2e import NOTICE, __version__
from monai_e2e.data.images.dicom_files import is_dicom, one_file, open_dicom
from monai_e2e.errors import UserError
from monai_e2e.work.files import written_whole

if TYPE_CHECKING:
    from highdicom import SOPClass

#: The sentence that both results carry.
DISCLAIMER = NOTICE.removesuffix(".")
#: Of the program, as results give it.
NAME = "monai-e2e"
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
#: What every result takes from the image: references, and codes and numbers that belong to the picture.
_REFERENCES = (*_UIDS, "PatientOrientation", "Rows", "Columns", "BurnedInAnnotation", "LossyImageCompression")
#: Elements of patient and study that are in every DICOM file, if only empty.
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
#: What a PACS files a result by, of the modules Patient, General Study and Patient Study (PS3.3 §C.7.1.1, §C.7.2).
_IDENTITY = (*_TYPE_2, "IssuerOfPatientID", "PatientAge", "StudyDescription")
#: Columns of predictions.csv that a result shows.
_COLUMNS = ("patient_id", "laterality", "view", "p_malignant", "threshold", "model")
#: High, so that a study's list shows the images first.
_SERIES_NUMBERS = {"overlay": 9001, "report": 9002}
#: Sides as DICOM and SNOMED write them.
LATERALITY = {"LEFT": ("L", codes.SCT.Left), "RIGHT": ("R", codes.SCT.Right)}


@dataclass(frozen=True)
class Reference:
    """An image, and what both of its results say of it.

    Args:
        source: its DICOM file.
        prediction: its row of predictions.csv.
        number: Instance Number of its results.
        mammogram: what is said of it, with an empty patient and study.
        identity: the patient and study that are put in at last; a study only where it isn't the image's.
    """

    source: Path
    prediction: Mapping[str, Any]
    number: int
    mammogram: Dataset
    identity: Dataset

    @property
    def side(self) -> tuple[str, Any] | None:
        """Of :data:`LATERALITY`; None where it isn't known."""
        return LATERALITY.get(self.prediction.get("laterality") or "")

    @property
    def comment(self) -> str:
        """The sentence that both results carry, with side and view."""
        shown = " ".join(filter(None, (self.prediction.get("laterality"), self.prediction.get("view"))))
        return " ".join(f"{sentence}." for sentence in (DISCLAIMER, shown) if sentence)


def read_reference(source: Path, prediction: Mapping[str, Any], keep_identity: bool, number: int) -> Reference:
    """Read what results say of an image; raises :class:`UserError` where its header or row doesn't allow any."""
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
                f"correct the header, or do without DICOM results"
            )
    mammogram, identity = Dataset(), Dataset()
    for name in _TYPE_2:
        setattr(mammogram, name, None)
    for name, element in elements.items():
        (mammogram if name in _REFERENCES else identity).add(element)
    if not keep_identity:
        identity.PatientID = _patient_id(prediction, source)
        identity.StudyInstanceUID = result_uid("study", mammogram.StudyInstanceUID, identity.PatientID)
    elif not identity.get("PatientID"):
        raise UserError(
            f"{source}: no Patient ID, under which a PACS could file the results; "
            f"correct the header, or write the results without the images' identity"
        )
    return Reference(source, prediction, number, mammogram, identity)


def _patient_id(prediction: Mapping[str, Any], source: Path) -> str:
    patient_id = str(prediction.get("patient_id") or "")
    if not re.fullmatch(r"[^\\\x00-\x1f\x7f]{0,64}", patient_id):
        raise UserError(
            f"{source}: patient_id {patient_id!r} can't be a DICOM Patient ID (at most 64 characters, no backslash "
            f"or control character); change it in the table"
        )
    return patient_id


def common_arguments(kind: str, reference: Reference, *content: str) -> dict[str, Any]:
    """Arguments that highdicom's two classes share; the UID also depends on ``content``."""
    mammogram, identity, prediction = reference.mammogram, reference.identity, reference.prediction
    said = [f"{name}={prediction.get(name, '')}" for name in _COLUMNS]
    patient = [element.value for element in identity]
    study = identity.get("StudyInstanceUID") or mammogram.StudyInstanceUID
    return {
        "series_instance_uid": result_uid(kind, study, identity.PatientID, prediction.get("model")),
        "series_number": _SERIES_NUMBERS[kind],
        "series_description": f"{NAME} {kind}. {DISCLAIMER}",
        "sop_instance_uid": result_uid(kind, mammogram.SOPInstanceUID, *patient, *said, *content),
        "instance_number": reference.number,
        "manufacturer": NAME,
        "manufacturer_model_name": NAME,
        "software_versions": __version__,
        "content_qualification": "RESEARCH",
        "specific_character_set": "ISO_IR 192",
    }


def result_uid(*parts: object) -> UID:
    """A UID that depends on these and on the program's version alone."""
    return generate_uid(entropy_srcs=["\n".join(map(str, (NAME, __version__, *parts)))])


def save_result(result: SOPClass, reference: Reference, out: Path) -> None:
    """Write the result with its patient, whole or not at all."""
    for element in reference.identity:
        result.add(element)
    with written_whole(out) as unfinished:
        result.save_as(unfinished, enforce_file_format=True)
