"""Predictions as files: what was written is read back, other groups' tables are understood, bad ones refused."""

import csv

import numpy as np
import pytest

from monai_e2e.errors import UserError
from monai_e2e.metrics import PREDICTION_COLUMNS, read_predictions, write_predictions, write_table
from monai_e2e.metrics.tables import OPTIONAL_COLUMNS

ROW = {
    "image": "P1_LEFT_CC",
    "patient_id": "P1",
    "exam_id": "",
    "laterality": "LEFT",
    "view": "CC",
    "label": 1,
    "density": 3,
    "lesion_type": "calcification+mass",
    "p_malignant": 0.75,
    "logit": 1.0986122886681098,
    "threshold": 0.4,
    "model": "m",
    "fold": 2,
    "seed": 0,
    "flags": "",
}


def write(tmp_path, text: str):
    path = tmp_path / "predictions.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_predictions_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "new" / "predictions.csv"
    rows = [
        ROW,
        {**ROW, "image": 'image "é", 2', "label": None, "density": None, "threshold": None, "logit": -1.0986123},
    ]
    rows[1]["p_malignant"] = 0.25
    write_predictions(path, rows)
    read = read_predictions(path)
    assert [list(row) for row in read] == [list(PREDICTION_COLUMNS)] * 2
    for before, after in zip(rows, read, strict=True):
        numbers = {name: pytest.approx(before[name], abs=1e-6) for name in ("p_malignant", "logit")}
        assert after == {"p_low": None, "p_high": None, "spread_over": ""} | before | numbers


def test_columns_that_nothing_is_known_for_are_left_out(tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, [{"image": "a", "p_malignant": 0.5, "logit": 0.0}])
    with path.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == [name for name in PREDICTION_COLUMNS if name not in OPTIONAL_COLUMNS]
    assert row["logit"] == "0.000000"
    assert row["patient_id"] == ""


