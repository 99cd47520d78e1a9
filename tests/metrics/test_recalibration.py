"""Recalibration: against scipy and scikit-learn, on what it must leave as it is, and in its file."""

import csv

import numpy as np
import pytest
from made_rows import RESAMPLES, make_rows, renamed
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import log_loss

from monai_e2e.errors import UserError
from monai_e2e.metrics import (
    Recalibration,
    decision_curve,
    fit_recalibration,
    read_predictions,
    read_recalibration,
    roc_auc,
    score_file,
    shift_prevalence,
    write_predictions,
    write_recalibration,
)
from monai_e2e.metrics.decision import SHOWN
from monai_e2e.metrics.recalibration import recalibrate_rows

pytestmark = pytest.mark.usefixtures("blank_curves")

METHODS = ("temperature", "platt", "isotonic")


def made(seed: int = 0, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and log-odds that are three times too sure and too high."""
    random = np.random.default_rng(seed)
    true = random.normal(-1, 1.2, n)
    return (random.random(n) < expit(true)).astype(int), 3 * true + 1


def test_temperature_has_the_smallest_log_loss():
    labels, logits = made()
    best = minimize(lambda x: log_loss(labels, expit(logits * x[0])), [1.0], method="Nelder-Mead", tol=1e-12).x[0]
    fitted = fit_recalibration(labels, logits, "temperature")
    assert fitted.slope == pytest.approx(best, abs=1e-5)
    assert fitted.intercept == 0


def test_platts_is_the_fit_to_his_smoothed_targets():
    labels, logits = made(n=30)
    positive, negative = labels.sum(), (labels == 0).sum()
    targets = np.where(labels == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(x: np.ndarray) -> float:
        z = x[0] * logits + x[1]
        return float(np.mean(np.logaddexp(0, z) - targets * z))

    best = minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14}).x
    fitted = fit_recalibration(labels, logits, "platt")
    assert [fitted.slope, fitted.intercept] == pytest.approx(best, abs=1e-4)


def test_isotonic_is_that_of_scikit_learn_between_and_beyond_its_steps():
    labels, logits = made()
    order = np.argsort(logits)
    fitted = fit_recalibration(labels, logits, "isotonic")
    assert expit(fitted.apply(logits[order])) == pytest.approx(isotonic_regression(labels[order].astype(float)))
    assert fitted.apply([-1e6, 1e6]).tolist() == fitted.apply([logits.min(), logits.max()]).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_probabilities_mean_more_afterwards_on_other_data(method):
    fitted = fit_recalibration(*made(0, 4000), method)
    labels, logits = made(1, 4000)
    after = np.clip(expit(fitted.apply(logits)), 1e-6, 1 - 1e-6)
    assert log_loss(labels, after) < log_loss(labels, expit(logits)) - 0.1


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_ranks_stay(method):
    labels, logits = made()
    assert roc_auc(labels, fit_recalibration(labels, logits, method).apply(logits)) == roc_auc(labels, logits)


@pytest.mark.parametrize("method", METHODS)
def test_file_gives_back_what_was_written(tmp_path, method):
    fitted = fit_recalibration(*made(), method, "validation.csv")
    write_recalibration(tmp_path / "new" / "recalibration.json", fitted)
    assert read_recalibration(tmp_path / "new" / "recalibration.json") == fitted
    assert (fitted.n, fitted.source) == (400, "validation.csv")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"method": "platt", "n": 2, "positive": 1, "slope": null, "intercept": 0, "logits": [], "probabilities": []}',
        '{"method": "isotonic", "n": 2, "positive": 1, "logits": [1, 0], "probabilities": [0, 1]}',
        '{"method": "platt", "n": 0, "positive": 0, "slope": 1, "intercept": 0, "logits": [], "probabilities": []}',
        '{"method": "magic", "n": 2, "positive": 1, "slope": 1, "intercept": 0, "logits": [], "probabilities": []}',
    ],
)
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(UserError, match=r"other\.json: no recalibration"):
        read_recalibration(tmp_path / "other.json")


def test_absent_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        read_recalibration(tmp_path / "none.json")


def test_unfit_requests_are_refused():
    with pytest.raises(UserError, match="did you mean 'platt'"):
        fit_recalibration([0, 1], [0, 1], "plat")
    with pytest.raises(UserError, match="no best temperature"):
        fit_recalibration([0, 1, 1], [-1.0, 1.0, 2.0], "temperature")
    with pytest.raises(UserError, match="don't score higher"):
        fit_recalibration([1, 1, 0, 0, 1], [-1.0, -2.0, 3.0, 1.0, 2.0], "platt")


def test_platt_stays_finite_where_classes_are_separated():
    fitted = fit_recalibration([0, 0, 1, 1], [-3.0, -2.0, 2.0, 3.0], "platt")
    assert 0 < fitted.slope < 10


def test_log_odds_end_where_tables_of_predictions_end_them():
    assert Recalibration("platt", 2, 1, 2.0, 0.0).apply([-750.0, 750.0]).tolist() == [-750, 750]


def test_prevalence_moves_odds_by_the_ratio_of_the_odds():
    odds = np.exp(shift_prevalence(logit([0.5, 0.2]), 0.5, 0.01))
    assert odds == pytest.approx([1 / 99, 0.25 / 99])
    with pytest.raises(UserError, match="prevalence 1: give a share"):
        shift_prevalence([0.0], 0.5, 1.0)


def test_rows_and_their_threshold_move_along():
    fitted = Recalibration("platt", 100, 50, 0.5, -1.0)
    rows = [{"image": "a", "logit": 2.0, "threshold": 0.5}, {"image": "b", "logit": 0.0, "threshold": None}]
    first, second = recalibrate_rows(rows, fitted)
    assert (first["logit"], first["p_malignant"]) == (0.0, 0.5)
    assert first["threshold"] == pytest.approx(expit(-1.0))
    assert second["threshold"] is None
    assert recalibrate_rows(rows, fitted, prevalence=0.01)[0]["p_malignant"] == pytest.approx(0.01)


def test_net_benefit_at_a_prevalence_is_of_probabilities_at_that_prevalence(tmp_path):
    rows = make_rows()
    write_predictions(tmp_path / "p.csv", rows)
    write_predictions(tmp_path / "v.csv", renamed(make_rows(seed=5), "V"))
    chosen = {"recalibrate": "platt", "recalibrate_from": tmp_path / "v.csv", "prevalence": 0.01}
    scored = score_file(tmp_path / "p.csv", resamples=RESAMPLES, **chosen)
    moved = [row["p_malignant"] for row in read_predictions(tmp_path / "recalibrated.csv")]
    expected = decision_curve([row["label"] for row in rows], moved, SHOWN, 0.01)
    found = scored["image"]["net_benefit"]
    assert [one["model"] for one in found] == pytest.approx([one["model"] for one in expected])
    shown = {row["threshold"]: float(row["model"]) for row in csv_rows(tmp_path / "decision.csv")}
    assert shown["0.050000"] == pytest.approx(found[1]["model"], abs=1e-6)


def csv_rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["level"] == "image"]


def test_score_recalibrates_on_validation_predictions_and_keeps_the_fit(tmp_path):
    rows, validation = make_rows(), renamed(make_rows(seed=5), "V")
    write_predictions(tmp_path / "p.csv", [row | {"threshold": 0.5} for row in rows])
    write_predictions(tmp_path / "v.csv", validation)
    plain = score_file(tmp_path / "p.csv", resamples=RESAMPLES)
    changed = score_file(
        tmp_path / "p.csv", resamples=RESAMPLES, recalibrate="platt", recalibrate_from=tmp_path / "v.csv"
    )
    assert changed["image"]["auc"] == plain["image"]["auc"]
    assert changed["image"]["brier"] < plain["image"]["brier"]
    assert changed["settings"]["recalibration"].endswith("fitted on 160 samples of v.csv")
    counts = ("true_positive", "false_positive")
    assert [changed["image"]["at_threshold"][key] for key in counts] == [
        plain["image"]["at_threshold"][key] for key in counts
    ]
    kept = read_recalibration(tmp_path / "recalibration.json")
    again = score_file(
        tmp_path / "p.csv", out=tmp_path / "again", resamples=RESAMPLES, recalibrate=tmp_path / "recalibration.json"
    )
    assert again["image"] == changed["image"]
    assert read_predictions(tmp_path / "recalibrated.csv")[0]["logit"] == pytest.approx(
        kept.apply([rows[0]["logit"]])[0], abs=1e-5
    )
    with pytest.raises(UserError, match="no such file or method; did you mean 'platt'"):
        score_file(tmp_path / "p.csv", recalibrate="plat")
    with pytest.raises(UserError, match="--recalibrate-from CSV"):
        score_file(tmp_path / "p.csv", recalibrate="platt")
    with pytest.raises(UserError, match="among those scored"):
        score_file(tmp_path / "p.csv", recalibrate="platt", recalibrate_from=tmp_path / "p.csv")
