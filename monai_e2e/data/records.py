"""What is known of a mammogram before any pixel is read: the words that all data readers share."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


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
        type: mass or calcification.
        pathology: biopsy result, or None where the data set has none (INbreast).
        number: the data set's own number of the lesion within the image, from 1.
        mask_paths: image files one of which is the mask (CBIS-DDSM stores mask and crop side by side).
        outline: polygon of ``(row, column)`` points in pixels of the original mammogram (INbreast).
    """

    type: LesionType
    pathology: Pathology | None
    number: int
    mask_paths: tuple[Path, ...] = ()
    outline: tuple[tuple[float, float], ...] = ()

    @property
    def patch_class(self) -> int:
        """Index into :data:`PATCH_CLASSES`; raises ``ValueError`` where the pathology is unknown."""
        if self.pathology is None:
            raise ValueError(f"lesion {self.number} has no pathology, so no patch class")
        return PATCH_CLASSES.index(f"{self.type.value}-{self.pathology.value}")


@dataclass(frozen=True)
class Mammogram:
    """One film: where its pixels are, whose breast it shows, what was found and what it is labelled.

    Args:
        path: file with the full mammogram.
        patient_id: identifier that the split is made by.
        laterality: side of the breast.
        view: projection.
        label: 1 malignant (or BI-RADS 4a–6), 0 not.
        lesions: annotated lesions, possibly none.
        partition: the data set's own partition (``"training"`` or ``"test"``), None where it has none.
        density: ACR breast density 1–4, None where unknown.
        suffix: set where one patient–side–view has several films.
    """

    path: Path
    patient_id: str
    laterality: Laterality
    view: View
    label: int
    lesions: tuple[Lesion, ...] = ()
    partition: str | None = None
    density: int | None = None
    suffix: str = ""

    @property
    def image_id(self) -> str:
        name = f"{self.patient_id}_{self.laterality.value}_{self.view.value}"
        return f"{name}_{self.suffix}" if self.suffix else name


@dataclass(frozen=True)
class Excluded:
    """A file or table row that was left out, and why.

    Args:
        path: the file, or the table and its row.
        reason: ``"kind"`` or ``"kind: detail"``; reports count the kinds.
    """

    path: str
    reason: str


@dataclass
class Catalogue:
    """What a data set's reader found: the mammograms and everything that it had to leave out.

    Args:
        name: the data set's name as the command line writes it.
        mammograms: one per film that can be used.
        excluded: one per film, lesion or table row that can't.
        notes: counts worth reporting.
    """

    name: str
    mammograms: list[Mammogram] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
