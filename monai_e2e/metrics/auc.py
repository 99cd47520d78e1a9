"""Area under the ROC curve with its confidence interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm, rankdata

from monai_e2e.errors import UserError


def _checked(labels: Sequence[int], scores: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
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


def roc_auc(labels: Sequence[int], scores: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
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
    y, s = _checked(labels, scores)
    positive, negative = s[y], s[~y]
    m, n = positive.size, negative.size
    rank_all = rankdata(np.concatenate([positive, negative]))
    placement_positive = (rank_all[:m] - rankdata(positive)) / n
    placement_negative = 1.0 - (rank_all[m:] - rankdata(negative)) / m
    auc = float(placement_positive.mean())
    variance = sum(np.var(p, ddof=1) / p.size if p.size > 1 else 0.25 for p in (placement_positive, placement_negative))
    if auc in (0.0, 1.0):
        bound = (1 - confidence) ** (1 / min(m, n))
        return (auc, bound, 1.0) if auc == 1.0 else (auc, 0.0, 1 - bound)
    if variance == 0.0:  # every score the same: nothing is known
        return auc, 0.0, 1.0
    half = norm.ppf(0.5 + confidence / 2) * np.sqrt(variance) / (auc * (1 - auc))
    logit = np.log(auc / (1 - auc))
    low, high = (float(1 / (1 + np.exp(-(logit + side * half)))) for side in (-1, 1))
    return auc, low, high
