"""What of an image is shown to a network, and which way round: cropped to the breast, the chest wall on the left.

Both are told by the pixels alone, so that an image of any origin is framed in the same way. The breast keeps its
proportions: air is added where the crop is too narrow or too low for the network's image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monai_e2e.data.images.appearance import breast_side
from monai_e2e.data.images.breast_region import find_breast

CROPS = (None, "breast")
ORIENTATIONS = (None, "left")


@dataclass(frozen=True)
class Framing:
    """How one image is framed.

    Args:
        box: rows and columns that are kept.
        mirrored: whether left and right are changed after that.
        padding: rows added last above and below, and columns left and right.
    """

    box: tuple[slice, slice]
    mirrored: bool
    padding: tuple[tuple[int, int], tuple[int, int]]

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """``[rows, columns]`` of the image, or of a mask of its size, framed."""
        kept = pixels[self.box]
        return np.pad(kept[:, ::-1] if self.mirrored else kept, self.padding)

    def apply_to_points(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """``(row, column)`` of points in pixels of the image, framed."""
        (top, _), (left, _) = self.padding
        first, last = self.box[1].start, self.box[1].stop - 1
        return [
            (row - self.box[0].start + top, (last - column if self.mirrored else column - first) + left)
            for row, column in points
        ]


def find_framing(
    pixels: np.ndarray, image_size: Sequence[int], crop: str | None = None, orient: str | None = None
) -> Framing | None:
    """How an image is framed; None where it stays as it is.

    Args:
        pixels: ``[rows, columns]``, 0…1, air dark.
        image_size: rows and columns of the network's image, whose proportions a crop gets.
        crop: ``"breast"``, or None for the whole image; so is an image in which no breast is found.
        orient: ``"left"``: a breast that lies on the right is mirrored; None: as it is.
    """
    if crop is None and orient is None:
        return None
    region = find_breast(pixels)
    side = breast_side(pixels if region is None else pixels[region.box])  # films may have a margin beside the wall
    mirrored = orient == "left" and side == "RIGHT"
    if region is None or crop is None:
        whole = slice(0, pixels.shape[0]), slice(0, pixels.shape[1])
        return Framing(whole, True, ((0, 0), (0, 0))) if mirrored else None
    height, width = (part.stop - part.start for part in region.box)
    rows = max(0, round(width * image_size[0] / image_size[1]) - height)
    columns = max(0, round(height * image_size[1] / image_size[0]) - width)
    # Air is added away from the chest wall, which stays at the image's edge.
    at_right = side == "RIGHT" and not mirrored
    padding = ((rows // 2, rows - rows // 2), (columns, 0) if at_right else (0, columns))
    return Framing(region.box, mirrored, padding)
