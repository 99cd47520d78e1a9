"""INbreast: full-field digital mammograms with BI-RADS assessments (Moreira et al., Academic Radiology 19, 2012).

The release is a folder with ``INbreast.csv``, ``AllDICOMs/<number>_<patient>_MG_<L|R>_<CC|ML>_ANON.dcm`` and
``AllXML/<number>.xml`` (OsiriX property lists with outlines). The table's patient column is blanked; the patient's
identifier is the hash in the file name.
"""

from __future__ import annotations

import csv
import logging
import plistlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.parsers.expat import ExpatError

from monai_e2e.data.records import Catalogue, Excluded, Laterality, Lesion, LesionType, Mammogram, View
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

NEEDED_COLUMNS = ("laterality", "view", "file name", "acr", "bi-rads")
#: Paper §3.2.1: 1–2 negative, 4–6 positive, 3 left out.
BIRADS_LABELS = {"1": 0, "2": 0, "4a": 1, "4b": 1, "4c": 1, "5": 1, "6": 1}
#: Words in an outline's name → lesion type. Anything else is only counted.
ROI_WORDS = {
    "mass": LesionType.MASS,
    "spiculated": LesionType.MASS,
    "calcification": LesionType.CALCIFICATION,
    "cluster": LesionType.CALCIFICATION,
}
_SIDES = {"L": Laterality.LEFT, "R": Laterality.RIGHT}
#: ``ML`` stands where MLO is meant; FB (from below) is a cranio-caudal view taken the other way round.
_VIEWS = {"CC": View.CC, "MLO": View.MLO, "ML": View.MLO, "FB": View.CC}
_FILE_NAME = re.compile(r"(\d+)_([A-Za-z0-9]+)_MG_([LR])_([A-Z]+)_ANON\.dcm", re.IGNORECASE)
_OUTLINE_ERRORS = (
    OSError,
    ExpatError,
    plistlib.InvalidFileException,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
)
_POINT = re.compile(r"\(\s*(-?[\d.]+(?:e[+-]?\d+)?)\s*,\s*(-?[\d.]+(?:e[+-]?\d+)?)\s*\)", re.IGNORECASE)


def read_inbreast(src: str | Path) -> Catalogue:
    """Join INbreast's table, films and outlines.

    Args:
        src: folder that has ``INbreast.csv`` in or under it; films and outlines are expected beside the table.

    Returns:
        Catalogue of the films with BI-RADS 1–2 (label 0) and 4a–6 (label 1). Lesions have outlines and no
        pathology. ``excluded`` lists BI-RADS 3, films that the table names but the disk lacks, and films that the
        table doesn't name. ``notes`` counts the outlines by kind; outlines that are neither mass nor calcification
        (asymmetries, distortions) don't become lesions.

    Raises:
        UserError: when the folder, the table, a needed column or the films are missing.
    """
    src = Path(src)
    table = next((path for path in sorted(src.rglob("*.csv")) if path.name.lower() == "inbreast.csv"), None)
    if table is None:
        raise UserError(
            f"{src}: no INbreast.csv in or under it; pass the folder of the INbreast release, "
            f"or try `monai-e2e phantom inbreast {src}`"
        )
    root = table.parent
    films: dict[str, tuple[Path, re.Match[str]]] = {}
    for path in sorted((root / "AllDICOMs").glob("*")):
        match = _FILE_NAME.fullmatch(path.name)
        if match:
            films[match.group(1)] = (path, match)
    if not films:
        raise UserError(
            f"{root / 'AllDICOMs'}: no files named <number>_<patient>_MG_<L|R>_<CC|ML>_ANON.dcm; "
            f"unpack the INbreast release here, or try `monai-e2e phantom inbreast SRC`"
        )
    catalogue = Catalogue(name="inbreast")
    notes: Counter[str] = Counter()
    for line, values in _lines(table):
        number = values["file name"]
        film = films.pop(number, None)
        birads = values["bi-rads"].lower()
        if birads not in BIRADS_LABELS:
            known = "BI-RADS 3" if birads == "3" else "BI-RADS value not understood"
            catalogue.excluded.append(Excluded(str(film[0]) if film else f"AllDICOMs/{number}", known))
        elif film is None:
            catalogue.excluded.append(Excluded(f"INbreast.csv, row {line}: {number}", "film not on disk"))
        else:
            outline = root / "AllXML" / f"{number}.xml"
            lesions = _read_outlines(outline, catalogue, notes)
            _append(catalogue, values, *film, BIRADS_LABELS[birads], lesions)
    catalogue.excluded.extend(Excluded(str(path), "film not in INbreast.csv") for path, _ in films.values())
    if not catalogue.mammograms:
        raise UserError(
            f"{table}: none of its films with BI-RADS 1–2 or 4a–6 is in AllDICOMs; unpack the release again"
        )
    catalogue.mammograms = _with_suffixes(catalogue.mammograms)
    catalogue.notes = dict(sorted(notes.items()))
    logger.info("%s: %d mammograms, %d exclusions", src, len(catalogue.mammograms), len(catalogue.excluded))
    return catalogue


