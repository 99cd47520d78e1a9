"""What is said of a set of predictions: everything in ``score.json``, per image, breast and exam, and by subgroup."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.metrics import average_precision_score

from monai_e2e import NOTICE, __version__
from monai_e2e.errors import UserError
from monai_e2e.metrics.aggregate import aggregate_breasts, aggregate_exams
from monai_e2e.metrics.auc import compare_aucs, roc_auc
from monai_e2e.metrics.bootstrap import patient_bootstrap, weighted_auc, weighted_average_precision
from monai_e2e.metrics.calibration import brier_score, reliability
from monai_e2e.metrics.labels import some
from monai_e2e.metrics.operating import performance_at, sensitivity_at_specificity, specificity_at_sensitivity
from monai_e2e.metrics.tables import EXTREME

LEVELS = ("image", "breast", "exam")
SUBGROUPS = ("view", "density", "lesion_type")

Row = Mapping[str, Any]
Thresholds = float | Mapping[str, float] | None


def score_rows(
    rows: Sequence[Row],
    threshold: Thresholds = None,
    how: str = "mean",
    seed: int = 0,
    resamples: int = 2000,
    threshold_source: str = "",
) -> dict[str, Any]:
    """Everything that ``score.json`` holds.

    The AUC is of the log-odds, and of the probabilities where their log-odds are too close to tell. It has two
    intervals of 95 %: DeLong's, on the logit scale, takes images as independent; the bootstrap draws whole patients, so
    where a patient has several images the second is the one to quote.

    Subgroups are of images. Those by lesion type hold the positives with a lesion of that type, and all negatives,
    so that types are compared against the same images; a positive with lesions of two types is in both.

    Args:
        rows: labelled predictions with ``image``, ``label``, ``logit``, and ``patient_id``, ``exam_id``,
            ``laterality``, ``view``, ``density``, ``lesion_type``, ``flags`` as far as known.
        threshold: log-odds, chosen on other data; one for all levels or by level.
        how: how the views of a breast become one score, ``"mean"`` or ``"max"``.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        threshold_source: where the threshold comes from.

    Returns:
        For each of ``image``, ``breast`` and ``exam`` that can be had: ``n``, ``positive``, ``patients`` (None where
        not all are known), ``drawn`` (what the bootstrap draws: ``"patients"``, ``"exams"`` or, where nobody's are
        known, ``"images"``), ``auc``, ``auc_ci_delong``, ``auc_ci_bootstrap``, ``average_precision``,
        ``average_precision_ci_bootstrap``, ``sensitivity_at_specificity``, ``specificity_at_sensitivity``, ``brier``,
        ``calibration``, and with a threshold ``at_threshold``;
        ``subgroups``; ``notes`` on what was left out; ``settings``. A subgroup of one class has ``auc`` None and a
        ``reason``.

    Raises:
        UserError: when there are no rows, a row lacks a label, a score is not finite, an image is twice in the rows,
            the images are of one class, or ``how`` is another word.
    """
    samples, notes = level_rows(rows, how)
    thresholds: Mapping[str, float | None] = (
        threshold if isinstance(threshold, Mapping) else dict.fromkeys(LEVELS, threshold)
    )
    scored: dict[str, Any] = {}
    for level, table in samples.items():
        labels, logits, patients = columns(table)
        order = ranks(table)
        score = _headline(table, seed, resamples)
        score["average_precision"] = float(average_precision_score(labels, order))
        precision = patient_bootstrap(patients, weighted_average_precision(labels, order), seed, resamples)
        score["average_precision_ci_bootstrap"] = _limits(precision)
        score["sensitivity_at_specificity"] = sensitivity_at_specificity(labels, order)
        score["specificity_at_sensitivity"] = specificity_at_sensitivity(labels, order)
        probabilities = expit(logits)
        score["brier"] = brier_score(labels, probabilities)
        score["calibration"] = reliability(labels, probabilities)
        limit = thresholds.get(level)
        if limit is not None:
            score["at_threshold"] = performance_at(labels, logits, limit)
        scored[level] = score
        notes += _bootstrap_notes(score, level, resamples)
    if threshold is not None and not isinstance(threshold, Mapping) and len(samples) > 1:
        notes.append("The threshold was chosen on images; breasts and exams are judged by the same.")
    return scored | {
        "subgroups": _subgroups(samples["image"], seed, resamples),
        "notes": notes,
        "settings": {
            "aggregate": how,
            "confidence": 0.95,
            "seed": seed,
            "resamples": resamples,
            "threshold": {level: float(expit(t)) for level, t in thresholds.items() if t is not None} or None,
            "threshold_source": threshold_source or None,
            "version": f"monai-e2e {__version__}",
            "notice": NOTICE,
        },
    }


def compare_rows(
    rows: Sequence[Row], others: Sequence[Row], how: str = "mean", seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """Paired comparison with another classifier on the same images: DeLong's test and the patients' bootstrap.

    Labels, patients, sides and views are those of ``rows``; of ``others`` only the scores count.

    Args:
        rows: labelled predictions, as for :func:`score_rows`.
        others: predictions of exactly the same images.
        how: how the views of a breast become one score.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        For each level what :func:`~monai_e2e.metrics.compare_aucs` returns, and ``difference_ci_bootstrap``.

    Raises:
        UserError: when the images differ, or labels of ``others`` contradict those of ``rows``.
    """
    by_image = {str(row["image"]): row for row in others}
    missing = [str(row["image"]) for row in rows if str(row["image"]) not in by_image]
    extra = by_image.keys() - {str(row["image"]) for row in rows}
    if missing or extra:
        raise UserError(
            f"the two sets of images differ: {len(missing)} are without prediction ({some(missing) or 'none'}), "
            f"{len(extra)} are in the other set alone ({some(sorted(extra)) or 'none'}); a paired test needs the same "
            "images: predict both sets of images with both models"
        )
    against = [row["image"] for row in rows if by_image[str(row["image"])].get("label") not in (None, "", row["label"])]
    if against:
        raise UserError(f"{len(against)} images have another label in the other table: {some(against)}; correct it")
    replaced = [
        {**row, **{key: by_image[str(row["image"])].get(key) for key in ("logit", "p_malignant")}} for row in rows
    ]
    first, second = level_rows(rows, how)[0], level_rows(replaced, how)[0]
    result = {}
    for level, table in first.items():
        labels, _, patients = columns(table)
        order, other_order = ranks(table), ranks(second[level])
        ours, theirs = weighted_auc(labels, order), weighted_auc(labels, other_order)
        interval = patient_bootstrap(patients, lambda w, a=ours, b=theirs: a(w) - b(w), seed, resamples)  # type: ignore[misc]
        comparison = compare_aucs(labels, order, other_order)
        result[level] = comparison | {"difference_ci_bootstrap": _limits(interval)}
    return result


def level_rows(rows: Sequence[Row], how: str = "mean") -> tuple[dict[str, list[Row]], list[str]]:
    """The rows of each level that can be scored, and notes on those that can't.

    Raises:
        UserError: as :func:`score_rows`.
    """
    _check(rows)
    notes = _notes(rows)
    levels: dict[str, list[Row]] = {"image": list(rows)}
    owned = [row for row in rows if row.get("patient_id") or row.get("exam_id")]
    if not owned:
        return levels, [
            *notes,
            "No patient is known of any image, so there are no scores per breast and per exam, and the bootstrap draws "
            "images: its interval is too narrow if patients have several.",
        ]
    if len(owned) < len(rows):
        notes.append(
            f"{len(rows) - len(owned)} images without patient are in no score per breast and per exam; the bootstrap "
            "takes each for a patient of its own."
        )
    breasts = [breast for breast in aggregate_breasts(owned, how) if breast["laterality"]]
    sideless = sum(not row.get("laterality") for row in owned)
    if sideless:
        notes.append(f"{sideless} images without known side are in no score per breast; in exams each stands alone.")
    for level, table in (("breast", breasts), ("exam", aggregate_exams(owned, how))):
        classes = {row["label"] for row in table}
        if len(classes) == 2:
            levels[level] = list(table)
        elif table:
            word = "malignant" if classes == {1} else "not malignant"
            notes.append(f"All {len(table)} {level}s are {word}, so there is no score per {level}.")
        notes += _flag_notes(table, f"{level}s")
    return levels, notes


def columns(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels ``[N]``, log-odds ``[N]`` and whom each row belongs to: the patient, else the exam, else itself."""
    labels, logits = (
        np.array([row[key] for row in rows], dtype=kind) for key, kind in (("label", int), ("logit", float))
    )
    owners = [
        next((f"{key} {row[key]}" for key in ("patient_id", "exam_id") if row.get(key)), f"row {number}")
        for number, row in enumerate(rows)
    ]
    return labels, logits, owners


