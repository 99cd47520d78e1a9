"""Predictions as tables: ``predictions.csv`` written and read, and other groups' tables read."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import compress
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit

from monai_e2e.data.records import GROUP_COLUMNS
from monai_e2e.data.sources.formulas import guarded_cell
from monai_e2e.data.sources.spreadsheets import Table, read_table
from monai_e2e.errors import UserError
from monai_e2e.metrics.cells import (
    parse_density,
    parse_group,
    parse_label,
    parse_number,
    parse_place,
    parse_probability,
    parse_whole,
)

#: Columns of ``predictions.csv``, one row per image.
PREDICTION_COLUMNS = (
    "image",
    "patient_id",
    "exam_id",
    "laterality",
    "view",
    "label",
    "density",
    "lesion_type",
    "p_malignant",
    "logit",
    "threshold",
    "model",
    "fold",
    "seed",
    "p_low",
    "p_high",
    "spread_over",
    "flags",
)
#: Of an average: the lowest and the highest probability that it is of, and what these are, as ``5 models``.
SPREAD_COLUMNS = ("p_low", "p_high", "spread_over")
#: Columns that are left out where they are empty throughout.
OPTIONAL_COLUMNS = ("label", "density", "lesion_type", "fold", "seed", *SPREAD_COLUMNS)
#: Log-odds that stand for a probability of exactly 0 or 1: beyond those of any other double, so ranks stay.
EXTREME = 750.0
#: Beyond rounding, a probability and log-odds that differ by this are not one prediction.
_TOLERANCE = 1e-3
_ADVICE = (
    "give a predictions.csv of `monai-e2e predict`, a CSV with image and p_malignant or logit, or the meta-repository's"
    " image_index, malignant_pred, malignant_label"
)
#: The meta-repository's images are named after exam, side and view: ``0_L_CC``, ``0_L-CC``, or ``0_L`` without a view.
_IMAGE_INDEX = re.compile(r"(.+)_([LR])(?:[_-](CC|MLO))?", re.IGNORECASE)


def write_table(path: str | Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write rows as CSV; columns are by default the keys of the first row, None is empty and floats have 6 decimals.

    Text that a spreadsheet program would run is guarded, see :func:`~monai_e2e.data.sources.formulas.guarded_cell`.
    """
    path = Path(path)
    columns = list(columns if columns is not None else rows[0] if rows else [])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(columns)
        writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)


def write_predictions(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``predictions.csv``: rows by :data:`PREDICTION_COLUMNS`, optional columns only where something is known.

    The threshold keeps 12 digits, since a score near it must fall on the same side when it is read back.
    """
    known = {column for column in OPTIONAL_COLUMNS if any(row.get(column) not in (None, "") for row in rows)}
    rows = [{**row, "threshold": _precise(row.get("threshold"))} for row in rows]
    columns = [name for name in PREDICTION_COLUMNS if name not in OPTIONAL_COLUMNS or name in known]
    columns += [name for name in GROUP_COLUMNS if any(row.get(name) not in (None, "") for row in rows)]
    write_table(path, rows, columns)


def read_predictions(path: str | Path) -> list[dict[str, Any]]:
    """Read a table of predictions and check it.

    Understood are

    - ``predictions.csv`` with ``image``, ``logit`` or ``p_malignant``, and any of the other
      :data:`PREDICTION_COLUMNS`;
    - the per-image table of NYU's meta-repository of screening mammography classifiers (Stadnick et al.,
      arXiv:2108.04800): ``image_index,malignant_pred,malignant_label``. Where an index reads ``0_L_CC`` or ``0_L-CC``,
      as in its documentation, or ``0_L``, exam, side and view are taken from it; else the image stands alone.

    A log-odds that is absent is computed from the probability. Probabilities of exactly 0 and 1 then get log-odds of
    ∓750, below and above all others, so ranks stay and those of them are tied. A view other than CC and MLO becomes
    unknown and is flagged, since such views exist; a side other than left and right is an error.

    Returns:
        Dicts with all :data:`PREDICTION_COLUMNS`: ``label``, ``density``, ``threshold``, ``fold``, ``seed``, ``p_low``
        and ``p_high`` None where unknown, ``p_malignant`` and ``logit`` float, the others text; and those of
        :data:`~monai_e2e.data.records.GROUP_COLUMNS` that the table has.

    Raises:
        UserError: when the file can't be read, is empty, lacks a column, names an image twice, or a value is none.
    """
    table = _read(Path(path))
    if not table.rows:
        raise UserError(f"{path}: the table has no row; {_ADVICE}")
    lines: dict[str, int] = {}
    for line, values in table.rows:
        image = values["image"]
        if not image:
            raise UserError(f"{path}, row {line}: no image named; give each row the image's id")
        first = lines.setdefault(image, line)
        if first != line:
            raise UserError(
                f"{path}, row {line}: image {image!r} is in row {first} already; one row per image is allowed: "
                "remove one, or score the files of two models separately with --compare"
            )
    laterality, view, odd = zip(*_parsed(table, ["laterality", "view"], parse_place), strict=True)
    flags = _parsed(table, ["flags"], _as_it_is)
    p, log_odds = _scores(table)
    parsed: dict[str, Sequence[Any]] = {
        "laterality": laterality,
        "view": view,
        "label": _parsed(table, ["label"], parse_label),
        "density": _parsed(table, ["density"], parse_density),
        "lesion_type": _parsed(table, ["lesion_type"], _as_it_is),
        "p_malignant": p,
        "logit": log_odds,
        **{name: _parsed(table, [name], partial(parse_probability, name)) for name in ("threshold", "p_low", "p_high")},
        "model": _parsed(table, ["model"], _as_it_is),
        **{name: _parsed(table, [name], partial(parse_whole, name)) for name in ("fold", "seed")},
        "flags": [";".join(filter(None, both)) if both[1] else both[0] for both in zip(flags, odd, strict=True)],
    }
    parsed |= {
        name: _parsed(table, [name], partial(parse_group, name)) for name in GROUP_COLUMNS if name in table.columns
    }
    # In place: a second set of a million rows takes half a gigabyte.
    rows: list[dict[str, Any]] = [values for _, values in table.rows]
    for name in set(GROUP_COLUMNS) - parsed.keys():
        for row in rows:
            row.pop(name, None)
    for name, column in parsed.items():
        for row, value in zip(rows, column, strict=True):
            row[name] = value
    return rows


def _read(path: Path) -> Table:
    """The table under our columns' names, whichever of the two kinds it is."""
    try:
        with path.open("rb") as file:
            header = file.read(4096)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); {_ADVICE}") from error
    if b"left_malignant" in header:
        raise UserError(f"{path}: scores per breast; only tables with a row per image can be scored: {_ADVICE}")
    if b"malignant_pred" not in header:
        optional = [*(name for name in PREDICTION_COLUMNS if name != "image"), *GROUP_COLUMNS]
        table = read_table(path, ["image"], optional, _ADVICE)
        if not {"logit", "p_malignant"} & set(table.columns):
            raise UserError(f"{path}: neither column 'logit' nor 'p_malignant' is there; {_ADVICE}")
        return table
    table = read_table(path, ["image_index", "malignant_pred"], ["malignant_label"], _ADVICE)
    return Table(path, ("image", "p_malignant", "label"), tuple((line, _of_index(row)) for line, row in table.rows))


