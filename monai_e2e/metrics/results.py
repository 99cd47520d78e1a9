"""What a score leaves in a folder: ``score.json``, the report, and the curves as pictures and points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.special import expit
from sklearn.metrics import precision_recall_curve, roc_curve

from monai_e2e.metrics.decision import decision_curve
from monai_e2e.metrics.html_report import write_html
from monai_e2e.metrics.plots import plot_calibration, plot_decision, plot_froc, plot_pr, plot_roc
from monai_e2e.metrics.report import write_score
from monai_e2e.metrics.samples import Samples
from monai_e2e.metrics.tables import write_table

_CALIBRATION = ("level", "low", "high", "n", "mean_predicted", "observed", "observed_low", "observed_high")


def write_results(
    out: str | Path, scored: Mapping[str, Any], samples: Mapping[str, Samples], title: str = "predictions.csv"
) -> None:
    """Write ``score.json``, ``report.html``, and ``roc``, ``pr``, ``calibration`` and ``decision`` as PNG and CSV.

    Args:
        out: folder, made if need be.
        scored: of :func:`~monai_e2e.metrics.score_rows`, possibly with ``comparisons``.
        samples: what was scored, of :func:`~monai_e2e.metrics.level_samples`.
        title: name of the predictions in the report.
    """
    out = Path(out)
    curves = {f"per {level}": (sample.labels, sample.ranks) for level, sample in samples.items()}
    points = {
        f"per {level}": (scored[level]["at_threshold"]["sensitivity"], scored[level]["at_threshold"]["specificity"])
        for level in samples
        if "at_threshold" in scored[level]
    }
    plot_roc(curves, out / "roc.png", points)
    plot_pr(curves, out / "pr.png")
    plot_calibration({f"per {level}": scored[level]["calibration"] for level in samples}, out / "calibration.png")
    shares = {"prevalence": scored["settings"]["prevalence"], "present": scored["settings"]["calibrated_at"]}
    benefits = {
        level: decision_curve(sample.labels, expit(sample.logits), **shares) for level, sample in samples.items()
    }
    plot_decision({f"per {level}": curve for level, curve in benefits.items()}, out / "decision.png")
    write_table(
        out / "decision.csv", [{"level": level, **point} for level, curve in benefits.items() for point in curve]
    )
    _write_points(out, samples, scored)
    write_score(out / "score.json", scored)
    pictures = {name: out / f"{name}.png" for name in ("roc", "pr", "calibration", "decision")}
    if "localisation" in scored:
        pictures["froc"] = out / "froc.png"
        plot_froc(scored["localisation"]["froc"]["curve"], pictures["froc"])
    write_html(out / "report.html", scored, title, pictures)


def _write_points(out: Path, samples: Mapping[str, Samples], scored: Mapping[str, Any]) -> None:
    roc: list[dict[str, Any]] = []
    pr: list[dict[str, Any]] = []
    calibration: list[dict[str, Any]] = []
    for level, sample in samples.items():
        keys = ("level", "false_positive_rate", "true_positive_rate", "logit")
        roc += _points(keys, level, roc_curve(sample.labels, sample.logits))
        precision, recall, scores = precision_recall_curve(sample.labels, sample.logits, drop_intermediate=True)
        # The curve's last point, precision 1 at recall 0, has no score.
        pr += _points(("level", "precision", "recall", "logit"), level, (precision, recall, [*scores, float("inf")]))
        for row in scored[level]["calibration"]["bins"]:
            low, high = row["observed_ci"]
            calibration.append({"level": level, **row, "observed_low": low, "observed_high": high})
    write_table(out / "roc.csv", roc)
    write_table(out / "pr.csv", pr)
    write_table(out / "calibration.csv", calibration, _CALIBRATION)


def _points(keys: Sequence[str], level: str, curve: Iterable[Iterable[float]]) -> Iterator[dict[str, Any]]:
    for point in zip(*curve, strict=True):
        yield dict(zip(keys, (level, *map(float, point)), strict=True))
