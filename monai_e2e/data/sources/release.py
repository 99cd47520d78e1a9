"""A published data set's download: its files, wherever they lie, and the join of a table's rows with the images.

Downloads are packed, unpacked and nested in many ways, so nothing here depends on the folders' names: a table is known
by its columns, an image by its name and as much of its path as the table tells.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from monai_e2e.data.records import IMAGE_SUFFIXES, Catalogue, Excluded, Lesion, Mammogram
from monai_e2e.data.sources.cells import Refused
from monai_e2e.data.sources.disk import by_stem, check_folder, find_by_path, plain_path, walk
from monai_e2e.data.sources.grids import can_read_spreadsheets
from monai_e2e.data.sources.naming import safe_id, with_suffixes
from monai_e2e.data.sources.spreadsheets import (
    TABLE_SUFFIXES,
    Table,
    has_columns,
    read_table,
)
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

#: Images without a row are listed one by one up to this many.
LISTED = 20
#: What rows of one image must agree in.
_SAME = ("patient_id", "laterality", "view", "partition")


@dataclass(frozen=True)
class Entry:
    """What a data set's tables say of one image.

    Args:
        place: table, row and image, for ``excluded.csv``.
        image: the image's file or, to be looked for, as much of its path as the table tells.
        mammogram: the rest, without a path; its ``rows`` are those that aren't its lesions'. None: it can't be used.
        refusal: why not.
        rows: rows of the tables that are lost with it then.
    """

    place: str
    image: Path | str
    mammogram: Mammogram | None
    refusal: str = ""
    rows: int = 1


class Release:
    """The files under a download's folder.

    Args:
        src: the folder.
        name: the data set's name as the command line writes it.
        masks: pattern of the paths, below ``src`` and with ``/``, of image files that show lesions instead of breasts.
        originals: endings of images of which the others are copies: of the same name, one without is left out.

    Raises:
        UserError: when the folder is missing.
    """

    def __init__(
        self, src: str | Path, name: str, masks: str = "(?!)", originals: Sequence[str] = (".dcm", ".dicom")
    ) -> None:
        self.src, self.name = Path(src), name
        check_folder(self.src, f"name the folder that the download of {name} was unpacked into")
        self.files = list(walk(self.src))
        pictures = [path for path in self.files if path.suffix.lower() in IMAGE_SUFFIXES]
        is_mask = re.compile(masks, re.IGNORECASE)
        shown = [path for path in pictures if is_mask.search(self.relative(path))]
        aside = set(shown)
        self.masks = without_copies(shown, originals)
        self.images = without_copies([path for path in pictures if path not in aside], originals)
        self._images, self._masks = by_stem(self.images), by_stem(self.masks)

    def keep(self, images: Sequence[Path]) -> None:
        """Look for images among these alone."""
        self.images, self._images = list(images), by_stem(images)

    def relative(self, path: Path) -> str:
        """A file's path below the folder."""
        return path.relative_to(self.src).as_posix()

    def table(self, needed: Sequence[str], optional: Sequence[str] = (), without: str = "") -> Table:
        """The table with these columns; of several the one that has most of the optional ones.

        Args:
            needed, optional: as of :func:`~monai_e2e.data.sources.spreadsheets.read_table`.
            without: a column that this table doesn't have, and another table with the needed columns has.

        Raises:
            UserError: when there is none.
        """
        found = self.find_table(needed, optional, without)
        if found is None:
            sheets = [path for path in self.files if path.suffix.lower() in (".xls", ".xlsx")]
            if sheets and not can_read_spreadsheets():
                read_table(sheets[0], needed)  # says which package is wanted
            raise UserError(
                f"{self.src}: no table (CSV or spreadsheet) with the columns {', '.join(needed)} in or under it; name "
                f"the folder that the download of {self.name} was unpacked into, its tables included"
            )
        return found

    def find_table(self, needed: Sequence[str], optional: Sequence[str] = (), without: str = "") -> Table | None:
        """As :meth:`table`, but None where there is none."""
        paths = [path for path in self.files if path.suffix.lower() in TABLE_SUFFIXES and has_columns(path, needed)]
        paths = [path for path in paths if not (without and has_columns(path, [without]))]
        fitting = [read_table(path, needed, optional) for path in paths]
        best = max(fitting, key=lambda table: (len(table.columns), len(table.rows)), default=None)
        if len(fitting) > 1 and best is not None:
            logger.info("%s: of %d tables that fit, %s is read", self.src, len(fitting), self.relative(best.path))
        return best

    def find(self, image: str) -> Path:
        """The image that a table means, by its name and the end of its path; raises :class:`Refused`."""
        return find_by_path(self._images, image)

    def find_mask(self, mask: str) -> Path | None:
        """As :meth:`find`, among the masks, and None where there is none."""
        try:
            return find_by_path(self._masks, mask)
        except Refused:
            return None

    def join(
        self,
        entries: Iterable[Entry | Excluded],
        notes: Counter[str] | None = None,
        tables_only: bool = False,
        **counts: int | None,
    ) -> Catalogue:
        """Find the images, and make one mammogram of each.

        An image of several rows is positive if any of them is, and has the lesions of all.

        Args:
            entries: what the tables say, and what of it can't be used.
            notes: the reader's own counts.
            tables_only: whether no image needs to be there; the mammograms then have no path.
            counts: what the tables say before anything is left out: ``patients``, ``files``, ``views``, as far as they
                tell, and ``lesion_rows``, see :class:`~monai_e2e.data.records.Catalogue`.

        Raises:
            UserError: when no image can be used.
        """
        catalogue, notes = Catalogue(self.name), notes if notes is not None else Counter()
        groups, named = self._images_of(entries, catalogue, tables_only)
        files, chosen = [], []
        for path, same in groups.items():
            mammograms = [mammogram for _, mammogram in same]
            if contradiction := find_contradiction(mammograms, _SAME):
                catalogue.excluded += [Excluded(place, contradiction, _all_rows(image)) for place, image in same]
            else:
                files.append(path if tables_only else path.relative_to(self.src))
                chosen.append(_merged(mammograms, None if tables_only else path))
        if not chosen:
            reasons = Counter(item.reason for item in catalogue.excluded).most_common(3)
            why = "; ".join(f"{count} × {reason}" for reason, count in reasons) or "the tables are empty"
            raise UserError(f"{self.src}: no image of {self.name} can be used ({why}); unpack images and tables here")
        catalogue.mammograms = with_suffixes(files, chosen)
        if not tables_only:
            unnamed = [path for path in self.images if path not in named]
            notes["images_without_row"] = len(unnamed)
            if len(unnamed) <= LISTED:
                catalogue.excluded += [Excluded(str(path), "image without row") for path in unnamed]
        catalogue.notes = {note: count for note, count in sorted(notes.items()) if count}
        rows = sum(item.rows for item in catalogue.excluded) + sum(image.rows for image in chosen)
        known: dict[str, int | None] = {"patients": len({image.patient_id for image in chosen}), "files": None}
        catalogue.tables = {"rows": rows, **known, "views": None, **counts}
        logger.info("%s: mammograms: %d, exclusions: %d", self.src, len(chosen), len(catalogue.excluded))
        return catalogue

    def _images_of(
        self, entries: Iterable[Entry | Excluded], catalogue: Catalogue, tables_only: bool
    ) -> tuple[dict[Path, list[tuple[str, Mammogram]]], set[Path]]:
        """What usable entries say of each image, with their places, and all images that are named; else excluded."""
        groups: dict[Path, list[tuple[str, Mammogram]]] = defaultdict(list)
        named: set[Path] = set()
        for entry in entries:
            if isinstance(entry, Excluded):
                catalogue.excluded.append(entry)
                continue
            refusal, rows = entry.refusal, _all_rows(entry.mammogram) if entry.mammogram else entry.rows
            try:
                path = self._path(entry.image, tables_only)
                named.add(path)
                if entry.mammogram:
                    groups[path].append((entry.place, entry.mammogram))
            except Refused as reason:
                refusal = refusal or str(reason)
            if refusal:
                catalogue.excluded.append(Excluded(entry.place, refusal, rows))
        return groups, named

    def _path(self, image: Path | str, tables_only: bool) -> Path:
        if isinstance(image, Path):
            return image
        if not image:
            raise Refused("no image named")
        return Path(plain_path(image)) if tables_only else self.find(image)


