"""Running numbers in place of identifiers, and the private file that says whose number is whose."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from monai_e2e.data.sources.formulas import guarded_cell
from monai_e2e.data.sources.spreadsheets import read_table
from monai_e2e.work.files import written_whole

_COLUMNS = ("pseudonym", "kind", "identifier")


class Pseudonyms:
    """Running numbers in place of identifiers, none that is taken; those of an earlier link file stay.

    Args:
        kind: the first word of each.
        link: the earlier file, if there is one.
        taken: numbers that may not be given.
        key: what identifiers share that get the same number.
    """

    def __init__(
        self, kind: str, link: Path | None, taken: Collection[str] = (), key: Callable[[str], str] = str
    ) -> None:
        self.kind, self._taken, self._key = kind, set(taken), key
        self._ids: dict[str, str] = {}
        self._by_key: dict[str, str] = {}
        if link is not None and link.is_file():
            for _, row in read_table(link, _COLUMNS, advice="name a file that --keep-link wrote").rows:
                if row["kind"] == kind:
                    self._ids[row["identifier"]] = row["pseudonym"]
                    self._by_key.setdefault(key(row["identifier"]), row["pseudonym"])

    def of(self, identifier: str) -> str:
        """The pseudonym of an identifier, empty for an empty one."""
        if identifier and identifier not in self._ids:
            key = self._key(identifier)
            if key not in self._by_key:
                self._by_key[key] = self._new()
            self._ids[identifier] = self._by_key[key]
        return self._ids.get(identifier, "")

    def _new(self) -> str:
        taken, number = {*self._ids.values(), *self._taken}, len(self._by_key) + 1
        while f"{self.kind}-{number:04d}" in taken:
            number += 1
        return f"{self.kind}-{number:04d}"

    @property
    def written_in_several_ways(self) -> int:
        """How many have several identifiers."""
        return sum(count > 1 for count in Counter(self._ids.values()).values())

    @property
    def links(self) -> list[tuple[str, str, str]]:
        return [(pseudonym, self.kind, identifier) for identifier, pseudonym in self._ids.items()]


def write_link(links: Iterable[tuple[str, str, str]], path: str | Path) -> None:
    """Write pseudonyms, their kind and the identifiers behind them, readable by the file's owner alone."""
    with written_whole(Path(path)) as unfinished:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            writer.writerows(map(guarded_cell, link) for link in links)
