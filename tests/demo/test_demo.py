"""The demo's bookkeeping, and behind the marker `slow` the demo itself against what the project promises of it."""

import json
import re
from pathlib import Path

import pytest

from monai_e2e.demo.page import _examples
from monai_e2e.demo.run import Demo, _scratch_plan, format_summary, run_demo
from monai_e2e.errors import UserError
from monai_e2e.experiment.commands import recipe_of
from monai_e2e.work.steps import Step

BUNDLES = Path(__file__).parents[2] / "bundles"


def test_a_folder_that_is_no_earlier_demo_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        run_demo(tmp_path, BUNDLES)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.fixture
def demo(tmp_path):
    made = Demo(tmp_path, BUNDLES)
    made.add_all([0, 1])
    return made


def waits_for(step):
    """The names of all steps that are run before one."""
    return {name for before in step.after for name in ({before.name} | waits_for(before))}


def test_every_step_waits_for_what_it_reads(demo):
    names = [step.name for step in demo.steps]
    assert len(set(names)) == len(names) == 22
    place = re.escape(str(demo.out))
    for step in demo.steps:
        kind, name, *_ = step.name.split()
        text = " ".join(step.argv)
        read = {f"train {run}" for run in re.findall(rf"{place}/(\S+)/model.pt", text)}
        read |= {f"predict {run}" for run in re.findall(rf"{place}/(\S+)/predictions.csv", text)}
        read |= {f"train {name}"} if kind == "evaluate" else set()
        read |= {f"predict {name}"} if kind == "gallery" else set()
        if kind != "draw":
            read |= {f"draw {data}" for data in re.findall(rf"{place}/data/(\S+)/download", text)}
        if kind != "prepare":
            read |= {f"prepare {data}" for data in re.findall(rf"{place}/data/(\S+)/prepared", text)}
        assert read <= waits_for(step), step.name
        assert read or kind == "draw"


def test_no_training_waits_for_what_it_does_not_read(demo):
    before = {step.name: waits_for(step) for step in demo.steps if step.name.startswith("train")}
    data = {"draw cbis-ddsm", "prepare cbis-ddsm"}
    assert before["train scratch/seed1"] == before["train patch"] == data
    assert before["train whole/seed1"] == {*data, "train patch"}
    inbreast = {"draw inbreast", "prepare inbreast"}
    assert before["train transfer/seed1"] == {*data, *inbreast, "train patch", "train whole/seed1"}


def test_the_time_left_follows_from_what_has_ended(demo):
    assert demo.seconds_left(2) is None
    demo.steps = [Step(f"train {name}", [], demo.out) for name in "abc"] + [Step("draw d", [], demo.out)]
    demo.steps[0].seconds = 60.0
    assert demo.seconds_left(2) == pytest.approx(0.6 * (100 + 100 + 40) / 2)


def test_a_failing_step_ends_the_demo(demo):
    failing = Step("draw fails", ["-m", "monai_e2e", "draw"], demo.out / "log")
    demo.steps = [failing, Step("draw never", ["-m", "monai_e2e"], demo.out / "other", after=[failing])]
    with pytest.raises(UserError, match=r"step 'draw fails' failed: .*invalid choice: 'draw'"):
        demo.run()
    assert not (demo.out / "other").exists()


def test_the_network_from_scratch_gets_the_same_number_of_epochs_and_all_layers():
    recipe = recipe_of(BUNDLES / "ddsm_whole")
    (stage,) = json.loads(_scratch_plan(recipe).replace("'", '"'))
    assert stage["epochs"] == sum(s["epochs"] for s in recipe["stages"])
    assert stage["trainable"] == ["*"]


def test_the_examples_are_the_surest_right_answers_and_the_worst_mistake():
    scores = {"a": (1, 0.9), "b": (1, 0.2), "c": (0, 0.1), "d": (0, 0.6)}
    rows = [{"image": name, "label": y, "p_malignant": p} for name, (y, p) in scores.items()]
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
    assert summary["seconds"] <= 10 * 60
    assert all(Path(path).exists() for path in summary["paths"].values())
    assert json.loads((tmp_path / "demo" / "summary.json").read_text()) == summary
    page = (tmp_path / "demo" / "index.html").read_text()
    assert not re.search(r"(src|href)=.?(https?:)?//", page)  # opens offline
    assert re.search(r"AUC of 0\.\d{3} on \d+ test images of \d+ patients", page)
    assert all((tmp_path / "demo" / link).exists() for link in re.findall(r'href="([^"#:]+)"', page))