def without_copies(paths: Sequence[Path], originals: Sequence[str]) -> list[Path]:
    """Files without those that are called as one with an ending of the originals."""
    names = {path.stem for path in paths if path.suffix.lower() in originals}
    return [path for path in paths if path.suffix.lower() in originals or path.stem not in names]


def entries_of(table: Table, key: str, parse: Callable[[dict[str, str]], Mammogram]) -> Iterator[Entry]:
    """The rows of a table with a row per image.

    Args:
        table: the table.
        key: the column that names the image.
        parse: makes a mammogram of a row's values, or raises :class:`Refused`.
    """
    for line, values in table.rows:
        place = f"{table.path.name}, row {line}: {values[key] or 'no image'}"
        try:
            yield Entry(place, values[key], parse(values))
        except Refused as reason:
            yield Entry(place, values[key], None, str(reason))


def count_values(table: Table, *columns: str) -> int:
    """How many different values some columns have together; empty ones are none."""
    found = {tuple(values[column] for column in columns) for _, values in table.rows}
    return sum(map(any, found))


def numbered(lesions: Iterable[Lesion]) -> tuple[Lesion, ...]:
    """Lesions of one image, numbered from 1; what is listed twice is one."""
    rows: dict[Lesion, int] = {}
    for lesion in lesions:
        plain = replace(lesion, number=0, rows=0)
        rows[plain] = rows.get(plain, 0) + lesion.rows
    return tuple(replace(lesion, number=number, rows=own) for number, (lesion, own) in enumerate(rows.items(), start=1))


def _all_rows(mammogram: Mammogram) -> int:
    return mammogram.rows + sum(lesion.rows for lesion in mammogram.lesions)


def find_contradiction(same: Collection[object], columns: Sequence[str]) -> str:
    """Why rows that name the same image can't be one mammogram, since they differ in columns; or ``""``."""
    different = [column for column in columns if len({getattr(row, column) for row in same}) > 1]
    return f"image listed twice with different values: {', '.join(different)}" if different else ""


def _merged(same: Sequence[Mammogram], path: Path | None) -> Mammogram:
    return replace(
        same[0],
        path=path,
        patient_id=safe_id(same[0].patient_id),  # a part of file names from here on
        label=max(image.label for image in same),
        lesions=numbered(lesion for image in same for lesion in image.lesions),
        rows=sum(map(_all_rows, same)),
    )
