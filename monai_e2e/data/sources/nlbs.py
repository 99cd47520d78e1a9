"""NLBS, the Newfoundland and Labrador Breast Screening data set: 26,988 images of 5,997 cases, 149 with cancer.

``NLBSP-metadata.csv`` has a row per image; its paths have backslashes, ``normal\\<case>\\…``, the second part being
the case. All are GE's. The label is column ``Cancer``; false positives are negative.
"""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from monai_e2e.data.records import Catalogue, Mammogram
from monai_e2e.data.sources.cells import Refused, choose, parse_side, parse_view
from monai_e2e.data.sources.identifiers import whole_number
from monai_e2e.data.sources.release import Release, count_values, entries_of

_NEEDED = ("File Path", "Image Laterality", "View Position", "Cancer")


def read_nlbs(src: str | Path, tables_only: bool = False) -> Catalogue:
    """Join NLBS's table and images.

    Args:
        src: folder with the table and the images in or under it.
        tables_only: for a report without images.

    Raises:
        UserError: when the folder, the table or a column is missing, or no image can be used.
    """
    release = Release(src, "nlbs")
    table = release.table(_NEEDED)
    for _, values in table.rows:
        folders = PureWindowsPath(values["File Path"].lstrip("\\/")).parts[:-1]
        values["case"] = "".join(folders[1:2])
    return release.join(
        entries_of(table, "File Path", _mammogram),
        tables_only=tables_only,
        patients=count_values(table, "case"),
        files=count_values(table, "File Path"),
    )


def _mammogram(values: dict[str, str]) -> Mammogram:
    if not values["case"]:
        raise Refused(f"no case in the path {values['File Path']!r}, such as normal\\1234\\image.dcm")
    return Mammogram(
        path=None,
        patient_id=values["case"],
        laterality=parse_side(values["Image Laterality"]),
        view=parse_view(values["View Position"]),
        label=choose("Cancer", whole_number(values["Cancer"]), {"0": 0, "1": 1}),
        vendor="GE",
    )
