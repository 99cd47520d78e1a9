"""What a cell of a table means: one of a few words, in the ways that data sets write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from monai_e2e.data.records import Laterality, LesionType, View
from monai_e2e.data.sources.identifiers import whole_number

_Value = TypeVar("_Value")

SIDES = {"L": Laterality.LEFT, "LEFT": Laterality.LEFT, "R": Laterality.RIGHT, "RIGHT": Laterality.RIGHT}
DENSITIES = {"1": 1, "2": 2, "3": 3, "4": 4, "A": 1, "B": 2, "C": 3, "D": 4}
YES_NO = {"0": "no", "1": "yes", "NO": "no", "YES": "yes"}
#: ``--positive``: labels of the BI-RADS categories; the others are left out: 0 is unfinished, 3 probably benign.
BIRADS_RULES = {
    "birads4": {1: 0, 2: 0, 4: 1, 5: 1, 6: 1},
    "birads5": {1: 0, 2: 0, 5: 1, 6: 1},
}


class Refused(Exception):
    """A row, a lesion or a path that can't be used; the message is the reason."""


def choose(column: str, word: str, allowed: Mapping[str, _Value]) -> _Value:
    """What a word means; raises :class:`Refused`."""
    if word not in allowed:
        names = ", ".join(name or "empty" for name in allowed)
        raise Refused(f"{column} not understood: {word!r}, allowed are {names}")
    return allowed[word]


def parse_side(text: str) -> Laterality:
    """The breast's side; raises :class:`Refused`."""
    return choose("side", text.strip().upper(), SIDES)


def parse_view(text: str) -> View:
    """CC or MLO; raises :class:`Refused` for the other views that exist."""
    view = text.strip().upper()
    if view not in [view.value for view in View]:
        raise Refused(f"view neither CC nor MLO: {text!r}")
    return View(view)


def parse_density(text: str) -> int | None:
    """ACR density 1–4 of ``B``, ``2``, ``DENSITY B`` or ``ACR B``; None where unknown."""
    return DENSITIES.get(whole_number(re.sub(r"^(DENSITY|ACR|BI-?RADS)\b", "", text.upper()).strip()))


def parse_age(text: str) -> int | None:
    """Age in years, of ``58``, ``58.0``, ``58,0`` or ``058Y``; None where unknown, as which 0 is written too."""
    years = re.fullmatch(r"0*(\d{1,3})(?:[.,]\d+)?Y?", text.strip(), re.IGNORECASE)
    return int(years[1]) or None if years else None


def parse_size(rows: str, columns: str) -> tuple[int, int] | None:
    """Rows and columns of an image; None where one isn't known."""
    size = [int(number) for number in map(whole_number, (rows, columns)) if number.isdecimal()]
    return (size[0], size[1]) if len(size) == 2 and all(size) else None


def type_of(mass: bool, calcification: bool) -> LesionType | None:
    """Type of a lesion that is said to be either; None where it is both or neither."""
    if mass == calcification:
        return None
    return LesionType.MASS if mass else LesionType.CALCIFICATION


def birads_label(category: int, positive: str) -> int:
    """Label of a category by a rule of :data:`BIRADS_RULES`; raises :class:`Refused` for those that are left out."""
    if category not in BIRADS_RULES[positive]:
        raise Refused(f"BI-RADS {category}")
    return BIRADS_RULES[positive][category]
