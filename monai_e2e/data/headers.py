"""What a DICOM header says of a mammogram's breast, view, patient and study, and how its text is kept from results.

Patient ID and Study Instance UID only serve to tell which films belong together. They must not be written anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from monai_e2e.data.dicom import DICOM_ERRORS, is_dicom
from monai_e2e.data.records import Laterality, View

_TAGS = [
    "ImageLaterality",
    "Laterality",
    "ViewPosition",
    "ViewCodeSequence",
    "PatientID",
    "StudyInstanceUID",
]
#: First words of the flag of a view that is neither CC nor MLO.
OTHER_VIEW = "other view position"
_SIDES = {"L": Laterality.LEFT.value, "R": Laterality.RIGHT.value}
#: Abbreviations of PS3.16 CID 4014 and their codes there; the older SNOMED RT codes equal these in pydicom.
_VIEW_CODES = {
    "CC": codes.cid4014.CranioCaudal,
    "MLO": codes.cid4014.MedioLateralObliqueProjection,
    "ML": codes.cid4014.MedioLateralProjection,
    "LM": codes.cid4014.LateroMedial,
    "LMO": codes.cid4014.LateroMedialOblique,
    "FB": codes.cid4014.CaudoCranial,
    "SIO": codes.cid4014.SuperolateralToInferomedialOblique,
    "ISO": codes.cid4014.InferomedialToSuperolateralOblique,
    "XCCL": codes.cid4014.CranioCaudalExaggeratedLaterally,
    "XCCM": codes.cid4014.CranioCaudalExaggeratedMedially,
    "SPECIMEN": codes.cid4014.TissueSpecimenFromBreast,
}
#: Former names of a coding scheme (PS3.16 §8.1).
_SCHEMES = {"SNM3": "SRT", "99SDM": "SRT"}
#: Modifiers of a view (CID 4015) under which a film doesn't show the whole breast as others do.
_PARTIAL = (codes.cid4015.Magnification, codes.cid4015.SpotCompression, codes.cid4015.ImplantDisplaced)

#: Words of a header that are the standard's own, and that a message may repeat.
_DEFINED_TERMS = re.compile(r"MONOCHROME[12]|RGB|PALETTE COLOR|YBR_[A-Z0-9_]+|FOR (PRESENTATION|PROCESSING)|[\d.]+")


@dataclass(frozen=True)
class Header:
    """What is known of a film.

    Args:
        laterality: Image Laterality, else Laterality, as LEFT or RIGHT; empty where absent or neither.
        view: View Position, else View Code Sequence, as CC or MLO; empty where absent or neither.
        flags: ``side unknown``; ``view unknown``, or ``other view position XCCL`` for one of CID 4014's other views (no
            other text of the header is repeated); ``partial view`` for a magnification, spot compression or displaced
            implant.
        patient: Patient ID, empty where absent. Never to be written.
        study: Study Instance UID, empty where absent. Never to be written.
    """

    laterality: str = ""
    view: str = ""
    flags: tuple[str, ...] = ("side unknown", "view unknown")
    patient: str = ""
    study: str = ""


def read_header(path: Path) -> Header:
    """Read a file's header up to the pixels; files that aren't DICOM, or are broken, have an empty one."""
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        side = _SIDES.get(_text(dataset, "ImageLaterality") or _text(dataset, "Laterality"), "")
        position = _position(dataset)
        flags = [] if side else ["side unknown"]
        view = position if position in [view.value for view in View] else ""
        if not view:
            flags.append(f"{OTHER_VIEW} {position}" if position else "view unknown")
        if any(code == partial for code in _modifiers(dataset) for partial in _PARTIAL):
            flags.append("partial view")
        patient, study = str(dataset.get("PatientID") or "").strip(), str(dataset.get("StudyInstanceUID") or "").strip()
        return Header(side, view, tuple(flags), patient, study)
    except DICOM_ERRORS:
        return Header()


def without_header_text(message: str, path: Path) -> str:
    """A reader's message on a DICOM file with … for what it repeats of the header, but for the standard's own terms."""
    for text in _header_texts(path):
        message = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", "…", message)
    return message


def _header_texts(path: Path) -> list[str]:
    """Texts of a DICOM header, the longest first, but for the standard's own terms."""
    if not is_dicom(path):
        return []
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        values = [dataset.get_item(tag).value for tag in dataset.keys()]  # noqa: SIM118 # as bytes, none is converted
    except DICOM_ERRORS:
        return []
    words = {
        part.strip(" \0")
        for value in values
        for part in (value.decode("latin-1") if isinstance(value, bytes) else str(value)).split("\\")
    }
    return sorted((w for w in words if len(w) > 1 and not _DEFINED_TERMS.fullmatch(w)), key=len, reverse=True)


def _text(dataset: Dataset, name: str) -> str:
    return str(dataset.get(name) or "").strip().upper()


def _position(dataset: Dataset) -> str:
    """A key of :data:`_VIEW_CODES`, or ``""``."""
    position = _text(dataset, "ViewPosition")
    if position in _VIEW_CODES:
        return position
    found = [code for item in dataset.get("ViewCodeSequence") or () for code in _codes(item)]
    return next((name for name, code in _VIEW_CODES.items() if code in found), "")


def _modifiers(dataset: Dataset) -> Iterator[Code]:
    for view in dataset.get("ViewCodeSequence") or ():
        for modifier in view.get("ViewModifierCodeSequence") or ():
            yield from _codes(modifier)


def _codes(item: Dataset) -> Iterator[Code]:
    value, scheme = item.get("CodeValue"), item.get("CodingSchemeDesignator")
    if value and scheme:
        yield Code(str(value), _SCHEMES.get(str(scheme), str(scheme)), "")
