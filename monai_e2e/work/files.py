"""Files that are written completely or not at all, and the JSON records that commands leave for each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

_BLOCK = 1 << 20


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, with the same ending, to write to, so that nobody reads half a file.

    If the block succeeds, the file replaces ``path``, else it is removed. If several processes write the same file, the
    last one's stays. The folder is made if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{uuid4().hex[:12]}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text completely or not at all, with its line ends as they are."""
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, content: Any, indent: int = 4, **options: Any) -> None:
    """Write plain values completely or not at all; ``options`` are those of :func:`json.dumps`."""
    write_text(path, json.dumps(content, indent=indent, **options) + "\n")


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits; raises an ``OSError`` if it can't be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """The record that another command wrote; ``{}`` if there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
