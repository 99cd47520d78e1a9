"""Which of a table's columns holds what, by their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from monai_e2e.data.sources.hospital.words import COLUMNS, PATHOLOGY, SIDES, word_key
from monai_e2e.errors import UserError, did_you_mean

#: What a user may name a column as: what is looked for, and a label of either breast in a column of its own.
ROLES = (*(role for role in COLUMNS if role != "birads"), "label_left", "label_right")
_PLACES = {key: (role, place) for role, keys in COLUMNS.items() for place, key in reversed(list(enumerate(keys)))}
_CHINESE_SIDE = re.compile("(左|右)(侧|乳腺|乳)?")
_SIDED = {"label_left": "LEFT", "label_right": "RIGHT"}


@dataclass(frozen=True)
class Column:
    """A column that is used.

    Args:
        name: as the table writes it.
        role: a key of :data:`~monai_e2e.data.sources.hospital.words.COLUMNS`; of labels always ``label``.
        side: LEFT or RIGHT where it is about one breast.
    """

    name: str
    role: str
    side: str = ""

    @property
    def is_birads(self) -> bool:
        """Whether the name says that the labels are BI-RADS categories."""
        return "birads" in word_key(self.name) or word_key(self.name) in COLUMNS["birads"]

    @property
    def source(self) -> str:
        """What the labels rest on: ``BI-RADS``, ``pathology``, or ``table`` where the name doesn't tell."""
        if self.is_birads:
            return "BI-RADS"
        return "pathology" if PATHOLOGY.search(word_key(self.name)) else "the table"


def check_roles(given: Mapping[str, str]) -> None:
    """Raise :class:`UserError` unless all roles are known."""
    for role, name in given.items():
        if role not in ROLES:
            raise UserError(f"--column {role}={name}: no such column; {did_you_mean(role, ROLES)}")


def is_column(cell: str) -> bool:
    """Whether a cell is a name that the dictionary knows."""
    return bool(_role(cell)[0])


def find_columns(path: Path, names: Collection[str], given: Mapping[str, str]) -> tuple[Column, ...]:
    """The columns that are used, at most one of a role and side.

    Args:
        path: the table, for messages.
        names: of all columns.
        given: names by role, as the user said; those that this table doesn't have are other tables'.

    Raises:
        UserError: when several columns may hold the label, or a column that is used occurs twice.
    """
    by_key = {word_key(name): name for name in names}
    chosen = [
        Column(by_key[word_key(name)], role.partition("_")[0] if role in _SIDED else role, _SIDED.get(role, ""))
        for role, name in given.items()
        if word_key(name) in by_key
    ]
    taken = {column.name for column in chosen}
    settled = {column.role for column in chosen}
    candidates: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name in names:
        role, place, side = _role(name)
        role = "label" if role == "birads" else role
        if role and name not in taken and role not in settled:
            candidates.setdefault((role, side), []).append((place, name))
    labels = [name for (role, side), those in candidates.items() for _, name in those if role == "label" and not side]
    sided = [name for (role, side), those in candidates.items() for _, name in those if role == "label" and side]
    if len(labels) > 1 or (labels and sided) or any(len(candidates.get(("label", s), ())) > 1 for s in _SIDED.values()):
        listed = ", ".join(map(repr, [*labels, *sided]))
        raise UserError(
            f"{path}: the label may stand in {listed}; choose: --column label={(labels or sided)[0]!r}, or one of each "
            "breast by --column label_left=… --column label_right=…"
        )
    chosen += [Column(min(those)[1], role, side) for (role, side), those in candidates.items()]
    if twice := next((column.name for column in chosen if f"{column.name} (2)" in names), ""):
        raise UserError(f"{path}: column {twice!r} occurs twice; rename or remove one of the two")
    return tuple(chosen)


def _role(name: str) -> tuple[str, int, str]:
    """What a column of that name holds, how good a name it is, and the side that it is of; empty where unknown."""
    key = word_key(name)
    if key in _PLACES:
        return *_PLACES[key], ""
    words = [word for word in re.split(r"[\W_]+", name) if word]
    for word in words:
        side = SIDES.get(word_key(word), "")
        rest = word_key("".join(other for other in words if other is not word))
        if side in ("LEFT", "RIGHT") and _PLACES.get(rest, ("", 0))[0] in ("label", "birads"):
            return *_PLACES[rest], side
    if found := _CHINESE_SIDE.match(key):
        rest = key[found.end() :]
        if _PLACES.get(rest, ("", 0))[0] in ("label", "birads"):
            return *_PLACES[rest], SIDES[found[1]]
    return "", 0, ""
