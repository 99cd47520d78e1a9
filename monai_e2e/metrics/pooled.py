"""Several tables of predictions: folds are pooled, each with its own threshold; seeds and models stand side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from scipy.special import expit, logit

from monai_e2e.data.sources.identifiers import identifier_key
from monai_e2e.errors import UserError, some
from monai_e2e.metrics.auc import roc_auc
from monai_e2e.metrics.html_page import auc_cells, format_limits, make_table, page
from monai_e2e.metrics.operating import performance_at
from monai_e2e.metrics.samples import LEVELS, Row, Samples, levels_of


def group_tables(tables: Mapping[Path, Sequence[Row]]) -> list[list[Path]]:
    """Which tables are pooled: those of one seed that have no image in common, as the folds of a cross-validation do.

    Args:
        tables: rows by file, as :func:`~monai_e2e.metrics.read_predictions` gives them.
    """
    groups: list[tuple[set[Any], set[str], list[Path]]] = []
    for path, rows in tables.items():
        seeds, images = {row["seed"] for row in rows}, {row["image"] for row in rows}
        for known_seeds, known, members in groups:
            if seeds == known_seeds and not images & known:
                known |= images
                members.append(path)
                break
        else:
            groups.append((seeds, images, [path]))
    return [members for _, _, members in groups]


def pool_rows(tables: Sequence[Sequence[Row]]) -> list[dict[str, Any]]:
    """The rows of tables without a common image as those of one; tables that name no fold are numbered.

    Raises:
        UserError: when a patient is in two folds, so that a model was judged by patients that it was trained on.
    """
    pooled = [
        {**row, "fold": number if row["fold"] is None else row["fold"]}
        for number, rows in enumerate(tables)
        for row in rows
    ]
    _refuse_leaks(pooled)
    return pooled


def fold_thresholds(rows: Sequence[Row]) -> dict[int, float] | None:
    """The threshold of each fold as log-odds; None where there are fewer than two folds or one hasn't exactly one."""
    found: dict[Any, set[Any]] = {}
    for row in rows:
        found.setdefault(row.get("fold"), set()).add(row.get("threshold"))
    if None in found or len(found) < 2 or any(len(values) > 1 or None in values for values in found.values()):
        return None
    single = {fold: values.pop() for fold, values in found.items()}
    if not all(0 < value < 1 for value in single.values()):
        return None
    return {fold: float(logit(value)) for fold, value in sorted(single.items())}


def add_folds(
    scored: dict[str, Any],
    rows: Sequence[Row],
    samples: Mapping[str, Samples],
    thresholds: Mapping[int, float] | None,
    known: int | None = None,
) -> None:
    """Add what is known of each fold to the score of the pooled rows.

    ``folds`` has, by level, ``auc`` by fold (None where a fold has one class) with ``auc_ci_delong``, ``n`` and
    ``positive``, and their ``mean`` and ``sd``. With thresholds ``at_threshold`` of each level counts every sample at
    its own fold's.

    Args:
        scored: of :func:`~monai_e2e.metrics.score_rows`, changed in place.
        rows: what was scored.
        samples: those of the rows by level, of :func:`~monai_e2e.metrics.level_samples`.
        thresholds: of :func:`fold_thresholds`.
        known: how many folds the data were split into; None: as many as the rows have.

    Raises:
        UserError: when a patient is in two folds.
    """
    own: list[Any] = [row.get("fold") for row in rows]
    folds = sorted({fold for fold in own if fold is not None})
    if len(folds) < 2:
        return
    _refuse_leaks(rows)
    scored["folds"] = {}
    of_owner = dict(zip(samples["image"].owners.tolist(), own, strict=True))
    for level, sample in samples.items():
        whose = own if level == "image" else [of_owner[owner] for owner in sample.owners.tolist()]
        by_fold = {str(fold): _auc(sample.part(np.array([one == fold for one in whose]))) for fold in folds}
        aucs = [one["auc"] for one in by_fold.values() if one["auc"] is not None]
        spread = {"mean": mean(aucs) if aucs else None, "sd": stdev(aucs) if len(aucs) > 1 else None}
        scored["folds"][level] = {"by_fold": by_fold, **spread}
        if thresholds is not None:
            beyond = sample.logits - np.array([thresholds[fold] for fold in whose])
            point = performance_at(sample.labels, beyond, 0.0, scored["settings"]["prevalence"])
            scored[level]["at_threshold"] = point | {"threshold": None, "threshold_logit": None}
    scored["notes"].append(
        f"Pooled over {len(folds)} folds: scores of different models are compared with each other here, so look at the "
        "AUC of each fold too."
    )
    if absent := set(range(max(known or 0, *folds))) - set(folds):
        scored["notes"].append(f"Not among the tables: fold {', '.join(map(str, sorted(absent)))}.")
    if thresholds is not None:
        scored["settings"]["threshold_by_fold"] = {str(fold): float(expit(t)) for fold, t in thresholds.items()}
        scored["settings"]["threshold_source"] = "each fold's model's own, chosen on its validation data"


