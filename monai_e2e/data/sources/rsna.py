"""RSNA Screening Mammography Breast Cancer Detection (Kaggle, 2022/23): 54,706 images of 11,913 patients.

``train.csv`` has a row per image, ``train_images/<patient_id>/<image_id>.dcm`` are the images, or PNG of these names or
of ``<patient_id>_<image_id>.png``. The label is column ``cancer``, which both views of a breast share. Views other than
CC and MLO (AT, LM, ML, LMO) are left out. ``test.csv`` and its images have no outcome and aren't read.
"""

from __future__ import annotations

from pathlib import Path

from monai_e2e.data.records import Catalogue, Mammogram
from monai_e2e.data.sources.cells import YES_NO, choose, parse_age, parse_density, parse_side, parse_view
from monai_e2e.data.sources.identifiers import whole_number
from monai_e2e.data.sources.release import Release, count_values, entries_of

_NEEDED = ("patient_id", "image_id", "laterality", "view", "cancer")
_OPTIONAL = ("site_id", "age", "invasive", "implant", "density", "machine_id")


def read_rsna(src: str | Path, tables_only: bool = False) -> Catalogue:
    """Join RSNA's table and images.

    Args:
        src: folder with ``train.csv`` and the images in or under it.
        tables_only: for a report without images.

    Raises:
        UserError: when the folder, the table or a column is missing, or no image can be used.
    """
    release = Release(src, "rsna")
    table = release.table(_NEEDED, _OPTIONAL)
    stems = {path.stem for path in release.images}
    for _, values in table.rows:
        patient, image = values["patient_id"], whole_number(values["image_id"])
        is_copy = image not in stems and f"{patient}_{image}" in stems
        values["file"] = f"{patient}_{image}" if is_copy else f"{patient}/{image}"
    entries = entries_of(table, "file", _mammogram)
    return release.join(
        entries,
        tables_only=tables_only,
        patients=count_values(table, "patient_id"),
        files=count_values(table, "file"),
        views=count_values(table, "patient_id", "laterality", "view"),
    )


def _mammogram(values: dict[str, str]) -> Mammogram:
    cancer = choose("cancer", whole_number(values["cancer"]), {"0": 0, "1": 1})
    invasive = whole_number(values["invasive"])
    return Mammogram(
        path=None,
        patient_id=values["patient_id"],
        laterality=parse_side(values["laterality"]),
        view=parse_view(values["view"]),
        label=cancer,
        density=parse_density(values["density"]),
        age=parse_age(values["age"]),
        machine=whole_number(values["machine_id"]) or None,
        site=whole_number(values["site_id"]) or None,
        implant=YES_NO.get(whole_number(values["implant"])),
        subtype={"1": "invasive", "0": "not invasive"}.get(invasive) if cancer else None,
    )
