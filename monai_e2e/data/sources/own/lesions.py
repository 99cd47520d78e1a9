"""Lesions of a hospital's own mammograms: rows of a table that say where each is, how it was marked and what it is.

A table of its own, CSV or a spreadsheet, has a row per lesion::

    image,type,pathology,x,y,width,height,radius,polygon,mask
    2021/0002_lmlo.dcm,mass,malignant,1210,845,310,262,,,
    2021/0002_lmlo.dcm,calcification,benign,640,1500,,,85,,
    2021/0003_lcc.dcm,mass,,,,,,,1210 845 1520 850 1400 1107,
    2021/0004_rcc.dcm,mass,benign,,,,,,,masks/0004.png

========== ==========================================================================================
column     values
========== ==========================================================================================
image      path as in the table of labels
type       ``mass``, ``calcification``, or empty for anything else
pathology  ``benign``, ``malignant``, or empty where unknown
x y        with ``width`` and ``height`` the box's first column and row, with ``radius`` the circle's centre
polygon    ``x1 y1 x2 y2 …``, three points or more
mask       path of an image of the mammogram's shape, two-valued
========== ==========================================================================================

Numbers are pixels of the original image, whose first pixel, top left, has x = 0 and y = 0. A row has one of box,
circle, polygon and mask; columns that no row uses may be left out. The same columns in the table of labels do the same,
with several masks in a cell separated by ``;`` or ``|``, and a row without any of the shapes has no lesion.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from monai_e2e.data.images.pixels import has_area
from monai_e2e.data.records import DrawnAs, Excluded, Lesion, LesionType, Pathology
from monai_e2e.data.sources.cells import Refused, choose
from monai_e2e.data.sources.own.files import OwnFiles
from monai_e2e.data.sources.shapes import box_outline, circle_outline
from monai_e2e.data.sources.spreadsheets import read_table
from monai_e2e.errors import UserError

_SHAPES = {
    ("x", "y", "width", "height"): DrawnAs.BOX,
    ("x", "y", "radius"): DrawnAs.CIRCLE,
    ("polygon",): DrawnAs.POLYGON,
    ("mask",): DrawnAs.MASK,
}
_SHAPE_COLUMNS = tuple(dict.fromkeys(column for columns in _SHAPES for column in columns))
LESION_COLUMNS = ("type", "pathology", *_SHAPE_COLUMNS)
_TYPES = {**{kind.value: kind for kind in LesionType}, "": None}
_PATHOLOGIES = {**{pathology.value: pathology for pathology in Pathology}, "": None}
_ALLOWED = ", or ".join(" ".join(columns) for columns in _SHAPES)
_ADVICE = "Write one row per lesion, for example `image,type,pathology,x,y,width,height`"
#: Three digits behind a comma may be thousands.
_DECIMAL_COMMA = re.compile(r"-?\d+,(\d{1,2}|\d{4,})")


@dataclass(frozen=True)
class LesionRow:
    """A lesion as a table has it.

    Args:
        place: table, row and image, for ``excluded.csv``.
        values: of :data:`LESION_COLUMNS`.
        rows: 1 where the row stands for the lesion alone, 0 where it stands for the image.
    """

    place: str
    values: dict[str, str]
    rows: int


def read_lesion_table(
    path: str | Path, files: OwnFiles, excluded: list[Excluded]
) -> tuple[dict[Path, list[LesionRow]], int]:
    """Rows of a table of lesions by image, and how many there are with those of absent images (``excluded``).

    Raises:
        UserError: when the table is missing, can't be read, or has no column ``image`` or none of a shape.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such table of lesions. {_ADVICE}")
    table = read_table(path, ("image",), LESION_COLUMNS, advice=_ADVICE)
    if not any(set(columns) <= set(table.columns) for columns in _SHAPES):
        raise UserError(f"{path}: no columns that say where a lesion is; needed: {_ALLOWED}")
    rows: dict[Path, list[LesionRow]] = defaultdict(list)
    for line, values in table.rows:
        row = LesionRow(f"{path.name}, row {line}: {values['image'] or 'no image'}", values, rows=1)
        try:
            if not values["image"]:
                raise Refused("no image named")
            rows[files.find(values["image"])].append(row)
        except Refused as reason:
            excluded.append(Excluded(row.place, f"lesion of an image that isn't there: {reason}", row.rows))
    return dict(rows), len(table.rows)


