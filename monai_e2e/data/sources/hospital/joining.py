"""Which images a table's row is about: by file, or by what DICOM headers and the table both know.

The first of these keys with which any row of the table finds an image joins the whole table: the image's file, the SOP
Instance UID, the Study Instance UID, the Accession Number, patient and date, the patient alone. A row's side and view
then narrow the images. Images whose header lacks a key, as PNG files do, may lie in a folder named by it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from monai_e2e.data.images.headers import Header
from monai_e2e.data.records import IMAGE_SUFFIXES
from monai_e2e.data.sources.cells import Refused
from monai_e2e.data.sources.hospital.values import UNKNOWN_VIEW, has_ambiguous_dates, parse_dates
from monai_e2e.data.sources.identifiers import clean_identifier, identifier_key

#: Keys by rank, and the unit that a row of a table joined by it is about, before side and view narrow it.
KEYS = {
    "image": "image",
    "instance": "image",
    "study": "exam",
    "accession": "exam",
    "patient_id": "patient",
}
#: How messages call the keys.
KEY_NAMES = {
    "image": "file",
    "instance": "SOP Instance UID",
    "study": "Study Instance UID",
    "accession": "accession number",
    "patient_id": "patient",
}
#: A column of files with such numbers counts an exam's images; it means no folders.
_RUNNING_NUMBER = re.compile(r"\d{1,3}")
#: Units from the finest.
UNITS = ("image", "breast", "exam", "patient")


@dataclass
class Image:
    """A file that rows may be about.

    Args:
        name: path within the folder, with ``/``.
        path: the file.
        header: of the file; empty where it isn't DICOM.
        facts: what tables said of it: ``patient_id``, ``accession``, ``laterality``, ``view`` …
    """

    name: str
    path: Path
    header: Header
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def laterality(self) -> str:
        return self.facts.get("laterality") or self.header.laterality

    @property
    def view(self) -> str:
        return self.facts.get("view") or self.header.view

    def keys(self, role: str) -> set[str]:
        """The texts by which a column of the role may name it."""
        path = PurePosixPath(self.name)
        if role == "image":
            short = path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path
            folders = {parent.as_posix() for parent in path.parents} - {"."}
            files = {self.name, short.as_posix(), path.name, short.name}
            if not folders:  # a whole path has the name of the export's own folder before it
                files |= {f"{self.path.parent.name}/{name}" for name in files}
            named = {name for folder in folders for name in (folder, Path(folder).name)}
            return files | {name for name in named if not _RUNNING_NUMBER.fullmatch(name)}
        attribute = "patient" if role == "patient_id" else role
        own = {getattr(self.header, attribute), self.facts.get(role, "")} - {""}
        return own or (set(path.parts[:-1]) if role != "instance" else set())


@dataclass(frozen=True)
class Statement:
    """What a row says, and which patient or image it is about.

    Args:
        line: number of the row in its table.
        keys: its identifiers by role, as far as it has any.
        date: as the table writes it.
        laterality: LEFT, RIGHT or empty.
        view: an abbreviation, empty, or :data:`~monai_e2e.data.sources.hospital.values.UNKNOWN_VIEW`.
        label: 0, 1, or None where it says nothing.
        facts: other facts by column of the labels' table.
    """

    line: int
    keys: Mapping[str, str]
    date: str = ""
    laterality: str = ""
    view: str = ""
    label: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


class Match(NamedTuple):
    """The images that a row is about, and the unit that they are together."""

    statement: Statement
    images: list[Image]
    unit: str


@dataclass
class Joined:
    """How a table's rows found images.

    Args:
        key: the role that joined, empty where nothing did.
        found: of each row that found any.
        missed: rows by the reason that they found none.
        notes: what is worth a look.
    """

    key: str = ""
    found: list[Match] = field(default_factory=list)
    missed: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)


def join(statements: Sequence[Statement], images: Sequence[Image]) -> Joined:
    """Find each row's images by the first key that finds any."""
    best = Joined()
    for role in KEYS:
        if not any(statement.keys.get(role) for statement in statements):
            continue
        index = _Index(images, role)
        orders = (True, False) if has_ambiguous_dates([statement.date for statement in statements]) else (True,)
        joined = max((_join_by(role, index, statements, days_first) for days_first in orders), key=_count)
        if joined.found:
            return joined
        best = best if best.key else joined
    return best


def _count(joined: Joined) -> int:
    return len(joined.found)


