"""CMMD, the Chinese Mammography Database: 5,202 images of 1,775 patients with biopsy results (Cui et al., 2021).

``CMMD_clinicaldata_revision.xlsx`` has a row per **affected breast**; ``CMMD/<ID1>/<study>/<series>/1-1.dcm`` … are the
images, four or two for a patient. ``ID1`` is ``D1-0001`` and so on; where no folder has that name, it is the headers'
Patient ID. Only the headers have side and view (Image Laterality, and View Code Sequence instead of View Position).

The label is the breast's ``classification``. The other breast has no row: it is negative and flagged
``unverified normal``, since no row says so, or left out with ``exclude_contralateral``. There are no outlines.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from monai_e2e.data.records import Catalogue, Excluded, Laterality, Mammogram, View
from monai_e2e.data.sources.cells import Refused, choose, parse_age, parse_side
from monai_e2e.data.sources.release import Entry, Release, count_values
from monai_e2e.errors import UserError

UNVERIFIED = "unverified normal"
_NEEDED = ("ID1", "LeftRight", "classification")
_OPTIONAL = ("Age", "abnormality", "subtype")
_CLASSES = {"malignant": 1, "benign": 0}
_PATIENT = re.compile(r"D[12]-\d{4}", re.IGNORECASE)

#: Patient and side.
_Breast = tuple[str, Laterality]


def read_cmmd(src: str | Path, tables_only: bool = False, exclude_contralateral: bool = False) -> Catalogue:
    """Join CMMD's table and images.

    Args:
        src: folder with the table and the images in or under it.
        tables_only: can't be: sides and views aren't in the table.
        exclude_contralateral: leave out breasts without a row.

    Raises:
        UserError: when the folder, the table, a column or the images are missing.
    """
    release, notes = Release(src, "cmmd"), Counter[str]()
    if tables_only or not release.images:
        raise UserError(
            f"{src}: no images in or under it; CMMD's sides and views stand in their headers: download them"
        )
    table = release.table(_NEEDED, _OPTIONAL)
    excluded: list[Excluded] = []
    breasts: dict[_Breast, list[dict[str, str]]] = {}
    for line, values in table.rows:
        try:
            choose("classification", values["classification"].lower(), _CLASSES)
            breasts.setdefault((values["ID1"].upper(), parse_side(values["LeftRight"])), []).append(values)
        except Refused as reason:
            excluded.append(Excluded(f"{table.path.name}, row {line}: {values['ID1']}", str(reason), rows=1))
    entries = list(_entries(release, breasts, exclude_contralateral, notes))
    used = {(e.mammogram.patient_id, e.mammogram.laterality) for e in entries if e.mammogram}
    for breast, rows in breasts.items():
        if breast not in used:
            place = f"{table.path.name}: {breast[0]} {breast[1].value}"
            excluded.append(Excluded(place, "no image of this breast", len(rows)))
    return release.join([*entries, *excluded], notes, patients=count_values(table, "ID1"))


def _entries(
    release: Release, breasts: dict[_Breast, list[dict[str, str]]], exclude_contralateral: bool, notes: Counter[str]
) -> Iterator[Entry]:
    from monai_e2e.data.images.headers import read_header  # pydicom takes a while

    listed = {patient: values[0] for (patient, _), values in breasts.items()}
    counted: set[_Breast] = set()
    for path in release.images:
        header = read_header(path)
        names = (*reversed(path.parts[:-1]), header.patient)
        patient = next((name.upper() for name in names if _PATIENT.fullmatch(name)), "")
        reason = ""
        if patient not in listed:
            reason = "patient not in the table" if patient else "no patient, such as D1-0001, in folders or header"
        elif not header.laterality or not header.view:
            reason = "side or view not in the header, or the view neither CC nor MLO"
        if reason:
            yield Entry(str(path), path, None, reason, rows=0)
            continue
        breast = patient, Laterality(header.laterality)
        rows = breasts.get(breast, [])
        if not rows and exclude_contralateral:
            yield Entry(str(path), path, None, "contralateral breast, of which the table says nothing", rows=0)
            continue
        notes["images_of_breasts_without_a_row"] += not rows
        subtypes = [values["subtype"] for values in rows if values["subtype"]]
        mammogram = Mammogram(
            path=None,
            patient_id=patient,
            laterality=breast[1],
            view=View(header.view),
            label=max((_CLASSES[values["classification"].lower()] for values in rows), default=0),
            rows=len(rows) if breast not in counted else 0,
            age=parse_age(listed[patient]["Age"]),
            subtype=subtypes[0] if subtypes else None,
            flags=() if rows else (UNVERIFIED,),
        )
        counted.add(breast)
        yield Entry(str(path), path, mammogram)
