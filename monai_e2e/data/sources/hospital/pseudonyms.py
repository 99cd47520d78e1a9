"""Running numbers in place of identifiers, and the private file that says whose number is whose."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from monai_e2e.data.sources.formulas import guarded_cell
from monai_e2e.data.sources.spreadsheets import read_table

_COLUMNS = ("pseudonym", "kind", "identifier")


class Pseudonyms:
    """Running numbers in place of identifiers, none that is taken; those of an earlier link file stay."""

    def __init__(self, kind: str, link: Path | None, taken: Collection[str] = ()) -> None:
        self.kind, self._taken = kind, set(taken)
        self._ids: dict[str, str] = {}
        if link is not None and link.is_file():
            for _, row in read_table(link, _COLUMNS, advice="name a file that --keep-link wrote").rows:
                if row["kind"] == kind:
                    self._ids[row["identifier"]] = row["pseudonym"]

    def of(self, identifier: str) -> str:
        """The pseudonym of an identifier, empty for an empty one."""
        if identifier and identifier not in self._ids:
            taken, number = {*self._ids.values(), *self._taken}, len(self._ids) + 1
            while f"{self.kind}-{number:04d}" in taken:
                number += 1
            self._ids[identifier] = f"{self.kind}-{number:04d}"
        return self._ids.get(identifier, "")

    @property
    def links(self) -> list[tuple[str, str, str]]:
        return [(pseudonym, self.kind, identifier) for identifier, pseudonym in self._ids.items()]


def write_link(links: Iterable[tuple[str, str, str]], path: str | Path) -> None:
    """Write pseudonyms, their kind and the identifiers behind them, readable by the file's owner alone."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(map(guarded_cell, link) for link in links)
