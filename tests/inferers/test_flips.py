"""Averages of probabilities over flips and models: right, symmetric, and never saturated."""

import pytest
import torch
from monai.bundle import ConfigParser
from monai.inferers import SimpleInferer
from torch import nn

from monai_e2e.inferers import FlipAveraging, mean_log_probabilities


class Corner(nn.Module):
    """Two logits that depend on the image's upper left pixel alone, so that every flip counts."""

    def forward(self, x):
        return torch.stack([torch.zeros(len(x)), x[:, 0, 0, 0]], dim=1)


@pytest.fixture
def images():
    return torch.randn(3, 1, 6, 4, generator=torch.Generator().manual_seed(0))


def test_the_mean_is_that_of_the_four_flips_probabilities(images):
    corners = [images[:, 0, row, column] for row in (0, -1) for column in (0, -1)]
    expected = torch.stack(corners).sigmoid().mean(dim=0)
    found = FlipAveraging()(images, Corner())
    assert found.shape == (3, 2)
    torch.testing.assert_close(FlipAveraging(together=True)(images, Corner()), found)
    torch.testing.assert_close(found.softmax(dim=1)[:, 1], expected)
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(3))


@pytest.mark.parametrize("dims", [(2,), (3,), (2, 3)])
def test_a_flipped_image_has_the_same_score(images, dims):
    torch.testing.assert_close(FlipAveraging()(images.flip(dims), Corner()), FlipAveraging()(images, Corner()))


def test_scores_whose_probabilities_round_to_one_keep_their_order():
    images = torch.tensor([60.0, 70.0, 80.0]).reshape(3, 1, 1, 1)
    found = FlipAveraging()(images, Corner())
    assert found.softmax(dim=1)[:, 1].unique().numel() == 1
    torch.testing.assert_close(found[:, 1] - found[:, 0], torch.tensor([60.0, 70.0, 80.0]))


def test_it_wraps_another_inferer_and_can_be_named_in_a_bundle(images):
    parser = ConfigParser(
        {
            "inferer": {
                "_target_": "monai_e2e.inferers.FlipAveraging",
                "inferer": {"_target_": "monai.inferers.SimpleInferer"},
            }
        }
    )
    inferer = parser.get_parsed_content("inferer")
    assert isinstance(inferer.inferer, SimpleInferer)
    torch.testing.assert_close(inferer(images, Corner()), FlipAveraging()(images, Corner()))


def test_maps_of_scores_are_refused_since_they_would_be_averaged_unflipped(images):
    with pytest.raises(ValueError, match=r"\[3, 1, 6, 4\]"):
        FlipAveraging()(images, nn.Identity())


def test_the_mean_of_models_is_that_of_their_probabilities_whatever_their_scale():
    first, second = torch.tensor([[0.0, 2.0]]), torch.tensor([[5.0, 4.0]])
    expected = (first.softmax(1) + second.softmax(1)) / 2
    torch.testing.assert_close(mean_log_probabilities([first, second]).exp(), expected)
    torch.testing.assert_close(mean_log_probabilities([first + 100, second]).exp(), expected)
    # One sure model is answered by another: log-odds of 300 and 0 have a mean of log(1 + 1/2) - log(1/4).
    sure = mean_log_probabilities([torch.tensor([[0.0, 300.0]]), torch.zeros(1, 2)])
    assert (sure[0, 1] - sure[0, 0]).item() == pytest.approx(1.0986123, abs=1e-6)
