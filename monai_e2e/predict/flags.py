"""Flags of images that only the models or their networks' size show."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from monai_e2e.predict.models import Model
from monai_e2e.predict.reading import ReadImage
from monai_e2e.predict.worklist import ListedImage
from monai_e2e.seen import seen_flags

logger = logging.getLogger(__name__)

#: Images of rows : columns that differ from the network's by more than this factor are flagged.
_ASPECT_FACTOR = 1.5


def flag_seen(mammograms: Sequence[ListedImage], models: Sequence[Model], named: bool) -> list[ListedImage]:
    """The images, those of patients that a model was trained on or chosen by flagged.

    Args:
        mammograms: of all patients.
        models: that score them.
        named: whether the patients' ids are their own and not running numbers; the headers' are compared in any case.
    """
    flags = seen_flags([model.network for model in models])
    flagged = []
    for mammogram in mammograms:
        ids = filter(None, (mammogram.patient_id if named else "", mammogram.header_patient))
        found = sorted({flag for patient in ids for flag in flags(patient)})[:1]  # of training before of validation
        flagged.append(replace(mammogram, flags=(*mammogram.flags, *found)))
    if count := sum("seen in training" in mammogram.flags for mammogram in flagged):
        logger.warning(
            "%d of %d images are of patients that a model was trained on, see the flags.", count, len(mammograms)
        )
    return flagged


def size_flags(mammogram: ListedImage, read: ReadImage) -> list[str]:
    """Flags of an image of fewer pixels than the network's, or of other proportions."""
    (rows, columns), (height, width) = mammogram.original_size or read.size, read.images[0].shape[-2:]
    flags = ["upscaled"] if rows < height or columns < width else []
    factor = rows * width / (columns * height)
    return flags + (["other aspect"] if max(factor, 1 / factor) > _ASPECT_FACTOR else [])
