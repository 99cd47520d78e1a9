"""From images to breasts and exams, which is what a radiologist decides on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from math import isfinite
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
    biopsies are left out, which the breast's flags say. Images with neither ``patient_id`` nor ``exam_id`` are left
    out.

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
    standard = [_standard_views(images) for images in groups.values()]
    views = [_logits_by_view(used) for used, _ in standard]
    logits = _breast_logits(views, how)
    values = zip(groups.items(), standard, views, logits.tolist(), expit(logits).tolist(), strict=True)
    return [
        {
            "patient_id": patient,
            "exam_id": exam,
            "laterality": side,
            "images": len(used),
            "label": joint_label(image.get("label") for image in images),
            "p_malignant": p,
            "logit": logit,
            "flags": _breast_flags(side != "", tuple((view, len(taken)) for view, taken in views.items()), odd),
        }
        for ((patient, exam, side, *_), images), (used, odd), views, logit, p in values
    ]


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
    return exams_of(aggregate_breasts(rows, how))


def exams_of(breasts: Iterable[Row]) -> list[dict[str, Any]]:
    """As :func:`aggregate_exams`, from what :func:`aggregate_breasts` returned."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for breast in breasts:
        groups.setdefault((breast["patient_id"], breast["exam_id"]), []).append(breast)
    return [_exam(key, breasts) for key, breasts in groups.items()]


def _mean_log_odds(logits: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Log-odds of weighted means of probabilities, which are given by their log-odds: nothing rounds to 0 or 1.

    Each group goes from one of the starts to the next; the mean of one is that one.
    """
    yes, no = (np.logaddexp.reduceat(log_expit(sign * logits) + np.log(weights), starts) for sign in (1, -1))
    return np.where(np.diff(starts, append=len(logits)) == 1, logits[starts], yes - no)


def joint_label(labels: Iterable[Any]) -> int | None:
    """1 if any part is positive, 0 if all are negative, None if that can't be told."""
    known = [None if label in (None, "") else int(label) for label in labels]
    if 1 in known:
        return 1
    return None if None in known or not known else 0


def _standard_views(images: Sequence[Row]) -> tuple[Sequence[Row], tuple[str, ...]]:
    """The images that a breast's score is of, and flags of those that are no standard view."""
    odd = [_odd_flags(image.get("flags") or "") for image in images]
    if not any(odd):
        return images, ()
    flags = tuple(dict.fromkeys(itertools.chain(*odd)))
    standard = [image for image, own in zip(images, odd, strict=True) if not own]
    return (standard, tuple(f"{flag} left out" for flag in flags)) if standard else (images, flags)


@cache
def _odd_flags(cell: str) -> tuple[str, ...]:
    return tuple(flag for flag in _NO_STANDARD_VIEW if flag in cell.split(";"))


def _logits_by_view(images: Sequence[Row]) -> dict[str, list[float]]:
    views: dict[str, list[float]] = {}
    for image in images:
        logit = float(image["logit"])
        if not isfinite(logit):
            raise UserError(
                f"image {image.get('image')}: log-odds {logit} aren't finite; predict it again, or leave it out"
            )
        views.setdefault(str(image.get("view") or ""), []).append(logit)
    return views


def _breast_logits(views: Sequence[Mapping[str, Sequence[float]]], how: str) -> np.ndarray:
    """Log-odds of each breast from those of its images by view, computed of all breasts at once."""
    if not views:
        return np.zeros(0)
    logits = np.array([logit for taken in views for of_view in taken.values() for logit in of_view])
    if how == "max":
        return np.maximum.reduceat(logits, _starts([sum(map(len, taken.values())) for taken in views]))
    for sizes in ([len(of_view) for taken in views for of_view in taken.values()], [len(taken) for taken in views]):
        logits = _mean_log_odds(logits, np.repeat(1 / np.array(sizes), sizes), _starts(sizes))
    return logits


def _starts(sizes: Sequence[int]) -> np.ndarray:
    return np.cumsum([0, *sizes[:-1]])


@cache
def _breast_flags(sided: bool, views: tuple[tuple[str, int], ...], odd: tuple[str, ...]) -> str:
    """Flags of a breast whose side is known or not, by its number of images of each view; ``odd`` ends them."""
    counts = dict(views)
    flags = [] if sided else ["side unknown"]
    if "" in counts:
        flags.append("view unknown")
    elif sided:
        flags += [f"missing {view.value}" for view in View if view.value not in counts]
    flags += [f"{counts[view.value]} {view.value}" for view in View if counts.get(view.value, 0) > 1]
    return ";".join([*flags, *odd])


def _exam(key: tuple[str, str], breasts: Sequence[Row]) -> dict[str, Any]:
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
