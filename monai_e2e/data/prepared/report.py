"""What a prepared folder holds and what was left out of it, in counts that add up."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from monai_e2e.data.prepared.datalist import PARTITIONS
from monai_e2e.data.records import Catalogue, Excluded
from monai_e2e.data.sources.formulas import guarded_cell
from monai_e2e.work.files import write_json

#: What data list and report say of the data set, see :class:`~monai_e2e.data.sources.registry.Source`.
SOURCE_FACTS = (
    "label_source", "label_unit", "label_rule", "licence", "citation", "patients_known", "models_may_be_passed_on",
)  # fmt: skip


def make_report(
    datalist: dict[str, Any],
    catalogue: Catalogue,
    excluded: Sequence[Excluded],
    seconds: float,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Counts on a prepared folder.

    Every row of the data set's tables is used or excluded: ``tables.rows = rows_used + rows_excluded`` and
    ``rows_excluded`` is the sum of ``excluded_by_reason``. Exclusions of what no row stands for alone, such as a stray
    file, are in ``also_excluded``.

    Args:
        datalist: the data list, with samples as in :func:`~monai_e2e.data.prepared.datalist.load_datalist`.
        catalogue: what the data set's reader found.
        excluded: all exclusions, the catalogue's included.
        seconds: time that it took.
        dry_run: whether no image was read.
    """
    rows, others = Counter[str](), Counter[str]()
    for exclusion in excluded:
        kind = exclusion.reason.split(":")[0]
        if exclusion.rows:
            rows[kind] += exclusion.rows
        else:
            others[kind] += 1
    keys = ("name", "protocol", "seed", "image_size", "voi_lut", "crop", "orient", "pixel_mean", "classes", "options")
    settings = {key: datalist[key] for key in (*keys, *SOURCE_FACTS)}
    samples = [sample for name in PARTITIONS for sample in datalist[name]]
    labels = Counter(image.label for image in catalogue.mammograms)
    drawn = Counter(lesion["drawn_as"] for sample in samples for lesion in sample["lesions"])
    packages = ("monai-e2e", "numpy", "pillow", "pydicom", "scikit-learn")
    return {
        **settings,
        **({"folds": datalist["folds"]} if "folds" in datalist else {}),
        "dry_run": dry_run,
        "tables": catalogue.tables,
        "rows_used": (catalogue.tables["rows"] or 0) - sum(rows.values()),
        "rows_excluded": sum(rows.values()),
        "excluded_by_reason": dict(rows.most_common()),
        "also_excluded": dict(others.most_common()),
        "images_by_class": {name: labels[label] for label, name in enumerate(datalist["classes"])},
        "partitions": {name: _count(datalist[name]) for name in PARTITIONS},
        "lesions_drawn_as": dict(sorted(drawn.items())),
        "original_sizes": _range([sample["original_size"] for sample in samples if "original_size" in sample]),
        "pixel_spacing": _range([sample["pixel_spacing"] for sample in samples if "pixel_spacing" in sample]),
        "notes": catalogue.notes,
        "seconds": round(seconds, 1),
        "versions": {package: _version(package) for package in packages},
    }


