"""INbreast: full-field digital mammograms with BI-RADS assessments (Moreira et al., Academic Radiology 19, 2012).

The release is a folder with the table ``INbreast.csv`` (also as ``.xls`` and ``.xlsx``),
``AllDICOMs/<number>_<patient>_MG_<L|R>_<CC|ML>_ANON.dcm`` and ``AllXML/<number>.xml`` (OsiriX property lists with
outlines). The table's patient column is blanked; the patient's identifier is the hash in the file name.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from monai_e2e.data.records import Catalogue, Excluded, Laterality, Mammogram, View
from monai_e2e.data.sources.cells import parse_density
from monai_e2e.data.sources.grids import can_read_spreadsheets
from monai_e2e.data.sources.identifiers import whole_number
from monai_e2e.data.sources.inbreast.files import FILE_NAME, SIDES, VIEWS, ImageFile, ReleaseFiles, find_files
from monai_e2e.data.sources.inbreast.outlines import read_outlines
from monai_e2e.data.sources.spreadsheets import read_table
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

NEEDED_COLUMNS = ("laterality", "view", "file name", "acr", "bi-rads")
#: Paper §3.2.1: 1–2 negative, 4–6 positive, 3 left out.
BIRADS_LABELS = {"1": 0, "2": 0, "4a": 1, "4b": 1, "4c": 1, "5": 1, "6": 1}
#: Patients' identifiers as the file names have them; "removed" and hospitals' numbers aren't.
_HASH = re.compile(r"[0-9a-f]{16}", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+")
_AGAIN = "Unpack the INbreast release again"


@dataclass(frozen=True)
class _Row:
    """One image's row of the table; ``line`` is its number there."""

    line: int
    number: str
    side: str
    view: str
    birads: str
    density: str


def read_inbreast(src: str | Path, tables_only: bool = False) -> Catalogue:
    """Join INbreast's table, images and outlines.

    Args:
        src: folder that has the table and the images in or under it, in whatever folders. Of several tables
            ``INbreast.csv`` is read, then ``.xls``, then ``.xlsx``; ``notes`` counts the rows in which another one
            differs.
        tables_only: for a report without images. No image needs to be on disk, the mammograms have no path, and the
            patients come from file names on disk or from a table with a column ``Full File Name`` or ``Patient ID``.
            Where neither knows the patient of an image, its identifier is ``unknown-<number>`` and no split by patient
            is possible: ``tables["patients"]`` is None and ``notes`` counts ``images_of_unknown_patient``.

    Returns:
        Catalogue of the images with BI-RADS 1–2 (label 0) and 4a–6 (label 1), one row of the table each. ``excluded``
        has the other rows, images without a row, and outlines that can't be read or belong to no row. Lesions have
        outlines and no pathology; ``notes`` counts outlines by kind, among them ``outlines_points`` (points, or
        polygons without area: they are drawn as points) and ``outlines_other: <name>`` (asymmetries, distortions, …,
        which don't become lesions). ``tables["patients"]`` and ``["views"]`` count rows whose patient is known.

    Raises:
        UserError: when the folder, the table, a needed column or the images are missing.
    """
    src = Path(src)
    release = _find_release(src, tables_only)
    table, *copies = release.tables
    notes: Counter[str] = Counter()
    rows = _read_rows(table, notes)
    _compare(src, rows, copies, notes)
    patients = {number: image.patient for number, image in release.images.items()}
    if tables_only:
        patients = {**_listed_patients(release), **patients}

    catalogue = Catalogue(name="inbreast", tables=_counts(rows, release.images, patients, tables_only))
    twice = _listed_twice(rows)
    chosen: list[tuple[str, Mammogram]] = []
    for row in rows:
        image = release.images.get(row.number)
        if tables_only and image is None and row.number not in patients:
            notes["images_of_unknown_patient"] += 1
        side, view = _side_and_view(row, image, notes)
        reason = twice.get(row.line) or _refusal(row, side, view, image is not None or tables_only)
        if reason:
            place = str(image.path) if image else f"{table.name}, row {row.line}: {row.number or 'no file number'}"
            catalogue.excluded.append(Excluded(place, reason, rows=1))
            continue
        mammogram = Mammogram(
            path=image.path if image and not tables_only else None,
            patient_id=patients.get(row.number, f"unknown-{row.number}"),
            laterality=side,
            view=view,
            label=BIRADS_LABELS[row.birads],
            lesions=read_outlines(release.outlines.get(row.number), catalogue, notes),
            density=parse_density(row.density),
        )
        chosen.append((row.number, mammogram))
    if not chosen:
        missing = "has BI-RADS 1–2 or 4a–6" if tables_only else "with BI-RADS 1–2 or 4a–6 is on disk"
        raise UserError(f"{table}: none of its {len(rows)} images {missing}. {_AGAIN}")
    catalogue.mammograms = _with_suffixes(chosen)
    numbers = {row.number for row in rows}
    for reason, paths in (
        ("image not in the table", [image.path for number, image in release.images.items() if number not in numbers]),
        ("second image of a file number", release.second_images),
        ("outlines of no image in the table", [p for number, p in release.outlines.items() if number not in numbers]),
    ):
        catalogue.excluded.extend(Excluded(str(path), reason) for path in paths)
    catalogue.notes = {note: count for note, count in sorted(notes.items()) if count}
    logger.info("%s: mammograms: %d, exclusions: %d", src, len(catalogue.mammograms), len(catalogue.excluded))
    return catalogue


