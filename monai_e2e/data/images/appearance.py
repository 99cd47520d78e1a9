"""What an image's pixels say, whatever its file says: where the air is, where the breast, how bright it all is.

``check``, ``prepare`` and ``predict`` all ask :func:`appearance_flags`, so an image has the same flags in each.
"""

from __future__ import annotations

import numpy as np

from monai_e2e.data.images.breast_region import find_breast
from monai_e2e.data.records import View

#: Pixels looked at: one of so many in each direction, at least.
_GRID = 256
#: Share of rows and columns that makes a corner, and of columns that makes an edge.
_CORNER, _EDGE = 0.06, 0.1
_BRIGHT = 0.5
#: The breast lies on the side whose edge is brighter than the other's by this much.
_CLEARLY, _TISSUE = 3.0, 0.08
#: Images brighter or darker than the others by this factor are noted.
_FAR = 3.0
#: Flag of an image whose breast isn't where its laterality says.
OTHER_SIDE = "breast on the other side"
#: From so many images on, being such a share of all, it is how a data set keeps them and not a mistake of each.
_MANY, _MANY_SHARE = 10, 0.1
#: Share of the breast at the highest value from which on tissue is cut off there.
_CLIPPED = 0.02
#: So many letters beside the breast are text; a view's label has a few.
_TEXT = 12
#: Lower half of a MLO view's chest wall so many times as bright as the upper, where the muscle is.
_UPSIDE_DOWN = 1.5
#: Part of the chest wall that is its upper end, and the share of tissue there below which a view is hardly MLO: there
#: the muscle fills it.
_UPPER_END, _HARDLY_MLO = 0.1, 0.15


def appearance_flags(pixels: np.ndarray, laterality: str, view: str) -> list[str]:
    """``bright background``, or else ``breast on the other side``, ``no breast found``, ``clipped``, ``text in the
    image`` and ``perhaps upside down`` or ``perhaps CC``, as far as they hold.

    A mammogram's air is dark, so two of its corners are, also where the breast and its muscle fill the others, and a
    scanner's white margin doesn't make most of it bright. A left breast has its chest wall on the left of the image, a
    right one on the right, as DICOM's mammograms are hung; scanned films may be mirrored.

    Args:
        pixels: ``[rows, columns]``, 0…1.
        laterality: LEFT or RIGHT, empty where unknown.
        view: CC, MLO or empty; MLO views have the pectoral muscle at the top, which is looked for.
    """
    small = _on_grid(pixels)
    rows, columns = small.shape
    height, width = max(1, round(_CORNER * rows)), max(1, round(_CORNER * columns))
    corners = sorted(
        float(np.median(small[part][:, side]))
        for part in (slice(height), slice(-height, None))
        for side in (slice(width), slice(-width, None))
    )
    if min(corners[1], float(np.median(small))) > _BRIGHT:
        return ["bright background"]
    side = breast_side(small)
    other = laterality and side and side != laterality
    return [*([OTHER_SIDE] if other else []), *_breast_flags(pixels, view)]


def _breast_flags(pixels: np.ndarray, view: str) -> list[str]:
    region = find_breast(pixels)
    if region is None:
        return ["no breast found"]
    breast = pixels[region.box]
    flags = []
    if np.count_nonzero(breast >= breast.max()) > _CLIPPED * breast.size:
        flags.append("clipped")
    if region.labels >= _TEXT:
        flags.append("text in the image")
    return flags + (_mlo_flags(_on_grid(breast)) if view == View.MLO.value else [])


def _mlo_flags(breast: np.ndarray) -> list[str]:
    third = max(1, breast.shape[1] // 3)
    wall = max((breast[:, :third], breast[:, -third:]), key=lambda part: float(part.mean()))
    upper, lower = (float(part.mean()) for part in np.array_split(wall, 2))
    if lower > _UPSIDE_DOWN * max(upper, 1e-6):
        return ["perhaps upside down"]
    tissue = breast[breast > _TISSUE]
    end = wall[: max(1, round(_UPPER_END * len(wall)))]
    hardly = tissue.size > 0 and (end > np.median(tissue) / 2).mean() < _HARDLY_MLO
    return ["perhaps CC"] if hardly else []


def _on_grid(pixels: np.ndarray) -> np.ndarray:
    rows, columns = pixels.shape
    return pixels[:: max(1, rows // _GRID), :: max(1, columns // _GRID)]


def is_of_the_set(flagged: int, images: int) -> bool:
    """Whether so many of a set's images are flagged :data:`OTHER_SIDE` that the set must be described, not they.

    CBIS-DDSM keeps a third of its images mirrored.
    """
    return flagged >= _MANY and flagged >= _MANY_SHARE * images


def breast_side(pixels: np.ndarray) -> str:
    """LEFT or RIGHT: the edge of ``[rows, columns]`` at which the breast lies; empty where that isn't clear."""
    width = max(1, round(_EDGE * pixels.shape[1]))
    left, right = float(pixels[:, :width].mean()), float(pixels[:, -width:].mean())
    if max(left, right) < _TISSUE or max(left, right) < _CLEARLY * min(left, right):
        return ""
    return "LEFT" if left > right else "RIGHT"


def far_from(mean: float, others: float) -> bool:
    """Whether an image's mean brightness is far from that of others."""
    return not others / _FAR <= mean <= others * _FAR
