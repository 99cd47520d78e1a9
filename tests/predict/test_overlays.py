"""Pictures of results: image, colours and outlines where they belong, and legible words in any language."""

import numpy as np
import pytest

from monai_e2e.data.records import PATCH_CLASSES
from monai_e2e.predict.heatmaps import Heatmap
from monai_e2e.predict.overlays import _HEADER, _LABEL, _MARGIN, _summary, draw_capture, draw_mammogram, draw_overlay

ROW = {"image": "case/1", "laterality": "LEFT", "view": "CC", "p_malignant": "0.9", "threshold": "0.4", "model": "m"}
OUTLINE = (90, 230, 255)


@pytest.fixture
def image():
    return np.full((288, 224), 100, dtype=np.uint8)


def heatmap(place=None, name="mass-malignant", image_size=(288, 224)):
    """Background everywhere but in the window at ``place``; windows of 64 pixels every 32."""
    values = np.zeros((5, 8, 6), dtype=np.float32)
    values[0] = 1
    if place is not None:
        values[(slice(None), *place)] = np.eye(5, dtype=np.float32)[PATCH_CLASSES.index(name)]
    return Heatmap(values, 64, 32, image_size)


@pytest.mark.parametrize("name", ["mass-malignant", "calcification-malignant"])
def test_what_is_malignant_is_coloured_at_its_window_and_the_rest_left_as_it_is(image, name):
    picture = draw_mammogram(image, heatmap((2, 3), name)).astype(int)
    row, column = np.unravel_index(picture[..., 1].argmin(), image.shape)  # red has the least green
    assert abs(row - (2 * 32 + 31.5)) <= 1
    assert abs(column - (3 * 32 + 31.5)) <= 1
    assert (picture[:40] == 100).all()
    assert (picture[:, :60] == 100).all()


def test_benign_lesions_leave_the_image_uncoloured(image):
    assert (draw_mammogram(image, heatmap((2, 3), "mass-benign")) == 100).all()


def test_the_map_fits_an_image_shown_in_other_proportions_than_the_networks_image():
    image = np.full((600, 200), 100, dtype=np.uint8)
    row, column = np.unravel_index(draw_mammogram(image, heatmap((2, 3)))[..., 1].argmin(), image.shape)
    assert row == pytest.approx(95.5 * 600 / 288, abs=2)
    assert column == pytest.approx(127.5 * 200 / 224, abs=2)


def test_a_lesions_outline_runs_around_it_and_not_over_it(image):
    mask = np.zeros(image.shape, dtype=bool)
    mask[100:140, 50:90] = True
    drawn = (draw_mammogram(image, None, [mask]) == OUTLINE).all(axis=2)
    assert not drawn[mask].any()
    assert drawn[98:142, 48:92].sum() == drawn.sum() > 4 * 40


def test_the_overlay_shows_the_image_pixel_by_pixel(image):
    image[:] = np.arange(image.size).reshape(image.shape) % 251
    picture = draw_overlay(image, ROW, heatmap())
    top, left = _HEADER + _LABEL, _MARGIN
    np.testing.assert_array_equal(picture[top : top + 288, left : left + 224], np.repeat(image[..., None], 3, axis=2))


def test_the_score_changes_the_words(image):
    pictures = [draw_overlay(image, {**ROW, "p_malignant": score}, heatmap()) for score in ("0.9", "0.1")]
    assert pictures[0].shape == pictures[1].shape
    assert (pictures[0] != pictures[1]).any()
    without = draw_overlay(image, {**ROW, "threshold": ""}, heatmap())
    assert (without != pictures[0]).any()


def test_long_and_foreign_names_stay_within_the_picture(image):
    expected = draw_overlay(image, ROW).shape
    for name in ("a" * 400, "ψηφιακή/маммограмма/乳房", ""):
        assert draw_overlay(image, {**ROW, "image": name}).shape == expected


def test_a_capture_has_the_images_size_and_the_words_in_its_lowest_rows(image):
    picture = draw_capture(image, ROW)
    assert picture.shape == (288, 224, 3)
    assert picture.dtype == np.uint8
    assert (picture[:200] == 100).all()
    assert (picture[200:] != 100).any()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"p_malignant": 0.8349}, "LEFT CC    p(malignant) 0.83, above the threshold 0.40"),
        ({"p_malignant": 0.8349, "threshold": ""}, "LEFT CC    p(malignant) 0.83"),
        (
            {"p_malignant": 0.8349, "threshold": None, "p_low": "0.71", "p_high": 0.9, "spread_over": "5 models"},
            "LEFT CC    p(malignant) 0.83 (0.71–0.90 over 5 models)",
        ),
        ({"p_malignant": 0.3996}, "LEFT CC    p(malignant) 0.3996, below the threshold 0.4000"),
        ({"p_malignant": 0.4}, "LEFT CC    p(malignant) 0.40, above the threshold 0.40"),
        ({"p_malignant": 1e-5, "threshold": None}, "LEFT CC    p(malignant) < 0.01"),
        ({"p_malignant": 1 - 1e-5, "threshold": None}, "LEFT CC    p(malignant) > 0.99"),
    ],
)
def test_the_score_has_its_spread_and_no_more_digits_than_it_needs(row, words):
    assert _summary(ROW | row) == words


def test_the_overlay_names_the_network_of_the_score_and_that_of_the_heatmap(image, monkeypatch):
    written = []
    monkeypatch.setattr("monai_e2e.predict.overlays._write", lambda _, __, text, *___: written.append(text))
    draw_overlay(image, ROW, heatmap(), heatmap_model="patch")
    assert any(text.endswith("Score: m. Heatmap: patch") for text in written)
    written.clear()
    draw_overlay(image, ROW)
    assert any(text.endswith("Score: m") for text in written)
