"""``monai-e2e labels``: a folder of images and a hospital's tables, joined to the table that ``prepare folder`` reads.

Tables are taken in their order, and what one says of an image helps to join the next: a list of accession numbers and
pseudonyms, then one of pseudonyms and findings. An image of several rows is malignant if any of them is.

Identifiers of DICOM headers join and are never written. A link file, if one is wanted, says whose number is whose; it
is private.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from monai_e2e.data.images.headers import OTHER_VIEW, survey
from monai_e2e.data.records import GROUP_FACTS
from monai_e2e.data.sources.cells import BIRADS_RULES
from monai_e2e.data.sources.disk import check_folder, packed_hint, walk
from monai_e2e.data.sources.formulas import guarded_cell
from monai_e2e.data.sources.hospital.columns import check_roles
from monai_e2e.data.sources.hospital.joining import UNITS, Image, join
from monai_e2e.data.sources.hospital.patients import name_patients
from monai_e2e.data.sources.hospital.pseudonyms import Pseudonyms
from monai_e2e.data.sources.hospital.tables import ADVICE, TableReport, check_used, read_columns, understand
from monai_e2e.data.sources.own.files import OwnFiles, real_path
from monai_e2e.errors import UserError

COLUMN_NAMES = (
    "image",
    "label",
    "patient_id",
    "exam_id",
    "laterality",
    "view",
    "density",
    "partition",
    *GROUP_FACTS,
    "label_source",
    "label_unit",
    "label_rule",
)


class _Said(NamedTuple):
    """What a row says of an image."""

    label: int
    source: str
    unit: str
    rule: str


@dataclass
class Labels:
    """The joined rows and how they came about.

    Args:
        rows: of labels.csv, by :data:`COLUMN_NAMES`.
        tables: a report of each table.
        without: images without a label by the reason.
        notes: what is worth a look.
        links: pseudonym, kind and identifier of the header; private.
    """

    rows: list[dict[str, str]]
    tables: list[TableReport]
    without: Counter[str]
    notes: list[str] = field(default_factory=list)
    links: list[tuple[str, str, str]] = field(default_factory=list)


def collect_labels(
    src: str | Path,
    tables: Sequence[str | Path],
    columns: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    positive: str | None = None,
    link: str | Path | None = None,
) -> Labels:
    """Join images with tables; nothing is written.

    Args:
        src: folder of the images; DICOM files that aren't mammograms, and raw detector data, are left out.
        tables: CSV, XLS or XLSX files.
        columns: a table's column by what it holds, see :data:`~monai_e2e.data.sources.hospital.columns.ROLES`.
        values: what a label means, text → ``0``, ``1`` or ``drop``; before the dictionary.
        positive: which BI-RADS categories are positive, see :data:`~monai_e2e.data.sources.cells.BIRADS_RULES`.
        link: file of an earlier :func:`~monai_e2e.data.sources.hospital.pseudonyms.write_link`, whose pseudonyms stay.

    Raises:
        UserError: when a table can't be read, none has a label, a value isn't known, or no row finds an image.
    """
    columns, values = dict(columns or {}), dict(values or {})
    check_roles(columns)
    _check_meanings(values, positive)
    images, without = _images(Path(src))
    read = [read_columns(Path(table), columns) for table in tables]
    check_used(columns, [table for table, _ in read])
    said: dict[str, list[_Said]] = defaultdict(list)
    reports = []
    for table, used in read:
        report, statements = understand(table, used, values, positive)
        report.joined = join(statements, images)
        _tell_images(report, said)
        reports.append(report)
    if not any(column.role == "label" for _, used in read for column in used):
        names = ", ".join(repr(name) for table, _ in read for name in table.columns)
        raise UserError(
            f"{tables[0]}: none of the columns is known to hold labels ({names[:300]}); name it: --column label=…"
        )
    result = Labels([], reports, without)
    _make_rows(result, images, said, Path(link) if link else None)
    if not result.rows:
        raise UserError(f"{src}: no image got a label{_why_none(reports)}")
    return result


def _check_meanings(values: Mapping[str, str], positive: str | None) -> None:
    if positive is not None and positive not in BIRADS_RULES:
        raise UserError(f"--positive {positive}: choose one of {', '.join(BIRADS_RULES)}")
    for text, label in values.items():
        if label not in ("0", "1", "drop"):
            raise UserError(f"--value {text}={label}: a value means 0, 1 or drop")


def _tell_images(report: TableReport, said: dict[str, list[_Said]]) -> None:
    """Add what a table's rows say to the facts of their images, which later tables are joined by, and to the labels."""
    sources = [column.source for column in report.columns if column.role == "label"]
    for statement, images, unit in report.joined.found:
        for image in images:
            for name, value in statement.facts.items():
                image.facts.setdefault(name, value)
            if statement.label is not None:
                said[image.name].append(_Said(statement.label, sources[0], unit, report.rule))


