"""Each bundle as a site of a federation, run by MONAI's own client."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, ModelType
from monai.fl.utils.exchange_object import ExchangeObject
from without_pictures import WITHOUT_PICTURES

from monai_e2e.bundle import user_error
from monai_e2e.data.prepared.images import save_grey16
from monai_e2e.federated import UNSHARED
from monai_e2e.networks import load_classifier
from monai_e2e.networks.weights import read_patients
from monai_e2e.shipped.bundles import copy_bundle
from monai_e2e.shipped.models import find_model

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import two_sites  # noqa: E402

NAMES = ("ddsm_patch", "ddsm_whole", "inbreast_transfer")
SIZE = (128, 96)
PLAN = [
    {"name": "head", "trainable": ["head"], "lr": 1e-3, "epochs": 1},
    {"name": "all layers", "trainable": ["*"], "lr": 1e-3, "epochs": 1},
]


def draw_folder(root: Path, patients: int, brightness: float) -> str:
    """A prepared folder of images with one spot each, where the benign are the brighter ones.

    An untrained network takes those for malignant, so that there is something to learn.
    """
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    samples = []
    for number in range(patients):
        rng, label = np.random.default_rng(number), number % 2
        noise = np.random.default_rng(number + 1000 * int(brightness)).normal(0, 3, SIZE)
        spot = np.zeros(SIZE, np.uint8)
        row, column = (int(rng.integers(32, side - 32)) for side in SIZE)
        cv2.circle(spot, (column, row), 12, 255, -1)
        image = brightness + noise + (spot > 0) * (100, 25)[label]
        save_grey16((257 * image.clip(0, 255)).astype(np.float32), root / f"images/{number}.png")
        cv2.imwrite(str(root / f"masks/{number}.png"), spot)
        lesion = {"mask": f"masks/{number}.png", "type": "mass", "pathology": ("benign", "malignant")[label]}
        samples.append(
            {
                "image": f"images/{number}.png",
                "label": label,
                "patient_id": f"{root.name}_{number:05d}",
                "laterality": "LEFT",
                "view": "CC",
                "lesions": [lesion],
                "lesions_excluded": 0,
                "mean": float(image.mean()),
                "original_size": list(SIZE),
            }
        )
    third = patients // 3
    partitions = {"test": samples[:third], "validation": samples[third : 2 * third], "training": samples[2 * third :]}
    head = {"name": "folder", "protocol": "own", "seed": 0, "image_size": list(SIZE), "voi_lut": False}
    head |= {"pixel_mean": brightness, "classes": ["not malignant", "malignant"]}
    (root / "datalist.json").write_text(json.dumps({**head, **partitions}))
    return str(root)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sites")
    return [draw_folder(root / "north", 36, 40.0), draw_folder(root / "south", 36, 60.0)]


def settings_of(bundle, folder, **keys):
    patches = {"patch_size": 32, "per_roi": 2} if bundle == "ddsm_patch" else {}
    tiny = {"recipe": "phantom", "image_size": list(SIZE), "width": 0.0625, "stages": PLAN, "batch_size": 4}
    return {"dataset_dir": folder, **tiny, **patches, **WITHOUT_PICTURES, **keys}


def provision(bundle, root):
    """The bundle's folder as a federation brings it to a fresh site: without any model."""
    shutil.copytree(ROOT / "bundles" / bundle, root / bundle, ignore=shutil.ignore_patterns("models", "eval"))


def start(bundle, root, settings, **client_options):
    client = MonaiAlgo(bundle, train_kwargs=dict(settings), eval_kwargs=dict(settings), **client_options)
    client.initialize({ExtraItems.APP_ROOT: str(root), ExtraItems.CLIENT_NAME: "north"})
    return client


def weights_of(client):
    return {key: value.clone() for key, value in client.get_weights().weights.items()}