class _Index:
    """Images by what a column of one role may call them, however programs have changed that."""

    def __init__(self, images: Sequence[Image], role: str) -> None:
        self.exact: dict[str, list[Image]] = defaultdict(list)
        self.alike: dict[str, set[str]] = defaultdict(set)
        for image in images:
            for text in image.keys(role):
                cleaned = clean_identifier(text)
                self.exact[cleaned].append(image)
                self.alike[identifier_key(cleaned)].add(cleaned)

    def find(self, text: str) -> tuple[list[Image], bool]:
        """Its images, and whether the text was changed to find them; none where several identifiers are alike."""
        cleaned = clean_identifier(text)
        if cleaned in self.exact:
            return self.exact[cleaned], False
        alike = self.alike.get(identifier_key(cleaned), set())
        return (self.exact[next(iter(alike))], True) if len(alike) == 1 else ([], False)

    def find_file(self, text: str) -> tuple[list[Image], bool]:
        """As :meth:`find`, of a path; another machine's ends with the path within the export."""
        parts = text.replace("\\", "/").split("/")
        for start in range(max(1, len(parts) - 1)):
            found, was_changed = self.find("/".join(parts[start:]))
            if found:
                return found, was_changed
        return [], False


def _join_by(role: str, index: _Index, statements: Sequence[Statement], days_first: bool) -> Joined:
    joined = Joined(role)
    dates = parse_dates({statement.date for statement in statements}, days_first)
    of_patients: dict[str, set[str]] = defaultdict(set)
    for statement in statements:
        of_patients[identifier_key(statement.keys.get("patient_id", ""))].add(dates[statement.date])
    changed = 0
    for statement in statements:
        try:
            images, was_changed = _named_images(role, index, statement.keys.get(role, ""))
            unit = "exam" if role == "image" and len(images) > 1 else KEYS[role]  # several have a folder's name
            if role == "patient_id" and statement.date:
                has_several_dates = len(of_patients[identifier_key(statement.keys[role])]) > 1
                images, unit = _of_date(images, dates[statement.date], has_several_dates)
            if unit != "image":
                images, unit = _narrowed(images, statement, unit)
        except Refused as reason:
            joined.missed[str(reason)].append(statement.line)
        else:
            changed += was_changed
            joined.found.append(Match(statement, images, unit))
    if role != "patient_id":
        _drop_other_patients(joined)
    if changed:
        joined.notes.append(f"{changed} rows joined although leading zeros or case differ ({KEY_NAMES[role]})")
    several = sum(
        match.unit == "patient" and len({image.header.study for image in match.images}) > 1 for match in joined.found
    )
    if several:
        joined.notes.append(f"{several} rows are of patients with several exams, and count for all of them: add a date")
    return joined


def _named_images(role: str, index: _Index, text: str) -> tuple[list[Image], bool]:
    """The images that a cell names, and whether its text was changed to find them."""
    if not text:
        raise Refused(f"no {KEY_NAMES[role]}; fill in empty and merged cells")
    images, was_changed = index.find_file(text) if role == "image" else index.find(text)
    if not images:
        raise Refused(f"no image of this {KEY_NAMES[role]}")
    if role == "image" and len(images) > 1 and _same_name(images, text):
        raise Refused("several files of this name: write the path")
    return images, was_changed


def _of_date(images: list[Image], date: str, has_several_dates: bool) -> tuple[list[Image], str]:
    """A patient's images of a date, and the unit; pictures have no date, and need none of one."""
    if not date:
        raise Refused("date not understood")
    if not any(image.header.date for image in images):
        if has_several_dates:
            raise Refused("date of the images unknown, of a patient with several")
        return images, "patient"
    images = [image for image in images if image.header.date == date]
    if not images:
        raise Refused("no image of this patient and date")
    return images, "exam"


def _same_name(found: Iterable[Image], text: str) -> bool:
    """Whether a text that fits several images is a file's name, not a folder's."""
    return any(PurePosixPath(text).name in (PurePosixPath(i.name).name, PurePosixPath(i.name).stem) for i in found)


def _narrowed(images: list[Image], statement: Statement, unit: str) -> tuple[list[Image], str]:
    """The images of the row's side and view, and the unit that remains."""
    for name, word, wanted in (("laterality", "side", statement.laterality), ("view", "view", statement.view)):
        if not wanted:
            continue
        fitting = [image for image in images if getattr(image, name) == wanted]
        if not fitting:
            if wanted == UNKNOWN_VIEW:
                raise Refused("view not understood")
            unknown = any(not getattr(image, name) for image in images)
            raise Refused(f"{word} of the images unknown" if unknown else f"no image of this {word}")
        images = fitting
    if statement.laterality:
        unit = "image" if statement.view and len(images) == 1 else "breast"
    return images, unit


def _drop_other_patients(joined: Joined) -> None:
    """Drop rows that name another patient than the header, where most rows name the header's: elsewhere a pseudonym."""
    same, agreeing, differing = 0, [], []
    for match in joined.found:
        named = match.statement.keys.get("patient_id", "")
        headers = {identifier_key(image.header.patient) for image in match.images if image.header.patient}
        if named and headers and identifier_key(named) not in headers:
            differing.append(match)
        else:
            agreeing.append(match)
            same += bool(named and headers)
    if differing and len(differing) < same:
        joined.missed["another patient than the image's header"] += [match.statement.line for match in differing]
        joined.found = agreeing
