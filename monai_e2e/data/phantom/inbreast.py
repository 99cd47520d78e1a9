"""Write phantoms in the form of INbreast: a folder of DICOM files, a folder of OsiriX outlines, and a table."""

from __future__ import annotations

import csv
import plistlib
from functools import partial
from pathlib import Path

import numpy as np
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation

from monai_e2e.data.phantom.exposure import expose_detector
from monai_e2e.data.phantom.inbreast_defects import plant_defects
from monai_e2e.data.phantom.inbreast_outlines import outlines_of
from monai_e2e.data.phantom.lesions import Finding, random_finding
from monai_e2e.data.phantom.scene import Scene, draw_scene, mixed_density, pick_type
from monai_e2e.data.phantom.storage import PHANTOM_NOTE, new_dataset, prepare_out, random_uid, save
from monai_e2e.data.records import Laterality, Pathology, View
from monai_e2e.work.parallel import run_parallel

#: Root for UIDs without a registered owner; a 128-bit decimal number follows (ITU-T X.667).
UID_ROOT = "2.25."

#: BI-RADS assessment → number of images with it in the real table; phantoms' breasts are drawn in these proportions.
BI_RADS_SHARES = {"1": 67, "2": 220, "3": 23, "4a": 13, "4b": 8, "4c": 22, "5": 49, "6": 8}

#: Factor on lesions' contrast, which is higher on a digital detector than on film.
_CONTRAST = 1.3
#: Rows and columns of the two detectors.
_DETECTORS = ((3328, 2560), (4084, 3328))
#: Their pixel spacing in mm.
_SPACING = 0.07

_COLUMNS = ["Patient ID", "Patient age", "Laterality", "View", "Acquisition date", "File Name", "ACR", "Bi-Rads"]


def write_inbreast(
    out: Path, patients: int, seed: int = 0, rows: int = 768, workers: int | None = None, defects: bool = False
) -> dict[str, int]:
    """Write a phantom data set in the form of INbreast: ``out/AllDICOMs``, ``out/AllXML`` and ``out/INbreast.csv``.

    The same arguments give the same bytes with any number of workers.

    Args:
        out: new or empty folder.
        patients: number of patients; most have four images, some have two.
        seed: another seed gives other patients.
        rows: height of the images in pixels.
        workers: number of processes; None for one per core.
        defects: whether to add each of :data:`~monai_e2e.data.phantom.inbreast_defects.DEFECTS`, in different images
            with BI-RADS 1 or 2, as far as there are enough.

    Returns:
        How many of each defect were added; the folder itself doesn't say.

    Raises:
        UserError: when an argument is out of range or ``out`` isn't empty.
    """
    out = Path(out)
    prepare_out(out, patients, rows)
    (out / "AllDICOMs").mkdir()
    (out / "AllXML").mkdir()
    draw = partial(_write_patient, out, seed=seed, rows=rows)
    drawn = run_parallel(draw, range(patients), workers, "INbreast phantoms", unit="patient")
    lines = [line for patient in drawn for line in patient]
    planted = plant_defects(out, lines) if defects else {}
    with open(out / "INbreast.csv", "w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
        writer.writerow(_COLUMNS)
        writer.writerows(lines)
    return planted


def bi_rads_of(breast: int, seed: int) -> str:
    """BI-RADS of breast number ``breast``, in the proportions of :data:`BI_RADS_SHARES`.

    Steps of the golden ratio fill the unit interval evenly, so that even few patients include positives.
    """
    point = (np.random.default_rng([seed]).random() + breast * 0.6180339887498949) % 1
    edges = np.cumsum(list(BI_RADS_SHARES.values())) / sum(BI_RADS_SHARES.values())
    return list(BI_RADS_SHARES)[min(int(np.searchsorted(edges, point, side="right")), len(edges) - 1)]


def _findings(rng: np.random.Generator, bi_rads: str) -> list[Finding]:
    """Lesions that fit the assessment."""

    def finding(pathology: Pathology, contrast: float = _CONTRAST) -> Finding:
        return random_finding(rng, pick_type(rng), pathology, contrast)

    extra = [finding(Pathology.BENIGN)] if rng.random() < 0.2 else []
    if bi_rads == "1":
        return []
    if bi_rads == "2":
        return [finding(Pathology.BENIGN), *extra] if rng.random() >= 0.5 else []
    if bi_rads == "3":
        return [finding(Pathology.BENIGN, contrast=0.6 * _CONTRAST)]
    return [finding(Pathology.MALIGNANT), *extra]


def _write_patient(out: Path, index: int, seed: int, rows: int) -> list[list[str]]:
    """Draw and save one patient's images; return the table's rows."""
    rng = np.random.default_rng([seed, index, 1])
    patient = rng.bytes(8).hex()
    density = mixed_density(rng)
    month = str(rng.choice(["200801", "200802", "200901", "200902", "201001"]))
    detector = _DETECTORS[int(rng.integers(2))]
    study = random_uid(rng, UID_ROOT)
    file_number = 20_000_000 + index * 300 + int(rng.integers(0, 100))
    breasts = [(laterality, bi_rads_of(2 * index + side, seed)) for side, laterality in enumerate(Laterality)]
    if rng.random() < 0.12:  # one breast only
        breasts = [breasts[int(rng.integers(2))]]
    found = [(laterality, bi_rads, _findings(rng, bi_rads)) for laterality, bi_rads in breasts]

    lines = []
    for view in View:
        for laterality, bi_rads, findings in found:
            file_number += int(rng.integers(20, 30))
            columns = round(rows * detector[1] / detector[0])
            scene = draw_scene(rng, rows, columns, laterality, view, density, findings, edge_falloff=0.45)
            side, name = laterality.value[0], "CC" if view is View.CC else "ML"
            path = out / "AllDICOMs" / f"{file_number}_{patient}_MG_{side}_{name}_ANON.dcm"
            spacing = _SPACING * detector[0] / rows
            _save_image(path, rng, scene, spacing, month, study)
            if scene.findings:
                rois = outlines_of(rng, scene, spacing)
                plist = {"Images": [{"ImageIndex": 0, "NumberOfROIs": len(rois), "ROIs": rois}]}
                (out / "AllXML" / f"{file_number}.xml").write_bytes(plistlib.dumps(plist))
            lines.append(["removed", "removed", side, view.value, month, str(file_number), str(density), bi_rads])
    return lines


def _save_image(path: Path, rng: np.random.Generator, scene: Scene, spacing: float, month: str, study: str) -> None:
    pixels = expose_detector(rng, scene)
    instance = random_uid(rng, UID_ROOT)
    dataset = new_dataset(DigitalMammographyXRayImageStorageForPresentation, instance, pixels, bits=14)
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.StudyDate = dataset.AcquisitionDate = f"{month}01"
    dataset.StudyTime = ""
    dataset.AccessionNumber = ""
    dataset.Modality = "MG"
    dataset.Manufacturer = "monai-e2e"
    dataset.ManufacturerModelName = "Phantom"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = PHANTOM_NOTE
    dataset.PatientName = dataset.PatientID = "removed"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.BodyPartExamined = "BREAST"
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = random_uid(rng, UID_ROOT)
    dataset.StudyID = ""
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.Laterality = dataset.ImageLaterality = scene.laterality.value[0]
    dataset.ViewPosition = scene.view.value
    dataset.PatientOrientation = ["A" if scene.laterality is Laterality.LEFT else "P", "F"]
    dataset.ImagerPixelSpacing = dataset.PixelSpacing = [round(spacing, 6)] * 2
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.WindowCenter, dataset.WindowWidth = 8192, 16384
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    save(dataset, path)
