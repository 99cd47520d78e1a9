"""What is known of a mammogram before any pixel is read: the words that all data readers share."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

#: Endings of images; DICOM files without one are recognised by their content.
IMAGE_SUFFIXES = (".dcm", ".dicom", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".pgm")


class Laterality(str, Enum):
    """Side of the breast: DICOM's Image Laterality (0020,0062), spelled out as CBIS-DDSM does."""

    LEFT = "LEFT"
    RIGHT = "RIGHT"


class View(str, Enum):
    """View position: DICOM's View Position (0018,5101)."""

    CC = "CC"
    MLO = "MLO"


class LesionType(str, Enum):
    MASS = "mass"
    CALCIFICATION = "calcification"


class Pathology(str, Enum):
    BENIGN = "benign"
    MALIGNANT = "malignant"


class DrawnAs(str, Enum):
    """What a lesion's mask was made from. A box or a circle shows where a lesion is, not its shape."""

    MASK = "mask"
    POLYGON = "polygon"
    CIRCLE = "circle"
    BOX = "box"


#: Facts by which images are grouped into subgroups: fields of :class:`Mammogram`, keys of the data list and columns of
#: ``predictions.csv`` where they are known.
GROUP_FACTS = ("age", "vendor", "machine", "site", "implant", "subtype")
#: The same with what an image's masks tell: the size of its largest malignant lesion, in mm.
GROUP_COLUMNS = (*GROUP_FACTS, "lesion_size")
#: All further facts that tables may have on an image.
FACTS = ("density", "exam_id", *GROUP_FACTS)

#: Classes of the patch classifier, in the order of its logits (paper §3.1.1).
PATCH_CLASSES = (
    "background",
    "calcification-benign",
    "calcification-malignant",
    "mass-benign",
    "mass-malignant",
)


@dataclass(frozen=True)
class Lesion:
    """One annotated lesion of a mammogram.

    Args:
        type: mass or calcification, None where the data set doesn't say (a hospital's own).
        pathology: biopsy result, or the finding's own BI-RADS by the rule of the labels (VinDr-Mammo), or None where
            the data set has neither (INbreast).
        number: the data set's own number of the lesion within the image, from 1.
        mask_paths: image files one of which is the mask (CBIS-DDSM stores mask and crop side by side).
        outline: polygon of ``(row, column)`` points in pixels of the original mammogram, whose first pixel's centre
            is ``(0, 0)``.
        drawn_as: how the data set marks the lesion; boxes and circles are given as polygons too.
        rows: rows of the data set's tables that stand for this lesion alone and are lost with its mask: 1 in
            CBIS-DDSM and in tables of lesions, 0 in tables of images.
    """

    type: LesionType | None
    pathology: Pathology | None
    number: int
    mask_paths: tuple[Path, ...] = ()
    outline: tuple[tuple[float, float], ...] = ()
    drawn_as: DrawnAs = DrawnAs.MASK
    rows: int = 0


@dataclass(frozen=True)
class Mammogram:
    """One image: where its pixels are, whose breast it shows, what was found and what it is labelled.

    Args:
        path: file with the full mammogram; None where the tables alone are at hand.
        patient_id: identifier that the split is made by.
        laterality: side of the breast, None where unknown.
        view: projection, None where unknown.
        label: 1 malignant (or BI-RADS 4a–6), 0 not.
        lesions: annotated lesions, possibly none.
        partition: the data set's own partition (``"training"``, ``"validation"`` or ``"test"``), None where it has
            none.
        density: ACR breast density 1–4, None where unknown.
        suffix: set where patient, side and view don't tell the image from another one.
        rows: rows of the data set's tables that this image stands for and that aren't excluded already.
        exam_id: identifier of the exam, None where the data set has none or one exam for each patient.
        age: years, None where unknown.
        vendor: the machine's maker, None where unknown.
        machine: model or number of the machine, None where unknown.
        site: hospital or cohort, None where unknown.
        implant: ``"yes"`` or ``"no"``, None where unknown.
        subtype: of the cancer, in the data set's words, None where unknown.
        flags: what is odd about it by the tables, in the words of docs/results.md.
        outlined_size: rows and columns of the image that the outlines were drawn on, as the data set says, of which
            the file may be a smaller copy; None: the file's own.
    """

    path: Path | None
    patient_id: str
    laterality: Laterality | None
    view: View | None
    label: int
    lesions: tuple[Lesion, ...] = ()
    partition: str | None = None
    density: int | None = None
    suffix: str = ""
    rows: int = 1
    exam_id: str | None = None
    age: int | None = None
    vendor: str | None = None
    machine: str | None = None
    site: str | None = None
    implant: str | None = None
    subtype: str | None = None
    flags: tuple[str, ...] = ()
    outlined_size: tuple[int, int] | None = None

    @property
    def image_id(self) -> str:
        """Name of the image's files in the prepared folder: patient, side, view and suffix, as far as there are any."""
        side, view = (part.value if part else "" for part in (self.laterality, self.view))
        return "_".join(filter(None, (self.patient_id, side, view, self.suffix)))


@dataclass(frozen=True)
class Excluded:
    """A file or table row that was left out, and why.

    Args:
        path: the file, or the table and its row.
        reason: ``"kind"`` or ``"kind: detail"``; reports count the kinds.
        rows: rows of the data set's tables that are lost by it; 0 for what no row of a table stands for alone.
    """

    path: str
    reason: str
    rows: int = 0


@dataclass
class Catalogue:
    """What a data set's reader found: the mammograms and everything that it had to leave out.

    Args:
        name: the data set's name as the command line writes it.
        mammograms: one per image that can be used.
        excluded: one per image, lesion or table row that can't.
        notes: counts worth reporting.
        tables: what the tables say before anything is left out: ``rows``, ``patients`` (None where the tables don't
            tell), ``files`` and ``views``, and ``lesion_rows``, how many of the rows stand in a table of lesions
            alone, where there is one. Every row is either excluded or belongs to a mammogram, so ``rows`` is the
            sum of both's ``rows``.
        test_patients: patients of the data set's own test half, by its tables, whatever images there are.
        facts: what the tables themselves say of their labels: ``label_source``, ``label_unit`` and ``label_rule``, as
            far as they do.
    """

    name: str
    mammograms: list[Mammogram] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    tables: dict[str, int | None] = field(default_factory=dict)
    test_patients: frozenset[str] = frozenset()
    facts: dict[str, str] = field(default_factory=dict)
