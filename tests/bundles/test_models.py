"""The networks of the paper's Table 2 as users choose them: an overlay of train.json, then the checkpoint alone."""

from __future__ import annotations

import csv
import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow
from without_pictures import WITHOUT_PICTURES

from monai_e2e.bundle import user_error
from monai_e2e.data import load_datalist, phantom_dataset
from monai_e2e.networks import BACKBONES, WholeImageClassifier, architecture, read_architecture, read_state

BUNDLES = Path(__file__).parents[2] / "bundles"
ROWS = {
    path.stem: json.loads(path.read_text())
    for path in sorted((BUNDLES / "ddsm_whole" / "configs" / "models").glob("*.json"))
}
ONE_EPOCH = [{"name": "all layers", "trainable": ["*"], "lr": 1e-3, "epochs": 1, "weight_decay": 1e-3}]
WIDTH = 0.0625
SIZE = [384, 352]  # 12 × 11 positions: for windows of 7 × 7, then a max-pooling of 5 × 5
FC_ROW, CONVOLUTIONAL_ROW = "vgg16_heatmap_fc64_fc32", "resnet50_256-256-512x3_128-128-256x3"
#: For each of the two another row, and a key in which they differ.
OTHER_ROWS = {
    FC_ROW: ("resnet50_heatmap_fc64_fc32", "backbone"),
    CONVOLUTIONAL_ROW: ("resnet50_512-512-1024x2", "top_blocks"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> str:
    """One set of phantoms for all bundles: what they are trained on matters to other tests."""
    folder = tmp_path_factory.mktemp("phantoms")
    return phantom_dataset("cbis-ddsm", patients=15, image_size=tuple(SIZE), folder=folder, workers=2)


def workflow(bundle: str, action: str, configs: list[str], **keys: Any) -> ConfigWorkflow:
    """What ``python -m monai.bundle run ACTION --config_file "[CONFIGS]" --KEY VALUE …`` starts."""
    files = [str(BUNDLES / bundle / "configs" / f"{config}.json") for config in configs]
    keys = {"recipe": "phantom", "image_size": SIZE, **keys}
    started = ConfigWorkflow(files, run_id=action, logging_file=False, workflow_type=None, **keys)
    started.initialize()
    return started


def run(bundle: str, action: str, configs: list[str], **keys: Any) -> ConfigWorkflow:
    started = workflow(bundle, action, configs, **keys)
    started.run()
    started.finalize()
    return started


def train(bundle: str, out: Path, configs: tuple[str, ...] = ("train",), **keys: Any) -> ConfigWorkflow:
    keys = {
        "model_dir": str(out),
        "output_dir": str(out),
        "stages": ONE_EPOCH,
        "batch_size": 4,
        **WITHOUT_PICTURES,
        **keys,
    }
    return run(bundle, "training", list(configs), **keys)


def evaluate(bundle: str, dataset: str, model_dir: Path, out: Path) -> list[dict[str, str]]:
    """The checkpoint alone says which network it is."""
    keys = {"dataset_dir": dataset, "model_dir": str(model_dir), "output_dir": str(out)}
    run(bundle, "evaluating", ["train", "evaluate"], **keys)
    assert 0 <= json.loads((out / "score.json").read_text())["image"]["auc"] <= 1
    return list(csv.DictReader((out / "predictions.csv").open()))


def as_written(row: str) -> dict[str, Any]:
    """What the network must say of itself: the row's keys, as they are in the overlay."""
    return {"width": WIDTH, "patch_classes": 5, "in_channels": 3, **ROWS[row]}


def said(network: dict[str, Any], row: str) -> dict[str, Any]:
    return {key: network[key] for key in as_written(row)}


@pytest.fixture(scope="module", params=[FC_ROW, CONVOLUTIONAL_ROW])
def handed_on(request, prepared, tmp_path_factory) -> tuple[str, Path]:
    """A row trained with its overlay, then in the next bundle from its checkpoint with no key on the network."""
    root = tmp_path_factory.mktemp("handed_on")
    overlay = ("train", f"models/{request.param}")
    keys = {"dataset_dir": prepared, "weights": "scratch", "width": WIDTH}
    train("ddsm_whole", root / "ddsm_whole", overlay, **keys)
    keys = {"dataset_dir": prepared, "whole_checkpoint": str(root / "ddsm_whole" / "model.pt")}
    train("inbreast_transfer", root / "inbreast_transfer", weights="checkpoint", **keys)
    return request.param, root


def test_the_overlays_are_the_papers_ten_rows():
    assert len(ROWS) == 10
    resnets = [row for row, keys in ROWS.items() if keys["backbone"] == "resnet50"]
    assert len(resnets) == 5
    assert all(row.startswith(keys["backbone"]) for row, keys in ROWS.items())
    assert all(bool(keys.get("heatmap")) == ("heatmap" in row) for row, keys in ROWS.items())
    with_fc = [row for row, keys in ROWS.items() if keys["top_blocks"] == ["FC64", "FC32"]]
    assert with_fc == ["resnet50_heatmap_fc64_fc32", "vgg16_heatmap_fc64_fc32"]
    assert all(ROWS[row]["shortcut"] is True and ROWS[row]["heatmap"]["max_pool"] == 5 for row in with_fc)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_builds_its_network_and_learns_from_a_batch(row, tmp_path):
    torch.manual_seed(0)
    torch.save({"any": torch.zeros(1)}, tmp_path / "unused.pt")
    started = workflow(
        "ddsm_whole",
        "training",
        ["train", f"models/{row}"],
        dataset_dir="not read",
        weights="scratch",
        patch_checkpoint=str(tmp_path / "unused.pt"),
        pixel_mean=40.0,
        preparation={"image_size": SIZE},
        patients={"fold": None, "training": [], "validation": []},
        width=WIDTH,
    )
    network = started.parser.get_parsed_content("network")
    assert isinstance(network, WholeImageClassifier)
    assert said(architecture(network), row) == as_written(row)
    assert type(network.backbone) is BACKBONES[ROWS[row]["backbone"]]
    assert float(network.pixel_mean) == 40.0
    loss, optimizer = (started.parser.get_parsed_content(part) for part in ("loss", "optimizer"))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    first = loss(network.train()(torch.randn(4, 3, *SIZE) * 50), torch.tensor([0, 1, 1, 0]))
    first.backward()
    optimizer.step()
    assert math.isfinite(first.item())
    unmoved = [name for name, parameter in network.named_parameters() if torch.equal(parameter, before[name])]
    assert unmoved == []


class TestHandingOn:
    def test_the_checkpoints_say_which_row_they_are(self, handed_on):
        row, root = handed_on
        for bundle in ("ddsm_whole", "inbreast_transfer"):
            found = read_architecture(root / bundle / "model.pt")
            assert said(found, row) == as_written(row)
            assert found["image_size"] == (SIZE if row == FC_ROW else None)

    def test_evaluation_needs_no_overlay_and_says_what_it_found(self, handed_on, prepared, tmp_path, caplog):
        row, root = handed_on
        with caplog.at_level(logging.INFO):
            rows = evaluate("ddsm_whole", prepared, root / "ddsm_whole", tmp_path)
        assert len(rows) == len(load_datalist(prepared, "test", SIZE))
        lines = [record.getMessage() for record in caplog.records]
        line = next(text for text in lines if text.startswith(f"The architecture is that of {root}"))
        for key in ("width", "top_blocks"):  # in both rows other than in the recipe
            assert f"{key} {as_written(row)[key]}" in line

    def test_the_transferred_network_is_evaluated_likewise(self, handed_on, prepared, tmp_path):
        _, root = handed_on
        rows = evaluate("inbreast_transfer", prepared, root / "inbreast_transfer", tmp_path)
        assert len(rows) == len(load_datalist(prepared, "test", SIZE))

    def test_inference_gives_the_logits_of_the_evaluation(self, handed_on, prepared, tmp_path):
        _, root = handed_on
        data, checkpoint = prepared, root / "ddsm_whole" / "model.pt"
        evaluated = evaluate("ddsm_whole", data, checkpoint.parent, tmp_path / "evaluated")
        keys = {"dataset_dir": data, "checkpoint": str(checkpoint), "output_dir": str(tmp_path / "inferred")}
        run("ddsm_whole", "inferring", ["inference"], **keys)
        inferred = list(csv.DictReader((tmp_path / "inferred" / "predictions.csv").open()))
        logits = [{row["image"]: float(row["logit"]) for row in rows} for rows in (evaluated, inferred)]
        assert len(set(logits[0].values())) > 1
        assert logits[1] == pytest.approx(logits[0], abs=1e-4)

    def test_the_transfer_starts_from_every_weight_of_the_checkpoint(self, handed_on, prepared):
        row, root = handed_on
        started = workflow(
            "inbreast_transfer",
            "training",
            ["train"],
            dataset_dir=prepared,
            weights="checkpoint",
            whole_checkpoint=str(root / "ddsm_whole" / "model.pt"),
        )
        network = started.parser.get_parsed_content("network")
        assert said(architecture(network), row) == as_written(row)
        state = read_state(root / "ddsm_whole" / "model.pt")
        differing = [key for key, value in network.state_dict().items() if not torch.equal(value, state[key])]
        assert set(differing) <= {"pixel_mean", "threshold"}  # which are of the images that it is trained on now

    def test_an_overlay_that_the_checkpoint_does_not_fit_is_told_by_its_keys(self, handed_on, prepared, tmp_path):
        row, root = handed_on
        other, key = OTHER_ROWS[row]
        keys = {"dataset_dir": prepared, "model_dir": str(root / "ddsm_whole"), "output_dir": str(tmp_path)}
        with pytest.raises(RuntimeError) as caught:
            run("ddsm_whole", "evaluating", ["train", f"models/{other}", "evaluate"], **keys)
        message = str(user_error(caught.value))
        assert "does not fit" in message
        assert f"{key} is {ROWS[row][key]} in the file and {ROWS[other][key]} in the network" in message


@pytest.fixture(scope="module")
def patch_model(prepared, tmp_path_factory) -> tuple[ConfigWorkflow, Path]:
    out = tmp_path_factory.mktemp("yaroslavnet")
    keys = {"backbone": "yaroslavnet", "width": WIDTH, "weights": "scratch", "patch_size": 64, "per_roi": 2}
    started = train("ddsm_patch", out, dataset_dir=prepared, **{**keys, "batch_size": 16})
    return started, out / "model.pt"


class TestFromAPatchClassifier:
    def test_yaroslavnet_sees_patches_of_one_channel(self, patch_model):
        started, checkpoint = patch_model
        for part in ("train", "validate"):
            batch = next(iter(started.parser.get_parsed_content(f"{part}#dataloader")))
            assert batch["image"].shape[1:] == (1, 64, 64)
        found = read_architecture(checkpoint)
        assert (found["backbone"], found["in_channels"], found["width"]) == ("yaroslavnet", 1, WIDTH)

    def test_its_heatmaps_need_no_key_on_the_network(self, patch_model, prepared, tmp_path):
        import nibabel

        keys = {"checkpoint": str(patch_model[1]), "patch_size": 64, "output_dir": str(tmp_path)}
        run("ddsm_patch", "inferring", ["inference"], dataset_dir=prepared, **keys)
        maps = sorted((tmp_path / "heatmaps" / "images").glob("*.nii.gz"))
        assert len(maps) == len(load_datalist(prepared, "test", SIZE))
        assert nibabel.load(maps[0]).get_fdata().squeeze().shape == (6, 5, 5)

    @pytest.mark.parametrize("keys", [{}, {"heatmap": {"pool_size": 2}, "top_blocks": ["8x1"]}])
    def test_the_whole_image_network_takes_its_backbone_and_channels_from_the_patch_checkpoint(
        self, patch_model, prepared, keys
    ):
        started = workflow(
            "ddsm_whole",
            "training",
            ["train"],
            dataset_dir=prepared,
            weights="checkpoint",
            patch_checkpoint=str(patch_model[1]),
            **keys,
        )
        network, state = started.parser.get_parsed_content("network"), read_state(patch_model[1])
        made = architecture(network)
        assert (made["backbone"], made["in_channels"], made["width"]) == ("yaroslavnet", 1, WIDTH)
        own = network.state_dict()
        filled = [key for key in state if key.startswith("backbone.")]
        assert all(torch.equal(own[key], state[key]) for key in filled)
        if keys:
            assert torch.equal(network.heatmap.classifier.weight, state["head.weight"])
        batch = next(iter(started.parser.get_parsed_content("train#dataloader")))
        assert batch["image"].shape[1:] == (1, *SIZE)
        assert network.eval()(batch["image"]).shape == (len(batch["image"]), 2)


def test_a_fully_connected_row_trains_on_any_number_of_images(prepared, tmp_path):
    """Batch normalisation after a linear layer cannot be trained on one image, and the paper's batches are of two."""
    batch_size = len(load_datalist(prepared, "training", SIZE)) - 1
    keys = {"dataset_dir": prepared, "weights": "scratch", "width": WIDTH, "batch_size": batch_size}
    train("ddsm_whole", tmp_path, ("train", f"models/{FC_ROW}"), **keys)
    assert (tmp_path / "model.pt").is_file()
