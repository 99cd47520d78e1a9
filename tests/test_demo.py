"""The demo's bookkeeping, and behind the marker `slow` the demo itself against what the project promises of it."""

import json
import re
import threading
from pathlib import Path

import pytest

from monai_e2e.demo import Demo, Step, _scratch_plan, _time_left, format_summary, phantom_recipe, run_demo
from monai_e2e.demo_page import _examples
from monai_e2e.errors import UserError

BUNDLES = Path(__file__).parents[1] / "bundles"


def test_the_commands_are_shown_as_a_user_would_type_them(tmp_path):
    def command(*argv):
        return Step("name", argv, tmp_path / "log").command

    assert command("-m", "monai_e2e", "phantom", "inbreast", "a b") == "monai-e2e phantom inbreast 'a b'"
    assert command("-m", "monai.bundle", "run", "training") == "python -m monai.bundle run training"


def test_a_failing_step_ends_in_one_line_that_names_its_log(tmp_path):
    step = Step("prepare", ["-m", "monai_e2e", "prepare", "inbreast", str(tmp_path / "no"), "out"], tmp_path / "a.log")
    with pytest.raises(UserError) as caught:
        step.run()
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "a.log") in message
    assert str(tmp_path / "no") in message


def test_steps_run_as_soon_as_what_they_need_is_there(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    order, free = [], threading.Event()

    def run(step):
        order.append(step.name)
        if step.name == "long":
            assert free.wait(60)  # ends when all the others have run beside it
        if step.name == "last":
            free.set()

    monkeypatch.setattr(Step, "run", run)
    data = Step("data", [], tmp_path)
    first = Step("first", [], tmp_path, needs=[data])
    second = Step("second", [], tmp_path, needs=[first])
    steps = [data, Step("long", [], tmp_path, needs=[data]), first, second, Step("last", [], tmp_path, needs=[second])]
    with caplog.at_level("INFO"):
        Demo(tmp_path, BUNDLES, 0).run(steps)
    assert order[0] == "data"
    assert set(order[1:3]) == {"long", "first"}
    assert order[3:] == ["second", "last"]
    assert "left" in caplog.text
    assert "left" not in caplog.messages[-1]


def test_the_time_left_follows_from_what_has_ended(tmp_path):
    steps = [Step(name, [], tmp_path, cost) for name, cost in (("a", 10), ("b", 20), ("c", 10))]
    assert _time_left(60, steps, steps[1:]) == ", about 3 min left"
    assert _time_left(60, steps, steps[2:]) == ", less than a minute left"
    assert _time_left(60, steps, []) == ""


def test_a_failing_step_ends_the_demo(tmp_path):
    failing = Step("fails", ["-c", "raise SystemExit('no')"], tmp_path / "log")
    with pytest.raises(UserError, match="step 'fails' failed: no"):
        Demo(tmp_path, BUNDLES, 0).run([failing, Step("never", ["-c", "1 / 0"], tmp_path / "other", needs=[failing])])
    assert not (tmp_path / "other").exists()


def test_a_folder_that_is_no_earlier_demo_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        run_demo(tmp_path, BUNDLES)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_bundles_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match="--bundles"):
        run_demo(tmp_path / "out", tmp_path / "elsewhere")


def test_the_rival_from_scratch_gets_the_same_number_of_epochs_and_all_layers():
    recipe = phantom_recipe(BUNDLES / "ddsm_whole")
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
