"""What each bundle's ``configs/metadata.json`` says has the form that MONAI's checks ask for, and is true.

``verify_metadata`` fetches MONAI's own schema from the Internet; ``metadata_schema.json`` beside this file has its
rules in our words, and is stricter. To check against the public one too, name a copy of it in the environment variable
``MONAI_E2E_METADATA_SCHEMA``.
"""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from monai.bundle import verify_metadata

from monai_e2e import __version__
from monai_e2e.data import PATCH_CLASSES
from monai_e2e.shipped.models import shipped_model

REPOSITORY = Path(__file__).parents[2]
NAMES = ("ddsm_patch", "ddsm_whole", "inbreast_transfer")
SCHEMA = Path(__file__).with_name("metadata_schema.json")
PUBLIC = os.environ.get("MONAI_E2E_METADATA_SCHEMA")

each_bundle = pytest.mark.parametrize("bundle", NAMES)


def file_of(bundle: str) -> Path:
    return REPOSITORY / "bundles" / bundle / "configs/metadata.json"


def metadata(bundle: str) -> dict:
    return json.loads(file_of(bundle).read_text())


@each_bundle
@pytest.mark.parametrize("schema", [SCHEMA, *([Path(PUBLIC)] if PUBLIC else [])], ids=lambda path: path.stem)
def test_monai_verifies_it(bundle, schema, tmp_path):
    shutil.copy(schema, tmp_path / "schema.json")  # there, it is not fetched
    verify_metadata(meta_file=str(file_of(bundle)), filepath=str(tmp_path / "schema.json"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("task"),
        lambda content: content.update(authors=["one", "two"]),
        lambda content: content.update(eval_metrics={"auc": "0.9"}),
        lambda content: content["changelog"].update(latest="no version"),
        lambda content: content["network_data_format"]["outputs"]["pred"].update(value_range=["-inf", "inf"]),
        lambda content: content["network_data_format"]["inputs"]["image"].pop("dtype"),
        lambda content: content["network_data_format"]["inputs"].pop("image"),
    ],
    ids=["missing key", "authors", "metric", "changelog", "value range", "dtype", "image"],
)
def test_the_rules_refuse(damage):
    content = metadata("ddsm_whole")
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    assert validator.is_valid(content)
    damage(content)
    assert not validator.is_valid(content)


@each_bundle
def test_the_version_is_in_the_changelog_and_is_the_packages(bundle):
    content = metadata(bundle)
    assert content["version"] in content["changelog"]
    assert content["required_packages_version"]["monai-e2e"] == content["version"] == __version__


@each_bundle
def test_the_packages_are_the_tested_ones(bundle):
    content = metadata(bundle)
    named = {"monai": content["monai_version"], "torch": content["pytorch_version"], "numpy": content["numpy_version"]}
    named |= {name: version for name, version in content["required_packages_version"].items() if name != "monai-e2e"}
    tested = re.findall(r"^([\w.-]+)==([\w.]+)", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    assert set(named.items()) <= set(tested)


@each_bundle
def test_it_names_the_classes_and_says_that_the_output_is_logits(bundle):
    content = metadata(bundle)
    pred = content["network_data_format"]["outputs"]["pred"]
    classes = PATCH_CLASSES if bundle == "ddsm_patch" else ("negative", "positive")
    assert tuple(pred["channel_def"].values()) == tuple(classes)
    assert pred["num_channels"] == len(classes)
    assert all(f"{index}: {name}" in content["label_classes"] for index, name in enumerate(classes))
    assert pred["type"] == "logits"
    assert pred["value_range"] == []


@each_bundle
def test_the_input_is_that_of_the_papers_recipe(bundle):
    image = metadata(bundle)["network_data_format"]["inputs"]["image"]
    paper = json.loads(file_of(bundle).with_name("train.json").read_text())["recipes"]["paper"]
    size = [paper["patch_size"]] * 2 if bundle == "ddsm_patch" else paper["image_size"]
    assert image["spatial_shape"] == size
    assert image["is_patch_data"] is (bundle == "ddsm_patch")


@pytest.mark.parametrize(("bundle", "model"), [("ddsm_patch", "cbis-mass-patch"), ("ddsm_whole", "cbis-mass")])
def test_the_metrics_are_those_of_the_shipped_model(bundle, model):
    card = shipped_model(model)
    readme = (file_of(bundle).parents[1] / "docs/README.md").read_text()
    for name, value in metadata(bundle)["eval_metrics"].items():
        assert f"{name} {value:.3f}".lower() in card.result.lower()
        assert f"{value:.3f}" in readme


@each_bundle
def test_the_readme_has_the_zoos_sections_and_points_to_nothing_outside_the_bundle(bundle):
    folder = file_of(bundle).parents[1]
    readme = (folder / "docs/README.md").read_text()
    titles = re.findall(r"^#+ (.+)$", readme, re.MULTILINE)
    wanted = ["Model Overview", "Data", "Preprocessing", "Training configuration", "Input", "Output", "Performance"]
    assert titles == [*wanted, "Curves", "MONAI Bundle Commands", "TensorRT", "References", "License"]
    for path in re.findall(r"(?:configs|docs|models)/[\w.]+\.(?:json|txt|pt)", readme):
        assert (folder / path).is_file() or path == "models/model.pt"
    assert "../" not in readme
    assert (folder / "docs/data_license.txt").read_text()
