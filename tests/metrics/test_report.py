"""What is said of predictions agrees with scikit-learn and can be recounted by hand."""

import json

import numpy as np
import pytest
from made_rows import RESAMPLES, make_rows
from PIL import Image
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from monai_e2e.errors import UserError
from monai_e2e.metrics import (
    aggregate_breasts,
    aggregate_exams,
    calibration_line,
    choose_threshold,
    compare_aucs,
    compare_rows,
    decision_curve,
    performance_at,
    plot_calibration,
    plot_decision,
    plot_pr,
    plot_roc,
    reliability,
    roc_auc,
    score_classes,
    score_rows,
    write_score,
)
from monai_e2e.metrics.plots import plot_froc


def test_figures_per_image_are_scikit_learns():
    rows = make_rows()
    score = score_rows(rows, resamples=RESAMPLES)["image"]
    labels, logits = [row["label"] for row in rows], [row["logit"] for row in rows]
    assert (score["n"], score["positive"], score["patients"]) == (160, 28, 40)
    assert score["auc"] == pytest.approx(roc_auc_score(labels, logits))
    assert score["auc_ci_delong"] == pytest.approx(roc_auc(labels, logits)[1:])
    assert score["average_precision"] == pytest.approx(average_precision_score(labels, logits))
    assert score["brier"] == pytest.approx(brier_score_loss(labels, [row["p_malignant"] for row in rows]))
    assert score["calibration"] == reliability(labels, expit(logits))
    assert score["calibration_line"] == calibration_line(labels, logits)
    for name in ("auc", "average_precision"):
        low, high = score[f"{name}_ci_bootstrap"]
        assert low < score[name] < high


@pytest.mark.parametrize("how", ["mean", "max"])
def test_breasts_and_exams_are_scored_as_they_are_aggregated(how):
    rows = make_rows()
    scored = score_rows(rows, how=how, resamples=RESAMPLES)
    for level, aggregate in (("breast", aggregate_breasts), ("exam", aggregate_exams)):
        table = aggregate(rows, how)
        assert scored[level]["n"] == len(table)
        expected = roc_auc_score([row["label"] for row in table], [row["logit"] for row in table])
        assert scored[level]["auc"] == pytest.approx(expected)


def test_patients_with_many_like_images_widen_the_bootstrap_but_not_delong():
    rows = [{**row, "image": f"{row['image']}_{i}"} for row in make_rows() for i in range(4)]
    score = score_rows(rows, resamples=500)["image"]
    width = {kind: np.ptp(score[f"auc_ci_{kind}"]) for kind in ("bootstrap", "delong")}
    assert width["bootstrap"] > 1.5 * width["delong"]


def test_subgroups_are_scored_on_their_images():
    rows = make_rows()
    groups = score_rows(rows, resamples=RESAMPLES)["subgroups"]
    assert list(groups) == ["view", "density", "lesion_type"]
    assert list(groups["view"]) == ["CC", "MLO"]
    chosen = [row for row in rows if row["view"] == "CC"]
    expected = roc_auc_score([row["label"] for row in chosen], [row["logit"] for row in chosen])
    assert groups["view"]["CC"]["auc"] == pytest.approx(expected)
    assert [groups["density"][word]["n"] for word in "1234"] == [40] * 4


def test_lesion_types_are_each_compared_against_all_negatives():
    rows = make_rows()
    groups = score_rows(rows, resamples=RESAMPLES)["subgroups"]["lesion_type"]
    assert list(groups) == ["calcification", "mass"]
    of_type = [row for row in rows if "mass" in row["lesion_type"]]
    negatives = [row for row in rows if row["label"] == 0]
    assert (groups["mass"]["n"], groups["mass"]["positive"]) == (len(of_type) + len(negatives), len(of_type))
    # Patients 6, 15, … have both types, and count in both groups.
    assert groups["mass"]["positive"] + groups["calcification"]["positive"] > sum(row["label"] for row in rows)


def test_subgroup_of_one_class_has_no_auc_and_says_why():
    rows = [{**row, "view": "MLO" if row["label"] else row["view"]} for row in make_rows()]
    rows = [{**row, "density": None if row["density"] == 1 else row["density"]} for row in rows]
    groups = score_rows(rows, resamples=RESAMPLES)["subgroups"]
    assert groups["view"]["CC"] == {"n": 66, "positive": 0, "auc": None, "reason": "no positive image"}
    assert groups["density"]["unknown"]["n"] == 40


