"""Figures of an experiment's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_e2e.metrics.plots import new_axes


def plot_values(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Each row's value with its interval, or its mean with the standard deviation, and the paper's value."""
    figure, axes = _axes((8, 1.2 + 0.32 * len(rows)))
    for place, row in enumerate(rows):
        value, limits = row["value"], (row["low"], row["high"])
        if row["value"] is None and row["mean"] is not None:
            value, limits = row["mean"], (row["mean"] - (row["sd"] or 0), row["mean"] + (row["sd"] or 0))
        if value is not None:
            errors = None if limits[0] is None else np.abs([[limits[0] - value], [limits[1] - value]])
            axes.errorbar(value, place, xerr=errors, fmt="o", color="C0", capsize=3, label="here")
        if row["paper"] is not None:
            axes.plot(row["paper"], place, "D", color="C1", markerfacecolor="none", label="paper")
    metrics = dict.fromkeys(row["metric"] for row in rows if row["metric"])
    names = [row["label"] + ("" if row["patients"] is None else f", {row['patients']} patients") for row in rows]
    axes.set(yticks=range(len(rows)), yticklabels=names, ylim=(len(rows) - 0.5, -0.5))
    axes.set_xlabel(", ".join("AUC" if metric == "auc" else metric for metric in metrics))
    if any(row["paper"] is not None for row in rows):
        _legend(axes, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)  # above the points
    figure.savefig(path, dpi=150)
    return path


def plot_patients(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Values by the number of training patients, a curve for each row; dashed: the paper's."""
    figure, axes = _axes((6, 4.5))
    for number, label in enumerate(dict.fromkeys(row["label"] for row in rows)):
        own = [row for row in rows if row["label"] == label and row["patients"] is not None]
        known = [row for row in own if row["mean"] is not None or row["value"] is not None]
        values = [row["value"] if row["mean"] is None else row["mean"] for row in known]
        errors = [row["sd"] or 0.0 for row in known]
        color = f"C{number}"
        axes.errorbar([row["patients"] for row in known], values, yerr=errors, marker="o", color=color, label=label)
        paper = [(row["patients"], row["paper"]) for row in own if row["paper"] is not None]
        if paper:
            axes.plot(*zip(*paper, strict=True), "--D", color=color, markerfacecolor="none", label=f"{label}, paper")
    axes.set(xlabel="training patients", ylabel="AUC per image")
    _legend(axes)
    figure.savefig(path, dpi=150)
    return path


def plot_losses(curves: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> Path:
    """Training loss (dashed) and validation loss by epoch, from each run's ``metrics.jsonl``."""
    figure, axes = _axes((6, 4.5))
    for number, (label, epochs) in enumerate(curves.items()):
        for key, style in (("train_loss", "--"), ("val_loss", "-")):
            points = [(line["epoch"], line[key]) for line in epochs if line.get(key) is not None]
            if points:
                name = f"{label}, {'training' if key == 'train_loss' else 'validation'}"
                axes.plot(*zip(*points, strict=True), style, color=f"C{number}", label=name)
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(axes)
    figure.savefig(path, dpi=150)
    return path


def _axes(size: tuple[float, float]) -> tuple[Any, Any]:
    figure, axes = new_axes(size)
    axes.grid(alpha=0.3)
    return figure, axes


def _legend(axes: Any, **place: Any) -> None:
    """A legend in which each name occurs once."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    if once:
        axes.legend(once.values(), once.keys(), frameon=False, fontsize=9, **place)
