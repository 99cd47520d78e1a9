"""Features of heatmaps, against maps drawn by hand."""

import numpy as np
import pytest

from monai_e2e.data import PATCH_CLASSES
from monai_e2e.forest.features import heatmap_features


def probabilities(**maps: np.ndarray) -> np.ndarray:
    """``[5, h, w]`` with the given maps, ``mass_malignant=…``, and the rest background."""
    found = {name.replace("_", "-"): np.asarray(values, dtype=np.float32) for name, values in maps.items()}
    lesions = [found.get(name, np.zeros_like(next(iter(found.values())))) for name in PATCH_CLASSES[1:]]
    return np.stack([1 - np.sum(lesions, axis=0), *lesions])


class TestFeatures:
    def test_regions_are_counted_and_the_largest_is_measured(self):
        heatmap = np.zeros((6, 7))
        heatmap[1:3, 1:5] = 0.6
        heatmap[1, 1] = 0.8
        heatmap[5, 6] = 0.95
        features = heatmap_features(probabilities(mass_malignant=heatmap), cutoffs=(0.5, 0.7, 0.99))
        assert features["mass-malignant max"] == pytest.approx(0.95)
        assert features["mass-malignant mean"] == pytest.approx((7 * 0.6 + 0.8 + 0.95) / 42)
        assert features["mass-malignant>=0.5 regions"] == 2
        assert features["mass-malignant>=0.5 area"] == 9
        assert features["mass-malignant>=0.5 largest area"] == 8
        assert features["mass-malignant>=0.5 largest mean"] == pytest.approx((7 * 0.6 + 0.8) / 8)
        assert features["mass-malignant>=0.5 largest max"] == pytest.approx(0.8)
        assert features["mass-malignant>=0.7 regions"] == 2
        assert features["mass-malignant>=0.7 largest area"] == 1
        assert all(value == 0 for name, value in features.items() if ">=0.99" in name)

    def test_axes_of_a_bar_are_those_of_the_ellipse_with_its_moments(self):
        # A uniform bar of length n has the variance n²/12, and an ellipse that of a sixteenth of its squared axis.
        heatmap = np.zeros((5, 9))
        heatmap[2:4, 1:7] = 1
        features = heatmap_features(probabilities(mass_benign=heatmap), cutoffs=(0.5,))
        assert features["mass-benign>=0.5 largest major axis"] == pytest.approx(4 * 6 / 12**0.5)
        assert features["mass-benign>=0.5 largest minor axis"] == pytest.approx(4 * 2 / 12**0.5)
        assert features["mass-benign>=0.5 largest eccentricity"] == pytest.approx((1 - 1 / 9) ** 0.5)
        assert features["mass-benign>=0.5 largest extent"] == 1

    def test_a_diagonal_is_one_long_region_that_fills_little_of_its_box(self):
        features = heatmap_features(probabilities(mass_benign=np.eye(5)), cutoffs=(0.5,))
        assert features["mass-benign>=0.5 regions"] == 1
        assert features["mass-benign>=0.5 largest extent"] == pytest.approx(1 / 5)
        assert features["mass-benign>=0.5 largest eccentricity"] > 0.98

    def test_a_single_position_is_a_round_region(self):
        heatmap = np.zeros((3, 3))
        heatmap[1, 2] = 0.7
        features = heatmap_features(probabilities(calcification_benign=heatmap), cutoffs=(0.5,))
        assert features["calcification-benign>=0.5 largest eccentricity"] == 0
        assert features["calcification-benign>=0.5 largest major axis"] == pytest.approx(4 / 12**0.5)

    @pytest.mark.parametrize("surer", [(0, 0), (4, 4)])
    def test_of_two_regions_of_the_same_area_the_surer_is_measured(self, surer):
        heatmap = np.zeros((5, 5))
        heatmap[0, 0] = heatmap[4, 4] = 0.6
        heatmap[surer] = 0.7
        features = heatmap_features(probabilities(mass_benign=heatmap), cutoffs=(0.5,))
        assert features["mass-benign>=0.5 largest max"] == pytest.approx(0.7)

    def test_a_cutoff_itself_is_above_the_cut(self):
        features = heatmap_features(probabilities(mass_benign=np.full((1, 1), 0.5)), cutoffs=(0.5,))
        assert features["mass-benign>=0.5 regions"] == 1

    def test_groups_sum_the_classes_of_either_kind(self):
        half = np.full((2, 2), 0.4)
        features = heatmap_features(probabilities(mass_malignant=half, calcification_malignant=half), cutoffs=(0.7,))
        assert features["malignant max"] == pytest.approx(0.8)
        assert features["malignant>=0.7 area"] == 4
        assert features["mass-malignant>=0.7 area"] == features["benign max"] == 0

    def test_turning_or_mirroring_a_map_changes_nothing(self):
        heatmap = np.random.default_rng(0).random((6, 6)) * 0.9
        plain = heatmap_features(probabilities(mass_benign=heatmap))
        for other in (heatmap.T, heatmap[::-1], heatmap[:, ::-1]):
            assert heatmap_features(probabilities(mass_benign=other)) == pytest.approx(plain)
