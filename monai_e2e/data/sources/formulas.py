"""Cells of CSV files that spreadsheet programs would run as formulas."""

from __future__ import annotations

import re
from typing import Any

#: How cells begin that spreadsheet programs run as formulas.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
#: How exports keep a spreadsheet program from reading text as a number.
_TEXT = re.compile(r'="([^"]*)"')


def guarded_cell(value: Any) -> Any:
    """A CSV cell that no spreadsheet program runs: text such as ``=1+1`` gets an apostrophe before it.

    Numbers stay. :func:`unguarded_cell` takes the apostrophe away again, as reading a table does.
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value) else value


def unguarded_cell(text: str) -> str:
    """The text that :func:`guarded_cell` was given, or that another program guarded as ``="007"``."""
    if formula := _TEXT.fullmatch(text):
        return formula[1]
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
