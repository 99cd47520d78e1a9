"""Lesions of an image that is prepared: their masks at its new size, how long they are, what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from monai_e2e.data.images.dicom import find_mask
from monai_e2e.data.images.framing import Framing
from monai_e2e.data.images.pixels import draw_outline, resize_mask, same_aspect, scaled_outline
from monai_e2e.data.records import Excluded, Lesion, Mammogram, Pathology
from monai_e2e.errors import UserError


@dataclass(frozen=True)
class Resizing:
    """What becomes of an image's pixels: framed, if they are, and then resized; sizes are rows and columns."""

    original_size: Sequence[int]
    framing: Framing | None
    image_size: Sequence[int]


def lesion_masks(mammogram: Mammogram, resizing: Resizing) -> tuple[dict[int, np.ndarray], list[Excluded]]:
    """Bool masks at the target size by the place of their lesion, from 1, and why others have none."""
    masks: dict[int, np.ndarray] = {}
    excluded: list[Excluded] = []
    for number, lesion in enumerate(mammogram.lesions, start=1):
        if lesion.outline:
            mask, problems = _drawn_mask(mammogram, lesion, resizing)
        else:
            mask, problems = _mask_of_files(lesion, resizing)
        excluded += problems
        if mask is not None:
            masks[number] = mask
    return masks, excluded


def _drawn_mask(mammogram: Mammogram, lesion: Lesion, resizing: Resizing) -> tuple[np.ndarray | None, list[Excluded]]:
    """The mask of a lesion that is outlined, or None and why."""
    place = f"{mammogram.path}, lesion {lesion.number}"
    size = original_size = resizing.original_size
    drawn_on = mammogram.outlined_size or original_size
    if not same_aspect(drawn_on, original_size):
        sizes = f"outline {drawn_on[0]}×{drawn_on[1]}, image {original_size[0]}×{original_size[1]}"
        return None, [Excluded(place, f"outline and image differ in shape: {sizes}", lesion.rows)]
    outline = scaled_outline(lesion.outline, drawn_on, original_size)
    if resizing.framing is not None:
        outline = tuple(resizing.framing.apply_to_points(outline))
        size = resizing.framing.apply(np.empty(tuple(original_size), dtype=bool)).shape
    mask = draw_outline(outline, size, resizing.image_size)
    return mask, [Excluded(place, "lesion outside the image", lesion.rows)] if mask is None else []


def _mask_of_files(lesion: Lesion, resizing: Resizing) -> tuple[np.ndarray | None, list[Excluded]]:
    """The mask among a lesion's files, or None and what is wrong with each."""
    original_size, framing = resizing.original_size, resizing.framing
    problems = []
    for path in lesion.mask_paths:
        try:
            mask = find_mask(path)
        except UserError as error:
            problems.append(Excluded(str(path), as_reason("mask not usable", error, path)))
            continue
        if mask is None:
            continue
        if not same_aspect(mask.shape, original_size):
            sizes = f"mask {mask.shape[0]}×{mask.shape[1]}, image {original_size[0]}×{original_size[1]}"
            problems.append(Excluded(str(path), f"mask and image differ in shape: {sizes}"))
        elif not mask.any():
            problems.append(Excluded(str(path), "mask empty"))
        elif framing is None:
            return resize_mask(mask, resizing.image_size), []
        else:
            framed = framing.apply(resize_mask(mask, original_size))
            if framed.any():
                return resize_mask(framed, resizing.image_size), []
            problems.append(Excluded(str(path), "lesion outside the crop"))
    if lesion.mask_paths and not problems:
        problems.append(Excluded(str(lesion.mask_paths[0]), "no mask among the lesion's files: all have grey values"))
    # However many files were tried, it is one lesion that is lost.
    return None, [replace(problem, rows=lesion.rows if index == 0 else 0) for index, problem in enumerate(problems)]


def as_reason(kind: str, error: UserError, path: Path | None) -> str:
    """A reader's message without the path that the table of exclusions has already."""
    return f"{kind}: {str(error).removeprefix(f'{path}: ')}"


def lesion_size(mammogram: Mammogram, masks: Mapping[int, np.ndarray], spacing: np.ndarray) -> dict[str, float]:
    """The length in mm of the largest malignant lesion, if there is one."""
    lengths = [
        lesion_length(mask, spacing)
        for number, mask in masks.items()
        if mammogram.label == 1 and mammogram.lesions[number - 1].pathology is not Pathology.BENIGN
    ]
    return {"lesion_size": round(max(lengths), 1)} if lengths else {}


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
