"""Calibration against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from monai_e2e.errors import UserError
from monai_e2e.metrics import brier_score, reliability, wilson_interval
from monai_e2e.metrics.calibration import calibration_line


def test_brier_score_is_the_mean_squared_difference():
    assert brier_score([0, 1, 1], [0.1, 0.8, 0.4]) == pytest.approx((0.01 + 0.04 + 0.36) / 3)


def test_bins_and_error_by_hand():
    curve = reliability([0, 1, 0, 1, 1], [0.05, 0.35, 0.31, 0.95, 1.0])
    assert [(row["low"], row["high"], row["n"]) for row in curve["bins"]] == [(0, 0.1, 1), (0.3, 0.4, 2), (0.9, 1, 2)]
    assert [row["mean_predicted"] for row in curve["bins"]] == pytest.approx([0.05, 0.33, 0.975])
    assert [row["observed"] for row in curve["bins"]] == [0, 0.5, 1]
    assert curve["bins"][1]["observed_ci"] == wilson_interval(1, 2)
    assert curve["expected_calibration_error"] == pytest.approx((0.05 + 2 * 0.17 + 2 * 0.025) / 5)


@pytest.mark.parametrize("seed", range(3))
def test_curve_is_that_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    p = np.r_[0.0, 1.0, 0.1, 0.5, random.random(300)]
    labels = (random.random(p.size) < p).astype(int)
    observed, predicted = calibration_curve(labels, p, n_bins=10)
    curve = reliability(labels, p)
    assert [row["observed"] for row in curve["bins"]] == pytest.approx(observed)
    assert [row["mean_predicted"] for row in curve["bins"]] == pytest.approx(predicted)
    assert sum(row["n"] for row in curve["bins"]) == p.size


def test_probabilities_that_mean_what_they_say_have_a_small_error():
    random = np.random.default_rng(0)
    p = random.random(20_000)
    labels = (random.random(p.size) < p).astype(int)
    assert reliability(labels, p)["expected_calibration_error"] < 0.02
    assert reliability(labels, p**3)["expected_calibration_error"] > 0.2


@pytest.mark.parametrize("function", [brier_score, reliability])
def test_probabilities_that_are_no_numbers_are_refused(function):
    with pytest.raises(UserError, match="NaN"):
        function([0, 1], [0.1, float("nan")])


def test_calibration_line_finds_what_was_done_to_log_odds():
    random = np.random.default_rng(0)
    truth = random.normal(-1, 2, 20_000)
    labels = (random.random(truth.size) < 1 / (1 + np.exp(-truth))).astype(int)
    line = calibration_line(labels, truth)
    assert (line["slope"], line["intercept"]) == pytest.approx((1, 0), abs=0.06)
    assert calibration_line(labels, 2 * truth)["slope"] == pytest.approx(0.5, abs=0.03)
    assert calibration_line(labels, truth + 1.5)["intercept"] == pytest.approx(-1.5, abs=0.06)
