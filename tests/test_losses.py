"""Class balance in the batch: the author's sample weights, checked against sums done by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from monai_e2e.losses import BatchBalancedCrossEntropyLoss

loss = BatchBalancedCrossEntropyLoss()


def log_odds(*probabilities_of_class_1: float) -> torch.Tensor:
    """Two logits for each probability."""
    return torch.tensor([[0.0, math.log(p / (1 - p))] for p in probabilities_of_class_1])


def test_example_by_hand():
    # Three negatives and one positive: weights 4/3, 4/3, 4/3 and 4, then the mean over four samples.
    logits, target = log_odds(0.1, 0.2, 0.5, 0.25), torch.tensor([0, 0, 0, 1])
    by_hand = (-4 / 3 * (math.log(0.9) + math.log(0.8) + math.log(0.5)) - 4 * math.log(0.25)) / 4
    assert loss(logits, target).item() == pytest.approx(by_hand)


def test_batch_of_one_class_is_its_mean_cross_entropy():
    logits, target = torch.randn(5, 3), torch.full((5,), 2)
    torch.testing.assert_close(loss(logits, target), F.cross_entropy(logits, target))


@pytest.mark.parametrize("classes", [2, 5])
def test_balanced_batch_is_the_mean_cross_entropy_times_the_classes(classes):
    torch.manual_seed(0)
    logits, target = torch.randn(3 * classes, classes), torch.arange(3 * classes) % classes
    torch.testing.assert_close(loss(logits, target), classes * F.cross_entropy(logits, target))


def test_repeating_the_samples_of_one_class_changes_nothing():
    torch.manual_seed(0)
    logits, target = torch.randn(4, 2), torch.tensor([0, 0, 1, 1])
    more = torch.cat([logits, logits[:2], logits[:2]]), torch.tensor([0, 0, 1, 1, 0, 0, 0, 0])
    torch.testing.assert_close(loss(*more), loss(logits, target))


def test_each_class_pulls_with_the_same_force():
    logits = torch.zeros(10, 2, requires_grad=True)
    target = torch.tensor([1] + [0] * 9)
    loss(logits, target).backward()
    assert logits.grad[0].abs().sum().item() == pytest.approx(logits.grad[1:].abs().sum().item())


def test_labels_may_be_of_any_integer_type():
    logits = torch.randn(3, 2)
    expected = loss(logits, torch.tensor([0, 1, 1]))
    for dtype in (torch.uint8, torch.int32, torch.float32):
        torch.testing.assert_close(loss(logits, torch.tensor([0, 1, 1], dtype=dtype)), expected)
