"""What a report is about: which model was run on which data, when, and where the labels come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from monai_e2e.data.prepared.datalist import labels_in_words, read_datalist
from monai_e2e.errors import some
from monai_e2e.work.files import read_json

_KEPT = ("data", "protocol", "partition", "predicted")


def describe_predictions(
    path: str | Path,
    rows: Sequence[Mapping[str, Any]],
    labels: str | Path | None = None,
    name: str | None = None,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What is known of a table of predictions, from its rows and the ``run.json`` beside it.

    Args:
        path: the table.
        rows: its rows.
        labels: table or prepared folder that the labels were taken from; None: the predictions' own.
        name: what the user calls the model.
        known: facts that the caller knows better.

    Returns:
        ``name``, ``model``, ``data`` (the data set, else the folder), ``protocol`` (how its patients were split),
        ``partition``, ``fold``, ``seed``, ``predicted`` and ``scored`` (days, ISO 8601), ``labels`` (their source);
        None where unknown.
    """
    path = Path(path)
    record = read_json(path.parent / "run.json")
    settings = record.get("settings") or {}
    # The record of a training, whose evaluation lies beside it, tells of other images than the evaluation's.
    evaluated = "bundle" in record
    dataset = {} if evaluated else record.get("dataset") or {}
    if labels is not None and Path(labels).is_dir():
        dataset = read_datalist(labels)
    data = dataset.get("name") or settings.get("src")
    source = "the column label of the predictions"
    if labels is not None:
        source = str(labels)
    elif dataset:
        source = labels_in_words(dataset)
    facts = {
        "name": name,
        "model": _joined(rows, "model") or (record.get("bundle") or {}).get("name"),
        "data": data,
        "protocol": dataset.get("protocol"),
        "partition": _joined(rows, "partition") or settings.get("partition"),
        "fold": _joined(rows, "fold"),
        "seed": _joined(rows, "seed"),
        "predicted": None if evaluated else str(record.get("ended") or record.get("started") or "")[:10] or None,
        "scored": date.today().isoformat(),
        "labels": source,
    }
    if evaluated and known is None:  # the report that the evaluation wrote knows more than its table
        earlier = read_json(path.parent / "score.json").get("about") or {}
        known = {key: earlier.get(key) for key in _KEPT if facts[key] is None}
    return facts | {key: value for key, value in (known or {}).items() if value is not None}


def table_name(path: str | Path) -> str:
    """A table's name, with its folder's if it is the one that all have: ``vgg/predictions.csv``."""
    path = Path(path).resolve()
    return f"{path.parent.name}/{path.name}" if path.name == "predictions.csv" else path.name


def notes_of_run(path: str | Path) -> list[str]:
    """What ``predict``'s ``run.json`` beside its table says of images that have no row."""
    path = Path(path)
    record = read_json(path.parent / "run.json")
    if path.name != "predictions.csv" or record.get("kind") != "monai-e2e predict":
        return []
    if "ended" not in record:
        images = record.get("images")
        return [f"`predict` has not ended with {path.name}, so some of its {images} images may have no row."]
    failed = record.get("failed")
    return [f"{failed} images have no prediction, see failures.csv."] if failed else []


def prepared_folder(path: str | Path, labels: str | Path | None = None) -> Path | None:
    """The prepared folder that predictions are of, as the labels or ``predict``'s ``run.json`` beside them name it."""
    if labels is not None and Path(labels).is_dir():
        return Path(labels)
    record = read_json(Path(path).parent / "run.json")
    dataset = {} if "bundle" in record else record.get("dataset") or {}
    return Path(dataset["path"]) if dataset.get("path") else None


def known_folds(path: str | Path) -> int | None:
    """How many folds the data of predictions were split into, by the ``run.json`` beside them; None: unknown."""
    return (read_json(Path(path).parent / "run.json").get("dataset") or {}).get("folds")


def describe_in_words(about: Mapping[str, Any]) -> str:
    """The facts as the title of a page, ``""`` where the model isn't known: ``ResNet on CBIS-DDSM, test, fold 1``."""
    model = about.get("name") or about.get("model")
    if not model:
        return ""
    fold = about.get("fold")
    parts = [about.get("data"), about.get("partition"), None if fold is None else f"fold {fold}"]
    where = ", ".join(str(part) for part in parts if part)
    return f"{model} on {where}" if where else str(model)


def _joined(rows: Sequence[Mapping[str, Any]], column: str) -> Any:
    """A column's one value, else its values as text; None where there is none."""
    values = sorted({row[column] for row in rows if row.get(column) not in (None, "")})
    return some(values, 3) if len(values) > 1 else next(iter(values), None)
