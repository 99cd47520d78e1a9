"""``monai-e2e gallery``: one page of the images that a model got right, got wrong and was unsure of.

Don't pass the page on: it has copies of the images, which stay under their data set's licence.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.special import expit

from monai_e2e.data.images.pixels import resize_mask
from monai_e2e.errors import UserError, some
from monai_e2e.metrics import read_predictions, require_labels
from monai_e2e.metrics.html_page import embed, page
from monai_e2e.metrics.validation import find_threshold
from monai_e2e.predict.heatmaps import Heatmap, read_heatmap
from monai_e2e.predict.overlays import draw_mammogram, score_in_words
from monai_e2e.predict.reading import ImageReader
from monai_e2e.predict.record import partition_of
from monai_e2e.predict.result_folder import file_name
from monai_e2e.predict.worklist import ListedImage, list_prepared
from monai_e2e.work.files import write_text

#: Rows of an image on the page.
ROWS = 640
#: At most this share of the images counts as unsure, those nearest the threshold.
UNSURE = 0.2
_GAP = 8
_LICENCE = "The images stay under the licence of their data set and may not be passed on."
_LEGEND = (
    "Left: the image, its annotated lesions outlined. Right: the same, with the patch classifier's probability of a "
    "malignant lesion, from yellow to red. An image is marked if its score reaches the threshold. The images nearest "
    "to the threshold are shown only under Unsure."
)
_TITLES = {
    (1, True): ("Correct: malignant and marked", "surest first"),
    (0, False): ("Correct: not malignant and not marked", "surest first"),
    (0, True): ("Wrong: not malignant, but marked", "worst first"),
    (1, False): ("Wrong: malignant, but not marked", "worst first"),
}


@dataclass(frozen=True)
class Group:
    """Images of one kind.

    Args:
        title: heading.
        order: what the order of the rows is.
        rows: of the predictions, those that are shown.
        total: how many there are.
    """

    title: str
    order: str
    rows: list[dict[str, Any]]
    total: int


def choose_groups(rows: Sequence[Mapping[str, Any]], threshold: float, per_group: int) -> list[Group]:
    """Divide labelled predictions into right, wrong and unsure, each image in one group.

    Args:
        rows: with ``label`` and ``logit``.
        threshold: log-odds from which on an image is marked.
        per_group: how many images of a group are shown. Unsure are as many, but at most :data:`UNSURE` of all.
    """
    nearest = sorted((dict(row) for row in rows), key=lambda row: abs(row["logit"] - threshold))
    unsure = min(per_group, int(UNSURE * len(nearest)))
    groups = []
    for (label, marked), (title, order) in _TITLES.items():
        # The farther from the threshold, the surer the model was.
        own = [r for r in reversed(nearest[unsure:]) if (r["label"], r["logit"] >= threshold) == (label, marked)]
        groups.append(Group(title, order, own[:per_group], len(own)))
    return [*groups, Group("Unsure: nearest the threshold", "nearest first", nearest[:unsure], unsure)]


def write_gallery(
    results: str | Path,
    prepared: str | Path,
    out: str | Path,
    per_group: int = 8,
    threshold: float | None = None,
    threshold_from: str | Path | None = None,
) -> list[Group]:
    """Write ``index.html``, pictures included, to a folder.

    Args:
        results: folder of ``monai-e2e predict … PREPARED RESULTS --heatmap``.
        prepared: the prepared folder whose images were predicted.
        out: folder of the page, made if need be.
        per_group: see :func:`choose_groups`.
        threshold: probability.
        threshold_from: labelled predictions of the validation images, to choose it on; default: the model's own.

    Returns:
        What is on the page.

    Raises:
        UserError: when the results are of something else, lack labels, heatmaps or a threshold, or an image can't be
            read.
    """
    if per_group < 1:
        raise UserError(f"--per-group {per_group}: give 1 or more")
    results, path = Path(results), Path(results) / "predictions.csv"
    images = {image.image: image for image in list_prepared(prepared, *partition_of(results, prepared))}
    rows = require_labels(read_predictions(path), path)[0]
    missing = [row["image"] for row in rows if row["image"] not in images]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} images aren't in {prepared} ({some(missing)}); name the folder that was predicted"
        )
    limits, source, notes = find_threshold(rows, threshold, threshold_from, "mean")
    limit = limits["image"] if isinstance(limits, Mapping) else limits
    if limit is None:
        raise UserError(
            f"{path}: no threshold by which a score is right or wrong; give --threshold P, or choose it by "
            f"--threshold-from on predictions of the validation partition. {' '.join(notes)}".rstrip()
        )
    groups = choose_groups(rows, limit, per_group)
    body = [f'<p class="soft">{_LICENCE} {_LEGEND}</p>', _summary(rows, limit, source)]
    for group in groups:
        figures = [_figure(row, limit, images[row["image"]], results / "heatmaps") for row in group.rows]
        shown = f"{len(group.rows)} of {group.total}, {group.order}" if figures else "none"
        body.append(f'<h2>{group.title}</h2><p class="soft">{shown}</p><div class="gallery">{"".join(figures)}</div>')
    write_text(Path(out) / "index.html", page(f"Images of {results.name}", "\n".join(body)))
    return groups


def _summary(rows: Sequence[Mapping[str, Any]], threshold: float, source: str) -> str:
    counts = {
        key: sum((row["label"], row["logit"] >= threshold) == key for row in rows) for key in ((1, True), (0, False))
    }
    malignant = sum(row["label"] == 1 for row in rows)
    return (
        f"<p>{len(rows)} images. At the threshold {expit(threshold):.2f} ({escape(source)}) {counts[1, True]} of "
        f"{malignant} malignant ones are marked, and {counts[0, False]} of {len(rows) - malignant} others are not.</p>"
    )


def _figure(row: Mapping[str, Any], threshold: float, image: ListedImage, heatmaps: Path) -> str:
    read = ImageReader([], pictures=True)(image)
    if isinstance(read, str):
        raise UserError(f"{image.path}: {read}; prepare the folder again")
    picture = _picture(read.picture, _heatmap(heatmaps, row["image"]), read.masks)
    place = row["patient_id"], row["laterality"], row["view"]
    name = " ".join(place) if all(place) else row["image"]
    label = "malignant" if row["label"] == 1 else "not malignant"
    facts = [row["lesion_type"].replace("+", " and "), f"density {row['density']}" if row["density"] else ""]
    score = score_in_words({**row, "threshold": expit(threshold)})
    caption = f"{score}; labelled {', '.join(filter(None, [label, *facts]))}"
    return (
        f'<figure><img loading="lazy" alt="{escape(name)}: image and heatmap" src="{picture}">'
        f"<figcaption><strong>{escape(name)}</strong><br>{escape(caption)}</figcaption></figure>"
    )


def _heatmap(folder: Path, image: str) -> Heatmap:
    try:
        return read_heatmap(folder, file_name(image))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{folder / image}.npy: no heatmap that can be read; predict with --heatmap, in its default format npy"
        ) from error


def _picture(image: np.ndarray, heatmap: Heatmap, masks: Sequence[np.ndarray]) -> str:
    """The image with its lesions, and the same under the heatmap, as the address of a JPEG."""
    # Made small before it is drawn on, so that the outlines stay as thick as they are.
    size = ROWS, max(1, round(image.shape[1] * ROWS / len(image)))
    small = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS))
    lesions = [resize_mask(mask, size) for mask in masks]
    gap = np.full((ROWS, _GAP, 3), 255, dtype=np.uint8)
    both = np.hstack([draw_mammogram(small, None, lesions), gap, draw_mammogram(small, heatmap, lesions)])
    buffer = io.BytesIO()
    Image.fromarray(both).save(buffer, format="JPEG", quality=85, subsampling=0)  # the outlines are thin and coloured
    return embed(buffer.getvalue(), "jpeg")
