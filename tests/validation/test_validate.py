"""The command ``validate``: the figures of ``predict`` and ``score`` side by side, and recalibration for a site."""

import csv
import json
import logging
import subprocess
import sys

import pytest
import torch
from filelock import FileLock
from test_vindr import write_vindr

from monai_e2e.cli.main import main
from monai_e2e.data import phantom_dataset
from monai_e2e.errors import UserError
from monai_e2e.metrics import score_file
from monai_e2e.networks import PatchClassifier, WholeImageClassifier
from monai_e2e.networks.patients import record_patients
from monai_e2e.predict import Options, predict
from monai_e2e.seen import describe_patients
from monai_e2e.shipped.bundles import copy_bundle
from monai_e2e.validation import Settings, format_validation, validate
from monai_e2e.validation.run import _named

pytestmark = pytest.mark.usefixtures("blank_curves")

SIZE = (128, 96)
HERE = Options(workers=0, engine="torch")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two data sets, and two models of which one remembers the first."""
    folder = tmp_path_factory.mktemp("validate")
    for name, patients in (("inbreast", 16), ("cbis-ddsm", 16)):
        prepared = phantom_dataset(name, patients=patients, image_size=SIZE, folder=folder / "phantoms", workers=1)
        (folder / name).symlink_to(prepared, target_is_directory=True)
    preparation = {"image_size": list(SIZE), "voi_lut": False}
    for name, seed in (("home", 0), ("stranger", 1)):
        torch.manual_seed(seed)
        patch = PatchClassifier("vgg16", width=0.0625, pixel_mean=40.0, preparation={**preparation, "patch_size": 32})
        whole = WholeImageClassifier(patch, ["[8-8-16]x1"], pixel_mean=40.0, preparation=preparation)
        whole.threshold.fill_(-0.25)
        if name == "home":
            record_patients(whole, describe_patients(folder / "inbreast"), {})
        torch.save(whole.state_dict(), folder / f"{name}.pt")
    return folder


@pytest.fixture(scope="module")
def validated(root):
    settings = Settings(recalibrate="validation", resamples=100, options=HERE)
    names = [root / "inbreast", root / "cbis-ddsm"]
    rows = validate([root / "home.pt", root / "stranger.pt"], names, root / "out", settings)
    return {(row["model"], row["dataset"], row["recalibrated"]): row for row in rows}


def plain(validated):
    return [row for row in validated.values() if not row["recalibrated"]]


def test_every_model_is_scored_on_every_data_set_as_predict_and_score_do(root, validated, tmp_path):
    assert len(plain(validated)) == 4
    predict([root / "stranger.pt"], root / "inbreast", tmp_path / "out", HERE)
    scored = score_file(tmp_path / "out" / "predictions.csv", resamples=100)["image"]
    row = validated["stranger", "inbreast", False]
    assert (row["auc"], row["images"], row["positive"]) == (scored["auc"], scored["n"], scored["positive"])
    assert [row["auc_low"], row["auc_high"]] == scored["auc_ci_bootstrap"]
    assert row["sensitivity"] == scored["at_threshold"]["sensitivity"]
    assert row["calibration_slope"] == scored["calibration_line"]["slope"]
    assert row["prevalence"] == scored["positive"] / scored["n"]


def test_models_and_data_sets_of_one_name_are_told_apart():
    assert list(_named(["a/models/model.pt", "b/a", "c/a", "d.pt"])) == ["a", "a--2", "a--3", "d.pt"]
    assert list(_named(["x/my--model", "y/my--model"])) == ["my--model", "my--model--2"]


def test_a_bundles_name_is_kept_whole(tmp_path):
    (tmp_path / "v1.2" / "models").mkdir(parents=True)
    (tmp_path / "v1.2" / "models" / "model.pt").touch()
    (tmp_path / "best.pt").touch()
    assert list(_named([tmp_path / "v1.2" / "models" / "model.pt", tmp_path / "best.pt"])) == ["v1.2", "best"]


def test_the_change_is_from_the_data_set_whose_patients_the_model_remembers(validated):
    at_home, away = (validated["home", name, False] for name in ("inbreast", "cbis-ddsm"))
    assert at_home["change"] == "source"
    assert away["change"] == pytest.approx(away["auc"] - at_home["auc"])
    assert validated["stranger", "cbis-ddsm", False]["change"] is None


def test_recalibration_keeps_the_auc_and_is_written_for_predict(root, validated, tmp_path):
    for (model, dataset, recalibrated), row in validated.items():
        if recalibrated and row["auc"] is not None:
            before = validated[model, dataset, False]
            assert row["auc"] == pytest.approx(before["auc"])
            written = root / "out" / model / dataset / "recalibration.json"
            assert row["threshold"] == pytest.approx(json.loads(written.read_text())["threshold"], abs=1e-4)
            again = tmp_path / model / dataset
            options = Options(workers=0, engine="torch", recalibration=written)
            predict([root / f"{model}.pt"], root / dataset, again, options)
            there, here = (
                {line["image"]: float(line["p_malignant"]) for line in csv.DictReader(path.open())}
                for path in (written.parent / "recalibrated" / "predictions.csv", again / "predictions.csv")
            )
            assert there == pytest.approx(here, abs=1e-4)
            break
    else:
        pytest.fail("no pair could be recalibrated")


def test_another_model_refuses_the_recalibration(root, validated, tmp_path):
    model, dataset, _ = next(key for key, row in validated.items() if key[2] and row["auc"] is not None)
    other = {"home": "stranger", "stranger": "home"}[model]
    options = Options(workers=0, recalibration=root / "out" / model / dataset / "recalibration.json")
    with pytest.raises(UserError, match="fitted to another model"):
        predict([root / f"{other}.pt"], root / "inbreast", tmp_path / "out", options)
    with pytest.raises(UserError, match="one model's own scores"):
        predict([root / "home.pt", root / "stranger.pt"], root / "inbreast", tmp_path / "out", options)


def test_tables_and_page_show_all(root, validated):
    with (root / "out" / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(validated)
    rule = "BI-RADS 4a to 6 positive, 1 and 2 negative, 3 left out"
    assert {row["label_rule"] for row in rows if row["dataset"] == "inbreast"} == {rule}
    page = (root / "out" / "index.html").read_text()
    assert page.count(f"inbreast: {rule}") == 1
    assert "<h2>Calibration</h2>" in page
    assert all(float(row["slope_low"]) < float(row["calibration_slope"]) for row in rows if row["calibration_slope"])
    assert 'href="home/inbreast/test/report.html"' in page
    assert (root / "out" / "home" / "inbreast" / "test" / "report.html").is_file()
    printed = format_validation(list(validated.values()))
    assert "not for diagnosis" in printed
    noted = [row for row in validated.values() if row["note"]]
    assert all("recalibration was fitted on" in printed and row["note"] in page for row in noted)


def test_what_cannot_be_done_is_a_row_with_the_reason(root, tmp_path):
    small = phantom_dataset("inbreast", patients=8, image_size=(64, 48), folder=root / "phantoms", workers=1)
    rows = validate([root / "home.pt"], [small], tmp_path / "out", Settings(resamples=100, options=HERE))
    assert rows[0]["auc"] is None
    assert "image_size [128, 96]" in rows[0]["reason"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "home.pt was trained on images with image_size [128, 96]" in page
    assert str(root) not in page
    assert "<td></td>" not in page  # tables have what was scored


def test_the_command_tells_models_from_data_sets(root, tmp_path, capsys):
    words = ["validate", str(root / "stranger.pt"), str(root / "inbreast"), str(tmp_path / "out")]
    assert main([*words, "--workers", "0", "--resamples", "100"]) == 0
    assert "index.html" in capsys.readouterr().out
    assert main(["validate", str(root / "home.pt"), str(tmp_path / "out")]) == 2
    assert main([*words, "--recalibrate", "test"]) == 2
    assert "choose another, such as validation" in capsys.readouterr().err


def test_what_is_true_of_a_model_is_said_once(root, tmp_path, caplog):
    names = [root / "inbreast", root / "cbis-ddsm"]
    settings = Settings(recalibrate="validation", resamples=100, options=HERE)
    with caplog.at_level(logging.INFO):
        validate(["phantom-whole", root / "home.pt"], names, tmp_path / "out", settings)
        predict([root / "home.pt"], root / "inbreast", tmp_path / "again", HERE)  # as always afterwards
    said = [record.getMessage() for record in caplog.records if record.name.startswith("monai_e2e.predict")]
    assert not any("phantom-whole was trained without" in line for line in said)  # it is refused for these images
    assert sum("home is computed by" in line for line in said) == 2


def test_two_into_one_folder_are_refused(root, tmp_path):
    with FileLock(tmp_path / ".out.lock"), pytest.raises(UserError, match="is writing to it"):
        validate([root / "home.pt"], [root / "inbreast"], tmp_path / "out", Settings(options=HERE))


@pytest.mark.slow
def test_three_commands_lead_from_a_download_to_models_side_by_side(tmp_path):
    """As docs/data.md has them, with files in the form of VinDr-Mammo and one epoch."""
    write_vindr(tmp_path / "download")
    size = ["--image-size", "288x224"]
    assert main(["prepare", "vindr", str(tmp_path / "download"), str(tmp_path / "vindr"), *size, "--workers", "1"]) == 0
    copy_bundle("inbreast_transfer", tmp_path / "own", None)
    stages = [{"name": "all", "trainable": ["*"], "lr": 0.0001, "epochs": 1}]
    command = [sys.executable, "-m", "monai.bundle", "run", "training"]
    command += ["--config_file", str(tmp_path / "own" / "configs" / "train.json"), "--recipe", "phantom"]
    command += [
        "--dataset_dir",
        str(tmp_path / "vindr"),
        "--whole_checkpoint",
        "phantom-whole",
        "--stages",
        str(stages),
    ]
    subprocess.run(command, check=True, cwd=tmp_path)
    models = [str(tmp_path / "own"), "phantom-whole"]
    words = [
        "validate",
        *models,
        str(tmp_path / "vindr"),
        str(tmp_path / "out"),
        "--workers",
        "0",
        "--resamples",
        "100",
    ]
    assert main(words) == 0
    rows = json.loads((tmp_path / "out" / "validation.json").read_text())["rows"]
    assert [(row["model"], row["images"], row["label_source"]) for row in rows] == [
        ("own", 16, "BI-RADS"),
        ("phantom-whole", 16, "BI-RADS"),
    ]
    assert [row["change"] for row in rows] == ["source", None]
