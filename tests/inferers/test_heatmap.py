"""Heatmaps: the patch classifier over a whole image, and where on the image each of its scores belongs."""

import numpy as np
import pytest
import torch
from torch import nn

from monai_e2e.errors import UserError
from monai_e2e.inferers import HeatmapInferer, upsample_heatmap, window_boxes
from monai_e2e.networks import PatchClassifier, architecture

#: Backbone → how many pixels before its window and after it a score depends on: its layers' receptive field.
SIGHT = {"vgg16": (90, 90), "resnet50": (213, 182), "resnet50_keras": (239, 212), "yaroslavnet": (126, 126)}


@pytest.fixture
def network() -> PatchClassifier:
    torch.manual_seed(0)
    return PatchClassifier("vgg16", width=0.0625).eval()


def test_on_one_window_it_is_the_classifier(network):
    patch = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(HeatmapInferer(64)(patch, network)[..., 0, 0], network(patch))


def test_image_smaller_than_the_window_is_refused(network):
    with pytest.raises(UserError, match=r"\(32, 128\).*window of 64"):
        HeatmapInferer(64)(torch.randn(1, 3, 32, 128), network)


@pytest.mark.parametrize("window", [0, 48])
def test_window_that_is_no_multiple_of_the_stride_is_refused(network, window):
    with pytest.raises(UserError, match="multiple"):
        HeatmapInferer(window)(torch.randn(1, 3, 128, 128), network)


def test_other_networks_are_refused():
    with pytest.raises(TypeError, match="Linear"):
        HeatmapInferer(64)(torch.randn(1, 3, 64, 64), nn.Linear(1, 1))


@pytest.fixture(scope="module", params=SIGHT)
def case(request) -> tuple[PatchClassifier, torch.Tensor, int, int]:
    """Network, image, side of the windows, and a margin of the receptive field, in whole strides."""
    torch.manual_seed(0)
    network = PatchClassifier(request.param, width=0.0625)
    stride = network.backbone.stride
    window, margin = 2 * stride, -(-max(SIGHT[request.param]) // stride) * stride
    side = window + 2 * margin
    image = torch.randn(1, network.backbone.image_channels, side + 2 * stride, side + stride)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics of this image at once
    with torch.no_grad():
        network.backbone(image)
        network.eval()
        network.head.weight *= 3 / HeatmapInferer(window)(image, network).std()
    return network, image, window, margin


class TestWindows:
    """A whole image's heatmap against its windows scored one by one, on networks whose scores differ clearly."""

    def scores(self, case) -> tuple[torch.Tensor, np.ndarray]:
        """Heatmap ``[classes, h, w]`` and its windows."""
        network, image, window, _ = case
        with torch.no_grad():
            heatmap = HeatmapInferer(window)(image, network)[0]
        assert heatmap.std() > 1
        return heatmap, window_boxes(heatmap.shape[-2:], window, network.backbone.stride)

    def test_heatmap_is_each_window_scored_within_its_surroundings_up_to_the_images_borders(self, case):
        network, image, window, margin = case
        heatmap, boxes = self.scores(case)
        rows, columns = heatmap.shape[-2:]
        for row in {0, 1, rows // 2, rows - 1}:
            for column in {0, 1, columns // 2, columns - 1}:
                top, left, bottom, right = boxes[row, column]
                first_row, first_column = max(top - margin, 0), max(left - margin, 0)
                crop = image[..., first_row : bottom + margin, first_column : right + margin]
                inside = (top - first_row) // network.backbone.stride, (left - first_column) // network.backbone.stride
                with torch.no_grad():
                    alone = HeatmapInferer(window)(crop, network)[0, :, inside[0], inside[1]]
                assert crop.shape != image.shape
                torch.testing.assert_close(alone, heatmap[:, row, column], atol=1e-4, rtol=0)

    def test_window_cut_out_alone_differs_since_its_edges_are_padded_with_zeros(self, case):
        network, image, *_ = case
        heatmap, boxes = self.scores(case)
        row, column = (size // 2 for size in heatmap.shape[-2:])
        top, left, bottom, right = boxes[row, column]
        with torch.no_grad():
            alone = network(image[..., top:bottom, left:right])[0]
        assert (alone - heatmap[:, row, column]).abs().max() > 0.01

    def test_a_score_sees_its_window_and_the_receptive_field_around_it_and_nothing_else(self, case):
        network, image, window, _ = case
        heatmap, boxes = self.scores(case)
        row, column = (size // 2 for size in heatmap.shape[-2:])
        image = image.clone().requires_grad_()
        HeatmapInferer(window)(image, network)[0, 1, row, column].backward()
        seen = image.grad[0].ne(0).any(dim=0)
        before, after = SIGHT[architecture(network)["backbone"]]
        for axis, (first, end) in enumerate(zip(boxes[row, column][:2], boxes[row, column][2:], strict=True)):
            places = seen.any(dim=1 - axis).nonzero().flatten()
            assert (first - int(places[0]), int(places[-1]) + 1 - end) == (before, after)

    def test_boxes_are_rows_and_columns_one_stride_apart(self):
        boxes = window_boxes((30, 22), window=224, stride=32)
        assert boxes.shape == (30, 22, 4)
        assert boxes[0, 0].tolist() == [0, 0, 224, 224]
        assert boxes[2, 5].tolist() == [64, 160, 288, 384]
        assert boxes[-1, -1].tolist() == [928, 672, 1152, 896]


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
