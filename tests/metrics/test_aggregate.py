"""Breasts and exams from images, by hand."""

import csv
import io
import math

import pytest

from monai_e2e.errors import UserError
from monai_e2e.metrics import BREAST_COLUMNS, EXAM_COLUMNS, aggregate_breasts, aggregate_exams


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def image(patient: str, side: str, view: str, p: float, label=0, **more) -> dict:
    return {
        "image": f"{patient}_{side}_{view}",
        "patient_id": patient,
        "laterality": side,
        "view": view,
        "logit": logit(p),
        "label": label,
        **more,
    }


ROWS = [
    image("A", "LEFT", "CC", 0.2),
    image("A", "LEFT", "MLO", 0.6, 1),
    image("A", "RIGHT", "CC", 0.5),
    image("A", "RIGHT", "MLO", 0.1),
    image("B", "RIGHT", "CC", 0.9, 1),
]


def test_breast_is_the_mean_of_its_views_and_malignant_if_one_is():
    breasts = aggregate_breasts(ROWS)
    assert [(b["patient_id"], b["laterality"]) for b in breasts] == [("A", "LEFT"), ("A", "RIGHT"), ("B", "RIGHT")]
    assert [b["p_malignant"] for b in breasts] == pytest.approx([0.4, 0.3, 0.9])
    assert [b["logit"] for b in breasts] == pytest.approx([logit(0.4), logit(0.3), logit(0.9)])
    assert [b["label"] for b in breasts] == [1, 0, 1]
    assert [b["images"] for b in breasts] == [2, 2, 1]
    assert all(tuple(b) == BREAST_COLUMNS for b in breasts)


def test_breast_may_be_the_largest_of_its_views():
    assert [b["p_malignant"] for b in aggregate_breasts(ROWS, "max")] == pytest.approx([0.6, 0.5, 0.9])


def test_exam_is_its_higher_breast():
    exams = aggregate_exams(ROWS)
    assert [e["p_malignant"] for e in exams] == pytest.approx([0.4, 0.9])
    assert [e["p_malignant"] for e in aggregate_exams(ROWS, "max")] == pytest.approx([0.6, 0.9])
    assert [(e["breasts"], e["images"], e["label"]) for e in exams] == [(2, 4, 1), (1, 1, 1)]
    assert all(tuple(e) == EXAM_COLUMNS for e in exams)


def test_images_that_are_no_standard_view_are_left_out_where_there_are_others():
    rows = [
        image("A", "LEFT", "CC", 0.2),
        image("A", "LEFT", "CC", 0.9, 1, flags="implant;synthesized 2D"),
        image("A", "LEFT", "MLO", 0.4, flags="magnified;partial view"),
        image("B", "LEFT", "CC", 0.7, flags="synthesized 2D"),
        image("B", "LEFT", "MLO", 0.5, flags="synthesized 2D"),
    ]
    first, second = aggregate_breasts(rows)
    assert (first["p_malignant"], first["images"], first["label"]) == (pytest.approx(0.2), 1, 1)
    assert first["flags"] == "missing MLO;synthesized 2D left out;partial view left out;magnified left out"
    assert (second["p_malignant"], second["images"]) == (pytest.approx(0.6), 2)
    assert second["flags"] == "synthesized 2D"
    assert aggregate_breasts(rows, "max")[0]["p_malignant"] == pytest.approx(0.2)
    assert "LEFT synthesized 2D left out" in aggregate_exams(rows)[0]["flags"]


def test_missing_views_and_sides_are_flagged():
    assert [b["flags"] for b in aggregate_breasts(ROWS)] == ["", "", "missing MLO"]
    assert [e["flags"] for e in aggregate_exams(ROWS)] == ["", "missing LEFT;RIGHT missing MLO"]


def test_view_taken_twice_counts_once_and_is_flagged():
    rows = [image("A", "LEFT", "CC", p, suffix=i) for i, p in enumerate((0.2, 0.4))] + [image("A", "LEFT", "MLO", 0.7)]
    (breast,) = aggregate_breasts(rows)
    assert breast["p_malignant"] == pytest.approx((0.3 + 0.7) / 2)
    assert breast["flags"] == "2 CC"
    assert aggregate_breasts(rows, "max")[0]["p_malignant"] == pytest.approx(0.7)


