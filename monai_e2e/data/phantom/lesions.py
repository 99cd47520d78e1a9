"""Draw benign and malignant masses and calcifications, and outline them as a radiologist does.

Benign and malignant lesions differ in shape (paper §3.1.1 has the four classes). A benign mass is round or oval with a
smooth margin, a malignant one irregular and spiculated; both have the same range of sizes and brightness. Benign
calcifications are few, coarse and scattered over a wide area. Malignant ones are many, fine, of all shapes, and in a
cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from monai_e2e.data.phantom.anatomy import sigmoid
from monai_e2e.data.records import LesionType, Pathology

_ANGLES = np.linspace(0, 2 * np.pi, 72, endpoint=False)


@dataclass(frozen=True)
class Finding:
    """A lesion of a breast, the same in both views.

    Args:
        type: mass or calcification.
        pathology: benign or malignant.
        radius: radius of the mass, or of the area with the calcifications, in native pixels.
        contrast: brightness added to the tissue (mean over a mass, peak of a calcification).
        depth: position between nipple (0) and chest wall (1), the same in both views.
        across: position across the breast's axis (−1 to 1) in CC and MLO.
    """

    type: LesionType
    pathology: Pathology
    radius: float
    contrast: float
    depth: float
    across: tuple[float, float]


@dataclass
class Drawing:
    """A drawn lesion, centred in a square patch of odd size ``n``.

    Args:
        added: float32 ``[n, n]``, to be added to the tissue.
        roi: bool ``[n, n]``, the annotated region, filled.
        outline: float ``[k, 2]``, the region's border as ``(row, column)`` relative to the patch's centre.
        spots: float ``[m, 2]``, the single calcifications in the same coordinates; none for a mass.
    """

    added: np.ndarray
    roi: np.ndarray
    outline: np.ndarray
    spots: np.ndarray


def random_finding(rng: np.random.Generator, type: LesionType, pathology: Pathology, contrast: float = 1.0) -> Finding:
    """A lesion of random size, brightness and position; ``contrast`` below 1 makes it subtle."""
    if type is LesionType.MASS:
        radius, brightness = rng.uniform(12, 27), rng.uniform(0.16, 0.26)
    else:
        wide = pathology is Pathology.BENIGN
        radius, brightness = rng.uniform(30, 55) if wide else rng.uniform(15, 30), rng.uniform(0.32, 0.52)
    across = rng.uniform(-0.62, 0.62, 2)
    return Finding(
        type=type,
        pathology=pathology,
        radius=float(radius),
        contrast=float(brightness * contrast),
        depth=float(rng.uniform(0.22, 0.72)),
        across=(float(across[0]), float(across[1])),
    )


def draw_lesion(rng: np.random.Generator, finding: Finding, scale: float) -> Drawing:
    """Draw one view of a finding; ``scale`` turns native pixels into pixels of the image."""
    if finding.type is LesionType.MASS:
        return _draw_mass(rng, finding, scale)
    return _draw_calcifications(rng, finding, scale)


def _draw_mass(rng: np.random.Generator, finding: Finding, scale: float) -> Drawing:
    malignant = finding.pathology is Pathology.MALIGNANT
    border = _mass_border(rng, malignant) * finding.radius * scale
    n = 2 * int(np.ceil(finding.radius * scale * 2.9)) + 1
    distance, angle = _polar(n)
    radius = np.interp(angle, _ANGLES, border, period=2 * np.pi)
    softness = max(0.5, rng.uniform(1.0, 2.6) * scale)
    body = sigmoid((radius - distance) / softness)
    body *= 0.75 + 0.25 * np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1))
    if malignant:
        body = np.maximum(body, _spicules(rng, n, border, scale))
    outline = _to_points(border * 1.06)  # annotators draw a little outside
    roi = _fill(outline, n)
    body *= finding.contrast / max(float(body[roi].mean()), 1e-3)  # the same brightness whatever the shape
    return Drawing(body.astype(np.float32), roi, outline, np.empty((0, 2)))


def _mass_border(rng: np.random.Generator, malignant: bool) -> np.ndarray:
    """Oval or ragged border, as radii at :data:`_ANGLES`, with the area of a unit circle."""
    turned = _ANGLES - rng.uniform(0, 2 * np.pi)
    stretch = rng.uniform(1.0, 1.4)
    border = 1 / np.hypot(np.cos(turned) / np.sqrt(stretch), np.sin(turned) * np.sqrt(stretch))
    waves, roughness = (range(3, 10), rng.uniform(0.08, 0.17)) if malignant else (range(2, 5), rng.uniform(0.0, 0.06))
    phases = rng.uniform(0, 2 * np.pi, len(waves))
    amplitudes = rng.normal(0, roughness / np.sqrt(len(waves) / 2), len(waves))
    ripple = sum(
        amplitude * np.cos(wave * turned + phase)
        for wave, phase, amplitude in zip(waves, phases, amplitudes, strict=True)
    )
    border = np.clip(border * (1 + ripple), 0.45, 1.8)
    return border / np.sqrt(np.mean(border**2))


def _spicules(rng: np.random.Generator, n: int, border: np.ndarray, scale: float) -> np.ndarray:
    """Tapered rays from inside the mass to beyond it, float32 ``[n, n]``, 0 to about 0.8."""
    fine = 3  # drawn three times as large, then averaged, for smooth edges
    canvas = Image.new("L", (n * fine, n * fine))
    pen = ImageDraw.Draw(canvas)
    centre = n * fine / 2
    count = int(rng.integers(8, 17))
    angles = (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * 2 * np.pi / count
    for angle in angles:
        root = np.interp(angle, _ANGLES, border, period=2 * np.pi)
        reach = root * rng.uniform(1.4, 2.4)
        half_width = max(0.6, rng.uniform(0.9, 1.6) * scale)
        bend = rng.normal(0, 0.10)
        base = (centre + 0.6 * root * fine * np.cos(angle), centre + 0.6 * root * fine * np.sin(angle))
        side = (-np.sin(angle) * half_width * fine, np.cos(angle) * half_width * fine)
        tip = (centre + reach * fine * np.cos(angle + bend), centre + reach * fine * np.sin(angle + bend))
        corners = [
            (base[0] + side[0], base[1] + side[1]),
            (tip[0] + side[0] / 3, tip[1] + side[1] / 3),
            (tip[0] - side[0] / 3, tip[1] - side[1] / 3),
            (base[0] - side[0], base[1] - side[1]),
        ]
        pen.polygon(corners, fill=int(rng.uniform(100, 190)))
    return np.asarray(canvas.reduce(fine), dtype=np.float32) / 255


def _draw_calcifications(rng: np.random.Generator, finding: Finding, scale: float) -> Drawing:
    malignant = finding.pathology is Pathology.MALIGNANT
    reach = finding.radius * scale
    margin = 6 * scale
    n = 2 * int(np.ceil((reach + margin) * 1.3)) + 3
    if malignant:
        count, sizes, aspects = int(rng.integers(12, 31)), (1.0, 2.2), (1.0, 2.2)
        turn, flatness = rng.uniform(0, np.pi), rng.uniform(0.55, 1.0)
        offsets = rng.normal(0, 0.42, (count, 2)) * (1, flatness)
        offsets = offsets @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    else:
        count, sizes, aspects = int(rng.integers(3, 8)), (2.5, 5.0), (1.0, 1.25)
        around = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * 2 * np.pi / count + rng.uniform(0, 2 * np.pi)
        offsets = np.stack([np.sin(around), np.cos(around)], axis=1) * rng.uniform(0.35, 1.0, (count, 1))
    length = np.linalg.norm(offsets, axis=1, keepdims=True)
    spots = offsets / np.maximum(length, 1) * reach

    added = np.zeros((n, n), dtype=np.float32)
    row, column = np.mgrid[:n, :n].astype(np.float32) - n // 2
    for spot in spots:
        radius = max(0.55, rng.uniform(*sizes) * scale)
        aspect, turn = rng.uniform(*aspects), rng.uniform(0, np.pi)
        brightness = rng.uniform(0.35, 1.0) if malignant else rng.uniform(0.7, 1.0)
        hollow = not malignant and rng.random() < 0.3  # lucent centre, a benign sign
        near = (np.abs(row - spot[0]) < 4 * radius + 2) & (np.abs(column - spot[1]) < 4 * radius + 2)
        dy, dx = row[near] - spot[0], column[near] - spot[1]
        along = (dx * np.cos(turn) + dy * np.sin(turn)) / np.sqrt(aspect)
        across = (dy * np.cos(turn) - dx * np.sin(turn)) * np.sqrt(aspect)
        distance = np.hypot(along, across)
        shape = sigmoid((radius - distance) / max(0.3, 0.45 * scale))
        if hollow:
            shape *= 1 - 0.6 * np.exp(-((distance / (0.55 * radius)) ** 2))
        added[near] = np.maximum(added[near], finding.contrast * brightness * shape)

    # The region is the convex hull of the spots with a margin, as radiologists draw it around a cluster.
    directions = np.stack([np.sin(_ANGLES), np.cos(_ANGLES)], axis=1)
    border = np.clip((directions @ spots.T).max(axis=1), 0, None) + margin
    outline = _to_points(border)
    return Drawing(added, _fill(outline, n), outline, spots)


def _polar(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's distance from the patch's centre and its angle (0 towards higher columns), both ``[n, n]``."""
    row, column = np.mgrid[:n, :n] - n // 2
    return np.hypot(row, column), np.arctan2(row, column)


def _to_points(border: np.ndarray) -> np.ndarray:
    """Radii at :data:`_ANGLES` as ``(row, column)`` points relative to the centre."""
    return np.stack([border * np.sin(_ANGLES), border * np.cos(_ANGLES)], axis=1)


def _fill(outline: np.ndarray, n: int) -> np.ndarray:
    """Filled polygon as bool ``[n, n]``."""
    canvas = Image.new("1", (n, n))
    points = [(float(column) + n // 2, float(row) + n // 2) for row, column in outline]
    ImageDraw.Draw(canvas).polygon(points, fill=1, outline=1)
    return np.array(canvas)
