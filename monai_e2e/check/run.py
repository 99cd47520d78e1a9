"""Quality control of a folder: read each image as ``predict`` does, flag what is unusual, and find incomplete exams.

``check.csv`` has a row for each image, ``index.html`` thumbnails, the flagged ones first. Patients and exams are
numbered; no text of a header is written.
"""

from __future__ import annotations

import io
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from joblib import cpu_count
from PIL import Image
from tqdm import tqdm

from monai_e2e.data.images.appearance import OTHER_SIDE, far_from, is_of_the_set
from monai_e2e.data.records import Laterality, View
from monai_e2e.metrics import write_table
from monai_e2e.metrics.html_page import embed
from monai_e2e.predict.reading import ImageReader, ReadImage
from monai_e2e.predict.worklist import ListedImage, list_images
from monai_e2e.work.cluster import Workers
from monai_e2e.work.locking import locked
from monai_e2e.work.streaming import stream_parallel

COLUMNS = ("image", "patient_id", "exam_id", "laterality", "view", "rows", "columns", "verdict", "flags", "reason")
_THUMBNAIL = 220
_PATIENT_UNKNOWN = "patient unknown"
_OF_HEADERS = ("side unknown", "view unknown", _PATIENT_UNKNOWN)
_SYNTHESIZED = "synthesized 2D"
_LACK = "exam without"
#: If at least this many exams lack a view, and more than half of all, one remark says so, and no image is flagged.
_MANY_EXAMS = 10
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckedImage:
    """One image and what is unusual about it.

    Args:
        listed: where it is and what its header says.
        size: rows and columns; None if it can't be read.
        flags: in the words of docs/results.md and docs/hospital.md.
        reason: why it can't be used; empty if it can.
        mean: mean of its pixels, 0…255.
        digest: hash of its pixels.
        thumbnail: JPEG as the address of an image; empty if it can't be read.
    """

    listed: ListedImage
    size: tuple[int, int] | None
    flags: tuple[str, ...]
    reason: str = ""
    mean: float = 0.0
    digest: str = ""
    thumbnail: str = ""

    @property
    def verdict(self) -> str:
        """``not usable``, ``look`` or ``ok``."""
        return "not usable" if self.reason else "look" if self.flags else "ok"

    @property
    def row(self) -> dict[str, Any]:
        """Its row of ``check.csv``."""
        listed, (rows, columns) = self.listed, self.size or (None, None)
        known = {name: getattr(listed, name) for name in ("image", "patient_id", "exam_id", "laterality", "view")}
        return {
            **known,
            "rows": rows,
            "columns": columns,
            "verdict": self.verdict,
            "flags": ";".join(self.flags),
            "reason": self.reason,
        }


def check_folder(src: str | Path, out: str | Path, workers: Workers = None) -> list[CheckedImage]:
    """Check all images in and under a folder, and write ``check.csv`` and ``index.html``.

    Args:
        src: folder of DICOM, PNG, TIFF or JPEG.
        out: folder to write.
        workers: number of processes; None: one per core, at most 4; 0: this process; or a Dask scheduler, see
            :mod:`monai_e2e.work.cluster`.

    Raises:
        UserError: when the folder is missing or has no image, or another process writes to ``out``.
    """
    from monai_e2e.check.page import write_page

    listed = list_images(Path(src).absolute(), without=[Path(out)])
    out = Path(out)
    with locked(out):
        number = min(cpu_count(), 4) if workers is None else workers
        read = stream_parallel(_Check(), listed, number)
        images = [
            result
            or CheckedImage(
                one,
                None,
                (),
                "the process that read it was killed, by damaged data or for lack of memory; copy the file again",
            )
            for one, result in tqdm(read, total=len(listed), desc="check", unit="image", disable=None)
        ]
        images, remarks = with_flags_of_the_set(images)
        for remark in remarks:
            logger.warning("%s: %s", src, remark)
        write_table(out / "check.csv", [image.row for image in images], COLUMNS)
        write_page(out / "index.html", images, Path(src).name, remarks)
        return images


