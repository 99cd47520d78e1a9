"""The page of an external validation: one HTML file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from monai_e2e.metrics.html_page import draw_bar, format_interval, format_rate, make_list, make_table, page

if TYPE_CHECKING:
    from monai_e2e.validation.run import Settings

_APART = (
    "model", "data set", "labels", "positive of images", "AUC per image", "0 – ½ – 1", "per breast", "per exam",
    "change",
)  # fmt: skip
_AT_THRESHOLD = ("model", "data set", "threshold", "sensitivity", "specificity", "slope", "intercept")
_READING = (
    "Change: the AUC less that on the data set that the model was trained on; a dash where that isn't among these.",
    "Sensitivity and specificity are at the model's own threshold, chosen where it was trained; of rows that are "
    "recalibrated at that chosen on the partition named.",
    "Slope below 1: probabilities too extreme. Intercept below 0: probabilities too high on the whole. After a good "
    "recalibration they are 1 and 0. It doesn't change the AUC.",
    "Data sets differ in their patients, their share of positives and what their labels are based on: a lower AUC may "
    "come from the data and not from the model.",
    "Intervals: 95 %, a bootstrap of patients for the AUC, Wilson's for rates.",
)


def write_page(out: Path, rows: Sequence[Mapping[str, Any]], settings: Settings) -> None:
    """Write ``index.html``, with a link to each pair's own report."""
    fitted = (
        f", recalibrated on the {settings.recalibrate} partition ({settings.method})" if settings.recalibrate else ""
    )
    body = (
        f'<p class="soft">Partition {escape(settings.partition)}{escape(fitted)}.</p>'
        + make_table(_APART, [_apart(row) for row in rows], raw=True)
        + "<h2>At the threshold, and calibration</h2>"
        + make_table(_AT_THRESHOLD, [_at_threshold(row) for row in rows if row["auc"] is not None], raw=True)
        + make_list("Labels", list(dict.fromkeys(f"{row['dataset']}: {row['label_rule']}" for row in rows)))
        + make_list("Not done", [f"{r['model']} on {r['dataset']}: {r['reason']}" for r in rows if r["reason"]])
        + make_list("How to read this", _READING)
    )
    (out / "index.html").write_text(page("External validation", body), encoding="utf-8")


def _names(row: Mapping[str, Any]) -> list[str]:
    """Model and data set, with a link to their report where there is one."""
    model, dataset = escape(str(row["model"])), escape(str(row["dataset"]))
    if row["auc"] is None:
        return [model, dataset]
    folder = "recalibrated" if row["recalibrated"] else row["partition"]
    link = quote(f"{row['model']}/{row['dataset']}/{folder}/report.html")
    return [model, f'<a href="{link}">{dataset}</a>' + (", recalibrated" if row["recalibrated"] else "")]


def _apart(row: Mapping[str, Any]) -> list[str]:
    """How well the model tells positives from negatives."""
    names = [*_names(row), escape(f"{row['label_source']}, per {row['label_unit']}")]
    if row["auc"] is None:
        return [*names, *[""] * (len(_APART) - 3)]
    limits = (row["auc_low"], row["auc_high"])
    return [
        *names,
        f"{row['positive']} of {row['images']} ({row['prevalence']:.0%})",
        f"{row['auc']:.3f} {format_interval(limits)}",
        draw_bar(row["auc"], *limits, width=120),
        *(_number(row[key], ".3f") for key in ("auc_breast", "auc_exam")),
        row["change"] if isinstance(row["change"], str) else _number(row["change"], "+.3f"),
    ]


def _at_threshold(row: Mapping[str, Any]) -> list[str]:
    """What it says at its threshold, and of probabilities."""
    return [
        *_names(row),
        _number(row["threshold"], ".3f"),
        *(
            format_rate(row[rate], None if row[rate] is None else (row[f"{rate}_low"], row[f"{rate}_high"]))
            for rate in ("sensitivity", "specificity")
        ),
        _number(row["calibration_slope"], ".2f"),
        _number(row["calibration_intercept"], ".2f"),
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}".replace("-", "−")
