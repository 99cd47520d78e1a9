"""Probabilities that mean what they say: fitted on one data set, kept in a file, applied to others.

A recalibration is monotone, so temperature and Platt's leave every rank, and the AUC, as they were; isotonic regression
makes ties.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from monai_e2e.errors import UserError, did_you_mean
from monai_e2e.metrics.auc import check_scores
from monai_e2e.metrics.calibration import fit_logistic
from monai_e2e.metrics.operating import check_prevalence
from monai_e2e.metrics.tables import EXTREME, SPREAD_COLUMNS
from monai_e2e.work.files import write_json

METHODS = ("temperature", "platt", "isotonic")
#: Samples of each class below which a fit is noted as uncertain.
_FEWEST = 20
_FITTED = "fit it again, by `monai-e2e score … --recalibrate METHOD --recalibrate-from VALIDATION.csv`"


@dataclass(frozen=True)
class Recalibration:
    """A map from log-odds to log-odds, of :func:`fit_recalibration`.

    Args:
        method: one of :data:`METHODS`.
        n: samples that it was fitted on.
        positive: positive ones among them.
        slope: factor of the log-odds; of temperature T it is 1 / T. None for isotonic.
        intercept: what is added to them; 0 for temperature, None for isotonic.
        logits: isotonic: log-odds of the steps' ends, ascending.
        probabilities: isotonic: what they become; straight lines between, constant beyond.
        source: what it was fitted on, in words.
        threshold: recalibrated probability from which on an image counts as positive, chosen on the same samples; None
            where none was.
        model: SHA-256 of the checkpoint whose scores these are; empty where any model's may be.
    """

    method: str
    n: int
    positive: int
    slope: float | None = None
    intercept: float | None = None
    logits: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()
    source: str = ""
    threshold: float | None = None
    model: str = ""

    def apply(self, logits: ArrayLike) -> np.ndarray:
        """Recalibrated log-odds ``[N]`` of log-odds ``[N]``; beyond ∓750 they end, as in tables of predictions."""
        given = np.asarray(logits, dtype=np.float64)
        if self.method == "isotonic":
            with np.errstate(divide="ignore"):
                changed = logit(np.interp(given, self.logits, self.probabilities))
        else:
            changed = np.float64(self.slope) * given + np.float64(self.intercept)
        return np.clip(changed, -EXTREME, EXTREME)

    def notes(self) -> list[str]:
        """What a reader must know of it: whether it is of enough samples."""
        fewest = min(self.positive, self.n - self.positive)
        if fewest >= _FEWEST:
            return []
        return [
            f"The recalibration was fitted on {self.n} samples, {self.positive} of them malignant: too few of a class "
            f"(below {_FEWEST}) for dependable probabilities."
        ]

    def in_words(self) -> str:
        """``temperature 2.31, fitted on 150 samples of validation.csv``."""
        words = self.method
        if self.slope is not None:
            words += f" {1 / self.slope:.3g}" if self.method == "temperature" else f", slope {self.slope:.3g}"
        return f"{words}, fitted on {self.n} samples" + (f" of {self.source}" if self.source else "")


def fit_recalibration(labels: ArrayLike, logits: ArrayLike, method: str, source: str = "") -> Recalibration:
    """Fit a recalibration; not on the data whose probabilities are then judged.

    Args:
        labels: 0 or 1 for each sample.
        logits: log-odds of the positive class.
        method: ``"temperature"`` divides log-odds by one number (Guo et al., ICML 2017); ``"platt"`` is a logistic
            regression on them, with Platt's smoothed targets (Platt 1999), which stay finite where classes are
            separated; ``"isotonic"`` is the best ascending step function (Zadrozny & Elkan, KDD 2002), for a
            thousand samples and more.
        source: what the data are, in words.

    Raises:
        UserError: when the method is another word, lengths differ, a score is not finite, one class is absent, or the
            scores don't rise with the label, or for ``"temperature"`` their sign alone tells the classes apart.
    """
    if method not in METHODS:
        raise UserError(f"recalibration {method!r}: {did_you_mean(method, METHODS)}")
    y, s = check_scores(labels, logits)
    n, positive = y.size, int(y.sum())
    if method == "isotonic":
        fitted = IsotonicRegression(y_min=0, y_max=1).fit(s, y)
        x, p = (tuple(map(float, values)) for values in (fitted.X_thresholds_, fitted.y_thresholds_))
        return Recalibration(method, n, positive, logits=x, probabilities=p, source=source)
    if method == "platt":
        # A sample of target t is one positive of weight t and one negative of weight 1 − t.
        targets = np.where(y, (positive + 1) / (positive + 2), 1 / (n - positive + 2))
        slope, intercept = fit_logistic(
            np.repeat([1, 0], n), np.concatenate([s, s]), np.concatenate([targets, 1 - targets])
        )
    elif (s[y] >= 0).all() and (s[~y] <= 0).all():
        raise UserError(
            "temperature: the sign of the scores separates these samples' classes perfectly, so there is no best "
            "temperature; choose platt, or fit it on more data"
        )
    else:
        slope, intercept = fit_logistic(y, s, intercept=False)
    if slope <= 0:
        raise UserError(
            f"{method}: among these {n} samples positives don't score higher than negatives; check that labels "
            "and predictions belong together"
        )
    return Recalibration(method, n, positive, slope, intercept, source=source)


def shift_prevalence(logits: ArrayLike, present: float, wanted: float) -> np.ndarray:
    """Log-odds as they would be at another share of positives, all else equal (Elkan, IJCAI 2001).

    Args:
        logits: log-odds that are calibrated at the present share.
        present: share of positives that the log-odds hold for, between 0 and 1.
        wanted: share of positives among those that they are to hold for.

    Raises:
        UserError: when a share is not between 0 and 1.
    """
    shift = logit(check_prevalence(wanted)) - logit(check_prevalence(present))
    return np.clip(np.asarray(logits, dtype=np.float64) + shift, -EXTREME, EXTREME)


def recalibrate_rows(
    rows: Sequence[Mapping[str, Any]], recalibration: Recalibration, prevalence: float | None = None
) -> list[dict[str, Any]]:
    """Rows of predictions with recalibrated ``logit``, ``p_malignant`` and ``threshold``, and without their spread.

    Args:
        rows: of :func:`~monai_e2e.metrics.read_predictions`.
        recalibration: fitted on others.
        prevalence: share of positives that probabilities are to hold for; None: that of the data it was fitted on.
    """

    def changed(logits: ArrayLike) -> np.ndarray:
        applied = recalibration.apply(logits)
        if prevalence is None:
            return applied
        return shift_prevalence(applied, recalibration.positive / recalibration.n, prevalence)

    limits = {row["threshold"] for row in rows if row.get("threshold") is not None}
    with np.errstate(divide="ignore"):
        moved = {limit: float(expit(changed(np.clip(logit([limit]), -EXTREME, EXTREME)))[0]) for limit in limits}
    log_odds = changed([row["logit"] for row in rows])
    return [
        {**row, "logit": float(x), "p_malignant": float(expit(x)), "threshold": moved.get(row.get("threshold"))}
        | dict.fromkeys(SPREAD_COLUMNS)  # of the probabilities as they were
        for row, x in zip(rows, log_odds, strict=True)
    ]


def write_recalibration(path: str | Path, recalibration: Recalibration) -> None:
    """Write it as JSON."""
    write_json(Path(path), asdict(recalibration), allow_nan=False)


def read_recalibration(path: str | Path) -> Recalibration:
    """Read what :func:`write_recalibration` wrote.

    Raises:
        UserError: when the file can't be read or holds none.
    """
    try:
        known = json.loads(Path(path).read_text(encoding="utf-8"))
        result = Recalibration(**known | {key: tuple(map(float, known[key])) for key in ("logits", "probabilities")})
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); {_FITTED}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: no recalibration ({type(error).__name__}: {error}); {_FITTED}") from error
    threshold = 0.5 if result.threshold is None else result.threshold
    if result.method not in METHODS or not _is_sound(result) or not 0 < threshold < 1:
        raise UserError(f"{path}: no recalibration by {', '.join(METHODS)} with finite, ascending values; {_FITTED}")
    return result


def _is_sound(one: Recalibration) -> bool:
    if not 0 < one.positive < one.n:
        return False
    if one.method != "isotonic":
        slope, intercept = one.slope, one.intercept
        if not isinstance(slope, (int, float)) or not isinstance(intercept, (int, float)):
            return False
        return bool(np.isfinite([slope, intercept]).all() and slope > 0)
    x, p = np.array(one.logits), np.array(one.probabilities)
    finite = x.size == p.size > 0 and np.isfinite(x).all() and (p >= 0).all() and (p <= 1).all()
    return bool(finite and (np.diff(x) > 0).all() and (np.diff(p) >= 0).all())
