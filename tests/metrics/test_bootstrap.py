"""Resampling of patients: its statistics against scikit-learn's on the drawn samples, its intervals by simulation."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from monai_e2e.errors import UserError
from monai_e2e.metrics import patient_bootstrap, roc_auc
from monai_e2e.metrics.bootstrap import in_pairs, weighted_areas, weighted_sums


def interval(labels, scores, patients=None, **settings):
    """The interval of the AUC."""
    patients = np.arange(len(labels)) if patients is None else np.asarray(patients)
    ((found,),) = patient_bootstrap(patients.max() + 1, [weighted_areas(labels, scores, patients)], **settings)
    return found


@pytest.mark.parametrize("decimals", [9, 0])
@pytest.mark.parametrize("resamples", [20, 21])
def test_weights_do_what_repeated_samples_would(decimals, resamples):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 40)
    scores = np.round(random.normal(labels), decimals)
    subset = random.integers(0, 2, 40) == 1
    counts = random.integers(0, 4, (resamples, 40))
    values = weighted_areas(labels, scores, subsets=[subset], precision=True)(in_pairs(counts))[:, :resamples]
    samples = [np.repeat(np.arange(40), count) for count in counts]
    assert values[0] == pytest.approx([roc_auc_score(labels[s], scores[s]) for s in samples], abs=1e-12)
    part = [s[subset[s] | (labels[s] == 0)] for s in samples]
    assert values[1] == pytest.approx([roc_auc_score(labels[s], scores[s]) for s in part], abs=1e-12)
    assert values[2] == pytest.approx([average_precision_score(labels[s], scores[s]) for s in samples], abs=1e-12)


def test_patients_count_with_all_their_samples():
    random = np.random.default_rng(0)
    labels, scores, patients = random.integers(0, 2, 40), random.normal(size=40), random.integers(0, 9, 40)
    counts = random.integers(0, 4, (20, 9))
    of_samples = weighted_areas(labels, scores)(in_pairs(counts[:, patients]))
    assert weighted_areas(labels, scores, patients)(in_pairs(counts)).tolist() == of_samples.tolist()


@pytest.mark.parametrize("resamples", [20, 21])
def test_sums_are_those_of_the_repeated_samples(resamples):
    random = np.random.default_rng(0)
    columns, patients = random.normal(size=(2, 40)), random.integers(0, 7, 40)
    counts = random.integers(0, 4, (resamples, 9))  # two patients have no sample at this level
    found = weighted_sums(columns, patients, lambda sums: sums)(in_pairs(counts))[:, :resamples]
    assert found == pytest.approx(columns @ counts[:, patients].T)


def test_resample_of_one_class_has_no_value():
    counts = in_pairs(np.array([[1, 0, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0]]))
    values = weighted_areas([0, 1, 1], [0.1, 0.2, 0.3], precision=True)(counts)
    assert np.isnan(values).tolist() == [[True, True, False, True]] * 2


def test_counted_draws_of_many_patients_have_the_distribution_of_the_others(monkeypatch):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    scores = random.normal(labels)
    few = interval(labels, scores, resamples=4000)
    monkeypatch.setattr("monai_e2e.metrics.bootstrap._MANY", 399)
    many = interval(labels, scores, resamples=4000)
    assert many != few
    assert many == interval(labels, scores, resamples=4000)
    assert many == pytest.approx(few, abs=0.005)
    drawn = []
    patient_bootstrap(400, [lambda counts: drawn.append(counts.view(np.uint32)) or np.zeros((1, 2 * len(counts)))])
    drawn = np.concatenate(drawn).reshape(-1, 400, 2)
    assert (drawn.sum(axis=1) == 400).all()
    assert drawn.var() == pytest.approx(1, abs=0.01)


def test_as_many_patients_are_drawn_as_there_are():
    seen = []

    def record(counts):
        seen.append(np.stack([counts & 0xFFFFFFFF, counts >> 32], axis=1).reshape(-1, 4))
        return np.zeros((1, 2 * len(counts)))

    patient_bootstrap(4, [record], resamples=500)
    counts = np.concatenate(seen)
    assert counts.shape == (500, 4)
    assert (counts.sum(axis=1) == 4).all()
    assert counts.mean(axis=0) == pytest.approx([1, 1, 1, 1], abs=0.15)


def test_interval_is_that_of_the_resamples_one_by_one():
    """The draws of a seed stay, so that intervals that were published can be computed again."""
    random = np.random.default_rng(1)
    labels, patients = np.arange(60) % 2, np.arange(60) // 3
    scores = np.round(random.normal(labels), 1)
    draws = np.random.default_rng(5).multinomial(20, np.full(20, 1 / 20), size=301)
    samples = [np.repeat(np.arange(60), counts[patients]) for counts in draws]
    values = [roc_auc_score(labels[s], scores[s]) for s in samples]
    expected = (*np.quantile(values, [0.025, 0.975]), 0)
    assert interval(labels, scores, patients, seed=5, resamples=301) == pytest.approx(expected, abs=1e-12)


def test_the_seed_alone_decides_what_is_drawn():
    labels, scores = [0, 1] * 20, list(np.random.default_rng(0).normal(size=40))
    of_seed = [interval(labels, scores, np.arange(40) // 2, seed=seed, resamples=300) for seed in (1, 1, 2)]
    assert of_seed[0] == of_seed[1] != of_seed[2]


def test_memory_in_parts_changes_nothing(monkeypatch):
    labels, scores = [0, 1] * 20, list(np.random.default_rng(0).normal(size=40))
    whole = interval(labels, scores, resamples=301)
    monkeypatch.setattr("monai_e2e.metrics.bootstrap._CHUNK", 1000)
    assert interval(labels, scores, resamples=301) == whole


def test_resamples_of_one_class_are_counted_and_left_out():
    labels, scores = [1] + [0] * 9, [0.5, *np.linspace(0, 1, 9)]
    low, high, undefined = interval(labels, scores, resamples=2000)
    assert undefined / 2000 == pytest.approx(0.9**10, abs=0.04)
    assert 0 <= low <= high <= 1


def test_interval_is_none_where_most_resamples_have_no_value():
    assert interval([1, 1], [0.1, 0.2], resamples=100) == (None, None, 100)


def test_too_few_resamples_are_a_users_mistake():
    with pytest.raises(UserError, match="100 or more"):
        interval([0, 1], [0.0, 1.0], resamples=99)


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
        low, high, _ = interval(labels, scores, owners, seed=repeat, resamples=400)
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
