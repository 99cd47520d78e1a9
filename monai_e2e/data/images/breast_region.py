"""Where the breast is in a mammogram: the largest bright region, without labels and borders; no training."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

#: Pixels of the longer side on which the region is looked for: enough for its edge, and labels stay apart from it.
_SIDE = 512
#: Share of the longer side that is opened, so that a label which touches the breast comes off.
_OPENING = 0.02
#: Share of the image below which a bright region is a speck, and above which one isn't a letter.
_SPECK, _LETTER = 2e-5, 5e-3
#: A scanner's margin is white: brighter than this, while tissue at the edge isn't where anything else is white.
_WHITE = 0.97
#: Share of the longer side by which the box is wider on each side.
_WIDER = 0.01
#: A region of less than this share is no breast.
_SMALLEST = 0.01


@dataclass(frozen=True)
class BreastRegion:
    """The region of one image.

    Args:
        mask: bool ``[rows, columns]`` of the image reduced to at most 512 on its longer side.
        box: rows and columns of the image that it spans, as slices.
        labels: bright things beside it that have the size of letters and markers.
    """

    mask: np.ndarray
    box: tuple[slice, slice]
    labels: int


def find_breast(pixels: np.ndarray) -> BreastRegion | None:
    """Find the breast.

    Otsu's threshold (IEEE Trans. SMC 1979) of the square roots, in which skin stands out from air; the largest region
    above it, opened.

    Args:
        pixels: ``[rows, columns]``, 0…1, air dark.

    Returns:
        None where no region is large enough.
    """
    rows, columns = pixels.shape
    scale = min(1.0, _SIDE / max(rows, columns))
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    # The rows first: the same numbers but for rounding, in a third to two thirds of the time.
    small = cv2.resize(np.ascontiguousarray(pixels, np.float32), (columns, size[1]), interpolation=cv2.INTER_AREA)
    small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
    roots = np.rint(255 * np.sqrt(np.clip(small, 0, 1))).astype(np.uint8)
    _, bright = cv2.threshold(roots, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    bright[_white_margin(small)] = 0
    width = max(3, round(_OPENING * max(small.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    # The border's pixels are repeated, or the breast would be taken off the edge that it lies at.
    opened = cv2.morphologyEx(bright, cv2.MORPH_OPEN, kernel, borderType=cv2.BORDER_REPLICATE)
    count, regions, stats, _ = cv2.connectedComponentsWithStats(opened)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[largest, cv2.CC_STAT_AREA] < _SMALLEST * small.size:
        return None
    mask = regions == largest
    left, top, wide, high = (int(stats[largest, key]) for key in range(4))
    wider = _WIDER * max(rows, columns)
    box = (
        slice(max(0, round(top / scale - wider)), min(rows, round((top + high) / scale + wider))),
        slice(max(0, round(left / scale - wider)), min(columns, round((left + wide) / scale + wider))),
    )
    around = cv2.dilate(mask.astype(np.uint8), kernel)
    _, _, others, _ = cv2.connectedComponentsWithStats(bright * (1 - around))
    areas = others[1:, cv2.CC_STAT_AREA] / small.size
    return BreastRegion(mask, box, int(((areas > _SPECK) & (areas < _LETTER)).sum()))


def _white_margin(pixels: np.ndarray) -> np.ndarray:
    """Where white regions touch the image's edge, as a scanned film's margins do, and a little around them."""
    count, regions = cv2.connectedComponents((pixels >= _WHITE).astype(np.uint8))
    edges = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    margin = np.isin(regions, np.setdiff1d(edges, 0)).astype(np.uint8)
    return cv2.dilate(margin, np.ones((5, 5), np.uint8)).astype(bool) if count > 1 else margin.astype(bool)
