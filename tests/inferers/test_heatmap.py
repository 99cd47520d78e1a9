"""Heatmaps: the patch classifier over a whole image, and where on the film each of its scores belongs."""

import numpy as np
import pytest
import torch
from torch import nn

from monai_e2e.inferers import HeatmapInferer, upsample_heatmap
from monai_e2e.networks import PatchClassifier


@pytest.fixture
def network() -> PatchClassifier:
    torch.manual_seed(0)
    return PatchClassifier("vgg16", width=0.0625).eval()


def test_on_one_window_it_is_the_classifier(network):
    patch = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(HeatmapInferer(64)(patch, network)[..., 0, 0], network(patch))


def test_one_position_for_each_stride(network):
    with torch.no_grad():
        assert HeatmapInferer(64)(torch.randn(1, 3, 288, 224), network).shape == (1, 5, 8, 6)


def test_a_bright_spot_shows_at_its_place(network):
    image = torch.zeros(1, 3, 256, 192)
    with torch.no_grad():
        blank = HeatmapInferer(64)(image, network)
    image[..., 160:192, 32:64] = 100.0  # feature row 5, column 1: in windows of rows 4–5, columns 0–1
    with torch.no_grad():
        change = (HeatmapInferer(64)(image, network) - blank).abs().sum(dim=(0, 1))
    row, column = divmod(int(change.argmax()), change.shape[1])
    assert row in (4, 5)
    assert column in (0, 1)
    assert change[0, -1] < 0.1 * change.max()


def test_image_smaller_than_the_window_is_refused(network):
    with pytest.raises(ValueError, match=r"\(32, 128\).*window of 64"):
        HeatmapInferer(64)(torch.randn(1, 3, 32, 128), network)


@pytest.mark.parametrize("window", [0, 48])
def test_window_that_is_no_multiple_of_the_stride_is_refused(network, window):
    with pytest.raises(ValueError, match="multiple"):
        HeatmapInferer(window)(torch.randn(1, 3, 128, 128), network)


def test_other_networks_are_refused():
    with pytest.raises(TypeError, match="Linear"):
        HeatmapInferer(64)(torch.randn(1, 3, 64, 64), nn.Linear(1, 1))


class TestUpsampling:
    def test_each_score_stands_at_the_centre_of_its_window(self):
        heatmap = np.random.default_rng(0).random((4, 3))
        full = upsample_heatmap(heatmap, (160, 128), window=64, stride=32)
        assert full.shape == (160, 128)
        for row in range(4):
            for column in range(3):
                # The centre of an even window lies between pixels: the mean of the four around it.
                top, left = 32 * row + 31, 32 * column + 31
                assert full[top : top + 2, left : left + 2].mean() == pytest.approx(heatmap[row, column], abs=0.02)

    def test_between_centres_it_is_linear(self):
        full = upsample_heatmap(np.array([[0.0, 1.0]]), (64, 96), window=64, stride=32)
        np.testing.assert_allclose(np.diff(full[0, 32:64]), 1 / 32)

    def test_beyond_the_outermost_centres_their_value_goes_on(self):
        full = upsample_heatmap(np.array([[0.0, 1.0]]), (64, 96), window=64, stride=32)
        assert (full[:, :32] == 0).all()
        assert (full[:, 64:] == 1).all()

    def test_a_symmetric_map_stays_symmetric(self):
        heatmap = np.array([[0.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 0.0]])
        full = upsample_heatmap(heatmap, (128, 128), window=64, stride=32)
        np.testing.assert_allclose(full, full[::-1, ::-1])
        np.testing.assert_allclose(full, full.T)
