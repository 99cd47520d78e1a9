"""Models that come with the package: each is what its card says, and is found by its name."""

import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_e2e.cli.main import main
from monai_e2e.errors import UserError
from monai_e2e.metrics.tables import read_predictions
from monai_e2e.networks import PatchClassifier, WholeImageClassifier, load_classifier, operating_point
from monai_e2e.networks.patients import recorded_patients
from monai_e2e.shipped import models
from monai_e2e.shipped.models import find_model, find_start, shipped_model, shipped_models

NAMES = [model.name for model in shipped_models()]
KINDS = {"patch classifier": PatchClassifier, "whole-image classifier": WholeImageClassifier}


def test_the_phantoms_models_are_there():
    assert {"phantom-patch", "phantom-whole"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_the_network_that_its_card_says(name):
    model = shipped_model(name)
    network = load_classifier(find_model(name))
    assert type(network) is KINDS[model.kind]
    assert model.path.stat().st_size < 25e6
    assert hashlib.sha256(model.path.read_bytes()).hexdigest() == model.sha256
    assert 0 < float(network.pixel_mean) < 255
    assert recorded_patients(network)["training"]
    assert all(getattr(model, field) for field in ("data", "training", "never_shown", "licence", "result", "use"))
    if model.kind == "whole-image classifier":
        assert operating_point(network) is not None
        assert model.threshold
        assert shipped_model(model.patch_classifier).kind == "patch classifier"


def test_weights_without_a_card_or_the_reverse_are_not_shipped():
    assert {path.stem for path in models.FOLDER.glob("*.pt")} == set(NAMES)


def test_a_path_is_left_as_it_is(tmp_path):
    for path in (tmp_path / "model.pt", Path("bundles/ddsm_whole"), "absent.pt"):
        assert find_model(path) == Path(path)


def test_a_folder_of_a_shipped_models_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phantom-whole").mkdir()
    assert find_model("phantom-whole") == Path("phantom-whole")


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"'phantom-hole' is neither .*; did you mean 'phantom-whole'"):
        find_model("phantom-hole")


def test_a_file_that_is_not_the_shipped_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    card = {"kind": "patch classifier", "sha256": "0" * 64}
    card |= dict.fromkeys(("data", "training", "never_shown", "licence", "result", "threshold", "use"), "told")
    (tmp_path / "mine.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"mine\.pt can't be read .*install monai-e2e again"):
        find_model("mine")
    (tmp_path / "mine.pt").write_bytes(b"other")
    with pytest.raises(UserError, match="not the file that was shipped"):
        find_model("mine")


class TestStart:
    def test_what_the_user_names_comes_first(self, tmp_path):
        own = tmp_path / "own.pt"
        own.touch()
        assert find_start("checkpoint", "given.pt", str(own), "phantom-patch") == "given.pt"
        assert Path(find_start("checkpoint", "phantom-whole", str(own), None)).name == "phantom-whole.pt"

    def test_then_the_step_before_and_then_the_shipped_model_with_a_line(self, tmp_path, caplog):
        own = tmp_path / "own.pt"
        with caplog.at_level(logging.INFO):
            assert Path(find_start("checkpoint", None, str(own), "phantom-patch")).name == "phantom-patch.pt"
        assert f"No checkpoint at {own}" in caplog.text
        own.touch()
        assert find_start("checkpoint", None, str(own), "phantom-patch") == str(own)

    def test_without_a_shipped_one_or_with_other_weights_it_is_the_step_before(self, tmp_path, caplog):
        own = str(tmp_path / "own.pt")
        with caplog.at_level(logging.INFO):
            assert find_start("checkpoint", None, own, None) == own
            assert find_start("imagenet", None, own, "phantom-patch") == own
        assert not caplog.text


class TestCommandLine:
    def test_models_are_listed_with_what_a_user_must_know(self, capsys):
        assert main(["models"]) == 0
        text = capsys.readouterr().out
        assert all(name in text and shipped_model(name).sha256 in text for name in NAMES)
        assert "For research, not for diagnosis." in text
        assert main(["models", "--json"]) == 0
        assert [model["name"] for model in json.loads(capsys.readouterr().out)] == NAMES

    def test_what_a_model_never_saw_is_not_told_where_there_is_nothing_to_score(self, tmp_path, caplog, capsys):
        (tmp_path / "images").mkdir()
        assert main(["predict", "phantom-whole", str(tmp_path / "images"), str(tmp_path / "out")]) == 2
        assert "images holds no DICOM, PNG, TIFF or JPEG file" in capsys.readouterr().err
        assert "trained without" not in caplog.text

    def test_a_shipped_model_scores_a_folder_draws_heatmaps_and_says_what_it_never_saw(self, tmp_path, caplog):
        images = tmp_path / "images"
        images.mkdir()
        rng = np.random.default_rng(0)
        for name in ("a", "b"):
            image = np.zeros((288, 224), np.uint8)
            image[40:250, :120] = rng.integers(60, 200, (210, 120))
            Image.fromarray(image).save(images / f"{name}.png")
        assert (
            main(["predict", "phantom-whole", str(images), str(tmp_path / "out"), "--heatmap", "--workers", "0"]) == 0
        )
        assert "phantom-whole was trained without: any mammogram." in caplog.text
        rows = read_predictions(tmp_path / "out" / "predictions.csv")
        assert len(rows) == 2
        assert sorted(path.stem for path in (tmp_path / "out" / "heatmaps").iterdir())