@pytest.mark.parametrize("bundle", NAMES)
def test_a_fresh_site_runs_from_initialize_to_finalize_and_every_round_trains(bundle, folders, tmp_path):
    provision(bundle, tmp_path)
    site = start(bundle, tmp_path, settings_of(bundle, folders[0]), send_weight_diff=False)
    weights = weights_of(site)
    for _ in range(3):
        site.train(ExchangeObject(weights=weights))
        trained = weights_of(site)
        for layer in ("backbone", "head"):
            assert any(not torch.equal(trained[key], weights[key]) for key in weights if key.startswith(layer))
        weights = trained
    metrics = site.evaluate(ExchangeObject(weights=weights)).metrics
    site.finalize()
    assert not set(UNSHARED) & set(weights)
    assert 0 <= metrics["val_accuracy" if bundle == "ddsm_patch" else "val_auc"] <= 1
    lines = (tmp_path / bundle / "eval/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
    record = json.loads((tmp_path / bundle / "eval/run.json").read_text())
    assert record["resolved"]["started_from"] == "the server's weights"

    # What the server may ask for at the end, and what stays at the site.
    final = site.get_weights({ExtraItems.MODEL_TYPE: ModelType.FINAL_MODEL}).weights
    assert all(torch.equal(final[key], value) for key, value in weights.items())
    for kind, name in ((ModelType.BEST_MODEL, "model.pt"), (ModelType.FINAL_MODEL, "model_final.pt")):
        sent, file = site.get_weights({ExtraItems.MODEL_TYPE: kind}).weights, tmp_path / bundle / "models" / name
        assert "patients" not in sent
        assert len(read_patients(file)["training"]) == 12
        assert float(load_classifier(file).pixel_mean) == 40.0


def test_what_describes_a_sites_data_and_network_is_not_changed_by_the_server(folders, tmp_path):
    provision("ddsm_whole", tmp_path)
    site = start("ddsm_whole", tmp_path, settings_of("ddsm_whole", folders[0]), send_weight_diff=False)
    networks = (site.trainer.network, site.evaluator.network)
    own = [{name: net.get_buffer(name).clone() for name in ("architecture", "pixel_mean")} for net in networks]
    others = {
        "architecture": torch.zeros(5, dtype=torch.uint8),
        "patients": torch.zeros(7, dtype=torch.uint8),
        "pixel_mean": torch.tensor(99.0),
        "threshold": torch.tensor(3.0),
    }
    site.evaluate(ExchangeObject(weights={**weights_of(site), **others}))
    site.train(ExchangeObject(weights={**weights_of(site), **others}))
    assert float(networks[1].threshold) == 0.0
    for network, before in zip(networks, own, strict=True):
        assert float(network.pixel_mean) == 40.0
        assert all(torch.equal(network.get_buffer(name), value) for name, value in before.items())


def test_a_site_evaluates_the_servers_weights_on_its_validation_images_whatever_model_it_has(folders, tmp_path):
    provision("ddsm_whole", tmp_path)
    (tmp_path / "ddsm_whole/models").mkdir()
    (tmp_path / "ddsm_whole/models/model.pt").write_text("of an earlier training, of another network")
    site = start("ddsm_whole", tmp_path, settings_of("ddsm_whole", folders[0]), config_train_filename=None)
    server = {key: value.clone() for key, value in site.evaluator.network.state_dict().items()}
    site.evaluate(ExchangeObject(weights=server))
    rows = (tmp_path / "ddsm_whole/eval/predictions.csv").read_text().splitlines()[1:]
    assert len(rows) == 12
    assert all(row.split(",")[0] in {str(number) for number in range(12, 24)} for row in rows)


def test_a_round_is_the_whole_plan_in_as_many_epochs_as_the_client_is_given(folders, tmp_path):
    provision("ddsm_whole", tmp_path)
    plan = [{**PLAN[0], "epochs": 6}, {**PLAN[1], "epochs": 2, "schedule": "cosine"}]
    site = start("ddsm_whole", tmp_path, settings_of("ddsm_whole", folders[0], stages=plan), local_epochs=2)
    for _ in range(2):
        site.train(ExchangeObject(weights=weights_of_network(site)))
    lines = (tmp_path / "ddsm_whole/eval/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in lines] == [1, 2] * 2


def weights_of_network(client):
    return {key: value.clone() for key, value in client.trainer.network.state_dict().items()}


def test_differences_that_a_site_sends_lead_from_the_servers_weights_to_its_own(folders, tmp_path):
    provision("ddsm_whole", tmp_path)
    site = start("ddsm_whole", tmp_path, settings_of("ddsm_whole", folders[0]))
    server = weights_of_network(site)
    site.train(ExchangeObject(weights=server))
    differences = site.get_weights().weights
    own = weights_of_network(site)
    assert set(differences) == set(own)
    for key, value in differences.items():
        assert torch.allclose((server[key] + value).float(), own[key].float(), atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"resume": True}, "resume"),
        ({"patch_checkpoint": "phantom-patch"}, "patch_checkpoint"),
        ({"ema_momentum": 0.01}, "ema_momentum"),
    ],
)
def test_what_has_no_effect_in_a_federation_is_refused(keys, word, folders, tmp_path):
    provision("ddsm_whole", tmp_path)
    with pytest.raises(RuntimeError) as caught:
        start("ddsm_whole", tmp_path, settings_of("ddsm_whole", folders[0], **keys))
    assert str(user_error(caught.value)).startswith(f"{word} ")


