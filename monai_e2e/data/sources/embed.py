"""EMBED Open Data: 480,323 images of 22,382 patients of Emory's screening (Jeong et al., 2023).

``EMBED_OpenData_metadata.csv`` has a row per **file**, ``EMBED_OpenData_clinical.csv`` a row per **finding** (both also
as ``…_reduced.csv``), ``images/cohort_{1,2}/<empi_anon>/…`` are the images; the table's paths begin with Emory's own
folders. **The licence forbids passing on models or weights that were trained on it.**

Left out are synthesized views, special views (spot, magnification), views other than CC and MLO, implants, males, and
exams without a clinical row. A breast's findings are the exam's rows of its side, of both sides, and of none; **a
breast of an exam with findings in the other one only has no row** and is read as BI-RADS 1.

The label is the breast's: cancer in a biopsy of this exam, or recorded within 180 days after it, since the diagnosis
often stands at the diagnostic exam alone, is 1. A biopsy without cancer, and BI-RADS 1 and 2 without a biopsy, are 0,
unless a cancer of the breast follows within a year. Other assessments without a biopsy are left out. Pathology is of
the specimen's side (``bside``), else of the finding's; an exam with a cancer of unknown side is left out.

Boxes are in pixels of the image; they are the file's and not the finding's, so that type and pathology are known only
where all findings of the breast agree.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

from monai_e2e.data.records import Catalogue, DrawnAs, Laterality, Lesion, Mammogram, Pathology
from monai_e2e.data.sources.cells import (
    YES_NO,
    Refused,
    parse_age,
    parse_density,
    parse_side,
    parse_size,
    parse_view,
    type_of,
)
from monai_e2e.data.sources.identifiers import whole_number
from monai_e2e.data.sources.release import Release, count_values, entries_of
from monai_e2e.data.sources.shapes import box_outline

_FILES = ("empi_anon", "acc_anon", "anon_dicom_path", "FinalImageType", "ImageLateralityFinal", "ViewPosition")
_SIZE = ("Rows", "Columns")
_MORE_OF_FILES = ("spot_mag", "ROI_coords", "BreastImplantPresent", "Manufacturer", "ManufacturerModelName", *_SIZE)
_FINDINGS = ("empi_anon", "acc_anon", "study_date_anon", "tissueden", "asses", "side", "path_severity")
_MORE_OF_FINDINGS = ("massshape", "calcfind", "bside", "age_at_study")
_COHORTS = {"cohort_1": "training", "cohort_2": "test"}
#: What a path has before its cohort.
_COHORT = re.compile(r"^.*?(?=cohort_\d)")
_CANCER, _BENIGN = {"0": "invasive", "1": "in situ"}, ("2", "3", "4", "5")
#: Letters of BI-RADS 1 and 2.
_NEGATIVE = ("N", "B")
_BIRADS = {"A": 0, "N": 1, "B": 2, "P": 3, "S": 4, "M": 5, "K": 6}
_MALE = "5"
#: A biopsy within this time belongs to the exam; a cancer within the longer one contradicts a negative reading.
_BIOPSY, _FOLLOW_UP = timedelta(days=180), timedelta(days=365)

_Rows = list[dict[str, str]]
#: Dates of cancers with their severity, by patient and side.
_Cancers = Mapping[tuple[str, Laterality], Sequence[tuple[date, str]]]


def read_embed(src: str | Path, tables_only: bool = False) -> Catalogue:
    """Join EMBED's two tables and the images. A mammogram's partition is its cohort, 1 for training and 2 for testing.

    Args:
        src: folder with ``tables/`` and ``images/`` in or under it.
        tables_only: for a report without images.

    Raises:
        UserError: when the folder, a table or a column is missing, or no image can be used.
    """
    release, notes = Release(src, "embed"), Counter[str]()
    files = release.table(_FILES, _MORE_OF_FILES)
    exams: dict[str, _Rows] = defaultdict(list)
    for _, values in release.table(_FINDINGS, _MORE_OF_FINDINGS).rows:
        exams[whole_number(values["acc_anon"])].append(values)
    cancers = _cancers(exams)
    for _, values in files.rows:
        values["file"] = _COHORT.sub("", values["anon_dicom_path"].replace("\\", "/"), count=1)

    def parse(values: dict[str, str]) -> Mammogram:
        if refusal := _refusal(values):
            raise Refused(refusal)
        side, view = parse_side(values["ImageLateralityFinal"]), parse_view(values["ViewPosition"])
        exam = exams.get(whole_number(values["acc_anon"]))
        if not exam:
            raise Refused("exam without a clinical row")
        if any(whole_number(row["tissueden"]) == _MALE for row in exam):
            raise Refused("male")
        rows = [row for row in exam if _concerns(row, side)]
        subtype = _subtype(exam, rows, side, cancers.get((exam[0]["empi_anon"], side), ()))
        notes["images_of_breasts_without_a_row"] += not rows
        return Mammogram(
            path=None,
            patient_id=whole_number(values["empi_anon"]),
            laterality=side,
            view=view,
            outlined_size=parse_size(*(values[column] for column in _SIZE)),
            label=int(subtype is not None),
            lesions=_lesions(values["ROI_coords"], rows, side, notes),
            partition=_COHORTS.get(values["file"].partition("/")[0]),
            density=parse_density(exam[0]["tissueden"]),
            exam_id=whole_number(values["acc_anon"]),
            age=parse_age(exam[0]["age_at_study"]),
            vendor=values["Manufacturer"] or None,
            machine=values["ManufacturerModelName"] or None,
            implant=YES_NO.get(values["BreastImplantPresent"].upper()),
            subtype=subtype,
        )

    return release.join(
        entries_of(files, "file", parse),
        notes,
        tables_only,
        patients=count_values(files, "empi_anon"),
        files=count_values(files, "anon_dicom_path"),
    )


def _refusal(values: dict[str, str]) -> str:
    """Why a file is no standard 2D view, or ``""``."""
    if values["FinalImageType"].upper() != "2D":
        return f"no 2D mammogram: {values['FinalImageType']}"
    if whole_number(values["spot_mag"]) == "1":
        return "spot compression or magnification"
    return "implant" if values["BreastImplantPresent"].upper() == "YES" else ""


def _concerns(row: dict[str, str], side: Laterality) -> bool:
    return row["side"].upper() in ("", "B", side.value[0])


def _biopsied(row: dict[str, str]) -> str:
    """Side of a row's pathology: the specimen's, else the finding's; empty where neither is known."""
    return (row["bside"] or row["side"]).upper()


