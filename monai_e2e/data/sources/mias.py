"""mini-MIAS: 322 digitised mammograms, all MLO, of 161 patients (Suckling et al., 1994).

``mdb001.pgm`` … ``mdb322.pgm`` (or the same as PNG, in any folder) of 1024 × 1024 pixels of 200 µm, and ``Info.txt``,
whose rows stand below prose, or below a header on Kaggle::

    mdb001 G CIRC B 535 425 197

These are the image, its tissue (which is no ACR density), the abnormality, benign or malignant, and a circle. An image
of several abnormalities has several rows, a normal one ends after ``NORM``. The origin is at the **bottom** left, and
``*NOTE 3*`` stands for the place of calcifications that are spread too widely. Two images in a row are of one patient,
the odd number being the right breast.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from monai_e2e.data.records import (
    Catalogue,
    DrawnAs,
    Laterality,
    Lesion,
    LesionType,
    Mammogram,
    Pathology,
    View,
)
from monai_e2e.data.sources.cells import Refused
from monai_e2e.data.sources.release import Entry, Release
from monai_e2e.data.sources.shapes import circle_outline
from monai_e2e.errors import UserError

#: Classes of abnormality; the patch classifier has no class for distortions and asymmetries.
ABNORMALITIES = {
    "CALC": LesionType.CALCIFICATION,
    "CIRC": LesionType.MASS,
    "SPIC": LesionType.MASS,
    "MISC": LesionType.MASS,
    "ARCH": None,
    "ASYM": None,
}
PATHOLOGIES = {"B": Pathology.BENIGN, "M": Pathology.MALIGNANT}
_SIZE = 1024
_ROW = re.compile(r"\s*(mdb(\d{3}))\s+[FGD]\s+([A-Z]{4})\b\s*(.*)", re.IGNORECASE)


def read_mias(src: str | Path, tables_only: bool = False) -> Catalogue:
    """Join mini-MIAS's table and images.

    Args:
        src: folder with ``Info.txt`` and the images in or under it.
        tables_only: for a report without images.

    Raises:
        UserError: when the folder or the table is missing, or no image can be used.
    """
    release, notes = Release(src, "mias", originals=(".pgm",)), Counter[str]()
    table, lines = _rows(release)
    entries = list(_entries(table, lines, notes))
    names = {row[1].lower() for _, row in lines}
    patients = len({_patient(int(row[2])) for _, row in lines})
    return release.join(entries, notes, tables_only, patients=patients, files=len(names), views=len(names))


def _rows(release: Release) -> tuple[Path, list[tuple[int, re.Match[str]]]]:
    """The table and, by line, its rows."""
    for path in release.files:
        if path.suffix.lower() not in (".txt", ".csv", ""):
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        rows = [(number, row) for number, line in enumerate(lines, start=1) if (row := _ROW.match(line))]
        if rows:
            return path, rows
    raise UserError(
        f"{release.src}: no table of mini-MIAS in or under it (rows such as `mdb001 G CIRC B 535 425 197`); "
        "put its Info.txt beside the images"
    )


def _entries(table: Path, rows: list[tuple[int, re.Match[str]]], notes: Counter[str]) -> Iterator[Entry]:
    for line, row in rows:
        image, number, abnormality, rest = row[1].lower(), int(row[2]), row[3].upper(), row[4]
        place = f"{table.name}, row {line}: {image}"
        try:
            lesion = None if abnormality == "NORM" else _lesion(abnormality, rest, notes)
        except Refused as reason:
            yield Entry(place, image, None, str(reason))
            continue
        mammogram = Mammogram(
            path=None,
            patient_id=_patient(number),
            laterality=Laterality.RIGHT if number % 2 else Laterality.LEFT,
            view=View.MLO,
            label=int(lesion is not None and lesion.pathology is Pathology.MALIGNANT),
            lesions=(lesion,) if lesion else (),
            outlined_size=(_SIZE, _SIZE),
        )
        yield Entry(place, image, mammogram)


def _lesion(abnormality: str, rest: str, notes: Counter[str]) -> Lesion:
    severity, *circle = rest.split()[:4] or [""]
    if abnormality not in ABNORMALITIES or severity.upper() not in PATHOLOGIES:
        raise Refused(f"abnormality or severity not understood: {abnormality} {severity}")
    kind, pathology = ABNORMALITIES[abnormality], PATHOLOGIES[severity.upper()]
    if len(circle) != 3 or not all(re.fullmatch(r"\d+(\.\d+)?", number) for number in circle):
        notes["lesions_without_a_place"] += 1
        return Lesion(kind, pathology, 1)
    x, y, radius = map(float, circle)
    outline = circle_outline(x, _SIZE - y, radius)
    return Lesion(kind, pathology, 1, outline=outline, drawn_as=DrawnAs.CIRCLE)


def _patient(number: int) -> str:
    return f"{(number + 1) // 2:03d}"