def test_subgroups_that_nothing_is_known_of_are_left_out():
    rows = [{**row, "density": None, "lesion_type": ""} for row in make_rows()]
    assert list(score_rows(rows, resamples=RESAMPLES)["subgroups"]) == ["view"]


def test_threshold_is_applied_to_all_levels_or_each_has_its_own():
    rows = make_rows()
    labels, logits = [row["label"] for row in rows], [row["logit"] for row in rows]
    scored = score_rows(rows, threshold=0.3, resamples=RESAMPLES, threshold_source="given")
    assert scored["image"]["at_threshold"] == performance_at(labels, logits, 0.3)
    assert scored["exam"]["at_threshold"]["threshold_logit"] == 0.3
    assert scored["settings"]["threshold_source"] == "given"
    assert any("chosen on images" in note for note in scored["notes"])
    scored = score_rows(rows, threshold={"image": 0.3, "exam": 1.0}, resamples=RESAMPLES)
    assert scored["exam"]["at_threshold"]["threshold_logit"] == 1.0
    assert "at_threshold" not in scored["breast"]
    assert "at_threshold" not in score_rows(rows, resamples=RESAMPLES)["image"]


def test_threshold_is_never_chosen_on_the_scored_data():
    rows = make_rows()
    chosen = choose_threshold([row["label"] for row in rows], [row["logit"] for row in rows])
    assert str(chosen) not in json.dumps(score_rows(rows, resamples=RESAMPLES))


def test_without_patients_there_are_images_alone_and_a_note():
    rows = [{**row, "patient_id": ""} for row in make_rows()]
    scored = score_rows(rows, resamples=RESAMPLES)
    assert "breast" not in scored
    assert "exam" not in scored
    assert (scored["image"]["patients"], scored["image"]["drawn"]) == (None, "images")
    (note,) = scored["notes"]
    assert note.startswith("No patient is known of any image, so there are no scores per breast and per exam, and the")
    assert "the bootstrap draws images" in note
    rows = [{**row, "exam_id": row["image"].split("_")[0]} for row in rows]
    scored = score_rows(rows, resamples=RESAMPLES)
    assert (scored["image"]["patients"], scored["image"]["drawn"]) == (None, "exams")
    rows = [{**row, "patient_id": ""} if number < 3 else row for number, row in enumerate(make_rows())]
    scored = score_rows(rows, resamples=RESAMPLES)
    assert (scored["image"]["patients"], scored["image"]["drawn"]) == (None, "patients")
    assert any("3 images without patient" in note and "a separate patient" in note for note in scored["notes"])


def test_neighbouring_probabilities_and_log_odds_are_no_ties():
    """Of neighbours one column or the other has the digits: small probabilities, or log-odds far out."""
    small = 1e-9
    rows = [row | {"label": number % 2} for number, row in enumerate(make_rows()[:8])]
    for row in rows:
        p = np.nextafter(small, 1) if row["label"] else small
        row |= {"p_malignant": float(p), "logit": float(logit(p))}
    assert len({row["logit"] for row in rows}) == 1
    scored = score_rows(rows, resamples=RESAMPLES)
    assert scored["image"]["auc"] == 1
    assert scored["image"]["average_precision"] == 1
    for row in rows:
        row |= {"logit": 40.0 + row["label"], "p_malignant": 1.0}
    assert score_rows(rows, resamples=RESAMPLES)["image"]["auc"] == 1
    against = [row | {"p_malignant": 0.5, "logit": 0.0} for row in rows]
    assert compare_rows(rows, against, resamples=RESAMPLES)["image"]["auc_second"] == 0.5


def test_equal_scores_are_told_as_such_and_have_no_bootstrap_interval():
    rows = [row | {"logit": 0.0, "p_malignant": 0.5} for row in make_rows()]
    scored = score_rows(rows, resamples=RESAMPLES)
    assert scored["image"]["auc"] == 0.5
    assert scored["image"]["auc_ci_bootstrap"] is None
    assert scored["notes"] == [
        "All scores are equal: the AUC is one half whatever the images show, and its interval means nothing."
    ]


