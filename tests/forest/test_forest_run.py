"""The random forest on heatmaps: its leaves and threshold, and the command from images to a score."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_e2e.cli.main import _parser, main
from monai_e2e.data import phantom_dataset
from monai_e2e.errors import UserError
from monai_e2e.forest.features import CUTOFFS
from monai_e2e.forest.run import LEAF_SIZES, fit_forest, log_odds, run_forest
from monai_e2e.networks import PatchClassifier, WholeImageClassifier

pytestmark = pytest.mark.usefixtures("blank_curves")

SIZE = (160, 128)
TREES = 20


class TestForest:
    @pytest.fixture
    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """Features of which the first tells the classes apart, with noise, and labels."""
        random = np.random.default_rng(0)
        labels = np.arange(240) % 2
        return np.column_stack([random.normal(labels), random.normal(size=(240, 3))]), labels

    def fit(self, images, seed: int = 0):
        features, labels = images
        return fit_forest(features[:120], labels[:120], features[120:], labels[120:], TREES, seed)

    def test_it_learns_and_finds_the_feature_that_tells(self, images):
        fitted = self.fit(images)
        assert fitted.validation_auc[fitted.min_samples_leaf] == max(fitted.validation_auc.values()) > 0.65
        assert fitted.forest.feature_importances_.argmax() == 0
        assert set(fitted.validation_auc) == set(LEAF_SIZES)

    def test_the_seed_decides_all(self, images):
        features = images[0]
        first, again, other = (log_odds(self.fit(images, seed).forest, features) for seed in (0, 0, 1))
        assert first == again
        assert first != other

    def test_unanimous_votes_have_finite_log_odds_in_the_order_of_the_votes(self, images):
        features, labels = images
        forest = self.fit(images).forest.set_params(min_samples_leaf=1).fit(features, labels)
        votes, scores = forest.predict_proba(features)[:, 1], np.array(log_odds(forest, features))
        assert {0.0, 1.0} <= set(votes)
        assert np.isfinite(scores).all()
        order = np.argsort(votes, kind="stable")
        assert (np.diff(scores[order]) >= 0).all()
        assert len(set(scores.round(9))) == len(set(votes.round(9)))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return Path(phantom_dataset("cbis-ddsm", 20, SIZE, folder=tmp_path_factory.mktemp("phantoms"), workers=1))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A patch classifier whose random weights tell images apart."""
    torch.manual_seed(0)
    network = PatchClassifier(
        "vgg16", width=0.125, pixel_mean=50.0, preparation={"image_size": list(SIZE), "patch_size": 64}
    )
    with torch.no_grad():
        network.head.weight *= 3 / network(50 * torch.randn(8, 3, 64, 64)).std()
    path = tmp_path_factory.mktemp("checkpoint") / "model.pt"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def results(prepared, checkpoint, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("forest")
    assert main(["forest", str(checkpoint), str(prepared), str(out), "--trees", str(TREES)]) == 0
    return out


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestCommand:
    def test_cutoffs_are_by_default_those_of_the_library(self):
        assert tuple(_parser().parse_args(["forest", "PATCH_MODEL", "PREPARED", "OUT"]).cutoffs) == CUTOFFS

    def test_each_test_image_has_a_row_in_the_format_of_predictions(self, results, prepared):
        rows = read(results / "predictions.csv")
        test = json.loads((prepared / "datalist.json").read_text())["test"]
        assert [row["image"] for row in rows] == [Path(sample["image"]).stem for sample in test]
        assert [int(row["label"]) for row in rows] == [sample["label"] for sample in test]
        assert {row["model"] for row in rows} == {"heatmap forest"}
        threshold = json.loads((results / "forest.json").read_text())["threshold_logit"]
        for row in rows:
            assert float(row["p_malignant"]) == pytest.approx(1 / (1 + np.exp(-float(row["logit"]))), abs=1e-5)
            assert float(row["threshold"]) == pytest.approx(1 / (1 + np.exp(-threshold)), abs=1e-5)

    def test_score_is_that_of_the_predictions(self, results):
        rows = read(results / "predictions.csv")
        labels, logits = np.array([[int(row["label"]), float(row["logit"])] for row in rows]).T
        wins = logits[labels == 1][:, None] - logits[labels == 0]
        score = json.loads((results / "score.json").read_text())["image"]
        assert score["n"] == len(rows)
        assert score["auc"] == pytest.approx((np.sign(wins).mean() + 1) / 2)

    def test_a_forest_fitted_to_the_table_of_features_is_the_same_and_one_to_other_labels_is_not(self, results):
        rows = read(results / "features.csv")
        names = list(json.loads((results / "forest.json").read_text())["importances"])
        names = [name for name in rows[0] if name in names]  # in the table's order
        parts = {
            partition: (
                np.array([[float(row[name]) for name in names] for row in rows if row["partition"] == partition]),
                np.array([int(row["label"]) for row in rows if row["partition"] == partition]),
            )
            for partition in ("training", "validation", "test")
        }
        fitted = fit_forest(*parts["training"], *parts["validation"], trees=TREES)
        scores = [float(row["logit"]) for row in read(results / "predictions.csv")]
        assert log_odds(fitted.forest, parts["test"][0]) == pytest.approx(scores, abs=1e-6)
        features, labels = parts["training"]
        other = fit_forest(features, 1 - labels, *parts["validation"], trees=TREES)
        assert log_odds(other.forest, parts["test"][0]) != pytest.approx(scores, abs=1e-6)

    def test_importances_are_named_and_sum_to_one(self, results):
        importances = json.loads((results / "forest.json").read_text())["importances"]
        # scikit-learn's are all 0 where no tree has a split, as a few images in large leaves may have it
        assert sum(importances.values()) == pytest.approx(1) or not any(importances.values())
        assert list(importances.values()) == sorted(importances.values(), reverse=True)
        assert "malignant>=0.5 regions" in importances

    def test_labels_of_the_test_images_do_not_influence_their_scores(self, results, prepared, checkpoint, tmp_path):
        copy = shutil.copytree(prepared, tmp_path / "prepared")
        datalist = json.loads((copy / "datalist.json").read_text())
        for sample in datalist["test"]:
            sample["label"] = 1 - sample["label"]
        (copy / "datalist.json").write_text(json.dumps(datalist))
        run_forest(checkpoint, copy, tmp_path / "out", trees=TREES)
        before, after = ([row["logit"] for row in read(out / "predictions.csv")] for out in (results, tmp_path / "out"))
        assert after == before

    def test_no_file_can_run_code_or_holds_a_path_of_the_users_disk(self, results, prepared):
        assert not [path for path in results.rglob("*") if path.suffix in (".pkl", ".joblib", ".pt")]
        for path in results.rglob("*"):
            if path.suffix in (".csv", ".json", ".html", ".md"):
                assert str(prepared.parent) not in path.read_text()

    def test_only_patch_classifiers_of_the_five_classes_make_heatmaps(self, prepared, tmp_path):
        preparation = {"image_size": list(SIZE), "patch_size": 64}
        three = PatchClassifier("vgg16", num_classes=3, width=0.0625, preparation=preparation)
        whole = WholeImageClassifier(three, ["8x1"], preparation=preparation)
        for network, message in ((three, "3 classes"), (whole, "classifies whole images")):
            torch.save(network.state_dict(), tmp_path / "model.pt")
            with pytest.raises(UserError, match=message):
                run_forest(tmp_path / "model.pt", prepared, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_images_prepared_otherwise_than_the_models_are_refused(self, prepared, tmp_path):
        network = PatchClassifier("vgg16", width=0.0625)
        torch.save(network.state_dict(), tmp_path / "model.pt")
        with pytest.raises(UserError, match=r"trained on .*image_size \[1152, 896\].*\[160, 128\]"):
            run_forest(tmp_path / "model.pt", prepared, tmp_path / "out")

    def test_a_classifier_that_gives_no_numbers_is_named_with_the_image(self, prepared, checkpoint, tmp_path):
        state = torch.load(checkpoint, weights_only=True)
        state["head.bias"][2] = float("nan")
        torch.save(state, tmp_path / "broken.pt")
        with pytest.raises(UserError, match=r"\.png: broken gives no finite probability"):
            run_forest(tmp_path / "broken.pt", prepared, tmp_path / "out")

    def test_a_device_that_is_not_there_is_a_users_mistake(self, prepared, checkpoint, tmp_path, capsys):
        arguments = ["forest", str(checkpoint), str(prepared), str(tmp_path / "out"), "--device", "gpu"]
        assert main(arguments) == 2
        assert "'gpu'" in capsys.readouterr().err

    @pytest.mark.parametrize("cutoffs", [[], [0.5, 1.0], [0.0], [-0.1]])
    def test_cutoffs_outside_of_0_to_1_are_refused(self, cutoffs, prepared, checkpoint, tmp_path):
        with pytest.raises(UserError, match="between 0 and 1"):
            run_forest(checkpoint, prepared, tmp_path / "out", cutoffs=cutoffs)

    @pytest.mark.parametrize("settings", [{"trees": 0}, {"seed": -1}])
    def test_trees_and_seeds_that_are_none_are_refused_before_the_work_begins(self, settings, tmp_path):
        with pytest.raises(UserError, match="at least 1"):
            run_forest(tmp_path / "absent.pt", tmp_path, tmp_path / "out", **settings)
