"""VinDr-Mammo 1.0.0: 5,000 exams of four images with BI-RADS assessments and boxes (Nguyen et al., 2023).

``breast-level_annotations.csv`` has a row per image, ``finding_annotations.csv`` a row per finding (or one of
``['No Finding']``), ``metadata.csv`` what the headers say, and ``images/<study_id>/<image_id>.dicom`` are the images.
There is no pathology and no column of patients: a study is one. Boxes are in pixels of the original, whose size is in
the table; copies as PNG are often smaller.

The label is the breast's BI-RADS: 4 and 5 positive, 1 and 2 negative, 3 left out; with ``positive="birads5"`` 4 is left
out too. A box's class for patches follows the finding's own BI-RADS by the same rule, 3 being benign there. Masses and
suspicious calcifications have classes; other findings, and boxes of both, are kept without one.
"""

from __future__ import annotations

import ast
import logging
import math
import re
from collections import Counter, defaultdict
from pathlib import Path

from monai_e2e.data.records import Catalogue, DrawnAs, Excluded, Lesion, LesionType, Mammogram, Pathology
from monai_e2e.data.sources.cells import (
    BIRADS_RULES,
    Refused,
    birads_label,
    choose,
    parse_age,
    parse_density,
    parse_side,
    parse_size,
    parse_view,
)
from monai_e2e.data.sources.release import Release, count_values, entries_of
from monai_e2e.data.sources.shapes import box_outline
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

_IMAGE_COLUMNS = ("study_id", "image_id", "laterality", "view_position", "breast_birads", "split")
_SIZE = ("height", "width")
_BOX = ("xmin", "ymin", "xmax", "ymax")
_FINDING_COLUMNS = ("image_id", "finding_categories", "finding_birads", *_BOX)
_INSTANCE, _AGE, _VENDOR, _MACHINE = "SOP Instance UID", "Patient's Age", "Manufacturer", "Manufacturer's Model Name"
_PARTITIONS = {"training": "training", "test": "test"}
_TYPES = {"Mass": LesionType.MASS, "Suspicious Calcification": LesionType.CALCIFICATION}


def read_vindr(src: str | Path, tables_only: bool = False, positive: str = "birads4") -> Catalogue:
    """Join VinDr-Mammo's tables and images.

    Args:
        src: folder with the tables and the images in or under it.
        tables_only: for a report without images.
        positive: ``"birads4"`` or ``"birads5"``, see the module's docstring.

    Raises:
        UserError: when the folder, a table or a column is missing, or no image can be used.
    """
    release, notes = Release(src, "vindr"), Counter[str]()
    table = release.table(_IMAGE_COLUMNS, ("breast_density", *_SIZE), without="finding_categories")
    excluded: list[Excluded] = []
    lesions, lesion_rows = _lesions(release, positive, excluded, notes)
    headers = _headers(release)

    def parse(values: dict[str, str]) -> Mammogram:
        header = headers.get(values["image_id"], {})
        return Mammogram(
            path=None,
            patient_id=values["study_id"],
            laterality=parse_side(values["laterality"]),
            view=parse_view(values["view_position"]),
            label=birads_label(_birads(values["breast_birads"]), positive),
            partition=choose("split", values["split"], _PARTITIONS),
            density=parse_density(values["breast_density"]),
            age=parse_age(header.get(_AGE, "")),
            vendor=header.get(_VENDOR) or None,
            machine=header.get(_MACHINE) or None,
            outlined_size=parse_size(*(values[column] for column in _SIZE)),
            lesions=tuple(lesions.pop(values["image_id"], ())),  # last: those of an image that is refused stay
        )

    entries = list(entries_of(table, "image_id", parse))
    for image, own in lesions.items():  # of images that aren't used
        excluded.append(Excluded(f"findings of {image}", "finding of an image that isn't used", len(own)))
    return release.join(
        [*entries, *excluded],
        notes,
        tables_only,
        patients=count_values(table, "study_id"),
        files=count_values(table, "image_id"),
        views=count_values(table, "study_id", "laterality", "view_position"),
        lesion_rows=lesion_rows,
    )


def _headers(release: Release) -> dict[str, dict[str, str]]:
    """Age and machine by image, of the table of headers where there is one that can be read."""
    try:
        table = release.find_table((_INSTANCE,), (_AGE, _VENDOR, _MACHINE))
    except UserError as error:
        logger.warning("%s; ages and vendors stay unknown", error)
        return {}
    return {values[_INSTANCE]: values for _, values in table.rows} if table else {}


def _birads(text: str) -> int:
    found = re.fullmatch(r"(?:BI-?RADS)?\s*([0-6])", text.strip(), re.IGNORECASE)
    if not found:
        raise Refused(f"BI-RADS not understood: {text!r}")
    return int(found[1])


def _lesions(
    release: Release, positive: str, excluded: list[Excluded], notes: Counter[str]
) -> tuple[dict[str, list[Lesion]], int]:
    """Boxes by image, and how many rows have one."""
    lesions: dict[str, list[Lesion]] = defaultdict(list)
    table, count = release.table(_FINDING_COLUMNS), 0
    for line, values in table.rows:
        if not any(values[column] for column in _BOX):
            continue  # no finding
        count += 1
        try:
            lesions[values["image_id"]].append(_lesion(values, positive))
        except Refused as reason:
            excluded.append(Excluded(f"{table.path.name}, row {line}: {values['image_id']}", str(reason), rows=1))
    for lesion in (lesion for own in lesions.values() for lesion in own):
        notes["findings_neither_mass_nor_calcification_or_both"] += lesion.type is None
    return lesions, count


def _lesion(values: dict[str, str], positive: str) -> Lesion:
    try:
        categories = [str(category).strip() for category in ast.literal_eval(values["finding_categories"])]
        left, top, right, bottom = (float(values[column]) for column in _BOX)
    except (ValueError, SyntaxError, TypeError) as error:
        raise Refused("finding not understood: its categories or its box") from error
    outline = box_outline(left, top, right - left, bottom - top)
    if not outline or not all(map(math.isfinite, (left, top, right, bottom))):
        raise Refused("box without area")
    types = {_TYPES[category] for category in categories if category in _TYPES}
    pathology = None
    if values["finding_birads"]:
        malignant = BIRADS_RULES[positive].get(_birads(values["finding_birads"])) == 1
        pathology = Pathology.MALIGNANT if malignant else Pathology.BENIGN
    kind = types.pop() if len(types) == 1 else None
    return Lesion(kind, pathology, 1, outline=outline, drawn_as=DrawnAs.BOX, rows=1)
