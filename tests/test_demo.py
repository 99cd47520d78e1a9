"""The demo's bookkeeping, and behind the marker `slow` the demo itself against what the project promises of it."""

import json
import re
from pathlib import Path

import pytest

from monai_e2e.demo import _scratch_plan, format_summary, run_demo
from monai_e2e.demo_page import _examples
from monai_e2e.errors import UserError
from monai_e2e.steps import recipe_of

BUNDLES = Path(__file__).parents[1] / "bundles"


def test_a_folder_that_is_no_earlier_demo_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        run_demo(tmp_path, BUNDLES)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_bundles_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match="--bundles"):
        run_demo(tmp_path / "out", tmp_path / "elsewhere")


def test_the_rival_from_scratch_gets_the_same_number_of_epochs_and_all_layers():
    recipe = recipe_of(BUNDLES / "ddsm_whole")
    (stage,) = json.loads(_scratch_plan(recipe).replace("'", '"'))
    assert stage["epochs"] == sum(s["epochs"] for s in recipe["stages"])
    assert stage["trainable"] == ["*"]


def test_the_examples_are_the_surest_right_answers_and_the_worst_mistake():
    scores = {"a": (1, 0.9), "b": (1, 0.2), "c": (0, 0.1), "d": (0, 0.6)}
    rows = [{"image": name, "label": str(y), "p_malignant": str(p)} for name, (y, p) in scores.items()]
    assert [name for _, name, _ in _examples(rows)] == ["a", "c", "b"]


def test_the_table_shows_both_rows_of_the_claim():
    score = {"auc": 0.95, "auc_ci": [0.9, 0.98], "auc_mean": 0.94, "auc_by_seed": [0.95, 0.93]}
    summary = {
        "patch": {"accuracy": 0.9},
        "whole": {**score, "auc_from_scratch": 0.6, "auc_from_scratch_by_seed": [0.6, 0.6]},
        "transfer": score,
        "flips": {"auc": 0.97, "auc_ci": [0.9, 0.99]},
        "forest": {"auc": 0.8, "auc_ci": [0.7, 0.9]},
        "seeds": [0, 1],
        "paths": {"report": "runs/demo/index.html"},
    }
    table = format_summary(summary)
    assert re.search(r"0\.940 +from the patch classifier", table)
    assert re.search(r"0\.600 +from scratch", table)
    assert re.search(r"flips averaged +0\.970 \(0\.900–0\.990\)", table)
    assert re.search(r"random forest.* +0\.800 \(0\.700–0\.900\)", table)
    assert "runs/demo/index.html" in table


@pytest.mark.slow
def test_the_demo_keeps_its_promises(tmp_path):
    summary = run_demo(tmp_path / "demo", BUNDLES)
    assert summary["whole"]["auc"] >= 0.90
    assert summary["transfer"]["auc"] >= 0.90
    assert summary["whole"]["auc_mean"] - summary["whole"]["auc_from_scratch"] >= 0.05
    assert summary["seconds"] <= 12 * 60
    assert all(Path(path).exists() for path in summary["paths"].values())
    assert json.loads((tmp_path / "demo" / "summary.json").read_text()) == summary
    page = (tmp_path / "demo" / "index.html").read_text()
    assert not re.search(r"(src|href)=.?(https?:)?//", page)  # opens offline
