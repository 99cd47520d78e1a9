"""A model is not judged by the patients that it was trained on, and its checkpoint names none of them."""

import csv
import hashlib
import json
import logging
from itertools import cycle
from pathlib import Path

import pydicom
import pytest
import torch

from monai_e2e.data import list_mammograms, load_datalist
from monai_e2e.data.phantom import write_inbreast
from monai_e2e.data.prepared.images import save_grey16
from monai_e2e.data.sources.naming import safe_id
from monai_e2e.errors import UserError
from monai_e2e.forest.run import run_forest
from monai_e2e.handlers.checkpoints import TrainingCheckpoint
from monai_e2e.networks import PatchClassifier, WholeImageClassifier, initialize, load_classifier, read_patients
from monai_e2e.networks.patients import record_patients, recorded_patients
from monai_e2e.predict import Options, predict
from monai_e2e.seen import check_unseen, describe_patients, hash_patient, is_known, own_fold

FOLDS, SIZE = 3, (128, 96)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder of 12 patients in three folds."""
    root = tmp_path_factory.mktemp("prepared")
    (root / "images").mkdir()
    samples = []
    for number in range(12):
        save_grey16(
            65535 * torch.rand(SIZE, generator=torch.manual_seed(number)).numpy(), root / f"images/{number}.png"
        )
        samples.append(
            {
                "image": f"images/{number}.png",
                "label": number // FOLDS % 2,
                "patient_id": f"P_{number:05d}",
                "laterality": "LEFT",
                "view": "CC",
                "lesions": [],
                "lesions_excluded": 0,
                "mean": 100.0,
                "original_size": list(SIZE),
                "fold": number % FOLDS,
            }
        )
    partitions = {"test": samples[0::3], "validation": samples[1::3], "training": samples[2::3]}
    head = {
        "name": "folder",
        "protocol": "kfold",
        "seed": 0,
        "image_size": list(SIZE),
        "voi_lut": False,
        "folds": FOLDS,
    }
    (root / "datalist.json").write_text(json.dumps({**head, "pixel_mean": 100.0, **partitions}))
    return root


def network(patch: bool = False) -> PatchClassifier | WholeImageClassifier:
    preparation = {"image_size": list(SIZE), "patch_size": 32}
    patch_net = PatchClassifier("vgg16", width=0.0625, preparation=preparation)
    return patch_net if patch else WholeImageClassifier(patch_net, ["8x1"], preparation=preparation)


@pytest.fixture(scope="module")
def models(prepared, tmp_path_factory) -> dict[int | None, Path]:
    """Checkpoints as if trained with folds 0 and 1, and one that doesn't say."""
    root = tmp_path_factory.mktemp("models")
    paths = {fold: root / f"fold{fold}.pt" for fold in (0, 1, None)}
    for fold, path in paths.items():
        patients = None if fold is None else describe_patients(prepared, fold)
        torch.save(initialize(network(), "scratch", None, None, "", patients).state_dict(), path)
    return paths


def test_the_checkpoint_is_plain_tensors_and_has_no_id(models, prepared):
    content = models[1].read_bytes()
    assert b"P_0" not in content
    assert all(isinstance(value, torch.Tensor) for value in torch.load(models[1], weights_only=True).values())
    found = read_patients(models[1])
    assert (found["fold"], len(found["training"]), len(found["validation"])) == (1, 4, 4)
    assert recorded_patients(load_classifier(models[1])) == found


def test_a_plain_load_takes_whom_the_file_names_and_keeps_its_own_where_it_names_none(models):
    fresh = network()
    fresh.load_state_dict(torch.load(models[1], weights_only=True))
    assert recorded_patients(fresh) == read_patients(models[1]) != {}
    fresh.load_state_dict(torch.load(models[None], weights_only=True))
    assert recorded_patients(fresh) == read_patients(models[1])
    torch.jit.script(fresh)


def test_a_checkpoint_that_says_nothing_loads_and_is_judged_by_anyone(models, prepared):
    assert read_patients(models[None]) == {}
    assert own_fold(models[None], prepared) is None
    samples = load_datalist(prepared, "test", fold=1)
    assert check_unseen(samples, models[None], "test") is samples


@pytest.mark.parametrize(("fold", "tested"), [(0, 0), (1, 1)])
def test_its_own_fold_is_judged(fold, tested, models, prepared):
    samples = load_datalist(prepared, "test", fold=tested)
    assert check_unseen(samples, models[fold], "test") is samples
    assert own_fold(models[fold], prepared) == fold


