"""Every config of every bundle runs for an epoch on tiny phantoms, in the order and by the keys that users have."""

import csv
import json
import logging
import shutil
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out
from monai.handlers import MLFlowHandler
from without_pictures import WITHOUT_PICTURES

from monai_e2e.bundle import user_error
from monai_e2e.data import load_datalist, phantom_dataset
from monai_e2e.networks import read_state
from monai_e2e.networks.architecture import encode_description
from monai_e2e.seen import hash_patient

BUNDLES = Path(__file__).parents[2] / "bundles"
NAMES = ("ddsm_patch", "ddsm_whole", "inbreast_transfer")
ONE_EPOCH = [{"name": "all layers", "trainable": ["*"], "lr": 1e-3, "epochs": 1}]
SMALL = {"recipe": "phantom", "image_size": [128, 96], "batch_size": 8, "width": 0.0625}


@pytest.fixture(scope="module")
def prepared(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inbreast")
    return {
        "cbis-ddsm": phantoms,
        "inbreast": phantom_dataset("inbreast", patients=16, image_size=(128, 96), folder=folder, workers=2),
    }


def run(bundle, action, configs, **keys):
    files = [str(BUNDLES / bundle / "configs" / f"{config}.json") for config in configs]
    workflow = ConfigWorkflow(files, run_id=action, logging_file=False, workflow_type=None, **{**SMALL, **keys})
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow


def train(bundle, dataset, out, pictures=False, **keys):
    out = str(out)
    extra = {"patch_size": 32, "per_roi": 2} if bundle == "ddsm_patch" else {}
    if not pictures:
        extra |= WITHOUT_PICTURES
    keys = {"dataset_dir": dataset, "model_dir": out, "output_dir": out, "stages": ONE_EPOCH, **extra, **keys}
    return run(bundle, "training", ["train"], **keys)


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """The three bundles trained one after the other, each from the one before."""
    root = tmp_path_factory.mktemp("trained")
    train("ddsm_patch", prepared["cbis-ddsm"], root / "ddsm_patch", pictures=True)
    train(
        "ddsm_whole",
        prepared["cbis-ddsm"],
        root / "ddsm_whole",
        pictures=True,
        weights="checkpoint",
        patch_checkpoint=str(root / "ddsm_patch/model.pt"),
    )
    train(
        "inbreast_transfer",
        prepared["inbreast"],
        root / "inbreast_transfer",
        pictures=True,
        weights="checkpoint",
        whole_checkpoint=str(root / "ddsm_whole/model.pt"),
    )
    return root


def dataset_of(bundle, prepared):
    return prepared["inbreast" if bundle == "inbreast_transfer" else "cbis-ddsm"]


@pytest.mark.parametrize("bundle", NAMES)
def test_training_writes_a_model_of_plain_tensors_with_its_pixel_mean_and_tensorboard_logs(bundle, trained, prepared):
    state = read_state(trained / bundle / "model.pt")
    datalist = json.loads((Path(dataset_of(bundle, prepared)) / "datalist.json").read_text())
    assert float(state["pixel_mean"]) == pytest.approx(datalist["pixel_mean"], abs=1e-3)
    assert list((trained / bundle / "tensorboard").glob("events.*"))


def test_the_transfer_can_adapt_batch_normalisations_and_head_alone(trained, prepared, tmp_path):
    start = trained / "ddsm_whole" / "model.pt"
    keys = {"weights": "checkpoint", "whole_checkpoint": str(start), "trainable": "batchnorm+head"}
    train("inbreast_transfer", prepared["inbreast"], tmp_path, **keys)
    before, after = read_state(start), read_state(tmp_path / "model_final.pt")
    kernels = [name for name, value in before.items() if value.ndim == 4]
    assert kernels
    assert all(torch.equal(before[name], after[name]) for name in kernels)
    assert not torch.equal(before["head.weight"], after["head.weight"])


@pytest.mark.parametrize("bundle", NAMES)
def test_how_a_network_started_stands_in_the_last_line_and_in_the_record(bundle, trained, prepared, tmp_path, caplog):
    before = {"ddsm_whole": "ddsm_patch", "inbreast_transfer": "ddsm_whole"}.get(bundle)
    start = "scratch" if before is None else f"checkpoint {trained / before / 'model.pt'}"
    resolved = json.loads((trained / bundle / "run.json").read_text())["resolved"]
    assert resolved["started_from"] == start
    assert resolved["weights"] == ("scratch" if before is None else "checkpoint")
    assert resolved["batch_size"] == 8
    with caplog.at_level(logging.INFO):
        train(bundle, dataset_of(bundle, prepared), tmp_path, weights="scratch")
    assert "of a network that started from scratch: " in caplog.messages[-1]


@pytest.mark.parametrize("bundle", ["ddsm_patch", "ddsm_whole"])
def test_monais_own_tracking_settings_find_the_loss_of_each_batch(bundle, prepared, tmp_path, monkeypatch):
    losses = []

    # MLflow needn't be installed.
    def init(self, output_transform=None, **_):
        self.output_transform = output_transform

    def attach(self, engine):
        if self.output_transform:
            engine.add_event_handler(
                Events.ITERATION_COMPLETED, lambda engine: losses.append(self.output_transform(engine.state.output))
            )

    monkeypatch.setattr(MLFlowHandler, "__init__", init)
    monkeypatch.setattr(MLFlowHandler, "attach", attach)
    train(bundle, prepared["cbis-ddsm"], tmp_path, weights="scratch", tracking="mlflow")
    assert len(losses) > 1
    assert all(isinstance(loss, float) for loss in losses)


def test_a_training_that_ends_before_its_plan_says_so(prepared, tmp_path, caplog):
    plan = [{**ONE_EPOCH[0], "epochs": 8}]
    with caplog.at_level(logging.INFO):
        keys = {"stages": plan, "train#trainer#max_epochs": 1}
        train("ddsm_whole", prepared["cbis-ddsm"], tmp_path, weights="scratch", **keys)
    assert "from epoch 1 to 1:" in caplog.text
    with pytest.raises(RuntimeError) as caught:
        train("ddsm_whole", prepared["cbis-ddsm"], tmp_path, weights="scratch", val_interval=2, **keys)
    assert "val_interval 2: give a whole number from 1 to 1" in str(user_error(caught.value))


def test_a_config_may_be_yaml(prepared, tmp_path):
    content = ConfigParser.load_config_file(str(BUNDLES / "ddsm_whole/configs/train.json"))
    ConfigParser.export_config_file(content, str(tmp_path / "train.yaml"), fmt="yaml")
    workflow = ConfigWorkflow(
        str(tmp_path / "train.yaml"), logging_file=False, **SMALL, dataset_dir=prepared["cbis-ddsm"]
    )
    workflow.initialize()
    assert workflow.parser.get_parsed_content("batch_size") == 8


@pytest.mark.parametrize("bundle", NAMES)
def test_evaluating_scores_each_test_sample_once(bundle, trained, prepared, tmp_path):
    extra = {"patch_size": 32, "per_roi": 2} if bundle == "ddsm_patch" else {}
    run(
        bundle,
        "evaluating",
        ["train", "evaluate"],
        dataset_dir=dataset_of(bundle, prepared),
        model_dir=str(trained / bundle),
        output_dir=str(tmp_path),
        **extra,
    )
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    score = json.loads((tmp_path / "score.json").read_text())
    assert len({row["image"] for row in rows}) == len(rows)
    if bundle == "ddsm_patch":
        right = sum(row["label"] == row["predicted"] for row in rows)
        assert score["patch"]["accuracy"] == pytest.approx(right / len(rows))
    else:
        samples = load_datalist(dataset_of(bundle, prepared), "test")
        assert {row["image"] for row in rows} == {Path(sample["image"]).stem for sample in samples}
        assert {row["patient_id"] for row in rows} == {sample["patient_id"] for sample in samples}
        low, high = score["image"]["auc_ci_delong"]
        assert 0 <= low <= score["image"]["auc"] <= high <= 1
        assert (tmp_path / "roc.png").stat().st_size > 1000


@pytest.mark.parametrize("bundle", ["ddsm_whole", "inbreast_transfer"])
def test_inference_on_raw_dicom_agrees_with_evaluation_of_the_prepared_images(bundle, trained, prepared, tmp_path):
    data = dataset_of(bundle, prepared)
    checkpoint = str(trained / bundle / "model.pt")
    images = Path(data).parent / "download" / ("AllDICOMs" if bundle == "inbreast_transfer" else "CBIS-DDSM")
    raw = tmp_path / "raw"
    raw.mkdir()
    masks_and_crops = ("ROI mask", "cropped")
    chosen = [f for f in sorted(images.rglob("*.dcm")) if not any(word in str(f) for word in masks_and_crops)][:4]
    for index, image in enumerate(chosen):
        (raw / f"{index}.dcm").write_bytes(image.read_bytes())
    for name, folder in (("prepared", data), ("raw", str(raw))):
        out = str(tmp_path / name)
        run(bundle, "inferring", ["inference"], dataset_dir=folder, checkpoint=checkpoint, output_dir=out)
    rows = {name: list(csv.DictReader((tmp_path / name / "predictions.csv").open())) for name in ("prepared", "raw")}
    assert len(rows["raw"]) == 4
    assert "label" not in rows["raw"][0]
    assert len(rows["prepared"]) == len(load_datalist(data, "test"))


def test_phantoms_with_ids_of_patients_in_a_models_training_are_warned_of_and_those_of_a_data_set_refused(
    trained, prepared, tmp_path, caplog
):
    data, checkpoint = prepared["cbis-ddsm"], tmp_path / "model.pt"
    ids = [hash_patient(sample["patient_id"]) for sample in load_datalist(data, "test")]
    state = read_state(trained / "ddsm_whole/model.pt")
    torch.save({**state, "patients": encode_description({"training": ids})}, checkpoint)
    keys = {"checkpoint": str(checkpoint), "output_dir": str(tmp_path)}
    run("ddsm_whole", "inferring", ["inference"], image_dir=data, **keys)  # image_dir: where phantoms were drawn
    assert "test patients were in the training of" in caplog.text
    with pytest.raises(RuntimeError) as caught:
        run("ddsm_whole", "inferring", ["inference"], dataset_dir=data, **keys)
    assert "test patients were in the training of" in str(user_error(caught.value))


def test_patch_inference_writes_one_probability_map_for_each_image(trained, prepared, tmp_path):
    import nibabel

    run(
        "ddsm_patch",
        "inferring",
        ["inference"],
        dataset_dir=prepared["cbis-ddsm"],
        checkpoint=str(trained / "ddsm_patch/model.pt"),
        output_dir=str(tmp_path),
        patch_size=32,
    )
    maps = sorted((tmp_path / "heatmaps" / "images").glob("*.nii.gz"))
    assert len(maps) == len(load_datalist(prepared["cbis-ddsm"], "test"))
    values = nibabel.load(maps[0]).get_fdata().squeeze()
    assert values.shape == (4, 3, 5)
    assert values.sum(axis=-1) == pytest.approx(1.0, abs=1e-5)


def test_the_whole_image_network_starts_from_the_patch_networks_backbone(trained, prepared, tmp_path):
    workflow = ConfigWorkflow(
        str(BUNDLES / "ddsm_whole/configs/train.json"),
        logging_file=False,
        **SMALL,
        dataset_dir=prepared["cbis-ddsm"],
        weights="checkpoint",
        patch_checkpoint=str(trained / "ddsm_patch/model.pt"),
    )
    workflow.initialize()
    patch = read_state(trained / "ddsm_patch/model.pt")
    backbone = workflow.parser.get_parsed_content("network").backbone.state_dict()
    assert all(torch.equal(value, patch[f"backbone.{key}"]) for key, value in backbone.items())


def test_the_same_seed_gives_the_same_model_and_another_seed_another(prepared, tmp_path):
    for name, seed in (("first", 3), ("second", 3), ("third", 4)):
        train("ddsm_whole", prepared["cbis-ddsm"], tmp_path / name, weights="scratch", seed=seed)
    first, second, third = (read_state(tmp_path / name / "model.pt") for name in ("first", "second", "third"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["head.weight"], third["head.weight"])


@pytest.mark.parametrize(("bundle", "name"), [("ddsm_whole", "phantom-patch"), ("inbreast_transfer", "phantom-whole")])
def test_where_the_step_before_was_not_run_phantoms_start_from_the_shipped_model(
    bundle, name, prepared, tmp_path, monkeypatch, caplog
):
    alone = tmp_path / "bundles"  # where no other bundle has a trained model
    shutil.copytree(BUNDLES / bundle / "configs", alone / bundle / "configs")
    monkeypatch.setattr(sys.modules[__name__], "BUNDLES", alone)
    with caplog.at_level(logging.INFO):
        train(bundle, dataset_of(bundle, prepared), tmp_path / "out", width=0.125)
    (line,) = [record.getMessage() for record in caplog.records if "the step before was not run" in record.getMessage()]
    assert f"starting from the shipped {name}" in line
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert f"{name}.pt" in json.dumps(record)


def test_a_shipped_model_is_named_like_a_checkpoint_and_a_misspelt_one_is_answered(prepared, tmp_path):
    train("ddsm_whole", prepared["cbis-ddsm"], tmp_path / "out", patch_checkpoint="phantom-patch", width=0.125)
    with pytest.raises(RuntimeError) as caught:
        train("ddsm_whole", prepared["cbis-ddsm"], tmp_path, patch_checkpoint="phantom-pach")
    assert "did you mean 'phantom-patch'?" in str(user_error(caught.value))


@pytest.mark.parametrize(
    ("bundle", "key"), [("ddsm_whole", "patch_checkpoint"), ("inbreast_transfer", "whole_checkpoint")]
)
def test_the_papers_recipe_refuses_to_train_without_the_checkpoint_before_it(bundle, key, prepared, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        train(bundle, dataset_of(bundle, prepared), tmp_path, weights="checkpoint", **{key: str(tmp_path / "no.pt")})
    message = str(user_error(caught.value))
    assert str(tmp_path / "no.pt") in message
    assert "--weights imagenet" in message
    assert "python -m monai.bundle run training" in message


@pytest.mark.parametrize("bundle", NAMES)
def test_the_papers_recipe_has_the_papers_numbers(bundle):
    paper = json.loads((BUNDLES / bundle / "configs/train.json").read_text())["recipes"]["paper"]
    plan = [(stage["lr"], stage["epochs"]) for stage in paper["stages"]]
    assert paper["image_size"] == [1152, 896]
    assert paper["weights"] == ("imagenet" if bundle == "ddsm_patch" else "checkpoint")
    if bundle == "ddsm_patch":
        assert (paper["patch_size"], paper["per_roi"], paper["batch_size"]) == (224, 10, 32)
        assert plan == [(1e-3, 3), (1e-4, 10), (1e-5, 37)]
    else:
        assert paper["batch_size"] == 2
        assert plan == ([(1e-4, 30), (1e-5, 20)] if bundle == "ddsm_whole" else [(1e-5, 50)])


@pytest.mark.parametrize("bundle", NAMES)
def test_inference_builds_the_network_that_training_builds(bundle):
    recipes = [
        json.loads((BUNDLES / bundle / f"configs/{n}.json").read_text())["recipes"] for n in ("train", "inference")
    ]
    for name, recipe in recipes[1].items():
        assert recipe == {key: recipes[0][name][key] for key in recipe}


@pytest.mark.parametrize("bundle", NAMES)
@pytest.mark.parametrize(("config", "kind"), [("train", "train"), ("inference", "infer")])
def test_the_config_has_the_properties_that_monai_asks_of_a_bundle(bundle, config, kind, prepared, trained, tmp_path):
    workflow = ConfigWorkflow(
        str(BUNDLES / bundle / f"configs/{config}.json"),
        logging_file=False,
        workflow_type=kind,
        **SMALL,
        dataset_dir=dataset_of(bundle, prepared),
        output_dir=str(tmp_path),
        **({"weights": "scratch"} if kind == "train" else {"checkpoint": str(trained / bundle / "model.pt")}),
        **({"patch_size": 32} if bundle == "ddsm_patch" else {}),
    )
    workflow.initialize()
    assert workflow.check_properties() == []


@pytest.mark.parametrize("bundle", NAMES)
def test_the_network_maps_the_shapes_that_the_metadata_states(bundle, trained):
    configs = BUNDLES / bundle / "configs"
    verify_net_in_out(
        net_id="network_def",
        config_file=str(configs / "inference.json"),
        meta_file=str(configs / "metadata.json"),
        device="cpu",
        **{**SMALL, "image_size": [128, 96]},
    )


@pytest.mark.parametrize("bundle", NAMES)
def test_the_bundle_says_that_it_is_not_for_diagnosis_and_is_complete(bundle):
    metadata = json.loads((BUNDLES / bundle / "configs/metadata.json").read_text())
    assert metadata["intended_use"] == "For research, not for diagnosis."
    assert "For research, not for diagnosis" in (BUNDLES / bundle / "docs/README.md").read_text()
    assert metadata["version"] in metadata["changelog"]
    assert (BUNDLES / bundle / "LICENSE").read_text() == (BUNDLES.parent / "LICENSE").read_text()


def test_the_transfer_stops_when_the_validation_loss_has_not_fallen_for_the_patience(trained, prepared, tmp_path):
    # A rate this small changes nothing, so that after the first epoch no loss is lower.
    plan = [{"name": "all layers", "trainable": ["*"], "lr": 1e-30, "epochs": 9}]
    files = str(BUNDLES / "inbreast_transfer/configs/train.json")
    workflow = ConfigWorkflow(
        files,
        run_id="training",
        logging_file=False,
        **SMALL,
        dataset_dir=prepared["inbreast"],
        whole_checkpoint=str(trained / "ddsm_whole/model.pt"),
        model_dir=str(tmp_path),
        output_dir=str(tmp_path),
        stages=plan,
        patience=2,
    )
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    network = workflow.parser.get_parsed_content("network")
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.0
    workflow.run()
    assert trainer.state.epoch == 3


def test_the_network_sees_plain_tensors_since_monais_own_slow_every_operation_down(prepared):
    workflow = ConfigWorkflow(
        str(BUNDLES / "ddsm_whole/configs/train.json"), logging_file=False, **SMALL, dataset_dir=prepared["cbis-ddsm"]
    )
    workflow.initialize()
    for part in ("train", "validate"):
        batch = next(iter(workflow.parser.get_parsed_content(f"{part}#dataloader")))
        assert type(batch["image"]) is torch.Tensor
        assert batch["image"].shape[1:] == (3, 128, 96)