def write_report(folder: Path, report: dict[str, Any], excluded: Sequence[Excluded], src: Path) -> None:
    """Write ``report.json``, ``report.md`` and ``excluded.csv``, the latter with paths relative to ``src``."""
    write_json(folder / "report.json", report, indent=1)
    with (folder / "excluded.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "reason", "rows"))
        prefixes = (f"{src.resolve()}{os.sep}", f"{src}{os.sep}")
        for exclusion in excluded:
            path, reason = exclusion.path, exclusion.reason
            for prefix in prefixes:
                path, reason = path.removeprefix(prefix), reason.replace(prefix, "")
            writer.writerow((guarded_cell(path), guarded_cell(reason), exclusion.rows))
    (folder / "report.md").write_text(format_report(report), encoding="utf-8")


def format_report(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    tables = report["tables"]
    folds = f", {report['folds']} folds (below: fold 0 tested)" if "folds" in report else ""
    mean = "images not read" if report["dry_run"] else mean_words(report["pixel_mean"])
    lesion_rows = f"; {tables['lesion_rows']} of the rows are lesions" if "lesion_rows" in tables else ""
    lines = [
        f"# {report['name']}: protocol {report['protocol']}, seed {report['seed']}{folds}",
        "",
        *(["**Dry run**: no image was written or read.", ""] if report["dry_run"] else []),
        f"{', '.join([*_image_words(report), mean])}, {report['seconds']:.0f} s.",
        "",
        f"Labels are based on {report['label_source']}, one for each {report['label_unit']}: {report['label_rule']}.",
        "",
        *([f"Options: {_option_words(report['options'])}.", ""] if report["options"] else []),
        f"Licence: {report['licence']}." + (f" Cite: {report['citation']}." if report["citation"] else ""),
        "",
        f"Tables: {', '.join(f'{_known(tables[key])} {key}' for key in ('rows', 'patients', 'files', 'views'))}"
        f"{lesion_rows}. {report['rows_used']} rows used, {report['rows_excluded']} excluded.",
        "",
        f"Images found: {', '.join(f'{count} {name}' for name, count in report['images_by_class'].items())}.",
        "",
    ]
    if tables["patients"] is None:
        lines.append("Not split: the tables alone don't tell which images are of the same patient.")
    else:
        lines += [f"| partition | patients | images | {report['classes'][1]} | lesions |", "|---|---|---|---|---|"]
        for name, counts in report["partitions"].items():
            lesions = ", ".join(f"{count} {kind}" for kind, count in counts["lesions"].items()) or "none"
            lines.append(f"| {name} | {counts['patients']} | {counts['images']} | {counts['positive']} | {lesions} |")
    if report["lesions_drawn_as"]:
        kinds = ", ".join(f"{kind} {count}" for kind, count in report["lesions_drawn_as"].items())
        lines += ["", f"Lesions are marked by: {kinds}. A box or a circle is no outline."]
    for key, words in (
        ("original_sizes", "Images have {} × {} to {} × {} pixels."),
        ("pixel_spacing", "Pixel spacing {:.3g} × {:.3g} to {:.3g} × {:.3g} mm."),
    ):
        if report[key]:
            lines += ["", words.format(*report[key]["smallest"], *report[key]["largest"])]
    titles = {
        "excluded_by_reason": "Rows excluded (see excluded.csv)",
        "also_excluded": "Also left out",
        "notes": "Notes",
    }
    for key, title in titles.items():
        if report[key] or key == "excluded_by_reason":
            lines += ["", f"## {title}", ""]
            lines += [f"- {kind.replace('_', ' ')}: {count}" for kind, count in report[key].items()] or ["- nothing"]
    lines += ["", "Made with " + ", ".join(f"{name} {number}" for name, number in report["versions"].items()) + "."]
    return "\n".join(lines) + "\n"


def mean_words(pixel_mean: float | None) -> str:
    """The mean of the training partition's pixels as people read it."""
    return "no training images" if pixel_mean is None else f"pixel mean {pixel_mean:.2f} of 255 (training)"


def _image_words(report: Mapping[str, Any]) -> list[str]:
    """How images were made, as far as it isn't the usual way."""
    rows, columns = report["image_size"]
    window = {False: "", True: "the images' own window", "auto": "window auto"}[report["voi_lut"]]
    words = (
        window,
        "cropped to the breast" if report["crop"] else "",
        "right breasts mirrored" if report["orient"] else "",
    )
    return [f"{rows} × {columns} pixels", *filter(None, words)]


def _option_words(options: Mapping[str, object]) -> str:
    words: dict[object, str] = {True: "yes", False: "no"}
    return ", ".join(f"{name.replace('_', ' ')} {words.get(value, str(value))}" for name, value in options.items())


def _count(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Patients, images, positive ones, and lesions by type and pathology."""
    lesions = Counter(
        "-".join(filter(None, (lesion["type"], lesion["pathology"]))) or "of unknown type"
        for sample in samples
        for lesion in sample["lesions"]
    )
    return {
        "patients": len({sample["patient_id"] for sample in samples}),
        "images": len(samples),
        "positive": sum(sample["label"] for sample in samples),
        "lesions": dict(sorted(lesions.items())),
    }


def _range(pairs: Sequence[Sequence[float]]) -> dict[str, list[float]] | None:
    """Smallest and largest of rows and of columns."""
    if not pairs:
        return None
    rows, columns = zip(*pairs, strict=True)
    return {"smallest": [min(rows), min(columns)], "largest": [max(rows), max(columns)]}


def _known(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
