"""Operating points: what a threshold on the score does.

Everywhere a sample whose score equals or exceeds the threshold counts as positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from scipy.stats import binomtest
from sklearn.metrics import roc_curve

from monai_e2e.errors import UserError
from monai_e2e.metrics.auc import check_scores

#: Where the other of sensitivity and specificity is reported.
FIXED_RATES = (0.8, 0.9, 0.95)


def wilson_interval(count: int, total: int, confidence: float = 0.95) -> list[float] | None:
    """Wilson's score interval of a proportion (Wilson, JASA 1927); None for none of none."""
    if total == 0:
        return None
    interval = binomtest(int(count), int(total)).proportion_ci(confidence, method="wilson")
    return [float(interval.low), float(interval.high)]


def choose_threshold(labels: ArrayLike, logits: ArrayLike) -> float:
    """The threshold with the largest sensitivity + specificity − 1 (Youden, Cancer 1950), to be applied to other data.

    Chosen and applied on the same data it flatters the classifier, so choose it on validation data.

    Args:
        labels: 0 or 1 for each sample.
        logits: log-odds of the positive class.

    Returns:
        Log-odds, the midpoint between two neighbouring scores. Of several equally good thresholds it is the lowest,
        the one that misses least. If all scores are the same, that score.

    Raises:
        UserError: when lengths differ, a score is not finite or only one class is present.
    """
    y, s = check_scores(labels, logits)
    false_positive, true_positive, scores = roc_curve(y, s, drop_intermediate=False)
    if len(scores) == 2:  # infinity and the one score
        return float(scores[1])
    youden = (true_positive - false_positive)[1:-1]  # without the two thresholds that tell nobody apart
    best = int(np.flatnonzero(np.isclose(youden, youden.max(), rtol=0, atol=1e-12))[-1]) + 1
    return float((scores[best] + scores[best + 1]) / 2)


def performance_at(
    labels: ArrayLike, logits: ArrayLike, threshold: float, prevalence: float | None = None
) -> dict[str, Any]:
    """Counts and rates at a threshold, with Wilson intervals.

    Args:
        labels: 0 or 1 for each sample.
        logits: log-odds of the positive class.
        threshold: log-odds, from other data than these.
        prevalence: another share of positives, at which predictive values are wanted too.

    Returns:
        ``threshold`` (as probability), ``threshold_logit``, the counts ``true_positive``, ``false_positive``,
        ``true_negative``, ``false_negative``, and ``sensitivity``, ``specificity``, ``ppv``, ``npv`` each with its
        ``…_ci``; a rate of no samples is None. Predictive values are those of these data's share of positives; with a
        prevalence :func:`predictive_values` are there too.

    Raises:
        UserError: when lengths differ, a score or the threshold is not finite, only one class is present or the
            prevalence is not between 0 and 1.
    """
    y, s = check_scores(labels, logits)
    if not np.isfinite(threshold):
        raise UserError(f"threshold must be a number, got {threshold}")
    called = s >= threshold
    true_positive, false_positive = int((called & y).sum()), int((called & ~y).sum())
    false_negative, true_negative = int((~called & y).sum()), int((~called & ~y).sum())
    result: dict[str, Any] = {
        "threshold": float(expit(threshold)),
        "threshold_logit": float(threshold),
        "true_positive": true_positive,
        "false_positive": false_positive,
        "true_negative": true_negative,
        "false_negative": false_negative,
    }
    rates = {
        "sensitivity": (true_positive, true_positive + false_negative),
        "specificity": (true_negative, true_negative + false_positive),
        "ppv": (true_positive, true_positive + false_positive),
        "npv": (true_negative, true_negative + false_negative),
    }
    for name, (count, total) in rates.items():
        result[name] = count / total if total else None
        result[f"{name}_ci"] = wilson_interval(count, total)
    if prevalence is not None:
        result |= predictive_values(result["sensitivity"], result["specificity"], prevalence)
    return result


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> dict[str, Any]:
    """What a positive and a negative call mean at another share of positives, by Bayes' rule.

    Returns:
        ``ppv_at_prevalence`` and ``npv_at_prevalence``, None where there is no such call.

    Raises:
        UserError: when the prevalence is not between 0 and 1.
    """
    share = check_prevalence(prevalence)
    found, alarms = share * sensitivity, (1 - share) * (1 - specificity)
    cleared, missed = (1 - share) * specificity, share * (1 - sensitivity)
    return {
        "ppv_at_prevalence": found / (found + alarms) if found + alarms else None,
        "npv_at_prevalence": cleared / (cleared + missed) if cleared + missed else None,
    }


def check_prevalence(prevalence: float) -> float:
    """The share of positives as it is; raises :class:`UserError` unless it is between 0 and 1."""
    if not 0 < prevalence < 1:
        raise UserError(f"prevalence {prevalence:g}: give a share between 0 and 1, such as 0.006")
    return prevalence


def sensitivity_at_specificity(
    labels: ArrayLike, scores: ArrayLike, specificities: Sequence[float] = FIXED_RATES
) -> dict[str, dict[str, Any]]:
    """The highest sensitivity at which specificity is still at least the wanted one.

    The points lie on the empirical ROC curve and are read off these data, so they describe the curve and are no
    thresholds to work at; the Wilson intervals take the point on the curve as given.

    Returns:
        By wanted specificity (``"0.8"`` …): ``sensitivity``, ``sensitivity_ci`` and the ``specificity`` reached.

    Raises:
        UserError: when lengths differ, a score is not finite or only one class is present.
    """
    return _at_fixed(labels, scores, specificities, "sensitivity", "specificity")


def specificity_at_sensitivity(
    labels: ArrayLike, scores: ArrayLike, sensitivities: Sequence[float] = FIXED_RATES
) -> dict[str, dict[str, Any]]:
    """The reverse of :func:`sensitivity_at_specificity`: the highest specificity at no less than a sensitivity."""
    return _at_fixed(labels, scores, sensitivities, "specificity", "sensitivity")


def _at_fixed(
    labels: ArrayLike, scores: ArrayLike, wanted: Sequence[float], name: str, fixed: str
) -> dict[str, dict[str, Any]]:
    y, s = check_scores(labels, scores)
    false_positive, true_positive, _ = roc_curve(y, s, drop_intermediate=False)
    rates = {"sensitivity": true_positive, "specificity": 1 - false_positive}
    total = int(y.sum()) if name == "sensitivity" else int((~y).sum())
    result = {}
    for rate in wanted:
        allowed = np.flatnonzero(rates[fixed] >= rate - 1e-12)
        best = allowed[np.lexsort((rates[fixed][allowed], rates[name][allowed]))[-1]]
        value = float(rates[name][best])
        result[f"{rate:g}"] = {
            name: value,
            f"{name}_ci": wilson_interval(round(value * total), total),
            fixed: float(rates[fixed][best]),
        }
    return result
