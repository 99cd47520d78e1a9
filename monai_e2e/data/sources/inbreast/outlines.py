"""INbreast's outlines of lesions: OsiriX property lists, one for each image with findings."""

from __future__ import annotations

import math
import plistlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

from monai_e2e.data.images.dicom_files import one_file
from monai_e2e.data.images.pixels import has_area
from monai_e2e.data.records import Catalogue, DrawnAs, Excluded, Lesion, LesionType
from monai_e2e.errors import UserError

#: Words in an outline's name → lesion type. Anything else is only counted.
ROI_WORDS = {
    "mass": LesionType.MASS,
    "spiculated": LesionType.MASS,
    "calcification": LesionType.CALCIFICATION,
    "cluster": LesionType.CALCIFICATION,
}
_POINT = re.compile(r"\(\s*(-?[\d.]+(?:e[+-]?\d+)?)\s*,\s*(-?[\d.]+(?:e[+-]?\d+)?)\s*\)", re.IGNORECASE)
#: Characters of an outline's name that are told.
_NAME = 40


def read_outlines(path: Path | None, catalogue: Catalogue, notes: Counter[str]) -> tuple[Lesion, ...]:
    """Outlines of one image; images without findings have no file."""
    if path is None:
        return ()
    try:
        with one_file(path), path.open("rb") as file:
            rois = [roi for image in plistlib.load(file)["Images"] for roi in image["ROIs"]]
    except UserError as error:
        reason = f"outlines not readable: image kept without lesions ({type(error.__cause__).__name__})"
        catalogue.excluded.append(Excluded(str(path), reason))
        return ()
    lesions: list[Lesion] = []
    for place, roi in enumerate(rois, start=1):
        try:
            with one_file(path):
                name = " ".join(str(roi.get("Name", "")).lower().split())[:_NAME]
                points = _points(roi["Point_px"])
        except UserError as error:
            reason = f"outline not readable: image kept without this lesion ({type(error.__cause__).__name__})"
            catalogue.excluded.append(Excluded(f"{path}, outline {place}", reason))
            continue
        kind = next((kind for word, kind in ROI_WORDS.items() if word in name), None)
        if kind is None:
            notes[f"outlines_other: {name or 'unnamed'}"] += 1
        elif not points:
            notes["outlines_without_points"] += 1
        else:
            notes[f"outlines_{kind.value}"] += 1
            notes["outlines_points"] += not has_area(points)
            # Beyond the other two edges only the image itself tells; the preparation looks at that.
            notes["outlines_beyond_first_row_or_column"] += min(map(min, points)) < 0
            lesions.append(Lesion(kind, None, len(lesions) + 1, outline=points, drawn_as=DrawnAs.POLYGON))
    return tuple(lesions)


def _points(texts: Any) -> tuple[tuple[float, float], ...]:
    """OsiriX's ``"(x, y)"`` → ``(row, column)``."""
    matches = [_POINT.fullmatch(text.strip()) for text in texts]
    if not all(matches):
        raise ValueError("a point isn't '(x, y)'")
    points = tuple((float(match.group(2)), float(match.group(1))) for match in matches if match)
    if not all(math.isfinite(number) for point in points for number in point):
        raise ValueError("a number is too large")
    return points
