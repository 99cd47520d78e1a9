"""What it takes to get an image from its PNG, from the cache on disk and from memory, and to augment it.

Run: ``OMP_NUM_THREADS=1 python benchmarks/cache.py``. One core's time for images of 1152 × 896 with grain. "32 bits" is
a file of the same sample as float32, read with its checksum as earlier versions did. "The usual way" is OpenCV's:
decode, make float32, warp. Patches are files of their own; "cut" takes them from images that are mapped into memory.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from monai.transforms import Compose
from timing import compare, record, show

from monai_e2e.checkpoints.files import FORMAT, as_plain, read_checkpoint, save_atomically
from monai_e2e.data.images.dicom import read_pixels
from monai_e2e.data.images.pixels import save_grey16
from monai_e2e.data.training.caching import make_dataset
from monai_e2e.data.training.patch_centers import cut_patch
from monai_e2e.transforms import LoadMammogramd, RandFlipAffined

SIZE = (1152, 896)
IMAGES = 16
#: Side of a patch, and patches of an image.
PATCH, PATCHES = 224, 20


def write_images(folder: Path) -> list[dict[str, object]]:
    """A bright disc on dark ground, with grain: as large as an image's file is."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = 30000 * (((rows - SIZE[0] / 2) / 500) ** 2 + (columns / 700) ** 2 < 1)
    samples = []
    for number in range(IMAGES):
        path = folder / f"{number}.png"
        save_grey16(np.clip(disc + rng.normal(2000, 300, SIZE), 0, 65535).astype(np.uint16), path)
        samples.append({"image": str(path), "label": number % 2})
    return samples


def usual(path: str, matrix: np.ndarray) -> np.ndarray:
    image = cv2.imread(path, cv2.IMREAD_UNCHANGED).astype(np.float32) / 257
    return cv2.warpAffine(image, matrix, SIZE[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def time_patches(samples: list[dict[str, object]], folder: Path, repeats: int) -> None:
    """A patch from its PNG and from the caches, and cut from an image; and the room of both on the disk."""
    images = [read_pixels(str(sample["image"])) for sample in samples]
    centers = np.random.default_rng(0).integers(PATCH, np.array(SIZE) - PATCH, size=(PATCHES, 2))
    patches, mapped = [], []
    for number, image in enumerate(images):
        np.save(folder / f"{number}.npy", image)
        mapped.append(np.load(folder / f"{number}.npy", mmap_mode="r"))
        for row, center in enumerate(centers):
            path = folder / f"patch-{number}-{row}.png"
            save_grey16(cut_patch(image, center, PATCH), path)
            patches.append({"image": str(path)})

    def cut() -> None:
        for image in mapped:
            for center in centers:
                torch.from_numpy(cut_patch(image, center, PATCH))

    def read_all(dataset) -> None:
        for number in range(len(patches)):
            dataset[number]

    ways: dict[str, Callable[[], object]] = {}
    for name, cache in (("PNG", "none"), ("disk", "disk"), ("memory", "memory")):
        dataset = make_dataset(patches, Compose([LoadMammogramd("image")]), cache, cache_dir=folder / "patches")
        ways[name] = partial(read_all, dataset)
    times = compare({**ways, "cut": cut}, repeats, time.process_time)
    show(f"A patch: {PATCH} × {PATCH}, one core", times, "ms", len(patches))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    matrix = cv2.getRotationMatrix2D((SIZE[1] / 2, SIZE[0] / 2), 10, 1.1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        samples = write_images(folder)
        load = LoadMammogramd("image")
        warp = RandFlipAffined("image", SIZE, rotate_range=0.4, shear_range=[0.2, 0.0], scale_range=[0.2, 0.2])
        sets = {
            (kind, chain): make_dataset(
                samples, Compose([load, *([warp] if chain == "augmented" else [])]), kind, cache_dir=folder / "cache"
            )
            for kind in ("none", "disk", "memory")
            for chain in ("alone", "augmented")
        }
        wide = [folder / f"{number}.pt" for number in range(IMAGES)]
        for path, sample in zip(wide, samples, strict=True):
            save_atomically({"format": FORMAT, "sample": as_plain(load(sample), "sample")}, path)

        def each(one) -> None:
            for number in range(IMAGES):
                one(number)

        names = {"none": "PNG", "disk": "disk", "memory": "memory"}
        alone = {"32 bits from the disk": lambda: each(lambda number: read_checkpoint(wide[number])["sample"])}
        augmented = {"the usual way": lambda: each(lambda number: usual(str(samples[number]["image"]), matrix))}
        for (kind, chain), dataset in sets.items():
            ways = alone if chain == "alone" else augmented
            ways[names[kind]] = lambda dataset=dataset: each(lambda number: dataset[number])
        size = f"{SIZE[0]} × {SIZE[1]}, one core"
        show(f"An image: {size}", compare(alone, settings.repeats, time.process_time), "ms", IMAGES)
        show(f"An image, augmented: {size}", compare(augmented, settings.repeats, time.process_time), "ms", IMAGES)
        kept = next((folder / "cache").iterdir()).stat().st_size
        megabytes = [{"name": "16 bits", "MB": kept / 1e6}, {"name": "32 bits", "MB": wide[0].stat().st_size / 1e6}]
        print(*(f"{row['name']}: {row['MB']:.2f} MB an image" for row in megabytes), sep="\n")
        record("Room of an image on the disk", megabytes)
        time_patches(samples, folder, settings.repeats)


if __name__ == "__main__":
    main()
