"""What is scored: images, breasts and exams as arrays, sorted once, and what of these can't be scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from monai_e2e.errors import UserError, some
from monai_e2e.metrics.aggregate import aggregate_breasts, exams_of
from monai_e2e.metrics.tables import EXTREME

LEVELS = ("image", "breast", "exam")
#: What the bootstrap draws, by :attr:`Samples.known`.
_DRAWN = ("images", "exams", "patients")

Row = Mapping[str, Any]


class Samples(NamedTuple):
    """Labelled images, breasts or exams, N of them.

    Args:
        labels: 0 or 1.
        logits: log-odds.
        ranks: see :func:`ranks`.
        owners: number of the owner of each: its patient, else its exam, else itself; the same at all levels.
        known: what the owner is: 2 a patient, 1 an exam, 0 unknown.
    """

    labels: np.ndarray
    logits: np.ndarray
    ranks: np.ndarray
    owners: np.ndarray
    known: np.ndarray

    def part(self, chosen: np.ndarray) -> Samples:
        """Some of them, by index or as bool."""
        return Samples(*(column[chosen] for column in self))

    @property
    def patients(self) -> int | None:
        """How many patients there are; None where not all are known."""
        return int(np.unique(self.owners).size) if (self.known == 2).all() else None

    @property
    def drawn(self) -> str:
        """What the bootstrap draws."""
        return _DRAWN[int(self.known.max())]


def levels_of(found: Mapping[str, Any]) -> list[str]:
    """The levels among the keys of a score or a comparison, in their order."""
    return [level for level in LEVELS if level in found]


def level_samples(rows: Sequence[Row], how: str = "mean") -> tuple[dict[str, Samples], list[str]]:
    """The samples of each level that can be scored, and notes on those that can't.

    Raises:
        UserError: as :func:`~monai_e2e.metrics.score_rows`.
    """
    _check(rows)
    names = _owners(rows)
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    levels = {"image": _gathered(rows, names, numbers)}
    notes = [*_score_notes(levels["image"]), *_flag_notes(rows, "images")]
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
            "counts each as a separate patient."
        )
    breasts = aggregate_breasts(owned, how)
    sideless = sum(not row.get("laterality") for row in owned)
    if sideless:
        notes.append(f"{sideless} images without known side are in no score per breast; in exams each stands alone.")
    sided = [breast for breast in breasts if breast["laterality"]]
    for level, table in (("breast", sided), ("exam", exams_of(breasts))):
        classes = {row["label"] for row in table}
        if len(classes) == 2:
            levels[level] = _gathered(table, _owners(table), numbers)
        elif table:
            word = "malignant" if classes == {1} else "not malignant"
            notes.append(f"All {len(table)} {level}s are {word}, so there is no score per {level}.")
        notes += _flag_notes(table, f"{level}s")
    return levels, notes


def ranks(logits: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Ranks ``[N]`` by log-odds and, where these are equal, by probability; what is equal in both shares a rank.

    The log-odds of small probabilities have fewer digits than the probabilities themselves, and the other way round. A
    probability that isn't that of the row's log-odds counts for nothing.
    """
    probabilities = np.where(np.isclose(given, expit(logits), rtol=1e-9, atol=0), given, 0.0)
    order = np.lexsort((probabilities, logits))
    higher = (np.diff(logits[order]) > 0) | (np.diff(probabilities[order]) != 0)
    result = np.empty(len(order), dtype=np.int64)
    result[order] = np.cumsum(np.r_[0, higher])
    return result


def owners_of(levels: Mapping[str, Samples]) -> int:
    """How many patients, or what stands for them, the samples of all levels are of."""
    return int(levels["image"].owners.max()) + 1


def _gathered(rows: Sequence[Row], names: Sequence[str], numbers: Mapping[str, int]) -> Samples:
    logits = np.array([row["logit"] for row in rows], dtype=np.float64)
    given = np.array([row.get("p_malignant") or 0.0 for row in rows], dtype=np.float64)
    return Samples(
        labels=np.array([row["label"] for row in rows], dtype=np.int64),
        logits=logits,
        ranks=ranks(logits, given),
        owners=np.array([numbers[name] for name in names], dtype=np.int64),
        known=np.array([2 if row.get("patient_id") else 1 if row.get("exam_id") else 0 for row in rows]),
    )


def _owners(rows: Sequence[Row]) -> list[str]:
    """Whom each row belongs to: the patient, else the exam, else itself."""
    return [
        f"patient_id {row['patient_id']}"
        if row.get("patient_id")
        else f"exam_id {row['exam_id']}"
        if row.get("exam_id")
        else f"row {number}"
        for number, row in enumerate(rows)
    ]


def _check(rows: Sequence[Row]) -> None:
    if not rows:
        raise UserError("there are no predictions to score: give a table that has rows")
    for row in rows:
        if row.get("label") not in (0, 1):
            raise UserError(
                f"image {row['image']!r} has label {row.get('label')!r}; 0 or 1 is needed: correct it, or leave "
                "the image out"
            )
        if not isfinite(row["logit"]):
            raise UserError(f"image {row['image']!r} has logit {row['logit']}: predict it again, or leave it out")
    twice = [image for image, count in Counter(str(row["image"]) for row in rows).items() if count > 1]
    if twice:
        raise UserError(f"{len(twice)} images are predicted more than once: {some(twice)}; keep one row per image")
    classes = {row["label"] for row in rows}
    if len(classes) < 2:
        word = "1 (malignant)" if classes == {1} else "0 (not malignant)"
        raise UserError(f"all {len(rows)} images have label {word}; an AUC needs both classes: add images of the other")


def _score_notes(images: Samples) -> list[str]:
    notes, count = [], len(images.labels)
    extreme = int((abs(images.logits) >= EXTREME).sum())
    if extreme:
        notes.append(f"{extreme} probabilities are exactly 0 or 1: images among them can't be told apart.")
    different = int(images.ranks.max()) + 1
    ties = count - different
    if different == 1:
        notes.append(
            "All scores are equal: the AUC is one half whatever the images show, and its interval means nothing."
        )
    elif ties > count / 10:
        notes.append(f"{ties} of {count} scores equal another one; ties count one half in the AUC.")
    return notes


def _flag_notes(rows: Sequence[Row], what: str) -> list[str]:
    cells = Counter(str(row.get("flags") or "") for row in rows)
    counts: Counter[str] = Counter()
    for cell, count in cells.items():
        counts.update({flag: cell.split(";").count(flag) * count for flag in cell.split(";") if flag})
    listed = ", ".join(f"{count} × {flag}" for flag, count in counts.most_common(8))
    more = f" and {len(counts) - 8} other flags" if len(counts) > 8 else ""
    return [f"Flagged {what}: {listed}{more}."] if counts else []
