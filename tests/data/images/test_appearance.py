"""What the pixels of one image say: where the breast lies, and what is odd about it."""

import numpy as np
import pytest

from monai_e2e.data.images.appearance import appearance_flags, breast_side, far_from


def breast(side: str = "LEFT") -> np.ndarray:
    """A MLO view of grey tissue, brighter at the top of the chest wall, where the muscle is."""
    rows, columns = np.mgrid[0:400, 0:300]
    inside = (columns / 180) ** 2 + ((rows - 200) / 180) ** 2 < 1
    pixels = np.where(inside, 0.4 + 0.2 * np.sin(rows / 7) * np.cos(columns / 5), 0.01)
    pixels = np.where(inside & (columns < 80) & (rows < 120), 0.85 + rows / 1000, pixels).astype(np.float32)
    return pixels if side == "LEFT" else pixels[:, ::-1]


@pytest.mark.parametrize("side", ["LEFT", "RIGHT"])
def test_the_breast_lies_where_its_chest_wall_is(side):
    assert breast_side(breast(side)) == side
    assert breast_side(np.full((30, 20), 0.3)) == ""
    assert appearance_flags(breast(side), side, "MLO") == []
    assert appearance_flags(breast(side), "", "") == []
    other = "LEFT" if side == "RIGHT" else "RIGHT"
    assert appearance_flags(breast(side), other, "MLO") == ["breast on the other side"]


def test_a_negative_has_a_bright_background_and_a_scanners_margin_has_not():
    assert appearance_flags(1 - breast(), "LEFT", "MLO") == ["bright background"]
    framed = breast()
    framed[:, -20:] = framed[:15] = 1
    assert appearance_flags(framed, "LEFT", "MLO") == []


def test_small_pictures_have_an_appearance_too():
    assert appearance_flags(np.eye(2, dtype=np.float32), "LEFT", "CC") == ["no breast found"]


def test_turned_clipped_and_written_on_images_are_flagged():
    assert appearance_flags(breast()[::-1], "LEFT", "MLO") == ["perhaps upside down"]
    assert appearance_flags(breast()[::-1], "LEFT", "CC") == []
    assert appearance_flags(np.minimum(breast(), 0.5), "LEFT", "MLO") == ["clipped"]
    written = breast()
    for place in range(14):
        written[20:28, 90 + 14 * place : 96 + 14 * place] = 1
    assert appearance_flags(written, "LEFT", "CC") == ["text in the image"]
    assert appearance_flags(np.zeros((50, 40)), "", "") == ["no breast found"]


def test_a_view_without_muscle_at_the_top_is_hardly_mlo():
    rows, columns = np.mgrid[0:400, 0:300]
    inside = (columns / 180) ** 2 + ((rows - 200) / 180) ** 2 < 1
    thickness = np.clip((rows - 20) / 120, 0, 1) * np.clip((380 - rows) / 120, 0, 1)
    texture = 1 + 0.1 * np.sin(rows / 7) * np.cos(columns / 5)
    tapering = np.where(inside, 0.02 + 0.6 * thickness * texture, 0.01).astype(np.float32)
    assert appearance_flags(tapering, "LEFT", "MLO") == ["perhaps CC"]
    assert appearance_flags(tapering, "LEFT", "CC") == []
    assert appearance_flags(tapering, "LEFT", "") == []


def test_brightness_is_unusual_from_a_factor_of_three():
    assert [mean for mean in (3.7, 20, 58, 174, 175) if far_from(mean, 58)] == [3.7, 175]
    assert far_from(float("nan"), 58)
