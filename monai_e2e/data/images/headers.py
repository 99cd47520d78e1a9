"""What a DICOM header says of a mammogram's breast, view, patient and study, and how its text is kept from results.

Patient ID, Study Instance UID, Accession Number and dates only serve to tell which images and table rows belong
together. They must not be written anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, uid
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from monai_e2e.data.images.dicom_files import is_dicom, one_file, open_dicom
from monai_e2e.data.records import Laterality, View
from monai_e2e.errors import UserError

_TAGS = [
    "ImageLaterality",
    "Laterality",
    "ViewPosition",
    "ViewCodeSequence",
    "PatientOrientation",
    "PatientID",
    "StudyInstanceUID",
    "SOPInstanceUID",
    "AccessionNumber",
    "StudyDate",
]
#: What :func:`survey` looks at.
_SURVEYED = [
    *_TAGS,
    "SOPClassUID",
    "Modality",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "ImageType",
    "PresentationIntentType",
    "SpecimenDescriptionSequence",
    "EstimatedRadiographicMagnificationFactor",
    "BreastImplantPresent",
    "BurnedInAnnotation",
]
_MAMMOGRAPHY = (
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForProcessing,
    uid.BreastTomosynthesisImageStorage,
    uid.BreastProjectionXRayImageStorageForPresentation,
    uid.BreastProjectionXRayImageStorageForProcessing,
)
#: Classes of files that may be mammograms, which then their modality says: CBIS-DDSM's are Secondary Captures.
_GENERAL = (
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
    uid.XRay3DCraniofacialImageStorage,  # as which some makers store views computed from a tomosynthesis
)
#: Modalities of X-ray projections (PS3.3 §C.7.3.1.1.1), which a mammogram may have been stored as.
_PROJECTION = ("CR", "DX", "RG")
#: Those that a message may name, being the standard's own words.
_MODALITIES = (*_PROJECTION, "CT", "MR", "US", "NM", "PT", "XA", "RF", "OT", "SC", "SM", "ES", "XC", "PX", "IO", "DOC")
#: A breast on its support is magnified by less; magnification views by 1.5 to 2.
_MAGNIFIED = 1.3
#: Words of Image Type of 2D views computed from a tomosynthesis, and of stereotactic views of a biopsy.
_SYNTHESIZED = {"TOMO", "TOMOSYNTHESIS", "TOMO_2D", "GENERATED_2D"}
_BIOPSY = {"BIOPSY", "STEREO_SCOUT", "STEREO_PLUS", "STEREO_MINUS"}
#: Patient ID of an image of CBIS-DDSM; with a number at its end, of the crop and the mask of a lesion.
_CBIS_DDSM = re.compile(r"(?:Mass|Calc)-(?:Training|Test)_(P_\d{5})_(LEFT|RIGHT)_(CC|MLO)(_\d+)?")
#: Flags of an image of which side or view isn't known.
UNKNOWN = ("side unknown", "view unknown")
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
_UNKNOWN_CLASS = "unknown kind of file"
#: Former names of a coding scheme (PS3.16 §8.1).
_SCHEMES = {"SNM3": "SRT", "99SDM": "SRT"}
#: Numbers so long are SNOMED CT's, by whatever name files call it.
_SNOMED_CT = re.compile(r"\d{8,}")
#: Modifiers of a view (CID 4015) under which an image doesn't show the whole breast as others do.
_PARTIAL = (codes.cid4015.Magnification, codes.cid4015.SpotCompression, codes.cid4015.ImplantDisplaced)


@dataclass(frozen=True)
class Header:
    """What is known of an image.

    Args:
        laterality: Image Laterality, else Laterality, as LEFT or RIGHT; empty where absent or neither.
        view: View Position, else View Code Sequence, else Patient Orientation where CBIS-DDSM has the view, as CC or
            MLO; empty where absent or neither.
        flags: ``side unknown``; ``view unknown``, or ``other view position XCCL`` for one of CID 4014's other views (no
            other text of the header is repeated); ``partial view`` for a magnification, spot compression or displaced
            implant.
        patient: Patient ID, of CBIS-DDSM the part that is the patient's; empty where absent. Never to be written.
        study: Study Instance UID, empty where absent. Never to be written.
        instance: SOP Instance UID, empty where absent. Never to be written.
        accession: Accession Number, empty where absent. Never to be written.
        date: Study Date, YYYYMMDD, empty where absent. Never to be written.
        lesion_only: whether it is CBIS-DDSM's crop or mask of a lesion.
    """

    laterality: str = ""
    view: str = ""
    flags: tuple[str, ...] = UNKNOWN
    patient: str = ""
    study: str = ""
    instance: str = ""
    accession: str = ""
    date: str = ""
    lesion_only: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether a header is a mammogram's.

    Args:
        refusal: why it isn't; empty where it is.
        flags: what is odd about the image, or ``no mammogram by its header``, in the words of docs/results.md.
        raw: whether the pixels are raw detector data (FOR PROCESSING).
    """

    refusal: str
    flags: tuple[str, ...]
    raw: bool = False


