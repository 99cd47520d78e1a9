"""Features of heatmaps: number and area of the regions above several cut-offs, and measures of the largest one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from monai_e2e.data import PATCH_CLASSES
from monai_e2e.errors import UserError
from monai_e2e.predict.engines import Engine
from monai_e2e.predict.heatmaps import make_heatmap
from monai_e2e.predict.models import Model

#: Probabilities at which heatmaps are cut by default.
CUTOFFS = (0.3, 0.5, 0.7, 0.9)
#: What is measured: each lesion class, and benign and malignant lesions of both types → the classes that are summed.
MAPS: Mapping[str, tuple[int, ...]] = {
    **{name: (index,) for index, name in enumerate(PATCH_CLASSES) if index > 0},
    **{
        group: tuple(index for index, name in enumerate(PATCH_CLASSES) if name.endswith(f"-{group}"))
        for group in ("benign", "malignant")
    },
}
_NEIGHBORS = np.ones((3, 3))  # positions that touch only at a corner belong together


def heatmap_features(probabilities: np.ndarray, cutoffs: Sequence[float] = CUTOFFS) -> dict[str, float]:
    """Features of one image's heatmap.

    Args:
        probabilities: ``[classes, h, w]``, in the order of :data:`~monai_e2e.data.PATCH_CLASSES`, 0–1.
        cutoffs: probabilities at which the maps are cut.

    Returns:
        For each map of :data:`MAPS`, such as ``malignant``: its ``malignant max`` and ``malignant mean``, and for each
        cut-off, such as 0.5, ``malignant>=0.5 regions`` (how many), ``… area`` (of all), and of the largest region
        ``… largest area``, ``… largest mean`` and ``… largest max`` (probability), ``… largest major axis``,
        ``… largest minor axis`` and ``… largest eccentricity`` (of the ellipse with the same second moments),
        ``… largest extent`` (share of its bounding box). Lengths and areas are in positions of the heatmap. Without
        a region all are 0.
    """
    features: dict[str, float] = {}
    for name, classes in MAPS.items():
        heatmap = probabilities[list(classes)].sum(axis=0, dtype=np.float64)
        features |= {f"{name} max": float(heatmap.max()), f"{name} mean": float(heatmap.mean())}
        for cutoff in cutoffs:
            features |= {f"{name}>={cutoff} {key}": value for key, value in _regions(heatmap, cutoff).items()}
    return features


def _regions(heatmap: np.ndarray, cutoff: float) -> dict[str, float]:
    """Number and area of the regions above a cut-off, and measures of the largest."""
    labels, count = ndimage.label(heatmap >= cutoff, _NEIGHBORS)
    areas, sums = (np.bincount(labels.ravel(), weights)[1:] for weights in (None, heatmap.ravel()))
    # Of two with the same area the one with higher probabilities, so that flipped images have the same features.
    largest = max(range(count), key=lambda index: (areas[index], sums[index]), default=-1) + 1
    region = (labels == largest) & (labels > 0)
    return {"regions": float(count), "area": float(areas.sum()), **_measures(heatmap, region)}


def _measures(heatmap: np.ndarray, region: np.ndarray) -> dict[str, float]:
    """Measures of one region; all are 0 if it is empty."""
    names = ("area", "mean", "max", "major axis", "minor axis", "eccentricity", "extent")
    places = np.argwhere(region)
    if len(places) == 0:
        return {f"largest {name}": 0.0 for name in names}
    # Positions are squares, not points: that adds 1/12 to each variance, so a single position has an axis too.
    variances = np.cov(places.T, bias=True).reshape(2, 2) + np.eye(2) / 12
    minor, major = np.linalg.eigvalsh(variances)
    inside = heatmap[region]
    values = (
        len(places),
        inside.mean(),
        inside.max(),
        4 * np.sqrt(major),
        4 * np.sqrt(minor),
        np.sqrt(max(0.0, 1 - minor / major)),
        len(places) / np.prod(np.ptp(places, axis=0) + 1),
    )
    return {f"largest {name}": float(value) for name, value in zip(names, values, strict=True)}


def image_features(
    model: Model, samples: Sequence[Mapping[str, Any]], engine: Engine, cutoffs: Sequence[float] = CUTOFFS
) -> Iterator[dict[str, float]]:
    """Features of each image's heatmap, with one image in memory at a time.

    They are rounded to six decimals, as in ``features.csv``, so that a forest that is fitted to the file is the same.

    Args:
        model: a patch classifier.
        samples: dicts with ``image``, the image's path.
        engine: computes the model's network.
        cutoffs: see :func:`heatmap_features`.

    Raises:
        UserError: when the model isn't a patch classifier of the five classes, or a probability is not finite.
    """
    for sample in samples:
        image = np.asarray(model.preprocessing({"image": sample["image"]})["image"])
        probabilities = make_heatmap(model, image, engine).probabilities
        if not np.isfinite(probabilities).all():
            raise UserError(
                f"{sample['image']}: {model.name} gives no finite probability; train the patch classifier again"
            )
        features = heatmap_features(probabilities, cutoffs)
        yield {name: round(value, 6) for name, value in features.items()}