def _find_release(src: Path, tables_only: bool) -> ReleaseFiles:
    """The release's files; raises :class:`UserError` where some kind of them is missing."""
    if not src.is_dir():
        raise UserError(
            f"{src}: no such folder; pass the folder of the INbreast release, or try `monai-e2e phantom inbreast {src}`"
        )
    release = find_files(src)
    if not release.tables:
        raise UserError(
            f"{src}: no INbreast.csv, .xls or .xlsx in or under it; pass the folder of the INbreast release, "
            "or try `monai-e2e phantom inbreast SRC`"
        )
    if not release.images and not tables_only:
        raise UserError(
            f"{src / 'AllDICOMs'}: no files named <number>_<patient>_MG_<L|R>_<CC|ML>_ANON.dcm here or elsewhere under "
            f"{src}; unpack the INbreast release here, or try `monai-e2e phantom inbreast SRC`"
        )
    return release


def _read_rows(table: Path, notes: Counter[str]) -> list[_Row]:
    """The table's images; rows below them (the spreadsheets have sums there) are only counted."""
    rows = []
    for line, values in read_table(table, NEEDED_COLUMNS, advice=_AGAIN).rows:
        row = _Row(
            line=line,
            number=whole_number(values["file name"]),
            side=values["laterality"].upper()[:1],
            view=values["view"].upper(),
            birads=whole_number(re.sub(r"\s", "", values["bi-rads"].lower())),
            density=whole_number(values["acr"]),
        )
        if row.side in SIDES or (_NUMBER.fullmatch(row.number) and (row.view or row.birads)):
            rows.append(row)
        else:
            notes["table_rows_without_image"] += 1
    return rows


def _compare(src: Path, rows: list[_Row], copies: Iterable[Path], notes: Counter[str]) -> None:
    """Count the images of which another copy of the table tells something else."""
    told = {row.number: replace(row, line=0) for row in rows}
    for copy in copies:
        name = copy.relative_to(src).as_posix()
        if copy.suffix.lower().startswith(".xls") and not can_read_spreadsheets():
            logger.info('%s is not compared with the table; to read it, run `pip install "monai-e2e[excel]"`', copy)
            continue
        try:
            other = {row.number: replace(row, line=0) for row in _read_rows(copy, Counter())}
        except UserError as error:
            logger.warning("A copy of the table is not compared: %s", error)
            notes[f"tables_not_readable: {name}"] += 1
            continue
        different = sorted(number for number in told.keys() | other.keys() if told.get(number) != other.get(number))
        if different:
            notes[f"images_told_otherwise: {name}"] = len(different)
            logger.warning(
                "%s contradicts the table for %d images, for example %s", copy, len(different), different[:3]
            )


def _listed_patients(release: ReleaseFiles) -> dict[str, str]:
    """Patients by file number, from tables that have file names or identifiers."""
    patients: dict[str, str] = {}
    for path in release.other_tables + release.tables:
        try:
            table = read_table(path, ["file name"], ["full file name", "patient id"])
        except UserError as error:
            logger.debug("no patients: %s", error)
            continue
        for _, values in table.rows:
            image = FILE_NAME.fullmatch(values["full file name"])
            patient = image.group(2) if image else values["patient id"]
            if image or _HASH.fullmatch(patient):
                patients.setdefault(whole_number(values["file name"]), patient.lower())
    return patients


def _counts(
    rows: list[_Row], images: Mapping[str, ImageFile], patients: Mapping[str, str], tables_only: bool
) -> dict[str, int | None]:
    known = [row for row in rows if row.number in patients]
    views = {(patients[row.number], *_side_and_view(row, images.get(row.number), Counter())) for row in known}
    told = len(known) == len(rows) if tables_only else bool(known)
    return {
        "rows": len(rows),
        "patients": len({patients[row.number] for row in known}) if told else None,
        "files": len({row.number for row in rows}),
        "views": len(views) if told else None,
    }


def _listed_twice(rows: list[_Row]) -> dict[int, str]:
    """Reasons by line: copies of a row are left out, rows that contradict each other all are."""
    reasons: dict[int, str] = {}
    groups: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[row.number].append(row)
    for number, (first, *others) in groups.items():
        if not number or not others:
            continue
        if all(replace(row, line=first.line) == first for row in others):
            reasons.update({row.line: "file number listed twice" for row in others})
        else:
            reasons.update({row.line: "file number listed twice with different values" for row in (first, *others)})
    return reasons


def _side_and_view(row: _Row, image: ImageFile | None, notes: Counter[str]) -> tuple[Laterality | None, View | None]:
    """What the table says or, where it doesn't, the image's name."""
    side, view = SIDES.get(row.side), VIEWS.get(row.view)
    if image is None:
        return side, view
    if (side or image.side, view or image.view) != (image.side, image.view or view):
        notes["file_names_against_table"] += 1
    return side or image.side, view or image.view


def _refusal(row: _Row, side: Laterality | None, view: View | None, at_hand: bool) -> str:
    """Why a row can't be used, or ``""``."""
    if not _NUMBER.fullmatch(row.number):
        return f"file number not understood: {row.number!r}"
    if row.birads == "3":
        return "BI-RADS 3"
    if row.birads not in BIRADS_LABELS:
        return f"BI-RADS value not understood: {row.birads!r}, allowed are 1, 2, 3, 4a, 4b, 4c, 5, 6"
    if not at_hand:
        return "image not on disk"
    if side is None:
        return f"side neither L nor R: {row.side!r}"
    return "" if view else f"view neither CC nor MLO: {row.view!r}"


def _with_suffixes(chosen: list[tuple[str, Mammogram]]) -> list[Mammogram]:
    """Tell several images of one view apart by their file number."""
    counts = Counter(mammogram.image_id for _, mammogram in chosen)
    return [
        replace(mammogram, suffix=number) if counts[mammogram.image_id] > 1 else mammogram
        for number, mammogram in chosen
    ]
