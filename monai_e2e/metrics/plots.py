"""Curves as PNG: ROC, precision–recall, reliability, net benefit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from monai_e2e.metrics.auc import roc_auc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curves = Mapping[str, tuple[ArrayLike, ArrayLike]]
#: Lines and characters of a legend that fit in below a curve, and inches of a line below the axes.
_MOST_INSIDE, _LONGEST_INSIDE, _LINE = 5, 32, 0.2


def plot_roc(curves: Curves, path: str | Path, points: Mapping[str, tuple[float, float]] | None = None) -> None:
    """Plot ROC curves with their AUCs, see :func:`draw_roc`, as the PNG ``path``."""
    _save(draw_roc(curves, points), path)


def draw_roc(curves: Curves, points: Mapping[str, tuple[float, float]] | None = None) -> Figure:
    """A figure of ROC curves with their AUCs, without intervals, of which a report has two kinds.

    Args:
        curves: legend → (labels, scores).
        points: legend → (sensitivity, specificity) of a threshold, marked on that curve.

    Raises:
        UserError: when a curve has labels of one class, or a score is not finite.
    """
    figure, axes = _square("1 − specificity", "sensitivity")
    axes.plot([0, 1], [0, 1], color="0.75", linestyle="--", linewidth=1)
    for number, (name, (labels, scores)) in enumerate(curves.items()):
        label = f"{name}: AUC {roc_auc(labels, scores)[0]:.3f}"  # first, since it checks them
        false_positive, true_positive, _ = roc_curve(labels, scores)
        axes.plot(false_positive, true_positive, linewidth=2, color=f"C{number}", linestyle=_style(number), label=label)
        if points and name in points:
            sensitivity, specificity = points[name]
            axes.plot(1 - specificity, sensitivity, "o", markersize=8, color=f"C{number}", markeredgecolor="white")
    _legend(figure, axes, "lower right", "○ threshold" if points else None)
    return figure


def plot_pr(curves: Curves, path: str | Path) -> None:
    """Plot precision–recall curves with their average precision; dashed: the share of positives, that of chance.

    Args:
        curves: legend → (labels, scores).
        path: PNG to write.
    """
    figure, axes = _square("recall (sensitivity)", "precision (PPV)")
    for number, (name, (labels, scores)) in enumerate(curves.items()):
        precision, recall, _ = precision_recall_curve(labels, scores, drop_intermediate=True)
        area = average_precision_score(labels, scores)
        color = f"C{number}"
        named = f"{name}: AP {area:.3f}"
        axes.step(recall, precision, where="post", linewidth=2, color=color, linestyle=_style(number), label=named)
        axes.axhline(float(np.asarray(labels).mean()), color=color, linestyle="--", linewidth=1, alpha=0.5)
    _legend(figure, axes, "lower left")
    _save(figure, path)


def plot_calibration(curves: Mapping[str, Mapping[str, Any]], path: str | Path) -> None:
    """Plot reliability curves with their Wilson intervals.

    Args:
        curves: legend → result of :func:`~monai_e2e.metrics.reliability`.
        path: PNG to write.
    """
    figure, axes = _square("mean predicted probability", "share of positives")
    axes.plot([0, 1], [0, 1], color="0.75", linestyle="--", linewidth=1)
    for number, (name, curve) in enumerate(curves.items()):
        bins = curve["bins"]
        predicted, observed = (np.array([row[key] for row in bins]) for key in ("mean_predicted", "observed"))
        limits = np.array([row["observed_ci"] for row in bins]).T
        errors = np.abs(limits - observed)
        label = f"{name}: error {curve['expected_calibration_error']:.3f}"
        axes.errorbar(
            predicted, observed, yerr=errors, marker="o", markersize=4, linewidth=2, elinewidth=1, capsize=2,
            color=f"C{number}", alpha=0.9, label=label,
        )  # fmt: skip
    axes.legend(loc="best", frameon=False, fontsize=9)
    _save(figure, path)


def plot_decision(curves: Mapping[str, Sequence[Mapping[str, float]]], path: str | Path) -> None:
    """Plot decision curves: net benefit by threshold. Dashed: calling everybody positive; at 0: nobody.

    Args:
        curves: legend → result of :func:`~monai_e2e.metrics.decision_curve`.
        path: PNG to write.
    """
    figure, axes = _square("threshold probability", "net benefit")
    highest = 0.0
    for number, (name, curve) in enumerate(curves.items()):
        thresholds, model, everybody = ([point[key] for point in curve] for key in ("threshold", "model", "all"))
        axes.plot(thresholds, everybody, color=f"C{number}", linestyle="--", linewidth=1, alpha=0.5)
        axes.plot(thresholds, model, color=f"C{number}", linewidth=2, label=name)
        highest = max([highest, *model, *everybody])
    axes.axhline(0, color="0.75", linewidth=1)
    axes.set(ylim=(-highest / 4 - 1e-6, highest * 1.05 + 1e-6), aspect="auto")
    axes.legend(loc="best", frameon=False, fontsize=9)
    _save(figure, path)


def plot_froc(curve: Sequence[Sequence[float]], path: str | Path) -> None:
    """Plot a FROC curve: the share of lesions found by false positives per image.

    Args:
        curve: pairs of false positives per image and sensitivity.
        path: PNG to write.
    """
    figure, axes = _square("false positives per image", "share of lesions found")
    false, found = zip(*curve, strict=True)
    axes.step(false, found, where="post", linewidth=2)
    axes.set(xlim=(0, 8), aspect="auto")
    _save(figure, path)


def new_axes(size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure of so many inches, and its axes."""
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _square(x: str, y: str) -> tuple[Any, Any]:
    figure, axes = new_axes((5, 5))
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    return figure, axes


def _style(number: int) -> str:
    """Of a curve's line: after ten curves the colours come again."""
    return ("-", "--", ":", "-.")[number // 10 % 4]


def _legend(figure: Any, axes: Any, place: str, title: str | None = None) -> None:
    """The legend among the curves; that of many or of long names below them, where it hides none."""
    names = axes.get_legend_handles_labels()[1]
    if len(names) <= _MOST_INSIDE and max(map(len, names)) <= _LONGEST_INSIDE:
        axes.legend(loc=place, frameon=False, fontsize=9, title=title)
        return
    figure.set_size_inches(5, 5 + _LINE * (len(names) + (title is not None)))
    figure.legend(loc="outside lower left", frameon=False, fontsize=9, title=title)


def _save(figure: Any, path: str | Path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
