"""Outlines of lesions in the form of OsiriX exports, for INbreast phantoms."""

from __future__ import annotations

import numpy as np

from monai_e2e.data.phantom.scene import PlacedFinding, Scene
from monai_e2e.data.records import LesionType, Pathology


def outlines_of(rng: np.random.Generator, scene: Scene, spacing: float) -> list[dict]:
    """All findings of an image as OsiriX's regions; ``spacing`` is the pixel spacing in mm."""
    rois: list[dict] = []

    def add(name: str, points: np.ndarray) -> None:
        rois.append(describe_roi(name, points, len(rois), spacing))

    for placed in scene.findings:
        malignant = placed.finding.pathology is Pathology.MALIGNANT
        if placed.finding.type is LesionType.MASS:
            add("Mass", placed.outline)
            if malignant and rng.random() < 0.4:
                add("Spiculated Region", _widened(placed, 1.5, scene.mask.shape))
            continue
        if malignant:
            add("Cluster", placed.outline)
        # As in the real files, a single calcification is one point or a tiny polygon.
        for spot in placed.spots:
            ring = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]]) * scene.mask.shape[0] / 256
            points = spot + ring if not malignant and rng.random() < 0.5 else spot[None]
            add("Calcification", points)
    return rois


def _widened(placed: PlacedFinding, factor: float, shape: tuple[int, ...]) -> np.ndarray:
    centre = placed.outline.mean(axis=0)
    return np.clip(centre + (placed.outline - centre) * factor, 0, np.array(shape) - 1)


def describe_roi(name: str, points: np.ndarray, index: int, spacing: float) -> dict:
    """One region as OsiriX exports it.

    Args:
        name: kind of finding.
        points: ``[n, 2]``, ``(row, column)`` in pixels; they are written as ``(x, y)``.
        index: number of the region in its image.
        spacing: pixel spacing in mm.
    """
    row, column = points[:, 0], points[:, 1]
    pixels = float(abs(np.dot(column, np.roll(row, 1)) - np.dot(row, np.roll(column, 1))) / 2)
    area = pixels * spacing**2 / 100  # cm²
    centre = points.mean(axis=0)
    return {
        "Area": area,
        "Center": f"({centre[1] * spacing:.6f}, {centre[0] * spacing:.6f}, 0.000000)",
        "Dev": 0.0,
        "IndexInImage": index,
        "Max": 0.0,
        "Mean": 0.0,
        "Min": 0.0,
        "Name": name,
        "NumberOfPoints": len(points),
        "Point_mm": [f"({x * spacing:.6f}, {y * spacing:.6f}, 0.000000)" for y, x in points],
        "Point_px": [f"({x:.6f}, {y:.6f})" for y, x in points],
        "Total": 0.0,
        "Type": 19 if len(points) == 1 else 15,  # OsiriX: 19 a point, 15 a pencil line
    }
