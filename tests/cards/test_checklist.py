"""A checklist has what the records know, each with its file, and asks for the rest."""

import json

import pytest

from monai_e2e.cards.checklist import CHECKLISTS, fill_in, write_checklist
from monai_e2e.cards.records import Records, records_of_predictions, statements
from monai_e2e.cli.main import main
from monai_e2e.errors import UserError
from monai_e2e.metrics import score_file, write_predictions

pytestmark = pytest.mark.usefixtures("blank_curves")

ROWS = [
    {
        "image": f"P{n}",
        "patient_id": f"P{n}",
        "label": n % 2,
        "logit": float(n % 7 + n % 2),
        "threshold": 0.6,
        "view": "CC",
    }
    for n in range(40)
]
REPORT = {
    "name": "CBIS-DDSM",
    "protocol": "official",
    "seed": 0,
    "image_size": [1152, 896],
    "pixel_mean": 52.2,
    "tables": {"rows": 100, "patients": 50},
    "rows_used": 90,
    "rows_excluded": 10,
    "excluded_by_reason": {"no_file": 10},
    "partitions": {"test": {"patients": 40, "images": 40, "positive": 20, "lesions": {}}},
}
TRAINING = {
    "bundle": {"name": "Whole-image mammography classifier", "version": "0.1.0"},
    "seed": 3,
    "epochs": 50,
    "best": {"key_metric_name": "val_auc", "best_metric": 0.87, "best_metric_epoch": 41},
    "resolved": {"backbone": "resnet50", "optimizer_name": "Adam", "batch_size": 2, "started_from": "ImageNet"},
    "versions": {"monai": "1.6.1", "torch": "2.6"},
    "device": "a processor",
}


@pytest.fixture
def run(tmp_path):
    """Predictions by a bundle whose training left its record, of a prepared folder that left its report."""
    for folder in ("run", "prepared", "bundle/eval"):
        (tmp_path / folder).mkdir(parents=True)
    write_predictions(tmp_path / "run" / "predictions.csv", ROWS)
    record = {
        "settings": {
            "models": {"ours": {}, "theirs": {}},
            "tta": "flips",
            "partition": "test",
            "patch_model": {"p": {}},
        },
        "models_named": [str(tmp_path / "bundle")],
        "dataset": {"path": str(tmp_path / "prepared"), "name": "CBIS-DDSM", "protocol": "official"},
        "failed": 2,
    }
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    (tmp_path / "prepared" / "report.json").write_text(json.dumps(REPORT))
    (tmp_path / "bundle" / "eval" / "run.json").write_text(json.dumps(TRAINING))
    return tmp_path / "run"


@pytest.fixture
def records(run):
    scored = score_file(run / "predictions.csv", resamples=100)
    return records_of_predictions(run / "predictions.csv", scored, run)


def test_items_name_what_is_known_and_the_file_that_says_it(records, run):
    items = {item.number: item for item in fill_in("claim2024", records)}
    assert len(items) == 44
    found = {number: " ".join(f"{one.text} [{one.file}]" for one in item.answers) for number, item in items.items()}
    assert "10 no file" in found["8"]
    assert "report.json]" in found["8"]
    assert "52.2" in found["9"]
    assert "2 images could not be read" in found["12"]
    assert "resnet50" in found["22"]
    assert f"[{run.parent / 'bundle' / 'eval' / 'run.json'}]" in found["22"]
    assert "monai 1.6.1" in found["23"]
    assert "ImageNet" in found["24"]
    assert "50 epochs, seed 3" in found["25"]
    assert "epoch 41, the best by val_auc" in found["26"]
    assert "four flips" in found["27"]
    assert f"AUC per image {records.score['image']['auc']:.3f}" in found["37"]
    for number in ("2", "5", "11", "33", "44"):
        assert found[number] == ""


def test_a_training_of_unknown_revision_says_nothing_of_it():
    for git in ({}, {"git": {"revision": "unknown"}}):
        software = statements(Records(training=TRAINING | git))["software"]
        assert [one.text for one in software] == ["monai 1.6.1, torch 2.6"]


COMPARED = {"difference": 0.031, "difference_ci_bootstrap": [-0.007, 0.07], "p_holm": 2e-5}


def test_comparisons_have_their_values_and_a_small_p_is_not_zero(records):
    records.score = records.score | {
        "comparisons": [{"predictions": "o.csv", "image": COMPARED}],
        "subgroups": {"view": {"CC": {"auc": 0.7}}},
        "heterogeneity": {"view": {"p": 3e-6, "i2": 0.9}},
    }
    known = statements(records)
    assert known["comparison"][0].text == (
        "AUC minus that of o.csv: 0.031 (95 % -0.007 to 0.070), p < 0.0001 with Holm's correction"
    )
    assert "p < 0.0001" in known["heterogeneity"][0].text


@pytest.mark.parametrize("name", CHECKLISTS)
def test_every_word_that_a_checklist_asks_for_is_one_that_records_can_know(name, records):
    records.card = {"data": "d", "never_shown": "n", "licence": "l", "result": "r", "threshold": "t", "use": "u"}
    records.score = records.score | {
        "comparisons": [{"predictions": "o.csv", "image": COMPARED}],
        "settings": records.score["settings"] | {"recalibration": "platt"},
        "heterogeneity": {"view": {"p": 0.5, "i2": 0.0}},
    }
    records.training = records.training | {"command": "python"}
    known = statements(records)
    from monai_e2e.cards.checklist import _read

    wanted = {word for item in _read(name)["items"] for word in item["known"]}
    assert wanted <= known.keys()
    assert len({item["number"] for item in _read(name)["items"]}) == len(_read(name)["items"])


def test_page_leaves_the_others_as_questions(records, tmp_path):
    path, filled, total = write_checklist("tripod-ai", records, tmp_path)
    text = path.read_text()
    assert total == 52
    assert text.count("To be answered by the authors") == total - filled
    assert "in our words: the original text counts" in text
    assert write_checklist("claim2024", Records(), tmp_path)[1] == 0


def test_an_unknown_checklist_is_refused(tmp_path):
    with pytest.raises(UserError, match="did you mean 'claim2024'"):
        write_checklist("claim", Records(), tmp_path)


def test_command_writes_it_beside_the_report(run, capsys):
    command = ["score", str(run / "predictions.csv"), "--checklist", "claim2024", "--resamples", "100"]
    assert main(command) == 0
    assert "of 44 items filled in" in capsys.readouterr().out
    assert "CBIS-DDSM" in (run / "claim2024.html").read_text()


@pytest.mark.parametrize(("known", "said"), [(True, "by patient"), (False, "by image, since")])
def test_partitions_of_unknown_patients_are_not_called_disjoint_by_patient(known, said):
    (statement,) = statements(Records(report={**REPORT, "patients_known": known}))["disjoint"]
    assert statement.text.startswith(said)


def test_a_comparison_without_interval_is_listed_too(records):
    test = {"difference": 0.1, "difference_ci_bootstrap": None, "p_patients": None, "p_holm": None}
    records.score = records.score | {"comparisons": [{"predictions": "b.csv", "image": test}]}
    assert statements(records)["comparison"][0].text == "AUC minus that of b.csv: 0.100"
