"""Statistics against numbers that this package had no part in.

AUCs, DeLong's and Obuchowski's variances of the five data sets were computed from the definitions in exact fractions,
pair by pair in plain Python, z and p from them by ``math.sqrt`` and ``math.erfc``; the other values follow by hand, as
their comments show. pROC 1.18.0 (R 4.2.2) printed the values of ``PROC`` for the same five.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from monai_e2e.metrics import (
    best_f1,
    calibration_line,
    compare_aucs,
    compare_clustered,
    decision_curve,
    delong_covariance,
    fit_recalibration,
    heterogeneity,
    holm,
    partial_auc,
    predictive_values,
    probabilistic_f1,
    roc_auc,
    sensitivity_at_recall_rate,
)

#: Labels, two score vectors; AUCs, variance and interval of the first, z and p of the pair.
DATA = {
    "plain": (
        [0, 0, 0, 1, 0, 1, 1, 0, 1, 1],
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        [2, 1, 5, 3, 4, 9, 6, 7, 8, 10],
        ("21/25", "21/25", "12/625"),
        (0.4103640223571801, 0.9753715665965251),
        (0.0, 1.0),
    ),
    "ties": (
        [0, 0, 0, 0, 1, 1, 1, 1],
        [1, 2, 2, 3, 2, 3, 3, 4],
        [1, 1, 2, 2, 1, 2, 3, 3],
        ("13/16", "3/4", "3/128"),
        (0.37677304996944916, 0.9688091199269842),
        (0.5477225575051661, 0.5838824207703652),
    ),
    "few positives": (
        [1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        [9, 4, 1, 2, 3, 5, 6, 7, 8, 0],
        [8, 9, 1, 2, 3, 4, 5, 6, 7, 0],
        ("3/4", "1", "1/14"),
        (0.15510537065806657, 0.9800100230007325),
        (-0.9354143466934853, 0.3495748061232983),
    ),
    "worse than chance": (
        [1, 0, 1, 0, 1, 0],
        [1, 4, 2, 5, 6, 3],
        [3, 1, 4, 2, 6, 5],
        ("1/3", "7/9", "1/9"),
        (0.02575351641234633, 0.9043740479289396),
        (-1.4142135623730951, 0.15729920705028513),
    ),
    "clusters": (
        [1, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0],
        [9, 8, 3, 2, 4, 7, 6, 5, 5, 1, 2, 6],
        [7, 9, 4, 5, 3, 6, 8, 2, 4, 1, 3, 6],
        ("7/8", "57/64", "39/3584"),
        (0.519143903847765, 0.9784418459684935),
        (-0.18433822860240315, 0.8537481256696744),
    ),
}
#: pROC's AUCs, variances of both and their covariance, z and p of ``roc.test(paired=TRUE)``, ``ci.auc`` of the first
#: (DeLong's without logit scale), and its corrected partial AUCs for specificities of 1 to 0.9 and to 0.8.
PROC = {
    "plain": (
        (0.84, 0.84), (0.0192, 0.0192, 0.0152), (0, 1),
        (0.568419423822, 1), (0.684210526, 0.666666667),
    ),
    "ties": (
        (0.8125, 0.75), (0.0234375, 0.0364583333333, 0.0234375), (0.547722557505, 0.583882420770),
        (0.512443020228, 1), (0.657894737, 0.694444444),
    ),
    "few positives": (
        (0.75, 1), (0.0714285714286, 0, 0), (-0.935414346693, 0.349574806123),
        (0.226177591388, 1), (0.736842105, 0.722222222),
    ),
    "worse than chance": (
        (0.333333333333, 0.777777777778), (0.111111111111, 0.0617283950617, 0.037037037037),
        (-1.41421356237, 0.15729920705), (0, 0.986654661513), (0.649122807, 0.62962963),
    ),
    "clusters": (
        (0.875, 0.890625), (0.0108816964286, 0.0138811383929, 0.0087890625), (-0.184338228602, 0.853748125670),
        (0.670545631669, 1), (0.736842105, 0.737847222),
    ),
}  # fmt: skip
#: Whose samples those of "clusters" are, and the variance of the difference with these as clusters.
PATIENTS = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
CLUSTERED = Fraction(6247, 524288), -0.14314270893363032, 0.8861774753723748
#: For what follows by hand.
LABELS, PROBABILITIES = [1, 0, 1, 0, 0], [0.9, 0.6, 0.4, 0.3, 0.1]


@pytest.mark.parametrize("name", DATA)
def test_auc_and_delongs_interval(name):
    labels, first, _, (auc, _, variance), (low, high), _ = DATA[name]
    areas, covariance = delong_covariance(labels, [first])
    assert areas[0] == pytest.approx(float(Fraction(auc)), abs=1e-12)
    assert covariance[0, 0] == pytest.approx(float(Fraction(variance)), abs=1e-12)
    assert roc_auc(labels, first) == pytest.approx((float(Fraction(auc)), low, high), abs=1e-9)


@pytest.mark.parametrize("name", DATA)
def test_delongs_paired_test(name):
    labels, first, second, (one, two, _), _, (z, p) = DATA[name]
    result = compare_aucs(labels, first, second)
    assert result["difference"] == pytest.approx(float(Fraction(one) - Fraction(two)), abs=1e-12)
    assert (result["z"], result["p"]) == pytest.approx((z, p), abs=1e-9)


@pytest.mark.parametrize("name", DATA)
def test_what_proc_prints(name):
    labels, first, second, *_ = DATA[name]
    areas, (one, two, both), (z, p), interval, partial = PROC[name]
    found, covariance = delong_covariance(labels, [first, second])
    assert found == pytest.approx(areas, abs=1e-9)
    assert covariance.ravel() == pytest.approx([one, both, both, two], abs=1e-12)
    compared = compare_aucs(labels, first, second)
    assert (compared["z"], compared["p"]) == pytest.approx((z, p), abs=1e-9)
    width = norm.ppf(0.975) * math.sqrt(covariance[0, 0])
    assert np.clip([found[0] - width, found[0] + width], 0, 1) == pytest.approx(interval, abs=1e-9)
    assert tuple(partial_auc(labels, first).values()) == pytest.approx(partial, abs=1e-8)


@pytest.mark.parametrize("name", DATA)
def test_obuchowskis_test_of_patients_with_one_sample_each_is_delongs(name):
    labels, first, second, *_, (z, p) = DATA[name]
    result = compare_clustered(labels, first, second, np.arange(len(labels)))
    assert (result["z_patients"], result["p_patients"]) == pytest.approx((z, p), abs=1e-9)


def test_obuchowskis_test_of_patients_with_several_samples():
    labels, first, second, *_ = DATA["clusters"]
    variance, z, p = CLUSTERED
    result = compare_clustered(labels, first, second, PATIENTS)
    assert (result["z_patients"], result["p_patients"]) == pytest.approx((z, p), abs=1e-9)
    assert (Fraction(7, 8) - Fraction(57, 64)) / math.sqrt(variance) == pytest.approx(z)


def test_obuchowskis_test_needs_two_patients_of_a_class():
    unknown = {"z_patients": None, "p_patients": None}
    assert compare_clustered([1, 1, 0, 0], [4, 2, 3, 1], [4, 3, 2, 1], [0, 0, 1, 2]) == unknown
    same = compare_clustered([1, 1, 0, 0], [4, 2, 3, 1], [4, 2, 3, 1], [0, 1, 2, 3])
    assert same == {"z_patients": 0.0, "p_patients": 1.0}


def test_copies_of_a_patients_images_change_nothing_with_patients_as_clusters():
    labels, first, second, *_ = DATA["clusters"]
    once = compare_clustered(labels, first, second, PATIENTS)
    thrice = compare_clustered(labels * 3, first * 3, second * 3, PATIENTS * 3)
    assert thrice["p_patients"] == pytest.approx(once["p_patients"])
    assert compare_aucs(labels * 3, first * 3, second * 3)["p"] < compare_aucs(labels, first, second)["p"]


def test_holms_correction():
    # 0.005 · 4, 0.01 · 3, 0.03 · 2, and 0.04 · 1, which may not be below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.9]) == [1, 1]
    assert holm([]) == []


def test_decision_curve():
    # At 0.2 both positives and 2 of 3 negatives are called: 2/5 − 2/5 · 0.2/0.8; everybody: 2/5 − 3/5 · 0.2/0.8.
    # At 0.5 one of each: 1/5 − 1/5 · 1; everybody: 2/5 − 3/5.
    curve = decision_curve(LABELS, PROBABILITIES, [0.2, 0.5])
    assert [point["model"] for point in curve] == pytest.approx([0.3, 0.0])
    assert [point["all"] for point in curve] == pytest.approx([0.25, -0.2])
    # At a prevalence of 0.1: 0.1 · 1 − 0.9 · 2/3 · 0.25.
    (point,) = decision_curve(LABELS, PROBABILITIES, [0.2], prevalence=0.1)
    assert (point["model"], point["all"]) == pytest.approx((-0.05, 0.1 - 0.9 / 4))


def test_predictive_values_at_another_prevalence():
    values = predictive_values(0.9, 0.8, 0.01)
    assert values["ppv_at_prevalence"] == pytest.approx(0.009 / (0.009 + 0.198))
    assert values["npv_at_prevalence"] == pytest.approx(0.792 / (0.792 + 0.001))
    assert predictive_values(0.0, 1.0, 0.5)["ppv_at_prevalence"] is None


def test_slope_and_intercept_of_calibration():
    # Log-odds ±1, of which 3 in 4 and 1 in 4 are positive: the line goes through log-odds ±ln 3; in the large nothing
    # is to be added. Standard errors are 1/√Σ p (1 − p) x² with p of the line, and 1/√Σ p (1 − p) with p of ±1.
    line = calibration_line([1, 1, 1, 0, 0, 0, 0, 1], [1, 1, 1, 1, -1, -1, -1, -1])
    assert line["slope"] == pytest.approx(math.log(3), abs=1e-6)
    assert line["slope_ci"] == pytest.approx(math.log(3) + np.array([-1, 1]) * 1.959964 / math.sqrt(1.5), abs=1e-5)
    assert line["intercept"] == pytest.approx(0, abs=1e-9)
    half = 1.959964 / math.sqrt(8 * expit(1) * expit(-1))
    assert line["intercept_ci"] == pytest.approx([-half, half], abs=1e-5)
    # One positive of four that were all given one half: ln(1/3) is to be added; equal scores have no slope.
    line = calibration_line([1, 0, 0, 0], [0, 0, 0, 0])
    assert (line["slope"], line["intercept"]) == (None, pytest.approx(-math.log(3)))
    assert calibration_line([0, 1], [-1, 1])["slope"] is None  # separated
    assert calibration_line([0, 1, 1], [-1, 1, -750])["slope"] is None  # a probability of exactly 0


def test_temperature():
    # Log-odds ±2, of which 3 in 4 and 1 in 4 are positive: divided by 2 / ln 3 they are ±ln 3.
    fitted = fit_recalibration([1, 1, 1, 0, 0, 0, 0, 1], [2, 2, 2, 2, -2, -2, -2, -2], "temperature")
    assert 1 / fitted.slope == pytest.approx(2 / math.log(3), abs=1e-6)


def test_probabilistic_and_best_f1():
    # Probabilistic: 1.3 of 2.3 called are true, of 2 positives 1.3 are called. Best: from 0.4 on 2 of 3, all found.
    f1 = probabilistic_f1(LABELS, PROBABILITIES)
    assert (f1["precision"], f1["recall"], f1["value"]) == pytest.approx((1.3 / 2.3, 0.65, 2.6 / 4.3))
    assert best_f1(LABELS, PROBABILITIES) == pytest.approx(
        {"value": 0.8, "threshold": 0.4, "precision": 2 / 3, "recall": 1.0}
    )
    assert probabilistic_f1([0, 1], [0.5, 0.0])["value"] == 0


def test_partial_auc():
    # Up to 0.2 false positives the curve is at 0.5: area 0.1, of chance 0.02, of the best 0.2.
    assert partial_auc(LABELS, PROBABILITIES, [0.2]) == pytest.approx({"0.2": (1 + 0.08 / 0.18) / 2})


def test_sensitivity_at_a_recall_rate():
    points = sensitivity_at_recall_rate(LABELS, PROBABILITIES, [0.1, 0.4, 0.6])
    assert [point["sensitivity"] for point in points.values()] == [0, 0.5, 1]
    # Where 1 in 100 is positive, calling from 0.6 on calls 0.01 · 0.5 + 0.99 / 3.
    point = sensitivity_at_recall_rate(LABELS, PROBABILITIES, [0.337], prevalence=0.01)["0.337"]
    assert (point["sensitivity"], point["recall_rate"]) == pytest.approx((0.5, 0.335))


def test_heterogeneity_of_two_groups():
    # AUCs 0.8 and 0.5, whose log-odds ln 4 and 0 have a standard error of ½: Q is (ln 4)² / 0.5.
    half = 0.5 * 1.959963984540054

    def group(log_odds: float) -> dict:
        auc, low, high = expit([log_odds, log_odds - half, log_odds + half])
        return {"auc": auc, "auc_ci_delong": [low, high]}

    test = heterogeneity({"a": group(math.log(4)), "b": group(0.0), "c": {"auc": None}})
    q = math.log(4) ** 2 / 0.5
    assert (test["groups"], test["df"]) == (2, 1)
    assert (test["q"], test["p"], test["i2"]) == pytest.approx((q, math.erfc(math.sqrt(q / 2)), 1 - 1 / q))
    assert heterogeneity({"a": group(0.0)}) is None
