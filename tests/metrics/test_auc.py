"""The AUC against scikit-learn and against DeLong's formulas written out pair by pair."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from monai_e2e.errors import UserError
from monai_e2e.metrics import roc_auc


def sample(seed: int, n: int = 60, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores that overlap; with ``levels`` the scores are whole numbers, so many are tied."""
    random = np.random.default_rng(seed)
    labels = np.r_[0, 1, 0, 1, random.integers(0, 2, n - 4)]
    scores = random.normal(labels * 0.8)
    return labels, scores if levels is None else np.round(scores * levels / 4)


def pairwise(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """AUC and its variance from the m × n comparisons: DeLong et al. 1988, equations 3 to 5."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    structural = wins.mean(axis=1), wins.mean(axis=0)
    return wins.mean(), sum(v.var(ddof=1) / v.size for v in structural)


@pytest.mark.parametrize("levels", [None, 3, 12])
@pytest.mark.parametrize("seed", range(5))
def test_auc_is_that_of_scikit_learn(seed, levels):
    labels, scores = sample(seed, levels=levels)
    assert roc_auc(labels, scores)[0] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 3, 12])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_is_delongs_on_the_logit_scale(levels, confidence):
    labels, scores = sample(1, levels=levels)
    auc, variance = pairwise(labels, scores)
    half = norm.ppf((1 + confidence) / 2) * variance**0.5 / (auc * (1 - auc))
    expected = [1 / (1 + np.exp(-(np.log(auc / (1 - auc)) + side * half))) for side in (-1, 1)]
    assert roc_auc(labels, scores, confidence) == pytest.approx((auc, *expected), abs=1e-12)


def test_order_and_scale_of_the_scores_do_not_matter_but_their_ranks():
    labels, scores = sample(2)
    shuffled = np.random.default_rng(0).permutation(labels.size)
    assert roc_auc(labels[shuffled], scores[shuffled]) == pytest.approx(roc_auc(labels, scores))
    assert roc_auc(labels, np.exp(scores)) == pytest.approx(roc_auc(labels, scores))


def test_exchanging_the_classes_mirrors_auc_and_interval():
    labels, scores = sample(3)
    auc, low, high = roc_auc(labels, scores)
    assert roc_auc(1 - labels, scores) == pytest.approx((1 - auc, 1 - high, 1 - low))


def test_more_confidence_and_fewer_samples_widen_the_interval():
    labels, scores = sample(4)

    def width(*arguments) -> float:
        _, low, high = roc_auc(*arguments)
        return high - low

    assert width(labels, scores, 0.99) > width(labels, scores, 0.95)
    assert width(np.tile(labels, 4), np.tile(scores, 4)) < 0.6 * width(labels, scores)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    truth = norm.cdf(1 / 2**0.5)
    labels = np.repeat([0, 1], 40)
    hits = 0
    for _ in range(400):
        _, low, high = roc_auc(labels, random.normal(labels))
        hits += low <= truth <= high
    assert 0.92 < hits / 400 < 0.98


@pytest.mark.parametrize(("scores", "auc"), [([1, 2, 3, 4, 5, 6], 1.0), ([6, 5, 4, 3, 2, 1], 0.0)])
def test_perfect_separation_has_an_interval_that_is_neither_empty_nor_certain(scores, auc):
    value, low, high = roc_auc([0, 0, 0, 1, 1, 1], scores)
    assert value == auc
    assert 0 <= low <= auc <= high <= 1
    assert high - low == pytest.approx(1 - 0.05 ** (1 / 3))


def test_perfect_separation_of_more_samples_says_more():
    widths = [1 - roc_auc([0] * n + [1] * n, range(2 * n))[1] for n in (2, 10, 100)]
    assert widths[0] > widths[1] > widths[2] == pytest.approx(0.03, abs=0.001)  # the rule of three


@pytest.mark.parametrize("n", [5, 20, 200])
def test_constant_scores_are_a_half_and_the_interval_holds_it(n):
    auc, low, high = roc_auc([0] * n + [1] * n, [0.7] * (2 * n))
    assert auc == 0.5
    assert low <= 0.5 <= high


@pytest.mark.parametrize("seed", range(3))
def test_a_single_positive_sample_still_has_an_interval_around_its_auc(seed):
    scores = np.random.default_rng(seed).normal(size=20)
    auc, low, high = roc_auc([1] + [0] * 19, scores)
    assert 0 <= low <= auc <= high <= 1
    assert high - low > 0.3


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.1, 0.2, 0.3], "one length"),
        ([[0, 1]], [[0.1, 0.2]], "one length"),
        ([0, 1, 1], [0.1, float("nan"), float("inf")], "2 of 3 scores are NaN or infinite"),
        ([0, 1, 2], [0.1, 0.2, 0.3], r"0 or 1, got \[2\]"),
        ([1, 1], [0.1, 0.2], "one class only"),
        ([], [], "one class only"),
    ],
)
def test_impossible_input_is_a_users_mistake(labels, scores, message):
    with pytest.raises(UserError, match=message):
        roc_auc(labels, scores)
