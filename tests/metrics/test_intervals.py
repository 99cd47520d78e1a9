"""Intervals of figures that are made of sums: those of the figures of each resample."""

import numpy as np
import pytest
from made_rows import make_rows
from scipy.special import expit

from monai_e2e.metrics import brier_score, decision_curve, level_samples, probabilistic_f1, score_rows
from monai_e2e.metrics.decision import SHOWN


@pytest.mark.parametrize("prevalence", [None, 0.006])
def test_intervals_are_of_the_figures_of_resampled_patients(prevalence):
    rows = make_rows()
    score = score_rows(rows, seed=3, resamples=301, prevalence=prevalence, present=prevalence and 0.175)["image"]
    samples = level_samples(rows)[0]["image"]
    labels, p = samples.labels, expit(samples.logits)
    draws = np.random.default_rng(3).multinomial(40, np.full(40, 1 / 40), size=301)
    repeated = [np.repeat(np.arange(160), counts[samples.owners]) for counts in draws]
    figures = [
        [
            brier_score(labels[r], p[r]),
            probabilistic_f1(labels[r], p[r])["value"],
            *(at["model"] for at in decision_curve(labels[r], p[r], SHOWN, prevalence, prevalence and 0.175)),
        ]
        for r in repeated
    ]
    found = [score["brier_ci_bootstrap"], score["probabilistic_f1"]["value_ci_bootstrap"]]
    found += [at["model_ci_bootstrap"] for at in score["net_benefit"]]
    expected = np.quantile(figures, [0.025, 0.975], axis=0).T
    assert found == [pytest.approx(limits, abs=1e-12) for limits in expected.tolist()]