def test_images_without_side_are_no_breasts_but_parts_of_exams():
    rows = make_rows()
    rows[:4] = [{**row, "laterality": ""} for row in rows[:4]]
    scored = score_rows(rows, resamples=RESAMPLES)
    assert (scored["breast"]["n"], scored["exam"]["n"]) == (78, 40)
    assert "4 images without known side are in no score per breast; in exams each stands alone." in scored["notes"]


def test_level_of_one_class_is_left_out_with_a_note():
    rows = [row for row in make_rows() if int(row["patient_id"][1:]) % 3 == 0]
    scored = score_rows(rows, resamples=RESAMPLES)
    assert "exam" not in scored
    assert "All 14 exams are malignant, so there is no score per exam." in scored["notes"]


def test_flags_ties_and_extreme_probabilities_are_noted():
    rows = make_rows()
    rows[0] |= {"flags": "dark;view XCCL taken as unknown", "logit": 750.0}
    rows[1] |= {"flags": "dark", "logit": 750.0}
    notes = score_rows(rows, resamples=RESAMPLES)["notes"]
    assert "Flagged images: 2 × dark, 1 × view XCCL taken as unknown." in notes
    assert "2 probabilities are exactly 0 or 1: images among them can't be told apart." in notes
    notes = score_rows([{**row, "logit": round(row["logit"])} for row in make_rows()], resamples=RESAMPLES)["notes"]
    assert any("ties count one half" in note for note in notes)


def test_bootstrap_interval_that_cannot_be_trusted_is_noted():
    separated = [{**row, "logit": row["logit"] + 20 * row["label"]} for row in make_rows()]
    notes = score_rows(separated, resamples=RESAMPLES)["notes"]
    assert any(note.startswith("Per image the bootstrap interval has no width") for note in notes)
    few = [{**row, "label": int(row["label"] and row["patient_id"] == "P0")} for row in make_rows()]
    assert any("resamples held one class" in note for note in score_rows(few, resamples=RESAMPLES)["notes"])
    assert not any("bootstrap" in note or "resamples" in note for note in score_rows(make_rows())["notes"])


def test_settings_say_what_was_done():
    settings = score_rows(make_rows(), how="max", seed=3, resamples=RESAMPLES)["settings"]
    assert (settings["aggregate"], settings["seed"], settings["resamples"]) == ("max", 3, RESAMPLES)
    assert settings["notice"] == "For research, not for diagnosis."
    assert settings["version"].startswith("monai-e2e ")


def test_subgroups_are_of_the_draws_of_all_patients():
    rows = make_rows()
    for row in rows:
        row["density"] = 1 if row["view"] == "CC" else 2  # all patients are in both
    groups = score_rows(rows, resamples=RESAMPLES)["subgroups"]
    assert [groups["density"][word] for word in "12"] == [groups["view"][word] for word in ("CC", "MLO")]
    alone = score_rows([row for row in rows if row["view"] == "CC"], resamples=RESAMPLES)["image"]
    assert groups["view"]["CC"]["auc_ci_bootstrap"] == alone["auc_ci_bootstrap"]


def test_same_seed_same_score():
    assert score_rows(make_rows(), seed=1, resamples=RESAMPLES) == score_rows(make_rows(), seed=1, resamples=RESAMPLES)


def test_paired_comparison_is_delongs_on_the_same_groups():
    rows, others = make_rows(noise=0.5), make_rows(noise=1.5)
    result = compare_rows(rows, list(reversed(others)), resamples=RESAMPLES)
    assert list(result) == ["image", "breast", "exam"]
    labels = [row["label"] for row in rows]
    expected = compare_aucs(labels, [row["logit"] for row in rows], [row["logit"] for row in others])
    assert {key: result["image"][key] for key in expected} == expected
    low, high = result["exam"]["difference_ci_bootstrap"]
    assert low <= result["exam"]["difference"] <= high


def test_model_compared_with_itself_does_not_differ():
    result = compare_rows(make_rows(), make_rows(), resamples=RESAMPLES)["image"]
    assert (result["difference"], result["p"], result["difference_ci_bootstrap"]) == (0, 1, [0, 0])


def test_comparison_leaves_out_the_same_images_of_a_breast_for_both_models():
    rows = make_rows()
    magnified = rows[0] | {"image": "P0_LEFT_CC_2", "flags": "magnified", "logit": 9.0}
    same = [*rows, magnified]
    others = [row | {"flags": ""} for row in same]  # of a table that doesn't know what the image is
    for level, test in compare_rows(same, others, resamples=RESAMPLES).items():
        assert test["difference"] == 0, level


