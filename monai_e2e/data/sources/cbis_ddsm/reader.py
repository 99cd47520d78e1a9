"""CBIS-DDSM: digitised films with lesion masks and biopsy results (Lee et al., Scientific Data 4:170177, 2017).

https://www.cancerimagingarchive.net/collection/cbis-ddsm/ has the images as DICOM and four tables, one row per lesion:
``{calc,mass}_case_description_{train,test}_set.csv`` (:mod:`~monai_e2e.data.sources.cbis_ddsm.tables`). Tables and
images are joined by the SeriesInstanceUID, because the folder names depend on the download tool
(:mod:`~monai_e2e.data.sources.cbis_ddsm.files`).

Of the tables' 3,103 images, 71 are the same image as another one: a view with masses and calcifications is listed, and
stored, once as ``Mass-…`` and once as ``Calc-…``. Some views are in both of TCIA's halves, with findings that differ.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai_e2e.data.records import Catalogue, Excluded, Lesion, LesionType, Mammogram, Pathology
from monai_e2e.data.sources.cbis_ddsm.files import Images, find_images
from monai_e2e.data.sources.cbis_ddsm.tables import HALVES, TableRow, leaves_source, read_tables
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

#: What one mammogram of the catalogue is: all images of a patient–side–view, or one image file of the tables.
SAMPLES = ("views", "files")
_SUFFIXES = {LesionType.CALCIFICATION: "Calc", LesionType.MASS: "Mass"}

_Group = list[TableRow]


def read_cbis_ddsm(
    src: str | Path, samples: str = "views", tables_only: bool = False, merge_halves: bool = False
) -> Catalogue:
    """Join CBIS-DDSM's tables with the image files under a folder.

    A mammogram is malignant when any of its lesions is.

    Args:
        src: folder with the tables and the images, in any of the three layouts; both are looked for in all subfolders.
        samples: ``"views"``: one mammogram per patient, side and view with all its lesions. ``"files"``: one per
            image file with the lesions of its own rows, as the paper counts; where a view has two, their suffixes
            are ``Calc`` and ``Mass``.
        tables_only: read the tables and look for no image; the mammograms then have no path and no masks.
        merge_halves: what becomes of a view that both of TCIA's halves list. False: a mammogram in either half, with
            that half's rows alone, so that neither half depends on the other's tables; the two share their
            ``image_id``. True: one mammogram with the rows of both, which counts as test.

    Returns:
        Catalogue whose lesions carry in ``mask_paths`` the files that may be the mask (mask and crop can't be told
        apart by name or header; :mod:`monai_e2e.data.prepared.prepare` does it by pixels). Rows whose files are missing
        are in ``excluded``. ``notes`` counts, by the tables, ``images_merged``, ``views_with_several_lesions``,
        ``views_both_benign_and_malignant``, ``views_in_both_halves``, ``patients_in_both_halves``,
        ``training_rows_of_test_views``, ``test_views_malignant_by_training_rows_alone``, and the image files on disk
        that no table names (``files_not_in_tables``).

    Raises:
        UserError: when the folder, the tables, a needed column or the image files are missing, or the folder's
            layout isn't known.
    """
    src = Path(src)
    if not src.is_dir():
        raise UserError(f"{src}: no such folder; pass CBIS-DDSM's folder or try `monai-e2e phantom cbis-ddsm {src}`")
    if samples not in SAMPLES:
        raise UserError(f"samples {samples!r}: choose one of {', '.join(SAMPLES)}")
    tables = read_tables(src)
    views = _grouped(tables.rows, "patient_id", "laterality", "view")
    groups = views if merge_halves else [half for view in views for half in _grouped(view, "partition")]
    chosen = list(_samples(groups, samples))
    notes = {"images_merged": sum(len(_grouped(rows, "image_path")) - 1 for rows, _ in chosen), **_count(views)}
    excluded = list(tables.excluded)
    images = None
    if not tables_only:
        images = find_images(src, tables.series)
        excluded += images.excluded
        notes["files_not_in_tables"] = images.count_outside(tables.series)
    catalogue = Catalogue(
        "cbis-ddsm", excluded=excluded, notes=notes, tables=tables.counts, test_patients=tables.test_patients
    )
    for rows, suffix in chosen:
        mammogram = _mammogram(rows, suffix, images, catalogue.excluded)
        if mammogram is not None:
            catalogue.mammograms.append(mammogram)
    if not catalogue.mammograms:
        first = f", the first because: {excluded[0].path}: {excluded[0].reason}" if excluded else ""
        raise UserError(
            f"{src}: all of the tables' {tables.counts['rows']} rows are left out{first}; download tables and images "
            f"that belong together, or try `monai-e2e phantom cbis-ddsm SRC`"
        )
    for name in tables.missing:
        logger.warning("%s: no %s, though tables of this kind and of this half are there: a part is missing", src, name)
    layout = images.layout if images else "tables alone"
    logger.info("%s: %s, mammograms: %d, exclusions: %d", src, layout, len(catalogue.mammograms), len(excluded))
    return catalogue


def _grouped(rows: Iterable[TableRow], *columns: str) -> list[_Group]:
    """Rows that agree in some columns, in the order in which they first occur."""
    groups: dict[tuple[Any, ...], _Group] = defaultdict(list)
    for row in rows:
        groups[tuple(getattr(row, column) for column in columns)].append(row)
    return list(groups.values())


def _count(views: Sequence[_Group]) -> dict[str, int]:
    """The tables' facts that a report should mention; what is on disk makes no difference to them."""
    halves = [{row.patient_id for view in views for row in view if row.partition == half} for half in HALVES.values()]
    training, contradicted = 0, 0
    in_both = [view for view in views if len({row.partition for row in view}) > 1]
    for view in in_both:
        own = [row for row in view if row.partition == "test"]
        training += len(view) - len(own)
        contradicted += _label(view) != _label(own)
    return {
        "views_with_several_lesions": sum(len(view) > 1 for view in views),
        "views_both_benign_and_malignant": sum(len({row.pathology for row in view}) > 1 for view in views),
        "views_in_both_halves": len(in_both),
        "patients_in_both_halves": len(halves[0] & halves[1]),
        "training_rows_of_test_views": training,
        "test_views_malignant_by_training_rows_alone": contradicted,
    }


