"""From tables to results: what the command does, with every source of labels and thresholds."""

import csv
import json

import pytest
from made_rows import RESAMPLES, make_rows, renamed
from sklearn.metrics import roc_auc_score

from monai_e2e.errors import UserError
from monai_e2e.metrics import (
    MODEL_THRESHOLD,
    choose_threshold,
    compare_rows,
    format_scores,
    holm,
    level_samples,
    read_predictions,
    score_file,
    score_rows,
    write_predictions,
    write_results,
)
from monai_e2e.metrics.html_page import format_p

pytestmark = pytest.mark.usefixtures("blank_curves")

CURVES = ("calibration", "decision", "pr", "roc")
FILES = sorted([*(f"{curve}.{ending}" for curve in CURVES for ending in ("csv", "png")), "report.html", "score.json"])


def table(path, rows, **more):
    path.parent.mkdir(exist_ok=True)
    write_predictions(path, [{**row, **more} for row in rows])
    return path


def score(path, **arguments):
    return score_file(path, resamples=RESAMPLES, **arguments)


def test_results_lie_beside_the_predictions_or_where_they_are_wanted(tmp_path):
    path = table(tmp_path / "run" / "predictions.csv", make_rows())
    scored = score(path)
    assert sorted(p.name for p in path.parent.iterdir()) == sorted([*FILES, "predictions.csv"])
    assert json.loads((path.parent / "score.json").read_text(encoding="utf-8")) == scored
    score(path, out=tmp_path / "elsewhere")
    assert sorted(p.name for p in (tmp_path / "elsewhere").iterdir()) == FILES


@pytest.mark.parametrize(
    ("record", "note"),
    [
        ({}, "`predict` has not ended with predictions.csv, so some of its 500 images may have no row."),
        ({"ended": "2026-01-01", "failed": 3}, "3 images have no prediction, see failures.csv."),
        ({"ended": "2026-01-01", "failed": 0}, None),
        ({"kind": "something else"}, None),
    ],
)
def test_images_that_predict_has_no_row_of_are_noted(tmp_path, record, note):
    path = table(tmp_path / "run" / "predictions.csv", make_rows())
    (tmp_path / "run" / "run.json").write_text(json.dumps({"kind": "monai-e2e predict", "images": 500, **record}))
    assert [text for text in score(path)["notes"] if "row" in text or "prediction" in text] == ([note] if note else [])


def test_a_table_that_has_no_score_is_named(tmp_path):
    path = table(tmp_path / "p.csv", [{**row, "label": 1} for row in make_rows()])
    with pytest.raises(UserError, match=rf"^{path}: all \d+ images have label 1"):
        score(path)


def test_score_is_that_of_the_rows_in_the_table(tmp_path):
    path = table(tmp_path / "p.csv", make_rows())
    assert score(path)["image"] == score_rows(read_predictions(path), resamples=RESAMPLES)["image"]


def test_points_of_the_curves_give_the_areas_back(tmp_path):
    path = table(tmp_path / "p.csv", make_rows())
    scored = score(path)
    for level in ("image", "breast", "exam"):
        points = [row for row in csv.DictReader((tmp_path / "roc.csv").open()) if row["level"] == level]
        x, y = ([float(p[key]) for p in points] for key in ("false_positive_rate", "true_positive_rate"))
        area = sum((x[i + 1] - x[i]) * (y[i + 1] + y[i]) / 2 for i in range(len(x) - 1))
        assert area == pytest.approx(scored[level]["auc"], abs=1e-4)
        points = [row for row in csv.DictReader((tmp_path / "pr.csv").open()) if row["level"] == level]
        r, p = ([float(row[key]) for row in points] for key in ("recall", "precision"))
        area = sum((r[i] - r[i + 1]) * p[i] for i in range(len(r) - 1))
        assert area == pytest.approx(scored[level]["average_precision"], abs=1e-4)
        bins = [row for row in csv.DictReader((tmp_path / "calibration.csv").open()) if row["level"] == level]
        assert sum(int(row["n"]) for row in bins) == scored[level]["n"]


def test_labels_may_come_from_a_table(tmp_path):
    rows = make_rows()
    path = table(tmp_path / "p.csv", rows, label=None, patient_id="", density=None, lesion_type="")
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "image,label,patient_id\n" + "".join(f"{r['image']}.dcm,{r['label']},{r['patient_id']}\n" for r in rows)
    )
    scored = score(path, labels=labels)
    assert scored["image"]["auc"] == pytest.approx(
        roc_auc_score([r["label"] for r in rows], [r["logit"] for r in rows])
    )
    assert scored["exam"]["n"] == 40
    with pytest.raises(UserError, match=r"p\.csv: none of the 160 images has a label"):
        score(path)


