"""Draw the figures of the results on real mammograms: ``python benchmarks/real/figure.py``.

``result.png`` is of the shipped model, ``arms.png`` of the arms of docs/real.md. They are drawn from
``benchmarks/real/results`` alone, numbers that ``monai-e2e score`` wrote: no image of a data set.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[2] / "docs"
LEVELS = {"image": "per image", "breast": "per breast"}
Score = Mapping[str, Any]


def draw_roc(axes: Axes, score: Score, points: Path) -> None:
    """ROC curves, and on them the model's own threshold with Wilson's intervals."""
    axes.plot([0, 1], [0, 1], color="0.75", linestyle="--", linewidth=1)
    with points.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for color, (level, name) in zip(("C0", "C1"), LEVELS.items(), strict=True):
        curve = [row for row in rows if row["level"] == level]
        x, y = (np.array([float(row[f"{kind}_positive_rate"]) for row in curve]) for kind in ("false", "true"))
        found = score[level]
        if abs(np.trapezoid(y, x) - found["auc"]) > 1e-4:
            raise SystemExit(f"{points} and the score are not of the same run")
        low, high = found["auc_ci_bootstrap"]
        label = f"{name}: AUC {found['auc']:.3f} ({low:.3f}–{high:.3f})"
        axes.plot(x, y, color=color, linewidth=2, label=label)
        at = found["at_threshold"]
        sensitivity, specificity = at["sensitivity"], at["specificity"]
        sensitivity_error, specificity_error = (
            np.abs(np.array(at[f"{name}_ci"]) - at[name])[:, None] for name in ("sensitivity", "specificity")
        )
        axes.errorbar(
            [1 - specificity],
            [sensitivity],
            xerr=specificity_error[::-1],
            yerr=sensitivity_error,
            marker="o",
            color=color,
            markeredgecolor="white",
            markersize=8,
            elinewidth=1,
            capsize=3,
        )
    percent = PercentFormatter(1.0, decimals=0)
    axes.xaxis.set_major_formatter(percent)
    axes.yaxis.set_major_formatter(percent)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="false alarms (1 − specificity)", ylabel="malignant found (sensitivity)")
    axes.legend(loc="lower right", frameon=False, title="○ the model's threshold")
    axes.set_title("361 mass images of 201 patients,\nCBIS-DDSM's official test half")


def draw_aucs(axes: Axes, score: Score, others: Mapping[str, Score]) -> None:
    """One AUC with its interval a row, for the whole test set, its parts, and other data."""
    groups = score["subgroups"]
    rows: list[tuple[str, Score] | None] = [(f"CBIS-DDSM, {name}", score[level]) for level, name in LEVELS.items()]
    rows += [None, *((f"{view} view", groups["view"][view]) for view in ("CC", "MLO"))]
    rows += [None, *((f"density {word}", groups["density"][word]) for word in "1234")]
    rows += [None, *((name, other["image"]) for name, other in others.items())]
    names = []
    for place, row in enumerate(rows):
        if row is None:
            names.append("")
            continue
        name, found = row
        low, high = found["auc_ci_bootstrap"]
        axes.plot([low, high], [place, place], color="0.45", linewidth=1.5)
        axes.plot(found["auc"], place, "o", color="C0" if place < len(LEVELS) else "0.3")
        axes.annotate(f"{found['auc']:.3f}", (1.01, place), xycoords=("axes fraction", "data"), va="center")
        names.append(f"{name}  ({found['n']})")
    axes.axvline(0.5, color="0.75", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), names)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0.4, 1.0), ylim=(len(rows) - 0.5, -0.5), xlabel="AUC, with 95 % interval (bootstrap of patients)")
    axes.set_title("AUC by part of the test half, and on other data\n(number of images or breasts)")


def read(name: str) -> Score:
    score: Score = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return score


def draw_result() -> Figure:
    """The shipped model."""
    score = read("cbis-mass")
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.15])
    draw_roc(left, score, RESULTS / "cbis-mass-roc.csv")
    others = {"mini-MIAS, against all others": read("mias"), "mini-MIAS, against benign": read("mias-benign")}
    draw_aucs(right, score, others)
    right.spines["left"].set_visible(False)
    return figure


def draw_folds(axes: Axes) -> None:
    """AUC of each fold of the training half, A and B with the same patients."""
    folds = {arm: read(f"folds/{arm}")["folds"]["image"]["by_fold"].values() for arm in "BA"}
    arms = {arm: np.array([fold["auc"] for fold in found]) for arm, found in folds.items()}
    for low, high in zip(arms["B"], arms["A"], strict=True):
        axes.plot([0, 1], [low, high], color="C0" if high > low else "C1", linewidth=1.5, marker="o", markersize=5)
    for place, (arm, values) in enumerate(arms.items()):
        axes.plot([place - 0.08, place + 0.08], [values.mean()] * 2, color="black", linewidth=3)
        side = "right" if place == 0 else "left"
        axes.annotate(
            f"mean {values.mean():.3f}", (place + (0.12 if place else -0.12), values.mean()), va="center", ha=side
        )
        axes.annotate(f"{arm}, {('whole images alone', 'patches first')[place]}", (place, 0.685), ha="center")
    axes.set(xlim=(-0.7, 1.7), ylim=(0.68, 0.88), xticks=[], ylabel="AUC per image, of patients not trained on")
    found = read("folds/A-against-B")["comparisons"][0]["image"]
    low, high = found["difference_ci_bootstrap"]
    ahead = f"A is ahead by {found['difference']:.3f} ({low:.3f} to {high:.3f})"
    axes.set_title(f"Eight folds of the training half, 1,231 images:\n{ahead}")


def draw_arms(axes: Axes) -> None:
    """Each training on the test half, with its interval of patients."""
    arms = {
        "C, from random weights": ["C0"],
        "B, ImageNet, whole images alone": ["B0", "B1", "B2"],
        "A, ImageNet, patches first": ["A0", "A1", "A2"],
        "D, VGG-16, patches first": ["D0"],
        "F, A with four flips": ["A-flips0", "A-flips1", "A-flips2"],
        "F, average of the three, four flips": ["A-seeds"],
        "F, average of the three and D, four flips": ["A-and-D"],
    }
    place, ticks = 0.0, list[float]()
    for color, runs in enumerate(arms.values()):
        ticks.append(place + (len(runs) - 1) / 2)
        for run in runs:
            found = read(f"arms/{run}")["image"]
            axes.plot(found["auc_ci_bootstrap"], [place] * 2, color="0.45", linewidth=1.5)
            axes.plot(found["auc"], place, "o", color=f"C{color}")
            axes.annotate(f"{found['auc']:.3f}", (1.01, place), xycoords=("axes fraction", "data"), va="center")
            place += 1
        place += 0.7
    axes.set_yticks(ticks, list(arms))
    axes.tick_params(axis="y", length=0)
    axes.set(
        xlim=(0.45, 0.9), ylim=(place - 0.7, -0.7), xlabel="AUC per image, with 95 % interval (bootstrap of patients)"
    )
    axes.set_title("Each training on the official test half,\n361 images")


def draw_experiment() -> Figure:
    """The arms."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    draw_folds(left)
    draw_arms(right)
    left.spines["bottom"].set_visible(False)
    right.spines["left"].set_visible(False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the PNG files (default: %(default)s)")
    arguments = parser.parse_args()
    for name, figure in (("result", draw_result()), ("arms", draw_experiment())):
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(arguments.out / f"{name}.png", dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
