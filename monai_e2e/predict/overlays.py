"""Pictures of results: the image, where the patch classifier finds something malignant, its five maps, the score.

Drawn by NumPy and Pillow, a tenth of the time that a plotting library takes for pictures of this size, and pixel by
pixel: the image is shown at the size that it has here, not at that of a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from monai_e2e import NOTICE
from monai_e2e.data.records import PATCH_CLASSES
from monai_e2e.predict.heatmaps import Heatmap

#: Rows of the image in a picture: those of the paper's images.
PICTURE_ROWS = 1152
_OUTLINE = np.array([90, 230, 255], dtype=np.uint8)
_BACKGROUND, _TEXT, _FAINT = (16, 16, 18), (240, 240, 240), (165, 165, 170)
#: The colour of a probability of 1 covers this much of the image.
_OPACITY = 0.55
_MARGIN, _HEADER, _FOOTER, _LABEL = 24, 116, 52, 30
#: Width of the scale of colours with its words.
_SCALE = 320
_LINE = 2
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def draw_mammogram(image: np.ndarray, heatmap: Heatmap | None = None, masks: Sequence[np.ndarray] = ()) -> np.ndarray:
    """The image alone, with the probability of malignancy in colour and outlines of annotated lesions.

    Args:
        image: uint8 ``[rows, columns]``.
        heatmap: None for no colour.
        masks: bool ``[rows, columns]`` each.

    Returns:
        uint8 ``[rows, columns, 3]``.
    """
    picture = np.repeat(image[..., None], 3, axis=2)
    if heatmap is not None:
        picture = _tint(image, heatmap.enlarge(heatmap.malignant, image.shape))
    for mask in masks:
        widened = cv2.dilate(mask.astype(np.uint8), _CROSS, iterations=_LINE).astype(bool)
        picture[widened & ~mask] = _OUTLINE
    return picture


def draw_overlay(
    image: np.ndarray,
    prediction: Mapping[str, Any],
    heatmap: Heatmap | None = None,
    masks: Sequence[np.ndarray] = (),
    heatmap_model: str = "",
) -> np.ndarray:
    """The picture for people: the image, the same under the map of malignancy, the five classes' maps, score and note.

    Args:
        image: uint8 ``[rows, columns]``, see :data:`PICTURE_ROWS`.
        prediction: the image's row of predictions.csv.
        heatmap: None: the image and the score alone.
        masks: bool ``[rows, columns]`` of each annotated lesion.
        heatmap_model: name of the network that made the heatmap.

    Returns:
        uint8 ``[height, width, 3]``.
    """
    rows, columns = image.shape
    panels = [("Image" + (", annotated lesions outlined" if masks else ""), draw_mammogram(image, None, masks))]
    if heatmap is not None:
        panels.append(("Malignant lesion, probability of each window", draw_mammogram(image, heatmap, masks)))
    thumbnails = [] if heatmap is None else _thumbnails(image, heatmap)
    width = _MARGIN + sum(max(columns, 420) + _MARGIN for _ in panels)
    if thumbnails:
        width += max(300, thumbnails[0][1].shape[1]) + _MARGIN
    canvas = Image.new("RGB", (width, _HEADER + _LABEL + rows + _FOOTER), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    _write(draw, (_MARGIN, 16), str(prediction["image"]), 30, width - 2 * _MARGIN)
    _write(draw, (_MARGIN, 62), _summary(prediction), 26, width - 2 * _MARGIN)
    left = _MARGIN
    for title, panel in panels:
        _write(draw, (left, _HEADER - 4), title, 20, columns, _FAINT)
        canvas.paste(Image.fromarray(panel), (left, _HEADER + _LABEL))
        left += max(columns, 420) + _MARGIN
    pitch = rows // max(len(thumbnails), 1)
    for index, (title, panel) in enumerate(thumbnails):
        top = _HEADER + index * pitch
        _write(draw, (left, top - 4), title, 18, width - left - _MARGIN, _FAINT)
        canvas.paste(Image.fromarray(panel), (left, top + _LABEL))
    bottom = canvas.height - _FOOTER + 14
    networks = f"Score: {prediction['model']}" + (f". Heatmap: {heatmap_model}" if heatmap_model else "")
    _write(draw, (_MARGIN, bottom), f"{NOTICE} {networks}", 20, width - 2 * _MARGIN - _SCALE, _FAINT)
    if heatmap is not None:
        _draw_scale(canvas, draw, width - _MARGIN - _SCALE, bottom + 2)
    return np.asarray(canvas)


def draw_capture(
    image: np.ndarray, prediction: Mapping[str, Any], heatmap: Heatmap | None = None, masks: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """The picture for a PACS: the whole image alone, with the score and the note in its lowest rows."""
    canvas = Image.fromarray(draw_mammogram(image, heatmap, masks))
    draw = ImageDraw.Draw(canvas)
    size = max(12, canvas.width // 40)
    for line, text in enumerate((NOTICE, _summary(prediction))):
        _write(
            draw, (size, canvas.height - (line + 1) * 3 * size // 2 - size // 2), text, size, canvas.width - 2 * size
        )
    return np.asarray(canvas)


def score_in_words(prediction: Mapping[str, Any]) -> str:
    """``"p(malignant) 0.83 (0.71–0.90 over 5 models), above the threshold 0.40"``, as far as these are known.

    Two decimals, since a third says nothing where models differ in the first; a score near the threshold gets more, so
    that the words and the numbers agree.
    """
    p, threshold = float(prediction["p_malignant"]), prediction.get("threshold")
    limit = None if threshold in (None, "") else float(threshold)
    digits = 2
    while limit is not None and p != limit and digits < 6 and round(p, digits) == round(limit, digits):
        digits += 1
    score = f"p(malignant) {p:.{digits}f}"
    if digits == 2:
        score = {"0.00": "p(malignant) < 0.01", "1.00": "p(malignant) > 0.99"}.get(f"{p:.2f}", score)
    if prediction.get("spread_over"):
        low, high = (float(prediction[key]) for key in ("p_low", "p_high"))
        score += f" ({low:.2f}–{high:.2f} over {prediction['spread_over']})"
    if limit is not None:
        score += f", {'above' if p >= limit else 'below'} the threshold {limit:.{digits}f}"
    return score


def _summary(prediction: Mapping[str, Any]) -> str:
    place = " ".join(filter(None, (str(prediction["laterality"]), str(prediction["view"]))))
    return "    ".join(filter(None, [place, score_in_words(prediction)]))


def _thumbnails(image: np.ndarray, heatmap: Heatmap) -> list[tuple[str, np.ndarray]]:
    """Title and picture of each class's map, five of them as high as the image."""
    rows = image.shape[0] // len(PATCH_CLASSES) - _LABEL - 6
    size = rows, max(1, round(rows * image.shape[1] / image.shape[0]))
    small = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
    return [
        (f"{name}  max {values.max():.2f}", _tint(small, heatmap.enlarge(values, size)))
        for name, values in zip(PATCH_CLASSES, heatmap.probabilities, strict=True)
    ]