def test_images_without_label_are_refused_or_dropped_and_noted(tmp_path):
    rows = make_rows()
    rows[5] = {**rows[5], "label": None}
    path = table(tmp_path / "p.csv", rows)
    with pytest.raises(UserError, match="1 of 160 images have no label: P1_LEFT_MLO"):
        score(path)
    scored = score(path, drop_unlabelled=True)
    assert scored["image"]["n"] == 159
    assert "1 images without label were left out: P1_LEFT_MLO." in scored["notes"]


def test_comparison_is_made_with_each_other_table(tmp_path):
    path = table(tmp_path / "p.csv", make_rows())
    others = [table(tmp_path / f"{name}.csv", make_rows(noise=noise)) for name, noise in (("a", 1.5), ("b", 2.5))]
    comparisons = score(path, compare=others)["comparisons"]
    assert [comparison["predictions"] for comparison in comparisons] == ["a.csv", "b.csv"]
    expected = compare_rows(read_predictions(path), read_predictions(others[1]), resamples=RESAMPLES)
    for level, test in expected.items():
        assert {key: comparisons[1][level][key] for key in test} == test
        ps = [comparison[level]["p_patients"] for comparison in comparisons]
        assert [comparison[level]["p_holm"] for comparison in comparisons] == holm(ps)


def test_comparison_leaves_out_what_was_dropped(tmp_path):
    rows = make_rows()
    other = table(tmp_path / "other.csv", rows)
    rows[5] = {**rows[5], "label": None}
    scored = score(table(tmp_path / "p.csv", rows), compare=[other], drop_unlabelled=True)
    assert scored["comparisons"][0]["image"]["p"] == 1


def test_comparison_of_other_images_names_both_files(tmp_path):
    path, other = table(tmp_path / "p.csv", make_rows()), table(tmp_path / "o.csv", make_rows()[2:])
    with pytest.raises(UserError, match=r"p\.csv and .*o\.csv: the two sets of images differ: 2 are without"):
        score(path, compare=[other])


def test_another_groups_table_can_be_compared(tmp_path):
    rows = [row | {"image": f"{row['patient_id'][1:]}_{row['laterality'][0]}_{row['view']}"} for row in make_rows()]
    path, other = table(tmp_path / "p.csv", rows), tmp_path / "gmic.csv"
    lines = [f"{row['image']},{row['p_malignant']:.4f},{row['label']}" for row in rows]
    other.write_text("\n".join(["image_index,malignant_pred,malignant_label", *lines]))
    result = score(path, compare=[other])["comparisons"][0]["image"]
    assert abs(result["difference"]) < 1e-3
    assert score(other, out=tmp_path / "gmic")["exam"]["n"] == 40


def test_threshold_is_given_as_a_probability(tmp_path):
    path = table(tmp_path / "p.csv", make_rows())
    scored = score(path, threshold=0.5)
    assert scored["image"]["at_threshold"]["threshold_logit"] == 0
    assert scored["settings"]["threshold_source"] == "given"
    for value in (0, 1, 1.5):
        with pytest.raises(UserError, match=f"--threshold {value:g}: give a probability between 0 and 1"):
            score(path, threshold=value)


def test_threshold_is_chosen_on_validation_predictions_for_each_level(tmp_path):
    path = table(tmp_path / "p.csv", make_rows(), threshold=0.9)
    validation = renamed(make_rows(seed=5), "V")
    scored = score(path, threshold_from=table(tmp_path / "validation.csv", validation))
    chosen = choose_threshold([row["label"] for row in validation], [row["logit"] for row in validation])
    assert scored["image"]["at_threshold"]["threshold_logit"] == pytest.approx(chosen, abs=1e-6)
    assert len(set(scored["settings"]["threshold"].values())) == 3
    assert scored["settings"]["threshold_source"] == "largest Youden index on validation.csv"


def test_validation_that_shares_images_or_patients_is_refused(tmp_path):
    path = table(tmp_path / "p.csv", make_rows())
    with pytest.raises(UserError, match=r"160 images are among those scored too \(P"):
        score(path, threshold_from=path)
    others = [row | {"image": f"V{row['image']}"} for row in make_rows(seed=5)]
    with pytest.raises(UserError, match=r"validation\.csv: 40 patients are among those scored too \(P"):
        score(path, threshold_from=table(tmp_path / "validation.csv", others))
    others = [row | {"patient_id": row["patient_id"].lower()} for row in others]
    with pytest.raises(UserError, match=r"validation\.csv: 40 patients are among those scored too \(P"):
        score(path, threshold_from=table(tmp_path / "validation.csv", others))