def _append(
    catalogue: Catalogue,
    values: dict[str, str],
    path: Path,
    match: re.Match[str],
    label: int,
    lesions: tuple[Lesion, ...],
) -> None:
    side = _SIDES.get(values["laterality"].upper()) or _SIDES[match.group(3).upper()]
    view = _VIEWS.get(values["view"].upper()) or _VIEWS.get(match.group(4).upper())
    if view is None:
        catalogue.excluded.append(Excluded(str(path), "view neither CC nor MLO"))
        return
    density = values["acr"]
    catalogue.mammograms.append(
        Mammogram(
            path=path,
            patient_id=match.group(2).lower(),
            laterality=side,
            view=view,
            label=label,
            lesions=lesions,
            density=int(density) if density in ("1", "2", "3", "4") else None,
        )
    )


def _with_suffixes(mammograms: list[Mammogram]) -> list[Mammogram]:
    """Tell several films of one view apart by their file number."""
    counts = Counter(mammogram.image_id for mammogram in mammograms)
    return [
        replace(mammogram, suffix=mammogram.path.name.split("_")[0]) if counts[mammogram.image_id] > 1 else mammogram
        for mammogram in mammograms
    ]


def _lines(table: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=";")
            header = [column.strip().lower() for column in next(reader, [])]
            rows = [(number, line) for number, line in enumerate(reader, start=2) if any(map(str.strip, line))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: not readable as a table ({error}); unpack the INbreast release again") from error
    missing = [column for column in NEEDED_COLUMNS if column not in header]
    if missing:
        raise UserError(
            f"{table}: column {', '.join(map(repr, missing))} is missing; found: {', '.join(header)}. "
            f"Columns are separated by ';': unpack the INbreast release again"
        )
    # Short lines are filled up: an empty BI-RADS is then an exclusion like any other.
    return [
        (number, {key: (line[i].strip() if i < len(line) else "") for i, key in enumerate(header)})
        for number, line in rows
    ]


def _read_outlines(path: Path, catalogue: Catalogue, notes: Counter[str]) -> tuple[Lesion, ...]:
    """Outlines of one film; films without findings have no file."""
    if not path.is_file():
        return ()
    try:
        with path.open("rb") as file:
            rois = [roi for image in plistlib.load(file)["Images"] for roi in image["ROIs"]]
        named = [(str(roi.get("Name", "")).lower(), _points(roi["Point_px"])) for roi in rois]
    except (
        OSError,
        ExpatError,
        plistlib.InvalidFileException,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        reason = f"outlines not readable: film kept without lesions ({type(error).__name__})"
        catalogue.excluded.append(Excluded(str(path), reason))
        return ()
    lesions: list[Lesion] = []
    for name, points in named:
        kind = next((kind for word, kind in ROI_WORDS.items() if word in name), None)
        if kind is None:
            notes["outlines_neither_mass_nor_calcification"] += 1
        elif not points:
            notes["outlines_without_points"] += 1
        else:
            notes[f"outlines_{kind.value}"] += 1
            lesions.append(Lesion(kind, None, len(lesions) + 1, outline=points))
    return tuple(lesions)


def _points(texts: list[str]) -> tuple[tuple[float, float], ...]:
    """OsiriX's ``"(x, y)"`` → ``(row, column)``."""
    matches = [_POINT.fullmatch(text.strip()) for text in texts]
    if not all(matches):
        raise ValueError("a point isn't '(x, y)'")
    return tuple((float(match.group(2)), float(match.group(1))) for match in matches if match)
