"""Intervals that hold although the images of one patient are alike: whole patients are drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from monai_e2e.errors import UserError

#: Weights in memory at a time, a matrix of resamples × samples.
_CHUNK = 4_000_000


class BootstrapInterval(NamedTuple):
    """Percentile interval, and how many resamples had no value; limits are None where fewer than half had one."""

    low: float | None
    high: float | None
    undefined: int


def patient_bootstrap(
    patients: Sequence[Hashable],
    statistic: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> BootstrapInterval:
    """Percentile interval of a statistic over resamples of patients, each drawn with all of their samples.

    Patients are drawn with replacement, as many as there are (Efron & Tibshirani 1993, §13.3; clusters: Rutter,
    Acad. Radiol. 2000). A resample in which the statistic doesn't exist, since it holds one class alone, is left out:
    the interval is that of data in which both classes occur. Percentile intervals are somewhat narrow where there are
    few patients of a class, and have no width at perfect separation.

    Args:
        patients: the patient of each sample, N of them.
        statistic: takes weights ``[R, N]``, how often each sample occurs in each of R resamples, and returns the
            values ``[R]``, NaN where there is none; see :func:`weighted_auc`.
        seed: the same seed draws the same patients.
        resamples: number of resamples.
        confidence: coverage of the interval.

    Raises:
        UserError: when the number of resamples is below 100, too few for a percentile.
    """
    if resamples < 100:
        raise UserError(f"resamples must be 100 or more, 2000 is usual, got {resamples}")
    _, index = np.unique(np.asarray([str(patient) for patient in patients]), return_inverse=True)
    count = int(index.max()) + 1
    random = np.random.default_rng(seed)
    values: list[np.ndarray] = []
    step = max(1, _CHUNK // len(index))
    for start in range(0, resamples, step):
        draws = random.multinomial(count, np.full(count, 1 / count), size=min(step, resamples - start))
        values.append(statistic(draws[:, index].astype(np.float64)))
    found = np.concatenate(values)
    found = found[np.isfinite(found)]
    if found.size < resamples / 2:
        return BootstrapInterval(None, None, resamples - found.size)
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return BootstrapInterval(float(low), float(high), resamples - found.size)


def weighted_auc(labels: ArrayLike, scores: ArrayLike) -> Callable[[np.ndarray], np.ndarray]:
    """A function from weights ``[R, N]`` to AUCs ``[R]``; ties count one half, NaN where a class has no weight."""
    positive, order, starts = _sorted(labels, scores)

    def auc(weights: np.ndarray) -> np.ndarray:
        of_positive, of_negative = _sums(weights, positive, order, starts)
        below = np.cumsum(of_negative, axis=1) - of_negative / 2
        pairs = of_positive.sum(axis=1) * of_negative.sum(axis=1)
        wins = (of_positive * below).sum(axis=1)
        return np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)

    return auc


def weighted_average_precision(labels: ArrayLike, scores: ArrayLike) -> Callable[[np.ndarray], np.ndarray]:
    """A function from weights ``[R, N]`` to average precisions ``[R]``, NaN where a class has no weight."""
    positive, order, starts = _sorted(labels, -np.asarray(scores, dtype=np.float64))

    def average_precision(weights: np.ndarray) -> np.ndarray:
        of_positive, of_negative = _sums(weights, positive, order, starts)
        true, false = np.cumsum(of_positive, axis=1), np.cumsum(of_negative, axis=1)
        both = (true[:, -1] > 0) & (false[:, -1] > 0)
        precision = np.divide(true, true + false, out=np.zeros_like(true), where=true > 0)
        area = (of_positive * precision).sum(axis=1)
        return np.divide(area, true[:, -1], out=np.full(len(weights), np.nan), where=both)

    return average_precision


def _sorted(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels in ascending order of the scores, that order, and where each distinct score begins in it."""
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) > 0])
    return np.asarray(labels)[order] == 1, order, starts


def _sums(
    weights: np.ndarray, positive: np.ndarray, order: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the positive and of the negative samples, summed over equal scores: ``[R, distinct scores]`` each."""
    ordered = weights[:, order]
    of_positive = np.add.reduceat(ordered * positive, starts, axis=1)
    return of_positive, np.add.reduceat(ordered, starts, axis=1) - of_positive
