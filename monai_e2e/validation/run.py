"""External validation: predict and score every model on every prepared folder, as ``predict`` and ``score`` do.

In the folder of results each model and data set have ``<model>/<data set>/<partition>``, with all that both commands
write. If the scores were recalibrated, they also have ``<model>/<data set>/recalibration.json`` and ``recalibrated/``.
``validation.csv``, ``validation.json`` and ``index.html`` list all of them. If one fails, its row has the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scipy.special import expit

from monai_e2e import NOTICE, __version__
from monai_e2e.data.prepared.datalist import read_datalist
from monai_e2e.data.prepared.folder import is_prepared
from monai_e2e.errors import UserError
from monai_e2e.metrics import choose_threshold, read_predictions, score_file, write_predictions, write_table
from monai_e2e.metrics.recalibration import (
    fit_recalibration,
    read_recalibration,
    recalibrate_rows,
    write_recalibration,
)
from monai_e2e.networks.weights import read_patients
from monai_e2e.predict import Options, predict
from monai_e2e.predict.models import checkpoint_of
from monai_e2e.seen import is_known
from monai_e2e.shipped.models import find_model
from monai_e2e.work.files import read_json, write_json
from monai_e2e.work.locking import locked

logger = logging.getLogger(__name__)

#: Columns of ``validation.csv``.
COLUMNS = (
    "model", "dataset", "recalibrated", "partition", "label_source", "label_unit", "label_rule",
    "images", "positive", "prevalence", "patients",
    "auc", "auc_low", "auc_high", "auc_breast", "auc_exam", "change",
    "threshold", "sensitivity", "sensitivity_low", "sensitivity_high", "specificity", "specificity_low",
    "specificity_high", "calibration_slope", "slope_low", "slope_high", "calibration_intercept", "intercept_low",
    "intercept_high", "brier", "note", "reason",
)  # fmt: skip
#: In place of a change, on the data set that the model was trained on.
SOURCE = "source"


@dataclass(frozen=True)
class Settings:
    """How models are validated.

    Args:
        partition: the one to score.
        recalibrate: partition to fit a recalibration and choose a threshold on; None: do neither.
        method: of the recalibration, ``"platt"`` or ``"temperature"``.
        source: name of the data set that the models were trained on; None: the one with most of the training patients
            that are recorded in a model.
        seed, resamples: seed and number of resamples of the bootstrap.
        options: options of the prediction.
    """

    partition: str = "test"
    recalibrate: str | None = None
    method: str = "platt"
    source: str | None = None
    seed: int = 0
    resamples: int = 2000
    options: Options = field(default_factory=Options)


def validate(
    models: Sequence[str | Path], datasets: Sequence[str | Path], out: str | Path, settings: Settings | None = None
) -> list[dict[str, Any]]:
    """Score every model on every prepared folder, and write the tables and the page.

    Args:
        models: bundles' folders, checkpoints or names of shipped models.
        datasets: prepared folders.
        out: folder of the results; to continue a run that was stopped, name the same folder.
        settings: see :class:`Settings`.

    Returns:
        Rows with :data:`COLUMNS`, model by model.

    Raises:
        UserError: when there is no such model or prepared folder, settings don't fit together, or another process
            writes to the folder.
    """
    settings = settings or Settings()
    if settings.recalibrate == settings.partition:
        raise UserError(
            f"--recalibrate {settings.recalibrate}: that partition is scored; choose another, such as validation"
        )
    checkpoints = {name: checkpoint_of(find_model(path)) for name, path in _named(models).items()}
    folders = _named(datasets)
    for folder in folders.values():
        if not is_prepared(folder):
            raise UserError(f"{folder}: not a prepared folder; run `monai-e2e prepare … {folder}`")
    if settings.source is not None and settings.source not in folders:
        raise UserError(f"--source {settings.source}: choose one of {', '.join(folders)}")
    out = Path(out)
    with locked(out), _said_once():
        rows: list[dict[str, Any]] = []
        for (name, checkpoint), model in zip(checkpoints.items(), models, strict=True):
            own = [
                row
                for dataset, folder in folders.items()
                for row in _pair(name, model, dataset, Path(folder), out / name / dataset, settings)
            ]
            _add_changes(own, settings.source or _source(checkpoint, folders))
            rows += own
        write_table(out / "validation.csv", rows, COLUMNS)
        record = {"version": f"monai-e2e {__version__}", "notice": NOTICE, "rows": rows}
        write_json(out / "validation.json", record, indent=1)
        from monai_e2e.validation.page import write_page

        write_page(out, rows, settings)
        return rows


def format_validation(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table that the command prints."""
    lines = [("model", "data set", "positive", "AUC per image, 95 %", "change", "calibration slope", "")]
    for row in rows:
        if row["auc"] is None:
            continue
        interval = "" if row["auc_low"] is None else f" ({row['auc_low']:.3f} to {row['auc_high']:.3f})"
        change = "–" if row["change"] is None else row["change"]
        change = change if isinstance(change, str) else f"{change:+.3f}"
        slope = "–" if row["calibration_slope"] is None else f"{row['calibration_slope']:.2f}"
        after = "recalibrated" if row["recalibrated"] else ""
        counts = f"{row['positive']} of {row['images']}"
        lines.append((row["model"], row["dataset"], counts, f"{row['auc']:.3f}{interval}", change, slope, after))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    notes = [f"{row['model']} on {row['dataset']}: {row['note']}" for row in rows if row.get("note")]
    failed = [f"{row['model']} on {row['dataset']}: {row['reason']}" for row in rows if row["auc"] is None]
    return "\n".join([*table, *notes, *failed, NOTICE])