def _of_index(values: dict[str, str]) -> dict[str, str]:
    """A row of the meta-repository's table as one of ours."""
    row = dict.fromkeys(PREDICTION_COLUMNS, "")
    row |= {"image": values["image_index"], "p_malignant": values["malignant_pred"], "label": values["malignant_label"]}
    named = _IMAGE_INDEX.fullmatch(values["image_index"])
    if named:
        row |= {
            "patient_id": named[1],
            "laterality": named[2],
            "view": named[3] or "",
            "flags": "exam read off image_index",
        }
    return row


def _parsed(table: Table, names: Sequence[str], parse: Callable[..., Any]) -> list[Any]:
    """What the cells of a column, or of several, mean; cells of one text are parsed once."""
    cells, known, result = itemgetter(*names), dict[Any, Any](), []
    for line, values in table.rows:
        texts = cells(values)
        if texts not in known:
            known[texts] = parse(_where(table, line, values), *(values[name] for name in names))
        result.append(known[texts])
    return result


def _where(table: Table, line: int, values: Mapping[str, str]) -> str:
    return f"{table.path}, row {line}, image {values['image']!r}"


def _as_it_is(_: str, text: str) -> str:
    """The text; equal cells share one object, which saves memory."""
    return text


def _scores(table: Table) -> tuple[list[float], list[float]]:
    """Probabilities and log-odds, one of which may be absent from the table."""
    p, log_odds = _numbers(table, "p_malignant"), _numbers(table, "logit")

    def refuse(wrong: np.ndarray, message: Callable[[int], str]) -> None:
        for number in np.flatnonzero(wrong)[:1].tolist():
            line, values = table.rows[number]
            raise UserError(f"{_where(table, line, values)}: {message(number)}")

    advice = "allowed are 0 to 1: if these are log-odds, call the column logit"
    refuse((p < 0) | (p > 1), lambda i: f"p_malignant {p[i]:g}; {advice}")
    if "logit" not in table.columns:
        refuse(np.isnan(p), lambda _: "p_malignant is empty; predict the image again, or remove the row")
        return p.tolist(), np.clip(logit(p), -EXTREME, EXTREME).tolist()
    refuse(np.isnan(log_odds), lambda _: "logit is empty; fill it in for all images, or remove the column")
    expected = expit(log_odds)
    refuse(
        abs(expected - p) > _TOLERANCE,
        lambda i: (
            f"p_malignant {p[i]:g} isn't the probability of logit {log_odds[i]:g}, which is {expected[i]:.4f}; "
            "one of the two columns must be removed or corrected"
        ),
    )
    return expected.tolist(), log_odds.tolist()


def _numbers(table: Table, name: str) -> np.ndarray:
    """A column of numbers, NaN where a cell is empty."""
    texts = [values[name] for _, values in table.rows]
    try:
        numbers = np.array([float(text or "nan") for text in texts])
        wrong = any(compress(texts, ~np.isfinite(numbers)))
    except ValueError:
        wrong = True
    if wrong:
        for line, values in table.rows:
            parse_number(name, _where(table, line, values), values[name])
    return numbers


def _precise(value: Any) -> Any:
    return f"{value:.12g}" if isinstance(value, float) else value


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6f}"
    return "" if value is None else guarded_cell(value)