def _samples(groups: Iterable[_Group], samples: str) -> Iterator[tuple[_Group, str]]:
    """Rows and suffix of each sample."""
    for group in groups:
        images = _grouped(group, "image_path")
        if samples == "views" or len(images) == 1:
            yield group, ""
            continue
        used: Counter[str] = Counter()
        for rows in sorted(images, key=lambda rows: rows[0].image_path):
            suffix = "".join(sorted({_SUFFIXES[row.type] for row in rows}))
            used[suffix] += 1
            yield rows, suffix if used[suffix] == 1 else f"{suffix}{used[suffix]}"


def _label(rows: Iterable[TableRow]) -> int:
    return int(any(row.pathology is Pathology.MALIGNANT for row in rows))


def _mammogram(rows: _Group, suffix: str, images: Images | None, excluded: list[Excluded]) -> Mammogram | None:
    """The rows of one sample as a mammogram, or None where its image can't be used."""
    paths: list[Path | None] = []
    problems: list[Excluded] = []
    for own in _grouped(rows, "image_path"):
        table_path = own[0].image_path
        files = images.files(table_path) if images else ()
        if leaves_source(table_path):
            problems += [Excluded(row.source, f"path leaves SRC: {table_path!r}", rows=1) for row in own]
        elif images is None:
            paths.append(None)
        elif len(files) == 1:
            paths.append(files[0])
        else:
            reason = f"several images in one series: {len(files)} files" if files else "image not on disk"
            problems.append(Excluded(table_path, reason, rows=len(own)))
    if paths:  # the view's other image shows the same, so nothing is lost
        problems = [
            replace(problem, reason=f"view stored twice, one image not usable: {problem.reason}", rows=0)
            for problem in problems
        ]
    excluded += problems
    if not paths:
        return None
    lesions = tuple(_lesion(row, paths[0], images, excluded) for row in rows)
    return Mammogram(
        path=paths[0],
        patient_id=rows[0].patient_id,
        laterality=rows[0].laterality,
        view=rows[0].view,
        label=_label(rows),
        lesions=lesions,
        partition="test" if any(row.partition == "test" for row in rows) else "training",
        density=next((row.density for row in rows if row.density is not None), None),
        suffix=suffix,
        rows=sum(lesion.rows for lesion in lesions),
    )


def _lesion(row: TableRow, image: Path | None, images: Images | None, excluded: list[Excluded]) -> Lesion:
    """One row as a lesion of an image that is used; without mask files it keeps its place but stands for no row."""
    allowed = [path for path in (row.mask_path, row.crop_path) if not leaves_source(path)]
    refused = dict.fromkeys(path for path in (row.mask_path, row.crop_path) if leaves_source(path))
    for number, path in enumerate(refused):
        lost = number == 0 and not allowed  # the row goes with its last path
        excluded.append(Excluded(row.source, f"path leaves SRC: {path!r}", rows=int(lost)))
    candidates = tuple(path for path in images.files(*allowed) if path != image) if images else ()
    if images and allowed and not candidates:
        excluded.append(Excluded(row.mask_path, "mask not on disk: lesion left out, image kept", rows=1))
    usable = bool(candidates) if images else bool(allowed)
    return Lesion(row.type, row.pathology, row.number, mask_paths=candidates, rows=int(usable))