def test_any_table_may_be_written(tmp_path):
    rows = [{"image": "a,b", "note": 'image "é"'}, {"image": "c", "note": "two\nlines"}]
    write_table(tmp_path / "new" / "table.csv", rows)
    with (tmp_path / "new" / "table.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == rows


def test_log_odds_are_computed_where_there_are_probabilities_alone_and_ranks_stay(tmp_path):
    p = [0, 1e-300, 0.5, 1 - 2**-53, 1, 1]
    rows = read_predictions(write(tmp_path, "image,p_malignant\n" + "".join(f"{i},{x!r}\n" for i, x in enumerate(p))))
    logits = [row["logit"] for row in rows]
    assert logits[2] == 0
    assert logits[4] == logits[5]
    assert all(np.diff(logits[:5]) > 0)
    assert np.isfinite(logits).all()


def test_probabilities_are_computed_where_there_are_log_odds_alone(tmp_path):
    (row,) = read_predictions(write(tmp_path, "image,logit,label\na,-2,malignant\n"))
    assert row["p_malignant"] == pytest.approx(1 / (1 + np.exp(2)))
    assert row["label"] == 1


@pytest.mark.parametrize("separator", ["_", "-"])
def test_table_of_the_meta_repository_tells_exam_side_and_view(tmp_path, separator):
    """As its README shows it (``0_L-CC``) and as its sample data names images (``0_L_CC``), index column included."""
    text = ",image_index,malignant_pred,malignant_label\n"
    cases = [("0", "L", "CC", 0.0081, 0), ("0", "R", "MLO", 0.1812, 0), ("1", "R", "CC", 0.991, 1)]
    for number, (exam, side, view, p, label) in enumerate(cases):
        text += f"{number},{exam}_{side}{separator}{view},{p},{label}\n"
    rows = read_predictions(write(tmp_path, text))
    assert [row["patient_id"] for row in rows] == ["0", "0", "1"]
    assert [(row["laterality"], row["view"]) for row in rows] == [("LEFT", "CC"), ("RIGHT", "MLO"), ("RIGHT", "CC")]
    assert [row["label"] for row in rows] == [0, 0, 1]
    assert [row["p_malignant"] for row in rows] == [0.0081, 0.1812, 0.991]
    assert rows[0]["logit"] == pytest.approx(np.log(0.0081 / 0.9919))
    assert rows[0]["flags"] == "exam read off image_index"


def test_image_of_the_meta_repository_with_another_name_stands_alone(tmp_path):
    (row,) = read_predictions(write(tmp_path, "image_index,malignant_pred,malignant_label\n92_L,0.4,1\n"))
    assert (row["patient_id"], row["laterality"], row["view"]) == ("92", "LEFT", "")
    (row,) = read_predictions(write(tmp_path, "image_index,malignant_pred,malignant_label\n20586908,0.4,1\n"))
    assert (row["image"], row["patient_id"], row["laterality"], row["flags"]) == ("20586908", "", "", "")


def test_view_that_is_neither_becomes_unknown_and_is_flagged(tmp_path):
    rows = read_predictions(
        write(tmp_path, "image,view,laterality,logit,flags\na,XCCL,L,0,dark\nb,ML,R,0,\nc,cc,right,0,\n")
    )
    assert [row["view"] for row in rows] == ["", "MLO", "CC"]
    assert [row["laterality"] for row in rows] == ["LEFT", "RIGHT", "RIGHT"]
    assert [row["flags"] for row in rows] == ["dark;view XCCL taken as unknown", "", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"column 'image' is missing.*predictions\.csv of `monai-e2e predict`"),
        ("image,p_malignant\n", "the table has no row"),
        (
            "picture,p_malignant\na,0.1\n",
            r"column 'image' is missing; needed: image; found: picture, p_malignant\. Give a",
        ),
        ("image,score\na,0.1\n", "neither column 'logit' nor 'p_malignant'"),
        ("image,malignant_pred\na,0.1\n", "column 'image_index' is missing"),
        ("index,left_malignant,right_malignant\n0,0.1,0.2\n", "scores per breast"),
        ("image,logit\na,0\nb,1\na,2\n", "row 4: image 'a' is in row 2 already.*remove one"),
        ("image,logit\n,0\n", "row 2: no image named"),
        ("image,logit\na,nan\n", "row 2, image 'a': logit is nan; predict the image again"),
        ("image,logit\na,inf\n", "logit is inf"),
        ("image,p_malignant\na,NaN\n", "p_malignant is NaN"),
        ("image,p_malignant\na,1.2\n", "p_malignant 1.2; allowed are 0 to 1: if these are log-odds"),
        ("image,p_malignant\na,-0.1\n", "allowed are 0 to 1"),
        ("image,p_malignant\na,high\n", "p_malignant 'high' is no number; correct the table"),
        ("image;p_malignant\na;0,25\n", "p_malignant '0,25' is no number; write decimals with a point, 0.25"),
        ("image,p_malignant\na,\n", "p_malignant is empty"),
        ("image,p_malignant,logit\na,0.5,0\nb,0.5,\n", "row 3, image 'b': logit is empty; fill it in for all"),
        ("image,p_malignant,logit\na,0.9,0.5\n", r"p_malignant 0.9 isn't the probability of logit 0.5, which is 0.622"),
        ("image,logit,laterality\na,0,LFT\n", "laterality 'LFT'; allowed are L, LEFT, R, RIGHT, or empty"),
        ("image,logit,label\na,0,maybe\n", "label 'maybe'; allowed are 0, negative, benign, false, 1"),
        ("image,logit,label\na,0,2\n", "label '2'"),
        ("image,logit,density\na,0,5\n", "density '5'; allowed are 1 to 4"),
        ("image,logit,threshold\na,0,-0.3\n", "threshold -0.3; allowed are probabilities"),
    ],
)
def test_bad_table_is_an_error_that_names_file_row_and_cure(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=message) as caught:
        read_predictions(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_absent_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.csv: can't be read"):
        read_predictions(tmp_path / "nowhere.csv")


def test_ids_that_spreadsheets_would_run_come_back_as_they_were(tmp_path):
    row = {"image": '=HYPERLINK("x")', "patient_id": "-7a", "p_malignant": 0.25, "logit": -1.098612, "label": 0}
    write_predictions(tmp_path / "p.csv", [row])
    assert """,'-7a,""" in (tmp_path / "p.csv").read_text()
    (read,) = read_predictions(tmp_path / "p.csv")
    assert {key: read[key] for key in ("image", "patient_id", "logit")} == {
        key: row[key] for key in ("image", "patient_id", "logit")
    }