def test_another_fold_is_refused_with_the_right_one(models, prepared):
    seen = next(
        fold for fold in range(FOLDS) if describe_patients(prepared, fold)["training"] != read_patients(models[1])
        and fold != 1 and {s["fold"] for s in load_datalist(prepared, "test", fold=fold)} == {0}
    )  # fmt: skip
    samples = load_datalist(prepared, "test", fold=seen)
    with pytest.raises(UserError, match=r"4 of 4 test patients were in the training of .*name its own fold, 1"):
        check_unseen(samples, models[1], "test")
    check_unseen(samples, models[1], "test", allow_seen=True)
    check_unseen(samples, models[1], "training")


def test_a_network_remembers_whom_the_one_before_it_was_trained_on(models, prepared, caplog):
    after = initialize(network(), "checkpoint", models[1], None, "", describe_patients(prepared, 0))
    first, own, both = read_patients(models[1]), describe_patients(prepared, 0), recorded_patients(after)
    assert set(both["training"]) == {*first["training"], *own["training"]}
    assert both["fold"] == 0
    leaked = set(own["validation"]) & set(first["training"])
    assert bool(leaked) == ("validation patients were in the training of" in caplog.text)


def test_a_leak_from_an_earlier_versions_checkpoint_is_told(prepared, tmp_path, caplog):
    ids = {sample["patient_id"] for sample in load_datalist(prepared, "validation", fold=0)}
    earlier = {"fold": 1, "training": sorted(hashlib.sha256(one.encode()).hexdigest()[:16] for one in ids)}
    first = network()
    record_patients(first, earlier, {})
    torch.save(first.state_dict(), tmp_path / "first.pt")
    initialize(network(), "checkpoint", tmp_path / "first.pt", None, "", describe_patients(prepared, 0))
    assert "4 of 4 validation patients were in the training of" in caplog.text


def test_prediction_takes_the_models_own_fold_and_refuses_another(models, prepared, tmp_path):
    predict([models[1]], prepared, tmp_path / "own", Options(workers=0))
    rows = list(csv.DictReader((tmp_path / "own/predictions.csv").open()))
    assert {row["image"] for row in rows} == {Path(s["image"]).stem for s in load_datalist(prepared, "test", fold=1)}
    assert not any("seen" in row["flags"] for row in rows)
    with pytest.raises(UserError, match="were in the training of"):
        predict([models[1]], prepared, tmp_path / "other", Options(workers=0, fold=0))
    with pytest.raises(UserError, match="were in the training of"):
        predict([models[0], models[1]], prepared, tmp_path / "mean", Options(workers=0))
    assert not (tmp_path / "other").exists()


