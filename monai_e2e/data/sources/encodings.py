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


def decode_table(path: Path, content: bytes, advice: str = "") -> str:
    """The text of a table: UTF-8 or UTF-16 by their byte order marks, UTF-8, GB18030 or Windows-1252 by its bytes.

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
    raise UserError(f"{path}: not readable as a table; {advice or 'save it as CSV with UTF-8'}")


def _candidates(content: bytes) -> tuple[str, ...]:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ("utf-16",)
    return ("utf-8-sig", "gb18030", "cp1252") if _looks_chinese(content) else ("utf-8-sig", "cp1252")


def _looks_chinese(content: bytes) -> bool:
    """Whether most bytes above 127 are pairs that common Chinese characters have."""
    runs = _HIGH.findall(content)
    pairs = sum(len(_COMMON.findall(run)) for run in runs if len(run) % 2 == 0)
    return 2 * pairs > sum(map(len, runs)) / 2
