"""Writes phantoms as TCIA delivers CBIS-DDSM: folders, DICOM tags, the four case tables and their oddities."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import numpy as np
from pydicom.uid import UID, SecondaryCaptureImageStorage

from monai_e2e.data.parallel import run_parallel
from monai_e2e.data.phantom.film import expose_film
from monai_e2e.data.phantom.lesions import Finding, random_finding
from monai_e2e.data.phantom.scene import PlacedFinding, draw_scene, mixed_density, pick_type
from monai_e2e.data.phantom.storage import PHANTOM_NOTE, new_dataset, prepare_out, random_uid, save
from monai_e2e.data.records import Laterality, LesionType, Pathology, View
from monai_e2e.errors import UserError

#: TCIA's root for CBIS-DDSM; phantoms keep its form, their random digits and :data:`PHANTOM_NOTE` tell them apart.
UID_ROOT = "1.3.6.1.4.1.9590.100.1.2."

LAYOUTS = ("descriptive", "classic")

_FULL, _MASK, _CROP = "full mammogram images", "ROI mask images", "cropped images"

_COLUMNS_BEFORE = ["left or right breast", "image view", "abnormality id", "abnormality type"]
_COLUMNS_AFTER = [
    "assessment",
    "pathology",
    "subtlety",
    "image file path",
    "cropped image file path",
    "ROI mask file path",
]
#: Columns in their order. The density's underscore differs between the tables, as in the original.
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

#: The radiologist's words that fit what is drawn: (shape, margins) of masses, (type, distribution) of calcifications.
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

_Row = dict[str, str]


def write_cbis_ddsm(
    out: Path,
    patients: int,
    seed: int = 0,
    rows: int = 768,
    layout: str = "descriptive",
    workers: int | None = None,
) -> None:
    """Write a made-up CBIS-DDSM: ``out/CBIS-DDSM/…`` and the four case tables in ``out``.

    Four patients in five are in the training tables, one in five in the test tables; masses and calcifications,
    benign and malignant come in turn. The same arguments give the same bytes on any number of workers.

    Args:
        out: new or empty folder.
        patients: number of patients; about two mammograms each.
        seed: changes every patient.
        rows: height of the films in pixels, ± 8 %; their width is 0.6–0.75 of it.
        layout: ``"descriptive"`` (folders named by date and description, as TCIA's present downloader makes them) or
            ``"classic"`` (folders named by UIDs, as the tables write paths).
        workers: processes; one per core when None.

    Raises:
        UserError: when an argument is out of range or ``out`` isn't empty.
    """
    out = Path(out)
    if layout not in LAYOUTS:
        raise UserError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    prepare_out(out, patients, rows)
    tables: dict[tuple[LesionType, bool], list[_Row]] = {
        (kind, test): [] for kind in LesionType for test in (False, True)
    }
    draw = partial(_write_patient, out / "CBIS-DDSM", seed=seed, rows=rows, layout=layout)
    for index, lines in enumerate(run_parallel(draw, range(patients), workers, "CBIS-DDSM phantoms", unit="patient")):
        for kind, line in lines:
            tables[kind, _in_test_half(index)].append(line)
    for (kind, test), table in tables.items():
        name = f"{_TABLE_PREFIX[kind]}_case_description_{'test' if test else 'train'}_set.csv"
        with open(out / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, TABLE_COLUMNS[kind], lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)


def _in_test_half(index: int) -> bool:
    return index % 5 == 4


def _breasts(rng: np.random.Generator, index: int) -> list[tuple[Laterality, list[Finding]]]:
    """The patient's imaged breasts, each with its lesions."""
    # 20 patients run through the four combinations of type and pathology in either half.
    kind = (LesionType.MASS, LesionType.CALCIFICATION)[index % 2]
    pathology = (Pathology.BENIGN, Pathology.MALIGNANT)[index // 2 % 2]
    first, second = rng.permutation(np.array(list(Laterality), dtype=object))
    breasts = [(first, _lesions(rng, kind, pathology))]
    if rng.random() < 0.06:
        breasts.append((second, _lesions(rng, pick_type(rng), list(Pathology)[int(rng.integers(2))])))
    return breasts


def _lesions(rng: np.random.Generator, kind: LesionType, pathology: Pathology) -> list[Finding]:
    """The lesion, in one breast of eight with a second one; never a malignant one besides a benign first one, so that
    half of the images stay benign."""
    lesions = [random_finding(rng, kind, pathology)]
    if rng.random() < 0.13:
        other = pathology if rng.random() < 0.5 else Pathology.BENIGN
        same_table = rng.random() < 0.75
        other_kind = kind if same_table else next(each for each in LesionType if each is not kind)
        lesions.append(random_finding(rng, other_kind, other))
    return lesions


def _write_patient(folder: Path, index: int, seed: int, rows: int, layout: str) -> list[tuple[LesionType, _Row]]:
    """Draw and save one patient's films; return the table rows with the table that each belongs to."""
    rng = np.random.default_rng([seed, index])
    lines = []
    density = mixed_density(rng)
    half = "Test" if _in_test_half(index) else "Training"
    for laterality, findings in _breasts(rng, index):
        views = [View.CC, View.MLO]
        if rng.random() < 0.06:
            views = [views[int(rng.integers(2))]]
        for view in views:
            height = round(rng.uniform(0.92, 1.08) * rows)
            width = round(rng.uniform(0.60, 0.75) * height)
            scene = draw_scene(rng, height, width, laterality, view, density, findings)
            pixels = expose_film(rng, scene, laterality, view)
            # A film with both kinds of lesion is listed, and stored, once for each.
            for kind in LesionType:
                listed = [item for item in scene.findings if item.finding.type is kind]
                if listed:
                    name = f"{_TABLE_PREFIX[kind].title()}-{half}_P_{index + 1:05d}_{laterality.value}_{view.value}"
                    film = _Film(folder, name, laterality, view, layout, rng)
                    lines += [(kind, row) for row in film.write(pixels, listed, f"P_{index + 1:05d}", density)]
    return lines


@dataclass
class _Film:
    """Writes one film's series, masks and crops, and says what the tables say of them."""

    folder: Path
    name: str
    laterality: Laterality
    view: View
    layout: str
    rng: np.random.Generator
    day: date = field(init=False)

    def __post_init__(self) -> None:
        self.day = date(2016, 7, 1) + timedelta(days=int(self.rng.integers(0, 450)))

    def write(self, pixels: np.ndarray, findings: list[PlacedFinding], patient: str, density: int) -> list[_Row]:
        """Save the film and its regions; one table row per region."""
        film_path = self._series(self.name, [(_FULL, pixels)])[0]
        rows = []
        for number, placed in enumerate(findings, start=1):
            crop_path, mask_path = self._regions(f"{self.name}_{number}", pixels, placed)
            finding = placed.finding
            words = [str(self.rng.choice(choice)) for choice in _WORDS[finding.type, finding.pathology]]
            pathology = finding.pathology.value.upper()
            if finding.pathology is Pathology.BENIGN and self.rng.random() < 0.3:
                pathology = "BENIGN_WITHOUT_CALLBACK"
            # The end of line inside these paths is the original tables' own.
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
                film_path,
                crop_path,
                mask_path,
            ]
            rows.append(dict(zip(TABLE_COLUMNS[finding.type], map(str, values), strict=True)))
        return rows

    def _regions(self, name: str, pixels: np.ndarray, placed: PlacedFinding) -> tuple[str, str]:
        """Save crop and mask; return the paths that the table gives them, which may name the one for the other."""
        row, column = np.nonzero(placed.roi)
        crop = pixels[row.min() : row.max() + 1, column.min() : column.max() + 1]
        mask = placed.roi.astype(np.uint8) * 255
        if self.rng.random() < 0.1:  # a few are in studies of their own
            return self._series(name, [(_CROP, crop)])[0], self._series(name, [(_MASK, mask)])[0]
        files = [(_MASK, mask), (_CROP, crop)]
        if self.rng.random() < 0.5:
            files.reverse()
        paths = self._series(name, files)
        # The tables number crop and mask by a rule of their own, whatever the files hold.
        return (paths[1], paths[0]) if name.startswith("Calc") else (paths[0], paths[1])

    def _series(self, name: str, files: list[tuple[str, np.ndarray]]) -> list[str]:
        """Save one series in a study of its own; return the files' paths in the classic form."""
        study, series = random_uid(self.rng, UID_ROOT), random_uid(self.rng, UID_ROOT)
        classic = [f"{name}/{study}/{series}/{number:06d}.dcm" for number in range(len(files))]
        # A series with crop and mask goes by the mask's description.
        title = _MASK if len(files) > 1 else files[0][0]
        described = f"{name}/{self.day:%m-%d-%Y}-DDSM-NA-{study[-5:]}/1.000000-{title}-{series[-5:]}"
        for number, (description, pixels) in enumerate(files):
            path = classic[number] if self.layout == "classic" else f"{described}/1-{number + 1}.dcm"
            self._save(self.folder / path, pixels, name, description, study, series, number + 1)
        return classic

    def _save(
        self, path: Path, pixels: np.ndarray, name: str, description: str, study: UID, series: UID, number: int
    ) -> None:
        instance = random_uid(self.rng, UID_ROOT)
        dataset = new_dataset(SecondaryCaptureImageStorage, instance, pixels, bits=8 * pixels.dtype.itemsize)
        dataset.StudyDate = dataset.ContentDate = f"{self.day:%Y%m%d}"
        dataset.StudyTime = dataset.ContentTime = f"{int(self.rng.integers(8, 18)):02d}0000"
        dataset.AccessionNumber = ""
        dataset.Modality = "MG"
        dataset.ConversionType = "WSD"
        dataset.ReferringPhysicianName = ""
        dataset.StudyDescription = f"DDSM ({PHANTOM_NOTE})"
        dataset.SeriesDescription = description
        dataset.PatientName = dataset.PatientID = name
        dataset.PatientBirthDate = dataset.PatientSex = ""
        dataset.BodyPartExamined = "BREAST"
        dataset.StudyInstanceUID = study
        dataset.SeriesInstanceUID = series
        dataset.StudyID = "DDSM"
        dataset.SeriesNumber = 1
        dataset.InstanceNumber = number
        dataset.PatientOrientation = self.view.value
        dataset.Laterality = self.laterality.value[0]
        save(dataset, path)
