"""Transforms that MONAI lacks; all others in the bundles are MONAI's own."""

from monai_e2e.transforms.intensity import (
    RandShiftIntensityWithinRange,
    RandShiftIntensityWithinRangeD,
    RandShiftIntensityWithinRanged,
    RandShiftIntensityWithinRangeDict,
)
from monai_e2e.transforms.mammogram import (
    FilmFile,
    LoadMammogram,
    LoadMammogramD,
    LoadMammogramd,
    LoadMammogramDict,
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
    "FilmFile",
    "LoadMammogram",
    "LoadMammogramD",
    "LoadMammogramDict",
    "LoadMammogramd",
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
