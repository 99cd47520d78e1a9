"""Area under the ROC curve: its interval, and whether two classifiers differ in it, by DeLong's method.

The method takes samples as independent. The images of one patient are not, so intervals per image come out somewhat
too narrow; :mod:`monai_e2e.metrics.bootstrap` resamples patients instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from monai_e2e.errors import UserError


def check_scores(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels as bool and scores as float64, both ``[N]``.

    Raises:
        UserError: when lengths differ, a score is not finite, a label is not 0 or 1, or only one class is present.
    """
    y, s = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if y.shape != s.shape or y.ndim != 1:
        raise UserError(f"labels and scores must be two lists of one length, got shapes {y.shape} and {s.shape}")
    if not np.isfinite(s).all():
        raise UserError(f"{int((~np.isfinite(s)).sum())} of {s.size} scores are NaN or infinite: no AUC can be given")
    if not np.isin(y, (0, 1)).all():
        raise UserError(f"labels must be 0 or 1, got {sorted(set(y.tolist()) - {0, 1})[:5]}")
    if len(set(y.tolist())) < 2:
        raise UserError("the AUC needs positive and negative samples, these labels hold one class only")
    return y.astype(bool), s


def roc_auc(labels: ArrayLike, scores: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """AUC with DeLong's interval on the logit scale, which stays inside 0–1 and is never empty at the ends.

    Source: DeLong et al., Biometrics 1988; placements by mid-ranks after Sun & Xu, IEEE Signal Proc. Lett. 2014;
    logit interval after Pepe 2003, §5.2.

    Args:
        labels: 0 or 1 for each sample.
        scores: any score that grows with the probability of 1; ties count one half.
        confidence: coverage of the interval.

    Returns:
        AUC, lower and upper limit. DeLong's variance vanishes at perfect separation; the limit is then that of a
        proportion of 1 among as many samples as the smaller class has (the "rule of three"). Equal scores throughout
        give 0.5 with the interval 0–1.

    Raises:
        UserError: when lengths differ, a score is not finite or only one class is present.
    """
    y, s = check_scores(labels, scores)
    m, n = int(y.sum()), int((~y).sum())
    aucs, covariance = _delong(y, s[None])
    auc, variance = float(aucs[0]), float(covariance[0, 0])
    if auc in (0.0, 1.0):
        bound = (1 - confidence) ** (1 / min(m, n))
        return (auc, bound, 1.0) if auc == 1.0 else (auc, 0.0, 1 - bound)
    if variance == 0.0:  # every score the same: nothing is known
        return auc, 0.0, 1.0
    half = norm.ppf(0.5 + confidence / 2) * np.sqrt(variance) / (auc * (1 - auc))
    low, high = (float(expit(logit(auc) + side * half)) for side in (-1, 1))
    return auc, low, high


def delong_covariance(labels: ArrayLike, scores: Sequence[ArrayLike]) -> tuple[np.ndarray, np.ndarray]:
    """AUCs ``[K]`` of K score vectors ``[K, N]`` on the same samples, and their covariance ``[K, K]``.

    Source: DeLong et al., Biometrics 1988, equations 3 to 6. A class with one sample has no variance of its own; it
    then counts 1/4, the largest that values within 0–1 can have.

    Raises:
        UserError: as :func:`roc_auc`, for any of the score vectors.
    """
    checked = [check_scores(labels, vector) for vector in scores]
    return _delong(checked[0][0], np.stack([vector for _, vector in checked]))


def compare_aucs(labels: ArrayLike, first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> dict[str, Any]:
    """DeLong's paired test: do two classifiers differ in AUC on the same samples?

    Args:
        labels: 0 or 1 for each sample.
        first: scores of one classifier, sample by sample.
        second: scores of the other.
        confidence: coverage of the difference's interval.

    Returns:
        ``auc_first``, ``auc_second``, ``difference`` (first − second), ``difference_ci`` (normal approximation), ``z``
        and two-sided ``p``. Scores of the same order throughout give z 0 and p 1. Interval, z and p are None where the
        AUCs differ and the method finds no variance, as between perfect separation and constant scores.

    Raises:
        UserError: as :func:`roc_auc`, for either score vector.
    """
    (auc_first, auc_second), covariance = delong_covariance(labels, [first, second])
    difference = float(auc_first - auc_second)
    # Where both classifiers order the samples alike, the variance is zero but for rounding.
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    result: dict[str, Any] = {"auc_first": float(auc_first), "auc_second": float(auc_second), "difference": difference}
    if variance > 1e-15:
        error = float(np.sqrt(variance))
        half, z = norm.ppf(0.5 + confidence / 2) * error, difference / error
        interval = [max(-1.0, float(difference - half)), min(1.0, float(difference + half))]
        return result | {"difference_ci": interval, "z": float(z), "p": float(2 * norm.sf(abs(z)))}
    if abs(difference) < 1e-12:
        return result | {"difference_ci": [0.0, 0.0], "z": 0.0, "p": 1.0}
    return result | {"difference_ci": None, "z": None, "p": None}


def compare_clustered(labels: ArrayLike, first: ArrayLike, second: ArrayLike, clusters: ArrayLike) -> dict[str, Any]:
    """Obuchowski's paired test: do two classifiers differ in AUC, where samples of one patient may be alike?

    Source: Obuchowski, Biometrics 1997. Where each cluster has one sample it is DeLong's test.

    Args:
        labels: 0 or 1 for each sample.
        first, second: scores of the two classifiers, sample by sample.
        clusters: the number of each sample's patient, from 0.

    Returns:
        ``z_patients`` and two-sided ``p_patients``; 0 and 1 where no patient is judged otherwise, None where fewer than
        two patients have positives, or negatives, or the method finds no variance.

    Raises:
        UserError: as :func:`roc_auc`, for either score vector.
    """
    (y, one), (_, two), owners = check_scores(labels, first), check_scores(labels, second), np.asarray(clusters)
    differences = [np.subtract(*values) for values in _placements(y, np.stack([one, two]))]
    difference, counts, variance = float(differences[0].mean()), [], 0.0
    sums = []
    for values, members in zip(differences, (owners[y], owners[~y]), strict=True):
        sums.append(np.bincount(members, values - difference, int(owners.max()) + 1))
        counts.append(np.unique(members).size)
    if min(counts) < 2:
        return {"z_patients": None, "p_patients": None}
    sizes, every = (int(y.sum()), int((~y).sum())), np.unique(owners).size
    for total, count, size in zip(sums, counts, sizes, strict=True):
        variance += count / (count - 1) * float(total @ total) / size**2
    variance += 2 * every / (every - 1) * float(sums[0] @ sums[1]) / (sizes[0] * sizes[1])
    if variance > 1e-15:
        z = difference / float(np.sqrt(variance))
        return {"z_patients": z, "p_patients": float(2 * norm.sf(abs(z)))}
    return (
        {"z_patients": 0.0, "p_patients": 1.0} if abs(difference) < 1e-12 else {"z_patients": None, "p_patients": None}
    )


def _delong(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUCs ``[K]`` and covariance ``[K, K]`` from bool labels ``[N]`` and scores ``[K, N]``."""
    of_positive, of_negative = _placements(positive, scores)
    covariance = np.zeros((len(scores), len(scores)))
    for placements in (of_positive, of_negative):
        size = placements.shape[1]
        covariance += np.atleast_2d(np.cov(placements)) / size if size > 1 else 0.25
    return of_positive.mean(axis=1), covariance


def _placements(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of negatives below each positive ``[K, M]``, and of positives above each negative ``[K, N − M]``."""
    m, n = int(positive.sum()), int((~positive).sum())
    of_positive, of_negative = np.empty((len(scores), m)), np.empty((len(scores), n))
    for k, vector in enumerate(scores):
        rank_all = rankdata(np.concatenate([vector[positive], vector[~positive]]))
        of_positive[k] = (rank_all[:m] - rankdata(vector[positive])) / n
        of_negative[k] = 1.0 - (rank_all[m:] - rankdata(vector[~positive])) / m
    return of_positive, of_negative
