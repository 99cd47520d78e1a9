"""Is acting on the scores better than treating everybody alike?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from monai_e2e.metrics.auc import check_scores
from monai_e2e.metrics.operating import check_prevalence

#: Of a decision curve.
THRESHOLDS = tuple(percent / 100 for percent in range(1, 100))
#: Those that ``score.json`` has.
SHOWN = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def decision_curve(
    labels: ArrayLike,
    probabilities: ArrayLike,
    thresholds: Sequence[float] = THRESHOLDS,
    prevalence: float | None = None,
    present: float | None = None,
) -> list[dict[str, float]]:
    """Net benefit at each threshold: true positives minus false ones weighted by the threshold's odds, per sample.

    Source: Vickers & Elkin, Med. Decis. Making 2006. To act from a probability of t on means that a missed positive
    is (1 − t) / t times as bad as a false alarm. Calling nobody has net benefit 0.

    Args:
        labels: 0 or 1 for each sample.
        probabilities: of label 1, within 0–1; calibrated, or the thresholds mean something else.
        thresholds: between 0 and 1.
        prevalence: share of positives that the rates are weighed by; None: that of these data.
        present: share of positives that the probabilities were calibrated at, which are moved to the prevalence; None:
            they stay as they are.

    Returns:
        Dicts with ``threshold``, ``model`` and ``all``, the net benefit of calling everybody.

    Raises:
        UserError: when lengths differ, a probability is not finite, only one class is present or the prevalence is not
            between 0 and 1.
    """
    y, p = check_scores(labels, probabilities)
    share = check_prevalence(float(y.mean()) if prevalence is None else prevalence)
    positive, negative = np.sort(p[y]), np.sort(p[~y])
    curve = []
    for threshold, limit in zip(thresholds, limits_at(thresholds, share, present), strict=True):
        odds = threshold / (1 - threshold)
        sensitivity, false_alarms = (
            1 - float(np.searchsorted(scores, limit)) / scores.size for scores in (positive, negative)
        )
        benefit = {"threshold": threshold, "model": share * sensitivity - (1 - share) * false_alarms * odds}
        curve.append(benefit | {"all": share - (1 - share) * odds})
    return curve


def limits_at(thresholds: Sequence[float], prevalence: float, present: float | None) -> Sequence[float]:
    """The probabilities, as they were calibrated, that are the thresholds at the prevalence."""
    if present in (None, prevalence):
        return thresholds
    shift = logit(prevalence) - logit(check_prevalence(present))
    return [float(expit(logit(threshold) - shift)) for threshold in thresholds]
