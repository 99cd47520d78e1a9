"""What is known of the images that were predicted: labels from a table or a prepared folder, joined by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from monai_e2e.data.prepared.datalist import PARTITIONS, read_datalist
from monai_e2e.data.records import GROUP_COLUMNS, IMAGE_SUFFIXES
from monai_e2e.data.sources.disk import one_form
from monai_e2e.data.sources.spreadsheets import read_table
from monai_e2e.errors import UserError, some
from monai_e2e.metrics.cells import parse_density, parse_group, parse_label, parse_place

#: Columns that a table of labels may have beside the label.
_FACTS = ("patient_id", "exam_id", "laterality", "view", "density", "lesion_type")
_ADVICE = "write a CSV with `image,label[,patient_id,exam_id,laterality,view,density,lesion_type]`"


def read_labels(path: str | Path) -> dict[str, dict[str, Any]]:
    """Labels and other facts by image.

    Args:
        path: a CSV or spreadsheet with ``image,label`` and any of ``patient_id``, ``exam_id``, ``laterality``,
            ``view``, ``density``, ``lesion_type`` and :data:`~monai_e2e.data.records.GROUP_COLUMNS`, or a prepared
            folder, of which all partitions are read.

    Returns:
        By :func:`image_key`: ``label`` (0, 1 or None) and the facts that are known; from a prepared folder also the
        ``partition``.

    Raises:
        UserError: when the table or folder can't be read, a column is missing, a value isn't allowed or an image has
            two different rows.
    """
    path = Path(path)
    return _of_prepared(path) if path.is_dir() else _of_table(path)


def join_labels(
    rows: Sequence[Mapping[str, Any]], labels: Mapping[str, Mapping[str, Any]], source: str | Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """Predictions with what the labels say of their images, which goes before what the predictions' table said.

    Args:
        rows: of :func:`~monai_e2e.metrics.read_predictions`.
        labels: of :func:`read_labels`.
        source: where the labels are from, for messages.

    Returns:
        The rows, and notes on what didn't match.

    Raises:
        UserError: when two predictions are of the same image, or none is of an image that has a label.
    """
    keys = [image_key(row["image"]) for row in rows]
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise UserError(f"{source}: image {twice[0]!r} fits several predictions; name images by their whole path")
    found = set(keys) & set(labels)
    if not found:
        raise UserError(
            f"{source}: none of its {len(labels)} images ({some(labels)}) is among the {len(rows)} predictions "
            f"({some(keys)}); write the images' names as the predictions do"
        )
    notes = []
    # A prepared folder's other partitions are no part of what was predicted.
    partitions = {labels[key].get("partition") for key in found}
    missing = [key for key in labels if key not in found and labels[key].get("partition") in partitions]
    if missing:
        notes.append(f"{len(missing)} labelled images of {Path(source).name} have no prediction: {some(missing)}.")
    joined = [
        dict(row) | {k: v for k, v in labels.get(key, {}).items() if v not in (None, "")}
        for row, key in zip(rows, keys, strict=True)
    ]
    changed = [a["image"] for a, b in zip(rows, joined, strict=True) if a.get("label") not in (None, b["label"])]
    if changed:
        notes.append(f"{len(changed)} labels differ from those in the predictions and count instead: {some(changed)}.")
    if partitions - {"test", None}:
        of_each = Counter(row.get("partition") for row in joined)
        counts = ", ".join(f"{of_each[name]} {name}" for name in PARTITIONS if of_each[name])
        notes.append(f"The images are of the partitions {counts}: a model scores too well on what it was trained on.")
    return joined, notes


def require_labels(
    rows: Sequence[Mapping[str, Any]], source: str | Path, drop_unlabelled: bool = False
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Rows that all have a label, and notes on what was dropped for it.

    Raises:
        UserError: when labels are missing and may not be dropped, or nothing is left.
    """
    without = [str(row["image"]) for row in rows if row.get("label") is None]
    if len(without) == len(rows):
        raise UserError(f"{source}: none of the {len(rows)} images has a label; give them by --labels CSV|PREPARED")
    if without and not drop_unlabelled:
        raise UserError(
            f"{source}: {len(without)} of {len(rows)} images have no label: {some(without)}; give them by "
            "--labels CSV|PREPARED, or leave these images out by --drop-unlabelled"
        )
    notes = [f"{len(without)} images without label were left out: {some(without)}."] if without else []
    return [row for row in rows if row.get("label") is not None], notes


def lesion_types(lesions: Iterable[Mapping[str, Any]]) -> str:
    """The types of an image's lesions as ``predictions.csv`` has them: ``calcification+mass``."""
    return "+".join(sorted({str(lesion["type"]) for lesion in lesions if lesion.get("type")}))


def image_key(image: str) -> str:
    """An image's name without ending and with ``/``, by which tables from different programs are joined."""
    path = PurePosixPath(one_form(str(image)))
    return (path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path).as_posix()


def _of_table(path: Path) -> dict[str, dict[str, Any]]:
    labels: dict[str, dict[str, Any]] = {}
    table = read_table(path, ["image", "label"], [*_FACTS, *GROUP_COLUMNS], _ADVICE)
    grouping = [name for name in GROUP_COLUMNS if name in table.columns]
    for line, values in table.rows:
        where = f"{path}, row {line}"
        if not values["image"]:
            raise UserError(f"{where}: no image named; {_ADVICE}")
        side, view, _ = parse_place(where, values["laterality"], values["view"])
        facts = values | {"laterality": side, "view": view, "density": parse_density(where, values["density"])}
        facts = {key: facts[key] for key in _FACTS} | {"label": parse_label(where, values["label"])}
        facts |= {name: parse_group(name, where, values[name]) for name in grouping}
        if labels.setdefault(image_key(values["image"]), facts) != facts:
            raise UserError(f"{where}: image {values['image']!r} was listed before with other values; keep one row")
    if not labels:
        raise UserError(f"{path}: the table has no row; {_ADVICE}")
    return labels


def _of_prepared(folder: Path) -> dict[str, dict[str, Any]]:
    datalist = read_datalist(folder)
    labels = {}
    try:
        for partition in PARTITIONS:
            for sample in datalist[partition]:
                facts = {key: sample.get(key) or None for key in _FACTS[:-1]}
                facts |= {key: sample[key] for key in GROUP_COLUMNS if sample.get(key) not in (None, "")}
                facts |= {"label": int(sample["label"]), "lesion_type": lesion_types(sample["lesions"])}
                # As evaluation and prediction name the images of a prepared folder.
                labels[PurePosixPath(sample["image"]).stem] = facts | {"partition": partition}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}/datalist.json: a sample lacks or has a wrong {error}; prepare it again") from error
    return labels
