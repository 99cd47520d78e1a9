"""The folder that ``monai-e2e predict`` writes: rows as they come, so that a run that was stopped can be taken up.

An image's other files are written before its row, so an image with a row is finished. A row that was cut off, when the
run was killed, is dropped, and its image is done again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai_e2e.data.images.appearance import OTHER_SIDE, is_of_the_set
from monai_e2e.data.sources.formulas import guarded_cell, unguarded_cell
from monai_e2e.errors import UserError
from monai_e2e.metrics.aggregate import BREAST_COLUMNS, EXAM_COLUMNS, aggregate_breasts, exams_of
from monai_e2e.metrics.tables import write_table
from monai_e2e.provenance import now, versions
from monai_e2e.work.files import write_json, write_text
from monai_e2e.work.locking import INSIDE

logger = logging.getLogger(__name__)

#: Endings of the files that hold an image's results, and the longest part of a path that leaves room for them.
_ENDINGS = (".png", ".npy", ".nii.gz", ".dcm")
_LONGEST = 200
_KIND = "monai-e2e predict"


def file_name(image: str) -> str:
    """The name of an image's other files, without their ending: its id, unless a file system couldn't hold that.

    A part of the path that is too long, and a folder's that ends like a file of results, are shortened and get a hash.
    """
    *folders, name = image.split("/")
    parts = [_changed(part) if part.lower().endswith(_ENDINGS) else part for part in folders] + [name]
    return "/".join(_changed(part) if len(part.encode()) > _LONGEST else part for part in parts)


def _changed(part: str) -> str:
    data = part.encode()
    return f"{data[: _LONGEST // 2].decode(errors='ignore')}--{hashlib.sha256(data).hexdigest()[:12]}"


class ResultFolder:
    """Results of one run, or of several that went on where the one before stopped.

    Args:
        folder: new, empty, or of an earlier run with the same settings.
        settings: what makes the results what they are, plain values; kept in ``run.json``.

    Raises:
        UserError: when the folder holds something else, or results of other settings.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.predictions, self.failures = self.folder / "predictions.csv", self.folder / "failures.csv"
        self.record: dict[str, Any] = {"kind": _KIND, "settings": dict(settings), "started": now()}
        self.failed = 0
        self._of_the_set = 0  # rows of an earlier run that lost their flag to it
        self._check()
        #: Columns of the finished rows, and patient and exam of each image that has one.
        self.columns, self.finished = self._read_rows()

    def start(self, columns: Sequence[str], facts: Mapping[str, Any]) -> None:
        """Write ``run.json`` with the settings, versions and further facts, and begin the table of predictions.

        Raises:
            UserError: when rows of an earlier run have other columns.
        """
        if self.columns and self.columns != list(columns):
            raise UserError(
                f"{self.predictions} has other columns than this run would write, since other facts of the images are "
                "known now; name a new folder"
            )
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.failures.unlink(missing_ok=True)  # all of them are tried again
            self.record |= {**facts, "versions": versions()}
            if self._of_the_set:
                self.record["breast_on_the_other_side"] = self._of_the_set
            self._write_record()
        if not self.columns:
            self.columns = list(columns)
            self._append(self.predictions, columns)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append an image's row, at once, to ``predictions.csv``."""
        self._append(self.predictions, [row.get(column, "") for column in self.columns])

    def fail(self, image: str, reason: str) -> None:
        """Append an image that has no score to ``failures.csv``."""
        if not self.failed:
            self._append(self.failures, ("image", "reason"))
        self.failed += 1
        self._append(self.failures, (image, reason))

    def write(self, name: str, write: Callable[[Path], object]) -> None:
        """Write another file of an image, in a folder that is made if need be."""
        path = self.folder / name
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)

    def finish(self, aggregate: str, facts: Mapping[str, Any] | None = None) -> int:
        """Write ``breast.csv`` and ``exam.csv``, how it went and further facts to ``run.json``; returns the rows."""
        with self.predictions.open(newline="", encoding="utf-8") as file:
            rows = [_unguarded(row) for row in csv.DictReader(file)]
        with _writing(self.folder):
            self._describe_set(rows)
            breasts = aggregate_breasts(rows, aggregate)
            tables = {"breast": (breasts, BREAST_COLUMNS), "exam": (exams_of(breasts), EXAM_COLUMNS)}
            for name, (table, columns) in tables.items():
                wanted = [column for column in columns if column != "label" or "label" in self.columns]
                write_table(self.folder / f"{name}.csv", table, wanted)
            self.record |= {"ended": now(), "predicted": len(rows), "failed": self.failed, "aggregate": aggregate}
            self.record |= facts or {}
            self._write_record()
        return len(rows)

    def _describe_set(self, rows: Sequence[dict[str, Any]]) -> None:
        """Say of the set, and no more of its rows, that many images show the breast on the other side."""
        flagged = [row for row in rows if OTHER_SIDE in (row.get("flags") or "").split(";")]
        count = min(len(flagged) + self._of_the_set, len(rows))
        if not is_of_the_set(count, len(rows)):
            return
        self.record["breast_on_the_other_side"] = count
        logger.warning(
            "%d of %d images show the breast on the other side than their laterality says. With so many, they are "
            "probably mirrored copies, as in CBIS-DDSM, or all sides are wrong, so no single row is flagged for it",
            count,
            len(rows),
        )
        if flagged:
            self._write_record()  # before the flags are gone
            for row in flagged:
                row["flags"] = ";".join(flag for flag in row["flags"].split(";") if flag != OTHER_SIDE)
            text = io.StringIO(newline="")
            writer = csv.writer(text, lineterminator="\r\n")
            writer.writerow(self.columns)
            writer.writerows([guarded_cell(row[column]) for column in self.columns] for row in rows)
            write_text(self.predictions, text.getvalue())

    def _check(self) -> None:
        path = self.folder / "run.json"
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder} is a file: name a new or empty folder for the results")
        if not path.is_file():
            if self.folder.is_dir() and any(entry.name != INSIDE for entry in self.folder.iterdir()):
                raise UserError(f"{self.folder} holds other files and no run.json: name a new or empty folder")
            return
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            kind, earlier = record["kind"], dict(record["settings"])
            self._of_the_set = int(record.get("breast_on_the_other_side", 0))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(f"{path}: not written by `monai-e2e predict`; name a new or empty folder") from error
        settings = json.loads(json.dumps(self.record["settings"]))
        differing = [key for key in settings if earlier.get(key) != settings[key]]
        if kind != _KIND or differing:
            changes = "; ".join(_difference(key, earlier.get(key), settings[key]) for key in differing)
            raise UserError(
                f"{self.folder} has results of other settings ({changes}): run the same command again to go on with "
                "them, or name a new folder"
            )

    def _read_rows(self) -> tuple[list[str], dict[str, tuple[str, str]]]:
        """The header and the finished images of an earlier run; what was cut off is cut from the file."""
        if not self.predictions.is_file():
            return [], {}
        with _writing(self.predictions):
            data = self.predictions.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if whole != data:
                with self.predictions.open("r+b") as file:
                    file.truncate(len(whole))
        rows = csv.DictReader(io.StringIO(whole.decode("utf-8"), newline=""))
        finished = {row["image"]: (row["patient_id"], row["exam_id"]) for row in map(_unguarded, rows)}
        return list(rows.fieldnames or []), finished

    def _append(self, path: Path, row: Sequence[Any]) -> None:
        with _writing(path), path.open("a", newline="", encoding="utf-8", errors="backslashreplace") as file:
            csv.writer(file, lineterminator="\r\n").writerow(map(guarded_cell, row))

    def _write_record(self) -> None:
        write_json(self.folder / "run.json", self.record, ensure_ascii=False)


def _unguarded(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it was added, without the guards of its cells; a cell that is missing is None."""
    return {column: unguarded_cell(cell) if isinstance(cell, str) else cell for column, cell in row.items()}


def _difference(key: str, earlier: Any, now: Any) -> str:
    if isinstance(now, dict) and isinstance(earlier, dict):  # models by name, with long digests
        return f"{key} {', '.join(now)}: another one, or changed" if list(now) == list(earlier) else f"{key} differ"
    return f"{key} was {earlier}, now {now}"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: can't be written ({error.strerror or error}); free some space, or name another folder, and run "
            "the same command again"
        ) from error