def summarize(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Scores of several seeds or models side by side: ``groups`` with each AUC, and by level their mean and SD.

    Args:
        groups: what ``score.json`` holds, by name.
    """
    result: dict[str, Any] = {"groups": {}, "mean": {}}
    for name, scored in groups.items():
        keys = ("n", "positive", "auc", "auc_ci_bootstrap", "auc_ci_delong")
        result["groups"][name] = {level: {key: scored[level][key] for key in keys} for level in levels_of(scored)}
    for level in LEVELS:
        aucs = [levels[level]["auc"] for levels in result["groups"].values() if level in levels]
        if len(aucs) == len(groups):
            result["mean"][level] = {
                "auc": mean(aucs),
                "sd": stdev(aucs) if len(aucs) > 1 else None,
                "groups": len(aucs),
            }
    return result


def format_summary(summary: Mapping[str, Any]) -> str:
    """The summary for the terminal."""
    width = max(map(len, ["mean ± SD", *summary["groups"]]))
    lines = [f"{'per':<7} {'tables':<{width}}  AUC    95 %, bootstrap"]
    for level in levels_of(summary["mean"]):
        for name, levels in summary["groups"].items():
            interval = format_limits(levels[level]["auc_ci_bootstrap"])
            lines.append(f"{level:<7} {name:<{width}}  {levels[level]['auc']:.3f}  {interval}")
        spread = format_spread(summary["mean"][level]["auc"], summary["mean"][level]["sd"])
        lines.append(f"{level:<7} {'mean ± SD':<{width}}  {spread}")
    return "\n".join(lines)


def summary_page(summary: Mapping[str, Any], folders: Mapping[str, Path]) -> str:
    """The summary as a page, with a link to the report of each.

    Args:
        summary: of :func:`summarize`.
        folders: of the reports, by name, beside the page.
    """
    rows = []
    for level, spread in summary["mean"].items():
        for name, levels in summary["groups"].items():
            link = f'<a href="{folders[name].name}/report.html">{escape(name)}</a>'
            rows.append([level, link, *auc_cells(levels[level])])
        rows.append([level, "mean ± SD", "", "", format_spread(spread["auc"], spread["sd"]), "", ""])
    header = ["per", "report", "n", "malignant", "AUC", "95 %, bootstrap", "95 %, DeLong"]
    return page("Scores side by side", make_table(header, rows, raw=True))


def format_spread(average: float, sd: float | None) -> str:
    """``"0.850 ± 0.012"``."""
    return f"{average:.3f}" + ("" if sd is None else f" ± {sd:.3f}")


def _auc(samples: Samples) -> dict[str, Any]:
    counts = {"n": len(samples.labels), "positive": int(samples.labels.sum())}
    if not 0 < counts["positive"] < counts["n"]:
        return {**counts, "auc": None, "auc_ci_delong": None}
    auc, low, high = roc_auc(samples.labels, samples.ranks)
    return {**counts, "auc": auc, "auc_ci_delong": [low, high]}


def _refuse_leaks(rows: Sequence[Row]) -> None:
    folds: dict[str, tuple[str, set[Any]]] = {}
    for row in rows:
        if owner := row.get("patient_id") or row.get("exam_id"):
            folds.setdefault(identifier_key(owner), (owner, set()))[1].add(row.get("fold"))
    if twice := sorted(owner for owner, own in folds.values() if len(own) > 1):
        raise UserError(
            f"{len(twice)} patients are in more than one fold ({some(twice)}), so a model was evaluated on patients "
            "that it was trained on: split by patient, as `monai-e2e prepare --protocol kfold` does"
        )