def _tint(image: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Colours over a grey image, the more opaque the higher the probability, so that 0 leaves the image as it is."""
    opacity = _OPACITY * np.sqrt(probability, dtype=np.float32)[..., None]
    grey = image[..., None].astype(np.float32)
    return np.rint(grey + opacity * (_colours()[np.rint(probability * 255).astype(np.uint8)] - grey)).astype(np.uint8)


def _draw_scale(canvas: Image.Image, draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
    """The colours from 0 to 1."""
    strip = np.repeat(_colours()[None].astype(np.uint8), 18, axis=0)
    _write(draw, (left, top - 2), "0", 20, 40, _FAINT)
    canvas.paste(Image.fromarray(strip), (left + 24, top + 2))
    _write(draw, (left + 24 + strip.shape[1] + 12, top - 2), "1", 20, 40, _FAINT)


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    width: int,
    colour: tuple[int, int, int] = _TEXT,
) -> None:
    """One line, smaller or in the end cut where it is too long."""
    while size > 10 and draw.textlength(text, font=_font(size)) > width:
        size -= 1
    while text and draw.textlength(text, font=_font(size)) > width:
        text = text[:-1]
    draw.text(place, text, font=_font(size), fill=colour, stroke_width=1, stroke_fill=(0, 0, 0))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib's font has Cyrillic and Greek, which file names may be in; Pillow's own hasn't.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


@cache
def _colours() -> np.ndarray:
    """RGB of 256 probabilities, float32 ``[256, 3]``; without the last shades, whose dark red would hide the image."""
    return (matplotlib.colormaps["YlOrRd"](np.linspace(0, 0.85, 256))[:, :3] * 255).astype(np.float32)
