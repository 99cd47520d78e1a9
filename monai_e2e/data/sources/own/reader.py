"""A hospital's own mammograms: any folder of images and one table that says what they show.

The table, CSV or a spreadsheet, has a row per image::

    image,label,patient_id,laterality,view
    2021/0001_rcc.dcm,benign,K-0001,R,CC
    2021/0002_lmlo.dcm,malignant,K-0002,L,MLO

========== ====== ====================================================================================================
column     needed values
========== ====== ====================================================================================================
image      yes    path within the folder, with ``/`` or ``\\``; the ending may be left out where one file fits
label      yes    of the image, not of a lesion: ``0``, ``negative``, ``benign``, ``false`` or ``1``, ``positive``,
                  ``malignant``, ``true``
patient_id yes    whatever is the same for all images of a person; use pseudonyms, they are written into the data list
exam_id    no     of the exam, where a patient has several; a pseudonym too
laterality no     ``L``, ``LEFT``, ``R``, ``RIGHT`` or empty
view       no     ``CC``, ``MLO`` or empty; ``ML`` is read as MLO; images of other views are left out
lesions    no     columns of :mod:`~monai_e2e.data.sources.own.lesions`, an image of several lesions having several rows
partition  no     ``training``, ``validation``, ``test`` (or ``train``, ``val``) in all rows or in none
density    no     ACR ``1``–``4`` or ``A``–``D``
age, …     no     for reports: ``age`` in years, ``vendor``, ``machine``, ``site``, ``implant`` (``yes`` or ``no``) and
                  ``subtype`` of the cancer
label_*    no     ``label_source``, ``label_unit`` and ``label_rule``, as `monai-e2e labels` writes them, for reports
========== ====== ====================================================================================================

Lesions may stand in a table of their own, or in this one with a row per lesion.
Of DICOM headers the side and the view are read, where the table has none, and the Patient ID, which only tells whether
one person is under two identifiers.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from monai_e2e.data.images.headers import read_header
from monai_e2e.data.records import FACTS, Catalogue, Excluded, Mammogram, Pathology, View
from monai_e2e.data.sources.cells import SIDES, YES_NO, Refused, choose, parse_age, parse_density
from monai_e2e.data.sources.disk import check_folder
from monai_e2e.data.sources.identifiers import identifier_key
from monai_e2e.data.sources.labels import LABELS, label_key, refuse_categories
from monai_e2e.data.sources.naming import safe_id, with_suffixes
from monai_e2e.data.sources.own.files import OwnFiles, real_path
from monai_e2e.data.sources.own.lesions import (
    LESION_COLUMNS,
    LesionRow,
    lesions_of_image_row,
    read_lesion_table,
    read_lesions,
)
from monai_e2e.data.sources.release import LISTED, find_contradiction
from monai_e2e.data.sources.spreadsheets import read_table
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

NEEDED_COLUMNS = ("image", "label", "patient_id")
#: What labels rest on, what one label stands for, and what is positive.
LABEL_COLUMNS = ("label_source", "label_unit", "label_rule")
OPTIONAL_COLUMNS = ("laterality", "view", "partition", *FACTS, *LABEL_COLUMNS, *LESION_COLUMNS)
PARTITION_NAMES = {
    "training": "training",
    "train": "training",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}
_SIDES = {"": None, **SIDES}
_VIEWS = {"": None, "CC": View.CC, "MLO": View.MLO, "ML": View.MLO}
#: What rows of one image must agree in.
_SAME = ("label", "patient_id", "laterality", "view", "partition", *FACTS)
_EXAMPLE = "write one row per image, for example `image,label,patient_id` and `2021/0001_rcc.dcm,benign,K-0001`"


@dataclass(frozen=True)
class _Row:
    """One row of the table, its words understood.

    ``line`` is its number there, ``image`` has no lesions yet, ``header_patient`` is the header's Patient ID. Never to
    be written.
    """

    line: int
    path: Path
    image: Mammogram
    lesions: tuple[LesionRow, ...]
    header_patient: str


def read_own(
    src: str | Path, labels: str | Path, lesions: str | Path | None = None, tables_only: bool = False
) -> Catalogue:
    """Join a folder of mammograms with the table that labels them.

    Args:
        src: folder with DICOM, PNG, TIFF or JPEG files, in any subfolders.
        labels: CSV, XLS or XLSX file, see the module's docstring. Several rows of one image add up their lesions.
        lesions: another such file with a row per lesion, see :mod:`~monai_e2e.data.sources.own.lesions`.
        tables_only: of no effect: rows of images that aren't there can't be used.

    Returns:
        Catalogue of one mammogram per image. ``patient_id`` is the table's own where it has letters, digits, ``_``
        and ``-`` only; otherwise other characters are replaced and a hash is appended, as of ``exam_id``. ``excluded``
        has the rows and lesions that can't be used, and up to 20 images that no row names, which ``notes`` counts as
        ``images_without_row``. A lesion that can't be used keeps its place in the mammogram, without a shape.

    Raises:
        UserError: when the folder, a table or a needed column is missing, a partition isn't known or stands in
            some rows only, no row can be used, or all usable rows have the same label and are not all for testing.
    """
    src, labels = Path(src), Path(labels)
    check_folder(src, "name the folder that holds the mammograms")
    if not labels.is_file():
        hint = f"; did you mean {src / labels}?" if (src / labels).is_file() else f"; {_EXAMPLE}"
        raise UserError(f"{labels}: no such table{hint}")
    table = read_table(labels, NEEDED_COLUMNS, OPTIONAL_COLUMNS, advice=_EXAMPLE[0].upper() + _EXAMPLE[1:])
    files = OwnFiles(src)
    catalogue = Catalogue(name="folder")
    notes: Counter[str] = Counter()
    refuse_categories((f"{labels}, row {line}", values["label"]) for line, values in table.rows)
    _check_partitions(labels, [(line, values["partition"]) for line, values in table.rows])

    lesion_rows, lesion_count = read_lesion_table(lesions, files, catalogue.excluded) if lesions else ({}, 0)
    rows: dict[Path, list[_Row]] = defaultdict(list)
    for line, values in table.rows:
        try:
            row = _parse(labels.name, line, values, files, notes)
        except Refused as reason:
            place = f"{labels.name}, row {line}: {values['image'] or 'no image'}"
            catalogue.excluded.append(Excluded(place, str(reason), rows=1))
        else:
            rows[row.path].append(row)
    chosen = []
    for path, same in rows.items():
        if contradiction := find_contradiction([row.image for row in same], _SAME):
            places = [f"{labels.name}, row {row.line}: {path.relative_to(files.root)}" for row in same]
            catalogue.excluded.extend(Excluded(place, contradiction, rows=1) for place in places)
        else:
            notes["rows_of_an_image_listed_before"] += len(same) - 1
            chosen.append(_mammogram(same, lesion_rows.pop(path, []), files, catalogue.excluded))
    for left in (row for same in lesion_rows.values() for row in same):
        unused = f"lesion of an image that isn't used: it has no usable row in {labels.name}"
        catalogue.excluded.append(Excluded(left.place, unused, left.rows))
    _compare_patients(labels, [row for same in rows.values() for row in same], notes)
    _check_labels(labels, chosen, catalogue.excluded)
    catalogue.mammograms = with_suffixes([Path(str(image.path)).relative_to(files.root) for image in chosen], chosen)
    _report_unnamed(files, catalogue, notes)
    _note_lesions(chosen, notes)
    catalogue.notes = {note: count for note, count in sorted(notes.items()) if count}
    words = {name: sorted({values[name] for _, values in table.rows} - {""}) for name in LABEL_COLUMNS}
    catalogue.facts = {name: "+".join(found) for name, found in words.items() if found}
    catalogue.tables = _counts([values for _, values in table.rows])
    if lesions is not None:
        # In the sum, so that each of them too is used or excluded.
        catalogue.tables |= {"rows": len(table.rows) + lesion_count, "lesion_rows": lesion_count}
    logger.info("%s: mammograms: %d, exclusions: %d", src, len(catalogue.mammograms), len(catalogue.excluded))
    return catalogue


def _parse(table: str, line: int, values: dict[str, str], files: OwnFiles, notes: Counter[str]) -> _Row:
    """Understand one row; raises :class:`Refused`."""
    if not values["image"]:
        raise Refused("no image named")
    path = files.take(values["image"])
    header = read_header(path)
    values = values | {
        "laterality": values["laterality"] or header.laterality,
        "view": values["view"] or header.view,
    }
    view = values["view"].upper()
    if view not in _VIEWS:
        raise Refused(f"view neither CC nor MLO: {view!r}")
    image = Mammogram(
        path=path,
        patient_id=_pseudonym(values["patient_id"]),
        laterality=choose("laterality", values["laterality"].upper(), _SIDES),
        view=_VIEWS[view],
        label=choose("label", label_key(values["label"]), LABELS),
        partition=PARTITION_NAMES.get(values["partition"].lower()),
        density=parse_density(values["density"]),
        exam_id=_pseudonym(values["exam_id"]) or None,
        age=parse_age(values["age"]),
        implant=YES_NO.get(values["implant"].upper()),
        vendor=values["vendor"] or None,
        machine=values["machine"] or None,
        site=values["site"] or None,
        subtype=values["subtype"] or None,
    )
    if not image.patient_id:
        raise Refused("no patient_id: images can't be split by patient without it")
    notes["views_ml_read_as_mlo"] += view == "ML"
    for name, words in (("density", "densities"), ("age", "ages"), ("implant", "implants")):
        notes[f"{words}_not_understood"] += bool(values[name]) and getattr(image, name) is None
    lesions = lesions_of_image_row(f"{table}, row {line}: {values['image']}", values)
    return _Row(line, path, image, lesions, header.patient)


def _pseudonym(text: str) -> str:
    """The identifier; letters with accents have several encodings that look the same."""
    return safe_id(unicodedata.normalize("NFC", text)) if text else ""


def _check_partitions(labels: Path, cells: list[tuple[int, str]]) -> None:
    allowed = ", ".join(PARTITION_NAMES)
    for line, word in cells:
        if word and word.lower() not in PARTITION_NAMES:
            raise UserError(f"{labels}, row {line}: partition {word!r}; allowed are {allowed}, or empty in all rows")
    empty = [line for line, word in cells if not word]
    if empty and len(empty) < len(cells):
        raise UserError(
            f"{labels}: {len(empty)} of {len(cells)} rows have no partition, the first is row {empty[0]}; fill in "
            f"{allowed} everywhere, or empty the column and let the patients be split"
        )


def _compare_patients(labels: Path, rows: list[_Row], notes: Counter[str]) -> None:
    """Note Patient IDs of the headers that are several patients in the table; one that all images have says nothing."""
    patients: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.header_patient:
            patients[identifier_key(row.header_patient)].add(row.image.patient_id)
    several = sum(len(own) > 1 for own in patients.values()) if len(patients) > 1 else 0
    if several:
        notes["patient_ids_of_headers_that_are_several_patients_in_the_table"] = several
        logger.warning(
            "%s: %d Patient IDs of the headers belong to several patients of the table: if these are one person, give "
            "all its images the same patient_id, or it may be in two partitions",
            labels,
            several,
        )


def _check_labels(labels: Path, mammograms: list[Mammogram], excluded: list[Excluded]) -> None:
    found = {mammogram.label for mammogram in mammograms}
    if len(found) == 2 or (found and all(mammogram.partition == "test" for mammogram in mammograms)):
        return
    reasons = Counter(item.reason for item in excluded).most_common(3)
    why = "; ".join(f"{count} × {reason}" for reason, count in reasons)
    if not found:
        raise UserError(f"{labels}: no usable row ({why or 'the table is empty'}); correct the table")
    raise UserError(
        f"{labels}: all {len(mammograms)} usable images have label {found.pop()}, but 0 and 1 are both needed"
        f"{f' (left out: {why})' if why else ''}; add images of the other class, "
        "or name all of them 'test' in a column partition, to test on them alone"
    )


def _mammogram(rows: list[_Row], lesion_rows: list[LesionRow], files: OwnFiles, excluded: list[Excluded]) -> Mammogram:
    own = [lesion for row in rows for lesion in row.lesions]
    lesions = read_lesions([*own, *lesion_rows], files, excluded)
    return replace(rows[0].image, lesions=lesions, rows=len(rows) + sum(lesion.rows for lesion in lesions))


def _note_lesions(mammograms: list[Mammogram], notes: Counter[str]) -> None:
    for mammogram in mammograms:
        for lesion in mammogram.lesions:
            usable = bool(lesion.mask_paths or lesion.outline)
            notes["lesions_of_unknown_type_or_pathology"] += usable and None in (lesion.type, lesion.pathology)
            notes["malignant_lesions_on_images_labelled_0"] += (
                lesion.pathology is Pathology.MALIGNANT and mammogram.label == 0
            )


def _counts(rows: list[dict[str, str]]) -> dict[str, int | None]:
    views = {
        (_pseudonym(row["patient_id"]), row["laterality"].upper()[:1], re.sub("^ML$", "MLO", row["view"].upper()))
        for row in rows
    }
    return {
        "rows": len(rows),
        "patients": len({_pseudonym(row["patient_id"]) for row in rows if row["patient_id"]}),
        "files": len({row["image"].replace("\\", "/") for row in rows}),
        "views": len(views) if all(map(all, views)) else None,
    }


def _report_unnamed(files: OwnFiles, catalogue: Catalogue, notes: Counter[str]) -> None:
    unnamed = [path for path in files.images if real_path(path) not in files.named]
    notes["images_without_row"] = len(unnamed)
    if len(unnamed) <= LISTED:
        catalogue.excluded.extend(Excluded(str(path), "image without row") for path in unnamed)
