"""Sizes of lesions in mm, of shapes whose size is known, and on the way from DICOM to the table of predictions."""

import json

import numpy as np
import pytest
from test_dicom import write_dicom

from monai_e2e.data.prepared.images import ImageTask, prepare_image
from monai_e2e.data.prepared.lesions import lesion_length
from monai_e2e.data.records import Laterality, Lesion, LesionType, Mammogram, Pathology, View
from monai_e2e.data.sources.shapes import box_outline
from monai_e2e.metrics import read_labels
from monai_e2e.predict.worklist import list_prepared


def mask(*place: slice) -> np.ndarray:
    drawn = np.zeros((120, 100), dtype=bool)
    drawn[place] = True
    return drawn


def test_length_is_the_longer_side_whichever_way_the_lesion_lies():
    assert lesion_length(mask(slice(10, 40), slice(20, 25)), (0.1, 0.1)) == pytest.approx(3)
    assert lesion_length(mask(slice(10, 40), slice(20, 30)), (0.1, 0.5)) == pytest.approx(5, abs=0.5)
    rows, columns = np.mgrid[:120, :100]
    along, across = (rows - columns) / np.sqrt(2), (rows + columns - 100) / np.sqrt(2)
    assert lesion_length((abs(along) < 20) & (abs(across) < 5), (0.1, 0.1)) == pytest.approx(4, abs=0.2)
    assert lesion_length((rows - 60) ** 2 + (columns - 50) ** 2 < 20**2, (0.1, 0.1)) == pytest.approx(4, abs=0.2)
    assert lesion_length(mask(slice(10, 11), slice(20, 21)), (0.1, 0.1)) == pytest.approx(0.1)


def task(folder, label=1, **header):
    pixels = np.random.default_rng(0).integers(100, 4000, (240, 200)).astype(np.uint16)
    path = write_dicom(folder / "a.dcm", pixels, **header)
    boxes = ((Pathology.MALIGNANT, 60), (Pathology.BENIGN, 100))
    lesions = tuple(
        Lesion(LesionType.MASS, pathology, number, outline=box_outline(20, 30, 20, length))
        for number, (pathology, length) in enumerate(boxes, start=1)
    )
    image = Mammogram(path, "P1", Laterality.LEFT, View.CC, label, lesions)
    return ImageTask(image, folder, (120, 100))


def test_size_of_the_largest_malignant_lesion_is_known_where_the_spacing_is(tmp_path):
    sample = prepare_image(task(tmp_path, ImagerPixelSpacing=[0.1, 0.1])).sample
    assert sample["lesion_size"] == pytest.approx(6, abs=0.2)
    assert "lesion_size" not in prepare_image(task(tmp_path)).sample
    assert "lesion_size" not in prepare_image(task(tmp_path, 0, ImagerPixelSpacing=[0.1, 0.1])).sample


def test_size_goes_on_to_predictions_and_subgroups(tmp_path):
    sample = prepare_image(task(tmp_path, ImagerPixelSpacing=[0.1, 0.1])).sample
    datalist = {"image_size": [120, 100], "pixel_mean": 40.0, "training": [], "validation": [], "test": [sample]}
    (tmp_path / "datalist.json").write_text(json.dumps(datalist))
    assert list_prepared(tmp_path, "test")[0].facts["lesion_size"] == sample["lesion_size"]
    assert read_labels(tmp_path)["P1_LEFT_CC"]["lesion_size"] == sample["lesion_size"]
