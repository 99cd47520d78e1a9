"""CDD-CESM: 1,003 low-energy and 1,003 contrast-enhanced images of 326 patients (Khaled et al., 2022).

``Radiology manual annotations.xlsx`` has a row per image, ``Low energy images of CDD-CESM/P200_R_DM_CC.jpg`` … are the
images that look like mammograms; the contrast-enhanced ones (type CESM) are left out. Names have stray blanks.

The label is the image's pathology or follow-up. Outlines are those of ``Radiology_hand_drawn_segmentations_v2.csv``
(polygons, circles and ellipses in the format of the VGG Image Annotator), where it is there; they have the image's
pathology, and a type where the image's findings name masses alone or calcifications alone.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from monai_e2e.data.records import Catalogue, DrawnAs, Lesion, Mammogram, Pathology
from monai_e2e.data.sources.cells import Refused, choose, parse_age, parse_density, parse_side, parse_view, type_of
from monai_e2e.data.sources.release import Release, count_values, entries_of
from monai_e2e.data.sources.shapes import Outline, circle_outline, ellipse_outline

_LABEL = "Pathology Classification/ Follow up"
_NEEDED = ("Image_name", "Patient_ID", "Side", "Type", "View", _LABEL)
_OPTIONAL = ("Age", "Breast density (ACR)", "Findings", "Machine")
_OUTLINES = ("#filename", "region_shape_attributes")
_PATHOLOGIES = {"normal": None, "benign": Pathology.BENIGN, "malignant": Pathology.MALIGNANT}
_ROUND = ("circle", "ellipse")


def read_cdd_cesm(src: str | Path, tables_only: bool = False) -> Catalogue:
    """Join CDD-CESM's table, low-energy images and outlines.

    Args:
        src: folder with the tables and the images in or under it.
        tables_only: for a report without images.

    Raises:
        UserError: when the folder, the table or a column is missing, or no image can be used.
    """
    release, notes = Release(src, "cdd-cesm"), Counter[str]()
    table, outlines = release.table(_NEEDED, _OPTIONAL), _outlines(release, notes)
    for _, values in table.rows:
        values["Image_name"] = _name(values["Image_name"])

    def parse(values: dict[str, str]) -> Mammogram:
        if values["Type"].upper() != "DM":
            raise Refused("contrast-enhanced image")
        pathology = choose("pathology", values[_LABEL].lower(), _PATHOLOGIES)
        kind = type_of(*(word in values["Findings"].lower() for word in ("mass", "calcification")))
        lesions = [
            Lesion(kind, pathology, 1, outline=outline, drawn_as=drawn_as)
            for outline, drawn_as in outlines.get(values["Image_name"].casefold(), ())
        ]
        return Mammogram(
            path=None,
            patient_id=values["Patient_ID"],
            laterality=parse_side(values["Side"]),
            view=parse_view(values["View"]),
            label=int(pathology is Pathology.MALIGNANT),
            lesions=tuple(lesions),
            density=parse_density(values["Breast density (ACR)"]),
            age=parse_age(values["Age"]),
            machine=values["Machine"] or None,
        )

    return release.join(
        entries_of(table, "Image_name", parse),
        notes,
        tables_only,
        patients=count_values(table, "Patient_ID"),
        files=count_values(table, "Image_name"),
    )


def _name(text: str) -> str:
    """An image's name without blanks and ending."""
    return re.sub(r"\.jpe?g$", "", "".join(text.split()), flags=re.IGNORECASE)


def _outlines(release: Release, notes: Counter[str]) -> dict[str, list[tuple[Outline, DrawnAs]]]:
    """Outlines by image; points and what can't be read are counted."""
    outlines: dict[str, list[tuple[Outline, DrawnAs]]] = defaultdict(list)
    table = release.find_table(_OUTLINES)
    for _, values in table.rows if table else ():
        try:
            shape = json.loads(values["region_shape_attributes"] or "{}")
            outline = _outline(shape) if shape else ()
        except (ValueError, KeyError, TypeError):
            notes["outlines_not_understood"] += 1
            continue
        if outline:
            drawn_as = DrawnAs.CIRCLE if shape["name"] in _ROUND else DrawnAs.POLYGON
            outlines[_name(values["#filename"]).casefold()].append((outline, drawn_as))
        elif shape:
            notes["outlines_without_area"] += 1
    return outlines


def _outline(shape: dict[str, Any]) -> Outline:
    if shape["name"] in ("polygon", "polyline"):
        points = tuple(zip(map(float, shape["all_points_y"]), map(float, shape["all_points_x"]), strict=True))
        return points if len(points) > 2 else ()
    if shape["name"] == "circle":
        return circle_outline(shape["cx"], shape["cy"], shape["r"])
    if shape["name"] == "ellipse":
        return ellipse_outline(shape["cx"], shape["cy"], shape["rx"], shape["ry"], shape.get("theta", 0.0))
    return ()