def test_comparison_needs_the_same_images_and_labels():
    rows, others = make_rows(), make_rows(noise=1.5)
    with pytest.raises(UserError, match=r"1 are without prediction \(P0_LEFT_CC\), 0 are in the other set alone"):
        compare_rows(rows, others[1:])
    with pytest.raises(UserError, match="1 are in the other set alone"):
        compare_rows(rows[1:], others)
    others[0] = {**others[0], "label": 0}
    with pytest.raises(UserError, match="1 images have different labels in the two tables: P0_LEFT_CC"):
        compare_rows(rows, others)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [], "no predictions"),
        (
            lambda rows: [{**row, "label": 1} for row in rows],
            r"all 160 images have label 1 \(malignant\).*both classes",
        ),
        (lambda rows: [{**row, "label": 0} for row in rows], r"all 160 images have label 0 \(not malignant\)"),
        (lambda rows: [{**rows[0], "label": None}, *rows[1:]], "'P0_LEFT_CC' has label None; 0 or 1 is needed"),
        (lambda rows: [{**rows[0], "logit": float("nan")}, *rows[1:]], "'P0_LEFT_CC' has logit nan"),
        (lambda rows: [*rows, rows[3]], "1 images are predicted more than once: P0_RIGHT_MLO"),
    ],
)
def test_what_cannot_be_scored_is_a_users_mistake(change, message):
    with pytest.raises(UserError, match=message):
        score_rows(change(make_rows()), resamples=RESAMPLES)


def test_confusion_matrix_has_the_truth_in_its_rows():
    score = score_classes([0, 0, 0, 1, 2, 2], [0, 1, 1, 1, 0, 2], ["a", "b", "c"])
    assert score["confusion"] == [[1, 2, 0], [0, 1, 0], [1, 0, 1]]
    assert score["accuracy"] == pytest.approx(3 / 6)
    assert score["n"] == 6


def test_class_that_never_occurs_keeps_its_row_and_column():
    assert score_classes([0, 0], [0, 0], ["a", "b"])["confusion"] == [[2, 0], [0, 0]]


def test_score_file_is_json_and_its_folder_is_made(tmp_path):
    path = tmp_path / "new" / "folder" / "score.json"
    score = score_rows(make_rows(), threshold=0.1, resamples=RESAMPLES)
    write_score(path, score)
    assert json.loads(path.read_text(encoding="utf-8")) == score


def is_picture(path) -> bool:
    with Image.open(path) as picture:
        return picture.size == (750, 750) and len(picture.convert("RGB").getcolors(1_000_000)) > 10


def test_curves_are_pictures(tmp_path):
    curves = {"one": ([0, 1, 0, 1], [0.0, 1.0, 2.0, 3.0]), "two": ([0, 1], [0.0, 1.0])}
    plot_roc(curves, tmp_path / "new" / "roc.png")
    plot_roc(curves, tmp_path / "new" / "points.png", {"one": (0.5, 0.5)})
    plot_pr(curves, tmp_path / "pr.png")
    plot_calibration({"one": reliability([0, 1, 1], [0.1, 0.2, 0.8])}, tmp_path / "calibration.png")
    plot_decision({"one": decision_curve([0, 1, 1], [0.1, 0.2, 0.8])}, tmp_path / "decision.png")
    plot_froc([(0, 0.1), (1, 0.5), (8, 0.9)], tmp_path / "froc.png")
    assert all(is_picture(path) for path in tmp_path.rglob("*.png"))
    assert (tmp_path / "new" / "roc.png").read_bytes() != (tmp_path / "new" / "points.png").read_bytes()


@pytest.mark.parametrize("plot", [plot_roc, plot_pr])
def test_a_long_legend_is_below_the_curves(tmp_path, plot):
    heights = []
    for names in (["a", "b", "c"], [str(n) for n in range(12)], ["VGG-16, 512x1 twice, four flips", "b"]):
        plot({name: ([0, 1, 0, 1], [1, 2, 3, 4]) for name in names}, tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as picture:
            heights.append(picture.height)
    assert heights[0] < heights[2] < heights[1]
