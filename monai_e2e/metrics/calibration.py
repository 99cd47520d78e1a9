"""Do probabilities mean what they say?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from monai_e2e.metrics.auc import check_scores
from monai_e2e.metrics.operating import wilson_interval
from monai_e2e.metrics.tables import EXTREME


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared difference of probability and label (Brier, Mon. Weather Rev. 1950), 0 the best.

    Raises:
        UserError: when lengths differ, a probability is not finite or only one class is present.
    """
    y, p = check_scores(labels, probabilities)
    return float(brier_score_loss(y, p))


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> dict[str, Any]:
    """The reliability curve, and its mean distance from the diagonal.

    Args:
        labels: 0 or 1 for each sample.
        probabilities: of 1, within 0–1.
        bins: number of bins, all of the same width.

    Returns:
        ``bins``: for each bin that holds samples ``low``, ``high``, ``n``, ``mean_predicted``, ``observed`` (share of
        positives) and its Wilson interval ``observed_ci``; ``expected_calibration_error``: the bins' absolute
        differences of predicted and observed, weighted by n (Naeini et al., AAAI 2015).

    Raises:
        UserError: when lengths differ, a probability is not finite or only one class is present.
    """
    y, p = check_scores(labels, probabilities)
    edges = np.linspace(0, 1, bins + 1)
    index = np.searchsorted(edges[1:-1], p)  # as sklearn's calibration_curve, which gives no counts
    table: list[dict[str, Any]] = []
    for number in np.unique(index):
        inside = index == number
        n, positive = int(inside.sum()), int(y[inside].sum())
        table.append(
            {
                "low": round(float(edges[number]), 6),
                "high": round(float(edges[number + 1]), 6),
                "n": n,
                "mean_predicted": float(p[inside].mean()),
                "observed": positive / n,
                "observed_ci": wilson_interval(positive, n),
            }
        )
    error = sum(row["n"] * abs(row["mean_predicted"] - row["observed"]) for row in table) / len(y)
    return {"expected_calibration_error": float(error), "bins": table}


def calibration_line(labels: ArrayLike, logits: ArrayLike, confidence: float = 0.95) -> dict[str, Any]:
    """Slope and intercept of calibration: 1 and 0 where log-odds mean what they say (Cox, Biometrika 1958).

    The slope is that of the logistic regression of labels on log-odds, below 1 where they are too extreme. The
    intercept is calibration in the large: what must be added to all log-odds so that as many positives are expected as
    there are; below 0 where too many were.

    Args:
        labels: 0 or 1 for each sample.
        logits: log-odds of 1.
        confidence: coverage of the intervals.

    Returns:
        ``slope``, ``slope_ci``, ``intercept``, ``intercept_ci`` (Wald's intervals); of the slope None where the scores
        separate the classes, are all equal, or stand for probabilities of exactly 0 or 1.

    Raises:
        UserError: when lengths differ, a score is not finite or only one class is present.
    """
    y, s = check_scores(labels, logits)
    quantile = norm.ppf(0.5 + confidence / 2)
    bound = float(abs(s).max()) + 50
    intercept = float(brentq(lambda shift: expit(s + shift).sum() - y.sum(), -bound, bound))
    p = expit(s + intercept)
    half = float(quantile / np.sqrt(max(float((p * (1 - p)).sum()), np.finfo(float).tiny)))
    line: dict[str, Any] = {"slope": None, "slope_ci": None, "intercept": intercept}
    line["intercept_ci"] = [intercept - half, intercept + half] if half < bound else None
    overlap = s[y].min() < s[~y].max() and s[y].max() > s[~y].min()
    if overlap and abs(s).max() < EXTREME:
        slope, offset = fit_logistic(y, s)
        p = expit(slope * s + offset)
        weights = p * (1 - p)
        mean = float((weights * s).sum() / weights.sum())
        variance = 1 / float((weights * (s - mean) ** 2).sum())
        half = float(quantile * np.sqrt(variance))
        line |= {"slope": slope, "slope_ci": [slope - half, slope + half]}
    return line


def fit_logistic(
    labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None, intercept: bool = True
) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of labels on log-odds, without penalty.

    Args:
        labels: 0 or 1 for each sample, both present.
        logits: log-odds of 1.
        weights: of the samples; None: all alike.
        intercept: whether there is one; without it is 0.
    """
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", fit_intercept=intercept, tol=1e-10, max_iter=1000)
    model.fit(np.asarray(logits, dtype=np.float64)[:, None], np.asarray(labels).astype(int), weights)
    return float(model.coef_[0, 0]), float(np.ravel(model.intercept_)[0])