@contextmanager
def _said_once() -> Iterator[None]:
    """Log each message about a model once, and not again for each data set and partition."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in said
        said.add(message)
        return new

    loggers = [logging.getLogger(f"monai_e2e.predict.{module}") for module in ("run", "engines")]
    for one in loggers:
        one.addFilter(is_new)
    try:
        yield
    finally:
        for one in loggers:
            one.removeFilter(is_new)


def _named(paths: Sequence[str | Path]) -> dict[str, str | Path]:
    """Paths by the names of their folders in the results."""
    named: dict[str, str | Path] = {}
    for path in paths:
        parts = [part for part in Path(path).absolute().parts if part not in ("models", "model.pt")]
        own = Path(path).name == parts[-1] and Path(path).is_file()  # else it is a folder, whose name may have dots
        base = Path(path).stem if own else parts[-1]
        name, number = base, 2
        while name in named:
            name, number = f"{base}--{number}", number + 1
        named[name] = path
    return named


def _source(checkpoint: Path, folders: Mapping[str, str | Path]) -> str | None:
    """The data set with most of the training patients that are recorded in the model."""
    known = set(read_patients(checkpoint).get("training", ()))
    shares = {}
    for name, folder in folders.items():
        patients = {sample["patient_id"] for sample in read_datalist(folder)["training"]}
        shares[name] = sum(is_known(patient, known) for patient in patients)
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] else None


def _pair(
    name: str, model: str | Path, dataset: str, folder: Path, out: Path, settings: Settings
) -> list[dict[str, Any]]:
    """One model on one data set, and again with recalibrated scores, if asked for."""
    datalist = read_datalist(folder)
    blank = dict.fromkeys(COLUMNS) | {
        "model": name,
        "dataset": dataset,
        "recalibrated": False,
        "partition": settings.partition,
        **{fact: datalist.get(fact, "unknown") for fact in ("label_source", "label_unit", "label_rule")},
    }
    rows = []
    try:
        tested = _predicted(model, folder, out, settings.partition, settings.options)
        rows.append(blank | _scores(tested, settings))
        if settings.recalibrate is not None:
            rows.append(blank | {"recalibrated": True} | _recalibrated(model, folder, out, tested, settings))
    except UserError as error:  # which is a row of the table
        rows.append(blank | {"recalibrated": bool(rows), "reason": str(error)})
    return rows


def _predicted(model: str | Path, folder: Path, out: Path, partition: str, options: Options) -> Path:
    outcome = predict([model], folder, out / partition, replace(options, partition=partition))
    if outcome.failed:
        logger.warning("%s: %d images have no score", out / partition / "failures.csv", outcome.failed)
    return out / partition / "predictions.csv"


def _scores(predictions: Path, settings: Settings) -> dict[str, Any]:
    """Score one table of predictions, with all that ``score`` writes, and return the figures of its row."""
    scored = score_file(predictions, how=settings.options.aggregate, seed=settings.seed, resamples=settings.resamples)
    images = scored["image"]
    point = images.get("at_threshold", {})
    intervals = [limits for limits in (images["auc_ci_bootstrap"], images["auc_ci_delong"]) if limits]
    # If the scores separate the classes perfectly, the bootstrap's has no width: see the notes of the report.
    low, high = next((limits for limits in intervals if limits[0] < limits[1]), intervals[-1])
    row = {
        "images": images["n"],
        "positive": images["positive"],
        "prevalence": images["positive"] / images["n"],
        "patients": images["patients"],
        "auc": images["auc"],
        "auc_low": low,
        "auc_high": high,
        "auc_breast": scored.get("breast", {}).get("auc"),
        "auc_exam": scored.get("exam", {}).get("auc"),
        "threshold": point.get("threshold"),
        "calibration_slope": images["calibration_line"]["slope"],
        "calibration_intercept": images["calibration_line"]["intercept"],
        "brier": images["brier"],
    }
    for name in ("slope", "intercept"):
        row[f"{name}_low"], row[f"{name}_high"] = images["calibration_line"][f"{name}_ci"] or (None, None)
    for rate in ("sensitivity", "specificity"):
        row[rate] = point.get(rate)
        row[f"{rate}_low"], row[f"{rate}_high"] = point.get(f"{rate}_ci") or (None, None)
    return row


def _recalibrated(model: str | Path, folder: Path, out: Path, tested: Path, settings: Settings) -> dict[str, Any]:
    """The figures after a recalibration on another partition, with the threshold chosen there."""
    fitted_on = _predicted(model, folder, out, str(settings.recalibrate), settings.options)
    rows = [row for row in read_predictions(fitted_on) if row["label"] is not None]
    labels, logits = [row["label"] for row in rows], [row["logit"] for row in rows]
    source = f"{settings.recalibrate} partition of {folder.name}"
    fitted = fit_recalibration(labels, logits, settings.method, source)
    threshold = float(expit(choose_threshold(labels, fitted.apply(logits))))
    digest = read_json(fitted_on.parent / "run.json")["settings"]["models"]
    checkpoint = next(iter(digest.values()))["checkpoint"]
    write_recalibration(out / "recalibration.json", replace(fitted, threshold=threshold, model=checkpoint))
    recalibration = read_recalibration(out / "recalibration.json")
    rows = [
        row | {"threshold": recalibration.threshold}
        for row in recalibrate_rows(read_predictions(tested), recalibration)
    ]
    write_predictions(out / "recalibrated" / "predictions.csv", rows)
    return _scores(out / "recalibrated" / "predictions.csv", settings) | {"note": " ".join(fitted.notes())}


def _add_changes(rows: Sequence[dict[str, Any]], source: str | None) -> None:
    """Add each row's AUC minus that on the data set that the model was trained on."""
    at_home = next((row["auc"] for row in rows if row["dataset"] == source and not row["recalibrated"]), None)
    for row in rows:
        if row["dataset"] == source:
            row["change"] = SOURCE
        elif at_home is not None and row["auc"] is not None:
            row["change"] = row["auc"] - at_home
