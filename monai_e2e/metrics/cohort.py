"""Who was scored: the table of the cohort, and the flow chart from the data set's rows to the images scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import mean, stdev
from textwrap import shorten
from typing import Any

from monai_e2e.metrics.html_page import make_table
from monai_e2e.metrics.samples import Row
from monai_e2e.work.files import read_json

#: What is counted of the rows that are scored.
_COUNTED = ("view", "density", "lesion_type", "vendor", "machine", "site", "implant", "subtype")
_KEPT = (
    "name", "protocol", "tables", "rows_used", "rows_excluded", "excluded_by_reason", "also_excluded", "partitions",
    "patients_known",
)  # fmt: skip
_WIDTH, _BOX, _LINE, _GAP = 760, 340, 18, 26
#: Characters that a box has room for.
_LONGEST = 50


def describe_cohort(rows: Sequence[Row], prepared: str | Path | None = None) -> dict[str, Any]:
    """What ``score.json`` says of the cohort.

    Args:
        rows: what is scored.
        prepared: the prepared folder that it is from, whose ``report.json`` tells what was left out; None: unknown.

    Returns:
        ``scored``: ``images``, ``positive``, ``patients`` (None where none is known), ``positive_patients``, ``age``
        (``mean``, ``sd``, ``n`` exams) and counts by the columns that are known; ``prepared``: the report's counts, or
        None.
    """
    patients = {row["patient_id"] for row in rows if row.get("patient_id")}
    positive = {row["patient_id"] for row in rows if row.get("patient_id") and row["label"] == 1}
    ages = list({_exam_of(row): row["age"] for row in rows if row.get("age") is not None}.values())
    counts = {}
    for name in _COUNTED:
        values = Counter(str(row[name]) for row in rows if row.get(name) not in (None, ""))
        if values:
            counts[name] = dict(sorted(values.items()))
    report = {} if prepared is None else read_json(Path(prepared) / "report.json")
    spread = stdev(ages) if len(ages) > 1 else None
    return {
        "scored": {
            "images": len(rows),
            "positive": sum(row["label"] == 1 for row in rows),
            "patients": len(patients) or None,
            "positive_patients": len(positive) if patients else None,
            "age": {"mean": mean(ages), "sd": spread, "n": len(ages)} if ages else None,
            "counts": counts,
        },
        "prepared": {key: report[key] for key in _KEPT if key in report} or None,
    }


def cohort_notes(cohort: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the cohort before the figures."""
    if (cohort["prepared"] or {}).get("patients_known", True):
        return []
    return [
        "The data set doesn't say which images are of the same patient: each counts as a patient, so intervals are too "
        "narrow if patients have several, and some patients may have been in training."
    ]


def _exam_of(row: Row) -> Any:
    """What an age is counted once for: the exam, else the patient, else the image."""
    return (row.get("patient_id"), row.get("exam_id")) if row.get("patient_id") or row.get("exam_id") else row["image"]


def cohort_section(cohort: Mapping[str, Any]) -> str:
    """The cohort in the report: its table, and the flow chart where the prepared folder is known."""
    scored, report = cohort["scored"], cohort["prepared"]
    rows = [["images", f"{scored['images']}, {scored['positive']} malignant"]]
    if scored["patients"] is not None:
        rows.append(["patients", f"{scored['patients']}, {scored['positive_patients']} with a malignant image"])
    if scored["age"] is not None:
        spread = "" if scored["age"]["sd"] is None else f" ± {scored['age']['sd']:.0f}"
        rows.append(["age", f"{scored['age']['mean']:.0f}{spread} years, known of {scored['age']['n']} exams"])
    for name, values in scored["counts"].items():
        shown = ", ".join(f"{word}: {count}" for word, count in values.items())
        rows.append([name.replace("_", " "), shown])
    parts = ["<h2>Cohort</h2>", make_table(["what is scored", ""], rows)]
    if report is not None:
        table = [
            [name, *(str(counts[key]) for key in ("patients", "images", "positive"))]
            for name, counts in report.get("partitions", {}).items()
        ]
        parts.append(make_table(["partition", "patients", "images", "malignant"], table))
        parts.append(flow_chart(report, scored))
    return "".join(parts)


def flow_chart(report: Mapping[str, Any], scored: Mapping[str, Any]) -> str:
    """From the rows of the data set's tables to the images scored, with what was left out and why, as SVG.

    Args:
        report: what ``monai-e2e prepare`` counted.
        scored: of :func:`describe_cohort`.
    """
    tables, partitions = report.get("tables", {}), report.get("partitions", {})
    images = sum(counts["images"] for counts in partitions.values())
    excluded = [f"{_known(report.get('rows_excluded'))} rows excluded", *_reasons(report, "excluded_by_reason")]
    also = ["Also left out", *_reasons(report, "also_excluded")] if report.get("also_excluded") else []
    parts = [f"{name}: {counts['images']} of {counts['patients']} patients" for name, counts in partitions.items()]
    known = "" if scored["patients"] is None else f" of {scored['patients']} patients"
    # Lines of each box, and of the box beside the way to the next.
    steps: list[tuple[list[str], list[str]]] = [
        ([f"{report.get('name', 'data set')}: {_known(tables.get('rows'))} rows in its tables"], excluded),
        ([f"{_known(report.get('rows_used'))} rows used"], also),
        ([f"{images} images prepared", *parts], []),
        ([f"{scored['images']} images{known} scored", f"{scored['positive']} malignant"], []),
    ]
    drawn: list[str] = []
    top, bottom, middle, right = 4, 4, 4 + _BOX // 2, _BOX + 44
    for lines, beside in steps:
        if drawn:
            drawn.append(f'<path d="M{middle} {bottom}V{top}l-4 -7m4 7l4 -7" stroke="#5c6b7a" fill="none"/>')
        drawn.append(_box(4, top, lines))
        bottom = top + _height(lines)
        if beside:
            drawn.append(f'<path d="M{middle} {bottom + 22}H{right}" stroke="#5c6b7a"/>')
            drawn.append(_box(right, bottom + 8, beside))
        top = bottom + max(_GAP, _height(beside) + 16 if beside else 0)
    height = bottom + 4
    label = "Flow chart from the tables to the images scored"
    return (
        f'<div class="wide"><svg width="{_WIDTH}" height="{height}" role="img" aria-label="{label}" '
        f'font-size="13" font-family="system-ui, sans-serif">{"".join(drawn)}</svg></div>'
    )


def _reasons(report: Mapping[str, Any], key: str) -> list[str]:
    return [f"{count} {reason.replace('_', ' ')}" for reason, count in report.get(key, {}).items()]


def _height(lines: Sequence[str]) -> int:
    return len(lines) * _LINE + 12


def _box(left: int, top: int, lines: Sequence[str]) -> str:
    shown = [shorten(line, _LONGEST, placeholder=" …") for line in lines]
    text = "".join(
        f'<text x="{left + 10}" y="{top + 19 + number * _LINE}" fill="#1b2733">{escape(line)}</text>'
        for number, line in enumerate(shown)
    )
    width = _BOX + (24 if left > _BOX else 0)
    frame = (
        f'<rect x="{left}" y="{top}" width="{width}" height="{_height(lines)}" rx="5" fill="#fff" stroke="#9aa7b3"/>'
    )
    return frame + text


def _known(count: Any) -> str:
    return "unknown" if count is None else str(count)
