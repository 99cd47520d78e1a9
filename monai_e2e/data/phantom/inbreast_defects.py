"""Faults of real INbreast folders, for phantoms: each affects one image, its outlines or its row."""

from __future__ import annotations

import plistlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from monai_e2e.data.phantom.inbreast_outlines import describe_roi
from monai_e2e.data.phantom.storage import save

#: Indices of columns in the table.
_VIEW, _FILE, _BI_RADS = 3, 5, 7


@dataclass
class _Case:
    """What the folder and the table hold about one image: its file, its outlines, its row, and all rows."""

    image: Path
    outlines: Path
    line: list[str]
    lines: list[list[str]]


def plant_defects(out: Path, lines: list[list[str]]) -> dict[str, int]:
    """Add each defect to one image or its row. The image has BI-RADS 1 or 2, since few images have another category.

    Returns:
        How many of each were added, 0 or 1.
    """
    negative = [line for line in lines if line[_BI_RADS] in ("1", "2")]
    planted = dict.fromkeys(DEFECTS, 0)
    for name, plant in DEFECTS.items():
        line = next((line for line in negative if name != "view_fb" or line[_VIEW] == "CC"), None)
        if line is not None:
            negative.remove(line)
            path = next((out / "AllDICOMs").glob(f"{line[_FILE]}_*"))
            plant(_Case(path, out / "AllXML" / f"{line[_FILE]}.xml", line, lines))
            planted[name] += 1
    return planted


def _image_missing(case: _Case) -> None:
    case.image.unlink()


def _image_without_row(case: _Case) -> None:
    number = case.line[_FILE]
    shutil.copyfile(case.image, case.image.with_name(case.image.name.replace(number, f"9{number}")))


def _bi_rads_3(case: _Case) -> None:
    case.line[_BI_RADS] = "3"


def _row_twice(case: _Case) -> None:
    case.lines.append(list(case.line))


def _view_fb(case: _Case) -> None:
    case.line[_VIEW] = "FB"
    case.image.rename(case.image.with_name(case.image.name.replace("_CC_", "_FB_")))


def _monochrome1(case: _Case) -> None:
    """The same image, stored inverted."""
    dataset = pydicom.dcmread(case.image)
    pixels = (1 << dataset.BitsStored) - 1 - dataset.pixel_array
    dataset.PixelData = pixels.tobytes()
    dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = int(pixels.min()), int(pixels.max())
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    save(dataset, case.image)


def _outline_point(case: _Case) -> None:
    _add_roi(case, "Calcification", np.array([[0.5, 0.5]]))


def _outline_outside(case: _Case) -> None:
    _add_roi(case, "Mass", np.array([[1.2, 1.2], [1.2, 1.3], [1.3, 1.3]]))


def _outline_other(case: _Case) -> None:
    _add_roi(case, "Assymetry", np.array([[0.4, 0.4], [0.4, 0.6], [0.6, 0.6]]))


def _outlines_broken(case: _Case) -> None:
    case.outlines.write_bytes(b'<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0"><dict>')


def _outlines_without_image(case: _Case) -> None:
    case.outlines.with_name(f"9{case.outlines.name}").write_bytes(plistlib.dumps({"Images": []}))


def _add_roi(case: _Case, name: str, points: np.ndarray) -> None:
    """Append a region; ``points`` are ``(row, column)`` as fractions of the image's height and width."""
    header = pydicom.dcmread(case.image, stop_before_pixels=True)
    plist: dict[str, Any] = {"Images": [{"ImageIndex": 0, "ROIs": []}]}
    if case.outlines.is_file():
        plist = plistlib.loads(case.outlines.read_bytes())
    rois = plist["Images"][0]["ROIs"]
    size = np.array([header.Rows, header.Columns])
    rois.append(describe_roi(name, points * size, len(rois), float(header.PixelSpacing[0])))
    plist["Images"][0]["NumberOfROIs"] = len(rois)
    case.outlines.write_bytes(plistlib.dumps(plist))


#: Defect → function that adds it. Inverted images (``monochrome1``), views from below (``view_fb``), single points
#: and other findings are valid, but programs often read them wrongly.
DEFECTS: dict[str, Callable[[_Case], None]] = {
    "image_missing": _image_missing,
    "image_without_row": _image_without_row,
    "bi_rads_3": _bi_rads_3,
    "row_twice": _row_twice,
    "view_fb": _view_fb,
    "monochrome1": _monochrome1,
    "outline_point": _outline_point,
    "outline_outside": _outline_outside,
    "outline_other": _outline_other,
    "outlines_broken": _outlines_broken,
    "outlines_without_image": _outlines_without_image,
}
