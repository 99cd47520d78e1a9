"""CBIS-DDSM's case tables: one row per lesion, four tables, read cell by cell and checked.

What the real tables hold (measured on TCIA's release of 2017-09): cells end in newlines (all crop paths of
calcifications, all mask paths of masses), the density is ``breast density`` in two tables and ``breast_density`` in
the others, and a path's folders are name, StudyInstanceUID and SeriesInstanceUID whatever the download looks like.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_e2e.data.records import Excluded, Laterality, LesionType, Pathology, View
from monai_e2e.data.sources.cells import parse_density
from monai_e2e.data.sources.spreadsheets import read_table
from monai_e2e.errors import UserError

_PATH_COLUMNS = ("image file path", "cropped image file path", "roi mask file path")
NEEDED_COLUMNS = (
    "patient id",
    "left or right breast",
    "image view",
    "abnormality id",
    "abnormality type",
    "pathology",
    *_PATH_COLUMNS,
)
_DENSITY = "breast density"
#: BENIGN_WITHOUT_CALLBACK: benign without further examination.
PATHOLOGIES = {
    "MALIGNANT": Pathology.MALIGNANT,
    "BENIGN": Pathology.BENIGN,
    "BENIGN_WITHOUT_CALLBACK": Pathology.BENIGN,
}
_TABLE_NAME = re.compile(r"(calc|mass)_case_description_(train|test).*\.csv", re.IGNORECASE)
#: Identifiers become file names, so nothing else is let through.
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SEPARATORS = re.compile(r"[/\\]")
#: TCIA's two halves by the word in the tables' names.
HALVES = {"train": "training", "test": "test"}


@dataclass(frozen=True)
class TableRow:
    """One lesion as its table has it, checked; ``source`` is the table and its row."""

    source: str
    patient_id: str
    laterality: Laterality
    view: View
    partition: str
    density: int | None
    number: int
    type: LesionType
    pathology: Pathology
    image_path: str
    mask_path: str
    crop_path: str


@dataclass
class Tables:
    """All case tables of a folder.

    Args:
        rows: the rows that are understood, each once.
        counts: ``rows``, ``patients``, ``files`` and ``views`` that the cells name, rows that aren't understood
            included; a row in two copies of a table counts once.
        series: SeriesInstanceUIDs that the cells name, likewise.
        excluded: the rows that aren't understood.
        test_patients: patients that the test half's cells name, likewise.
        missing: tables whose other half is there.
    """

    rows: list[TableRow] = field(default_factory=list)
    counts: dict[str, int | None] = field(default_factory=dict)
    series: set[str] = field(default_factory=set)
    excluded: list[Excluded] = field(default_factory=list)
    test_patients: frozenset[str] = frozenset()
    missing: list[str] = field(default_factory=list)


def read_tables(src: Path) -> Tables:
    """Read every case table in or under a folder.

    Raises:
        UserError: when there is none, or one can't be read or lacks a needed column.
    """
    paths = sorted(path for path in src.rglob("*") if _TABLE_NAME.fullmatch(path.name))
    if not paths:
        raise UserError(
            f"{src}: no {{calc,mass}}_case_description_{{train,test}}_set.csv in or under it; download the tables "
            f"from TCIA into this folder, or try `monai-e2e phantom cbis-ddsm SRC`"
        )
    tables = Tables()
    # By content, because copies of a table in two folders must not double its lesions.
    cells: dict[tuple[str, ...], None] = {}
    for path in paths:
        match = _TABLE_NAME.fullmatch(path.name)
        partition = HALVES[match.group(2).lower()] if match else ""
        for line, values in read_table(path, NEEDED_COLUMNS, (_DENSITY,), "download the table again from TCIA").rows:
            key = (partition, *(values[column] for column in (*NEEDED_COLUMNS, _DENSITY)))
            if key in cells:
                continue
            cells[key] = None
            source = f"{path.relative_to(src)}, row {line}"
            try:
                tables.rows.append(_parse_row(values, partition, source))
            except ValueError as error:
                tables.excluded.append(Excluded(source, f"table row not understood: {error}", rows=1))
    named = [dict(zip(("", *NEEDED_COLUMNS), key, strict=False)) for key in cells]
    tables.counts = {
        "rows": len(cells),
        "patients": _distinct(named, "patient id"),
        "files": _distinct(named, "image file path"),
        "views": _distinct(named, "patient id", "left or right breast", "image view"),
    }
    tables.test_patients = frozenset(row["patient id"] for row in named if row[""] == "test")
    here = {match.group(1, 2) for path in paths if (match := _TABLE_NAME.fullmatch(path.name.lower()))}
    kinds, halves = ({table[place] for table in here} for place in (0, 1))
    tables.missing = [
        f"{kind}_case_description_{half}_set.csv"
        for kind, half in itertools.product(sorted(kinds), sorted(halves))
        if (kind, half) not in here
    ]
    tables.series = {series_of(row[column]) for row in named for column in _PATH_COLUMNS} - {""}
    return tables


def leaves_source(path: str) -> bool:
    """Whether a path written in a table could lead out of the data set's folder: absolute or with ``..`` in it."""
    return ".." in _SEPARATORS.split(path) or re.match(r"[/\\~]|[A-Za-z]:", path) is not None


def series_of(path: str) -> str:
    """SeriesInstanceUID that a table's path names, its second-last part; empty where there's none."""
    parts = _SEPARATORS.split(path)
    return parts[-2] if len(parts) > 1 else ""


def _parse_row(values: dict[str, str], partition: str, source: str) -> TableRow:
    """Check one row; ValueError says what's wrong with it."""
    empty = [column for column in NEEDED_COLUMNS if not values[column] and column not in _PATH_COLUMNS[1:]]
    if empty:
        raise ValueError(f"no {' and no '.join(empty)}")
    if not _SAFE_ID.fullmatch(values["patient id"]):
        raise ValueError("patient id has characters other than letters, digits, _ and -")
    pathology = values["pathology"].upper()
    if pathology not in PATHOLOGIES:
        raise ValueError(f"pathology {pathology!r} is none of {', '.join(PATHOLOGIES)}")
    return TableRow(
        source=source,
        patient_id=values["patient id"],
        laterality=Laterality(values["left or right breast"].upper()),
        view=View(values["image view"].upper()),
        partition=partition,
        density=parse_density(values[_DENSITY]),
        number=int(values["abnormality id"]),
        type=LesionType(values["abnormality type"].lower()),
        pathology=PATHOLOGIES[pathology],
        image_path=values["image file path"],
        mask_path=values["roi mask file path"],
        crop_path=values["cropped image file path"],
    )


def _distinct(rows: Sequence[dict[str, str]], *columns: str) -> int:
    """Number of distinct values, blank ones aside."""
    found = {tuple(row[column].upper() for column in columns) for row in rows}
    return sum(all(value) for value in found)
