"""Mammograms in any folder, for inference on images that have no table."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from monai_e2e.data.images.dicom_files import is_dicom
from monai_e2e.data.prepared.datalist import load_datalist
from monai_e2e.data.records import IMAGE_SUFFIXES
from monai_e2e.data.sources.disk import check_folder, packed_hint
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

#: Folders that this package writes, and the entries by which they are known among others.
_OWN_FOLDERS = {
    "a prepared folder: name it alone": {"datalist.json", "images"},
    "a folder of results": {"run.json", "predictions.csv"},
}
#: Endings of images that aren't read.
_OTHER_IMAGES = (".bmp", ".gif", ".webp", ".jp2", ".j2k", ".dic", ".ima", ".nii", ".gz", ".mha", ".mhd", ".nrrd")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ID_KEYS = ("image", "label", "patient_id", "laterality", "view")


def list_mammograms(folder: str | Path, partition: str = "test", fold: int | None = None) -> list[dict]:
    """Images to classify, as the data list of a MONAI data set.

    Args:
        folder: a prepared folder, of which one partition is listed with its labels, or any folder, of which
            every DICOM, PNG, TIFF and JPEG file in it and below it is listed.
        partition: partition of a prepared folder.
        fold: fold that is tested, of one prepared for cross-validation.

    Returns:
        Dicts with ``image`` (absolute path) and ``image_id`` (see :func:`find_images`) or, from a prepared folder,
        ``label``, ``patient_id``, ``laterality`` and ``view``.

    Raises:
        UserError: when the folder is absent or holds no image.
    """
    if is_prepared(folder):
        return [{key: sample[key] for key in _ID_KEYS} for sample in load_datalist(folder, partition, fold=fold)]
    return [{"image": str(path), "image_id": image_id} for image_id, path in find_images(folder).items()]


def is_prepared(folder: str | Path) -> bool:
    """Whether ``monai-e2e prepare`` wrote the folder."""
    return (Path(folder) / "datalist.json").is_file()


def find_images(folder: str | Path, without: Collection[Path] = ()) -> dict[str, Path]:
    """Every DICOM, PNG, TIFF and JPEG file in and under a folder, by an id.

    DICOM files are known by their ending or their content, the others by their ending. Hidden files are left out
    (macOS leaves a ``._1.dcm`` beside each ``1.dcm``), and ``DICOMDIR``, which is a table of contents. So are, with a
    word in the log, images of other kinds and the folders further down that `monai-e2e prepare` and `predict` wrote,
    which hold copies, masks, patches and overlays of images. Links are followed, into each folder once.

    Args:
        folder: the folder.
        without: folders in it that are left out.

    Returns:
        The id and the absolute path of each file, in the order of the paths. The id is the path within the folder,
        since all of CBIS-DDSM's images are called ``1-1.dcm``, without the ending, unless two files then had the same.

    Raises:
        UserError: when the folder is absent or holds no image.
    """
    folder = Path(folder)
    check_folder(folder, "name a folder with DICOM, PNG, TIFF or JPEG mammograms")
    root = Path(os.path.realpath(folder))
    left_out = {os.path.realpath(path) for path in without}
    if str(root) in left_out:
        raise UserError(f"{folder} is the folder of the images: name another one for the results")
    files = list(_walk(str(root), left_out, set()))
    images = sorted(path for path in map(Path, files) if path.suffix.lower() in IMAGE_SUFFIXES or is_dicom(path))
    if not images:
        others = f"({len(files)} others{packed_hint(map(Path, files))})"
        raise UserError(f"{folder} holds no DICOM, PNG, TIFF or JPEG file {others}: name another folder")
    suffixes = Counter(path.suffix.lower() for path in set(map(Path, files)) - set(images))
    if named := [f"{suffixes[suffix]} {suffix}" for suffix in _OTHER_IMAGES if suffixes[suffix]]:
        logger.warning("%s: files that aren't DICOM, PNG, TIFF or JPEG are left out: %s", folder, ", ".join(named))
    names = [shown(path.relative_to(root).as_posix()) for path in images]
    # No other ending is dropped: the file 1.2.840.7 is called after a UID.
    short = [
        name[: -len(shown(path.suffix))] if path.suffix.lower() in IMAGE_SUFFIXES else name
        for name, path in zip(names, images, strict=True)
    ]
    counts = Counter(short)
    ids = [name if counts[shorter] > 1 else shorter for name, shorter in zip(names, short, strict=True)]
    return dict(zip(ids if len(set(ids)) == len(ids) else names, images, strict=True))


def shown(path: str | Path) -> str:
    """A path as one line of text that can be written: control characters and bytes that aren't UTF-8 as ``\\xfc``."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda sign: sign[0].encode("unicode_escape").decode("ascii"), text)


def _walk(folder: str, left_out: Collection[str], seen: set[tuple[int, int]]) -> Iterator[str]:
    """Files in and under a folder but for hidden ones; ``seen`` are the folders entered, by device and inode."""
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in seen or os.path.realpath(folder) in left_out:
        return
    below = bool(seen)
    seen.add((status.st_dev, status.st_ino))
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder}: can't be read ({error.strerror}); change its permissions or move it") from error
    kinds = [kind for kind, entries in _OWN_FOLDERS.items() if entries.issubset(names)]
    if below and kinds:
        logger.warning("%s is left out, being %s", shown(folder), kinds[0])
        return
    for name in names:
        path = os.path.join(folder, name)
        if name.startswith(".") or name.upper() == "DICOMDIR":
            continue
        if os.path.isdir(path):
            yield from _walk(path, left_out, seen)
        elif os.path.isfile(path):  # neither is what a link to nothing or in a circle leads to
            yield path
