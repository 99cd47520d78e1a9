"""Write phantoms in the form of CBIS-DDSM on TCIA: folders, DICOM tags, the four case tables, and their quirks."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from monai_e2e.data.phantom.cbis_defects import count_defects, plan_defects
from monai_e2e.data.phantom.cbis_layouts import CROP, DICOM_INFO_COLUMNS, FULL, LAYOUTS, MASK, Series
from monai_e2e.data.phantom.exposure import expose_film
from monai_e2e.data.phantom.lesions import Finding, random_finding
from monai_e2e.data.phantom.scene import PlacedFinding, draw_scene, mixed_density, pick_type
from monai_e2e.data.phantom.storage import prepare_out
from monai_e2e.data.records import Laterality, LesionType, Pathology, View
from monai_e2e.errors import UserError
from monai_e2e.work.parallel import run_parallel

_COLUMNS_BEFORE = ["left or right breast", "image view", "abnormality id", "abnormality type"]
_COLUMNS_AFTER = [
    "assessment",
    "pathology",
    "subtlety",
    "image file path",
    "cropped image file path",
    "ROI mask file path",
]
#: Columns in order. Only one table has an underscore in the density's name, as in the original.
TABLE_COLUMNS = {
    LesionType.CALCIFICATION: [
        "patient_id",
        "breast density",
        *_COLUMNS_BEFORE,
        "calc type",
        "calc distribution",
        *_COLUMNS_AFTER,
    ],
    LesionType.MASS: ["patient_id", "breast_density", *_COLUMNS_BEFORE, "mass shape", "mass margins", *_COLUMNS_AFTER],
}
_TABLE_PREFIX = {LesionType.CALCIFICATION: "calc", LesionType.MASS: "mass"}

#: Descriptors that fit what is drawn: (shape, margins) of masses, (type, distribution) of calcifications.
_WORDS = {
    (LesionType.MASS, Pathology.BENIGN): (
        ("OVAL", "LOBULATED", "ROUND"),
        ("CIRCUMSCRIBED", "OBSCURED", "CIRCUMSCRIBED-OBSCURED"),
    ),
    (LesionType.MASS, Pathology.MALIGNANT): (
        ("IRREGULAR", "IRREGULAR-ARCHITECTURAL_DISTORTION", "LOBULATED"),
        ("SPICULATED", "ILL_DEFINED-SPICULATED", "MICROLOBULATED"),
    ),
    (LesionType.CALCIFICATION, Pathology.BENIGN): (
        ("COARSE", "LUCENT_CENTER", "ROUND_AND_REGULAR-LUCENT_CENTER", "DYSTROPHIC"),
        ("DIFFUSELY_SCATTERED", "REGIONAL", "NA"),
    ),
    (LesionType.CALCIFICATION, Pathology.MALIGNANT): (
        ("PLEOMORPHIC", "FINE_LINEAR_BRANCHING", "AMORPHOUS"),
        ("CLUSTERED", "SEGMENTAL", "CLUSTERED-LINEAR"),
    ),
}
_ASSESSMENTS = {Pathology.BENIGN: (0, 2, 3, 4), Pathology.MALIGNANT: (3, 4, 4, 5, 5)}

#: Factors on the rows and columns of a mask whose size differs from its image's.
_MASK_SCALES = {"mask_other_size": (1.25, 1.25), "mask_other_aspect": (1.0, 1.2)}

_Row = dict[str, str]
#: Lesion type and whether in the test half, which together choose the table, and the row.
_Line = tuple[LesionType, bool, _Row]


def write_cbis_ddsm(
    out: Path,
    patients: int,
    seed: int = 0,
    rows: int = 768,
    layout: str = "descriptive",
    workers: int | None = None,
    defects: bool = False,
) -> dict[str, int]:
    """Write a phantom data set in the form of CBIS-DDSM: images and the four case tables.

    Four of five patients are in the training tables, one in the test tables. Masses and calcifications, benign and
    malignant, alternate. The same arguments give the same bytes with any number of workers. Patients, lesions and
    tables are the same in all layouts.

    Args:
        out: new or empty folder.
        patients: number of patients; about two mammograms each.
        seed: another seed gives other patients.
        rows: height of the images in pixels, ± 8 %; their width is 0.6–0.75 of it.
        layout: ``"descriptive"`` (folders named by date and description, as TCIA's current downloader makes them),
            ``"classic"`` (folders named by UIDs, like the paths in the tables), or ``"jpeg"`` (the JPEG re-release: 8
            bits with lossy compression, ``csv`` and ``jpeg`` folders, ``dicom_info.csv``).
        workers: number of processes; None for one per core.
        defects: whether to add the faults of the real data set, each once per 20 patients, in the training half.

    Returns:
        How many of each of :data:`.cbis_defects.DEFECTS` were added; the folder itself doesn't say.

    Raises:
        UserError: when an argument is out of range or ``out`` isn't empty.
    """
    out = Path(out)
    if layout not in LAYOUTS:
        raise UserError(f"layout {layout!r}: choose one of {', '.join(LAYOUTS)}")
    prepare_out(out, patients, rows)
    training = (index for index in range(patients) if not _in_test_half(index))
    plan = plan_defects(training, patients, seed) if defects else {}
    tables: dict[tuple[LesionType, bool], list[_Row]] = {
        (kind, test): [] for kind in LesionType for test in (False, True)
    }
    info: list[_Row] = []
    draw = partial(_write_patient, out, seed=seed, rows=rows, layout=layout, plan=plan)
    for lines, described in run_parallel(draw, range(patients), workers, "CBIS-DDSM phantoms", unit="patient"):
        info += described
        for kind, test, line in lines:
            tables[kind, test].append(line)
    folder = out / "csv" if layout == "jpeg" else out
    for (kind, test), table in tables.items():
        name = f"{_TABLE_PREFIX[kind]}_case_description_{'test' if test else 'train'}_set.csv"
        _write_table(folder / name, TABLE_COLUMNS[kind], table)
    if layout == "jpeg":
        _write_table(folder / "dicom_info.csv", DICOM_INFO_COLUMNS, info)
    return count_defects(plan, layout)


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[_Row]) -> None:
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _in_test_half(index: int) -> bool:
    return index % 5 == 4


def _breasts(rng: np.random.Generator, index: int) -> list[tuple[Laterality, list[Finding]]]:
    """The patient's imaged breasts, each with its lesions."""
    # Any 20 patients have all four combinations of type and pathology in both halves.
    kind = (LesionType.MASS, LesionType.CALCIFICATION)[index % 2]
    pathology = (Pathology.BENIGN, Pathology.MALIGNANT)[index // 2 % 2]
    first, second = rng.permutation(np.array(list(Laterality), dtype=object))
    breasts = [(first, _lesions(rng, kind, pathology))]
    if rng.random() < 0.06:
        breasts.append((second, _lesions(rng, pick_type(rng), list(Pathology)[int(rng.integers(2))])))
    return breasts


def _lesions(rng: np.random.Generator, kind: LesionType, pathology: Pathology) -> list[Finding]:
    """A lesion, and in one of eight breasts a second one. The second is malignant only if the first is, so that half
    of the images stay benign."""
    lesions = [random_finding(rng, kind, pathology)]
    if rng.random() < 0.13:
        other = pathology if rng.random() < 0.5 else Pathology.BENIGN
        same_table = rng.random() < 0.75
        other_kind = kind if same_table else next(each for each in LesionType if each is not kind)
        lesions.append(random_finding(rng, other_kind, other))
    return lesions


def _defective(
    rng: np.random.Generator, breasts: list[tuple[Laterality, list[Finding]]], defect: str
) -> list[tuple[Laterality, list[Finding]]]:
    """One breast with one lesion, so that a defect affects one row; or with two lesions, if that is the defect."""
    laterality, (lesion, *_) = breasts[0]
    kind, pathology = lesion.type, lesion.pathology
    if defect == "benign_and_malignant":
        pathology = next(each for each in Pathology if each is not pathology)
    elif defect == "mass_and_calc":
        kind = next(each for each in LesionType if each is not kind)
    else:
        return [(laterality, [lesion])]
    return [(laterality, [lesion, random_finding(rng, kind, pathology)])]


def _write_patient(
    folder: Path, index: int, seed: int, rows: int, layout: str, plan: Mapping[int, str]
) -> tuple[list[_Line], list[_Row]]:
    """Draw and save one patient's images; return the rows of the tables and of ``dicom_info.csv``."""
    rng = np.random.default_rng([seed, index])
    defect = plan.get(index, "")
    lines: list[_Line] = []
    info: list[_Row] = []
    density = mixed_density(rng)
    breasts = _breasts(rng, index)
    if defect:
        breasts = _defective(rng, breasts, defect)
    for laterality, findings in breasts:
        views = [View.CC, View.MLO]
        if rng.random() < 0.06 and not defect:
            views = [views[int(rng.integers(2))]]
        for view in views:
            test = _in_test_half(index) or (defect == "both_halves" and view is View.MLO)
            height = round(rng.uniform(0.92, 1.08) * rows)
            width = round(rng.uniform(0.60, 0.75) * height)
            scene = draw_scene(rng, height, width, laterality, view, density, findings)
            pixels = expose_film(rng, scene)
            # An image with both kinds of lesion is listed and stored once for each kind.
            for kind in LesionType:
                listed = [item for item in scene.findings if item.finding.type is kind]
                if listed:
                    half, patient = "Test" if test else "Training", f"P_{index + 1:05d}"
                    name = f"{_TABLE_PREFIX[kind].title()}-{half}_{patient}_{laterality.value}_{view.value}"
                    image = _Image(folder, name, laterality, view, layout, rng, defect if view is views[0] else "")
                    lines += [(kind, test, row) for row in image.write(pixels, listed, patient, density)]
                    info += image.series.info
    return lines, info


@dataclass
class _Image:
    """Writes the series of one image, its masks and its crops, and makes their table rows."""

    folder: Path
    name: str
    laterality: Laterality
    view: View
    layout: str
    rng: np.random.Generator
    defect: str
    series: Series = field(init=False)

    def __post_init__(self) -> None:
        day = date(2016, 7, 1) + timedelta(days=int(self.rng.integers(0, 450)))
        self.series = Series(self.folder, self.layout, self.laterality, self.view, day, self.rng, self.defect)

    def write(self, pixels: np.ndarray, findings: list[PlacedFinding], patient: str, density: int) -> list[_Row]:
        """Save the image and its regions; one table row per region."""
        image_path = self.series.write(self.name, [(FULL, pixels)])[0]
        if self.defect == "leaves_source":
            image_path = f"../../{image_path}"
        rows = []
        for number, placed in enumerate(findings, start=1):
            crop_path, mask_path = self._regions(f"{self.name}_{number}", pixels, placed)
            finding = placed.finding
            words = [str(self.rng.choice(choice)) for choice in _WORDS[finding.type, finding.pathology]]
            pathology = finding.pathology.value.upper()
            if finding.pathology is Pathology.BENIGN and self.rng.random() < 0.3:
                pathology = "BENIGN_WITHOUT_CALLBACK"
            if self.defect == "unknown_pathology":
                pathology = "UNPROVEN"
            # The original tables have a line break inside these paths.
            if finding.type is LesionType.CALCIFICATION:
                crop_path += "\n"
            else:
                mask_path += "\n"
            values = [
                patient,
                density,
                self.laterality.value,
                self.view.value,
                number,
                finding.type.value,
                *words,
                int(self.rng.choice(_ASSESSMENTS[finding.pathology])),
                pathology,
                int(self.rng.integers(1, 6)),
                image_path,
                crop_path,
                mask_path,
            ]
            rows.append(dict(zip(TABLE_COLUMNS[finding.type], map(str, values), strict=True)))
        return rows

    def _regions(self, name: str, pixels: np.ndarray, placed: PlacedFinding) -> tuple[str, str]:
        """Save crop and mask; return their paths in the table, where the two may be swapped, as in the original."""
        row, column = np.nonzero(placed.roi)
        crop = pixels[row.min() : row.max() + 1, column.min() : column.max() + 1]
        mask = placed.roi.astype(np.uint8) * 255
        if self.defect in _MASK_SCALES:
            height, width = (round(n * scale) for n, scale in zip(mask.shape, _MASK_SCALES[self.defect], strict=True))
            mask = np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
        alone = self.rng.random() < 0.1  # in a few, crop and mask have a study each
        if self.defect == "same_names" or (alone and self.defect != "crop_first"):
            return self.series.write(name, [(CROP, crop)])[0], self.series.write(name, [(MASK, mask)])[0]
        files = [(MASK, mask), (CROP, crop)]
        if self.rng.random() < 0.5 or self.defect == "crop_first":
            files.reverse()
        paths = self.series.write(name, files)
        # The tables number crop and mask by a fixed rule, whichever file is which.
        return (paths[1], paths[0]) if name.startswith("Calc") else (paths[0], paths[1])
