"""Do probabilities mean what they say?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from monai_e2e.metrics.auc import check_scores
from monai_e2e.metrics.operating import wilson_interval

#: Log-odds beyond which probabilities are 0 or 1 as far as anybody counts.
_LARGEST = 35.0


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


def calibration_line(labels: ArrayLike, logits: ArrayLike) -> dict[str, float | None]:
    """Slope and intercept of the calibration (Cox, Biometrika 1958; Van Calster et al., BMC Med. 2019).

    A slope below 1 says that probabilities are too extreme. The intercept is what has to be added to all log-odds for
    their mean probability to be the share of positives: below 0 they are too high.

    Args:
        labels: 0 or 1 for each sample.
        logits: log-odds of 1.

    Returns:
        ``slope``, None where the scores separate the classes, and ``intercept``.

    Raises:
        UserError: when lengths differ, a score is not finite or only one class is present.
    """
    y, s = check_scores(labels, logits)
    s = np.clip(s, -_LARGEST, _LARGEST)
    separated = s[y].min() >= s[~y].max() or s[y].max() <= s[~y].min()
    limit = 2 * _LARGEST
    intercept = brentq(lambda shift: float(expit(s + shift).mean() - y.mean()), -limit, limit)
    return {"slope": None if separated else fit_logistic(y, s)[0], "intercept": float(intercept)}
