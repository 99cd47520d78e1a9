"""Tables as people keep them: the header is found, wherever it stands, and rows are checked for what went wrong."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from monai_e2e.data.sources.grids import DELIMITERS, Grid, beginnings, grids
from monai_e2e.data.sources.identifiers import check_identifiers, clean_identifier
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

#: Endings that tables have on disk.
TABLE_SUFFIXES = (".csv", ".tsv", ".xls", ".xlsx")
#: Titles above the header are no more rows than this.
_HEADER_ROWS = 20
#: Rows from which on the last one can be compared with the others.
_ENOUGH = 3
#: Columns of identifiers, whatever the table; see :mod:`monai_e2e.data.sources.identifiers`.
_PATIENT = "patientid"
_IDENTIFIERS = (_PATIENT, "examid")


@dataclass(frozen=True)
class Table:
    """A table's wanted columns.

    Args:
        path: the file.
        columns: those of the wanted columns that the table has, under the names that the caller gave.
        rows: number of the row in the file (from 1, as spreadsheet programs show it) and its values by column, ``""``
            where a cell or an optional column is absent. Blank rows are dropped.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]


def read_table(path: str | Path, needed: Sequence[str], optional: Sequence[str] = (), advice: str = "") -> Table:
    """Read a CSV, XLS or XLSX file.

    The header is the first row that has all needed columns, so titles may stand above it; case, blanks, hyphens and
    underscores in it don't matter. Of a spreadsheet's sheets the first that has the columns is read, whole numbers
    lose their ``.0`` and dates become ``2010-01-31``. How text is encoded,
    :func:`~monai_e2e.data.sources.encodings.decode_table` tells. Identifiers of patients and exams are cleaned and
    checked, see :mod:`monai_e2e.data.sources.identifiers`.

    Args:
        path: the file.
        needed: columns without which the table is useless.
        optional: columns that are read where they are.
        advice: what to do about an unusable table, the end of error messages.

    Raises:
        UserError: when the file is missing, can't be read, lacks a needed column or has a wanted one twice, is a
            spreadsheet and the library for it isn't installed, has a quote that swallows rows, a row of more cells
            than the header, of another delimiter or a cut-off end, or writes one patient in two ways.
    """
    path = Path(path)
    found: list[tuple[int, int, Grid]] = []
    complete: list[Grid] = []
    for grid in grids(path, advice):
        index, count = _header(grid, needed)
        found.append((count, len(grid.rows[index]) if grid.rows else 0, grid))
        if count == len(needed):
            complete.append(grid)
            if not grid.sheet:
                break
    _tell_of_sheets(path, complete)
    # Without all columns: the way of reading that found most of them, for the message.
    best = complete[0] if complete else max(found, key=lambda item: item[:2], default=(0, 0, Grid([])))[2]
    return _table(path, best, needed, optional, advice)


def read_whole_table(path: str | Path, is_known: Callable[[str], bool], advice: str = "") -> Table:
    """Read all columns of a table whose header isn't known, under its own words.

    The header is the row, among the first, with most cells that are known, of all sheets and delimiters; a second
    column of the same name is called ``name (2)``.

    Args:
        path: the file.
        is_known: whether a cell may be a column's name.
        advice: what to do about a table without such a row, the end of the message.

    Raises:
        UserError: as :func:`read_table`, but for columns, and when no row has a cell that is known.
    """
    path = Path(path)
    best: tuple[int, int, Grid] = (0, 0, Grid([]))
    alike: list[Grid] = []
    for grid in grids(path, ""):
        known = [sum(map(is_known, row)) for row in grid.rows[:_HEADER_ROWS]]
        count = max(known, default=0)
        if count > best[0]:
            best, alike = (count, known.index(count), grid), [grid]
        elif count and count == best[0]:
            alike.append(grid)
    _tell_of_sheets(path, alike)
    count, index, grid = best
    if not count:
        raise UserError(f"{path}: no row of column names that are known; {advice or 'correct the header'}")
    if grid.problem:
        raise UserError(f"{path}, row {len(grid.rows) + 1}: {grid.problem}; correct this row")
    _check_shape(path, grid, index)
    seen = Counter[str]()
    names = []
    for cell in grid.rows[index]:
        seen[cell] += 1
        names.append(f"{cell} ({seen[cell]})" if cell and seen[cell] > 1 else cell)
    rows = [
        (number, {name: row[place] if place < len(row) else "" for place, name in enumerate(names) if name})
        for number, row in enumerate(grid.rows[index + 1 :], start=index + 2)
        if any(row)
    ]
    return Table(path, tuple(filter(None, names)), tuple(rows))


def has_columns(path: str | Path, needed: Sequence[str]) -> bool:
    """Whether a file may be a table with these columns, of which a text's beginning is looked at alone.

    Spreadsheets are read as a whole; one that can't be read has none of the columns.
    """
    path = Path(path)
    start = beginnings(path)
    if start is not None:
        return any(_header(grid, needed)[1] == len(needed) for grid in start)
    try:
        read_table(path, needed)
    except UserError as error:
        logger.debug("not the table that is wanted: %s", error)
        return False
    return True


