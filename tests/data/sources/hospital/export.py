"""A hospital's export, drawn: DICOM files with the identifiers that a PACS gives."""

from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation

from monai_e2e.data.phantom.storage import new_dataset, save

#: Of two women; the second has two exams.
EXAMS = (
    ("007", "A-1", "20200131", "1.2.1"),
    ("008", "A-2", "20200201", "1.2.2"),
    ("008", "A-3", "20210302", "1.2.3"),
)


def write_image(path: Path, **elements) -> Path:
    """A DICOM file of random pixels with these elements."""
    uid = f"1.2.826.{crc32(path.as_posix().encode())}"
    pixels = np.random.default_rng(len(path.name)).integers(0, 4096, (48, 32)).astype(np.uint16)
    dataset = new_dataset(DigitalMammographyXRayImageStorageForPresentation, uid, pixels, 12)
    for name, value in elements.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(dataset, path)
    return path


def write_export(folder: Path, exams=EXAMS, views=("LCC", "LMLO", "RCC", "RMLO")) -> Path:
    """Four views of each exam, called as a PACS calls files."""
    for number, (patient, accession, date, study) in enumerate(exams):
        for place, view in enumerate(views):
            write_image(
                folder / f"ST{number}" / f"IM{place}",
                Modality="MG",
                PatientID=patient,
                PatientName="Doe^Jane",
                AccessionNumber=accession,
                StudyDate=date,
                StudyInstanceUID=study,
                SOPInstanceUID=f"{study}.{place}",
                ImageLaterality=view[0],
                ViewPosition=view[1:],
            )
    return folder


def write_pictures(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name)
    return folder


def table(tmp_path, text, name="t.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def labelled(labels):
    return {row["image"]: row["label"] for row in labels.rows}
