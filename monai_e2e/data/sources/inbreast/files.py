"""INbreast's files: tables, images and outlines, wherever they lie, and what the images' names tell."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from monai_e2e.data.records import Laterality, View
from monai_e2e.data.sources.disk import walk
from monai_e2e.data.sources.spreadsheets import TABLE_SUFFIXES

SIDES = {"L": Laterality.LEFT, "R": Laterality.RIGHT}
#: ``ML`` stands where MLO is meant; FB (from below) is a cranio-caudal view taken the other way round.
VIEWS = {"CC": View.CC, "MLO": View.MLO, "ML": View.MLO, "FB": View.CC}
FILE_NAME = re.compile(r"([0-9]+)_([A-Za-z0-9]+)_MG_([LR])_([A-Z]+)_ANON\.dcm", re.IGNORECASE)
_OUTLINE_NAME = re.compile(r"([0-9]+)\.xml", re.IGNORECASE)


@dataclass(frozen=True)
class ImageFile:
    """One image's file and what its name tells."""

    path: Path
    patient: str
    side: Laterality
    view: View | None


@dataclass
class ReleaseFiles:
    """The release's files, wherever they lie."""

    tables: list[Path] = field(default_factory=list)
    other_tables: list[Path] = field(default_factory=list)
    images: dict[str, ImageFile] = field(default_factory=dict)
    second_images: list[Path] = field(default_factory=list)
    outlines: dict[str, Path] = field(default_factory=dict)


def find_files(src: Path) -> ReleaseFiles:
    """Tables, images and outlines under a folder, those nearest to it and in the release's own folders first."""
    release = ReleaseFiles()
    for path in sorted(walk(src), key=_order):
        suffix = path.suffix.lower()
        if image := FILE_NAME.fullmatch(path.name):
            number, patient, side, view = image.groups()
            if number in release.images:
                release.second_images.append(path)
            else:
                found = ImageFile(path, patient.lower(), SIDES[side.upper()], VIEWS.get(view.upper()))
                release.images[number] = found
        elif outline := _OUTLINE_NAME.fullmatch(path.name):
            release.outlines.setdefault(outline.group(1), path)
        elif suffix in TABLE_SUFFIXES and path.stem.lower() == "inbreast":
            release.tables.append(path)
        elif suffix in TABLE_SUFFIXES:
            release.other_tables.append(path)
    release.tables.sort(key=lambda path: TABLE_SUFFIXES.index(path.suffix.lower()))
    return release


def _order(path: Path) -> tuple[bool, int, str]:
    own = {"alldicoms", "allxml"} & {part.lower() for part in path.parts[:-1]}
    return not own, len(path.parts), str(path)
