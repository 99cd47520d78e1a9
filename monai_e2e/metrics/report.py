"""Scores of a set of predictions as files: ``predictions.csv``, ``score.json``, ``roc.png``."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_curve

from monai_e2e.metrics.auc import roc_auc


def write_predictions(path: str | Path, rows: Sequence[Mapping]) -> None:
    """Write one CSV row for each prediction; the columns are the keys of the first row."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def score_binary(labels: Sequence[int], scores: Sequence[float]) -> dict:
    """AUC of an image-level classifier: ``{"n", "positive", "auc", "auc_ci"}`` with DeLong's 95 % interval."""
    auc, low, high = roc_auc(labels, scores)
    return {"n": len(labels), "positive": int(np.sum(labels)), "auc": auc, "auc_ci": [low, high]}


def score_classes(labels: Sequence[int], predicted: Sequence[int], classes: Sequence[str]) -> dict:
    """Accuracy of a patch classifier (paper, Table 1) with its confusion matrix, rows the true classes."""
    y, p = np.asarray(labels), np.asarray(predicted)
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (y, p), 1)
    return {"n": len(y), "accuracy": float((y == p).mean()), "classes": list(classes), "confusion": confusion.tolist()}


def write_score(path: str | Path, score: Mapping) -> None:
    """Write a score as JSON."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(score, indent=4) + "\n", encoding="utf-8")


def plot_roc(curves: Mapping[str, tuple[Sequence[int], Sequence[float]]], path: str | Path) -> None:
    """Plot ROC curves with their AUCs.

    Args:
        curves: legend → (labels, scores).
        path: PNG to write.
    """
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.75", linestyle="--", linewidth=1)
    for name, (labels, scores) in curves.items():
        auc, low, high = roc_auc(labels, scores)
        false_positive, true_positive, _ = roc_curve(labels, scores)
        axes.plot(false_positive, true_positive, linewidth=2, label=f"{name}: AUC {auc:.3f} ({low:.3f}–{high:.3f})")
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
