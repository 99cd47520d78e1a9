"""One image of a prepared folder: read, resized and written with its masks, once.

After the files of an image are complete, a record with a fingerprint of its sources and settings is written. So a run
that was killed continues where it ended, a second run does nothing twice, and no half-written file is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from monai_e2e.data.images.appearance import appearance_flags
from monai_e2e.data.images.brightness import AUTO, VoiLut
from monai_e2e.data.images.dicom import DecodedImage, decode_image, find_mask
from monai_e2e.data.images.dicom_files import one_file
from monai_e2e.data.images.framing import Framing, find_framing
from monai_e2e.data.images.headers import Header, flags_beside_table, read_header, unknown_flags
from monai_e2e.data.images.pixels import (
    draw_outline,
    resize_mammogram,
    resize_mask,
    same_aspect,
    save_grey16,
    save_mask,
    scaled_outline,
)
from monai_e2e.data.records import FACTS, Excluded, Lesion, Mammogram, Pathology
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
        reason = _as_reason("image not usable", error, mammogram.path)
        return PreparedImage(None, [Excluded(str(mammogram.path), reason, mammogram.rows)])
    header = read_header(Path(str(mammogram.path)))
    lesions, excluded, lengths = [], [], []
    spacing = None if image.pixel_spacing is None else np.multiply(image.pixel_spacing, framed.shape) / task.image_size
    for number, lesion in enumerate(mammogram.lesions, start=1):
        mask, problems = _lesion_mask(mammogram, lesion, image.pixels.shape, task.image_size, framing)
        excluded += problems
        if mask is None:
            continue
        relative = f"masks/{name}_{number}.png"
        with written_whole(task.folder / relative) as path:
            save_mask(mask, path)
        lesions.append({"mask": relative, **lesion_words(lesion)})
        if spacing is not None and mammogram.label == 1 and lesion.pathology is not Pathology.BENIGN:
            lengths.append(lesion_length(mask, spacing))
    with written_whole(task.folder / f"images/{name}.png") as path:
        save_grey16(pixels, path)
    sample: dict[str, Any] = {
        "image": f"images/{name}.png",
        "label": mammogram.label,
        "patient_id": mammogram.patient_id,
        # Empty and not null where unknown, since a batch can't hold nulls.
        "laterality": mammogram.laterality.value if mammogram.laterality else "",
        "view": mammogram.view.value if mammogram.view else "",
        "flags": ";".join(_flags(mammogram, image, header)),
        "lesions": lesions,
        "lesions_excluded": len(mammogram.lesions) - len(lesions),
    }
    sample |= {fact: value for fact in FACTS if (value := getattr(mammogram, fact)) is not None}
    sample["mean"] = round(float(pixels.mean(dtype=np.float64) * 255 / 65535), 6)
    sample["original_size"] = list(image.pixels.shape)
    if task.voi_lut == AUTO:
        sample["window"] = image.window
    if lengths:
        sample["lesion_size"] = round(max(lengths), 1)
    if image.pixel_spacing is not None:
        sample["pixel_spacing"] = list(image.pixel_spacing)
    digest, instance = _digest(pixels.tobytes()), _digest(header.instance.encode()) if header.instance else ""
    # What failed is tried again by the next run, which may have the decoder that this one lacked.
    if not excluded:
        record = {"fingerprint": fingerprint, "sample": sample, "pixels": digest, "instance": instance}
        write_text(_record(task.folder, name), json.dumps(record))
    return PreparedImage(sample, excluded, digest, instance)


def lesion_length(mask: np.ndarray, spacing: ArrayLike) -> float:
    """The longer side, in mm, of the smallest rectangle around a lesion, whichever way it lies.

    Args:
        mask: bool ``[rows, columns]``, not empty.
        spacing: mm between its rows and between its columns.
    """
    import cv2  # which processes that find all images finished needn't load

    scale = np.asarray(spacing, dtype=np.float64)
    sides = cv2.minAreaRect((np.argwhere(mask) * scale).astype(np.float32))[1]
    return float(max(sides) + scale.mean())  # from the first pixel's edge to the last one's


def lesion_words(lesion: Lesion) -> dict[str, str | None]:
    """A lesion's type, pathology and kind of marking as they stand in the data list."""
    return {
        "type": lesion.type.value if lesion.type else None,
        "pathology": lesion.pathology.value if lesion.pathology else None,
        "drawn_as": lesion.drawn_as.value,
    }


def _lesion_mask(
    mammogram: Mammogram,
    lesion: Lesion,
    original_size: Sequence[int],
    image_size: Sequence[int],
    framing: Framing | None,
) -> tuple[np.ndarray | None, list[Excluded]]:
    """The lesion's bool mask at the target size, or None and the reasons."""
    if lesion.outline:
        place = f"{mammogram.path}, lesion {lesion.number}"
        outline, size, drawn_on = lesion.outline, original_size, mammogram.outlined_size or original_size
        if not same_aspect(drawn_on, original_size):
            sizes = f"outline {drawn_on[0]}×{drawn_on[1]}, image {original_size[0]}×{original_size[1]}"
            return None, [Excluded(place, f"outline and image differ in shape: {sizes}", lesion.rows)]
        outline = scaled_outline(outline, drawn_on, original_size)
        if framing is not None:
            outline = tuple(framing.apply_to_points(outline))
            size = framing.apply(np.empty(tuple(original_size), dtype=bool)).shape
        mask = draw_outline(outline, size, image_size)
        outside = Excluded(place, "lesion outside the image", lesion.rows)
        return mask, ([] if mask is not None else [outside])
    problems = []
    for path in lesion.mask_paths:
        try:
            mask = find_mask(path)
        except UserError as error:
            problems.append(Excluded(str(path), _as_reason("mask not usable", error, path)))
            continue
        if mask is None:
            continue
        if not same_aspect(mask.shape, original_size):
            sizes = f"mask {mask.shape[0]}×{mask.shape[1]}, image {original_size[0]}×{original_size[1]}"
            problems.append(Excluded(str(path), f"mask and image differ in shape: {sizes}"))
        elif not mask.any():
            problems.append(Excluded(str(path), "mask empty"))
        elif framing is None:
            return resize_mask(mask, image_size), []
        else:
            framed = framing.apply(resize_mask(mask, original_size))
            if framed.any():
                return resize_mask(framed, image_size), []
            problems.append(Excluded(str(path), "lesion outside the crop"))
    if lesion.mask_paths and not problems:
        problems.append(Excluded(str(lesion.mask_paths[0]), "no mask among the lesion's files: all have grey values"))
    # However many files were tried, it is one lesion that is lost.
    return None, [replace(problem, rows=lesion.rows if index == 0 else 0) for index, problem in enumerate(problems)]


def _as_reason(kind: str, error: UserError, path: Path | None) -> str:
    """A reader's message without the path that the table of exclusions has already."""
    return f"{kind}: {str(error).removeprefix(f'{path}: ')}"


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
