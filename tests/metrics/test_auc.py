"""The AUC against scikit-learn, against DeLong's formulas written out pair by pair and against a published example."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from monai_e2e.errors import UserError
from monai_e2e.metrics import compare_aucs, delong_covariance, roc_auc


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


#: 43 patients with ovarian cancer: albumin, total protein, K-G score, and whether surgery helped. DeLong et al.,
#: Biometrics 1988, as printed in the SAS/STAT User's Guide, The LOGISTIC Procedure, example "Comparing Receiver
#: Operating Characteristic Curves", with that example's results below.
OVARIAN = """
3.0 5.8 10 0   3.2 6.3 5 1   3.9 6.8 3 1   2.8 4.8 6 0   3.2 5.8 3 1   0.9 4.0 5 0   2.5 5.7 8 0   1.6 5.6 5 1
3.8 5.7 5 1    3.7 6.7 6 1   3.2 5.4 4 1   3.8 6.6 6 1   4.1 6.6 5 1   3.6 5.7 5 1   4.3 7.0 4 1   3.6 6.7 4 0
2.3 4.4 6 1    4.2 7.6 4 0   4.0 6.6 6 0   3.5 5.8 6 1   3.8 6.8 7 1   3.0 4.7 8 0   4.5 7.4 5 1   3.7 7.4 5 1
3.1 6.6 6 1    4.1 8.2 6 1   4.3 7.0 5 1   4.3 6.5 4 1   3.2 5.1 5 1   2.6 4.7 6 1   3.3 6.8 6 0   1.7 4.0 7 0
3.7 6.1 5 1    3.3 6.3 7 1   4.2 7.7 6 1   3.5 6.2 5 1   2.9 5.7 9 0   2.1 4.8 7 1   2.8 6.2 8 0   4.0 7.0 7 1
3.3 5.7 6 1    3.7 6.9 5 1   3.6 6.6 5 1
"""


def ovarian() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    albumin, protein, kg, labels = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4).T
    return labels.astype(int), {"albumin": albumin, "protein": protein, "kg": -kg}  # a low K-G score is the good one


def test_published_example_has_the_printed_areas_and_standard_errors():
    labels, scores = ovarian()
    aucs, covariance = delong_covariance(labels, [scores["kg"], scores["protein"], scores["albumin"]])
    assert aucs == pytest.approx([0.7258, 0.6478, 0.7366], abs=5e-5)
    assert np.sqrt(np.diag(covariance)) == pytest.approx([0.1028, 0.1000, 0.0927], abs=5e-5)
    contrast = np.array([[-1, 1, 0], [-1, 0, 1]])
    difference = contrast @ aucs
    chi_square = difference @ np.linalg.solve(contrast @ covariance @ contrast.T, difference)
    assert chi_square == pytest.approx(2.5340, abs=5e-5)


@pytest.mark.parametrize(
    ("test", "difference", "error", "low", "high", "chi_square", "p"),
    [
        ("protein", -0.0780, 0.1046, -0.2830, 0.1271, 0.5554, 0.4561),
        ("albumin", 0.0108, 0.0953, -0.1761, 0.1976, 0.0127, 0.9102),
    ],
)
def test_published_example_has_the_printed_paired_tests(test, difference, error, low, high, chi_square, p):
    labels, scores = ovarian()
    result = compare_aucs(labels, scores[test], scores["kg"])
    assert result["difference"] == pytest.approx(difference, abs=5e-5)
    assert result["difference"] / result["z"] == pytest.approx(error, abs=5e-5)
    assert result["difference_ci"] == pytest.approx([low, high], abs=5e-5)
    assert result["z"] ** 2 == pytest.approx(chi_square, abs=5e-5)
    assert result["p"] == pytest.approx(p, abs=5e-5)


def test_exchanging_the_classifiers_turns_the_difference_round():
    labels, scores = sample(5)
    other = scores + np.random.default_rng(1).normal(size=scores.size)
    one, two = compare_aucs(labels, scores, other), compare_aucs(labels, other, scores)
    assert one["difference"] == pytest.approx(-two["difference"])
    assert one["difference_ci"] == pytest.approx([-limit for limit in reversed(two["difference_ci"])])
    assert one["p"] == pytest.approx(two["p"])
    assert (one["auc_first"], one["auc_second"]) == (roc_auc(labels, scores)[0], roc_auc(labels, other)[0])


def test_classifiers_that_order_the_samples_alike_do_not_differ():
    labels, scores = sample(6)
    result = compare_aucs(labels, scores, np.exp(scores))
    assert (result["difference"], result["difference_ci"], result["z"], result["p"]) == (0, [0, 0], 0, 1)


def test_difference_without_any_variance_has_no_test():
    result = compare_aucs([0, 0, 1, 1], [1, 2, 3, 4], [0, 0, 0, 0])
    assert result["difference"] == 0.5
    assert (result["difference_ci"], result["z"], result["p"]) == (None, None, None)


def test_paired_test_finds_a_difference_that_is_none_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    found = 0
    for _ in range(400):
        shared = random.normal(labels * 1.0)
        found += compare_aucs(labels, *(shared + random.normal(size=(2, labels.size))))["p"] < 0.05
    assert 0.025 < found / 400 < 0.08


def test_paired_test_refuses_what_the_auc_refuses():
    with pytest.raises(UserError, match="1 of 2 scores are NaN"):
        compare_aucs([0, 1], [0.0, 1.0], [0.0, float("nan")])
    with pytest.raises(UserError, match="one length"):
        compare_aucs([0, 1], [0.0, 1.0], [0.0, 1.0, 2.0])