def ranks(rows: Sequence[Row]) -> np.ndarray:
    """Ranks ``[N]`` by log-odds and, where these are equal, by probability; what is equal in both shares a rank.

    The log-odds of small probabilities have fewer digits than the probabilities themselves, and the other way round. A
    probability that isn't that of the row's log-odds counts for nothing.
    """
    logits = np.array([row["logit"] for row in rows], dtype=np.float64)
    given = np.array([row.get("p_malignant") or 0.0 for row in rows], dtype=np.float64)
    probabilities = np.where(np.isclose(given, expit(logits), rtol=1e-9, atol=0), given, 0.0)
    return np.unique(np.stack([logits, probabilities], axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def score_classes(labels: Sequence[int], predicted: Sequence[int], classes: Sequence[str]) -> dict:
    """Accuracy of a patch classifier (paper, Table 1) with its confusion matrix, rows the true classes."""
    y, p = np.asarray(labels), np.asarray(predicted)
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (y, p), 1)
    return {"n": len(y), "accuracy": float((y == p).mean()), "classes": list(classes), "confusion": confusion.tolist()}


def write_score(path: str | Path, score: Mapping) -> None:
    """Write a score as JSON."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(score, indent=4, allow_nan=False) + "\n", encoding="utf-8")


def _check(rows: Sequence[Row]) -> None:
    if not rows:
        raise UserError("there are no predictions to score")
    for row in rows:
        if row.get("label") not in (0, 1):
            raise UserError(f"image {row['image']!r} has label {row.get('label')!r}; 0 or 1 is needed for a score")
        if not np.isfinite(row["logit"]):
            raise UserError(f"image {row['image']!r} has logit {row['logit']}: predict it again, or leave it out")
    twice = [image for image, count in Counter(str(row["image"]) for row in rows).items() if count > 1]
    if twice:
        raise UserError(f"{len(twice)} images are predicted more than once: {some(twice)}; keep one row per image")
    classes = {row["label"] for row in rows}
    if len(classes) < 2:
        word = "1 (malignant)" if classes == {1} else "0 (not malignant)"
        raise UserError(f"all {len(rows)} images have label {word}; an AUC needs both classes: add images of the other")


def _headline(rows: Sequence[Row], seed: int, resamples: int) -> dict[str, Any]:
    labels, _, owners = columns(rows)
    order = ranks(rows)
    auc, low, high = roc_auc(labels, order)
    bootstrap = patient_bootstrap(owners, weighted_auc(labels, order), seed, resamples)
    if not order.any():  # all the same: that resamples agree on one half says nothing
        bootstrap = bootstrap._replace(low=None, high=None)
    known = {key: sum(bool(row.get(key)) for row in rows) for key in ("patient_id", "exam_id")}
    return {
        "n": len(labels),
        "positive": int(labels.sum()),
        "patients": len(set(owners)) if known["patient_id"] == len(rows) else None,
        "drawn": "patients" if known["patient_id"] else "exams" if known["exam_id"] else "images",
        "auc": auc,
        "auc_ci_delong": [low, high],
        "auc_ci_bootstrap": _limits(bootstrap),
        "bootstrap_undefined": bootstrap.undefined,
    }


def _limits(interval: tuple[float | None, float | None, int]) -> list[float] | None:
    low, high, _ = interval
    return None if low is None or high is None else [low, high]


def _subgroups(rows: Sequence[Row], seed: int, resamples: int) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {}
    for name in SUBGROUPS:
        groups: dict[str, list[Row]] = {}
        if not any(row.get(name) for row in rows):
            continue
        for row in rows:
            if name != "lesion_type":
                groups.setdefault(str(row.get(name) or "unknown"), []).append(row)
            elif row["label"] == 1:
                for word in (row.get(name) or "none annotated").split("+"):
                    groups.setdefault(word, []).append(row)
        if name == "lesion_type":
            negatives = [row for row in rows if row["label"] == 0]
            groups = {word: [*positives, *negatives] for word, positives in groups.items()}
        result[name] = {word: _subgroup(groups[word], seed, resamples) for word in sorted(groups)}
    return result


def _subgroup(rows: Sequence[Row], seed: int, resamples: int) -> dict[str, Any]:
    labels = columns(rows)[0]
    if len(set(labels.tolist())) == 2:
        return _headline(rows, seed, resamples)
    reason = "no positive image" if not labels.any() else "no negative image"
    return {"n": len(rows), "positive": int(labels.sum()), "auc": None, "reason": reason}


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = []
    extreme = sum(abs(row["logit"]) >= EXTREME for row in rows)
    if extreme:
        notes.append(f"{extreme} probabilities are exactly 0 or 1: images among them can't be told apart.")
    different = int(ranks(rows).max()) + 1
    ties = len(rows) - different
    if different == 1:
        notes.append("All scores are equal: the AUC is one half whatever the images show, and no interval tells more.")
    elif ties > len(rows) / 10:
        notes.append(f"{ties} of {len(rows)} scores equal another one; ties count one half in the AUC.")
    return notes + _flag_notes(rows, "images")


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


def _flag_notes(rows: Sequence[Row], what: str) -> list[str]:
    counts = Counter(flag for row in rows for flag in str(row.get("flags") or "").split(";") if flag)
    listed = ", ".join(f"{count} × {flag}" for flag, count in counts.most_common(8))
    more = f" and {len(counts) - 8} other flags" if len(counts) > 8 else ""
    return [f"Flagged {what}: {listed}{more}."] if counts else []
