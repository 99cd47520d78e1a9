"""Does the heatmap point at the lesion? Heatmaps of ``predict --heatmap`` against the lesions of a prepared folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.metrics import compute_fp_tp_probs, compute_froc_curve_data, compute_froc_score
from monai.transforms import ProbNMS
from scipy.ndimage import distance_transform_edt, label

from monai_e2e.data.images.dicom import read_mask
from monai_e2e.data.prepared.datalist import load_datalist
from monai_e2e.data.records import LesionType, Pathology
from monai_e2e.errors import UserError
from monai_e2e.metrics.operating import wilson_interval
from monai_e2e.predict.heatmaps import Heatmap, read_heatmap
from monai_e2e.predict.record import partition_of
from monai_e2e.predict.result_folder import file_name

logger = logging.getLogger(__name__)

#: Pixels of the network's image by which the pointing game lets a peak miss (Zhang et al., IJCV 2018).
TOLERANCE = 15
#: False positives per image at which sensitivity is given, those of CAMELYON16 and LUNA16.
FALSE_POSITIVES = (0.25, 0.5, 1, 2, 4, 8)
#: Probability of a malignant lesion from which on a pixel belongs to the heatmap's region.
CUTOFF = 0.5
#: Detections below this probability of a malignant lesion are none.
_LEAST = 0.05


class Localised(NamedTuple):
    """What the heatmap of one image finds.

    Args:
        distance: of its peak to the nearest malignant lesion, in pixels; None where the image has none.
        iou: intersection over union of its region, :data:`CUTOFF` and more, with all malignant lesions; None as above.
        false: probabilities of detections outside of malignant lesions.
        found: of each malignant lesion the highest probability of a detection in it, 0 for none.
    """

    distance: float | None
    iou: float | None
    false: np.ndarray
    found: np.ndarray


def localise(heatmap: Heatmap, masks: Sequence[np.ndarray]) -> Localised:
    """Compare a heatmap with the malignant lesions of its image.

    Args:
        heatmap: of the image.
        masks: bool ``[rows, columns]`` of each malignant lesion, at the size of the network's image.
    """
    values, lesions = heatmap.malignant, np.zeros(heatmap.image_size, dtype=np.int64)
    # The largest first, so that one that lies in another stays visible.
    for number, mask in enumerate(sorted(masks, key=np.count_nonzero, reverse=True), start=1):
        lesions[mask] = number
    # Windows overlap, so within a window's size there is one detection, the most probable.
    side = max(1, round(heatmap.window / heatmap.stride))
    detections = np.array(ProbNMS(prob_threshold=_LEAST, box_size=side)(values.copy())).reshape(-1, 3)
    places = np.clip(detections[:, 1:] * heatmap.stride + heatmap.window // 2, 0, np.array(lesions.shape) - 1)
    false, found, _ = compute_fp_tp_probs(detections[:, 0], places[:, 0], places[:, 1], lesions)
    distance = iou = None
    if masks:
        full = heatmap.enlarge(values, heatmap.image_size)
        peak = np.unravel_index(int(full.argmax()), full.shape)
        distance = float(distance_transform_edt(lesions == 0)[peak])
        region, marked = full >= CUTOFF, lesions > 0
        iou = float((region & marked).sum() / (region | marked).sum())
    return Localised(distance, iou, np.asarray(false), np.asarray(found))


def join_cluster(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Calcifications within twice :data:`TOLERANCE` of each other as one lesion, with the space between them.

    INbreast outlines each calcification of a cluster alone, CBIS-DDSM the cluster.

    Args:
        masks: bool ``[rows, columns]`` of all calcifications of an image.
    """
    if not masks:
        return []
    marked = np.logical_or.reduce(masks)
    around = distance_transform_edt(~marked) <= TOLERANCE
    filled = marked | (distance_transform_edt(around) > TOLERANCE)
    numbers, count = label(around)
    return [filled & (numbers == number) for number in range(1, count + 1)]


