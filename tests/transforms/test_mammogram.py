"""Reading an image into MONAI: rows × columns, 0–255, and the path that later names the prediction."""

import numpy as np
import pydicom
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import NormalizeIntensity, RepeatChannel
from PIL import Image

from monai_e2e.data import read_mammogram
from monai_e2e.data.images.dicom import decode_image
from monai_e2e.data.phantom import write_inbreast
from monai_e2e.errors import UserError
from monai_e2e.transforms import (
    LoadMammogram,
    LoadMammogramd,
    MammogramFile,
    NetworkInput,
    NetworkInputd,
    ResizeMammogram,
    ResizeMammogramd,
    ScaleMammogram,
    ScaleMammogramd,
    mammogram,
)


@pytest.fixture
def prepared(tmp_path):
    """16-bit image of 4 rows and 6 columns, dark at the top left, full range."""
    pixels = np.linspace(0, 65535, 24).reshape(4, 6).astype(np.uint16)
    path = tmp_path / "P_00001_LEFT_CC.png"
    Image.fromarray(pixels).save(path)
    return path, pixels


def test_prepared_image_is_the_png_value_times_255_over_65535(prepared):
    path, pixels = prepared
    image = LoadMammogram()(path)
    assert isinstance(image, MetaTensor)
    assert image.shape == (1, 4, 6)
    assert image.dtype == torch.float32
    np.testing.assert_allclose(image[0].numpy(), pixels * (255 / 65535), rtol=1e-5)


def test_eight_bit_picture_keeps_its_values(tmp_path):
    pixels = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    np.testing.assert_allclose(LoadMammogram()(tmp_path / "image.png")[0].numpy(), pixels, atol=1e-4)


def test_path_is_kept_where_monais_savers_look_for_it(prepared):
    path, _ = prepared
    assert LoadMammogram()(path).meta["filename_or_obj"] == str(path)


def test_resized_to_rows_and_columns_within_the_range(prepared):
    path, _ = prepared
    image = LoadMammogram(image_size=[8, 3])(path)
    assert image.shape == (1, 8, 3)
    assert 0 <= image.min() < image.max() <= 255
    assert image[0, 0].mean() < image[0, -1].mean()  # still dark at the top
    torch.testing.assert_close(LoadMammogram(image_size=(4, 6))(path), LoadMammogram()(path))


def test_unreadable_file_is_a_users_mistake_that_names_it(tmp_path):
    (tmp_path / "image.png").write_text("no image")
    for name in ("image.png", "absent.png"):
        with pytest.raises(UserError, match=name):
            LoadMammogram()(tmp_path / name)


def test_dictionary_version_keeps_the_path_beside_the_image(prepared):
    path, _ = prepared
    sample = {"image": str(path), "label": 1}
    out = LoadMammogramd("image", image_size=(8, 3))(sample)
    assert out["image"].shape == (1, 8, 3)
    assert out["image_path"] == str(path)
    assert out["label"] == 1
    assert sample == {"image": str(path), "label": 1}


def test_dictionary_version_with_a_missing_key(prepared):
    with pytest.raises(KeyError, match="image"):
        LoadMammogramd("image")({"label": 1})
    assert LoadMammogramd("image", allow_missing_keys=True)({"label": 1}) == {"label": 1}


def test_batches_hold_images_and_a_list_of_paths(prepared):
    path, _ = prepared
    batch = next(iter(DataLoader(Dataset([{"image": str(path)}] * 2, LoadMammogramd("image")), batch_size=2)))
    assert batch["image"].shape == (2, 1, 4, 6)
    assert batch["image_path"] == [str(path)] * 2


