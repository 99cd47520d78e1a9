"""Figures that challenges and reviewers ask for beside the AUC: F1, partial AUC, sensitivity at a recall rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from monai_e2e.metrics.auc import check_scores
from monai_e2e.metrics.operating import check_prevalence, wilson_interval

#: Of false positives, up to which the ROC curve is looked at.
FALSE_POSITIVE_RATES = (0.1, 0.2)
#: Shares of all that are recalled: usual in Europe, and in the USA.
RECALL_RATES = (0.05, 0.1, 0.2)


def probabilistic_f1(labels: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """F1 without a threshold: each sample is called to the extent of its probability.

    Source: Yacouby & Axman, Eval4NLP 2020; the metric of RSNA's screening mammography challenge of 2023, there per
    breast. It depends on calibration and on the share of positives.

    Args:
        labels: 0 or 1 for each sample.
        probabilities: of 1, within 0–1.

    Returns:
        ``value``, ``precision``, ``recall``.

    Raises:
        UserError: when lengths differ, a probability is not finite or only one class is present.
    """
    y, p = check_scores(labels, probabilities)
    true, false = float(p[y].sum()), float(p[~y].sum())
    precision, recall = true / (true + false) if true else 0.0, true / int(y.sum())
    value = 2 * precision * recall / (precision + recall) if true else 0.0
    return {"value": value, "precision": precision, "recall": recall}


def best_f1(labels: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    """The highest F1 of all thresholds, and the score it is reached at; chosen on these data it flatters.

    Returns:
        ``value``, ``threshold`` (a score), ``precision``, ``recall``.

    Raises:
        UserError: as :func:`probabilistic_f1`.
    """
    y, s = check_scores(labels, scores)
    precision, recall, thresholds = precision_recall_curve(y, s)
    precision, recall = precision[:-1], recall[:-1]
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    best = int(np.argmax(f1))
    values = (f1[best], thresholds[best], precision[best], recall[best])
    return dict(zip(("value", "threshold", "precision", "recall"), map(float, values), strict=True))


def partial_auc(
    labels: ArrayLike, scores: ArrayLike, rates: Sequence[float] = FALSE_POSITIVE_RATES
) -> dict[str, float]:
    """The AUC up to a rate of false positives, scaled so that chance is 0.5 and the best 1 (McClish 1989).

    Returns:
        By rate (``"0.1"`` …), as scikit-learn's ``roc_auc_score(max_fpr=…)``.

    Raises:
        UserError: as :func:`probabilistic_f1`.
    """
    y, s = check_scores(labels, scores)
    return {f"{rate:g}": float(roc_auc_score(y, s, max_fpr=rate)) for rate in rates}


def sensitivity_at_recall_rate(
    labels: ArrayLike,
    scores: ArrayLike,
    rates: Sequence[float] = RECALL_RATES,
    prevalence: float | None = None,
) -> dict[str, dict[str, Any]]:
    """The highest sensitivity when no more than a share of all is recalled.

    Args:
        labels: 0 or 1 for each sample.
        scores: any score that grows with the probability of 1.
        rates: shares.
        prevalence: share of positives among those screened; None: that of these data, which is far too high where
            cancers were collected.

    Returns:
        By rate: ``sensitivity``, its Wilson interval ``sensitivity_ci``, and the ``recall_rate`` reached.

    Raises:
        UserError: as :func:`probabilistic_f1`.
    """
    y, s = check_scores(labels, scores)
    false_positive, true_positive, _ = roc_curve(y, s, drop_intermediate=False)
    share = check_prevalence(float(y.mean()) if prevalence is None else prevalence)
    called, total = share * true_positive + (1 - share) * false_positive, int(y.sum())
    result = {}
    for rate in rates:
        best = int(np.flatnonzero(called <= rate + 1e-12)[-1])  # both rise from point to point
        sensitivity = float(true_positive[best])
        result[f"{rate:g}"] = {
            "sensitivity": sensitivity,
            "sensitivity_ci": wilson_interval(round(sensitivity * total), total),
            "recall_rate": float(called[best]),
        }
    return result