def test_rows_of_patients_that_the_model_has_seen_are_flagged(models, prepared, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    for partition in ("training", "validation"):
        predict([models[1]], prepared, tmp_path / partition, Options(workers=0, partition=partition))
        rows = list(csv.DictReader((tmp_path / partition / "predictions.csv").open()))
        assert all(f"seen in {partition}" in row["flags"].split(";") for row in rows)
    assert "4 of 4 images are of patients that a model was trained on" in caplog.text


def test_a_table_of_a_raw_folder_is_compared_too(models, prepared, tmp_path):
    patients = {s["patient_id"]: Path(s["image"]) for s in load_datalist(prepared, "training", fold=1)}
    lines = [f"{path.name},{patient}" for patient, path in patients.items()]
    (tmp_path / "table.csv").write_text("\n".join(["image,patient_id", *lines]) + "\n")
    predict([models[1]], prepared / "images", tmp_path / "out", Options(workers=0, table=tmp_path / "table.csv"))
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").open()))
    assert all("seen in training" in row["flags"] for row in rows)


@pytest.mark.parametrize(
    ("trained", "judged"),
    [("P-1a", "p-1A"), ("007", "7"), ("7", "7.0"), ("Müller/1", "Müller/1"), ("K 1", "K\u00a01"), ("P_1", " P_1 ")],
)
def test_an_id_is_known_however_a_table_writes_it(trained, judged):
    """Data lists have ids as they are in file names."""
    assert is_known(judged, {hash_patient(safe_id(trained))})
    assert not is_known(f"{judged}x", {hash_patient(safe_id(trained))})


def test_ids_that_an_earlier_version_hashed_as_they_are_are_known():
    assert is_known("P_00001", {hashlib.sha256(b"P_00001").hexdigest()[:16]})


def raw_folder(root: Path, patients: int, *ids: str) -> list[Path]:
    """Images with these patients in their headers, the first in the first and so on in turn."""
    write_inbreast(root, patients=patients, rows=256, workers=1)
    files = sorted((root / "AllDICOMs").iterdir())
    for path, patient in zip(files, cycle(ids), strict=False):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = patient
        dataset.save_as(path)
    return files


def test_patients_of_a_table_of_pseudonyms_are_compared_by_their_headers_too(models, prepared, tmp_path):
    path, *_ = raw_folder(tmp_path / "raw", 1, load_datalist(prepared, "training", fold=1)[0]["patient_id"])
    (tmp_path / "table.csv").write_text(f"image,patient_id\n{path.name},K-0001\n")
    predict([models[1]], path.parent, tmp_path / "out", Options(workers=0, table=tmp_path / "table.csv"))
    (row,) = csv.DictReader((tmp_path / "out/predictions.csv").open())
    assert (row["patient_id"], "seen in training" in row["flags"].split(";")) == ("K-0001", True)


def test_patients_of_a_raw_folder_are_compared_by_their_headers(models, prepared, tmp_path):
    """As of a download of CBIS-DDSM; their ids are written nowhere."""
    known = load_datalist(prepared, "training", fold=1)[0]["patient_id"]
    files = raw_folder(tmp_path / "raw", 2, "ANOTHER", known)
    predict([models[1]], tmp_path / "raw" / "AllDICOMs", tmp_path / "out", Options(workers=0))
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").open()))
    assert ["seen in training" in row["flags"] for row in rows] == [bool(number % 2) for number in range(len(files))]
    assert not any(known in path.read_text() for path in (tmp_path / "out").iterdir())


def test_inference_on_a_raw_folder_warns_of_patients_by_their_headers(models, prepared, tmp_path, caplog):
    known = load_datalist(prepared, "training", fold=1)[0]["patient_id"]
    files = raw_folder(tmp_path / "raw", 1, known, "ANOTHER")
    samples = list_mammograms(files[0].parent)
    assert check_unseen(samples, models[1], "test") is samples
    assert f"{len(samples) // 2} of {len(samples)} images are, by their headers, of patients that" in caplog.text
    assert known not in caplog.text


def test_a_forest_is_not_judged_by_the_patch_classifiers_training_patients(prepared, tmp_path):
    patch = initialize(network(patch=True), "scratch", None, None, "", describe_patients(prepared, 1))
    torch.save(patch.state_dict(), tmp_path / "patch.pt")
    with pytest.raises(UserError, match="patients were in the training of"):
        run_forest(tmp_path / "patch.pt", prepared, tmp_path / "out", fold=0)
    run_forest(tmp_path / "patch.pt", prepared, tmp_path / "out", trees=5)


def test_a_training_of_an_earlier_version_is_resumed(models, prepared, tmp_path):
    described = initialize(network(), "scratch", None, None, "", describe_patients(prepared, 1))
    checkpoint = TrainingCheckpoint(tmp_path, {"network": described})
    earlier = torch.load(models[None], weights_only=True)
    content = {"objects": {"network": earlier}, "scaler": {}, "best": {}, "epoch": 1, "iteration": 1, "ended": True}
    engine = torch.nn.Module()
    engine.state, engine.terminate = torch.nn.Module(), lambda: None
    checkpoint._restore(tmp_path / "epoch_0001.pt", content, engine)
    assert torch.equal(described.head.weight, earlier["head.weight"])
    assert recorded_patients(described)["fold"] == 1


def test_predictions_carry_fold_and_seed_of_the_models_training(prepared, tmp_path):
    for seed in (3, 4):
        found = initialize(network(), "scratch", None, None, "", describe_patients(prepared, 1, seed=seed))
        torch.save(found.state_dict(), tmp_path / f"seed{seed}.pt")

    def facts(out, *seeds):
        predict([tmp_path / f"seed{seed}.pt" for seed in seeds], prepared, out, Options(workers=0))
        with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
            return {(row["fold"], row.get("seed")) for row in csv.DictReader(file)}

    assert facts(tmp_path / "one", 3) == {("1", "3")}
    assert facts(tmp_path / "both", 3, 4) == {("1", None)}
