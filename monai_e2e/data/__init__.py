"""From raw downloads to samples: readers, splits, the prepared folder and patches. Knows nothing of networks.

Importing this package loads neither torch nor MONAI, which keeps the start of worker processes short.
"""

from monai_e2e.data.builtin import data_directory, phantom_dataset
from monai_e2e.data.cbis_ddsm import read_cbis_ddsm
from monai_e2e.data.datalist import load_datalist, pixel_mean, preparation, read_datalist
from monai_e2e.data.dicom import is_dicom, read_mammogram, read_mask, resize_mammogram
from monai_e2e.data.folder import list_mammograms
from monai_e2e.data.inbreast import read_inbreast
from monai_e2e.data.own import read_own
from monai_e2e.data.patches import cut_patches
from monai_e2e.data.prepare import prepare_cbis_ddsm, prepare_inbreast, prepare_own
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
from monai_e2e.data.splits import assert_disjoint, split_patients

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
    "is_dicom",
    "list_mammograms",
    "load_datalist",
    "phantom_dataset",
    "pixel_mean",
    "preparation",
    "prepare_cbis_ddsm",
    "prepare_inbreast",
    "prepare_own",
    "read_cbis_ddsm",
    "read_datalist",
    "read_inbreast",
    "read_mammogram",
    "read_mask",
    "read_own",
    "resize_mammogram",
    "split_patients",
]
