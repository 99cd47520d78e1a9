"""Folds pooled with their own thresholds, and seeds side by side."""

import json
import re

import numpy as np
import pytest
from made_rows import RESAMPLES, make_rows
from sklearn.metrics import roc_auc_score

from monai_e2e.cli.main import main
from monai_e2e.errors import UserError
from monai_e2e.metrics import (
    format_summary,
    predictive_values,
    read_predictions,
    score_file,
    score_files,
    write_predictions,
)

pytestmark = pytest.mark.usefixtures("blank_curves")

FOLDS = 3
THRESHOLDS = (0.3, 0.5, 0.7)


def fold_rows(fold, seed=0, **more):
    """The made-up patients of one fold, as its model's table has them; every fold has both classes."""
    rows = [row for row in make_rows(noise=0.5 + seed) if (int(row["patient_id"][1:]) // 3) % FOLDS == fold]
    return [{**row, "fold": fold, "seed": seed, "threshold": THRESHOLDS[fold], **more} for row in rows]


@pytest.fixture
def tables(tmp_path):
    """The tables of two seeds, three folds each."""
    paths = {}
    for seed in (0, 1):
        for fold in range(FOLDS):
            paths[seed, fold] = tmp_path / f"seed{seed}-fold{fold}" / "predictions.csv"
            write_predictions(paths[seed, fold], fold_rows(fold, seed))
    return paths


def score(tables, out, **more):
    return score_files(list(tables), out, resamples=RESAMPLES, **more)


def test_folds_are_pooled_and_each_is_scored_too_at_its_own_threshold(tables, tmp_path):
    own = [tables[0, fold] for fold in range(FOLDS)]
    scored = score(own, tmp_path / "out")
    rows = [row for path in own for row in read_predictions(path)]
    auc = roc_auc_score([row["label"] for row in rows], [row["logit"] for row in rows])
    assert scored["image"]["auc"] == pytest.approx(auc)
    alone = [score_file(path, out=tmp_path / "alone", resamples=RESAMPLES) for path in own]
    for level in ("image", "breast", "exam"):
        folds = scored["folds"][level]
        aucs = [one[level]["auc"] for one in alone]
        assert [folds["by_fold"][str(fold)]["auc"] for fold in range(FOLDS)] == pytest.approx(aucs)
        assert (folds["mean"], folds["sd"]) == pytest.approx((np.mean(aucs), np.std(aucs, ddof=1)))
        for count in ("true_positive", "false_positive", "true_negative", "false_negative"):
            of_folds = sum(one[level]["at_threshold"][count] for one in alone)
            assert scored[level]["at_threshold"][count] == of_folds
    assert scored["settings"]["threshold_by_fold"] == pytest.approx(dict(zip("012", THRESHOLDS, strict=True)))
    assert json.loads((tmp_path / "out" / "score.json").read_text()) == scored
    assert "Folds" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    again = score_file(tmp_path / "out" / "pooled.csv", out=tmp_path / "again", resamples=RESAMPLES)
    assert again == scored


def test_pooled_folds_have_predictive_values_at_a_prevalence(tables, tmp_path):
    scored = score([tables[0, fold] for fold in range(FOLDS)], tmp_path / "out", prevalence=0.01)
    point = scored["image"]["at_threshold"]
    expected = predictive_values(point["sensitivity"], point["specificity"], 0.01)
    assert {key: point[key] for key in expected} == expected


def test_one_fold_with_an_auc_has_no_deviation(tables, tmp_path):
    write_predictions(tables[0, 1], [row | {"label": 0} for row in fold_rows(1)])
    scored = score([tables[0, 0], tables[0, 1]], tmp_path / "out")
    assert scored["folds"]["image"]["sd"] is None
    assert "± 0.000" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_seeds_stand_side_by_side_with_mean_and_deviation(tables, tmp_path):
    scored = score(tables.values(), tmp_path / "out")
    singles = [score([tables[seed, f] for f in range(FOLDS)], tmp_path / f"s{seed}") for seed in (0, 1)]
    aucs = [single["image"]["auc"] for single in singles]
    assert [group["image"]["auc"] for group in scored["groups"].values()] == aucs
    assert list(scored["groups"]) == ["seed 0, 3 folds", "seed 1, 3 folds"]
    assert scored["mean"]["image"] == {"auc": np.mean(aucs), "sd": pytest.approx(np.std(aucs, ddof=1)), "groups": 2}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    reports = re.findall(r'href="([^"]+)">([^<]+)<', page)
    assert reports == [("0/report.html", "seed 0, 3 folds"), ("1/report.html", "seed 1, 3 folds")] * 3
    assert all((tmp_path / "out" / report).is_file() for report, _ in reports)
    spread = f"{np.mean(aucs):.3f} ± {np.std(aucs, ddof=1):.3f}"
    assert spread in page
    assert f"image   mean ± SD        {spread}" in format_summary(scored).splitlines()


@pytest.mark.parametrize("paths", [("ours/predictions.csv", "theirs/predictions.csv"), ("ours.csv", "theirs.csv")])
def test_models_on_the_same_images_are_called_by_their_folders_or_their_tables_in_one_folder(
    tmp_path, monkeypatch, paths
):
    monkeypatch.chdir(tmp_path)
    for path, noise in zip(paths, (0.5, 1.0), strict=True):
        write_predictions(path, make_rows(noise=noise))
    assert list(score(paths, tmp_path / "out")["groups"]) == ["ours", "theirs"]


@pytest.mark.parametrize("written", [str, str.lower])
def test_a_patient_in_two_folds_is_refused(tmp_path, written):
    first, second = fold_rows(0), fold_rows(1)
    second[0]["patient_id"] = written(first[0]["patient_id"])
    paths = [tmp_path / name / "predictions.csv" for name in "ab"]
    for path, rows in zip(paths, (first, second), strict=True):
        write_predictions(path, rows)
    with pytest.raises(UserError, match="1 patients are in more than one fold"):
        score(paths, tmp_path / "out")


def test_an_exam_of_an_unknown_patient_in_two_folds_is_refused(tmp_path):
    for fold in (0, 1):
        rows = [row | {"patient_id": "", "exam_id": "E1", "image": f"{fold}{row['image']}"} for row in fold_rows(fold)]
        write_predictions(tmp_path / f"{fold}.csv", rows)
    with pytest.raises(UserError, match=r"in more than one fold \(E1\)"):
        score_files([tmp_path / "0.csv", tmp_path / "1.csv"], tmp_path / "out")


def test_the_command_takes_several_tables_and_wants_a_place_for_the_results(tables, tmp_path, capsys):
    own = [str(tables[0, fold]) for fold in range(FOLDS)]
    assert main(["score", *own]) == 2
    assert "--out DIR" in capsys.readouterr().err
    assert main(["score", *own, "--out", str(tmp_path / "out"), "--resamples", "200"]) == 0
    assert "per image, folds: 0." in capsys.readouterr().out


def test_a_missing_fold_is_noted(tmp_path):
    rows = [row | {"fold": int(row["patient_id"][1:]) % 4} for row in make_rows(patients=60)]
    paths = []
    for fold in (0, 3):
        paths.append(tmp_path / str(fold) / "predictions.csv")
        paths[-1].parent.mkdir()
        write_predictions(paths[-1], [row for row in rows if row["fold"] == fold])
    scored = score_files(paths, tmp_path / "out", resamples=RESAMPLES)
    assert "Not among the tables: fold 1, 2." in scored["notes"]
    (tmp_path / "0" / "run.json").write_text(json.dumps({"bundle": {}, "dataset": {"folds": 5}}))
    scored = score_files(paths, tmp_path / "out", resamples=RESAMPLES)
    assert "Not among the tables: fold 1, 2, 4." in scored["notes"]
