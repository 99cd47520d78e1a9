"""How wide for its height the breast is in the MLO images of prepared folders: ``breast_shape.py PREPARED …``.

Two data sets whose frames differ in their proportions differ in this after preparation. The breast is the largest area
brighter than a grey level. Images in which that is nearly as wide as the frame don't count: their background is bright.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from monai_e2e.data.prepared.datalist import PARTITIONS, read_datalist

#: Of 16 bits.
GREY = 25 * 257
WIDEST = 0.98
#: Every so many images: the median needs no more.
STEP = 5


def proportion(path: Path) -> float | None:
    """Width : height of the breast in pixels of the prepared image."""
    with Image.open(path) as picture:
        bright = ndimage.binary_opening(np.asarray(picture) > GREY, iterations=3)
    areas, count = ndimage.label(bright)
    if not count:
        return None
    largest = int(np.argmax(np.bincount(areas.ravel())[1:])) + 1
    rows, columns = ndimage.find_objects(areas)[largest - 1]
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return None if width > WIDEST * bright.shape[1] else width / height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", nargs="+", type=Path, metavar="PREPARED")
    for folder in parser.parse_args().prepared:
        datalist = read_datalist(folder)
        names = [s["image"] for partition in PARTITIONS for s in datalist[partition] if s["view"] == "MLO"][::STEP]
        found = [value for name in names if (value := proportion(folder / name)) is not None]
        low, middle, high = np.percentile(found, [25, 50, 75])
        print(f"{folder}: median {middle:.2f}, quartiles {low:.2f} and {high:.2f}, {len(found)} of {len(names)} images")


if __name__ == "__main__":
    main()
