"""CBIS-DDSM: digitised films with lesion masks and biopsy results (Lee et al., Scientific Data 4:170177, 2017).

https://www.cancerimagingarchive.net/collection/cbis-ddsm/ has the films as DICOM and four tables, one row per
lesion: ``{calc,mass}_case_description_{train,test}_set.csv``. Tables and films are joined by the SeriesInstanceUID
inside the tables' paths and in the DICOM headers, because the folder names depend on the download tool.
"""

from __future__ import annotations

import csv
import logging
import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pydicom
from tqdm import tqdm

from monai_e2e.data.dicom import DICOM_ERRORS, is_dicom
from monai_e2e.data.records import Catalogue, Excluded, Laterality, Lesion, LesionType, Mammogram, Pathology, View
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

NEEDED_COLUMNS = (
    "patient id",
    "left or right breast",
    "image view",
    "abnormality id",
    "abnormality type",
    "pathology",
    "image file path",
    "cropped image file path",
    "roi mask file path",
)
#: BENIGN_WITHOUT_CALLBACK: benign without further examination.
PATHOLOGIES = {
    "MALIGNANT": Pathology.MALIGNANT,
    "BENIGN": Pathology.BENIGN,
    "BENIGN_WITHOUT_CALLBACK": Pathology.BENIGN,
}
_TABLE_NAME = re.compile(r"(calc|mass)_case_description_(train|test)", re.IGNORECASE)
#: Identifiers become file names, so nothing else is let through.
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PARTITIONS = {"train": "training", "test": "test"}


@dataclass(frozen=True)
class _Row:
    """One line of a table, checked."""

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


def read_cbis_ddsm(src: str | Path) -> Catalogue:
    """Join CBIS-DDSM's tables with the DICOM files under a folder.

    One mammogram per patient, side and view: where the tables list a view twice (once among the masses, once among
    the calcifications) its lesions are merged. A mammogram is malignant when any of its lesions is. A view that is
    in both halves of TCIA's partition counts as test.

    Args:
        src: folder with the tables and the films, in any layout; both are looked for in all subfolders.

    Returns:
        Catalogue whose lesions carry in ``mask_paths`` the files that may be the mask (mask and crop can't be told
        apart by name or header; :mod:`monai_e2e.data.prepare` does it by pixels). ``notes`` counts the rows, the
        films merged away (``films_merged``) and the views in both halves. Rows whose files are missing are in
        ``excluded``.

    Raises:
        UserError: when the folder, the tables, a needed column or the DICOM files are missing.
    """
    src = Path(src)
    if not src.is_dir():
        raise UserError(f"{src}: no such folder; pass CBIS-DDSM's folder or try `monai-e2e phantom cbis-ddsm {src}`")
    catalogue = Catalogue(name="cbis-ddsm")
    rows = _read_tables(src, catalogue)
    series = _index_series(src, catalogue)
    views: dict[tuple[str, Laterality, View], list[_Row]] = defaultdict(list)
    for row in rows:
        views[row.patient_id, row.laterality, row.view].append(row)
    merged = in_both_halves = 0
    for view_rows in views.values():
        merged += len({row.image_path for row in view_rows}) - 1
        in_both_halves += len({row.partition for row in view_rows}) - 1
        mammogram = _mammogram(view_rows, series, catalogue)
        if mammogram is not None:
            catalogue.mammograms.append(mammogram)
    halves = [{row.patient_id for row in rows if row.partition == half} for half in _PARTITIONS.values()]
    catalogue.notes = {
        "lesion_rows": len(rows),
        "films_merged": merged,
        "views_in_both_halves": in_both_halves,
        "patients_in_both_halves": len(halves[0] & halves[1]),
    }
    if not catalogue.mammograms:
        raise UserError(
            f"{src}: none of the tables' {len(views)} mammograms is among the {sum(map(len, series.values()))} DICOM "
            f"files; download the films that belong to the tables, or try `monai-e2e phantom cbis-ddsm SRC`"
        )
    logger.info("%s: %d mammograms, %d exclusions", src, len(catalogue.mammograms), len(catalogue.excluded))
    return catalogue


def _read_tables(src: Path, catalogue: Catalogue) -> list[_Row]:
    tables = sorted(path for path in src.rglob("*.csv") if _TABLE_NAME.search(path.name))
    if not tables:
        raise UserError(
            f"{src}: no {{calc,mass}}_case_description_{{train,test}}_set.csv in or under it; download the tables "
            f"from TCIA into this folder, or try `monai-e2e phantom cbis-ddsm SRC`"
        )
    # A dictionary, because copies of a table in two folders must not double its lesions.
    rows: dict[_Row, None] = {}
    for table in tables:
        match = _TABLE_NAME.search(table.name)
        partition = _PARTITIONS[match.group(2).lower()] if match else ""
        for line, values in _lines(table):
            try:
                rows[_parse_row(values, partition)] = None
            except (KeyError, ValueError) as error:
                name = f"{table.relative_to(src)}, row {line}"
                catalogue.excluded.append(Excluded(name, f"table row not understood: {error}"))
    return list(rows)


