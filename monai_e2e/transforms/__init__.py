"""Transforms that MONAI lacks; all others in the bundles are MONAI's own."""

from monai_e2e.transforms.intensity import (
    RandShiftIntensityWithinRange,
    RandShiftIntensityWithinRangeD,
    RandShiftIntensityWithinRanged,
    RandShiftIntensityWithinRangeDict,
)
from monai_e2e.transforms.mammogram import (
    LoadMammogram,
    LoadMammogramD,
    LoadMammogramd,
    LoadMammogramDict,
    MammogramFile,
    ResizeMammogram,
    ResizeMammogramD,
    ResizeMammogramd,
    ResizeMammogramDict,
    ScaleMammogram,
    ScaleMammogramD,
    ScaleMammogramd,
    ScaleMammogramDict,
)
from monai_e2e.transforms.spatial import RandFlipAffine, RandFlipAffineD, RandFlipAffined, RandFlipAffineDict

__all__ = [
    "LoadMammogram",
    "LoadMammogramD",
    "LoadMammogramDict",
    "LoadMammogramd",
    "MammogramFile",
    "RandFlipAffine",
    "RandFlipAffineD",
    "RandFlipAffineDict",
    "RandFlipAffined",
    "RandShiftIntensityWithinRange",
    "RandShiftIntensityWithinRangeD",
    "RandShiftIntensityWithinRangeDict",
    "RandShiftIntensityWithinRanged",
    "ResizeMammogram",
    "ResizeMammogramD",
    "ResizeMammogramDict",
    "ResizeMammogramd",
    "ScaleMammogram",
    "ScaleMammogramD",
    "ScaleMammogramDict",
    "ScaleMammogramd",
]
