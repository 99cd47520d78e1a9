"""Which phantoms of CBIS-DDSM get which defects.

Real downloads have all of them: missing and damaged files, masks of another size, tables that contradict the folders.
A patient gets at most one, so that the consequences of each can be counted.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

#: Defects in the order of their use. Each affects the patient's first view, unless both views are named.
DEFECTS = (
    "image_missing",  # image not on disk
    "mask_missing",  # neither mask nor crop on disk
    "mask_missing_crop_left",
    "mask_other_size",  # 5:4 of its image in both directions
    "mask_other_aspect",  # 6:5 of its image in width alone
    "same_names",  # mask and crop in series of their own, both named 000000.dcm
    "crop_first",  # the first file of the series is the crop
    "unreadable",  # a file without an image in it
    "unknown_pathology",
    "leaves_source",  # the table's path to the image starts with ../..
    "stored_twice",
    "monochrome1",  # DICOM only
    "both_halves",  # CC in the training tables, MLO in the test tables
    "benign_and_malignant",  # two lesions, in both views
    "mass_and_calc",  # two lesions in both views, and so two images and two tables
    "info_leaves_source",  # JPEG only: dicom_info.csv names an image outside the folder, and the image isn't in it
)
_ONLY = {"monochrome1": ("descriptive", "classic"), "info_leaves_source": ("jpeg",)}


def plan_defects(candidates: Iterable[int], patients: int, seed: int) -> dict[int, str]:
    """Patient → defect: each defect once per 20 patients, and at least once, while there are candidates."""
    order = np.random.default_rng([seed, patients, len(DEFECTS)]).permutation(np.array(list(candidates), dtype=int))
    wanted = DEFECTS * max(1, patients // 20)
    return dict(zip(order.tolist(), wanted, strict=False))


def count_defects(plan: dict[int, str], layout: str) -> dict[str, int]:
    """Defect → how often it was added, 0 for those that the layout can't have."""
    planted = [defect for defect in plan.values() if layout in _ONLY.get(defect, (layout,))]
    return {defect: planted.count(defect) for defect in DEFECTS}