def test_two_thresholds_exclude_each_other(tmp_path):
    path = table(tmp_path / "p.csv", make_rows())
    with pytest.raises(UserError, match="can't be given together"):
        score(path, threshold=0.5, threshold_from=path)


def test_the_models_own_threshold_is_used_if_it_is_one(tmp_path):
    rows = make_rows()
    scored = score(table(tmp_path / "p.csv", rows, threshold=0.31))
    assert scored["image"]["at_threshold"]["threshold"] == pytest.approx(0.31)
    assert scored["settings"]["threshold_source"] == MODEL_THRESHOLD
    rows[0] = {**rows[0], "threshold": 0.5}
    scored = score(table(tmp_path / "p.csv", [{"threshold": 0.31, **row} for row in rows]))
    assert "at_threshold" not in scored["image"]
    assert any("2 thresholds, so none is used" in note for note in scored["notes"])
    scored = score(table(tmp_path / "p.csv", rows, threshold=1.0))
    assert "at_threshold" not in scored["image"]
    assert any("separates no images" in note for note in scored["notes"])
    assert score(table(tmp_path / "p.csv", make_rows()))["settings"]["threshold"] is None


def test_printed_table_has_the_figures_and_the_notes(tmp_path):
    path, other = table(tmp_path / "p.csv", make_rows()), table(tmp_path / "o.csv", make_rows(noise=1.5))
    scored = score(path, compare=[other])
    text = format_scores(scored)
    low, high = scored["image"]["auc_ci_bootstrap"]
    assert f"{scored['image']['auc']:.3f}  {low:.3f} to {high:.3f}" in text
    assert "95 %, bootstrap of patients  95 %, DeLong" in text
    for level in ("exam", "image"):
        test = scored["comparisons"][0][level]
        low, high = test["difference_ci_bootstrap"]
        line = next(line for line in text.splitlines() if line.startswith(f"per {level} against o.csv"))
        interval = f"({low:+.3f} to {high:+.3f})".replace("-", "−")
        assert line.endswith(f" {interval}, bootstrap of patients, {format_p(test['p_patients'])}")
    assert text.endswith("For research, not for diagnosis.")


def test_small_p_values_are_not_zero():
    assert [format_p(value) for value in (1.0, 0.0123456, 1e-4, 9.9e-5, 0.0)] == [
        "p 1.0000",
        "p 0.0123",
        "p 0.0001",
        "p < 0.0001",
        "p < 0.0001",
    ]


def test_perfect_separation_and_equal_scores_are_written_too(tmp_path):
    rows = make_rows()
    for value in (lambda row: 9.0 if row["label"] else -9.0, lambda row: 0.5):
        changed = [{**row, "logit": value(row)} for row in rows]
        write_results(tmp_path, score_rows(changed, threshold=0.1, resamples=RESAMPLES), level_samples(changed)[0])
        assert json.loads((tmp_path / "score.json").read_text())["image"]["auc"] in (1.0, 0.5)


def test_tables_of_one_name_are_told_apart_by_their_folders(tmp_path):
    first, second = (
        table(tmp_path / name / "predictions.csv", make_rows(noise=noise)) for name, noise in (("a", 0.5), ("b", 1.5))
    )
    validation = table(tmp_path / "validation" / "predictions.csv", renamed(make_rows(1), "V"))
    scored = score(first, compare=[second], threshold_from=validation, recalibrate="platt")
    assert scored["comparisons"][0]["predictions"] == "b/predictions.csv"
    assert scored["settings"]["threshold_source"] == "largest Youden index on validation/predictions.csv"
    assert scored["settings"]["recalibration"].endswith("160 samples of validation/predictions.csv")
    assert "per image against b/predictions.csv (" in format_scores(scored)


def test_a_table_to_recalibrate_on_needs_a_method(tmp_path):
    path = table(tmp_path / "a" / "predictions.csv", make_rows())
    with pytest.raises(UserError, match="--recalibrate-from without --recalibrate: add a method, such as platt"):
        score(path, recalibrate_from=path)


def test_a_recalibration_on_few_cancers_is_noted(tmp_path):
    path = table(tmp_path / "a" / "predictions.csv", make_rows())
    few = table(tmp_path / "b" / "predictions.csv", renamed(make_rows(1, patients=12), "V"))
    (note,) = [note for note in score(path, recalibrate="platt", recalibrate_from=few)["notes"] if "fitted" in note]
    assert note.startswith("The recalibration was fitted on 48 samples, 8 of them malignant: too few")
    enough = table(tmp_path / "c" / "predictions.csv", renamed(make_rows(1, patients=90), "V"))
    assert not [note for note in score(path, recalibrate="platt", recalibrate_from=enough)["notes"] if "fitted" in note]
