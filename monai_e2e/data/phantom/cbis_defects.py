"""Which phantom of CBIS-DDSM gets which of the real data set's defects.

Each is something that real downloads have: lost and broken files, masks of another size, tables that say one thing
and folders another. A patient gets one at most, so that what follows from a defect can be counted.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

#: Defects in the order in which they are handed out. All but the last group concern the patient's first view.
DEFECTS = (
    "image_missing",  # image not on disk
    "mask_missing",  # neither mask nor crop on disk
    "mask_missing_crop_left",
    "mask_other_size",  # 5:4 of its image in both directions
    "mask_other_aspect",  # 6:5 of its image in width alone
    "same_names",  # mask and crop in series of their own, both named 000000.dcm
    "crop_first",  # the series' first file is the crop
    "unreadable",  # a file without an image in it
    "unknown_pathology",
    "leaves_source",  # the table's path to the image starts with ../..
    "stored_twice",
    "monochrome1",  # DICOM only
    "both_halves",  # CC in the training tables, MLO in the test tables
    "benign_and_malignant",  # two lesions in either view
    "mass_and_calc",  # two lesions, hence two images and two tables, in either view
    "info_leaves_source",  # JPEG only: dicom_info.csv names an image outside the folder, and the image isn't in it
)
_ONLY = {"monochrome1": ("descriptive", "classic"), "info_leaves_source": ("jpeg",)}


def plan_defects(candidates: Iterable[int], patients: int, seed: int) -> dict[int, str]:
    """Defect by patient: each once, and again for each further 20 patients; as far as there are candidates."""
    order = np.random.default_rng([seed, patients, len(DEFECTS)]).permutation(np.array(list(candidates), dtype=int))
    wanted = DEFECTS * max(1, patients // 20)
    return dict(zip(order.tolist(), wanted, strict=False))


def count_defects(plan: dict[int, str], layout: str) -> dict[str, int]:
    """Number of each defect that a layout can have."""
    planted = [defect for defect in plan.values() if layout in _ONLY.get(defect, (layout,))]
    return {defect: planted.count(defect) for defect in DEFECTS}
