"""Turn a folder of mini-MIAS into the tables that ``monai-e2e prepare folder`` and ``predict --table`` read.

Run: ``python benchmarks/real/make_mias_tables.py SRC OUT``. SRC has ``images/mdb001.png`` … and ``labels.csv`` (image,
patient, laterality, cls, severity, x, y_topleft, radius; a row per lesion). ``labels.csv``, a row per image, and
``lesions.csv`` are written to OUT; an image is malignant if any of its lesions is.

- Density is left out: mini-MIAS has three classes of tissue, BI-RADS four of density, and none of the three is one of
  the four. A third of the images is "fatty", for one.
- Classes of well-defined, spiculated and other ill-defined masses are masses. Distortions and asymmetries have no type,
  so they give no patches, and background patches keep away from them.
- Four lesions have no place, and two have one on black image beside the breast. They keep a row without a shape:
  ``excluded.csv`` of the preparation counts them, and their images give no background patches.

``--crop`` also writes the images, cut to the breast's side of the image, see :func:`crop`: in the square frame, which
is padded with black, a network of 576 × 448 sees breasts much narrower than those of CBIS-DDSM.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from make_tables import read, write
from PIL import Image

IMAGE_COLUMNS = ("image", "label", "patient_id", "laterality", "view")
LESION_COLUMNS = ("image", "type", "pathology", "x", "y", "radius")
TYPES = {"CALC": "calcification", "CIRC": "mass", "SPIC": "mass", "MISC": "mass", "ARCH": "", "ASYM": ""}
PATHOLOGIES = {"B": "benign", "M": "malignant"}
#: Benign calcifications whose centre lies beside the breast, so where they are isn't known.
MISPLACED = {"mdb212", "mdb214"}
#: Rows : columns of a scanned film, about the middle of CBIS-DDSM's.
ASPECT = 1.6
#: A column is image, not padding, where this share of its pixels is brighter than this grey level.
IMAGE_SHARE, IMAGE_GREY = 0.02, 12
#: Of each class's patients every fourth is for validation, and the second first, so that two are enough for both.
VALIDATION_EVERY, VALIDATION_FIRST = 4, 1


def image_rows(rows: list[dict[str, str]], against: str) -> dict[str, dict[str, object]]:
    """A row per image, by its name without ending; without the normal ones where ``against`` is ``"benign"``."""
    images: dict[str, dict[str, object]] = {}
    for row in rows:
        if against == "benign" and not row["severity"]:
            continue
        name = Path(row["image"]).stem
        image = images.setdefault(
            name,
            {
                "image": f"{name}.png",
                "label": 0,
                "patient_id": row["patient"],
                "laterality": row["laterality"],
                "view": "MLO",
            },
        )
        if row["severity"] == "M":
            image["label"] = 1
    return images


def lesion_row(row: Mapping[str, str], first_column: int) -> dict[str, object]:
    name = Path(row["image"]).stem
    place: dict[str, object] = {}
    if row["x"] and name not in MISPLACED:
        place = {"x": int(row["x"]) - first_column, "y": row["y_topleft"], "radius": row["radius"]}
    return {
        "image": f"{name}.png",
        "type": TYPES[row["cls"]],
        "pathology": PATHOLOGIES[row["severity"]],
        **place,
    }


def divide(images: Mapping[str, Mapping[str, object]], count: int, draw: int) -> dict[object, str]:
    """Partition of each patient: ``count`` for training and validation, the others for testing.

    Patients with and without a malignant image have the same share of all three. A smaller count of the same draw takes
    some of the patients of a larger one, so that those whom the largest tests are tested by all.
    """
    malignant: dict[object, int] = {}
    for image in images.values():
        malignant[image["patient_id"]] = max(int(str(image["label"])), malignant.get(image["patient_id"], 0))
    generator, partitions = random.Random(draw), {}
    for label in (0, 1):
        patients = [patient for patient in malignant if malignant[patient] == label]
        chosen = round(count * len(patients) / len(malignant))
        if not 2 <= chosen < len(patients):
            raise SystemExit(
                f"--split-patients {count}: {chosen} of {len(patients)} patients {'with' if label else 'without'} a "
                "malignant image for training and validation; 2 are needed, and 1 for testing"
            )
        for place, patient in enumerate(generator.sample(patients, len(patients))):
            validation = place % VALIDATION_EVERY == VALIDATION_FIRST
            partitions[patient] = "test" if place >= chosen else "validation" if validation else "training"
    return partitions


def crop(image: np.ndarray, laterality: str) -> tuple[np.ndarray, int]:
    """The image without its padding, and its first column in the square frame.

    No image gets narrower than 1 : :data:`ASPECT`, so that narrow ones aren't stretched: padding stays on the side that
    the breast points to. A wider image stays as wide as it is, since the breast may fill it.

    Args:
        image: uint8 ``[rows, columns]``.
        laterality: L, whose chest wall is on the left here, or R.
    """
    mammogram = np.flatnonzero((image > IMAGE_GREY).mean(axis=0) > IMAGE_SHARE)
    first, last = int(mammogram[0]), int(mammogram[-1]) + 1
    narrowest = round(len(image) / ASPECT)
    if laterality == "L":
        last = max(last, min(first + narrowest, image.shape[1]))
    else:
        first = min(first, max(last - narrowest, 0))
    return image[:, first:last], first


def write_cropped(src: Path, out: Path, images: Mapping[str, Mapping[str, object]]) -> dict[str, int]:
    """Write ``out/images``; returns each image's first column in the square frame."""
    (out / "images").mkdir(exist_ok=True)
    first_columns = {}
    for name, row in images.items():
        with Image.open(src / "images" / f"{name}.png") as picture:
            pixels, first_columns[name] = crop(np.asarray(picture.convert("L")), str(row["laterality"]))
        Image.fromarray(pixels).save(out / "images" / f"{name}.png", compress_level=2)
    return first_columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("src", type=Path, metavar="SRC", help="folder with labels.csv and images/")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for labels.csv and lesions.csv")
    parser.add_argument(
        "--against", choices=["all", "benign"], default="all", help="malignant against all others, or benign ones alone"
    )
    parser.add_argument(
        "--split-patients", type=int, metavar="N", help="patients for training and validation (3 : 1), the rest test"
    )
    parser.add_argument("--draw", type=int, default=0, metavar="K", help="seed of that draw (default: 0)")
    parser.add_argument("--crop", action="store_true", help="write the images without padding to OUT/images")
    arguments = parser.parse_args()
    rows = read(arguments.src / "labels.csv")
    images = image_rows(rows, arguments.against)
    columns = IMAGE_COLUMNS
    if arguments.split_patients is not None:
        partitions = divide(images, arguments.split_patients, arguments.draw)
        images = {name: {**image, "partition": partitions[image["patient_id"]]} for name, image in images.items()}
        columns = (*IMAGE_COLUMNS, "partition")
    arguments.out.mkdir(parents=True, exist_ok=True)
    first_columns = write_cropped(arguments.src, arguments.out, images) if arguments.crop else {}
    lesions = [lesion_row(row, first_columns.get(Path(row["image"]).stem, 0)) for row in rows if row["severity"]]
    write(arguments.out / "labels.csv", columns, list(images.values()))
    write(arguments.out / "lesions.csv", LESION_COLUMNS, lesions)
    malignant = sum(image["label"] == 1 for image in images.values())
    print(f"{arguments.out}: {len(images)} images, {malignant} malignant, {len(lesions)} lesions")


if __name__ == "__main__":
    main()
