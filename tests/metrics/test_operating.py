"""Thresholds and rates, against counts made by hand."""

import numpy as np
import pytest

from monai_e2e.errors import UserError
from monai_e2e.metrics import (
    choose_threshold,
    performance_at,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
    wilson_interval,
)

LABELS = [0, 0, 0, 0, 1, 0, 1, 1]
LOGITS = [-3.0, -2.0, -1.0, -0.5, 0.0, 1.0, 2.0, 3.0]


def test_wilson_interval_is_the_formula():
    n, k, z = 20, 17, 1.959963984540054
    p = k / n
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = [(middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)]
    assert wilson_interval(k, n) == pytest.approx(expected)
    assert wilson_interval(0, 0) is None


def test_counts_and_rates_at_a_threshold():
    point = performance_at(LABELS, LOGITS, 0.5)
    counts = [point[name] for name in ("true_positive", "false_positive", "true_negative", "false_negative")]
    assert counts == [2, 1, 4, 1]
    rates = [point[name] for name in ("sensitivity", "specificity", "ppv", "npv")]
    assert rates == pytest.approx([2 / 3, 4 / 5, 2 / 3, 4 / 5])
    assert point["npv_ci"] == wilson_interval(4, 5)
    assert point["threshold"] == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_score_at_the_threshold_is_called_positive():
    assert performance_at(LABELS, LOGITS, 0.0)["true_positive"] == 3


def test_rate_of_nobody_is_none():
    point = performance_at(LABELS, LOGITS, 10.0)
    assert (point["ppv"], point["ppv_ci"]) == (None, None)
    assert point["npv"] == pytest.approx(5 / 8)
    assert performance_at(LABELS, LOGITS, -10.0)["npv"] is None


def test_youden_threshold_is_the_midpoint_of_its_neighbours():
    assert choose_threshold(LABELS, LOGITS) == -0.25  # 3/3 + 4/5 - 1 above -0.5, no better anywhere
    assert choose_threshold([0, 0, 1, 1], [-2, -1, 3, 5]) == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_no_cut_has_a_larger_youden_index(seed):
    random = np.random.default_rng(seed)
    labels = np.r_[0, 1, random.integers(0, 2, 50)]
    logits = np.round(random.normal(labels), 1)

    def youden(threshold):
        point = performance_at(labels, logits, threshold)
        return point["sensitivity"] + point["specificity"] - 1

    values = np.unique(logits)
    chosen = choose_threshold(labels, logits)
    assert youden(chosen) == pytest.approx(max(youden(cut) for cut in (values[1:] + values[:-1]) / 2))
    assert values.min() < chosen < values.max()


def test_of_equal_thresholds_the_one_that_misses_least_is_chosen():
    assert choose_threshold([0, 1, 0, 1], [1, 2, 3, 4]) == 1.5


def test_equal_scores_are_their_own_threshold():
    assert choose_threshold([0, 1, 1], [0.3, 0.3, 0.3]) == 0.3


def test_sensitivity_at_fixed_specificity_is_read_off_the_curve():
    # Negatives -3, -2, -1, -0.5, 1: four of five are below 0 (specificity 0.8), all of them below 2.
    points = sensitivity_at_specificity(LABELS, LOGITS)
    assert list(points) == ["0.8", "0.9", "0.95"]
    assert points["0.8"] == {"sensitivity": 1.0, "sensitivity_ci": wilson_interval(3, 3), "specificity": 0.8}
    assert points["0.9"]["sensitivity"] == pytest.approx(2 / 3)
    assert points["0.9"]["sensitivity_ci"] == wilson_interval(2, 3)
    assert points["0.9"]["specificity"] == 1.0


def test_specificity_at_fixed_sensitivity_is_the_reverse():
    points = specificity_at_sensitivity(LABELS, LOGITS, [0.6, 0.8])
    assert points["0.6"] == {
        "specificity": 1.0,
        "specificity_ci": wilson_interval(5, 5),
        "sensitivity": pytest.approx(2 / 3),
    }
    assert (points["0.8"]["specificity"], points["0.8"]["sensitivity"]) == (0.8, 1.0)


def test_ties_cannot_be_split_by_a_threshold():
    assert sensitivity_at_specificity([0, 1, 0, 1], [1, 1, 1, 1])["0.9"]["sensitivity"] == 0


@pytest.mark.parametrize("function", [choose_threshold, sensitivity_at_specificity, specificity_at_sensitivity])
def test_scores_that_are_no_numbers_and_one_class_are_refused(function):
    with pytest.raises(UserError, match="NaN"):
        function([0, 1], [0.0, float("nan")])
    with pytest.raises(UserError, match="one class"):
        function([1, 1], [0.0, 1.0])


def test_threshold_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="threshold must be a number"):
        performance_at(LABELS, LOGITS, float("nan"))
