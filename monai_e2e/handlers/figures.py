"""Figures for TensorBoard: training images, confusion matrix, where a network looks."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional as F

#: Colour of malignant (True) and benign (False) lesions and images.
COLOURS = {True: "red", False: "limegreen"}
_MAX_BYTES = 200_000
_DPI = 130
#: Width of an image: small, so that titles stay legible in TensorBoard's cards, a quarter of a screen wide.
_INCHES = 1.45
#: Axes lay out their ticks even when they are off, which takes half the time of a picture.
_NO_TICKS: dict[str, Any] = {"xticks": [], "yticks": []}
#: Images are reduced to at most this many rows, as the picture shows no more.
_ROWS = 400


def draw_images(images: Sequence[tuple[np.ndarray, str, str]]) -> Figure:
    """A grid of grey images ``[H, W]`` of 0–255, each with its class, coloured, and its name above."""
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    aspect = images[0][0].shape[0] / images[0][0].shape[1]
    figure = Figure(figsize=(_INCHES * columns, (_INCHES * aspect + 0.4) * rows), layout="constrained")
    for index, (image, label, name) in enumerate(images, start=1):
        axes = figure.add_subplot(rows, columns, index, **_NO_TICKS)
        axes.imshow(thumbnail(image), cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{label}\n", fontsize=8, fontweight="bold", color=_colour(label))
        axes.text(0.5, 1.02, name, fontsize=5.5, color="0.35", ha="center", va="bottom", transform=axes.transAxes)
        axes.set_axis_off()
    return figure


def _colour(label: str) -> str:
    if "benign" in label or label == "not malignant":
        return COLOURS[False]
    return COLOURS[True] if "malignant" in label else "black"


def draw_confusion(score: Mapping[str, Any]) -> Figure:
    """The confusion matrix of :func:`~monai_e2e.metrics.score_classes`; shades are shares of the true class."""
    counts = np.array(score["confusion"])
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    size = 1.9 + 0.62 * len(counts)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.5 else "black"
        text = f"{count}\n{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    ticks = range(len(counts))
    axes.set_xticks(ticks, score["classes"], rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, score["classes"])
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {score['accuracy']:.3f} of {score['n']}")
    return figure


@dataclass(frozen=True)
class MappedImage:
    """A mammogram with the network's map and score, and its true class and lesions.

    Args:
        image: ``[H, W]``, 0–255.
        heat: map ``[h, w]``, 0 or more.
        lesions: for each annotated lesion its mask ``[H, W]``, and whether it is malignant.
        title: text above the image, such as the network's score.
        truth: name of the true class.
        malignant: whether the true class is the positive one.
    """

    image: np.ndarray
    heat: np.ndarray
    lesions: Sequence[tuple[np.ndarray, bool]]
    title: str
    truth: str
    malignant: bool


def draw_maps(images: Sequence[MappedImage]) -> Figure:
    """Two rows: mammograms with outlined lesions, and the same with their maps, bright where most speaks for the
    positive class. Red is malignant, green benign.
    """
    aspect = images[0].image.shape[0] / images[0].image.shape[1]
    figure = Figure(figsize=(_INCHES * len(images), 2 * _INCHES * aspect + 0.7), layout="constrained")
    grid = figure.subplots(2, len(images), squeeze=False, subplot_kw=_NO_TICKS)
    for column, one in enumerate(images):
        image = thumbnail(one.image)
        scaled = torch.as_tensor(one.heat / max(float(one.heat.max()), 1e-12))[None, None]
        share = F.interpolate(scaled, image.shape, mode="bilinear")[0, 0].numpy()
        for axes in grid[:, column]:
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
            for mask, malignant in one.lesions:
                axes.contour(thumbnail(mask), levels=[0.5], colors=COLOURS[malignant], linewidths=0.7)
        grid[1, column].imshow(share, cmap="inferno", vmin=0, vmax=1, alpha=0.6 * np.clip(2 * share, 0, 1))
        grid[0, column].set_title(one.title, fontsize=7)
        grid[1, column].set_title(one.truth, fontsize=7, fontweight="bold", color=COLOURS[one.malignant])
    figure.supxlabel("below: the truth; Grad-CAM, scaled to each image's own maximum", fontsize=7)
    return figure


def as_pixels(figure: Figure) -> np.ndarray:
    """The figure as pixels ``[H, W, 3]``, at a lower resolution if its PNG would be too large; clears the figure."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(_DPI)
    while True:
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, format="PNG")
        if png.tell() <= _MAX_BYTES:
            figure.clear()
            return pixels
        figure.set_dpi(figure.get_dpi() * 0.94 * min(0.96, (_MAX_BYTES / png.tell()) ** 0.5))


def thumbnail(image: np.ndarray) -> np.ndarray:
    """An image ``[H, W]`` reduced to at most :data:`_ROWS` rows by averaging, float32."""
    step = -(-image.shape[0] // _ROWS)
    return F.avg_pool2d(torch.as_tensor(image, dtype=torch.float32)[None], step)[0].numpy()
