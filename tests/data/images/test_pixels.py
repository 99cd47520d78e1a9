"""Picture files, masks among them, grey-value arithmetic and resizing, on files written here."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from monai_e2e.data.images.dicom import decode_image, find_mask, read_mask
from monai_e2e.data.images.pixels import (
    draw_outline,
    read_picture,
    resize_mammogram,
    resize_mask,
    same_aspect,
    save_grey16,
)
from monai_e2e.errors import UserError

RNG = np.random.default_rng(0)
ROWS, COLUMNS = np.mgrid[:600, :400]


def ellipse(row: int, column: int, height: int, width: int) -> np.ndarray:
    return ((ROWS - row) / height) ** 2 + ((COLUMNS - column) / width) ** 2 <= 1


def outline(width: int) -> np.ndarray:
    image = Image.new("1", (400, 600))
    ImageDraw.Draw(image).line([(100, 200), (180, 150), (260, 260), (170, 330), (100, 200)], fill=1, width=width)
    return np.array(image)


def tissue(share: float) -> np.ndarray:
    """A crop of which the given share, in a corner, shows the breast and the rest noisy air."""
    edge = np.hypot(ROWS / 600, COLUMNS / 400) / 1.2
    bright = np.clip(1 - edge / share, 0, 1) ** 0.5 * 200
    return np.clip(bright + RNG.normal(4, 3, bright.shape), 0, 255).astype(np.uint8)


MASKS = {
    "mass": ellipse(250, 180, 70, 90),
    "nearly the whole image": ellipse(300, 200, 280, 190),
    "lesion of 29 pixels": ellipse(301, 203, 3, 3),
    "lesion of 1 pixel": ellipse(301, 203, 0.5, 0.5),
    "specks": (ROWS % 23 < 2) & (COLUMNS % 19 < 2) & ellipse(250, 180, 70, 90),
    "thin outline": outline(1),
    "outline": outline(3),
    "empty": np.zeros(ROWS.shape, bool),
}
LABELLED = Image.fromarray(tissue(0.01))
ImageDraw.Draw(LABELLED).text((280, 40), "R CC 1997", fill=255, font_size=30)
CROPS = {
    "lesion": tissue(3),
    "edge of the breast": tissue(0.4),
    "nearly black": tissue(0.06),
    "air": RNG.integers(0, 25, ROWS.shape).astype(np.uint8),
    "air with an image label": np.array(LABELLED),
    "saturated": np.clip(15 * (ROWS - 20), 0, 255).astype(np.uint8),
    "grey": np.full(ROWS.shape, 128, np.uint8),
    "white": np.clip(RNG.normal(250, 6, ROWS.shape), 0, 255).astype(np.uint8),
    "two greys": np.where(ellipse(250, 180, 70, 90), 150, 60).astype(np.uint8),
}


def save_jpeg(path: Path, pixels: np.ndarray, quality: int, mode: str = "L") -> Path:
    Image.fromarray(pixels).convert(mode).save(path, quality=quality)
    return path


@pytest.mark.parametrize("quality", [75, 85, 95])
@pytest.mark.parametrize("name", MASKS)
def test_jpeg_mask_is_read_as_it_was_drawn(tmp_path, name, quality):
    path = save_jpeg(tmp_path / "mask.jpg", MASKS[name].astype(np.uint8) * 255, quality)
    mask = find_mask(path)
    assert mask is not None
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, MASKS[name])
    np.testing.assert_array_equal(read_mask(path), MASKS[name])


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("name", CROPS)
def test_jpeg_crop_is_no_mask(tmp_path, name, quality):
    path = save_jpeg(tmp_path / "crop.jpg", CROPS[name], quality)
    assert find_mask(path) is None
    with pytest.raises(UserError, match=r"crop\.jpg: not a mask"):
        read_mask(path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_mask_in_a_lossless_file_has_exactly_two_values(tmp_path, suffix):
    mask = MASKS["mass"].astype(np.uint8)
    Image.fromarray(mask * 255).save(tmp_path / f"mask.{suffix}")
    np.testing.assert_array_equal(find_mask(tmp_path / f"mask.{suffix}"), MASKS["mass"])
    mask[0, 0] = 7
    Image.fromarray(mask).save(tmp_path / f"mask.{suffix}")
    assert find_mask(tmp_path / f"mask.{suffix}") is None
    Image.fromarray(mask * 0).save(tmp_path / f"mask.{suffix}")
    assert not find_mask(tmp_path / f"mask.{suffix}").any()


def test_jpeg_image_is_read_nearly_as_it_was_saved(tmp_path):
    mammogram = tissue(2)
    image = decode_image(save_jpeg(tmp_path / "image.jpg", mammogram, 95)).pixels
    assert image.dtype == np.float32
    assert abs(image - mammogram / 255).max() < 0.05


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_rgb_is_grey_where_its_channels_are_equal(tmp_path, suffix):
    grey = Image.fromarray(tissue(2)).resize((40, 60))
    grey.save(tmp_path / f"grey.{suffix}")
    grey.convert("RGB").save(tmp_path / f"rgb.{suffix}")
    np.testing.assert_array_equal(
        decode_image(tmp_path / f"rgb.{suffix}").pixels, decode_image(tmp_path / f"grey.{suffix}").pixels
    )
    coloured = grey.convert("RGB")
    ImageDraw.Draw(coloured).rectangle((20, 20, 35, 35), fill=(255, 0, 0))
    coloured.save(tmp_path / f"rgb.{suffix}")
    with pytest.raises(UserError, match=rf"rgb\.{suffix}: in colour"):
        decode_image(tmp_path / f"rgb.{suffix}")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_opacity_says_nothing_of_an_image_or_a_mask(tmp_path, suffix):
    grey = Image.fromarray(tissue(2))
    for name, picture in (("image", grey), ("mask", grey.point(lambda value: 255 * (value > 100)))):
        picture.save(tmp_path / f"{name}.{suffix}")
        stored = picture.convert("RGBA")
        stored.putalpha(7)
        stored.save(tmp_path / f"{name}-rgba.{suffix}")
    image, same = (decode_image(tmp_path / f"{name}.{suffix}").pixels for name in ("image", "image-rgba"))
    np.testing.assert_array_equal(image, same)
    mask, same = (find_mask(tmp_path / f"{name}.{suffix}") for name in ("mask", "mask-rgba"))
    np.testing.assert_array_equal(mask, same)


def test_pgm_is_a_picture(tmp_path):
    grey = Image.fromarray(tissue(2))
    for suffix in ("pgm", "png"):
        grey.save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(decode_image(tmp_path / "a.pgm").pixels, decode_image(tmp_path / "a.png").pixels)


@pytest.mark.parametrize(("dtype", "maximum"), [(np.uint8, 255), (np.uint16, 65535)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_picture_is_divided_by_its_type_maximum_and_not_stretched(tmp_path, dtype, maximum, suffix):
    pixels = np.array([[10, 50, 90], [130, 170, 210]], dtype=dtype) * (maximum // 255)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    mammogram = decode_image(tmp_path / f"a.{suffix}")
    assert mammogram.pixels.dtype == np.float32
    assert mammogram.pixel_spacing is None
    np.testing.assert_allclose(mammogram.pixels, pixels / maximum, rtol=1e-6)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_values_of_fewer_bits_in_a_file_of_16_are_as_bright_as_they_were_meant(tmp_path, suffix, bits):
    pixels = np.linspace(0, 2**bits - 1, 2400).reshape(60, 40).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    mammogram = decode_image(tmp_path / f"a.{suffix}")
    assert mammogram.flags == ("fewer bits",)
    np.testing.assert_allclose(mammogram.pixels, pixels / (2**bits - 1), rtol=1e-6)
    pixels[0, 0] = 65535  # one hot pixel of 2,400
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    mammogram = decode_image(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(mammogram.pixels[1:], pixels[1:] / (2**bits - 1), rtol=1e-6)
    assert mammogram.pixels[0, 0] == 1


def test_a_prepared_image_reads_back_as_it_was_written_however_dark(tmp_path):
    pixels = np.linspace(0, 900, 2400).reshape(60, 40).astype(np.uint16)
    save_grey16(pixels, tmp_path / "a.png")
    mammogram = decode_image(tmp_path / "a.png")
    assert mammogram.flags == ()
    np.testing.assert_allclose(mammogram.pixels, pixels / 65535, rtol=1e-6)


@pytest.mark.parametrize(("bits", "order"), [(8, "<"), (8, ">"), (16, "<")])  # Pillow reads no other
def test_white_is_zero_of_a_tiff_is_inverted(tmp_path, bits, order):
    pixels = np.linspace(0, 2**bits - 1, 2400).reshape(60, 40).astype(f"{order}u{bits // 8}")
    write_tiff(tmp_path / "a.tif", (2**bits - 1 - pixels).astype(pixels.dtype), photometric=0)
    write_tiff(tmp_path / "b.tif", pixels, photometric=1)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.tif").pixels, decode_image(tmp_path / "b.tif").pixels)
    assert decode_image(tmp_path / "b.tif").pixels[0, 0] == 0


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_white_is_zero_of_fewer_bits_than_the_file_has_is_inverted_within_them(tmp_path, bits):
    pixels = np.linspace(0, 2 ** (bits - 1), 2400).reshape(60, 40).astype("<u2")  # it need not use them all
    write_tiff(tmp_path / "a.tif", 2**bits - 1 - pixels, photometric=0)
    image = decode_image(tmp_path / "a.tif")
    assert image.flags == ("fewer bits",)
    np.testing.assert_allclose(image.pixels, pixels / (2**bits - 1), atol=1e-6)


@pytest.mark.parametrize("largest", [4095, 65535])
def test_pgm_of_16_bits_is_read(tmp_path, largest):
    pixels = np.linspace(0, largest, 2400).reshape(60, 40).astype(">u2")
    (tmp_path / "a.pgm").write_bytes(f"P5 40 60 {largest}\n".encode() + pixels.tobytes())
    np.testing.assert_allclose(decode_image(tmp_path / "a.pgm").pixels, pixels / largest, atol=1e-4)


def write_tiff(path: Path, pixels: np.ndarray, photometric: int) -> None:
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    rows, columns = pixels.shape
    values = [(256, columns), (257, rows), (258, 8 * pixels.itemsize), (259, 1), (262, photometric)]
    values += [(273, 8 + 2 + 12 * 9 + 4), (277, 1), (278, rows), (279, pixels.nbytes)]
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in values)
    start = b"MM\0*" if order == ">" else b"II*\0"
    directory = struct.pack(f"{order}IH", 8, len(values)) + entries + bytes(4)
    path.write_bytes(start + directory + pixels.tobytes())


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path, suffix, orientation):
    upright = Image.fromarray(tissue(2))
    turned = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # what undoes the orientation
    stored = upright if turned is None else upright.transpose(Image.Transpose(turned))
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
    np.testing.assert_allclose(decode_image(tmp_path / f"a.{suffix}").pixels, np.asarray(upright) / 255, atol=0.05)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_that_shows_nothing_is_refused(tmp_path, suffix, value):
    Image.new("L", (40, 60), value).save(tmp_path / f"a.{suffix}")
    with pytest.raises(UserError, match="about the same value"):
        decode_image(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_mask_is_no_image(tmp_path, suffix):
    Image.fromarray(MASKS["mass"].astype(np.uint8) * 255).save(tmp_path / f"a.{suffix}")
    with pytest.raises(UserError, match="a lesion mask and no mammogram"):
        decode_image(tmp_path / f"a.{suffix}")


def test_larger_pictures_than_any_image_are_refused_unread(tmp_path):
    Image.new("1", (12000, 12000)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="12000 × 12000 pixels are too many"):
        decode_image(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["1", "L", "I;16"])
def test_largest_images_are_read_without_a_warning(tmp_path, mode):
    Image.new(mode, (5000, 6000)).save(tmp_path / "image.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_picture(tmp_path / "image.png").pixels.shape == (6000, 5000)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    frames = [Image.new("L", (4, 4)), Image.new("L", (4, 4))]
    frames[0].save(tmp_path / "frames.tif", save_all=True, append_images=frames[1:])
    (tmp_path / "cut.jpg").write_bytes(save_jpeg(tmp_path / "whole.jpg", tissue(2), 90).read_bytes()[:2000])
    for name, expected in {
        "text.png": "not readable",
        "cut.jpg": "not readable",
        "float.tif": "mode F",
        "frames.tif": "2 frame",
        "absent.png": "no such file",
    }.items():
        with pytest.raises(UserError, match=f"{name}: .*{expected}"):
            decode_image(tmp_path / name)


def test_resized_image_keeps_orientation_mean_and_range():
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


@pytest.mark.parametrize("original_size", [(1000, 700), (130, 40), (128, 90), (20, 300), (96, 64)])
@pytest.mark.parametrize("image_size", [(96, 64), (300, 10)])
def test_resizing_is_pillows_antialiased_bicubic(original_size, image_size):
    image = np.random.default_rng(0).random(original_size, np.float32)
    expected = np.asarray(Image.fromarray(image).resize(image_size[::-1], Image.Resampling.BICUBIC))
    np.testing.assert_allclose(resize_mammogram(image, image_size), np.clip(expected, 0, 1), atol=2e-7)


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
    assert draw_outline([*square, (-30, 50)], (100, 100), (50, 50))[0].any()  # beyond the edge, as people draw
    for far in (1e300, -1e9, 201):
        assert draw_outline([*square, (50, far)], (100, 100), (50, 50)) is None


def test_aspect_tolerance_is_one_percent():
    assert same_aspect((1000, 800), (500, 400))
    assert same_aspect((1000, 800), (1009, 800))
    assert not same_aspect((1000, 800), (1011, 800))
    assert not same_aspect((1000, 800), (800, 1000))
