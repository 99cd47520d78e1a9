"""From images to breasts and exams, which is what a radiologist decides on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import expit, log_expit

from monai_e2e.data.records import Laterality, View
from monai_e2e.errors import UserError

#: How the views of a breast become one score.
AGGREGATIONS = ("mean", "max")
#: Columns of ``breast.csv`` and ``exam.csv``; ``label`` is absent where no image has one.
BREAST_COLUMNS = ("patient_id", "exam_id", "laterality", "images", "label", "p_malignant", "logit", "flags")
EXAM_COLUMNS = ("patient_id", "exam_id", "breasts", "images", "label", "p_malignant", "logit", "flags")

#: Flags of images that are none of a breast's two standard views, as models know them.
_NO_STANDARD_VIEW = ("synthesized 2D", "partial view", "magnified", "specimen", "biopsy")

Row = Mapping[str, Any]


def aggregate_breasts(rows: Iterable[Row], how: str = "mean") -> list[dict[str, Any]]:
    """One row for each breast of an exam, in the order in which they first occur.

    A breast's probability is the mean of its views' (or the largest of them); images of the same view are averaged
    first, so that a view taken twice counts once. It is computed from the log-odds, so it keeps the order of breasts
    where probabilities round to 0 or 1. An image whose side is unknown can't be averaged with another and stands
    alone. Where a breast has other images, synthesized 2D images, magnifications and other partial views, specimens and
    biopsies are left out, which the breast's flags say. Images with neither ``patient_id`` nor ``exam_id`` belong to
    nobody and are left out.

    Args:
        rows: rows of ``predictions.csv``, as read from the file or typed; ``image``, ``logit`` and whichever there
            are of ``patient_id``, ``exam_id``, ``laterality``, ``view``, ``label``, ``flags``.
        how: ``"mean"`` or ``"max"``.

    Returns:
        Dicts with :data:`BREAST_COLUMNS`. ``label`` is 1 if any image's is, 0 if all are, else None; ``flags``:
        ``missing CC``, ``missing MLO``, ``2 CC``, ``view unknown``, ``side unknown``, ``synthesized 2D left out``, or
        ``synthesized 2D`` where there is nothing else, joined by ``;``. ``images`` counts those used.

    Raises:
        UserError: when ``how`` is another word or a log-odds is no finite number.
    """
    if how not in AGGREGATIONS:
        raise UserError(f"aggregate must be {' or '.join(AGGREGATIONS)}, got {how!r}")
    groups: dict[tuple[str, ...], list[Row]] = {}
    for number, row in enumerate(rows):
        patient, exam, side = (str(row.get(key) or "") for key in ("patient_id", "exam_id", "laterality"))
        if patient or exam:
            groups.setdefault((patient, exam, side) if side else (patient, exam, side, str(number)), []).append(row)
    return [_breast(key, images, how) for key, images in groups.items()]


def aggregate_exams(rows: Iterable[Row], how: str = "mean") -> list[dict[str, Any]]:
    """One row for each exam, whose score is the highest of its breasts; without ``exam_id`` a patient is one exam.

    Args:
        rows: rows of ``predictions.csv``, as for :func:`aggregate_breasts`.
        how: how the views of a breast become its score, ``"mean"`` or ``"max"``.

    Returns:
        Dicts with :data:`EXAM_COLUMNS`; ``breasts`` counts sides, ``flags`` are ``missing LEFT``, ``missing RIGHT``,
        ``side unknown`` and the breasts' own, such as ``LEFT missing CC``.

    Raises:
        UserError: when ``how`` is another word or a log-odds is no finite number.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for breast in aggregate_breasts(rows, how):
        groups.setdefault((breast["patient_id"], breast["exam_id"]), []).append(breast)
    return [_exam(key, breasts) for key, breasts in groups.items()]


def mean_log_odds(logits: Sequence[float], weights: Sequence[float]) -> float:
    """Log-odds of the weighted mean of probabilities that are given by their log-odds; nothing rounds to 0 or 1."""
    if len(logits) == 1:
        return float(logits[0])
    values, log_weights = np.asarray(logits, dtype=np.float64), np.log(weights)
    yes = np.logaddexp.reduce(log_expit(values) + log_weights)
    no = np.logaddexp.reduce(log_expit(-values) + log_weights)
    return float(yes - no)


def joint_label(labels: Iterable[Any]) -> int | None:
    """1 if any part is positive, 0 if all are negative, None if that can't be told."""
    known = [None if label in (None, "") else int(label) for label in labels]
    if 1 in known:
        return 1
    return None if None in known or not known else 0


def _breast(key: tuple[str, ...], images: list[Row], how: str) -> dict[str, Any]:
    patient, exam, side = key[:3]
    odd = [[flag for flag in _NO_STANDARD_VIEW if flag in str(image.get("flags") or "").split(";")] for image in images]
    standard = [image for image, flags in zip(images, odd, strict=True) if not flags]
    used = standard or images
    views: dict[str, list[float]] = {}
    for image in used:
        logit = float(image["logit"])
        if not np.isfinite(logit):
            raise UserError(f"image {image.get('image')}: log-odds {logit}; leave the image out or predict it again")
        views.setdefault(str(image.get("view") or ""), []).append(logit)
    means = [mean_log_odds(logits, [1 / len(logits)] * len(logits)) for logits in views.values()]
    logit = mean_log_odds(means, [1 / len(means)] * len(means)) if how == "mean" else max(map(max, views.values()))
    flags = [] if side else ["side unknown"]
    if "" in views:
        flags.append("view unknown")
    elif side:
        flags += [f"missing {view.value}" for view in View if view.value not in views]
    flags += [f"{len(views[view.value])} {view.value}" for view in View if len(views.get(view.value, ())) > 1]
    flags += [f"{flag} left out" if standard else flag for flag in dict.fromkeys(itertools.chain(*odd))]
    return {
        "patient_id": patient,
        "exam_id": exam,
        "laterality": side,
        "images": len(used),
        "label": joint_label(image.get("label") for image in images),
        "p_malignant": float(expit(logit)),
        "logit": logit,
        "flags": ";".join(flags),
    }


def _exam(key: tuple[str, str], breasts: list[dict[str, Any]]) -> dict[str, Any]:
    sides = [breast["laterality"] for breast in breasts]
    flags = []
    if "" in sides:
        flags.append("side unknown")
    else:
        flags += [f"missing {side.value}" for side in Laterality if side.value not in sides]
    for breast in breasts:
        own = [flag for flag in breast["flags"].split(";") if flag and flag != "side unknown"]
        flags += [f"{breast['laterality']} {flag}".strip() for flag in own]
    logit = max(breast["logit"] for breast in breasts)
    return {
        "patient_id": key[0],
        "exam_id": key[1],
        "breasts": len({side for side in sides if side}),
        "images": sum(breast["images"] for breast in breasts),
        "label": joint_label(breast["label"] for breast in breasts),
        "p_malignant": float(expit(logit)),
        "logit": logit,
        "flags": ";".join(dict.fromkeys(flags)),
    }