class _Check:
    """Read and check one image, in a worker process."""

    def __init__(self) -> None:
        self.reader = ImageReader([], pictures=True)

    def __call__(self, listed: ListedImage) -> CheckedImage:
        if not listed.dicom:  # PNG, TIFF and JPEG have no header with side, view and patient
            listed = replace(listed, flags=tuple(flag for flag in listed.flags if flag not in _OF_HEADERS))
        read = self.reader(listed)
        if not isinstance(read, ReadImage):
            return CheckedImage(listed, None, listed.flags, read)
        picture = Image.fromarray(read.picture)
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=70)
        flags = tuple(dict.fromkeys((*listed.flags, *read.flags)))
        return CheckedImage(listed, read.size, flags, "", read.mean, read.digest, embed(file.getvalue(), "jpeg"))


def with_flags_of_the_set(images: Sequence[CheckedImage]) -> tuple[list[CheckedImage], list[str]]:
    """Add flags that need all images: copies, unusual brightness, and views that an exam lacks.

    Returns:
        The images, and remarks on what is so common that no single image is flagged for it.
    """
    readable = [image for image in images if not image.reason]
    typical = median([image.mean for image in readable]) if readable else 0.0
    digests = Counter(image.digest for image in readable)
    mirrored = sum(OTHER_SIDE in image.flags for image in readable)
    of_the_set = is_of_the_set(mirrored, len(readable))
    exams: dict[tuple[str, str], list[CheckedImage]] = defaultdict(list)
    for image in readable:
        exams[image.listed.patient_id, image.listed.exam_id].append(image)
    lacking = {key: list(_exam_flags(own)) for key, own in exams.items()}
    incomplete = sum(any(map(_is_lack, flags)) for flags in lacking.values())
    remarks = []
    if of_the_set:
        remarks.append(
            f"{mirrored} of {len(readable)} images show the breast on the other side than their laterality says: "
            "mirrored copies, or all sides are wrong; no single image is flagged for it"
        )
    if incomplete >= _MANY_EXAMS and incomplete > len(exams) / 2:
        lacking = {key: [flag for flag in flags if not _is_lack(flag)] for key, flags in lacking.items()}
        remarks.append(
            f"{incomplete} of {len(exams)} exams lack a view, as in data sets that were collected by lesion: no single "
            "image is flagged for it"
        )
    checked = []
    for image in images:
        if not image.reason:
            flags = [flag for flag in image.flags if flag != OTHER_SIDE or not of_the_set]
            flags += ["brightness unusual"] if far_from(image.mean, typical) else []
            flags += ["same pixels as another"] if digests[image.digest] > 1 else []
            flags += lacking[image.listed.patient_id, image.listed.exam_id]
            image = replace(image, flags=tuple(flags))
        checked.append(image)
    return checked, remarks


def _is_lack(flag: str) -> bool:
    return flag.startswith(_LACK)


def _exam_flags(images: Sequence[CheckedImage]) -> Iterator[str]:
    """``exam without LEFT MLO`` and ``exam with synthesized beside 2D``, as far as exam, side and view are known."""
    alone = any(_PATIENT_UNKNOWN in image.flags and not image.listed.exam_id for image in images)
    if alone or not all(image.listed.laterality for image in images):
        return
    views = {(image.listed.laterality, image.listed.view) for image in images}
    if all(view for _, view in views):
        for side in Laterality:
            for view in View:
                if (side.value, view.value) not in views:
                    yield f"{_LACK} {side.value} {view.value}"
    kinds = defaultdict(set)
    for image in images:
        kinds[image.listed.laterality, image.listed.view].add(_SYNTHESIZED in image.flags)
    if any(len(both) > 1 for both in kinds.values()):
        yield "exam with synthesized beside 2D"


def format_check(images: Sequence[CheckedImage]) -> str:
    """The counts that the command prints."""
    verdicts = Counter(image.verdict for image in images)
    flags = Counter(flag for image in images for flag in image.flags)
    reasons = Counter(image.reason.split(";")[0] for image in images if image.reason)
    return "\n".join(
        [
            f"{len(images)} files: {verdicts['ok']} ok, {verdicts['look']} to look at, "
            f"{verdicts['not usable']} not usable",
            *(f"  {count} × {flag}" for flag, count in flags.most_common()),
            *(f"  {count} × not usable: {reason}" for reason, count in reasons.most_common()),
        ]
    )
