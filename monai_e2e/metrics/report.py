"""What is said of a set of predictions: everything in ``score.json``, per image, breast and exam, and by subgroup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.metrics import accuracy_score, average_precision_score, confusion_matrix

from monai_e2e import NOTICE, __version__
from monai_e2e.metrics.auc import roc_auc
from monai_e2e.metrics.bootstrap import BootstrapInterval, limits_of
from monai_e2e.metrics.calibration import brier_score, calibration_line, reliability
from monai_e2e.metrics.challenge import best_f1, partial_auc, probabilistic_f1, sensitivity_at_recall_rate
from monai_e2e.metrics.decision import SHOWN, decision_curve
from monai_e2e.metrics.html_page import format_p
from monai_e2e.metrics.intervals import bootstrap_intervals
from monai_e2e.metrics.operating import performance_at, sensitivity_at_specificity, specificity_at_sensitivity
from monai_e2e.metrics.samples import LEVELS, Row, Samples, level_samples
from monai_e2e.metrics.subgroups import OF_POSITIVES, SUBGROUPS, heterogeneity, subgroup_members
from monai_e2e.work.files import write_json

Thresholds = float | Mapping[str, float] | None


def score_rows(
    rows: Sequence[Row],
    threshold: Thresholds = None,
    how: str = "mean",
    seed: int = 0,
    resamples: int = 2000,
    threshold_source: str = "",
    levels: tuple[Mapping[str, Samples], Sequence[str]] | None = None,
    prevalence: float | None = None,
    present: float | None = None,
) -> dict[str, Any]:
    """Everything that ``score.json`` holds.

    The AUC is of the log-odds, and of the probabilities where their log-odds are too close to tell. It has two
    intervals of 95 %: DeLong's, on the logit scale, takes images as independent; the bootstrap draws whole patients, so
    where a patient has several images the second is the one to quote. All levels and subgroups are of the same draws.

    Subgroups are of images. Those by lesion type, subtype and lesion size hold the positives with such a lesion, and
    all negatives, so that types are compared against the same images; a positive with lesions of two types is in both.

    Args:
        rows: labelled predictions with ``image``, ``label``, ``logit``, and ``patient_id``, ``exam_id``,
            ``laterality``, ``view``, ``density``, ``lesion_type``, ``flags`` as far as known.
        threshold: log-odds, chosen on other data; one for all levels or by level.
        how: how the views of a breast become one score, ``"mean"`` or ``"max"``.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        threshold_source: where the threshold comes from.
        levels: what :func:`level_samples` makes of the rows, where it is known already.
        prevalence: share of positives where the model is to be used, for net benefit, predictive values and recall
            rates; None: that of these rows.
        present: share of positives that the probabilities were calibrated at, see
            :func:`~monai_e2e.metrics.decision_curve`.

    Returns:
        For each of ``image``, ``breast`` and ``exam`` that can be had: ``n``, ``positive``, ``patients`` (None where
        not all are known), ``drawn`` (what the bootstrap draws: ``"patients"``, ``"exams"`` or, where nobody's are
        known, ``"images"``), ``auc``, ``auc_ci_delong``, ``auc_ci_bootstrap``, ``average_precision``,
        ``average_precision_ci_bootstrap``, ``sensitivity_at_specificity``, ``specificity_at_sensitivity``,
        ``sensitivity_at_recall_rate``, ``partial_auc``, ``probabilistic_f1``, ``best_f1``, ``brier``,
        ``brier_ci_bootstrap``, ``calibration``, ``calibration_line``, ``net_benefit``, and with a threshold
        ``at_threshold``; ``subgroups`` and their ``heterogeneity``; ``notes`` on what was left out; ``settings``. A
        subgroup of one class has ``auc`` None and a ``reason``.

    Raises:
        UserError: when there are no rows, a row lacks a label, a score is not finite, an image is twice in the rows,
            the images are of one class, or ``how`` is another word.
    """
    samples, notes = level_samples(rows, how) if levels is None else (levels[0], list(levels[1]))
    thresholds: Mapping[str, float | None] = (
        threshold if isinstance(threshold, Mapping) else dict.fromkeys(LEVELS, threshold)
    )
    members = subgroup_members(rows)
    of_levels, of_groups = bootstrap_intervals(samples, members, seed, resamples, prevalence, present)
    scored: dict[str, Any] = {}
    for level, sample in samples.items():
        area, precision, brier, f1, *benefits = of_levels[level]
        probabilities = expit(sample.logits)
        score = _headline(sample, area) | {
            "average_precision": float(average_precision_score(sample.labels, sample.ranks)),
            "average_precision_ci_bootstrap": limits_of(precision),
            "sensitivity_at_specificity": sensitivity_at_specificity(sample.labels, sample.ranks),
            "specificity_at_sensitivity": specificity_at_sensitivity(sample.labels, sample.ranks),
            "sensitivity_at_recall_rate": sensitivity_at_recall_rate(
                sample.labels, sample.ranks, prevalence=prevalence
            ),
            "partial_auc": partial_auc(sample.labels, sample.ranks),
            "probabilistic_f1": probabilistic_f1(sample.labels, probabilities) | {"value_ci_bootstrap": limits_of(f1)},
            "best_f1": best_f1(sample.labels, probabilities),
            "brier": brier_score(sample.labels, probabilities),
            "brier_ci_bootstrap": limits_of(brier),
            "calibration": reliability(sample.labels, probabilities),
            "calibration_line": calibration_line(sample.labels, sample.logits),
            "net_benefit": [
                point | {"model_ci_bootstrap": limits_of(interval)}
                for point, interval in zip(
                    decision_curve(sample.labels, probabilities, SHOWN, prevalence, present), benefits, strict=True
                )
            ],
        }
        limit = thresholds.get(level)
        if limit is not None:
            score["at_threshold"] = performance_at(sample.labels, sample.logits, limit, prevalence)
        scored[level] = score
        notes += _bootstrap_notes(score, level, resamples)
    if threshold is not None and not isinstance(threshold, Mapping) and len(samples) > 1:
        notes.append("The threshold was chosen on images; breasts and exams have the same threshold.")
    subgroups = {
        name: {word: _subgroup(samples["image"], name, chosen, of_groups[name, word]) for word, chosen in words.items()}
        for name, words in members.items()
    }
    differing = {name: heterogeneity(groups) for name, groups in subgroups.items()}
    notes += [
        f"The AUC may differ by {SUBGROUPS[name].split(' (')[0].lower()} (Cochran's Q, {format_p(test['p'])}, not "
        "corrected for the number of tests)."
        for name, test in differing.items()
        if test is not None and test["p"] < 0.05
    ]
    return scored | {
        "subgroups": subgroups,
        "heterogeneity": differing,
        "notes": notes,
        "settings": {
            "aggregate": how,
            "confidence": 0.95,
            "seed": seed,
            "resamples": resamples,
            "threshold": {level: float(expit(t)) for level, t in thresholds.items() if t is not None} or None,
            "threshold_source": threshold_source or None,
            "prevalence": prevalence,
            "calibrated_at": present,
            "version": f"monai-e2e {__version__}",
            "notice": NOTICE,
        },
    }


def score_classes(labels: Sequence[int], predicted: Sequence[int], classes: Sequence[str]) -> dict:
    """Accuracy of a patch classifier (paper, Table 1) with its confusion matrix, rows the true classes."""
    return {
        "n": len(labels),
        "accuracy": float(accuracy_score(labels, predicted)),
        "classes": list(classes),
        "confusion": confusion_matrix(labels, predicted, labels=range(len(classes))).tolist(),
    }


def write_score(path: str | Path, score: Mapping) -> None:
    """Write a score as JSON."""
    write_json(Path(path), score, allow_nan=False)


def _headline(samples: Samples, area: BootstrapInterval) -> dict[str, Any]:
    auc, low, high = roc_auc(samples.labels, samples.ranks)
    if (samples.ranks == samples.ranks[0]).all():  # that resamples agree on one half says nothing
        area = area._replace(low=None, high=None)
    return {
        "n": len(samples.labels),
        "positive": int(samples.labels.sum()),
        "patients": samples.patients,
        "drawn": samples.drawn,
        "auc": auc,
        "auc_ci_delong": [low, high],
        "auc_ci_bootstrap": limits_of(area),
        "bootstrap_undefined": area.undefined,
    }


def _subgroup(images: Samples, name: str, chosen: np.ndarray, area: BootstrapInterval) -> dict[str, Any]:
    if name in OF_POSITIVES:
        chosen = np.concatenate([chosen, np.flatnonzero(images.labels == 0)])
    part = images.part(chosen)
    if len(np.unique(part.labels)) == 2:
        return _headline(part, area)
    reason = "no negative image" if part.labels.any() else "no positive image"
    return {"n": len(part.labels), "positive": int(part.labels.sum()), "auc": None, "reason": reason}


def _bootstrap_notes(score: Row, level: str, resamples: int) -> list[str]:
    """Where the interval that the report recommends is not to be trusted."""
    limits, undefined = score["auc_ci_bootstrap"], score["bootstrap_undefined"]
    notes = []
    if limits is not None and limits[0] == limits[1]:
        notes.append(f"Per {level} the bootstrap interval has no width, as at perfect separation: quote DeLong's.")
    if undefined > resamples / 100:
        notes.append(
            f"Per {level} {undefined} of {resamples} resamples held one class: too few patients of a class for a "
            "dependable interval."
        )
    return notes
