"""How a table's text is encoded: told by its bytes, since no CSV file says it."""

from __future__ import annotations

import codecs
import logging
import re
from pathlib import Path

from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

#: Names of encodings for messages.
_NAMES = {"cp1252": "Windows-1252; check names with accents", "gb18030": "GB18030; check the Chinese words"}
#: First bytes of the 3,755 common characters of GB 2312, and of its signs and letters. Windows-1252 has there
#: punctuation and capitals with accents, seldom two in a row; its small letters with accents are rare characters there.
_COMMON = re.compile(rb"[\xa1-\xa9\xb0-\xd7][\xa1-\xfe]")
_HIGH = re.compile(rb"[\x80-\xff]+")


def decode_table(path: Path, content: bytes) -> str:
    """The text of a table: UTF-16, UTF-8, GB18030 or Windows-1252 by its bytes, with a byte order mark or without.

    Raises:
        UserError: when it is none of them.
    """
    for encoding in _candidates(content):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        if encoding in _NAMES:
            logger.warning("%s: not UTF-8, read as %s", path, _NAMES[encoding])
        return text
    raise UserError(f"{path}: not readable as a table; save it as CSV with UTF-8")


def utf16_of(content: bytes) -> str:
    """The kind of UTF-16 that a text is in, by its byte order mark or, of Latin letters, its zero bytes; or ``""``."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if 3 * content.count(0) < len(content) or not content:
        return ""
    return "utf-16-be" if content[::2].count(0) > content[1::2].count(0) else "utf-16-le"


def _candidates(content: bytes) -> tuple[str, ...]:
    if utf16 := utf16_of(content):
        return (utf16,)
    return ("utf-8-sig", "gb18030", "cp1252") if _looks_chinese(content) else ("utf-8-sig", "cp1252")


def _looks_chinese(content: bytes) -> bool:
    """Whether most bytes above 127 are pairs that common Chinese characters have."""
    runs = _HIGH.findall(content)
    pairs = sum(len(_COMMON.findall(run)) for run in runs if len(run) % 2 == 0)
    return 2 * pairs > sum(map(len, runs)) / 2
