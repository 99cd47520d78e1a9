"""Files that are written whole or not at all, and the records that commands leave for each other as JSON."""

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
    """A new path to write to instead of ``path``, beside it and with its ending, so that no reader finds half a file.

    Where the block ends well it takes the place of ``path``, else it is removed. Several processes may write the same
    file; the last one's stays. The folder is made if need be.
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
    """Write a text whole, its line ends as they are."""
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, content: Any, indent: int = 4, **options: Any) -> None:
    """Write plain values whole; ``options`` are those of :func:`json.dumps`."""
    write_text(path, json.dumps(content, indent=indent, **options) + "\n")


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits; an ``OSError`` passes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A record that another command left, ``{}`` where there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