def _tell_of_sheets(path: Path, alike: Sequence[Grid]) -> None:
    """Say that of several sheets with the same columns the first alone is read."""
    first, *others = [grid.sheet for grid in alike] or [""]
    if first and others:
        logger.warning(
            "%s: only sheet %r is read, and no row of %s, which has such columns too: put all rows into one sheet",
            path,
            first,
            " and ".join(map(repr, others)),
        )


def _key(column: str) -> str:
    return re.sub(r"[\s_-]+", "", column).lower()


def _header(grid: Grid, needed: Sequence[str]) -> tuple[int, int]:
    """Index of the row that has most of the needed columns, the first such row, and how many it has."""
    wanted = {_key(column) for column in needed}
    counts = [len(wanted & set(map(_key, row))) for row in grid.rows[:_HEADER_ROWS]]
    count = max(counts, default=0)
    if count:
        return counts.index(count), count
    return next((index for index, row in enumerate(grid.rows) if any(row)), 0), 0


def _table(path: Path, grid: Grid, needed: Sequence[str], optional: Sequence[str], advice: str) -> Table:
    if grid.problem:
        raise UserError(f"{path}, row {len(grid.rows) + 1}: {grid.problem}; correct this row")
    index, _ = _header(grid, needed)
    header = grid.rows[index] if grid.rows else []
    keys = [_key(column) for column in header]
    missing = [column for column in needed if _key(column) not in keys]
    if missing:
        found = ", ".join(filter(None, header)) or "nothing"
        advice = advice or "correct the header"
        raise UserError(
            f"{path}: {'columns' if missing[1:] else 'column'} {', '.join(map(repr, missing))} "
            f"{'are' if missing[1:] else 'is'} missing; needed: {', '.join(needed)}; "
            f"found: {found[:300]}. {advice[:1].upper()}{advice[1:]}"
        )
    wanted = [*needed, *optional]
    twice = [column for column in wanted if keys.count(_key(column)) > 1]
    if twice:
        raise UserError(f"{path}: column {', '.join(map(repr, twice))} occurs twice; remove one of the two")
    _check_shape(path, grid, index)
    places = {column: keys.index(_key(column)) for column in wanted if _key(column) in keys}
    identifiers = [column for column in places if _key(column) in _IDENTIFIERS]
    clean = cache(clean_identifier)
    empty, width = dict.fromkeys(wanted, ""), len(header)
    rows = []
    for number, row in enumerate(grid.rows[index + 1 :], start=index + 2):
        if any(row):
            cells = row if len(row) >= width else [*row, *[""] * (width - len(row))]
            values = empty | dict(zip(places, [cells[place] for place in places.values()], strict=True))
            for column in identifiers:
                values[column] = clean(values[column])
            rows.append((number, values))
    for column in identifiers:
        if _key(column) == _PATIENT:
            check_identifiers(path, column, ((number, values[column]) for number, values in rows))
    return Table(path, tuple(places), tuple(rows))


def _check_shape(path: Path, grid: Grid, index: int) -> None:
    """Refuse a text with rows joined by a stray quote or a lost line end, with two delimiters, or without an end."""
    width = len(grid.rows[index])
    body = grid.rows[index + 1 :]
    filled = [row for row in body if any(row)]
    if not grid.delimiter or not filled:
        return
    for number, row in enumerate(body, start=index + 2):
        if problem := _row_problem(row, width, grid.delimiter):
            raise UserError(f"{path}, row {number}: {problem}")
    if grid.open_end and _ends_in_mid_row(filled, width):
        raise UserError(
            f"{path}, row {index + 1 + len(body)}: the file seems to end in the middle of this row (last cell "
            f"{filled[-1][-1][:40]!r}): export or download it again, or complete the row"
        )


def _row_problem(row: Sequence[str], width: int, delimiter: str) -> str:
    if any(row[width:]):
        return (
            f"more cells than the header ({len(row)}, not {width}): a line end is lost, or "
            f"a cell with {delimiter!r} in it has no quotes; correct the row"
        )
    if width > 1 and row and not any(row[1:]):
        for other in set(DELIMITERS) - {delimiter}:
            if row[0].count(other) >= width - 1:
                return f"cells are separated by {other!r}, but in the header by {delimiter!r}; separate all by the same"
    if len("".join(row).splitlines()) < 2:  # as nearly all rows
        return ""
    for cell in row:
        lines = len(cell.splitlines())
        if lines > 1 and cell.count(delimiter) >= max(1, width - 1):
            return (
                f'a cell begins with a quote (") and goes on over {lines} lines, as if it held further rows; '
                "remove the quote, or the line breaks of the cell"
            )
    return ""


def _ends_in_mid_row(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether the last row has fewer cells than all others or, with as many, the shortest last cell."""
    *others, last = rows
    if len(others) < _ENOUGH:
        return False
    if len(last) < width:
        return len(last) < min(map(len, others))
    return len(last[width - 1]) < min(len("".join(row[width - 1 :])) for row in others)
