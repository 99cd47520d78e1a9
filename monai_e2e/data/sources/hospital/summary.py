"""What ``monai-e2e labels`` shows before it writes: what labels mean, what joined and what didn't."""

from __future__ import annotations

from collections import Counter

from monai_e2e.data.sources.hospital.joining import KEY_NAMES, UNITS
from monai_e2e.data.sources.hospital.labels import Labels
from monai_e2e.data.sources.hospital.tables import TableReport

#: Rows whose numbers are listed.
_LISTED = 10


def format_labels(labels: Labels) -> str:
    """What joined and what didn't, what labels mean, as people read it."""
    lines = []
    for report in labels.tables:
        table, joined = report.table, report.joined
        used = ", ".join(f"{(column.role + ' ' + column.side).strip()} = {column.name!r}" for column in report.columns)
        lines += [f"{table.path}: {len(table.rows)} rows", f"  columns: {used}"]
        lines += [f"  not used: {', '.join(map(repr, left))}"] if (left := _unused(report)) else []
        if report.mapping:
            lines.append("  labels:")
            meaning = {0: "0 negative", 1: "1 positive", None: "left out"}
            width = max(len(_word(text)) for text in report.mapping)
            ordered = sorted(report.mapping.items(), key=lambda item: (str(item[1][0]), item[0]))
            lines += [f"    {_word(text):<{width}}  {meaning[label]}  ({count})" for text, (label, count) in ordered]
        units = Counter(match.unit for match in joined.found)
        rows = len({match.statement.line for match in joined.found})
        per = ", ".join(f"{unit}: {units[unit]}" for unit in UNITS if units[unit])
        lines.append(f"  joined: {rows} rows{f' by {KEY_NAMES[joined.key]}, per {per}' if rows else ''}")
        for reason, missed in joined.missed.items():
            more = " …" if len(missed) > _LISTED else ""
            lines.append(f"  not joined: {len(missed)} × {reason} (row {', '.join(map(str, missed[:_LISTED]))}{more})")
        lines += [f"  note: {note}" for note in joined.notes]
    positive = sum(row["label"] == "1" for row in labels.rows)
    patients = len({row["patient_id"] for row in labels.rows})
    lines.append(f"Images with a label: {len(labels.rows)}, {positive} positive, {patients} patients")
    lines += [f"Images without: {count} × {reason}" for reason, count in labels.without.most_common()]
    return "\n".join([*lines, *(f"Note: {note}" for note in labels.notes)])


def _unused(report: TableReport) -> list[str]:
    used = {column.name for column in report.columns}
    return [name for name in report.table.columns if name not in used]


def _word(text: str) -> str:
    return text[:40] or "(empty)"
