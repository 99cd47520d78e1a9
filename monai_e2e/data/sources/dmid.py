"""DMID, the Digital Mammography Dataset for Breast Cancer Diagnosis Research: 510 images (figshare 24522883).

``Metadata.xlsx`` has a row per finding (``ID, view, abnormality, pathology, …``; a normal image has one too),
``TIFF Images/IMG001.tif``, ``DICOM Images/IMG001.dcm`` are the images and ``ROI Masks/IMG001.tif`` the masks, in which
an image's lesions are merged; Kaggle's copy has each folder in another one of its name. The TIFF files are read where
they are there, else the DICOM files. ``Pixel-level annotation`` are drawings, no masks.

**Patients aren't known**: each image counts as one, so no split by patient is possible; a report must say so.
An image is malignant if any of its rows is.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from monai_e2e.data.records import Catalogue, Laterality, Lesion, LesionType, Mammogram, Pathology, View
from monai_e2e.data.sources.cells import Refused, choose
from monai_e2e.data.sources.mias import ABNORMALITIES, PATHOLOGIES
from monai_e2e.data.sources.release import Entry, Release, count_values, without_copies
from monai_e2e.data.sources.spreadsheets import Table

_NEEDED = ("ID", "view", "abnormality", "pathology")
_VIEW = re.compile(r"(CC|MLO)\s*(LT|RT)", re.IGNORECASE)
_DRAWINGS = re.compile(r"(^|/)pixel-level annotation/", re.IGNORECASE)
_WORDS = {**ABNORMALITIES, "CLAC": LesionType.CALCIFICATION}
_NORMAL = ("", "-", "N", "NORM")


def read_dmid(src: str | Path, tables_only: bool = False) -> Catalogue:
    """Join DMID's table, images and masks.

    Args:
        src: folder with the table and the images in or under it.
        tables_only: for a report without images.

    Raises:
        UserError: when the folder, the table or a column is missing, or no image can be used.
    """
    release = Release(src, "dmid", masks=r"(^|/)roi masks?/", originals=())
    images = [path for path in release.images if not _DRAWINGS.search(release.relative(path))]
    release.keep(without_copies(images, (".tif", ".tiff")))
    table = release.table(_NEEDED)
    notes, count = Counter[str](), count_values(table, "ID")
    return release.join(_entries(release, table, notes), notes, tables_only, patients=count, files=count)


def _entries(release: Release, table: Table, notes: Counter[str]) -> Iterator[Entry]:
    rows: dict[str, list[tuple[int, dict[str, str]]]] = defaultdict(list)
    for line, values in table.rows:
        rows["".join(values["ID"].split()).upper()].append((line, values))
    for image, same in rows.items():
        place = f"{table.path.name}, row {same[0][0]}: {image}"
        try:
            mammogram = _mammogram(release, image, [values for _, values in same], notes)
        except Refused as reason:
            yield Entry(place, image, None, str(reason), rows=len(same))
        else:
            yield Entry(place, image, mammogram)


def _mammogram(release: Release, image: str, rows: list[dict[str, str]], notes: Counter[str]) -> Mammogram:
    found = _VIEW.fullmatch(rows[0]["view"].strip())
    if not found:
        raise Refused(f"view not understood: {rows[0]['view']!r}, such as CCLT or MLORT")
    pathologies = {_pathology(row["pathology"]) for row in rows} - {None}
    kinds = {_WORDS.get(word) for row in rows for word in _abnormalities(row["abnormality"])}
    mask = release.find_mask(f"ROI Masks/{image}")
    lesions: tuple[Lesion, ...] = ()
    if kinds or pathologies:
        kind = kinds.pop() if len(kinds) == 1 else None
        pathology = pathologies.pop() if len(pathologies) == 1 else None
        lesions = (Lesion(kind, pathology, 1, mask_paths=(mask,) if mask else ()),)
        notes["lesions_without_a_mask"] += mask is None
    return Mammogram(
        path=None,
        patient_id=image,
        laterality=Laterality.LEFT if found[2].upper() == "LT" else Laterality.RIGHT,
        view=View(found[1].upper()),
        label=int(any(_pathology(row["pathology"]) is Pathology.MALIGNANT for row in rows)),
        lesions=lesions,
        rows=len(rows),
    )


def _abnormalities(text: str) -> list[str]:
    words = ["".join(word.split()).upper() for word in text.split("+")]
    return [word for word in words if word not in _NORMAL]


def _pathology(text: str) -> Pathology | None:
    word = text.strip().upper()
    return choose("pathology", word, {**PATHOLOGIES, **dict.fromkeys(_NORMAL)})
