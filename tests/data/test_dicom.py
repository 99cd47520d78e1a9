"""Polarity, orientation, scaling and refusals of the mammogram reader, on files written here."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from monai_e2e.data.dicom import (
    draw_outline,
    is_dicom,
    read_mammogram,
    read_mask,
    resize_mammogram,
    resize_mask,
    same_aspect,
)
from monai_e2e.errors import UserError


def write_dicom(path: Path, pixels: np.ndarray, **attributes: object) -> Path:
    """Write a minimal mammography file; ``attributes`` override header elements (None deletes)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.PatientName = "Doe^Jane"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def ramp(rows: int = 6, columns: int = 4, low: int = 100, high: int = 4000) -> np.ndarray:
    return np.linspace(low, high, rows * columns).reshape(rows, columns).astype(np.uint16)


def test_film_is_scaled_to_its_own_range(tmp_path):
    image = read_mammogram(write_dicom(tmp_path / "a.dcm", ramp()))
    assert image.dtype == np.float32
    assert image.shape == (6, 4)
    assert (image.min(), image.max()) == (0, 1)
    np.testing.assert_allclose(image, (ramp() - 100) / 3900, atol=1e-6)


def test_monochrome1_is_inverted(tmp_path):
    plain = read_mammogram(write_dicom(tmp_path / "a.dcm", ramp()))
    inverted = read_mammogram(write_dicom(tmp_path / "b.dcm", ramp(), PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(inverted, 1 - plain, atol=1e-6)


def test_negative_rescale_slope_inverts_like_monochrome1(tmp_path):
    plain = read_mammogram(write_dicom(tmp_path / "a.dcm", ramp()))
    sloped = read_mammogram(write_dicom(tmp_path / "b.dcm", ramp(), RescaleSlope="-2", RescaleIntercept="5"))
    np.testing.assert_allclose(sloped, 1 - plain, atol=1e-6)


def test_signed_pixels_are_read_with_their_sign(tmp_path):
    pixels = np.array([[-100, 0], [50, 100]], dtype=np.int16)
    image = read_mammogram(write_dicom(tmp_path / "a.dcm", pixels))
    np.testing.assert_allclose(image, [[0, 0.5], [0.75, 1]])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_becomes_air_and_does_not_stretch_the_range(tmp_path, photometric):
    pixels = ramp(low=1000)
    pixels[0] = 0
    path = write_dicom(tmp_path / "a.dcm", pixels, PhotometricInterpretation=photometric)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 0)
    dataset.save_as(path)
    image = read_mammogram(path)
    assert (image[0] == 0).all()
    assert sorted([image[1, 0], image[-1, -1]]) == [0, 1]


def test_dicom_and_png_of_the_same_array_are_equal(tmp_path):
    pixels = np.linspace(0, 65535, 35).reshape(7, 5).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    from_dicom = read_mammogram(write_dicom(tmp_path / "a.dcm", pixels))
    for name in ("a.png", "a.tif"):
        np.testing.assert_allclose(read_mammogram(tmp_path / name), from_dicom, atol=1e-6)


@pytest.mark.parametrize(("dtype", "maximum"), [(np.uint8, 255), (np.uint16, 65535)])
def test_png_is_divided_by_its_type_maximum_and_not_stretched(tmp_path, dtype, maximum):
    pixels = np.array([[10, 20, 30], [40, 50, 60]], dtype=dtype)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_mammogram(tmp_path / "a.png"), pixels / maximum, rtol=1e-6)


