"""The demo's page: one HTML file that opens offline, pictures included."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from monai_e2e.data import load_datalist, read_mammogram, read_mask
from monai_e2e.metrics import read_predictions
from monai_e2e.metrics.html_page import embed, make_table, page
from monai_e2e.predict.heatmaps import read_heatmap
from monai_e2e.predict.overlays import draw_mammogram
from monai_e2e.work.files import write_text

_TITLE = "monai-e2e demo: from drawn mammograms to a transferred classifier"
_HEADER = ("Network", "Measure", "Value (95 % interval)", "Data")
_BODY = """<p><strong>Whole-image networks that started from the patch classifier have an AUC of {auc:.3f} on {test};
the same network from scratch has {scratch:.3f}. Fine-tuned by image labels alone, the first have {transferred:.3f} on
{transfer_test} of the other data set.</strong> Each is the mean of {seeds} seeds.</p>
<p>These are phantoms: every image was drawn by a program. The figures show that the pipeline works, and say nothing
about patients.</p>
<h2>Results on the held-out test patients</h2>
{table}
<p>All intervals are of the bootstrap of patients. The row from scratch had the same images and epochs, but not the
patch classifier's weights. Models were chosen by validation AUC; no choice within the run looks at the test patients.
The random forest on heatmaps is the alternative design of the paper's Appendix 1. The whole run took
{minutes:.0f} minutes.</p>
<p>Reports: <a href="{report}">first whole-image network</a>, <a href="flips/report.html">its four flips</a>,
<a href="forest/report.html">random forest</a>, <a href="{transfer_report}">first transferred network</a>. Pictures:
<a href="gallery/index.html">images that the four flips got right and wrong, with heatmaps</a>.</p>
<h2>ROC curve of the whole-image classifier</h2>
<figure><img alt="ROC curve" style="max-width: 28rem" src="{roc}"></figure>
<h2>Three test images</h2>
<p>Left: the image, with its annotated lesion outlined (red malignant, green benign). Right: what the patch classifier,
run over the whole image at once, takes for malignant. Above: the whole-image classifier's score.</p>
<div class="wide"><figure style="min-width: 44rem"><img alt="three images with heatmaps" src="{examples}"></figure>
</div><h2>The commands that were run</h2><pre>{commands}</pre>"""


def write_page(out: Path, summary: Mapping, commands: Sequence[tuple[str, float]]) -> None:
    """Write ``index.html`` from a finished demo in ``out``.

    Args:
        out: folder of the demo.
        summary: what ``summary.json`` holds.
        commands: what was run, and the seconds that it took.
    """
    first = out / "whole" / f"seed{summary['seeds'][0]}"
    transfer = out / "transfer" / first.name
    predictions, transferred = (read_predictions(run / "predictions.csv") for run in (first, transfer))
    samples = {Path(s["image"]).stem: s for s in load_datalist(out / "data" / "cbis-ddsm" / "prepared", "test")}
    examples = _figure(_examples(predictions), samples, out / "flips" / "heatmaps")
    (out / "examples.png").write_bytes(examples)
    body = _BODY.format(
        auc=summary["whole"]["auc_mean"],
        scratch=summary["whole"]["auc_from_scratch"],
        transferred=summary["transfer"]["auc_mean"],
        test=_size(predictions),
        transfer_test=_size(transferred),
        table=make_table(_HEADER, _rows(summary)),
        seeds=len(summary["seeds"]),
        minutes=summary["seconds"] / 60,
        report=(first / "report.html").relative_to(out).as_posix(),
        transfer_report=(transfer / "report.html").relative_to(out).as_posix(),
        roc=embed((first / "roc.png").read_bytes()),
        examples=embed(examples),
        commands="\n".join(f"# {seconds:.0f} s\n{html.escape(command)}" for command, seconds in commands),
    )
    write_text(out / "index.html", page(_TITLE, body))


def with_interval(score: Mapping) -> str:
    """An AUC with its interval, for people."""
    low, high = score["auc_ci"]
    return f"{score['auc']:.3f} ({low:.3f}–{high:.3f})"


def _size(predictions: Sequence[Mapping[str, Any]]) -> str:
    return f"{len(predictions)} test images of {len({row['patient_id'] for row in predictions})} patients"


def _rows(summary: Mapping) -> list[tuple[str, str, str, str]]:
    whole, transfer = summary["whole"], summary["transfer"]

    def each(values: Sequence[float]) -> str:
        return ", ".join(f"{value:.3f}" for value in values)

    return [
        ("Patch classifier", "accuracy, five classes", f"{summary['patch']['accuracy']:.3f}", "CBIS-DDSM phantoms"),
        ("Whole image, from the patch classifier", "AUC, first seed", with_interval(whole), "CBIS-DDSM phantoms"),
        (
            "Whole image, from the patch classifier",
            f"AUC, mean of seeds ({each(whole['auc_by_seed'])})",
            f"{whole['auc_mean']:.3f}",
            "CBIS-DDSM phantoms",
        ),
        (
            "Whole image, from scratch",
            f"AUC, mean of seeds ({each(whole['auc_from_scratch_by_seed'])})",
            f"{whole['auc_from_scratch']:.3f}",
            "CBIS-DDSM phantoms",
        ),
        ("Whole image, four flips averaged", "AUC, first seed", with_interval(summary["flips"]), "CBIS-DDSM phantoms"),
        ("Random forest on heatmaps", "AUC", with_interval(summary["forest"]), "CBIS-DDSM phantoms"),
        ("Transferred, image labels alone", "AUC, first seed", with_interval(transfer), "INbreast phantoms"),
        (
            "Transferred, image labels alone",
            f"AUC, mean of seeds ({each(transfer['auc_by_seed'])})",
            f"{transfer['auc_mean']:.3f}",
            "INbreast phantoms",
        ),
    ]


def _examples(predictions: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, float]]:
    """The surest right answer of either class and the worst mistake, as (title, image id, score)."""
    scores = {row["image"]: row["p_malignant"] for row in predictions}
    malignant = {row["image"]: row["label"] == 1 for row in predictions}
    surest = max((name for name in scores if malignant[name]), key=scores.__getitem__)
    clearest = min((name for name in scores if not malignant[name]), key=scores.__getitem__)
    rest = [name for name in scores if name not in (surest, clearest)]
    worst = max(rest, key=lambda name: (1 - scores[name]) if malignant[name] else scores[name])
    return [
        ("malignant", surest, scores[surest]),
        ("benign", clearest, scores[clearest]),
        (f"{'malignant' if malignant[worst] else 'benign'}, the worst mistake", worst, scores[worst]),
    ]


def _figure(examples: Sequence[tuple[str, str, float]], samples: Mapping[str, Mapping], heatmaps: Path) -> bytes:
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    for column, (title, name, score) in enumerate(examples):
        image = read_mammogram(samples[name]["image"])
        grey = np.rint(image * 255).astype(np.uint8)
        left, right = figure.add_subplot(1, 6, 2 * column + 1), figure.add_subplot(1, 6, 2 * column + 2)
        for axes, heatmap in ((left, None), (right, read_heatmap(heatmaps, name))):
            axes.imshow(draw_mammogram(grey, heatmap))
            axes.set_axis_off()
        for lesion in samples[name]["lesions"]:
            color = "red" if lesion["pathology"] == "malignant" else "lime"
            left.contour(read_mask(lesion["mask"]), levels=[0.5], colors=color, linewidths=1)
        left.set_title(f"{title}\np(malignant) = {score:.2f}", fontsize=10, loc="left")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, bbox_inches="tight")
    return buffer.getvalue()
