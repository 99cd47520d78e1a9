"""One image of a prepared folder: read, resized and written with its masks, once.

After the files of an image are complete, a record with a fingerprint of its sources and settings is written. So a run
that was killed continues where it ended, a second run does nothing twice, and no half-written file is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_e2e.data.images.appearance import appearance_flags
from monai_e2e.data.images.brightness import AUTO, VoiLut
from monai_e2e.data.images.dicom import DecodedImage, decode_image
from monai_e2e.data.images.dicom_files import one_file
from monai_e2e.data.images.framing import find_framing
from monai_e2e.data.images.headers import Header, flags_beside_table, read_header, unknown_flags
from monai_e2e.data.images.pixels import resize_mammogram, save_grey16, save_mask
from monai_e2e.data.prepared.lesions import Resizing, as_reason, lesion_masks, lesion_size, lesion_words
from monai_e2e.data.records import FACTS, Excluded, Mammogram
from monai_e2e.errors import UserError
from monai_e2e.work.files import write_text, written_whole

#: Folder of the records, in the prepared folder.
FINISHED = ".finished"
#: Raise it when the same sources give other files.
_FORMAT = 6


@dataclass(frozen=True)
class ImageTask:
    """One image to prepare.

    Args:
        mammogram: the image; it has a path.
        folder: folder to write ``images/`` and ``masks/`` in.
        image_size: rows and columns.
        voi_lut: whether to apply the image's window, see :func:`~monai_e2e.data.images.dicom.decode_image`.
        any_modality: see :func:`~monai_e2e.data.images.dicom.decode_image`.
        crop, orient: how the image is framed, see :func:`~monai_e2e.data.images.framing.find_framing`.
        earlier: a folder prepared earlier, from which unchanged images are copied; None if there is none.
    """

    mammogram: Mammogram
    folder: Path
    image_size: tuple[int, ...]
    voi_lut: VoiLut = False
    any_modality: bool = False
    earlier: Path | None = None
    crop: str | None = None
    orient: str | None = None


@dataclass(frozen=True)
class PreparedImage:
    """Its result.

    Args:
        sample: of the data list, None where the image had to be left out.
        excluded: what was excluded.
        pixels: digest of the prepared image's pixels.
        instance: digest of the SOP Instance UID, empty where there is none.
    """

    sample: dict[str, Any] | None
    excluded: list[Excluded]
    pixels: str = ""
    instance: str = ""


def prepare_image(task: ImageTask) -> PreparedImage:
    """Write one image and its masks, unless they are finished; if it can't be read, the result has the reason."""
    fingerprint = _fingerprint(task)
    for folder in filter(None, (task.folder, task.earlier)):
        finished = _find_finished(folder, task, fingerprint)
        if finished is not None:
            return finished
    mammogram, name = task.mammogram, task.mammogram.image_id
    try:
        with one_file(str(mammogram.path)):
            image = decode_image(str(mammogram.path), task.voi_lut, task.any_modality)
            framing = find_framing(image.pixels, task.image_size, task.crop, task.orient)
            framed = image.pixels if framing is None else framing.apply(image.pixels)
            pixels = np.rint(resize_mammogram(framed, task.image_size) * 65535).astype(np.uint16)
    except UserError as error:
        reason = as_reason("image not usable", error, mammogram.path)
        return PreparedImage(None, [Excluded(str(mammogram.path), reason, mammogram.rows)])
    masks, excluded = lesion_masks(mammogram, Resizing(image.pixels.shape, framing, task.image_size))
    for number, mask in masks.items():
        with written_whole(task.folder / _mask_file(name, number)) as path:
            save_mask(mask, path)
    with written_whole(task.folder / f"images/{name}.png") as path:
        save_grey16(pixels, path)
    header = read_header(Path(str(mammogram.path)))
    sample = _describe(task, image, header, masks)
    sample["mean"] = round(float(pixels.mean(dtype=np.float64) * 255 / 65535), 6)
    sample["original_size"] = list(image.pixels.shape)
    if task.voi_lut == AUTO:
        sample["window"] = image.window
    if image.pixel_spacing is not None:
        spacing = np.multiply(image.pixel_spacing, framed.shape) / task.image_size
        sample |= lesion_size(mammogram, masks, spacing)
        sample["pixel_spacing"] = list(image.pixel_spacing)
    digest, instance = _digest(pixels.tobytes()), _digest(header.instance.encode()) if header.instance else ""
    # What failed is tried again by the next run, which may have the decoder that this one lacked.
    if not excluded:
        record = {"fingerprint": fingerprint, "sample": sample, "pixels": digest, "instance": instance}
        write_text(_record(task.folder, name), json.dumps(record))
    return PreparedImage(sample, excluded, digest, instance)


