"""Intervals that hold although the images of one patient are alike: whole patients are resampled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from monai_e2e.errors import UserError

#: Counts in memory at a time, a matrix of resamples × patients.
_CHUNK = 4_000_000

#: Patients above which each draw is counted, in a sixth of the time. Fewer keep the draws that all published intervals
#: are of; both are of the same distribution.
_MANY = 20_000

#: From how often each patient is drawn, ``[R, P]`` in pairs (:func:`in_pairs`), to values ``[S, R]``, NaN where there
#: is none.
Statistics = Callable[[np.ndarray], np.ndarray]


class BootstrapInterval(NamedTuple):
    """Percentile interval, and how many resamples had no value; limits are None where fewer than half had one."""

    low: float | None
    high: float | None
    undefined: int


def patient_bootstrap(
    patients: int,
    statistics: Sequence[Statistics],
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> list[list[BootstrapInterval]]:
    """Percentile intervals of statistics over resamples of patients, each drawn with all of their samples.

    Patients are drawn with replacement, as many as there are (Efron & Tibshirani 1993, §13.3; clusters: Rutter,
    Acad. Radiol. 2000). All statistics are of the same draws, also those of a part of the patients. A resample in
    which a statistic doesn't exist, since it holds one class alone, is left out: the interval is that of data in which
    both classes occur. Percentile intervals are somewhat narrow where there are few patients of a class, and have no
    width at perfect separation.

    Args:
        patients: how many there are.
        statistics: see :func:`weighted_areas` and :func:`weighted_sums`.
        seed: the same seed draws the same patients.
        resamples: number of resamples.
        confidence: coverage of the intervals.

    Returns:
        The intervals of each statistic's values.

    Raises:
        UserError: when the number of resamples is below 100, too few for a percentile.
    """
    if resamples < 100:
        raise UserError(f"resamples must be 100 or more, 2000 is usual, got {resamples}")
    parts: list[list[np.ndarray]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy computes without Python's lock
        for counts in _draws(pool, patients, seed, resamples):
            parts.append(list(pool.map(lambda statistic, counts=counts: statistic(counts), statistics)))
    values = (np.concatenate(found, axis=1)[:, :resamples] for found in zip(*parts, strict=True))
    return [[_interval(row, confidence) for row in rows] for rows in values]


def weighted_areas(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike | None = None,
    subsets: Sequence[ArrayLike] = (),
    precision: bool = False,
) -> Statistics:
    """AUCs, and the average precision, as functions of how often each patient is drawn.

    Args:
        labels: 0 or 1 for each sample.
        scores: any score that grows with the probability of 1; in the AUC ties count one half.
        patients: the number of each sample's patient, from 0; None: a patient for each sample.
        subsets: which positives belong to a subset, bool for each sample.
        precision: whether the average precision is wanted.

    Returns:
        From counts to ``[1 + S (+ 1), R]``: the AUC, that of each subset of the positives against all negatives, and
        the average precision; NaN where a class is absent.
    """
    scores = np.asarray(scores)
    order = np.argsort(scores, kind="stable")  # once: each resample then is running sums
    positive = np.asarray(labels)[order] == 1
    high, low = scores[order[positive]], scores[order[~positive]]
    owners = order if patients is None else np.asarray(patients)[order]
    owners_high, owners_low = owners[positive], owners[~positive]
    below, up_to = np.searchsorted(low, high), np.searchsorted(low, high, "right")
    tied = not np.array_equal(below, up_to)
    own_below = np.searchsorted(high, high)
    members = np.stack([np.ones(high.size), *(np.asarray(subset)[order[positive]] for subset in subsets)], axis=1)

    def areas(counts: np.ndarray) -> np.ndarray:
        values = np.empty((members.shape[1] + precision, len(counts), 2))
        true, false = np.zeros(high.size + 1, np.uint64), np.zeros(low.size + 1, np.uint64)
        for number, drawn in enumerate(counts):
            np.take(drawn, owners_low, out=false[1:], mode="clip")
            np.cumsum(false[1:], out=false[1:])
            lower, all_low = false[below], _apart(false[-1:])
            weights = _apart(drawn[owners_high])
            wins = _apart(lower + false[up_to]) / 2 if tied else _apart(lower)
            with np.errstate(invalid="ignore"):  # 0 / 0 where a class is absent
                of_members = weights @ members
                auc = (wins * weights) @ members / (of_members * all_low)
            values[: members.shape[1], number] = auc.T
            if precision:
                np.cumsum(drawn[owners_high], out=true[1:])
                at_least = true[-1] - true[own_below]
                share = _apart(at_least) / np.maximum(_apart(at_least + false[-1] - lower), 1)
                with np.errstate(invalid="ignore"):
                    values[-1, number] = (weights * share).sum(axis=1) / of_members[:, 0]
                values[-1, number][all_low[:, 0] == 0] = np.nan
        return values.reshape(len(values), -1)

    return areas


def weighted_sums(columns: ArrayLike, patients: ArrayLike, figures: Callable[[np.ndarray], np.ndarray]) -> Statistics:
    """Figures that are made of sums over samples, as functions of how often each patient is drawn.

    Args:
        columns: what is summed, ``[K, N]``.
        patients: the number of each sample's patient, from 0.
        figures: from sums ``[K, R]`` to values ``[S, R]``.
    """
    of_patients = np.stack([np.bincount(patients, column) for column in np.asarray(columns)], axis=1)

    # All resamples at once: the columns of a million rows are read from memory once for all of them.
    return lambda counts: figures(
        (np.concatenate([_apart(drawn[: len(of_patients)]) for drawn in counts]) @ of_patients).T
    )


def limits_of(interval: BootstrapInterval) -> list[float] | None:
    """An interval's limits; None where it has none."""
    low, high, _ = interval
    return None if low is None or high is None else [low, high]