def test_is_dicom_looks_at_content(tmp_path):
    Image.fromarray(ramp()).save(tmp_path / "a.png")
    assert is_dicom(write_dicom(tmp_path / "no-suffix", ramp()))
    assert not is_dicom(tmp_path / "a.png")
    assert not is_dicom(tmp_path / "absent")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PixelData": None}, "no pixel data"),
        ({"PixelData": b"\0" * 10}, "can't be decoded"),
        ({"NumberOfFrames": 2}, "2 frames"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "photometric interpretation RGB"),
        ({"Rows": None}, "can't be decoded"),
    ],
)
def test_unusable_dicom_is_refused_with_its_name(tmp_path, attributes, expected):
    path = write_dicom(tmp_path / "film.dcm", ramp(), **attributes)
    with pytest.raises(UserError, match=expected) as caught:
        read_mammogram(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Doe" not in str(caught.value)


def test_compression_without_decoder_names_the_packages(tmp_path):
    path = write_dicom(tmp_path / "film.dcm", ramp())
    dataset = pydicom.dcmread(path)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
    dataset.save_as(path)
    if pydicom.pixels.get_decoder(pydicom.uid.JPEGLosslessSV1).is_available:
        pytest.skip("a decoder for JPEG Lossless is installed")
    with pytest.raises(UserError, match="pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"):
        read_mammogram(path)


def test_film_with_a_single_value_is_refused(tmp_path):
    with pytest.raises(UserError, match="single pixel value"):
        read_mammogram(write_dicom(tmp_path / "a.dcm", np.full((4, 4), 7, np.uint16)))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02")
    with pytest.raises(UserError, match="not readable"):
        read_mammogram(tmp_path / "text.png")
    with pytest.raises(UserError, match="mode RGB"):
        read_mammogram(tmp_path / "colour.png")
    with pytest.raises(UserError, match="mode F"):
        read_mammogram(tmp_path / "float.tif")
    with pytest.raises(UserError, match=r"broken\.dcm: "):
        read_mammogram(tmp_path / "broken.dcm")
    with pytest.raises(UserError, match="no such file"):
        read_mammogram(tmp_path / "absent.png")


def test_mask_is_bool_whatever_its_values(tmp_path):
    mask = np.zeros((5, 4), np.uint8)
    mask[1:3, 2] = 1
    np.testing.assert_array_equal(read_mask(write_dicom(tmp_path / "a.dcm", mask)), mask > 0)
    Image.fromarray(mask * 255).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), mask > 0)
    Image.fromarray(mask * 0).save(tmp_path / "empty.png")
    assert not read_mask(tmp_path / "empty.png").any()
    with pytest.raises(UserError, match="more than two pixel values"):
        read_mask(write_dicom(tmp_path / "film.dcm", ramp()))


def test_resized_film_keeps_orientation_mean_and_range():
    image = np.zeros((60, 40), np.float32)
    image[:20, :10] = 1
    resized = resize_mammogram(image, (12, 8))
    assert resized.shape == (12, 8)
    assert resized.dtype == np.float32
    assert resized[0, 0] > 0.99
    assert resized[-1, -1] < 0.01
    assert resized.min() >= 0
    assert resized.max() <= 1
    assert abs(resized.mean() - image.mean()) < 0.01


def test_resizing_averages_over_the_area_of_a_pixel():
    stripes = np.tile(np.array([0, 1], np.float32), (64, 32))
    np.testing.assert_allclose(resize_mammogram(stripes, (8, 8))[2:-2, 2:-2], 0.5, atol=0.05)


def test_resized_mask_keeps_a_lesion_smaller_than_a_pixel():
    mask = np.zeros((1000, 800), bool)
    mask[501, 403] = True
    resized = resize_mask(mask, (10, 8))
    assert np.argwhere(resized).tolist() == [[5, 4]]
    mask[:] = False
    mask[999, 799] = True
    assert resize_mask(mask, (10, 8))[9, 7]
    assert not resize_mask(np.zeros((1000, 800), bool), (10, 8)).any()


def test_outline_is_drawn_at_the_target_size():
    square = [(20, 40), (20, 59), (39, 59), (39, 40)]
    mask = draw_outline(square, (100, 100), (50, 50))
    expected = np.zeros((50, 50), bool)
    expected[10:20, 20:30] = True
    assert (mask != expected).sum() <= 40  # at most the rim
    assert mask[15, 25]
    assert np.argwhere(draw_outline([(90, 10)], (100, 100), (10, 10))).tolist() == [[9, 1]]
    assert draw_outline([(500, 500)], (100, 100), (50, 50)) is None


def test_aspect_tolerance_is_one_percent():
    assert same_aspect((1000, 800), (500, 400))
    assert same_aspect((1000, 800), (1009, 800))
    assert not same_aspect((1000, 800), (1011, 800))
    assert not same_aspect((1000, 800), (800, 1000))
