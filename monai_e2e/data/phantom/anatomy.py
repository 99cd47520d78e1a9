"""Draw a healthy breast as X-rays see it, before a film or a detector turns it into grey values.

Everything is drawn with the chest wall at the left edge; right breasts are mirrored later. Lengths are written for a
mammogram of :data:`NATIVE_ROWS` rows and scaled to the actual number. Textures are drawn at half the resolution: the
difference can't be seen, and a mammogram takes only a tenth of a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import distance_transform_edt, map_coordinates

from monai_e2e.data.records import View

#: Number of rows that all lengths in this package are written for.
NATIVE_ROWS = 768

#: Extent of the gland within the breast, and its brightness, by ACR density 1–4.
_GLAND_EXTENT = {1: 0.50, 2: 0.68, 3: 0.88, 4: 1.08}
_GLAND_BRIGHTNESS = {1: 0.10, 2: 0.17, 3: 0.22, 4: 0.25}


@dataclass(frozen=True)
class Frame:
    """A breast's own coordinates in its image.

    Args:
        nipple: ``(row, column)``.
        axis: unit vector ``(row, column)`` from the nipple towards the chest wall.
        depth: distance from the nipple to the chest wall in pixels.
        half_height: half the breast's extent across the axis, in pixels.
    """

    nipple: tuple[float, float]
    axis: tuple[float, float]
    depth: float
    half_height: float

    def point(self, along: float, across: float) -> tuple[float, float]:
        """``(row, column)`` of the point that is ``along`` pixels from the nipple and ``across`` from the axis."""
        (row, column), (down, right) = self.nipple, self.axis
        return row + down * along + right * across, column + right * along - down * across


@dataclass
class Breast:
    """A breast without lesions, chest wall at the left.

    Args:
        tissue: float32 ``[rows, columns]``, 0 in air, about 0.35 in fat and 0.8 in dense gland.
        mask: bool ``[rows, columns]``, true inside the breast.
        skin_distance: float32 ``[rows, columns]``, distance to the skin in pixels, 0 in air.
        pectoral: bool ``[rows, columns]``, true on the pectoral muscle (MLO only).
        frame: its own coordinates.
    """

    tissue: np.ndarray
    mask: np.ndarray
    skin_distance: np.ndarray
    pectoral: np.ndarray
    frame: Frame


def draw_breast(
    rng: np.random.Generator, rows: int, columns: int, view: View, density: int, edge_falloff: float = 1.0
) -> Breast:
    """Draw outline, fat, gland, strands, vessels, skin and, in MLO views, the pectoral muscle.

    Args:
        rng: source of all randomness.
        rows: height in pixels.
        columns: width in pixels.
        view: CC or MLO.
        density: ACR density 1 (fatty) to 4 (dense).
        edge_falloff: how much the image darkens towards the skin: 1 on film, about 0.4 on digital systems with
            thickness correction.
    """
    scale = rows / NATIVE_ROWS
    width, nipple, half_height = _outline(rng, rows, columns, view)
    column_index = np.arange(columns, dtype=np.float32)
    mask = column_index[None, :] < width[:, None]

    half = (rows // 2, columns // 2)
    distance = distance_transform_edt(np.pad(mask[: half[0] * 2 : 2, : half[1] * 2 : 2], ((0, 0), (1, 0)), mode="edge"))
    distance = np.asarray(distance[:, 1:], dtype=np.float32) * 2

    angle = rng.uniform(0.15, 0.5) if view is View.MLO else rng.uniform(-0.12, 0.12)  # MLO: up to the armpit
    axis = (-float(np.sin(angle)), -float(np.cos(angle)))
    frame = Frame(nipple, axis, nipple[1] / np.cos(angle), half_height)

    texture = _Texture(rng, half, rows, frame)
    tissue = texture.fat() + texture.gland(density)
    pectoral = np.zeros(half, dtype=np.float32)
    if view is View.MLO:
        pectoral = _pectoral(rng, half, width[: rows // 8].mean() / 2)
        muscle = rng.uniform(0.46, 0.68) + 0.02 * texture.mottle + 0.02 * texture.coarse
        tissue = tissue * (1 - pectoral) + np.maximum(muscle, tissue + 0.08) * pectoral

    # The compressed breast has the same thickness everywhere but at its rim, where X-rays pass less tissue.
    rim = rng.uniform(70, 120) * scale
    thickness = np.sqrt(np.clip(1 - (1 - np.clip(distance / rim, 0, 1)) ** 2, 0, 1))
    tissue *= (0.22 + 0.78 * thickness) ** edge_falloff
    tissue += rng.uniform(0.05, 0.09) * np.exp(-(((distance - 3.5 * scale) / (2.5 * scale)) ** 2))

    tissue = _enlarge(tissue, (rows, columns))
    tissue += _vessels(rng, rows, columns, frame)
    return Breast(
        tissue=np.where(mask, np.clip(tissue, 0.02, None), 0).astype(np.float32),
        mask=mask,
        skin_distance=_enlarge(distance, (rows, columns)) * mask,
        pectoral=_enlarge(pectoral, (rows, columns)) > 0.3,
        frame=frame,
    )


def _outline(
    rng: np.random.Generator, rows: int, columns: int, view: View
) -> tuple[np.ndarray, tuple[float, float], float]:
    """The breast's width at each row (float ``[rows]``), the nipple's ``(row, column)``, half the breast's height."""
    row = np.arange(rows, dtype=np.float64)
    depth = rng.uniform(0.52, 0.80) * columns
    if view is View.CC:
        nipple_row = rng.uniform(0.44, 0.56) * rows
        above, below = rng.uniform(0.34, 0.45, 2) * rows
        top = 0.0
        power = (rng.uniform(1.8, 2.3), rng.uniform(1.8, 2.3))
        root = (rng.uniform(0.50, 0.80), rng.uniform(0.50, 0.80))  # 0.5 is an ellipse, more is a pointed breast
    else:
        nipple_row = rng.uniform(0.54, 0.66) * rows
        above = rng.uniform(0.36, 0.50) * rows
        below = min(rng.uniform(0.22, 0.30) * rows, 0.94 * rows - nipple_row)  # the breast sags: short below
        top = rng.uniform(0.42, 0.62) * depth
        power = (rng.uniform(1.9, 2.3), rng.uniform(1.9, 2.4))
        root = (rng.uniform(1.0, 1.6), rng.uniform(0.50, 0.65))
    upper = row < nipple_row
    offset = np.abs(row - nipple_row) / np.where(upper, above, below)
    dome = np.clip(1 - offset ** np.where(upper, power[0], power[1]), 0, None) ** np.where(upper, root[0], root[1])
    width = np.where(upper, top + (depth - top) * dome, depth * dome)
    if view is View.MLO:
        width += np.where(upper, 0.10 * columns * np.clip(0.3 - row / rows, 0, None) / 0.3 * rng.uniform(0, 1), 0)
        fold = rng.uniform(0.0, 0.10) * columns  # abdominal skin under the inframammary fold
        width = np.maximum(width, fold * np.clip((row - nipple_row - 0.97 * below) / (0.08 * rows), 0, 1))
    knots = rng.normal(0, 0.008 * columns, 9)
    wobble = np.interp(row, np.linspace(0, rows, 9), knots)
    width = np.where(width > 0.03 * columns, width + _smooth(wobble, rows // 12), width)
    tip = rng.uniform(0.004, 0.016) * rows
    width += tip * np.exp(-(((row - nipple_row) / (0.017 * rows)) ** 4))
    return width, (nipple_row, depth), (above + below) / 2


def _smooth(values: np.ndarray, length: int) -> np.ndarray:
    """Moving average of a curve, with its end values repeated."""
    padded = np.pad(values, length, mode="edge")
    return np.convolve(padded, np.full(length, 1 / length), mode="same")[length:-length]


def _enlarge(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a float image to ``shape`` bilinearly."""
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.array(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float]) -> np.ndarray:
    """Smooth random noise of at most unit variance, float32 ``[*shape]``; ``cell`` is its grain size in pixels."""
    grid = tuple(int(np.ceil(size / step)) + 2 for size, step in zip(shape, cell, strict=True))
    coarse = Image.fromarray(rng.standard_normal(grid, dtype=np.float32))
    box = (0.5, 0.5, 0.5 + shape[1] / cell[1], 0.5 + shape[0] / cell[0])
    return np.array(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box))


def sigmoid(values: np.ndarray) -> np.ndarray:
    """From 0 to 1, for soft edges."""
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))


class _Texture:
    """Fat and gland at half resolution, in the breast's coordinates: ``along`` its axis (0 nipple, 1 chest wall) and
    ``across`` it (−1 to 1)."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int], rows: int, frame: Frame) -> None:
        self.rng, self.shape = rng, shape
        self.unit = rows / 2 / NATIVE_ROWS  # a native pixel in pixels of this texture
        row = np.arange(shape[0], dtype=np.float32)[:, None] * 2 - frame.nipple[0]
        column = np.arange(shape[1], dtype=np.float32)[None, :] * 2 - frame.nipple[1]
        self.along = (row * frame.axis[0] + column * frame.axis[1]) / frame.depth
        self.across = (row * frame.axis[1] - column * frame.axis[0]) / frame.half_height
        self.coarse = self._fractal((260, 130))
        self.mottle = self._fractal((60, 30, 15, 8, 4))
        self.strands = self._strands(frame.depth / frame.half_height)

    def _fractal(self, cells: tuple[float, ...]) -> np.ndarray:
        """Sum of noise of several grain sizes (native pixels), coarser ones stronger; at most unit variance."""
        weights = np.array(cells, dtype=np.float32) ** 0.45
        weights /= np.sqrt((weights**2).sum())
        layers = [
            weight * noise(self.rng, self.shape, (cell * self.unit, cell * self.unit))
            for weight, cell in zip(weights, cells, strict=True)
        ]
        return np.sum(layers, axis=0)

    def _strands(self, aspect: float) -> np.ndarray:
        """Ducts and Cooper's ligaments: ridges that converge on the nipple, 0 to 1."""
        ahead = self.rng.uniform(0.12, 0.35)  # their lines meet in front of the nipple
        along = (self.along + ahead) * aspect
        across = self.across
        radius = np.hypot(along, across)
        angle = np.arctan2(across, along)
        for cell, bend in ((160, 0.035), (45, 0.010)):  # they wind a little
            angle = angle + bend * noise(self.rng, self.shape, (cell * self.unit, cell * self.unit))
        total = np.zeros(self.shape, dtype=np.float32)
        for spokes, rings, weight in ((22, 6, 0.9), (55, 12, 0.8), (120, 22, 0.7)):
            field = noise(self.rng, (720, 128), (720 / (2 * spokes), 128 / rings))
            where = ((angle / np.pi + 1) * 359.5, np.clip(radius / 2.2, 0, 1) * 127)
            ridge = map_coordinates(field, where, order=1, mode="nearest")
            total += weight * np.clip(1 - np.abs(ridge) / 0.40, 0, None) ** 2
        return np.clip(total / 1.4, 0, 1.3)

    def fat(self) -> np.ndarray:
        """Fat lobules with the strands between them; about 0.35."""
        level = self.rng.uniform(0.31, 0.37)
        strand = self.rng.uniform(0.05, 0.10)
        return level + 0.016 * self.coarse + 0.018 * self.mottle + strand * self.strands

    def gland(self, density: int) -> np.ndarray:
        """Fibroglandular tissue to be added to the fat: a cone behind the nipple, broken into islands."""
        rng = self.rng
        extent = _GLAND_EXTENT[density] * rng.uniform(0.9, 1.1)
        centre = (rng.uniform(0.36, 0.46), rng.uniform(-0.15, 0.15))
        ellipse = np.hypot((self.along - centre[0]) / (0.52 * extent), (self.across - centre[1]) / (0.62 * extent))
        region = sigmoid((1 - ellipse + 0.22 * self.coarse + 0.05 * self.mottle) / 0.12)
        islands = sigmoid((self._fractal((110, 55, 28)) + (density - 2.2) * 0.55 + 0.8 * self.strands) / 0.35)
        body = 0.52 + 0.34 * self.strands + 0.18 * self.mottle + 0.12 * self.coarse
        brightness = _GLAND_BRIGHTNESS[density] * rng.uniform(0.9, 1.15)
        # A few soft lumps of normal tissue, as large as masses: not every lump is a lesion.
        lumps = sigmoid((noise(rng, self.shape, (46 * self.unit, 46 * self.unit)) - 1.4) / 0.15)
        return region * islands * body * 1.35 * brightness + 0.09 * lumps * sigmoid((1.25 - ellipse) / 0.1)


def _pectoral(rng: np.random.Generator, shape: tuple[int, int], armpit: float) -> np.ndarray:
    """Weight 0–1 of the pectoral muscle, a triangle in the upper corner at the chest wall, float32 ``shape``."""
    top = rng.uniform(0.62, 0.88) * armpit
    bottom = rng.uniform(0.45, 0.72) * shape[0]
    row = np.arange(shape[0], dtype=np.float32)[:, None] / bottom
    bulge = rng.uniform(0.0, 0.14) * np.sin(np.pi * np.clip(row, 0, 1))
    edge = top * (1 - row + bulge)
    softness = rng.uniform(1.5, 4.0) * shape[0] / NATIVE_ROWS * 2
    return sigmoid((edge - np.arange(shape[1], dtype=np.float32)[None, :]) / softness)


def _vessels(rng: np.random.Generator, rows: int, columns: int, frame: Frame) -> np.ndarray:
    """Vessels and ducts as thin winding lines, float32 ``[rows, columns]``, 0 to about 0.1."""
    scale = rows / NATIVE_ROWS
    canvas = Image.new("L", (columns, rows))
    pen = ImageDraw.Draw(canvas)
    nipple, outward = frame.nipple, np.arctan2(*frame.axis)

    def walk(start: tuple[float, float], heading: float, steps: int, width: float, level: float) -> None:
        step = 9 * scale
        turns = np.cumsum(rng.normal(0, 0.10, steps)) * 0.6 + rng.normal(0, 0.16, steps)
        directions = heading + turns
        path_row = start[0] + np.cumsum(np.sin(directions)) * step
        path_column = start[1] + np.cumsum(np.cos(directions)) * step
        points = list(zip(path_column.tolist(), path_row.tolist(), strict=True))
        pen.line(points, fill=int(level), width=max(1, round(width * scale)), joint="curve")
        if steps > 14 and rng.random() < 0.6:  # a branch
            at = int(rng.integers(steps // 4, steps // 2))
            side = float(rng.choice([-0.6, 0.6]))
            walk((path_row[at], path_column[at]), directions[at] + side, steps // 2, width * 0.7, level * 0.8)

    for _ in range(int(rng.integers(5, 10))):  # ducts start at the nipple
        walk(nipple, outward + rng.normal(0, 0.5), int(rng.integers(12, 30)), rng.uniform(1, 2.5), rng.uniform(50, 110))
    for _ in range(int(rng.integers(4, 9))):  # vessels start anywhere and run towards the nipple
        start = frame.point(along=rng.uniform(0.5, 1.0) * frame.depth, across=rng.uniform(-0.38, 0.38) * rows)
        towards = np.arctan2(nipple[0] - start[0], nipple[1] - start[1]) + rng.normal(0, 0.35)
        walk(start, towards, int(rng.integers(18, 45)), rng.uniform(1, 3.4), rng.uniform(80, 200))
    blurred = canvas.filter(ImageFilter.GaussianBlur(0.9 * scale))
    return np.asarray(blurred, dtype=np.float32) * np.float32(0.12 / 255)