def in_pairs(counts: np.ndarray) -> np.ndarray:
    """Counts ``[R, P]`` of two resamples each as the halves of 64 bits ``[R / 2, P]``, which are summed at once.

    An odd number of resamples gets a last one that draws nobody.
    """
    even = np.pad(counts, ((0, len(counts) % 2), (0, 0))).astype(np.uint32)
    return np.ascontiguousarray(even.reshape(-1, 2, counts.shape[1]).transpose(0, 2, 1)).view(np.uint64)[..., 0]


def _apart(pairs: np.ndarray) -> np.ndarray:
    """The two resamples ``[2, N]`` of sums ``[N]`` of :func:`in_pairs`."""
    return pairs.view(np.uint32).reshape(-1, 2).T.astype(np.float64, order="C")


def _draws(pool: ThreadPoolExecutor, patients: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """How often each patient is drawn, in parts of :func:`in_pairs`; the next one is drawn while one is worked on."""
    random = np.random.default_rng(seed)
    step = 2 * max(1, _CHUNK // patients // 2)
    shares = np.full(patients, 1 / patients)

    def draw(start: int) -> np.ndarray:
        count = min(step, resamples - start)
        if patients <= _MANY:
            return in_pairs(random.multinomial(patients, shares, count))
        drawn = (random.integers(patients, size=patients, dtype=np.int32) for _ in range(count))
        return in_pairs(np.stack([np.bincount(one, minlength=patients) for one in drawn]))

    following = pool.submit(draw, 0)
    for start in range(step, resamples, step):
        counts, following = following.result(), pool.submit(draw, start)
        yield counts
    yield following.result()


def _interval(values: np.ndarray, confidence: float) -> BootstrapInterval:
    found = values[np.isfinite(values)]
    undefined = values.size - found.size
    if undefined > values.size / 2:
        return BootstrapInterval(None, None, undefined)
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return BootstrapInterval(float(low), float(high), undefined)
