"""The page of an external validation: one HTML file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from monai_e2e.cards.model_card import without_folders
from monai_e2e.metrics.html_page import draw_bar, format_number, format_rate, make_list, make_table, page, percent
from monai_e2e.work.files import write_text

if TYPE_CHECKING:
    from monai_e2e.validation.run import Settings

_APART = (
    "model", "data set", "labels", "positive of images", "AUC per image", "0 – ½ – 1", "AUC per breast", "AUC per exam",
    "change",
)  # fmt: skip
_AT_THRESHOLD = ("model", "data set", "threshold", "sensitivity", "specificity")
_CALIBRATION = ("model", "data set", "slope", "intercept", "Brier score")
_READING = (
    "Change: the AUC minus that on the data set that the model was trained on; dash: that set isn't in the table.",
    "Sensitivity and specificity are at the model's own threshold, chosen in its training. Recalibrated rows have "
    "the threshold that was chosen on the partition of the recalibration.",
    "Slope below 1: probabilities too extreme; above 1: too similar. Intercept below 0: probabilities too high "
    "overall. After a good recalibration the slope is 1 and the intercept 0. A recalibration doesn't change the AUC "
    "per image. The AUCs per breast and exam may change, since they are computed from means of probabilities.",
    "Data sets differ in their patients, their share of positives and what their labels are based on: a lower AUC may "
    "come from the data and not from the model.",
    "Intervals: 95 %, a bootstrap of patients for the AUC (DeLong's at perfect separation), Wilson's for rates, Wald's "
    "for slope and intercept.",
)


def write_page(out: Path, rows: Sequence[Mapping[str, Any]], settings: Settings) -> None:
    """Write ``index.html``, with a link to the report of each model on each data set."""
    scored = [row for row in rows if row["auc"] is not None]
    recalibrated = any(row["recalibrated"] for row in scored)
    fitted = f", recalibrated on the {settings.recalibrate} partition ({settings.method})" if recalibrated else ""
    body = (
        f'<p class="soft">Partition {escape(settings.partition)}{escape(fitted)}.</p>'
        + make_table(_APART, [_apart(row) for row in scored], raw=True)
        + "<h2>At the threshold</h2>"
        + make_table(_AT_THRESHOLD, [_at_threshold(row) for row in scored], raw=True)
        + "<h2>Calibration</h2>"
        + make_table(_CALIBRATION, [_calibration(row) for row in scored], raw=True)
        + make_list("Labels", list(dict.fromkeys(f"{row['dataset']}: {row['label_rule']}" for row in rows)))
        + make_list("Notes", [f"{r['model']} on {r['dataset']}: {r['note']}" for r in rows if r["note"]])
        + make_list(
            "Not done", [f"{r['model']} on {r['dataset']}: {without_folders(r['reason'])}" for r in rows if r["reason"]]
        )
        + make_list("How to read this", _READING)
    )
    write_text(out / "index.html", page("External validation", body))


def _names(row: Mapping[str, Any]) -> list[str]:
    """Model and data set, with a link to their report."""
    model, dataset = escape(str(row["model"])), escape(str(row["dataset"]))
    folder = "recalibrated" if row["recalibrated"] else row["partition"]
    link = quote(f"{row['model']}/{row['dataset']}/{folder}/report.html")
    return [model, f'<a href="{link}">{dataset}</a>' + (", recalibrated" if row["recalibrated"] else "")]


def _apart(row: Mapping[str, Any]) -> list[str]:
    """How well the model tells positives from negatives."""
    limits = (row["auc_low"], row["auc_high"])
    return [
        *_names(row),
        escape(f"{row['label_source']}, per {row['label_unit']}"),
        f"{row['positive']} of {row['images']} ({percent(row['prevalence'])})",
        format_rate(row["auc"], limits),
        draw_bar(row["auc"], *limits, width=120),
        *(format_number(row[key]) for key in ("auc_breast", "auc_exam")),
        row["change"] if isinstance(row["change"], str) else format_number(row["change"], "+.3f"),
    ]


def _at_threshold(row: Mapping[str, Any]) -> list[str]:
    """Sensitivity and specificity at the model's threshold."""
    rates = (format_rate(row[rate], _limits(row, rate)) for rate in ("sensitivity", "specificity"))
    return [*_names(row), format_number(row["threshold"]), *rates]


def _calibration(row: Mapping[str, Any]) -> list[str]:
    """Whether the model's probabilities are right on average."""
    line = (format_rate(row[f"calibration_{name}"], _limits(row, name), ".2f") for name in ("slope", "intercept"))
    return [*_names(row), *line, format_number(row["brier"])]


def _limits(row: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    return None if row[f"{name}_low"] is None else (row[f"{name}_low"], row[f"{name}_high"])
