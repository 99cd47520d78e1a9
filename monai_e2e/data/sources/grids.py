"""A file's cells: CSV from any program, or a spreadsheet, as rows of stripped text.

What a file is, its content decides and not its name: spreadsheets have a signature, everything else is text
separated by semicolons, commas, tabs or bars.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import Any

from monai_e2e.data.sources.encodings import decode_table, utf16_of
from monai_e2e.data.sources.formulas import unguarded_cell
from monai_e2e.errors import UserError

#: First bytes of zip files (xlsx) and of OLE2 files (xls).
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
#: What separates the cells of a text.
DELIMITERS = (";", ",", "\t", "|")
#: Spreadsheet programs keep 15 digits of a number, and nothing of what follows them.
_EXACT = 10**15
#: Longer cells are seldom alike.
_LONG = 32
_LINE = re.compile(r"[^\r\n]*(\r\n|\r|\n)|[^\r\n]+")
#: Bytes in which a text has its header.
_START = 1 << 16


@dataclass(frozen=True)
class Grid:
    """The cells of a text read with one delimiter, or of a sheet, which has none.

    Args:
        rows: rows of stripped cells, up to the first one that can't be read.
        delimiter: what separates them, ``""`` in a sheet.
        problem: what is wrong with the row after the last one, or ``""``.
        open_end: whether the last row has no line end.
        sheet: the sheet's name, ``""`` of a text.
    """

    rows: list[list[str]]
    delimiter: str = ""
    problem: str = ""
    open_end: bool = False
    sheet: str = ""


def grids(path: Path, advice: str) -> Iterator[Grid]:
    """The cells of a file, in each way that they may be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); check the path") from error
    yield from _sheets(path, content, advice) if content.startswith(_SPREADSHEETS) else _texts(path, content)


def beginnings(path: Path) -> Iterator[Grid] | None:
    """The cells of a text's beginning, as :func:`grids`; None of a spreadsheet, which has to be read as a whole."""
    with path.open("rb") as file:
        start = file.read(_START)
    if start.startswith(_SPREADSHEETS):
        return None
    text = start.decode(utf16_of(start) or "utf-8-sig", "replace")
    return (_separated(text, delimiter) for delimiter in DELIMITERS)


def can_read_spreadsheets() -> bool:
    """Whether the library that reads XLS and XLSX is installed."""
    try:
        import python_calamine  # noqa: F401
    except ImportError:
        return False
    return True


def _texts(path: Path, content: bytes) -> Iterator[Grid]:
    """The text's cells by each delimiter that it may have been written with, the likeliest first."""
    text = decode_table(path, content)
    for delimiter in sorted(DELIMITERS, key=text.partition("\n")[0].count, reverse=True):
        yield _separated(text, delimiter)


def _separated(text: str, delimiter: str) -> Grid:
    rows: list[list[str]] = []
    problem = ""
    once = dict[str, str]().setdefault  # most cells of large tables are one of few words, which are kept once
    lines = (line[0] for line in _LINE.finditer(text))  # a StringIO needs four bytes for each character
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            cells = [cell if len(cell) > _LONG else once(cell, cell) for cell in map(str.strip, row)]
            joined = "".join(cells)
            rows.append([unguarded_cell(cell) for cell in cells] if "'" in joined or "=" in joined else cells)
    except csv.Error as error:
        problem = f'a quote (") is stray or never closed, or a cell is too long ({error})'
    return Grid(rows, delimiter, problem, open_end=not text.endswith(("\n", "\r")))


def _sheets(path: Path, content: bytes, advice: str) -> list[Grid]:
    """The cells of each sheet of a workbook."""
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError as error:
        raise UserError(
            f'{path}: a spreadsheet, which needs a further package: run `pip install "monai-e2e[excel]"`, '
            f"or save it as CSV"
        ) from error
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
        sheets = {name: workbook.get_sheet_by_name(name) for name in workbook.sheet_names}
        # The empty area above and beside the cells is kept, so that row numbers are the file's.
        return [
            Grid([[_text(cell) for cell in row] for row in sheet.to_python(skip_empty_area=False)], sheet=name)
            for name, sheet in sheets.items()
        ]
    except BaseException as error:
        # Cut-off XLS files make the library panic, which is no Exception, and its class can't be imported.
        if not isinstance(error, (CalamineError, OSError, ValueError)) and type(error).__name__ != "PanicException":
            raise
        raise UserError(
            f"{path}: not readable as a spreadsheet; {advice or 'open it in a spreadsheet program and save it as CSV'}"
        ) from error


def _text(cell: Any) -> str:
    """A spreadsheet's cell as a person reads it."""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, (int, float)) and abs(cell) >= _EXACT:
        return f"{cell:.14E}"  # as a number that was rounded
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.date().isoformat()
    return "" if cell is None else str(cell).strip()
