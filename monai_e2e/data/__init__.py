"""From raw downloads to samples: readers, splits, the prepared folder and patches. Knows nothing of networks.

Importing this package loads neither torch nor MONAI, which keeps the start of worker processes short, and its modules
only when something of them is first named.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_e2e.data.images.dicom import read_mammogram, read_mask
    from monai_e2e.data.images.dicom_files import is_dicom
    from monai_e2e.data.images.pixels import resize_mammogram
    from monai_e2e.data.prepared.builtin import data_directory, phantom_dataset
    from monai_e2e.data.prepared.datalist import digest_samples, load_datalist, pixel_mean, preparation, read_datalist
    from monai_e2e.data.prepared.folder import list_mammograms
    from monai_e2e.data.prepared.prepare import prepare_dataset
    from monai_e2e.data.prepared.splits import assert_disjoint, split_patients
    from monai_e2e.data.records import (
        PATCH_CLASSES,
        Catalogue,
        Excluded,
        Laterality,
        Lesion,
        LesionType,
        Mammogram,
        Pathology,
        View,
    )
    from monai_e2e.data.sources.cbis_ddsm.reader import read_cbis_ddsm
    from monai_e2e.data.sources.inbreast.reader import read_inbreast
    from monai_e2e.data.sources.own.reader import read_own
    from monai_e2e.data.training.patches import cut_patches

_WINGS = ("images", "phantom", "prepared", "sources", "training")
_HOMES = {
    "prepared.builtin": ("data_directory", "phantom_dataset"),
    "sources.cbis_ddsm.reader": ("read_cbis_ddsm",),
    "prepared.datalist": ("digest_samples", "load_datalist", "pixel_mean", "preparation", "read_datalist"),
    "images.dicom": ("read_mammogram", "read_mask"),
    "images.dicom_files": ("is_dicom",),
    "images.pixels": ("resize_mammogram",),
    "prepared.folder": ("list_mammograms",),
    "sources.inbreast.reader": ("read_inbreast",),
    "sources.own.reader": ("read_own",),
    "training.patches": ("cut_patches",),
    "prepared.prepare": ("prepare_dataset",),
    "records": (
        "Catalogue",
        "Excluded",
        "Laterality",
        "Lesion",
        "LesionType",
        "Mammogram",
        "PATCH_CLASSES",
        "Pathology",
        "View",
    ),
    "prepared.splits": ("assert_disjoint", "split_patients"),
}
__all__ = [
    "PATCH_CLASSES",
    "Catalogue",
    "Excluded",
    "Laterality",
    "Lesion",
    "LesionType",
    "Mammogram",
    "Pathology",
    "View",
    "assert_disjoint",
    "cut_patches",
    "data_directory",
    "digest_samples",
    "is_dicom",
    "list_mammograms",
    "load_datalist",
    "phantom_dataset",
    "pixel_mean",
    "preparation",
    "prepare_dataset",
    "read_cbis_ddsm",
    "read_datalist",
    "read_inbreast",
    "read_mammogram",
    "read_mask",
    "read_own",
    "resize_mammogram",
    "split_patients",
]


def __getattr__(name: str) -> Any:
    if name in _WINGS:
        return import_module(f"{__name__}.{name}")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
