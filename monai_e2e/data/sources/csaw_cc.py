"""CSAW-CC: 98,788 screening images of 8,723 women, 873 of them with a cancer (Karolinska, SND 2021-204-1).

``CSAW-CC_breast_cancer_screening_data.csv`` has a row per image; images and lesion masks (``<stem>_mask.png``, not
always of the image's size) may lie in any folders. All are Hologic's.

The cancer register says which breast had a cancer and when. Positive is that breast at the exam that found it
(``rad_timing`` 1); with ``positive="interval"`` also at the last exam before it (2), which is left out otherwise, as
exams two years and more before it always are (3). The other breast and the controls are negative. What the register
and the readers said – case, type, lymph nodes, timing, recall – is outcome and goes no further than the label.

CSAW-M is another data set and has no cancer labels.
"""

from __future__ import annotations

from pathlib import Path

from monai_e2e.data.records import Catalogue, Laterality, Lesion, Mammogram, Pathology
from monai_e2e.data.sources.cells import Refused, choose, parse_side, parse_view
from monai_e2e.data.sources.identifiers import whole_number
from monai_e2e.data.sources.release import Release, count_values, entries_of

_NEEDED = (
    "anon_patientid",
    "exam_year",
    "x_case",
    "x_cancer_laterality",
    "rad_timing",
    "imagelaterality",
    "viewposition",
    "anon_filename",
)
_TIMINGS = {"1": "found", "2": "interval", "3": "prior"}


def read_csaw_cc(src: str | Path, tables_only: bool = False, positive: str = "screen-detected") -> Catalogue:
    """Join CSAW-CC's table, images and masks.

    Args:
        src: folder with the table and the images in or under it.
        tables_only: for a report without images.
        positive: ``"screen-detected"`` or ``"interval"``, see the module's docstring.

    Raises:
        UserError: when the folder, the table or a column is missing, or no image can be used.
    """
    release = Release(src, "csaw-cc", masks=r"_mask\.\w+$")
    table = release.table(_NEEDED)

    def parse(values: dict[str, str]) -> Mammogram:
        side = parse_side(values["imagelaterality"])
        label = _label(values, side, positive)
        mask = release.find_mask(f"{Path(values['anon_filename']).stem}_mask") if label else None
        lesion = Lesion(None, Pathology.MALIGNANT, 1, mask_paths=(mask,)) if mask else None
        patient, year = values["anon_patientid"], whole_number(values["exam_year"])
        return Mammogram(
            path=None,
            patient_id=whole_number(patient),
            laterality=side,
            view=parse_view(values["viewposition"]),
            label=label,
            lesions=(lesion,) if lesion else (),
            exam_id=f"{whole_number(patient)}_{year}",
            vendor="Hologic",
        )

    return release.join(
        entries_of(table, "anon_filename", parse),
        tables_only=tables_only,
        patients=count_values(table, "anon_patientid"),
        files=count_values(table, "anon_filename"),
        views=count_values(table, "anon_patientid", "exam_year", "imagelaterality", "viewposition"),
    )


def _label(values: dict[str, str], side: Laterality, positive: str) -> int:
    if choose("x_case", whole_number(values["x_case"]), {"0": 0, "1": 1}) == 0:
        return 0
    if not values["x_cancer_laterality"]:
        raise Refused("side of the cancer unknown")
    if parse_side(values["x_cancer_laterality"]) is not side:
        return 0
    timing = choose("rad_timing", whole_number(values["rad_timing"]), _TIMINGS)
    if timing == "found" or timing == positive:
        return 1
    between = "interval cancer, found 60 to 729 days after this exam"
    raise Refused(between if timing == "interval" else "cancer found 730 days or more after this exam")