def summarize_localisation(images: Sequence[Localised], left_out: int = 0) -> dict[str, Any]:
    """What ``score.json`` says under ``localisation``.

    Args:
        images: all that have a heatmap, those without lesion too.
        left_out: how many malignant images had unmarked lesions.

    Returns:
        ``images``, ``left_out``, ``images_with_lesion``, ``lesions``; ``peak`` (the heatmap's highest point is in a
        malignant lesion) and ``pointing_game`` (or within :data:`TOLERANCE` pixels of one), each with ``hits``,
        ``rate`` and Wilson's ``rate_ci`` of the images with lesion; ``iou``: its ``mean`` over these, and the
        ``cutoff``; ``froc``: MONAI's ``score``, the mean of ``sensitivity`` at :data:`FALSE_POSITIVES` per image, and
        the ``curve`` as pairs.

    Raises:
        UserError: when no image has a malignant lesion.
    """
    distances = np.array([one.distance for one in images if one.distance is not None])
    if not distances.size:
        raise UserError(
            "localisation: no image has a malignant lesion with a mask; name a prepared folder that has some"
        )
    false, found = (np.concatenate([getattr(one, name) for one in images]) for name in ("false", "found"))
    # MONAI drops the lowest probability, which it takes for the 0 of a lesion that wasn't found: here is always one.
    fps, sensitivity = compute_froc_curve_data(np.append(false, 0.0), found, found.size, len(images))
    order = np.argsort(fps, kind="stable")
    fps, sensitivity = np.asarray(fps)[order], np.maximum.accumulate(np.asarray(sensitivity)[order])

    def rate(hits: int) -> dict[str, Any]:
        return {"hits": hits, "rate": hits / distances.size, "rate_ci": wilson_interval(hits, distances.size)}

    return {
        "images": len(images),
        "left_out": left_out,
        "images_with_lesion": int(distances.size),
        "lesions": int(found.size),
        "peak": rate(int((distances == 0).sum())),
        "pointing_game": rate(int((distances <= TOLERANCE).sum())) | {"tolerance": TOLERANCE},
        "iou": {"mean": float(np.mean([one.iou for one in images if one.iou is not None])), "cutoff": CUTOFF},
        "froc": {
            "score": float(compute_froc_score(fps[::-1], sensitivity[::-1], FALSE_POSITIVES)),
            "sensitivity": {f"{x:g}": float(np.interp(x, fps, sensitivity)) for x in FALSE_POSITIVES},
            "curve": [[float(x), float(y)] for x, y in zip(fps, sensitivity, strict=True)],
        },
    }


def localisation_of(results: str | Path, prepared: str | Path) -> dict[str, Any]:
    """Localisation of a run of ``predict PREPARED RESULTS --heatmap``, see :func:`summarize_localisation`.

    Of a lesion of unknown pathology its image's label decides; calcifications that lie together are one lesion, see
    :func:`join_cluster`. Images without heatmap are left out, and malignant ones
    of which a lesion has no mask: a detection there may be right, though no mask says so.

    Raises:
        UserError: when the results are of something else, have no heatmaps, or no image has a malignant lesion.
    """
    folder = Path(results)
    partition, fold = partition_of(folder, prepared)
    if not (folder / "heatmaps" / "format.json").is_file():
        raise UserError(f"{folder}: no heatmaps; predict {prepared} with --heatmap")
    images, left_out = [], 0
    for sample in load_datalist(prepared, partition, fold=fold):
        try:
            heatmap = read_heatmap(folder / "heatmaps", file_name(Path(sample["image"]).stem))
        except OSError:
            continue
        marked = [lesion for lesion in sample["lesions"] if _is_malignant(lesion, sample["label"])]
        if sample["label"] == 1 and (not marked or sample.get("lesions_excluded")):
            left_out += 1
            continue
        masks = [read_mask(lesion["mask"]) for lesion in marked]
        if wrong := [mask.shape for mask in masks if mask.shape != heatmap.image_size]:
            raise UserError(
                f"{sample['image']}: a mask of {wrong[0]} and a heatmap of {heatmap.image_size} pixels differ: name "
                "the folder that was predicted"
            )
        specks = [lesion.get("type") == LesionType.CALCIFICATION.value for lesion in marked]
        others = [mask for mask, speck in zip(masks, specks, strict=True) if not speck]
        images.append(localise(heatmap, [*others, *join_cluster(list(compress(masks, specks)))]))
    if not images and not left_out:
        raise UserError(f"{folder / 'heatmaps'}: no heatmap of an image of {prepared}; predict it with --heatmap")
    logger.info("%d heatmaps were compared with the lesions of %s.", len(images), prepared)
    return summarize_localisation(images, left_out)


def _is_malignant(lesion: Mapping[str, Any], label: int) -> bool:
    known = lesion.get("pathology")
    return label == 1 if known is None else known == Pathology.MALIGNANT.value
