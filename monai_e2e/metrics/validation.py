"""What is chosen on validation predictions, never on those that are judged: the threshold, the recalibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.special import logit

from monai_e2e.data.sources.identifiers import identifier_key
from monai_e2e.errors import UserError, did_you_mean, some
from monai_e2e.metrics.facts import table_name
from monai_e2e.metrics.labels import image_key, require_labels
from monai_e2e.metrics.operating import choose_threshold
from monai_e2e.metrics.recalibration import (
    METHODS,
    Recalibration,
    fit_recalibration,
    read_recalibration,
    recalibrate_rows,
)
from monai_e2e.metrics.samples import Row, level_samples
from monai_e2e.metrics.tables import read_predictions

#: Where a threshold comes from that the predictions carry.
MODEL_THRESHOLD = "the model's, chosen on its validation data"


def find_threshold(
    rows: Sequence[Mapping[str, Any]],
    threshold: float | None,
    threshold_from: str | Path | None,
    how: str,
    changed: Recalibration | None = None,
) -> tuple[float | dict[str, float] | None, str, list[str]]:
    """The threshold that was given, else chosen on validation data, else the predictions' own.

    Args:
        rows: predictions that are judged.
        threshold: probability between 0 and 1.
        threshold_from: labelled predictions of the validation images.
        how: how the views of a breast become one score there.
        changed: what the rows were recalibrated by.

    Returns:
        Log-odds, by level where they were chosen here, None where there is none; where they come from; notes.

    Raises:
        UserError: when both are given, the probability isn't one, or the validation's images or patients are in rows.
    """
    if threshold is not None and threshold_from is not None:
        raise UserError("--threshold and --threshold-from can't be given together: leave one out")
    if threshold is not None:
        if not 0 < threshold < 1:
            raise UserError(f"--threshold {threshold:g}: give a probability between 0 and 1, such as 0.35")
        return float(logit(threshold)), "given", []
    if threshold_from is not None:
        path = Path(threshold_from)
        validation: Sequence[Row] = require_labels(read_predictions(path), path)[0]
        _require_disjoint(rows, validation, path)
        if changed is not None:
            validation = recalibrate_rows(validation, changed)
        samples, _ = level_samples(validation, how)
        chosen = {level: choose_threshold(sample.labels, sample.logits) for level, sample in samples.items()}
        return chosen, f"largest Youden index on {table_name(path)}", []
    found = {row["threshold"] for row in rows if row.get("threshold") is not None}
    if len(found) > 1:
        return None, "", [f"The predictions have {len(found)} thresholds, so none is used; give --threshold."]
    if not found:
        return None, "", []
    (value,) = found
    if not 0 < value < 1:
        return None, "", [f"The predictions' threshold is {value:g}, which separates no images, so it isn't used."]
    return float(logit(value)), MODEL_THRESHOLD, []


def find_recalibration(
    rows: Sequence[Mapping[str, Any]], recalibrate: str | Path, source: str | Path | None
) -> Recalibration:
    """The recalibration in a file, or fitted by a method on labelled predictions of other images.

    Raises:
        UserError: when the file is none, there are no other images, or some are among those scored.
    """
    if Path(recalibrate).is_file():
        return read_recalibration(recalibrate)
    if str(recalibrate) not in METHODS:
        raise UserError(f"--recalibrate {recalibrate}: no such file or method; {did_you_mean(recalibrate, METHODS)}")
    if source is None:
        raise UserError(f"--recalibrate {recalibrate}: name labelled validation predictions, --recalibrate-from CSV")
    path = Path(source)
    validation = require_labels(read_predictions(path), path)[0]
    _require_disjoint(rows, validation, path)
    labels, logits = ([row[key] for row in validation] for key in ("label", "logit"))
    return fit_recalibration(labels, logits, str(recalibrate), table_name(path))


def _require_disjoint(rows: Sequence[Mapping[str, Any]], validation: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Refuse images and patients that are scored too, however they are written: a threshold chosen on them flatters."""
    for what, column, key in (("images", "image", image_key), ("patients", "patient_id", identifier_key)):
        own = {key(row[column]).casefold(): row[column] for row in rows if row[column]}
        shared = sorted(own[name] for name in {key(row[column]).casefold() for row in validation} & own.keys())
        if shared:
            raise UserError(
                f"{path}: {len(shared)} {what} are among those scored too ({some(shared)}); choose the "
                "threshold, or recalibrate, on predictions of the validation patients alone"
            )
