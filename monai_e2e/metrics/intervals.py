"""The bootstrap's intervals of all figures of a score, of the same draws of patients.

The expected calibration error has none: a resample is calibrated worse than the data that it is drawn from. In a
simulation the interval held a true error of 0.10 in 64 of 100 sets of 200 images, and in 88 of 100 sets of 600.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit

from monai_e2e.metrics.bootstrap import BootstrapInterval, Statistics, patient_bootstrap, weighted_areas, weighted_sums
from monai_e2e.metrics.decision import SHOWN, limits_at
from monai_e2e.metrics.samples import Samples, owners_of
from monai_e2e.metrics.subgroups import OF_POSITIVES


def bootstrap_intervals(
    samples: Mapping[str, Samples],
    members: Mapping[str, Mapping[str, np.ndarray]],
    seed: int,
    resamples: int,
    prevalence: float | None,
    present: float | None,
) -> tuple[dict[str, list[BootstrapInterval]], dict[tuple[str, str], BootstrapInterval]]:
    """Intervals of the figures of each level, and of the AUC of each subgroup.

    Args:
        samples: of each level.
        members: of :func:`~monai_e2e.metrics.subgroup_members`.
        seed, resamples, prevalence, present: as of :func:`~monai_e2e.metrics.score_rows`.

    Returns:
        By level the intervals of AUC, average precision, Brier score, probabilistic F1 and of the net benefit at each
        threshold of :data:`~monai_e2e.metrics.decision.SHOWN`; by name and word of a subgroup that of its AUC.
    """
    images = samples["image"]
    of_positives = {(name, word): chosen for name in OF_POSITIVES for word, chosen in members.get(name, {}).items()}
    subsets = [np.isin(np.arange(len(images.labels)), chosen) for chosen in of_positives.values()]
    parts: dict[Any, Samples] = dict(samples)
    for name in members.keys() - set(OF_POSITIVES):
        parts |= {(name, word): images.part(chosen) for word, chosen in members[name].items()}
    statistics = [
        weighted_areas(part.labels, part.ranks, part.owners, subsets if part is images else (), key in samples)
        for key, part in parts.items()
    ]
    statistics += [_of_sums(sample, prevalence, present) for sample in samples.values()]
    found = patient_bootstrap(owners_of(samples), statistics, seed, resamples)
    areas, sums = dict(zip(parts, found, strict=False)), found[len(parts) :]
    levels = {level: [areas[level][0], areas[level][-1], *own] for level, own in zip(samples, sums, strict=True)}
    subgroups = {key: own[0] for key, own in areas.items() if key not in samples}
    return levels, subgroups | dict(zip(of_positives, areas["image"][1:-1], strict=True))


def _of_sums(samples: Samples, prevalence: float | None, present: float | None) -> Statistics:
    """Brier score, probabilistic F1 and net benefits, which are made of sums over the samples."""
    positive, p = samples.labels == 1, expit(samples.logits)
    share = float(positive.mean()) if prevalence is None else prevalence
    called = p >= np.array(limits_at(SHOWN, share, present))[:, None]
    odds = np.array([[threshold / (1 - threshold)] for threshold in SHOWN])

    def figures(sums: np.ndarray) -> np.ndarray:
        n, positives, squared, probability, found = sums[:5]
        true, false = np.split(sums[5:], 2)
        with np.errstate(invalid="ignore"):  # 0 / 0 where a class is absent
            share = positives / n if prevalence is None else prevalence
            benefits = share * true / positives - (1 - share) * false / (n - positives) * odds
            values = np.stack([squared / n, 2 * found / (probability + positives), *benefits])
        return np.where((positives > 0) & (positives < n), values, np.nan)

    columns = [np.ones_like(p), positive, (p - positive) ** 2, p, p * positive, *(called & positive)]
    return weighted_sums([*columns, *(called & ~positive)], samples.owners, figures)