def _lines(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Row number and values of each row by normalised column name; the tables differ in spaces and underscores."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [column.strip().lower().replace("_", " ") for column in next(reader, [])]
            rows = [(number, line) for number, line in enumerate(reader, start=2) if any(map(str.strip, line))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: not readable as a table ({error}); download it again from TCIA") from error
    missing = [column for column in NEEDED_COLUMNS if column not in header]
    if missing:
        raise UserError(
            f"{table}: column {', '.join(map(repr, missing))} is missing; found: {', '.join(header)}. "
            f"Download the table again from TCIA"
        )
    # strict=False: a short line then fails on its missing value, with its row number.
    return [(number, {key: value.strip() for key, value in zip(header, line, strict=False)}) for number, line in rows]


def _parse_row(values: dict[str, str], partition: str) -> _Row:
    if not _SAFE_ID.fullmatch(values["patient id"]):
        raise ValueError("patient id has characters other than letters, digits, _ and -")
    density = values.get("breast density", "")
    return _Row(
        patient_id=values["patient id"],
        laterality=Laterality(values["left or right breast"].upper()),
        view=View(values["image view"].upper()),
        partition=partition,
        density=int(density) if density in ("1", "2", "3", "4") else None,
        number=int(values["abnormality id"]),
        type=LesionType(values["abnormality type"].lower()),
        pathology=PATHOLOGIES[values["pathology"].upper()],
        image_path=values["image file path"],
        mask_path=values["roi mask file path"],
        crop_path=values["cropped image file path"],
    )


def _index_series(src: Path, catalogue: Catalogue) -> dict[str, list[Path]]:
    """DICOM files under a folder by the SeriesInstanceUID of their header; a file stored twice counts once."""
    paths = sorted(
        path
        for path in src.rglob("*")
        if path.suffix.lower() == ".dcm" or (not path.suffix and path.is_file() and is_dicom(path))
    )
    if not paths:
        hint = ""
        if next(src.rglob("dicom_info.csv"), None):
            hint = " (this is the JPEG re-release: 8 bits, compressed with loss)"
        raise UserError(
            f"{src}: no DICOM files in or under it{hint}; download the films from TCIA, "
            f"or try `monai-e2e phantom cbis-ddsm SRC`"
        )
    series: dict[str, list[Path]] = defaultdict(list)
    instances: set[str] = set()
    with ThreadPoolExecutor() as pool:
        headers = pool.map(_read_uids, paths)
        for path, uids in tqdm(
            zip(paths, headers, strict=True), total=len(paths), desc="DICOM headers", unit="file", disable=None
        ):
            if uids is None:
                catalogue.excluded.append(Excluded(str(path), "not readable as DICOM"))
            elif uids[1] not in instances:
                series[uids[0]].append(path)
                instances.add(uids[1])
    return series


def _read_uids(path: Path) -> tuple[str, str] | None:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "SOPInstanceUID"])
        return str(header.SeriesInstanceUID), str(header.SOPInstanceUID)
    except DICOM_ERRORS:
        return None


def _mammogram(rows: list[_Row], series: dict[str, list[Path]], catalogue: Catalogue) -> Mammogram | None:
    """The rows of one patient–side–view as a mammogram, or None where its film isn't there."""
    film, problems = None, []
    for path in dict.fromkeys(row.image_path for row in rows):
        files = _files(path, series)
        if film is None and len(files) == 1:
            film = files[0]
        elif len(files) != 1:
            reason = "film not on disk" if not files else f"several films in one series: {len(files)} files"
            problems.append(Excluded(path, reason))
    if film is None:
        catalogue.excluded.extend(problems)
        return None
    lesions = []
    for row in rows:
        candidates = tuple(dict.fromkeys(_files(row.mask_path, series) + _files(row.crop_path, series)))
        if not candidates:
            catalogue.excluded.append(Excluded(row.mask_path, "mask not on disk: lesion left out, film kept"))
        lesions.append(Lesion(row.type, row.pathology, row.number, mask_paths=candidates))
    return Mammogram(
        path=film,
        patient_id=rows[0].patient_id,
        laterality=rows[0].laterality,
        view=rows[0].view,
        label=int(any(row.pathology is Pathology.MALIGNANT for row in rows)),
        lesions=tuple(lesions),
        partition="test" if any(row.partition == "test" for row in rows) else "training",
        density=next((row.density for row in rows if row.density is not None), None),
    )


def _files(table_path: str, series: dict[str, list[Path]]) -> list[Path]:
    """Files of the series that a table's path names: its second-last component."""
    parts = table_path.split("/")
    return series.get(parts[-2], []) if len(parts) > 1 else []