def _why_none(reports: Sequence[TableReport]) -> str:
    if any(report.joined.found and report.mapping for report in reports):
        return ": the labels of all rows are left out or empty"
    reasons = "; ".join(f"{len(lines)} × {why}" for r in reports for why, lines in r.joined.missed.items())
    return f" ({reasons or 'no row has an identifier that images have'}); {ADVICE}"


def write_labels(labels: Labels, out: str | Path) -> None:
    """Write ``labels.csv``; columns that are empty throughout are left out."""
    known = [name for name in COLUMN_NAMES if name in COLUMN_NAMES[:3] or any(row[name] for row in labels.rows)]
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with Path(out).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(known)
        writer.writerows([guarded_cell(row[name]) for name in known] for row in labels.rows)


def _images(src: Path) -> tuple[list[Image], Counter[str]]:
    """The folder's mammograms, and what is left out by the reason."""
    check_folder(src, "name the folder that holds the mammograms")
    files = OwnFiles(src)
    images, without = [], Counter[str]()
    for path in tqdm(files.images, desc="headers", unit="file", disable=None):
        name = path.relative_to(files.root).as_posix()
        try:
            header, verdict = survey(path)
        except UserError:
            without["header not readable"] += 1
            continue
        if verdict.refusal or verdict.raw or header.lesion_only:
            without["raw detector data" if verdict.raw else verdict.refusal or "crop or mask of a lesion"] += 1
        else:
            images.append(Image(name, real_path(path), header))
    if not images:
        found = "; ".join(f"{count} × {why}" for why, count in without.items())
        why = found or f"no DICOM, PNG, TIFF or JPEG file{packed_hint(walk(src))}"
        raise UserError(f"{src}: no mammogram ({why}); name another folder")
    return images, without


def _make_rows(result: Labels, images: Sequence[Image], said: Mapping[str, list[_Said]], link: Path | None) -> None:
    patients, exams = name_patients(images, link), Pseudonyms("exam", link)
    contradictory = mirrored = 0
    for image in images:
        patient, statements = patients.names[image.name], said.get(image.name, [])
        if not statements or not patient:
            result.without["no row with a label" if not statements else "no patient known"] += 1
            continue
        contradictory += len({statement.label for statement in statements}) > 1
        mirrored += image.header.laterality not in ("", image.laterality)
        exam = exams.of(image.header.study or image.header.accession or image.facts.get("accession", ""))
        result.rows.append(_row(image, patient, exam, statements))
    result.notes += patients.notes
    if contradictory:
        result.notes.append(f"images with rows of both labels, of which malignant counts: {contradictory}")
    if mirrored:
        result.notes.append(f"images with another side in the header than in the table, which counts: {mirrored}")
    result.links = [*patients.links, *exams.links]


def _row(image: Image, patient: str, exam: str, statements: Sequence[_Said]) -> dict[str, str]:
    other = [flag.removeprefix(f"{OTHER_VIEW} ") for flag in image.header.flags if flag.startswith(OTHER_VIEW)]
    return {
        "image": image.name,
        "label": str(max(statement.label for statement in statements)),
        "patient_id": patient,
        "exam_id": exam,
        "laterality": image.laterality,
        "view": image.view or "".join(other),
        "density": image.facts.get("density", ""),
        "partition": image.facts.get("partition", ""),
        **{name: image.facts.get(name, "") for name in GROUP_FACTS},
        "label_source": "+".join(sorted({statement.source for statement in statements})),
        "label_unit": max((statement.unit for statement in statements), key=UNITS.index),
        "label_rule": "; ".join(sorted({statement.rule for statement in statements} - {""})),
    }
