"""A report says what it reports: from the table's rows, the run's record, the prepared folder."""

import json

from monai_e2e.metrics.facts import describe_in_words, describe_predictions, prepared_folder

ROWS = [{"model": "cbis-mass", "fold": 1, "seed": None}, {"model": "cbis-mass", "fold": 1, "seed": None}]


def test_facts_of_a_run_of_predict(tmp_path):
    record = {
        "settings": {"src": "data/cbis", "partition": "test"},
        "dataset": {
            "name": "CBIS-DDSM",
            "protocol": "official",
            "label_source": "pathology",
            "label_unit": "image",
            "label_rule": "malignant if any lesion is",
        },
        "started": "2026-01-01T23:59:00+01:00",
        "ended": "2026-01-02T00:10:00+01:00",
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    about = describe_predictions(tmp_path / "predictions.csv", ROWS)
    assert about | {"scored": None} == {
        "name": None,
        "model": "cbis-mass",
        "data": "CBIS-DDSM",
        "protocol": "official",
        "partition": "test",
        "fold": 1,
        "seed": None,
        "predicted": "2026-01-02",
        "scored": None,
        "labels": "CBIS-DDSM, as prepared: by pathology, one for each image: malignant if any lesion is",
    }
    assert describe_in_words(about) == "cbis-mass on CBIS-DDSM, test, fold 1"
    assert describe_in_words(about | {"name": "Ours"}) == "Ours on CBIS-DDSM, test, fold 1"


def test_table_alone_says_what_its_rows_know(tmp_path):
    (tmp_path / "run.json").write_text("[]")
    about = describe_predictions(tmp_path / "p.csv", [{"model": str(number)} for number in range(5)], name="All")
    assert (about["model"], about["data"], about["labels"]) == (
        "0, 1, 2 and 2 more",
        None,
        "the column label of the predictions",
    )
    assert describe_in_words(describe_predictions(tmp_path / "p.csv", [{}])) == ""


def test_record_of_a_training_says_nothing_of_the_images_that_were_evaluated(tmp_path):
    record = {"bundle": {"name": "Whole"}, "dataset": {"name": "phantoms", "path": "p"}, "ended": "2026-01-02"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    about = describe_predictions(tmp_path / "predictions.csv", [{"model": ""}])
    assert (about["model"], about["data"], about["predicted"]) == ("Whole", None, None)
    assert prepared_folder(tmp_path / "predictions.csv") is None
    (tmp_path / "score.json").write_text(json.dumps({"about": {"data": "INbreast", "partition": "test"}}))
    assert describe_in_words(describe_predictions(tmp_path / "predictions.csv", [{}])) == "Whole on INbreast, test"


def test_labels_of_a_table_and_what_the_caller_knows(tmp_path):
    about = describe_predictions(tmp_path / "p.csv", ROWS, labels=tmp_path / "truth.csv", known={"data": "INbreast"})
    assert (about["labels"], about["data"]) == (str(tmp_path / "truth.csv"), "INbreast")
