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

_HEADER = (
    "model", "data set", "labels", "positive of images", "AUC per image", "0 – ½ – 1", "per breast", "per exam",
    "change", "threshold", "sensitivity", "specificity", "slope", "intercept",
)  # fmt: skip
_READING = (
    "Change: the AUC less that on the data set that the model was trained on; – where that isn't among these.",
    "Sensitivity and specificity are at the model's own threshold, chosen where it was trained; of rows that are "
    "recalibrated at that chosen on the partition named.",
    "Slope below 1: probabilities too extreme. Intercept below 0: probabilities too high on the whole. After a good "
    "recalibration they are 1 and 0. The AUC isn't changed by it.",
    "Data sets differ in their share of positives, in what their labels rest on and in whom they are of: a lower AUC "
    "may be the data's and not the model's.",
    "Intervals: 95 %, a bootstrap of patients for the AUC, Wilson's for rates.",
)


def write_page(out: Path, rows: Sequence[Mapping[str, Any]], settings: Settings) -> None:
    """Write ``index.html``, with a link to each pair's own report."""
    fitted = (
        f", recalibrated on the {settings.recalibrate} partition ({settings.method})" if settings.recalibrate else ""
    )
    lines = [_HEADER, *map(_cells, rows)]
    body = (
        f'<p class="soft">Partition {escape(settings.partition)}{escape(fitted)}.</p>'
        + make_table(lines[0], lines[1:], raw=True)
        + make_list("Not done", [f"{r['model']} on {r['dataset']}: {r['reason']}" for r in rows if r["reason"]])
        + make_list("How to read this", _READING)
    )
    (out / "index.html").write_text(page("External validation", body), encoding="utf-8")


def _cells(row: Mapping[str, Any]) -> list[str]:
    names = [escape(str(row["model"])), escape(str(row["dataset"]))]
    labels = escape(f"{row['label_source']}, per {row['label_unit']}")
    if row["auc"] is None:
        return [*names, labels, *[""] * (len(_HEADER) - 3)]
    folder = "recalibrated" if row["recalibrated"] else row["partition"]
    link = quote(f"{row['model']}/{row['dataset']}/{folder}/report.html")
    names[1] = f'<a href="{link}">{names[1]}</a>' + (" (recalibrated)" if row["recalibrated"] else "")
    limits = (row["auc_low"], row["auc_high"])
    rates = [
        format_rate(row[rate], None if row[rate] is None else (row[f"{rate}_low"], row[f"{rate}_high"]))
        for rate in ("sensitivity", "specificity")
    ]
    return [
        *names,
        labels,
        f"{row['positive']} of {row['images']} ({row['prevalence']:.1%})",
        f"{row['auc']:.3f} {format_interval(limits)}",
        draw_bar(row["auc"], *limits),
        *(_number(row[key], ".3f") for key in ("auc_breast", "auc_exam")),
        row["change"] if isinstance(row["change"], str) else _number(row["change"], "+.3f"),
        _number(row["threshold"], ".3g"),
        *rates,
        _number(row["calibration_slope"], ".2f"),
        _number(row["calibration_intercept"], ".2f"),
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}".replace("-", "−")