def test_two_sites_end_with_the_same_weights_and_a_better_auc_than_after_the_first_round(tmp_path):
    folders = [draw_folder(tmp_path / f"data-{name}", 72, mean) for name, mean in (("north", 40.0), ("south", 60.0))]
    clients = [
        two_sites.join(ROOT / "bundles/ddsm_whole", name, tmp_path / name, settings_of("ddsm_whole", folder), 1)
        for name, folder in zip(("north", "south"), folders, strict=True)
    ]
    weights, history = two_sites.federate(clients, rounds=3)
    for client in clients:
        state = client.evaluator.network.state_dict()
        assert set(state) == set(weights)
        assert all(torch.equal(state[key], value) for key, value in weights.items())
    for first, last in zip(history[0], history[-1], strict=True):
        assert last["val_auc"] > first["val_auc"]
    assert (
        load_classifier(tmp_path / "north/model.pt").pixel_mean
        != load_classifier(tmp_path / "south/model.pt").pixel_mean
    )


def test_the_average_counts_a_site_by_its_images():
    mean = two_sites.average([(30, {"w": torch.tensor([4.0])}), (10, {"w": torch.tensor([0.0])})])
    assert mean["w"] == torch.tensor([3.0])


@pytest.mark.slow
def test_two_sites_of_phantoms_of_the_recipes_size(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["two_sites.py", "--out", str(tmp_path)])
    two_sites.main()
    lines = capsys.readouterr().out.splitlines()
    aucs = [[float(value) for value in re.findall(r"val_auc (\S+)", line)] for line in lines]
    assert [len(values) for values in aucs] == [2, 2, 2]
    assert min(aucs[-1]) > 0.8


@pytest.mark.slow
def test_nvflare_averages_what_two_sites_learned_into_a_model_for_predict(folders, tmp_path):
    pytest.importorskip("nvflare", reason="NVFlare is needed: pip install nvflare")
    sites = {"north": tmp_path / "north", "south": tmp_path / "south"}
    for folder, data in zip(sites.values(), folders, strict=True):
        copy_bundle("inbreast_transfer", folder)
        settings = settings_of("inbreast_transfer", data)
        del settings["width"]  # the start's network is the recipe's
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    options = [f"--site={name}={folder}" for name, folder in sites.items()]
    job = [sys.executable, ROOT / "docs/nvflare_job.py", "--rounds=2", "--out", tmp_path / "job", *options]
    finished = subprocess.run(job, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert finished.returncode == 0, finished.stderr
    last = Path(finished.stdout.splitlines()[-1].split(": ")[-1])
    average, north, south = (
        load_classifier(file) for file in (last, *(f / "models/model_final.pt" for f in sites.values()))
    )
    for key, value in average.named_parameters():
        torch.testing.assert_close(value, (north.get_parameter(key) + south.get_parameter(key)) / 2)
    assert average.pixel_mean == load_classifier(find_model("phantom-whole")).pixel_mean