def _cancers(exams: Mapping[str, _Rows]) -> _Cancers:
    dates = defaultdict(list)
    for row in (row for rows in exams.values() for row in rows):
        day = _date(row["study_date_anon"])
        severity = whole_number(row["path_severity"])
        if severity in _CANCER and day is not None:
            for side in Laterality:
                if _biopsied(row) in ("B", side.value[0]):
                    dates[row["empi_anon"], side].append((day, severity))
    return dates


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def _subtype(exam: _Rows, rows: _Rows, side: Laterality, cancers: Sequence[tuple[date, str]]) -> str | None:
    """The cancer of a breast of an exam, None if it is negative, by its rows and the breast's cancers.

    Raises :class:`Refused`.
    """
    found = {sign: _severities(exam, sign) for sign in (side.value[0], "B", "")}
    severities = found[side.value[0]] | found["B"]
    day = _date(exam[0]["study_date_anon"])
    after = [(cancer - day, severity) for cancer, severity in cancers if day is not None and cancer >= day]
    if of_exam := (severities & set(_CANCER)) | {severity for time, severity in after if time <= _BIOPSY}:
        return _CANCER[min(of_exam)]
    if found[""] & set(_CANCER):
        raise Refused("cancer whose side is unknown")
    if any(time <= _FOLLOW_UP for time, _ in after):
        raise Refused("cancer of the breast within a year, but not within 180 days, after the exam")
    if severities - set(_BENIGN):
        raise Refused("cancer that isn't of the breast, or pathology not understood")
    read = {row["asses"].upper() for row in rows}
    if not severities and read - set(_NEGATIVE):
        worst = max(read, key=lambda letter: _BIRADS.get(letter, -1))
        raise Refused(f"not biopsied and not negative: assessment {worst or 'empty'}")
    return None


def _severities(exam: _Rows, side: str) -> set[str]:
    """Pathology of an exam's biopsies of a side, ``L``, ``R``, ``B`` or unknown."""
    return {whole_number(row["path_severity"]) for row in exam if _biopsied(row) == side} - {""}


def _lesions(coordinates: str, rows: _Rows, side: Laterality, notes: Counter[str]) -> tuple[Lesion, ...]:
    try:
        boxes = [tuple(map(float, box)) for box in ast.literal_eval(coordinates or "[]")]
        outlines = [box_outline(left, top, right - left, bottom - top) for top, left, bottom, right in boxes]
    except (ValueError, SyntaxError, TypeError):
        notes["regions_not_understood"] += 1
        return ()
    types = {type_of(bool(row["massshape"]), bool(row["calcfind"])) for row in rows}
    pathologies = {_pathology(row, side) for row in rows}
    kind = types.pop() if len(types) == 1 else None
    pathology = pathologies.pop() if len(pathologies) == 1 else None
    return tuple(Lesion(kind, pathology, 1, outline=outline, drawn_as=DrawnAs.BOX) for outline in outlines)


def _pathology(row: dict[str, str], side: Laterality) -> Pathology | None:
    severity = whole_number(row["path_severity"]) if _biopsied(row) in ("B", side.value[0]) else ""
    if severity in _CANCER:
        return Pathology.MALIGNANT
    return Pathology.BENIGN if severity in _BENIGN else None
