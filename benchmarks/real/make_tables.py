"""Turn the tables of a folder of CBIS-DDSM's masses into those that ``monai-e2e prepare folder`` reads.

Run: ``python benchmarks/real/make_tables.py SRC OUT``. SRC has ``images.csv`` (image, patient_id, laterality, view,
density, half, label; a row per image) and ``boxes.csv`` (image, x, y, width, height, type, pathology; a row per
lesion); ``labels.csv`` and ``lesions.csv`` are written to OUT. TCIA's test half is for testing. Of its training half,
the patients of ``validation_patients.txt`` beside this script are for validation: 12 %, drawn once so that patients
with and without a malignant image have the same share of both, by ``--choose-validation``, which writes that list anew
(the same, from the same tables and release of scikit-learn). ``--training-half`` leaves the test half out, and the
division too, for ``prepare folder … --protocol kfold``: settings can be compared on all of the training half.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from sklearn.model_selection import train_test_split

VALIDATION = Path(__file__).with_name("validation_patients.txt")
SHARE, SEED = 0.12, 0
IMAGE_COLUMNS = ("image", "label", "patient_id", "laterality", "view", "density", "partition")
LESION_COLUMNS = ("image", "type", "pathology", "x", "y", "width", "height")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def choose_validation(images: list[dict[str, str]]) -> list[str]:
    """Patients of the training half, stratified by whether any of their images is malignant."""
    malignant: dict[str, bool] = {}
    for row in sorted(images, key=lambda row: row["patient_id"]):
        if row["half"] == "train":
            malignant[row["patient_id"]] = malignant.get(row["patient_id"], False) or row["label"] == "1"
    labels = list(malignant.values())
    _, chosen = train_test_split(list(malignant), test_size=SHARE, stratify=labels, random_state=SEED)
    return sorted(chosen)


def partition(row: dict[str, str], validation: set[str]) -> str:
    if row["half"] == "test":
        return "test"
    return "validation" if row["patient_id"] in validation else "training"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("src", type=Path, metavar="SRC", help="folder with images.csv and boxes.csv")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for labels.csv and lesions.csv")
    parser.add_argument("--choose-validation", action="store_true", help="draw the list of validation patients anew")
    parser.add_argument("--training-half", action="store_true", help="leave out the test half, and divide nothing")
    arguments = parser.parse_args()
    images, boxes = read(arguments.src / "images.csv"), read(arguments.src / "boxes.csv")
    if arguments.choose_validation:
        VALIDATION.write_text("\n".join(choose_validation(images)) + "\n", encoding="utf-8")
    validation = set(VALIDATION.read_text(encoding="utf-8").split())
    arguments.out.mkdir(parents=True, exist_ok=True)
    labelled = [{**row, "partition": partition(row, validation)} for row in images]
    columns: Sequence[str] = IMAGE_COLUMNS
    if arguments.training_half:
        labelled = [row for row in labelled if row["half"] == "train"]
        kept = {row["image"] for row in labelled}
        boxes = [row for row in boxes if row["image"] in kept]
        columns = [column for column in columns if column != "partition"]
    write(arguments.out / "labels.csv", columns, labelled)
    write(arguments.out / "lesions.csv", LESION_COLUMNS, boxes)
    print(f"{arguments.out}: {len(labelled)} images, {len(boxes)} lesions")


if __name__ == "__main__":
    main()
