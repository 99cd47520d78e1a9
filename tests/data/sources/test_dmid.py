"""DMID: several rows per image, blanks and a typing error, pictures with opacity, nested folders, no patients."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from release_files import by_name, check_rows, pixels, prepared, reasons, write_image, write_sheet
from test_dicom import write_dicom

from monai_e2e.data.records import Laterality, LesionType, Pathology, View
from monai_e2e.data.sources.dmid import read_dmid

pytest.importorskip("python_calamine")

ROWS = [
    ("IMG001", "CCLT", " CIRC ", "M "),
    ("IMG002", "MLORT", "CLAC", "B"),
    ("IMG003", "CCRT", "CIRC", "B"),
    ("IMG003", "CCRT", "CALC", "M"),
    ("IMG004", "MLOLT", "ARCH+ CALC", "M"),
    ("IMG005", "MLOLT", "SPIC", "M"),
    *((f"IMG{number:03d}", "CCLT", "NORM", "N" if number % 2 else "-") for number in range(6, 12)),
    ("IMG012", "XX", "NORM", "N"),
]


def rgba(values: np.ndarray) -> Image.Image:
    """A grey picture stored with colours and opacity."""
    picture = Image.fromarray(values).convert("RGBA")
    picture.putalpha(128)
    return picture


def write_dmid(folder: Path) -> Path:
    for place in ("TIFF Images/TIFF Images", "ROI Masks/ROI Masks", "Pixel-level annotation/Pixel-level annotation"):
        (folder / place).mkdir(parents=True)
    for number in range(1, 13):
        name = f"IMG{number:03d}"
        rgba(pixels(number)).save(folder / "TIFF Images/TIFF Images" / f"{name}.tif")
        rgba(pixels(number)).save(folder / "Pixel-level annotation/Pixel-level annotation" / f"{name}.tif")
        write_image(folder / "DICOM Images/DICOM Images" / f"{name}.dcm", number)
        if number in (1, 2, 3):
            mask = np.zeros((24, 20), np.uint8)
            mask[4:9, 5:10] = 255
            rgba(mask).save(folder / "ROI Masks/ROI Masks" / f"{name}.tif", compression="tiff_lzw")
    keys = ("ID", "view", "abnormality", "pathology")
    write_sheet(folder / "Metadata.xlsx", [dict(zip(keys, row, strict=True)) for row in ROWS])
    (folder / "Info.txt").write_text("\n".join(f"{name} G {kind} {sign} 1 2 3" for name, _, kind, sign in ROWS))
    return folder


def test_rows_of_an_image_add_up(tmp_path):
    catalogue = check_rows(read_dmid(write_dmid(tmp_path)))
    images = by_name(catalogue)
    assert {name: image.label for name, image in images.items() if image.label} == dict.fromkeys(
        ("IMG001", "IMG003", "IMG004", "IMG005"), 1
    )
    assert (images["IMG001"].laterality, images["IMG001"].view) == (Laterality.LEFT, View.CC)
    assert (images["IMG002"].laterality, images["IMG002"].view) == (Laterality.RIGHT, View.MLO)
    assert len({image.patient_id for image in catalogue.mammograms}) == 11
    assert {image.path.suffix for image in catalogue.mammograms} == {".tif"}
    assert reasons(catalogue) == {"view not understood": 1}
    assert catalogue.notes == {"lesions_without_a_mask": 2}


def test_merged_mask_has_a_class_where_the_rows_agree(tmp_path):
    images = by_name(read_dmid(write_dmid(tmp_path)))
    assert [
        (lesion.type, lesion.pathology) for name in ("IMG001", "IMG002", "IMG003") for lesion in images[name].lesions
    ] == [
        (LesionType.MASS, Pathology.MALIGNANT),
        (LesionType.CALCIFICATION, Pathology.BENIGN),
        (None, None),
    ]
    assert images["IMG001"].lesions[0].mask_paths[0].parent.name == "ROI Masks"
    assert images["IMG006"].lesions == ()


def test_dicom_images_of_three_equal_colours_are_grey(tmp_path):
    write_dmid(tmp_path / "src")
    for path in (tmp_path / "src" / "TIFF Images").rglob("*.tif"):
        path.unlink()
    for path in (tmp_path / "src" / "DICOM Images").rglob("*.dcm"):
        grey = pixels(int(path.stem[3:]))
        write_dicom(path, grey, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB")
        dataset = pydicom.dcmread(path)
        dataset.PixelData = np.repeat(grey[..., None], 3, axis=2).tobytes()
        dataset.save_as(path)
    report, _ = prepared("dmid", tmp_path / "src", tmp_path / "out")
    assert report["excluded_by_reason"] == {"view not understood": 1}  # no image


def test_dicom_images_do_where_there_are_no_pictures(tmp_path):
    write_dmid(tmp_path)
    for path in (tmp_path / "TIFF Images").rglob("*.tif"):
        path.unlink()
    assert {image.path.suffix for image in read_dmid(tmp_path).mammograms} == {".dcm"}


def test_folder_is_prepared(tmp_path):
    report, _ = prepared("dmid", write_dmid(tmp_path / "src"), tmp_path / "out")
    assert report["lesions_drawn_as"] == {"mask": 3}
    assert report["patients_known"] is False
    assert "patients aren't known" in (tmp_path / "out" / "report.md").read_text()
