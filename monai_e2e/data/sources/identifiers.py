"""Identifiers of patients and exams in tables: one person must be written in one way, or counts as two.

Programs change what people type: spreadsheets write ``101.0`` for 101, ``7`` for 007, ``2.27E+07`` for a long number;
copied text has no-break spaces. What is certain is undone, what is not is an error that names both ways of writing.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

_MINUS = "\u2212"
_ROUNDED = re.compile(r"\d([.,]\d+)?E\+?\d+", re.IGNORECASE)


def clean_identifier(text: str) -> str:
    """An identifier without what programs add to it: odd blanks and dashes, invisible characters, the ``.0`` of whole
    numbers.

    Example::

        clean_identifier("101.0")            # "101"
        clean_identifier("P\\u00a0 001\\u200b") # "P 001"
        clean_identifier("P\\u2013001")       # "P-001", as it was typed
    """
    visible = text
    if not text.isascii():
        visible = "".join(map(_plain, unicodedata.normalize("NFKC", text)))
    return whole_number(" ".join(visible.split()))


def _plain(sign: str) -> str:
    """A sign as people type it: nothing for one that can't be seen, a hyphen for any dash."""
    kind = unicodedata.category(sign)
    if kind == "Cf":
        return ""
    return "-" if kind == "Pd" or sign == _MINUS else sign


def whole_number(text: str) -> str:
    """``"22678622.0"``, as programs write numbers that were read as decimals, becomes ``"22678622"``."""
    return re.sub(r"^(\d+)\.0+$", r"\1", text)


def identifier_key(text: str) -> str:
    """What two ways of writing an identifier share: case and the leading zeros of a number make no difference."""
    cleaned = clean_identifier(text).casefold()
    return cleaned.lstrip("0") or "0" if cleaned.isdecimal() else cleaned


def check_identifiers(path: Path, column: str, cells: Iterable[tuple[int, str]]) -> None:
    """Check a column of cleaned identifiers.

    Args:
        path: the table, for messages.
        column: the column, for messages.
        cells: row in the table and identifier, possibly empty.

    Raises:
        UserError: when two identifiers differ in case or leading zeros alone, or a number was rounded.
    """
    ways: dict[str, tuple[int, str]] = {}
    numbers: dict[str, int] = {}
    first_lines: dict[str, int] = {}
    for line, text in cells:
        first_lines.setdefault(text, line)
    for text, line in first_lines.items():
        if not text:
            continue
        if _ROUNDED.fullmatch(text):
            raise UserError(
                f"{path}, row {line}: {column} {text!r} is a number that a spreadsheet program rounded; format the "
                "column as text and fill in the identifiers again"
            )
        first, other = ways.setdefault(identifier_key(text), (line, text))
        if other != text:
            what, why = "case", ""
            if text.isdecimal():
                what, why = "leading zeros", " (spreadsheet programs strip them: format the column as text)"
            raise UserError(
                f"{path}: {column} {other!r} in row {first} and {text!r} in row {line} differ in {what} alone{why}; "
                "write the same identifier in one way everywhere, and make different ones differ in more than that"
            )
        if text.isdecimal():
            numbers.setdefault(text, line)
    padded = [text for text in numbers if text.startswith("0") and len(text) > 1]
    shorter = [text for text in numbers if not text.startswith("0") and len(text) < max(map(len, padded), default=0)]
    if shorter:
        logger.warning(
            "%s: column %s has %r beside %r: a spreadsheet program may have stripped leading zeros; if these numbers "
            "are in other tables too, format the column as text",
            path,
            column,
            shorter[0],
            padded[0],
        )
