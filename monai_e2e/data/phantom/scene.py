"""Put lesions into a breast: one view with its findings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from monai_e2e.data.phantom.anatomy import NATIVE_ROWS, Breast, draw_breast, sigmoid
from monai_e2e.data.phantom.lesions import Finding, draw_lesion
from monai_e2e.data.records import Laterality, LesionType, View


@dataclass
class PlacedFinding:
    """A finding at its place in an image.

    Args:
        finding: the finding.
        roi: bool ``[rows, columns]``, the annotated region.
        outline: float ``[k, 2]``, its border as ``(row, column)`` in pixels of the image.
        spots: float ``[m, 2]``, single calcifications in the same coordinates.
    """

    finding: Finding
    roi: np.ndarray
    outline: np.ndarray
    spots: np.ndarray


@dataclass
class Scene:
    """One view, before a film or a detector turns it into grey values.

    The chest wall is at the left edge for a left breast and at the right edge for a right one.

    Args:
        laterality: the breast's.
        view: CC or MLO.
        tissue: float32 ``[rows, columns]``, 0 in air, about 0.35 in fat and 0.8 in dense gland.
        mask: bool ``[rows, columns]``, true inside the breast.
        findings: the lesions.
    """

    laterality: Laterality
    view: View
    tissue: np.ndarray
    mask: np.ndarray
    findings: list[PlacedFinding]


def draw_scene(
    rng: np.random.Generator,
    rows: int,
    columns: int,
    laterality: Laterality,
    view: View,
    density: int,
    findings: list[Finding],
    edge_falloff: float = 1.0,
) -> Scene:
    """Draw one view of a breast with its findings.

    Args:
        rng: source of all randomness.
        rows: height in pixels.
        columns: width in pixels.
        laterality: right breasts are mirrored.
        view: CC or MLO.
        density: see :func:`.anatomy.draw_breast`.
        findings: lesions to draw.
        edge_falloff: see :func:`.anatomy.draw_breast`.
    """
    breast = draw_breast(rng, rows, columns, view, density, edge_falloff)
    scale = rows / NATIVE_ROWS
    _sprinkle(rng, breast, scale)
    taken: list[tuple[float, float, float]] = []
    placed = []
    for finding in findings:
        drawing = draw_lesion(rng, finding, scale)
        size = float(np.abs(drawing.outline).max())
        centre = _place(rng, breast, finding, view, size, taken)
        taken.append((*centre, size))
        n = drawing.added.shape[0]
        added, roi = np.zeros((rows, columns), dtype=np.float32), np.zeros((rows, columns), dtype=bool)
        top, left = centre[0] - n // 2, centre[1] - n // 2
        inside = (slice(max(top, 0), min(top + n, rows)), slice(max(left, 0), min(left + n, columns)))
        cut = (
            slice(inside[0].start - top, inside[0].stop - top),
            slice(inside[1].start - left, inside[1].stop - left),
        )
        added[inside], roi[inside] = drawing.added[cut], drawing.roi[cut]
        breast.tissue += added * breast.mask
        outline, spots = drawing.outline + centre, drawing.spots + centre
        outline = np.clip(outline, 0, (rows - 1, columns - 1))
        placed.append(PlacedFinding(finding, roi, outline, spots))
    scene = Scene(laterality, view, breast.tissue, breast.mask, placed)
    return _mirror(scene) if laterality is Laterality.RIGHT else scene


def _place(
    rng: np.random.Generator,
    breast: Breast,
    finding: Finding,
    view: View,
    size: float,
    taken: list[tuple[float, float, float]],
) -> tuple[int, int]:
    """Pixel for a lesion's centre: near its place, within the skin, away from the muscle and other lesions."""
    rows, columns = breast.mask.shape
    across_wanted = finding.across[0 if view is View.CC else 1]
    frame = breast.frame
    best, best_room = (int(frame.nipple[0]), int(frame.nipple[1] / 2)), -np.inf
    for attempt in range(200):
        spread = 0.02 + 0.3 * attempt / 200
        depth = (finding.depth + rng.normal(0, spread)) * frame.depth
        across = (across_wanted * 0.8 + rng.normal(0, spread)) * frame.half_height
        row, column = (round(value) for value in frame.point(depth, across))
        if not (0 <= row < rows and 0 <= column < columns) or breast.pectoral[row, column]:
            continue
        room = min(
            float(breast.skin_distance[row, column]) - 1.1 * size,
            min(row, column, rows - 1 - row, columns - 1 - column) - 1.1 * size,
            *(float(np.hypot(row - r, column - c)) - 1.2 * (size + s) for r, c, s in taken),
        )
        if room > best_room:
            best, best_room = (row, column), room
        if room > 0:
            break
    return best


def _sprinkle(rng: np.random.Generator, breast: Breast, scale: float) -> None:
    """Add up to four bright dots that are no lesions, with the same probability in every breast."""
    rows, columns = np.nonzero(breast.mask)
    height, width = breast.mask.shape
    for _ in range(int(rng.integers(0, 5))):
        at = int(rng.integers(len(rows)))
        row, column = int(rows[at]), int(columns[at])
        radius = rng.uniform(1.0, 3.0) * scale
        reach = int(np.ceil(radius)) + 2
        area = (slice(max(row - reach, 0), row + reach + 1), slice(max(column - reach, 0), column + reach + 1))
        dy, dx = np.ogrid[area[0].start : min(area[0].stop, height), area[1].start : min(area[1].stop, width)]
        shape = sigmoid((radius - np.hypot(dy - row, dx - column)) / 0.45)
        breast.tissue[area] += (rng.uniform(0.15, 0.40) * shape * breast.mask[area]).astype(np.float32)


def _mirror(scene: Scene) -> Scene:
    """Left–right mirror image."""
    last = scene.mask.shape[1] - 1

    def turn(points: np.ndarray) -> np.ndarray:
        return np.stack([points[:, 0], last - points[:, 1]], axis=1)

    def flip(pixels: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(pixels[:, ::-1])

    findings = [
        PlacedFinding(item.finding, flip(item.roi), turn(item.outline), turn(item.spots)) for item in scene.findings
    ]
    return replace(scene, tissue=flip(scene.tissue), mask=flip(scene.mask), findings=findings)


def mixed_density(rng: np.random.Generator) -> int:
    """ACR density 1–4, about as frequent as in both data sets, and independent of the findings."""
    return int(rng.choice([1, 2, 3, 4], p=[0.2, 0.4, 0.27, 0.13]))


def pick_type(rng: np.random.Generator) -> LesionType:
    """Mass or calcification with equal probability."""
    return LesionType.MASS if rng.random() < 0.5 else LesionType.CALCIFICATION
