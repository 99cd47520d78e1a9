"""Cells of tables of predictions and labels; a value that isn't allowed is an error that names its place."""

from __future__ import annotations

import re
from math import isfinite
from typing import Any

from monai_e2e.data.records import View
from monai_e2e.data.sources.cells import DENSITIES
from monai_e2e.data.sources.identifiers import whole_number
from monai_e2e.data.sources.labels import LABELS, label_key, refuse_categories
from monai_e2e.errors import UserError

_YES_NO = {"yes": "yes", "no": "no", "1": "yes", "0": "no", "true": "yes", "false": "no"}
_LARGEST = {"age": 120, "lesion_size": 300}
_SIDES = {"": "", "L": "LEFT", "LEFT": "LEFT", "R": "RIGHT", "RIGHT": "RIGHT"}
_VIEWS = {"": "", "ML": "MLO", **{view.value: view.value for view in View}}


def parse_label(where: str, text: str) -> int | None:
    """0, 1 or None for an empty cell; raises :class:`UserError` that names ``where``."""
    word = label_key(text)
    refuse_categories([(where, text)])
    if word and word not in LABELS:
        raise UserError(f"{where}: label {text!r}; allowed are {', '.join(LABELS)}, or empty: correct the table")
    return LABELS[word] if word else None


def parse_place(where: str, side: str, view: str) -> tuple[str, str, str]:
    """Side, view and a flag for a view that is neither CC nor MLO; raises :class:`UserError` that names ``where``."""
    if side.upper() not in _SIDES:
        allowed = ", ".join(filter(None, _SIDES))
        raise UserError(f"{where}: laterality {side!r}; allowed are {allowed}, or empty: correct the table")
    known = _VIEWS.get(view.upper())
    return _SIDES[side.upper()], known or "", "" if known is not None else f"view {view[:16]} taken as unknown"


def parse_density(where: str, text: str) -> int | None:
    """Breast density 1–4 or None; raises :class:`UserError` that names ``where``."""
    word = whole_number(text).upper()
    if word and word not in DENSITIES:
        raise UserError(f"{where}: density {text!r}; allowed are 1 to 4, A to D, or empty: correct the table")
    return DENSITIES[word] if word else None


def parse_group(column: str, where: str, text: str) -> Any:
    """A cell of a group's column: years and mm as numbers, implants as yes and no, others as they are.

    Raises:
        UserError: when a number or yes and no is something else, naming ``where``.
    """
    if column == "implant" and text:
        if text.lower() not in _YES_NO:
            raise UserError(f"{where}: implant {text[:20]!r}; allowed are yes, no, 1, 0, or empty: correct the table")
        return _YES_NO[text.lower()]
    if column == "age":
        text = text.upper().removesuffix("Y")  # DICOM writes 063Y
    if column not in ("age", "lesion_size"):
        return text
    value = parse_number(column, where, text)
    if value is not None and not 0 < value <= _LARGEST[column]:
        unit = "years" if column == "age" else "mm"
        raise UserError(f"{where}: {column} {value:g}; allowed are up to {_LARGEST[column]} {unit}, or empty")
    return value


def parse_probability(column: str, where: str, text: str) -> float | None:
    """A probability, None for an empty cell; raises :class:`UserError` that names ``where``."""
    value = parse_number(column, where, text)
    if value is not None and not 0 <= value <= 1:
        raise UserError(f"{where}: {column} {value:g}; allowed are probabilities from 0 to 1, or empty")
    return value


def parse_number(column: str, where: str, text: str) -> float | None:
    """A finite number, None for an empty cell; raises :class:`UserError` that names ``where``."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        point = text.replace(",", ".", 1)
        advice = f"write decimals with a point, {point}" if re.fullmatch(r"-?\d+\.\d+", point) else "correct the table"
        raise UserError(f"{where}: {column} {text!r} is no number; {advice}") from None
    if not isfinite(value):
        raise UserError(f"{where}: {column} is {text}; predict the image again, or remove the row")
    return value


def parse_whole(column: str, where: str, text: str) -> int | None:
    """A whole number from 0 on, None for an empty cell; raises :class:`UserError` that names ``where``."""
    if text and not whole_number(text).isdecimal():
        raise UserError(f"{where}: {column} {text!r}; allowed are whole numbers from 0 on, or empty: correct the table")
    return int(whole_number(text)) if text else None
