"""Resampling of patients: its statistics against scikit-learn's on the drawn samples, its intervals by simulation."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from monai_e2e.errors import UserError
from monai_e2e.metrics import patient_bootstrap, roc_auc, weighted_auc, weighted_average_precision

STATISTICS = [(weighted_auc, roc_auc_score), (weighted_average_precision, average_precision_score)]


@pytest.mark.parametrize(("weighted", "plain"), STATISTICS)
@pytest.mark.parametrize("decimals", [9, 0])
def test_weights_do_what_repeated_samples_would(weighted, plain, decimals):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 40)
    scores = np.round(random.normal(labels), decimals)
    weights = random.integers(0, 4, (20, 40))
    expected = [plain(np.repeat(labels, w), np.repeat(scores, w)) for w in weights]
    assert weighted(labels, scores)(weights.astype(float)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("weighted", "_plain"), STATISTICS)
def test_resample_of_one_class_has_no_value(weighted, _plain):
    weights = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    assert np.isnan(weighted([0, 1, 1], [0.1, 0.2, 0.3])(weights)).tolist() == [True, True, False]


def test_patients_are_drawn_with_all_their_samples():
    seen = []

    def record(weights):
        seen.append(weights)
        return np.zeros(len(weights))

    patient_bootstrap(["b", "a", "b", "c"], record, resamples=500)
    weights = np.concatenate(seen)
    assert weights.shape == (500, 4)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights.mean(axis=0) == pytest.approx([1, 1, 1, 1], abs=0.15)


def test_the_seed_alone_decides_what_is_drawn():
    labels, scores = [0, 1] * 20, list(np.random.default_rng(0).normal(size=40))
    patients = [f"P{i // 2}" for i in range(40)]

    def interval(seed):
        return patient_bootstrap(patients, weighted_auc(labels, scores), seed=seed, resamples=300)

    assert interval(1) == interval(1)
    assert interval(1) != interval(2)


def test_memory_in_parts_changes_nothing(monkeypatch):
    labels, scores = [0, 1] * 20, list(np.random.default_rng(0).normal(size=40))
    whole = patient_bootstrap(range(40), weighted_auc(labels, scores), resamples=300)
    monkeypatch.setattr("monai_e2e.metrics.bootstrap._CHUNK", 1000)
    assert patient_bootstrap(range(40), weighted_auc(labels, scores), resamples=300) == whole


def test_resamples_of_one_class_are_counted_and_left_out():
    labels, scores = [1] + [0] * 9, [0.5, *np.linspace(0, 1, 9)]
    low, high, undefined = patient_bootstrap(range(10), weighted_auc(labels, scores), resamples=2000)
    assert undefined / 2000 == pytest.approx(0.9**10, abs=0.04)
    assert 0 <= low <= high <= 1


def test_interval_is_none_where_most_resamples_have_no_value():
    interval = patient_bootstrap(["a", "a"], weighted_auc([1, 1], [0.1, 0.2]), resamples=100)
    assert interval == (None, None, 100)


def test_too_few_resamples_are_a_users_mistake():
    with pytest.raises(UserError, match="100 or more"):
        patient_bootstrap([1, 2], weighted_auc([0, 1], [0.0, 1.0]), resamples=99)


def clustered(random, patients: int, views: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patients whose images all have one label and share most of their score; the AUC is that of one image."""
    truth = np.repeat([0, 1], patients // 2)
    shared = random.normal(truth, np.sqrt(0.8))
    scores = np.repeat(shared, views) + random.normal(0, np.sqrt(0.2), patients * views)
    return np.repeat(truth, views), scores, np.repeat(np.arange(patients), views)


def coverage(repeats: int, patients: int) -> tuple[float, float]:
    """Shares of simulations in which the patients' bootstrap and DeLong's interval hold the true AUC."""
    random = np.random.default_rng(0)
    truth = norm.cdf(1 / np.sqrt(2))
    hits = np.zeros(2)
    for repeat in range(repeats):
        labels, scores, owners = clustered(random, patients)
        low, high, _ = patient_bootstrap(owners, weighted_auc(labels, scores), seed=repeat, resamples=400)
        _, delong_low, delong_high = roc_auc(labels, scores)
        hits += [low <= truth <= high, delong_low <= truth <= delong_high]
    return hits[0] / repeats, hits[1] / repeats


def test_bootstrap_of_patients_covers_the_truth_where_delong_takes_their_images_as_independent():
    bootstrap, delong = coverage(repeats=200, patients=60)
    assert 0.89 < bootstrap < 0.99
    assert delong < 0.8


@pytest.mark.slow
def test_bootstrap_of_patients_covers_the_truth_in_many_simulations():
    bootstrap, delong = coverage(repeats=2000, patients=100)
    assert 0.925 < bootstrap < 0.97
    assert delong < 0.75