@pytest.mark.parametrize("voi_lut", [False, True])
def test_window_of_the_file_is_applied_as_preparation_would(voi_lut, tmp_path):
    write_inbreast(tmp_path / "inbreast", 2, workers=1)
    path = next((tmp_path / "inbreast" / "AllDICOMs").rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.WindowCenter, dataset.WindowWidth = int(dataset.pixel_array.mean()), 50
    dataset.save_as(path)
    expected = torch.from_numpy(255 * read_mammogram(path, voi_lut))[None]
    torch.testing.assert_close(LoadMammogramd(keys="image", voi_lut=voi_lut)({"image": path})["image"], expected)
    assert ((expected > 0) & (expected < 255)).float().mean() < (0.3 if voi_lut else 1.0)


def test_an_image_that_several_pipelines_read_is_decoded_once_and_left_as_it_is(prepared, monkeypatch):
    path, pixels = prepared
    read = []
    monkeypatch.setattr(mammogram, "decode_image", lambda *given: read.append(given) or decode_image(*given))
    shared = MammogramFile(path)
    first = LoadMammogramd("image")({"image": shared})
    first["image"] -= 50
    second = LoadMammogramd("image", image_size=(8, 3))({"image": shared})
    assert read == [(str(path), False, False)]
    assert second["image"].shape == (1, 8, 3)
    assert first["image_path"] == second["image_path"] == str(path)
    np.testing.assert_allclose(LoadMammogram()(shared)[0].numpy(), pixels * (255 / 65535), rtol=1e-5)
    assert shared.pixels.shape == (4, 6)


class TestInMemory:
    @pytest.mark.parametrize("make", [np.asarray, torch.as_tensor, lambda a: MetaTensor(torch.as_tensor(a))])
    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
    def test_any_kind_of_array_is_scaled_to_its_own_range(self, make, dtype):
        pixels = np.linspace(10, 110, 24).reshape(4, 6).astype(dtype)
        expected = (pixels - pixels.min()) / np.float32(np.ptp(pixels)) * 255
        for array in (pixels, pixels[None]):
            image = ScaleMammogram()(make(array))
            assert image.dtype == torch.float32
            assert image.shape == (1, 4, 6)
            np.testing.assert_allclose(image[0].numpy(), expected, atol=0.01)
            np.testing.assert_allclose(LoadMammogram()(make(array)).numpy(), image.numpy())

    def test_low_values_that_mean_bright_are_inverted(self):
        pixels = np.arange(24).reshape(4, 6)
        np.testing.assert_allclose(ScaleMammogram(inverted=True)(pixels), 255 - ScaleMammogram()(pixels), atol=1e-4)

    def test_a_dead_pixel_does_not_squeeze_the_range(self):
        pixels = np.tile(np.arange(1000, 2000), (40, 1))
        pixels[0, 0] = 60000
        assert ScaleMammogram()(pixels).mean() == pytest.approx(127.5, abs=1)

    def test_a_files_pixels_in_memory_become_what_its_file_becomes(self, tmp_path):
        write_inbreast(tmp_path / "inbreast", 2, workers=1)
        path = next((tmp_path / "inbreast" / "AllDICOMs").rglob("*.dcm"))
        pixels = pydicom.dcmread(path).pixel_array
        for load in (LoadMammogram(), LoadMammogram(image_size=(64, 48))):
            np.testing.assert_allclose(load(pixels).numpy(), load(path).numpy(), atol=1e-3)

    def test_what_the_image_says_of_itself_is_kept(self):
        image = MetaTensor(torch.arange(24.0).reshape(1, 4, 6), meta={"filename_or_obj": "a.dcm"})
        out = LoadMammogramd("image", image_size=(8, 3))({"image": image, "label": 1})
        assert out["image_path"] == "a.dcm"
        assert out["image"].shape == (1, 8, 3)
        assert LoadMammogramd("image")({"image": np.arange(6).reshape(2, 3)})["image_path"] == ""

    @pytest.mark.parametrize(
        "pixels", [np.zeros((4, 6)), np.zeros((3, 4, 6)), np.arange(4), np.array([[0.0, 1.0], [np.nan, 2.0]])], ids=str
    )
    def test_what_is_no_image_is_refused(self, pixels):
        with pytest.raises(ValueError, match="a mammogram must"):
            ScaleMammogram()(pixels)

    def test_resizing_is_that_of_the_loader(self, prepared):
        path, _ = prepared
        resized = ResizeMammogram((8, 3))(LoadMammogram()(path))
        np.testing.assert_allclose(resized, LoadMammogram(image_size=(8, 3))(path), atol=1e-4)
        assert resized.meta["filename_or_obj"] == str(path)

    def test_dictionary_versions(self):
        sample = {"image": np.arange(24).reshape(4, 6), "label": 1}
        for transform in (ScaleMammogramd("image"), ResizeMammogramd("image", (2, 3))):
            sample = transform(sample)
        assert sample["image"].shape == (1, 2, 3)
        assert sample["label"] == 1
        assert ScaleMammogramd("absent", allow_missing_keys=True)({"label": 1}) == {"label": 1}


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, MetaTensor])
def test_a_networks_input_is_what_monais_transforms_give_one_after_the_other(kind):
    image = np.random.default_rng(0).uniform(0, 255, (1, 5, 4)).astype(np.float32)
    expected = RepeatChannel(3)(NormalizeIntensity(53.37, 1.0)(torch.from_numpy(image))).as_tensor()
    found = NetworkInputd("image", 53.37, 3)({"image": kind(image), "label": 1})
    assert type(found["image"]) is torch.Tensor
    assert torch.equal(found["image"], expected)
    assert found["label"] == 1
    assert NetworkInput(53.37, 1)(kind(image)).shape == (1, 5, 4)