def read_header(path: Path) -> Header:
    """Read a file's header up to the pixels; files that aren't DICOM, or are broken, have an empty one."""
    try:
        with one_file(path):
            return _header(open_dicom(path, _TAGS)) if is_dicom(path) else Header()
    except UserError:
        return Header()


def survey(path: Path) -> tuple[Header, Verdict]:
    """A file's header and what it makes of the file; of files that aren't DICOM both say nothing.

    Raises:
        UserError: when the header can't be read.
    """
    if not is_dicom(path):
        return Header(), Verdict("", ())
    with one_file(path, "header not readable"):
        dataset = open_dicom(path, _SURVEYED)
        return _header(dataset), examine(dataset)


def unknown_flags(laterality: str, view: str, flags: Iterable[str]) -> list[str]:
    """``side unknown`` and ``view unknown``, as far as they hold; a view that a flag names is known."""
    viewed = bool(view) or any(flag.startswith(OTHER_VIEW) for flag in flags)
    return [flag for flag, known in zip(UNKNOWN, (laterality, viewed), strict=True) if not known]


def flags_beside_table(header: Header, laterality: str, view: str) -> list[str]:
    """The header's flags of an image whose side or view is in a table: the other flags, and where the two differ.

    Args:
        header: the file's.
        laterality: LEFT or RIGHT by the table, empty if not known.
        view: any view by the table, empty if not known.
    """
    flags = [flag for flag in header.flags if flag not in UNKNOWN and not (view and flag.startswith(OTHER_VIEW))]
    differing = (("side", laterality, header.laterality), ("view", view, header.view))
    return flags + [f"{word} differs from header" for word, said, own in differing if said and own not in ("", said)]


def examine(dataset: Dataset) -> Verdict:
    """Decide by its header whether a file is a mammogram, and what is odd about it.

    Mammograms are files of modality MG, files of a mammography class without a modality, and X-ray projections (CR, DX,
    RG) of the breast; none is a file whose class belongs to something else, whatever its modality.
    """
    sop_class, modality = dataset.get("SOPClassUID"), _text(dataset, "Modality")
    breast = _shows_breast(dataset)
    named = modality if modality in _MODALITIES else "unknown"
    refusal = ""
    if sop_class not in (*_MAMMOGRAPHY, *_GENERAL) and sop_class_name(dataset) != _UNKNOWN_CLASS:
        refusal = f"no mammogram, but {sop_class_name(dataset)}"
    elif not modality and sop_class not in _MAMMOGRAPHY:
        refusal = "no modality in the header, so perhaps no mammogram"
    elif modality in _PROJECTION and not breast and sop_class not in _MAMMOGRAPHY:
        refusal = f"modality {modality} and no word of a breast in the header, so perhaps no mammogram"
    elif modality not in ("", "MG", *_PROJECTION):
        refusal = f"no mammogram, but modality {named}"
    intent = str(dataset.get("PresentationIntentType") or sop_class_name(dataset)).upper()
    kinds = {str(word).upper() for word in _values(dataset, "ImageType")}
    found = {
        "no mammogram by its header": bool(refusal),
        "body part not breast": bool(_text(dataset, "BodyPartExamined")) and not breast,
        "specimen": "SpecimenDescriptionSequence" in dataset or _position(dataset) == "SPECIMEN",
        "biopsy": bool(kinds & _BIOPSY),
        "magnified": _magnification(dataset) > _MAGNIFIED,
        "implant": _text(dataset, "BreastImplantPresent") == "YES",
        "burned-in annotation": _text(dataset, "BurnedInAnnotation") == "YES",
        "synthesized 2D": sop_class == uid.BreastTomosynthesisImageStorage or bool(kinds & _SYNTHESIZED),
    }
    flags = tuple(flag for flag, holds in found.items() if holds)
    return Verdict(refusal, flags, intent.endswith("FOR PROCESSING"))


