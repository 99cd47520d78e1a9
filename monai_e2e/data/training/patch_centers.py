"""Where patches are cut (paper §3.1.1): centres on lesions and beside them, drawn at random.

The overlap of a patch with a lesion is their intersection over the lesion's area or over the patch's area, whichever is
larger: small lesions must lie within the patch, and patches within large lesions.

Where the paper is silent this follows its author's published code: centres are uniform in the lesion's bounding box
(background: in the whole image, air included), the cut-off falls by 0.05 after 1,000 vain draws, background overlaps
less than 0.35. One difference: he checked a background patch against one lesion of the image, here it is checked
against all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Draws of a centre before less overlap is accepted, and by how much less.
DRAWS = 1000
CUTOFF_STEP = 0.05
#: An image that is nearly all lesion may have no background; the search has to end.
_BACKGROUND_ROUNDS = 20


def sample_patch_centers(
    mask: np.ndarray, count: int, patch_size: int, min_overlap: float, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Draw centres of patches that show a lesion.

    Args:
        mask: bool ``[H, W]``, not empty.
        count: number of patches.
        patch_size: side of the square patches in pixels.
        min_overlap: smallest overlap accepted, lowered by 0.05 whenever 1,000 draws in a row miss it.
        rng: random generator.

    Returns:
        int ``[count, 2]`` rows and columns (repeats are possible), and the overlap that was reached.
    """
    low, high = _bounding_box(mask)
    sums = _integral(mask)
    area, chosen, cutoff = int(mask.sum()), np.empty((0, 2), dtype=np.int64), min_overlap
    while len(chosen) < count:
        centers = rng.integers(low, high, size=(DRAWS, 2))
        accepted = centers[_overlaps(sums, centers, patch_size, area) >= cutoff]
        chosen = np.concatenate([chosen, accepted[: count - len(chosen)]])
        if not len(accepted):
            cutoff -= CUTOFF_STEP
    return chosen, cutoff


def sample_background_centers(
    masks: Sequence[np.ndarray],
    image_size: Sequence[int],
    count: int,
    patch_size: int,
    max_overlap: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw centres of patches that overlap every lesion by less than ``max_overlap``.

    Args:
        masks: bool ``[H, W]`` of all lesions of the image.
        image_size: H and W.
        count: number of patches.
        patch_size: side of the square patches in pixels.
        max_overlap: overlap that is too much.
        rng: random generator.

    Returns:
        int ``[n, 2]`` rows and columns; n is ``count``, or less where 20,000 draws didn't find enough.
    """
    lesions = [(_integral(mask), int(mask.sum())) for mask in masks]
    chosen = np.empty((0, 2), dtype=np.int64)
    for _ in range(_BACKGROUND_ROUNDS):
        centers = rng.integers((0, 0), image_size, size=(DRAWS, 2))
        for sums, area in lesions:
            centers = centers[_overlaps(sums, centers, patch_size, area) < max_overlap]
        chosen = np.concatenate([chosen, centers[: count - len(chosen)]])
        if len(chosen) == count:
            break
    return chosen


def cut_patch(image: np.ndarray, center: Sequence[int] | np.ndarray, patch_size: int) -> np.ndarray:
    """Square window ``[patch_size, patch_size]`` of ``[H, W]`` around a centre, zero beyond the image's edge."""
    patch = np.zeros((patch_size, patch_size), dtype=image.dtype)
    top, left = (int(position) - patch_size // 2 for position in center)
    rows = slice(max(top, 0), min(top + patch_size, image.shape[0]))
    columns = slice(max(left, 0), min(left + patch_size, image.shape[1]))
    patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = image[rows, columns]
    return patch


def _bounding_box(mask: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """First row and column, and one past the last."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    return (int(rows[0]), int(columns[0])), (int(rows[-1]) + 1, int(columns[-1]) + 1)


def _integral(mask: np.ndarray) -> np.ndarray:
    """Summed-area table ``[H + 1, W + 1]``: entry (r, c) counts the mask's pixels above and left of it."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
    sums[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    return sums


def _overlaps(sums: np.ndarray, centers: np.ndarray, patch_size: int, area: int) -> np.ndarray:
    """Overlap of a lesion of ``area`` pixels with the patches around ``centers`` ``[n, 2]`` → float ``[n]``."""
    first = centers - patch_size // 2
    limit = np.array(sums.shape) - 1
    top, left = np.clip(first, 0, limit).T
    bottom, right = np.clip(first + patch_size, 0, limit).T
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return inside / min(area, patch_size**2)
