"""Turn tissue into grey values: of a scanned film (CBIS-DDSM), or of a digital detector (INbreast; paper, Appendix 3).

The phantoms of both data sets have the same anatomy and different grey values. So the transfer between them (paper
§3.2) has something to learn.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from monai_e2e.data.phantom.anatomy import NATIVE_ROWS, noise
from monai_e2e.data.phantom.scene import Scene
from monai_e2e.data.records import Laterality

#: Letters as strokes in a box 1 wide and 1.4 high, with points (x, y) from the upper left.
_STROKES = {
    "L": [[(0, 0), (0, 1.4), (0.9, 1.4)]],
    "R": [[(0, 1.4), (0, 0), (0.6, 0), (0.9, 0.2), (0.9, 0.5), (0.6, 0.7), (0, 0.7)], [(0.5, 0.7), (0.95, 1.4)]],
    "C": [[(0.95, 0.3), (0.7, 0), (0.3, 0), (0, 0.35), (0, 1.05), (0.3, 1.4), (0.7, 1.4), (0.95, 1.1)]],
    "M": [[(0, 1.4), (0, 0), (0.5, 0.8), (1, 0), (1, 1.4)]],
    "O": [[(0.3, 0), (0.7, 0), (1, 0.35), (1, 1.05), (0.7, 1.4), (0.3, 1.4), (0, 1.05), (0, 0.35), (0.3, 0)]],
}


def expose_film(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """A scanned film with grain, dust, a lead marker and bright borders; uint16 ``[rows, columns]``, full range."""
    rows, columns = scene.tissue.shape
    exposure, contrast = rng.uniform(0.92, 1.08), rng.uniform(0.95, 1.25)
    grey = 0.55 * exposure * (scene.tissue / 0.5) ** contrast
    grey = _shoulder(grey)
    unevenness = 0.025 * noise(rng, (rows, columns), (rows / 2.5, rows / 2.5))
    grain = rng.standard_normal((rows, columns), dtype=np.float32)
    grey += scene.mask * (unevenness + 0.009 * grain) + 0.002 * grain
    for _ in range(int(rng.integers(0, 4))):  # dust on the film
        grey[int(rng.integers(rows)), int(rng.integers(columns))] = rng.uniform(0.5, 1)
    grey = np.maximum(grey, _marker(rng, scene))
    grey = np.maximum(grey, _border(rng, scene))
    return np.round(np.clip(grey, 0, 1) * 65535).astype(np.uint16)


def _shoulder(grey: np.ndarray) -> np.ndarray:
    """The upper end of the characteristic curve, where grey values approach 1 ever more slowly."""
    return np.where(grey > 0.75, 0.75 + 0.25 * np.tanh((grey - 0.75) / 0.25), grey)


def _border(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """White strips at one to three sides, where the scanner sees no film; float32 ``[rows, columns]``, 0 or ~0.97."""
    rows, columns = scene.mask.shape
    scale = rows / NATIVE_ROWS
    thickness = np.where(rng.random(3) < (0.75, 0.35, 0.35), rng.uniform(2, 9, 3) * scale, -60 * scale)
    if (thickness < 0).all():
        thickness[0] = 4 * scale
    far, top, bottom = thickness.tolist()
    canvas = Image.new("L", (columns, rows), 255)
    pen = ImageDraw.Draw(canvas)
    # At a side without a strip, the rectangle and its round corners extend beyond the picture.
    area = (-60 * scale, top, columns - 1 - far, rows - 1 - bottom)
    pen.rounded_rectangle(area, radius=rng.uniform(14, 34) * scale, fill=0)
    for _ in range(int(rng.integers(0, 4))):  # notches of the cassette, at the far side
        row, size = rng.uniform(0.1, 0.9) * rows, rng.uniform(3, 8) * scale
        pen.ellipse((columns - 1 - far - size / 2, row - size, columns - far + size / 2, row + size), fill=255)
    strip = np.asarray(canvas, dtype=np.float32) / 255
    if scene.laterality is Laterality.RIGHT:
        strip = strip[:, ::-1]
    return strip * np.float32(rng.uniform(0.96, 1.0))


def _marker(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Lead letters for side and view in the air at the upper outer corner; float32 ``[rows, columns]``, else 0."""
    rows, columns = scene.mask.shape
    scale = rows / NATIVE_ROWS
    canvas = Image.new("L", (columns, rows))
    pen = ImageDraw.Draw(canvas)
    turn, brightness = rng.uniform(-0.9, 0.3), int(rng.uniform(140, 256))
    size = rng.uniform(11, 15) * scale
    column = rng.uniform(0.80, 0.86) * columns
    if scene.laterality is Laterality.RIGHT:
        column = columns - 1 - column
    corner = np.array([column, rng.uniform(0.06, 0.14) * rows])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    across = 0.0
    for place, letter in enumerate(scene.laterality.value[0] + scene.view.value):
        height = size * (1.5 if place == 0 else 0.8)  # a large side letter, then the view in small ones
        for stroke in _STROKES[letter]:
            points = (np.array(stroke, dtype=float) * height + (across, 0)) - (2.2 * size, 0)
            turned = points @ rotation.T + corner
            line = [(float(x), float(y)) for x, y in turned]
            pen.line(line, fill=brightness, width=max(1, round((3.4 if place == 0 else 2.2) * scale)))
        across += height * 1.45
    marker = np.asarray(canvas, dtype=np.float32) / 255
    return np.where(scene.mask, 0, marker)


def expose_detector(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """A digital image for presentation; uint16 ``[rows, columns]`` of 14 bits.

    Air is black, fat dark, dense tissue has strong contrast, and there is almost no noise.
    """
    tissue = scene.tissue
    gamma = rng.uniform(1.1, 1.3)
    grey = 0.52 * rng.uniform(0.95, 1.05) * np.clip(tissue / 0.56, 0, None) ** gamma
    grey = _shoulder(grey)
    grey += 0.006 * rng.standard_normal(tissue.shape, dtype=np.float32)
    grey = np.where(scene.mask, np.clip(grey, 0.004, 1), 0)
    # The detector's last column at the chest wall is saturated in every image. Without it a network could tell
    # calcifications by the image's highest value, where images are scaled by it.
    grey[:, -1 if scene.laterality is Laterality.RIGHT else 0] = 1
    return np.round(grey * 16383).astype(np.uint16)
