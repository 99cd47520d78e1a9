"""What a hospital's table says: the columns that are understood, what labels mean, and the statements of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_e2e.data.sources.hospital.columns import Column, find_columns, is_column
from monai_e2e.data.sources.hospital.joining import KEYS, Joined, Statement
from monai_e2e.data.sources.hospital.values import (
    UNKNOWN_VIEW,
    map_labels,
    parse_density,
    parse_facts,
    parse_side,
    parse_view,
)
from monai_e2e.data.sources.hospital.words import COLUMNS, word_key
from monai_e2e.data.sources.identifiers import check_identifiers, clean_identifier
from monai_e2e.data.sources.spreadsheets import Table, read_whole_table
from monai_e2e.errors import UserError

ADVICE = "name its columns, such as --column label=Befund --column accession=Auftrag"


@dataclass
class TableReport:
    """What became of one table: its columns, what its labels mean, how BI-RADS was read, which rows joined."""

    table: Table
    columns: Sequence[Column]
    mapping: Mapping[str, tuple[int | None, int]]
    rule: str = ""
    joined: Joined = field(default_factory=Joined)


def read_columns(path: Path, given: Mapping[str, str]) -> tuple[Table, tuple[Column, ...]]:
    """A table, and those of its columns that are understood: the given ones, and others by their names."""
    own = {word_key(name) for name in given.values()}
    table = read_whole_table(path, lambda cell: word_key(cell) in own or is_column(cell), ADVICE)
    columns = find_columns(path, table.columns, given)
    if not table.rows:
        raise UserError(f"{path}: the table has no row; name another one")
    if not any(column.role in KEYS for column in columns):
        raise UserError(
            f"{path}: no column that tells which images a row is about ({', '.join(table.columns)}); {ADVICE}"
        )
    for column in columns:
        if column.role in ("patient_id", "accession"):
            cells = ((line, clean_identifier(values[column.name])) for line, values in table.rows)
            check_identifiers(path, column.name, cells)
    return table, columns


def check_used(given: Mapping[str, str], tables: Sequence[Table]) -> None:
    """Raise :class:`UserError` unless each given column is in a table."""
    names = {word_key(name) for table in tables for name in table.columns}
    for role, name in given.items():
        if word_key(name) not in names:
            raise UserError(
                f"--column {role}={name}: no table has this column; they have "
                f"{', '.join(repr(name) for table in tables for name in table.columns)[:300]}"
            )


def understand(
    table: Table, columns: Sequence[Column], values: Mapping[str, str], positive: str | None
) -> tuple[TableReport, list[Statement]]:
    """What a table's labels mean, and what its rows say."""
    labels = [column for column in columns if column.role == "label"]
    cells = Counter(row[column.name] for _, row in table.rows for column in labels)
    mapped: dict[str, int | None] = {}
    rule = ""
    if labels:
        where = f"{table.path}, column {' and '.join(repr(column.name) for column in labels)}"
        mapped, rule = map_labels(where, cells, all(column.is_birads for column in labels), positive, values)
    mapping = {text: (label, cells[text]) for text, label in mapped.items()}
    return TableReport(table, columns, mapping, rule), _statements(table, columns, mapped)


def _statements(table: Table, columns: Sequence[Column], mapped: Mapping[str, int | None]) -> list[Statement]:
    """What each row says; one with a label of each breast, or of both, says two things."""
    labels = [column for column in columns if column.role == "label"]
    names = {column.role: column.name for column in columns if column.role != "label"}
    statements = []
    for line, row in table.rows:
        where = f"{table.path}, row {line}"
        cell = {role: row[names[role]] if role in names else "" for role in COLUMNS}
        cell |= {role: clean_identifier(cell[role]) for role in KEYS if role != "image"}
        of_view, view = parse_view(cell["view"])
        side = parse_side(where, cell["laterality"]) or of_view
        facts = {
            "patient_id": cell["patient_id"],
            "accession": cell["accession"],
            "density": parse_density(cell["density"]),
            "partition": cell["partition"],
            **parse_facts(cell),
        }
        keys = {role: cell[role] for role in KEYS if cell[role]}
        said: list[tuple[str, int | None]] = [(column.side, mapped[row[column.name]]) for column in labels]
        for own_side, label in said or [("", None)]:
            of = own_side or side
            for one in ("LEFT", "RIGHT") if of == "BOTH" else (of,):
                known = {**facts, "laterality": one, "view": "" if view == UNKNOWN_VIEW else view}
                own = {name: value for name, value in known.items() if value}
                statements.append(Statement(line, keys, cell["date"], one, view, label, own))
    return statements
