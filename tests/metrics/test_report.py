"""Scores as files: what is in them can be read back and recounted by hand."""

import csv
import json

import pytest
from PIL import Image

from monai_e2e.errors import UserError
from monai_e2e.metrics import plot_roc, roc_auc, score_binary, score_classes, write_predictions, write_score


def test_binary_score_counts_and_rates():
    labels, scores = [0, 0, 0, 1, 1], [-1.0, 0.5, 2.0, 1.0, 3.0]
    score = score_binary(labels, scores)
    assert (score["n"], score["positive"]) == (5, 2)
    assert score["auc"] == pytest.approx(5 / 6)
    assert score["auc_ci"] == list(roc_auc(labels, scores)[1:])
    with pytest.raises(UserError):
        score_binary([1, 1], [0.0, 1.0])


def test_confusion_matrix_has_the_truth_in_its_rows():
    score = score_classes([0, 0, 0, 1, 2, 2], [0, 1, 1, 1, 0, 2], ["a", "b", "c"])
    assert score["confusion"] == [[1, 2, 0], [0, 1, 0], [1, 0, 1]]
    assert score["accuracy"] == pytest.approx(3 / 6)
    assert score["n"] == 6


def test_class_that_never_occurs_keeps_its_row_and_column():
    assert score_classes([0, 0], [0, 0], ["a", "b"])["confusion"] == [[2, 0], [0, 0]]


def test_score_file_is_json_and_its_folder_is_made(tmp_path):
    path = tmp_path / "new" / "folder" / "score.json"
    score = {"image": score_binary([0, 1, 0, 1], [0.0, 1.0, 2.0, 3.0])}
    write_score(path, score)
    assert json.loads(path.read_text(encoding="utf-8")) == score


def test_predictions_read_back_as_they_were_written(tmp_path):
    path = tmp_path / "new" / "predictions.csv"
    table = [{"image": "a,b", "note": 'film "é"'}, {"image": "c", "note": "two\nlines"}]
    write_predictions(path, table)
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == table


def test_roc_curve_is_a_picture(tmp_path):
    path = tmp_path / "new" / "roc.png"
    plot_roc({"one": ([0, 1, 0, 1], [0.0, 1.0, 2.0, 3.0]), "two": ([0, 1], [0.0, 1.0])}, path)
    with Image.open(path) as picture:
        assert picture.size == (750, 750)
        assert len(picture.convert("RGB").getcolors(1_000_000)) > 10
