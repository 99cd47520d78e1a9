"""Reading one image for several models: what comes back, and reasons that repeat no header."""

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation

from monai_e2e.data.phantom.storage import new_dataset, save
from monai_e2e.predict.reading import ImageReader
from monai_e2e.predict.worklist import ListedImage
from monai_e2e.transforms import LoadMammogramd


@pytest.fixture
def path(tmp_path):
    pixels = np.linspace(0, 255, 200 * 100).reshape(200, 100).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def test_each_model_gets_its_own_image_and_pictures_the_image_in_its_true_proportions(path, tmp_path):
    mask = np.zeros((200, 100), dtype=np.uint8)
    mask[50:100] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    reader = ImageReader([LoadMammogramd("image", (64, 48)), LoadMammogramd("image", (32, 32))], pictures=True)
    read = reader(ListedImage("image", path, masks=(str(tmp_path / "mask.png"),)))
    assert [image.shape for image in read.images] == [(1, 64, 48), (1, 32, 32)]
    assert all(type(image) is np.ndarray and image.dtype == np.float32 for image in read.images)
    assert (read.size, read.picture.shape, read.picture.dtype) == ((200, 100), (1152, 576), np.uint8)
    assert read.picture[0].max() < 5
    assert read.picture[-1].min() > 250
    assert read.masks[0].shape == (1152, 576)
    assert read.masks[0].sum() == 288 * 576


def test_a_prepared_image_is_drawn_in_the_proportions_of_its_original(path):
    reader = ImageReader([LoadMammogramd("image")], pictures=True)
    assert reader(ListedImage("image", path, original_size=(4000, 3000))).picture.shape == (1152, 864)


@pytest.mark.parametrize("element", ["PhotometricInterpretation", "RescaleSlope", "VOILUTFunction"])
def test_a_reason_repeats_no_text_of_the_header_and_no_path(tmp_path, element):
    dataset = new_dataset(
        DigitalMammographyXRayImageStorageForPresentation, "1.2.3", np.arange(64, dtype=np.uint16).reshape(8, 8), 14
    )
    dataset.WindowCenter, dataset.WindowWidth = 8, 8
    dataset.add_new(element, "LO", "DOE JANE")
    save(dataset, tmp_path / "image.dcm")
    reason = ImageReader([LoadMammogramd("image", voi_lut=True)], pictures=False)(
        ListedImage("image", tmp_path / "image.dcm")
    )
    assert isinstance(reason, str)
    assert "DOE" not in reason
    assert str(tmp_path) not in reason


def test_what_a_foreign_transform_raises_is_a_reason_too(path):
    def fail(_):
        raise ValueError(f"secret {path}")

    reason = ImageReader([fail], pictures=False)(ListedImage("image", path))
    assert reason.startswith("ValueError")
    assert "secret" not in reason
