"""A card says of a model what its checkpoint, its bundle and its records know."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from scipy.special import expit

from monai_e2e.cards.model_card import without_folders
from monai_e2e.cli.main import main
from monai_e2e.networks import PatchClassifier, WholeImageClassifier
from monai_e2e.predict.models import load_model

CONFIGS = Path(__file__).parents[2] / "bundles" / "ddsm_whole" / "configs"


@pytest.fixture
def bundle(tmp_path):
    """A bundle with an untrained network and the records of its training and evaluation."""
    preparation = {"image_size": [64, 64], "voi_lut": False}
    patch = PatchClassifier("vgg16", width=0.0625, preparation={**preparation, "patch_size": 32})
    network = WholeImageClassifier(patch, ["[8-8-16]x1"], preparation=preparation)
    folder = tmp_path / "seed0"
    shutil.copytree(CONFIGS, folder / "configs")
    for name in ("models", "eval"):
        (folder / name).mkdir()
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    training = {"bundle": {"name": "Whole"}, "resolved": {"backbone": "vgg16"}, "epochs": 5, "seed": 0}
    training["command"] = (
        "/home/jane/venv/bin/python -m monai.bundle run training --dataset_dir '/data/our hospital/ddsm'"
    )
    (folder / "eval" / "run.json").write_text(json.dumps(training))
    return folder


def test_card_of_a_bundle_has_both_forms_and_gives_it_its_name(bundle, capsys):
    assert main(["card", str(bundle), "--name", "Small VGG"]) == 0
    page = bundle / "models" / "README.md"
    assert f"Card: {page}" in capsys.readouterr().out
    _, header, body = page.read_text(encoding="utf-8").split("---\n", 2)
    known = yaml.safe_load(header)
    assert (known["license"], known["library_name"]) == ("unknown", "monai")
    assert "vgg16" in known["tags"]
    assert "# Small VGG" in body
    assert "For research, not for diagnosis." in body
    assert "5 epochs, seed 0 [`run.json`]" in body
    assert "to be filled in by the authors" in body
    card = json.loads((bundle / "models" / "card.json").read_text())
    assert card["kind"] == "whole-image classifier"
    assert card["task"] == "Whole-image breast cancer classification"
    assert card["preparation"]["image_size"] == [64, 64]
    assert load_model(bundle / "models" / "model.pt", torch.device("cpu"), "SRC").name == "Small VGG"
    assert main(["card", str(bundle)]) == 0  # its name stays
    assert json.loads((bundle / "models" / "card.json").read_text())["name"] == "Small VGG"


def test_card_is_for_others_and_names_no_folder_of_this_machine(bundle, tmp_path):
    assert main(["card", str(bundle)]) == 0
    for page in ("README.md", "card.json"):
        text = (bundle / "models" / page).read_text(encoding="utf-8")
        for folder in (str(tmp_path), "/home/jane", "hospital"):
            assert folder not in text
    assert "python -m monai.bundle run training --dataset_dir 'ddsm'" in (bundle / "models/README.md").read_text()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("labels: /mnt/a/labels.csv, used", "labels: labels.csv, used"),
        ("C:\\Users\\jane\\run.json is it", "run.json is it"),
        ("https://zenodo.org/records/1 and 10.1000/182 per image/breast", None),
        ("bundles/ddsm_whole/configs", None),
    ],
)
def test_only_paths_from_the_root_are_shortened(text, kept):
    assert without_folders(text) == (text if kept is None else kept)


def test_card_of_a_shipped_model_tells_its_data_result_and_licence(tmp_path):
    assert main(["card", "cbis-mass", str(tmp_path / "card")]) == 0
    text = (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == "other"
    assert header["license_name"].startswith("CC BY 3.0 (data)")
    assert "AUC 0.798 per image" in text
    assert "never shown: calcification-only cases" in text
    assert "monai-e2e predict cbis-mass IMAGES results" in text
    threshold = json.loads((tmp_path / "card" / "card.json").read_text())["threshold_logit"]
    assert f"An image counts as malignant from a probability of {expit(threshold):.3f} on." in text
    assert "- threshold: largest Youden index on the 150 validation images" in text
    assert "## Training\n\n- EfficientNet-Lite0 from cbis-mass-patch, recipe small, seed 0" in text
    assert "to be filled in" not in text


def test_card_needs_a_model_a_folder_and_overwrites_nobodys_page(bundle, tmp_path, capsys):
    assert main(["card", "cbis-mass"]) == 2
    assert "name a folder for its card" in capsys.readouterr().err
    (bundle / "models" / "README.md").write_text("mine")
    assert main(["card", str(bundle)]) == 2
    assert "not written by `monai-e2e card`" in capsys.readouterr().err
    assert main(["card", str(tmp_path)]) == 2
    assert "no checkpoint" in capsys.readouterr().err
