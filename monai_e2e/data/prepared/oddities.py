"""What only a whole data set shows: images that are alike, and images far brighter or darker than the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from monai_e2e.data.images.appearance import OTHER_SIDE, far_from, is_of_the_set
from monai_e2e.data.prepared.images import PreparedImage


def flag_images(images: Sequence[PreparedImage]) -> dict[str, int]:
    """Add to the samples' flags what a comparison with the other images shows, and count all flags.

    These are ``brightness unusual``, ``same instance as another`` and ``same pixels as another``, the latter also as
    ``same pixels, other patient`` and ``same pixels, other label``.

    Where many images of a set are mirrored, the report says so of the set, and no single image is flagged.

    Returns:
        ``images_flagged_<flag>`` and their number, for the report's notes.
    """
    found = [(image, image.sample) for image in images if image.sample is not None]
    typical = median([sample["mean"] for _, sample in found]) if found else 0.0
    instances = Counter(image.instance for image, _ in found if image.instance)
    alike: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for image, sample in found:
        alike[image.pixels].append(sample)
    counts = Counter[str]()
    for image, sample in found:
        same = alike[image.pixels]
        holds = {
            "brightness unusual": far_from(sample["mean"], typical),
            "same instance as another": instances[image.instance] > 1,
            "same pixels as another": len(same) > 1,
            "same pixels, other patient": len({other["patient_id"] for other in same}) > 1,
            "same pixels, other label": len({other["label"] for other in same}) > 1,
        }
        flags = [*filter(None, sample["flags"].split(";")), *(flag for flag, held in holds.items() if held)]
        sample["flags"] = ";".join(flags)
        counts.update(flags)
    mirrored = counts[OTHER_SIDE]
    notes = {}
    if is_of_the_set(mirrored, len(found)):
        del counts[OTHER_SIDE]
        for _, sample in found:
            sample["flags"] = ";".join(flag for flag in sample["flags"].split(";") if flag != OTHER_SIDE)
        notes = {"images_with_the_breast_on_the_other_side,_mirrored_by_the_data_set_or_of_wrong_laterality": mirrored}
    return notes | {f"images_flagged_{flag}": count for flag, count in counts.most_common() if count}
