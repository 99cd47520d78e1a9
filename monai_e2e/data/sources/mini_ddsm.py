"""mini-DDSM: 7,808 images of 1,952 patients of the DDSM, as PNG or JPEG (Lekamlage et al., 2020; Heath et al., 2000).

Where both copies are there, the PNG files are read, which have 16 bits.

``Data-MoreThanTwoMasks.xlsx`` or ``DataWMask.xlsx`` has a row per image: ``fullPath`` (with backslashes,
``<Status>\\<case>\\<file>``), ``View``, ``Side``, ``Status`` and the paths of the lesions' masks, ``Tumour_Contour``
to ``Tumour_Contour6``, ``-`` being none. **Status is the patient's**: an image of a patient with cancer is positive if
it has a contour, else negative. Types of lesions aren't known. It has the normal images that CBIS-DDSM lacks; many
patients are in both, so that one must not test a model that was trained on the other.
"""

from __future__ import annotations

from pathlib import Path

from monai_e2e.data.records import Catalogue, Lesion, Mammogram, Pathology
from monai_e2e.data.sources.cells import choose, parse_age, parse_density, parse_side, parse_view
from monai_e2e.data.sources.release import Release, count_values, entries_of

_NEEDED = ("fullPath", "fileName", "View", "Side", "Status", "Tumour_Contour")
_CONTOURS = ("Tumour_Contour", *(f"Tumour_Contour{number}" for number in range(2, 7)))
_OPTIONAL = (*_CONTOURS[1:], "Age", "Density")
_STATUS = {"normal": None, "benign": Pathology.BENIGN, "cancer": Pathology.MALIGNANT}


def read_mini_ddsm(src: str | Path, tables_only: bool = False) -> Catalogue:
    """Join mini-DDSM's table, images and masks.

    Args:
        src: folder with the table and the images in or under it.
        tables_only: for a report without images.

    Raises:
        UserError: when the folder, the table or a column is missing, or no image can be used.
    """
    release = Release(src, "mini-ddsm", masks=r"mask\w*\.\w+$", originals=(".png",))
    table = release.table(_NEEDED, _OPTIONAL)
    for _, values in table.rows:
        *folders, _ = values["fullPath"].replace("\\", "/").split("/")
        values["case"] = "-".join(folders[-2:]) or values["fileName"].partition(".")[0]

    def parse(values: dict[str, str]) -> Mammogram:
        pathology = choose("Status", values["Status"].lower(), _STATUS)
        contours = [values[column] for column in _CONTOURS if values[column] not in ("", "-")]
        masks = [release.find_mask(contour) for contour in contours]
        lesions = [Lesion(None, pathology, 1, mask_paths=(mask,) if mask else ()) for mask in masks]
        return Mammogram(
            path=None,
            patient_id=values["case"],
            laterality=parse_side(values["Side"]),
            view=parse_view(values["View"]),
            label=int(pathology is Pathology.MALIGNANT and bool(contours)),
            lesions=tuple(lesions),
            density=parse_density(values["Density"]),
            age=parse_age(values["Age"]),
        )

    return release.join(
        entries_of(table, "fullPath", parse),
        tables_only=tables_only,
        patients=count_values(table, "case"),
        files=count_values(table, "fullPath"),
    )
