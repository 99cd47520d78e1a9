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


def test_three_classes_by_hand():
    # Probabilities of the rows: (0.5, 0.25, 0.25), (0.2, 0.6, 0.2), (0.1, 0.1, 0.8), (0.3, 0.3, 0.4), (0.6, 0.3, 0.1).
    # Labels 0, 2, 2, 2, 1: weights 5/1, 5/3, 5/3, 5/3 and 5/1, then the mean over five samples.
    rows = [[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4], [0.6, 0.3, 0.1]]
    by_hand = -(5 * math.log(0.5) + 5 / 3 * (math.log(0.2) + math.log(0.8) + math.log(0.4)) + 5 * math.log(0.3)) / 5
    assert loss(torch.tensor(rows).log(), torch.tensor([0, 2, 2, 2, 1])).item() == pytest.approx(by_hand)


def test_class_that_is_absent_from_the_batch_adds_nothing():
    # Labels 0, 0, 2 of three classes: the mean of the first two and the third, not renormalised to three classes.
    rows = [[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]]
    by_hand = -((math.log(0.5) + math.log(0.2)) / 2 + math.log(0.8))
    assert loss(torch.tensor(rows).log(), torch.tensor([0, 0, 2])).item() == pytest.approx(by_hand)


@pytest.mark.parametrize("label", [0, 1])
def test_batch_of_one_class_by_hand(label):
    # The paper's batch of two images: both of one class have the weight 2/2, so this is the plain mean.
    logits = log_odds(0.1, 0.25)
    by_hand = -(math.log(0.1) + math.log(0.25)) / 2 if label else -(math.log(0.9) + math.log(0.75)) / 2
    assert loss(logits, torch.tensor([label, label])).item() == pytest.approx(by_hand)


def test_weights_are_those_of_the_authors_code():
    # There a sample's weight is one over the share of its class in the batch, and the loss is the mean over samples.
    torch.manual_seed(0)
    logits, target = torch.randn(32, 5), torch.randint(5, (32,))
    weights = [1 / (sum(other == label for other in target.tolist()) / 32) for label in target.tolist()]
    log_probability = logits - logits.exp().sum(dim=1, keepdim=True).log()
    cross_entropy = [-log_probability[row, label].item() for row, label in enumerate(target.tolist())]
    by_hand = sum(w * ce for w, ce in zip(weights, cross_entropy, strict=True)) / 32
    assert loss(logits, target).item() == pytest.approx(by_hand)


def test_gradient_by_hand():
    # Of a sample's logits it is (probability − 1 at the label) / number of the label's class in the batch.
    rows = [[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]]
    logits = torch.tensor(rows).log().requires_grad_()
    loss(logits, torch.tensor([0, 2, 2, 2])).backward()
    by_hand = [[-0.5, 0.25, 0.25], [0.2 / 3, 0.6 / 3, -0.8 / 3], [0.1 / 3, 0.1 / 3, -0.2 / 3], [0.1, 0.1, -0.2]]
    torch.testing.assert_close(logits.grad, torch.tensor(by_hand))


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


def test_labels_may_be_of_any_integer_type():
    logits = torch.randn(3, 2)
    expected = loss(logits, torch.tensor([0, 1, 1]))
    for dtype in (torch.uint8, torch.int32, torch.float32):
        torch.testing.assert_close(loss(logits, torch.tensor([0, 1, 1], dtype=dtype)), expected)
