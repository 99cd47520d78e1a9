"""From stored values to brightness: windows, outlying pixels, bits, padding and polarity."""

import warnings

import numpy as np
import pytest
from test_dicom import write_dicom

from monai_e2e.data.images.brightness import apply_window, count_values, used_bits, without_outliers
from monai_e2e.data.images.dicom import decode_image


@pytest.mark.parametrize(
    ("function", "width", "values", "expected"),
    [
        ("LINEAR", 1, [-1, -0.5, 0], [0, 0, 1]),
        ("LINEAR", 3, [-2, -1, 0, 1], [0, 0.25, 0.75, 1]),
        ("LINEAR_EXACT", 4, [-2, -1, 0, 2, 3], [0, 0.25, 0.5, 1, 1]),
        ("SIGMOID", 2, [-1, 0, 1], [1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-2)]),
        ("SIGMOID", 0.1, [-60000, 0, 60000], [0, 0.5, 1]),
    ],
)
def test_window_maps_to_the_unit_range(function, width, values, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(apply_window(np.array(values), 0, width, function), expected)


@pytest.mark.parametrize(("function", "width"), [("LINEAR", 0.5), ("LINEAR_EXACT", 0), ("SIGMOID", -1), ("CUBIC", 9)])
def test_impossible_window_is_refused(function, width):
    with pytest.raises(ValueError, match="no such window"):
        apply_window(np.zeros(3), 0, width, function)


def image(rows: int = 300, columns: int = 200, brightest: int = 4000) -> np.ndarray:
    """A smooth picture of 60,000 values from 0 to ``brightest``."""
    down, right = np.mgrid[:rows, :columns]
    return (brightest * np.sin(down / rows * 3.14) * np.cos(right / columns * 1.57)).round().astype(np.uint16)


def read(tmp_path, pixels, **attributes):
    return decode_image(write_dicom(tmp_path / "a.dcm", pixels, **attributes))


@pytest.mark.parametrize("pixels", [1, 3, 16])
@pytest.mark.parametrize("value", [65535, 30000])
def test_a_handful_of_hot_pixels_does_not_squeeze_the_image(tmp_path, pixels, value):
    hot = image()
    hot.ravel()[:pixels] = value
    plain, found = read(tmp_path, image()), read(tmp_path, hot)
    assert found.flags == ("outlying pixels",)
    assert plain.flags == ()
    np.testing.assert_allclose(found.pixels.ravel()[pixels:], plain.pixels.ravel()[pixels:], atol=1e-2)
    assert (found.pixels.ravel()[:pixels] == 1).all()


def test_dead_pixels_do_not_squeeze_the_image_either(tmp_path):
    dead = image() + 8000
    dead[0, 0] = 0
    found = read(tmp_path, dead, PhotometricInterpretation="MONOCHROME1")
    assert found.flags == ("outlying pixels",)
    np.testing.assert_allclose(found.pixels[1:], 1 - image()[1:] / 4000, atol=1e-2)


def test_marks_and_calcifications_are_no_outliers(tmp_path):
    marked = image(brightest=3000)
    marked[:5, :20] = 65535  # a hundred pixels of 60,000
    assert read(tmp_path, marked).flags == ()
    calcified = image(brightest=3000)
    calcified[50:53, 50:53] = 4000
    assert read(tmp_path, calcified).flags == ()


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_values_that_need_more_bits_than_are_stored_do_not_wrap_round(tmp_path, dtype):
    pixels = image().astype(dtype)
    found = read(tmp_path, pixels, BitsStored=10, HighBit=9)
    assert found.flags == ("more bits than stored",)
    np.testing.assert_array_equal(found.pixels, read(tmp_path, pixels).pixels)


def test_what_neighbours_know_nothing_of_is_garbage():
    garbage = np.random.default_rng(0).integers(0, 16, image().shape).astype(np.uint16) << 12
    np.testing.assert_array_equal(used_bits(image() | garbage, 12), image())
    np.testing.assert_array_equal(used_bits(image() | 0xF000, 12), image())


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted", "flags"),
    [
        ("MONOCHROME1", "INVERSE", True, ()),
        ("MONOCHROME2", "IDENTITY", False, ()),
        ("MONOCHROME2", "INVERSE", True, ("polarity contradictory",)),
        ("MONOCHROME1", "IDENTITY", True, ("polarity contradictory",)),
    ],
)
def test_polarity_is_by_photometric_interpretation_and_lut_shape(tmp_path, photometric, shape, inverted, flags):
    found = read(tmp_path, image(), PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    expected = image() / image().max()
    np.testing.assert_allclose(found.pixels, 1 - expected if inverted else expected, atol=1e-6)
    assert found.flags == flags


def test_padding_below_the_image_leaves_air_darker_than_tissue(tmp_path):
    cut = image(brightest=2000) + 1000
    cut[:, 150:] = 0  # a background set to 0 by the maker's processing
    declared, plain = read(tmp_path, cut, PixelPaddingValue=0), read(tmp_path, cut)
    np.testing.assert_array_equal(declared.pixels, plain.pixels)
    assert declared.pixels[:, :150].min() > 0.3


def test_padding_above_an_inverted_image_leaves_air_darker_than_tissue(tmp_path):
    cut = image(brightest=2000) + 1000
    cut[:, 150:] = 0
    inverted = {"PhotometricInterpretation": "MONOCHROME1"}
    stored = (4095 - cut).astype(np.uint16)
    declared = read(tmp_path, stored, **inverted, PixelPaddingValue=4095)
    np.testing.assert_array_equal(declared.pixels, read(tmp_path, stored, **inverted).pixels)
    assert declared.pixels[:, :150].min() > 0.3
    far = np.where(stored == 4095, 60000, stored).astype(np.uint16)  # no grey of the image: its range is its own
    assert read(tmp_path, far, **inverted, PixelPaddingValue=60000).pixels[:, :150].min() == 0


def test_an_image_without_a_window_is_flagged_where_windows_are_applied(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", image())
    assert decode_image(path, voi_lut=True).flags == ("no window",)
    assert decode_image(path).flags == ()
    path = write_dicom(tmp_path / "a.dcm", image(), WindowCenter=2000, WindowWidth=2000)
    assert decode_image(path, voi_lut=True).flags == ()


def test_counts_of_values_are_in_order_for_every_type():
    for dtype in (np.uint8, np.int8, np.uint16, np.int16):
        limits = np.iinfo(dtype)
        counts = count_values(np.array([[limits.min, limits.max, limits.max]], dtype=dtype))
        assert (counts[0], counts[-1], counts.sum(), len(counts)) == (1, 2, 3, limits.max - limits.min + 1)


def test_an_image_of_few_pixels_has_no_outliers():
    assert without_outliers(np.array([1, 0, 0, 5, 0, 0, 0, 0, 0, 1])) == (0, 9)