def _mask_file(name: str, number: int) -> str:
    return f"masks/{name}_{number}.png"


def _describe(task: ImageTask, image: DecodedImage, header: Header, masks: Mapping[int, np.ndarray]) -> dict[str, Any]:
    """What the data list says of an image before its pixels are measured."""
    mammogram, lesions = task.mammogram, task.mammogram.lesions
    sample: dict[str, Any] = {
        "image": f"images/{mammogram.image_id}.png",
        "label": mammogram.label,
        "patient_id": mammogram.patient_id,
        # Empty and not null where unknown, since a batch can't hold nulls.
        "laterality": mammogram.laterality.value if mammogram.laterality else "",
        "view": mammogram.view.value if mammogram.view else "",
        "flags": ";".join(_flags(mammogram, image, header)),
        "lesions": [
            {"mask": _mask_file(mammogram.image_id, number), **lesion_words(lesions[number - 1])} for number in masks
        ],
        "lesions_excluded": len(lesions) - len(masks),
    }
    return sample | {fact: value for fact in FACTS if (value := getattr(mammogram, fact)) is not None}


def _flags(mammogram: Mammogram, image: DecodedImage, header: Header) -> list[str]:
    """What is odd about an image, in the words of docs/results.md; its side and view are the tables'."""
    side, view = (part.value if part else "" for part in (mammogram.laterality, mammogram.view))
    beside = flags_beside_table(header, side, view)
    flags = [
        *unknown_flags(side, view, beside),
        *mammogram.flags,
        *image.flags,
        *beside,
        *appearance_flags(image.pixels, side or header.laterality, view or header.view),
    ]
    return list(dict.fromkeys(flags))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _fingerprint(task: ImageTask) -> str:
    """Changes with the settings and with the sources, of which size and time of change are looked at."""
    mammogram = task.mammogram
    sources = [mammogram.path, *(path for lesion in mammogram.lesions for path in lesion.mask_paths)]
    parts = [_FORMAT, task.image_size, task.voi_lut, task.any_modality, repr(replace(mammogram, partition=None))]
    parts += [framing for framing in (task.crop, task.orient) if framing]
    for source in filter(None, sources):
        try:
            status = source.stat()
            parts.append((status.st_size, status.st_mtime_ns))
        except OSError:
            parts.append("absent")
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _find_finished(folder: Path, task: ImageTask, fingerprint: str) -> PreparedImage | None:
    """What an earlier run recorded in ``folder`` for the same image; its files are then in the task's folder too."""
    try:
        record = json.loads(_record(folder, task.mammogram.image_id).read_text(encoding="utf-8"))
        if record["fingerprint"] != fingerprint:
            return None
        sample = record["sample"]
        files = [sample["image"], *(lesion["mask"] for lesion in sample["lesions"])]
    except (OSError, ValueError, LookupError, TypeError):
        return None  # absent or of another version: the image is done again
    if not all((folder / file).is_file() for file in files):
        return None
    if folder != task.folder:
        for file in [*files, str(_record(folder, task.mammogram.image_id).relative_to(folder))]:
            with written_whole(task.folder / file) as path:
                _link(folder / file, path)
    return PreparedImage(sample, [], record["pixels"], record["instance"])


def _record(folder: Path, name: str) -> Path:
    return folder / FINISHED / f"{name}.json"


def _link(source: Path, path: Path) -> None:
    try:
        os.link(source, path)
    except OSError:  # not every file system has links
        shutil.copyfile(source, path)
