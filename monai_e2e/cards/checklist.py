"""A checklist of reporting as a page: what the records know is filled in, with its file; the rest stays a question."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

from monai_e2e.cards.records import Records, Statement, statements
from monai_e2e.errors import UserError, did_you_mean
from monai_e2e.metrics.html_page import page, table_row
from monai_e2e.work.files import write_text

_FOLDER = Path(__file__).parent / "checklists"
CHECKLISTS = ("claim2024", "tripod-ai")


@dataclass(frozen=True)
class Item:
    """An item of a checklist.

    Args:
        number: as the checklist numbers it.
        section: where in a paper it belongs.
        asks: what it asks for, in our words.
        answers: what is known; empty: the author must answer.
    """

    number: str
    section: str
    asks: str
    answers: Sequence[Statement]


def fill_in(name: str, records: Records) -> list[Item]:
    """The items of a checklist with what the records know.

    Raises:
        UserError: when there is no such checklist.
    """
    known = statements(records)

    def answers(words: Sequence[str]) -> list[Statement]:
        return [one for word in words for one in known.get(word, [])]

    return [
        Item(item["number"], item["section"], item["asks"], answers(item["known"])) for item in _read(name)["items"]
    ]


def write_checklist(name: str, records: Records, out: str | Path) -> tuple[Path, int, int]:
    """Write a checklist as ``NAME.html`` to a folder; returns the page, the items filled in, and all items.

    Raises:
        UserError: when there is no such checklist.
    """
    items, about = fill_in(name, records), _read(name)
    rows = []
    for section, own in groupby(items, key=lambda item: item.section):
        rows += [f'<tr class="group"><td colspan="3">{escape(section)}</td></tr>', *map(_row, own)]
    filled = sum(bool(item.answers) for item in items)
    style = "<style>.cell { white-space: normal; max-width: 28rem; overflow-wrap: anywhere }</style>"
    source = f"The items follow {about['source']}, in our words: the original text counts."
    words = f"{filled} of {len(items)} items are filled in from the records; check these, and answer the others."
    body = (
        f'{style}<p>{words}</p><p class="soft">{escape(source)}</p><div class="wide"><table>'
        f"{table_row(['item', 'asks for', 'what is known, and its file'], 'th')}{''.join(rows)}</table></div>"
    )
    path = Path(out) / f"{name}.html"
    write_text(path, page(about["title"], body))
    return path, filled, len(items)


def _row(item: Item) -> str:
    answer = "<br>".join(
        f'{escape(one.text)} <span class="soft">[{escape(one.file)}]</span>' for one in dict.fromkeys(item.answers)
    )
    cells = [escape(item.number), escape(item.asks), answer or "<strong>To be answered by the authors</strong>"]
    return table_row(f'<div class="cell">{cell}</div>' for cell in cells)


def _read(name: str) -> dict:
    if name not in CHECKLISTS:
        raise UserError(f"--checklist {name}: {did_you_mean(name, CHECKLISTS)}")
    return json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