def sop_class_name(dataset: Dataset) -> str:
    """The standard's name of the SOP class, such as ``Basic Text SR Storage``; no other text of the header."""
    sop_class = uid.UID(str(dataset.get("SOPClassUID") or ""))
    return sop_class.name if sop_class.type == "SOP Class" else _UNKNOWN_CLASS


def _header(dataset: Dataset) -> Header:
    names = ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "AccessionNumber", "StudyDate")
    patient, study, instance, accession, date = (str(dataset.get(name) or "").strip() for name in names)
    side = _SIDES.get(_text(dataset, "ImageLaterality") or _text(dataset, "Laterality"), "")
    position = _position(dataset)
    if cbis := _CBIS_DDSM.fullmatch(patient):
        patient, side, position = cbis[1], cbis[2], cbis[3]
    flags = [] if side else ["side unknown"]
    view = position if position in [view.value for view in View] else ""
    if not view:
        flags.append(f"{OTHER_VIEW} {position}" if position else "view unknown")
    if any(code == partial for code in _modifiers(dataset) for partial in _PARTIAL):
        flags.append("partial view")
    lesion_only = bool(cbis and cbis[4])
    return Header(side, view, tuple(flags), patient, study, instance, accession, date, lesion_only)


def _shows_breast(dataset: Dataset) -> bool:
    regions = [code for item in dataset.get("AnatomicRegionSequence") or () for code in _codes(item)]
    part, view = _text(dataset, "BodyPartExamined"), _position(dataset)
    return "BREAST" in part or codes.SCT.Breast in regions or (not part and view in [view.value for view in View])


def _magnification(dataset: Dataset) -> float:
    factor = dataset.get("EstimatedRadiographicMagnificationFactor")
    return float(factor) if isinstance(factor, (int, float)) else 1.0


def _values(dataset: Dataset, name: str) -> Iterable[object]:
    value = dataset.get(name)
    return () if value is None else [value] if isinstance(value, str) else value


def _text(dataset: Dataset, name: str) -> str:
    return str(dataset.get(name) or "").strip().upper()


def _position(dataset: Dataset) -> str:
    """A key of :data:`_VIEW_CODES`, or ``""``."""
    position = _text(dataset, "ViewPosition")
    if position in _VIEW_CODES:
        return position
    if (orientation := _text(dataset, "PatientOrientation")) in [view.value for view in View]:
        return orientation  # CBIS-DDSM has the view there
    found = [code for item in dataset.get("ViewCodeSequence") or () for code in _codes(item)]
    return next((name for name, code in _VIEW_CODES.items() if code in found), "")


def _modifiers(dataset: Dataset) -> Iterator[Code]:
    for view in dataset.get("ViewCodeSequence") or ():
        for modifier in view.get("ViewModifierCodeSequence") or ():
            yield from _codes(modifier)


def _codes(item: Dataset) -> Iterator[Code]:
    value, scheme = str(item.get("CodeValue") or ""), str(item.get("CodingSchemeDesignator") or "")
    if _SNOMED_CT.fullmatch(value):
        scheme = "SCT"
    if value and scheme:
        yield Code(value, _SCHEMES.get(scheme, scheme), "")