def lesions_of_image_row(place: str, values: dict[str, str]) -> tuple[LesionRow, ...]:
    """Lesions in a row of the table of labels: one for each of its masks, or one of another shape, or none."""
    masks = [mask for mask in map(str.strip, re.split(r"[;|]", values["mask"])) if mask] or [""]
    rows = [LesionRow(place, {**values, "mask": mask}, rows=0) for mask in masks]
    return tuple(row for row in rows if any(row.values[column] for column in _SHAPE_COLUMNS))


def read_lesions(rows: Sequence[LesionRow], files: OwnFiles, excluded: list[Excluded]) -> tuple[Lesion, ...]:
    """The lesions of one mammogram, numbered from 1; what is listed twice is one.

    One that can't be used is reported and keeps its place, without a shape: the mammogram has it all the same.
    """
    lesions: dict[Lesion, int] = {}
    for place, row in enumerate(rows):
        lost = 0
        try:
            lesion = _understand(row, files)
        except Refused as reason:
            excluded.append(Excluded(row.place, str(reason), row.rows))
            lesion, lost = Lesion(None, None, -place), row.rows
        lesions[lesion] = lesions.get(lesion, 0) + row.rows - lost
    return tuple(
        replace(lesion, number=number, rows=count) for number, (lesion, count) in enumerate(lesions.items(), start=1)
    )


def _understand(row: LesionRow, files: OwnFiles) -> Lesion:
    """One row as a lesion without a number; raises :class:`Refused`."""
    values = row.values
    filled = tuple(column for column in _SHAPE_COLUMNS if values[column])
    if filled not in _SHAPES:
        raise Refused(f"lesion not of one shape: {' '.join(filled) or 'nothing'} filled in, allowed are {_ALLOWED}")
    lesion = Lesion(
        type=choose("lesion's type", values["type"].lower(), _TYPES),
        pathology=choose("lesion's pathology", values["pathology"].lower(), _PATHOLOGIES),
        number=1,
        drawn_as=_SHAPES[filled],
    )
    if lesion.drawn_as is DrawnAs.MASK:
        try:
            return replace(lesion, mask_paths=(files.take(values["mask"]),))
        except Refused as reason:
            raise Refused(f"mask not usable: {values['mask']}, {reason}") from reason
    words = {column: values[column].split() if column == "polygon" else [values[column]] for column in filled}
    numbers = [_number(column, word) for column in filled for word in words[column]]
    outline = _outline(lesion.drawn_as, numbers)
    if not outline:
        raise Refused(f"lesion without area: {', '.join(f'{column} {values[column]}' for column in filled)}")
    return replace(lesion, outline=outline)


def _number(column: str, word: str) -> float:
    if column != "polygon" and _DECIMAL_COMMA.fullmatch(word):
        word = word.replace(",", ".")
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Refused(f"lesion's numbers not understood: {column} {word!r}, write pixels such as 12 or 12.5")
    return number


def _outline(drawn_as: DrawnAs, numbers: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """``(row, column)`` points around a box, circle or polygon; none where it has no area."""
    if drawn_as is DrawnAs.POLYGON:
        if len(numbers) % 2:
            raise Refused(f"lesion's numbers not understood: polygon of {len(numbers)}, write x1 y1 x2 y2 …")
        points = tuple(zip(numbers[1::2], numbers[::2], strict=True))
        return points if has_area(points) else ()
    return circle_outline(*numbers) if drawn_as is DrawnAs.CIRCLE else box_outline(*numbers)