def test_unknown_view_is_a_view_of_its_own_and_flagged():
    (breast,) = aggregate_breasts([image("A", "LEFT", "CC", 0.2), image("A", "LEFT", "", 0.6)])
    assert breast["p_malignant"] == pytest.approx(0.4)
    assert breast["flags"] == "view unknown"


def test_images_of_unknown_side_stand_alone():
    rows = [image("A", "", "CC", 0.2), image("A", "", "CC", 0.8, 1), image("A", "LEFT", "CC", 0.5)]
    breasts = aggregate_breasts(rows)
    assert [b["p_malignant"] for b in breasts] == pytest.approx([0.2, 0.8, 0.5])
    assert [b["flags"] for b in breasts] == ["side unknown", "side unknown", "missing MLO"]
    (exam,) = aggregate_exams(rows)
    assert exam["p_malignant"] == pytest.approx(0.8)
    assert (exam["breasts"], exam["images"]) == (1, 3)
    assert exam["flags"] == "side unknown;LEFT missing MLO"


def test_exams_of_a_patient_stay_apart():
    rows = [image("A", "LEFT", "CC", 0.2, exam_id="2019"), image("A", "LEFT", "CC", 0.8, exam_id="2021")]
    assert [(e["exam_id"], e["p_malignant"]) for e in aggregate_exams(rows)] == [
        ("2019", pytest.approx(0.2)),
        ("2021", pytest.approx(0.8)),
    ]


def test_images_of_nobody_are_left_out():
    assert aggregate_breasts([image("", "LEFT", "CC", 0.2)]) == []
    assert aggregate_exams([image("", "LEFT", "CC", 0.2)]) == []
    assert len(aggregate_exams([image("", "LEFT", "CC", 0.2, exam_id="7")])) == 1


def test_scores_that_round_to_one_keep_their_order():
    rows = [{**image(name, "LEFT", "CC", 0.5), "logit": value} for name, value in (("A", 50.0), ("B", 60.0))]
    rows += [{**image(name, "LEFT", "MLO", 0.5), "logit": 40.0} for name in "AB"]
    first, second = aggregate_breasts(rows)
    assert first["p_malignant"] == second["p_malignant"] == 1
    assert 40 < first["logit"] < second["logit"]
    # The mean of 1 - e^-50 and 1 - e^-40 is 1 - (e^-50 + e^-40) / 2.
    assert first["logit"] == pytest.approx(40 + math.log(2 / (1 + math.exp(-10))))
    mirrored = aggregate_breasts([{**row, "logit": -row["logit"]} for row in rows])
    assert [b["logit"] for b in mirrored] == pytest.approx([-first["logit"], -second["logit"]])


def test_label_is_unknown_unless_it_can_be_told():
    def label(*labels):
        rows = [image("A", "LEFT", view, 0.5, value) for view, value in zip(("CC", "MLO"), labels, strict=True)]
        return aggregate_breasts(rows)[0]["label"]

    assert label(0, None) is None
    assert label(1, None) == 1
    assert label("0", "1") == 1
    assert label("", "") is None


def test_rows_may_be_text_as_read_from_the_file():
    text = "image,patient_id,laterality,view,p_malignant,logit\na,A,LEFT,CC,0.5,0.000000\nb,A,LEFT,MLO,0.5,0.000000\n"
    (breast,) = aggregate_breasts(csv.DictReader(io.StringIO(text)))
    assert (breast["p_malignant"], breast["label"]) == (0.5, None)


@pytest.mark.parametrize("function", [aggregate_breasts, aggregate_exams])
def test_what_cannot_be_aggregated_is_a_users_mistake(function):
    with pytest.raises(UserError, match="must be mean or max, got 'median'"):
        function(ROWS, "median")
    with pytest.raises(UserError, match="A_LEFT_CC: log-odds nan"):
        function([{**ROWS[0], "logit": float("nan")}])
