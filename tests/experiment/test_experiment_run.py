"""What of a plan is run, what isn't again, and the table: with commands that only leave their files."""

import csv
import json
import subprocess
from pathlib import Path

import pytest
import torch

from monai_e2e.cli.main import main
from monai_e2e.errors import UserError
from monai_e2e.experiment import Settings, run_experiment
from monai_e2e.networks import PatchClassifier, WholeImageClassifier
from monai_e2e.work.steps import Step

pytestmark = pytest.mark.usefixtures("blank_curves")

BUNDLES = Path(__file__).parents[2] / "bundles"
SIZE = [64, 64]
AUC = {"four-seed0": 0.75, "four-seed1": 0.85, "eight-seed0": 0.65, "eight-seed1": 0.65, "both-seed0": 0.9}
PLAN = {
    "title": "Made up",
    "about": "No training.",
    "seeds": [0, 1],
    "rows": {
        "four": {"label": "Four & {~^}", "bundle": "ddsm_whole", "from": "cbis-mass-patch", "paper": {"auc": 0.8}},
        "eight": {"bundle": "ddsm_whole", "from": "cbis-mass-patch", "set": {"top_blocks": ["8x1"]}},
        "both": {"predict": ["four", "eight"], "flips": True},
    },
}


@pytest.fixture(scope="module")
def model():
    preparation = {"image_size": SIZE, "patch_size": 32}
    patch_net = PatchClassifier("vgg16", width=0.0625, preparation=preparation)
    return WholeImageClassifier(patch_net, ["4x1"], preparation=preparation).state_dict()


@pytest.fixture
def place(tmp_path, monkeypatch, model):
    """A plan, prepared data, and commands that leave what the real ones do; ``ran`` has their names."""
    (tmp_path / "data").mkdir()
    data = {"name": "cbis-ddsm", "protocol": "official", "image_size": SIZE, "pixel_mean": 40.0}
    partitions = {"training": [], "validation": [], "test": []}
    (tmp_path / "data" / "datalist.json").write_text(json.dumps(data | partitions))
    (tmp_path / "made.json").write_text(json.dumps(PLAN))
    ran = []

    def run(step):
        ran.append(step.name)
        kind, name = step.name.split()
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "train":
            torch.save(model, folder / "model.pt")
            (folder / "run.json").write_text(json.dumps({"best": {"best_metric_epoch": 7}}))
            line = {"epoch": 1, "seconds": 30.0, "peak_memory_mib": 700, "train_loss": 0.7, "val_loss": 0.6}
            (folder / "metrics.jsonl").write_text(json.dumps(line) + '\n{"epoch": 2, "sec')
        if kind in ("evaluate", "predict"):
            (folder / "predictions.csv").write_text("image,p_malignant,label\na,0.9,1\nb,0.2,0\nc,0.4,1\n")
        if kind in ("evaluate", "score"):
            image = {"auc": AUC.get(name, 0.5), "auc_ci_bootstrap": [0.4, 0.95], "n": 3}
            (folder / "score.json").write_text(json.dumps({"image": image}))
            (folder / "report.html").touch()
        step.seconds = 60.0

    monkeypatch.setattr(Step, "run", run)
    return tmp_path, ran


def experiment(root, plan=None, **settings):
    plan = root / "made.json" if plan is None else plan
    given = {"out": root / "runs", "data": (str(root / "data"),), "bundles": BUNDLES, **settings}
    return run_experiment(str(plan), Settings(**given))


def read_table(root, name="made"):
    with (root / "runs" / name / "table.csv").open(newline="", encoding="utf-8") as file:
        return {row["row"]: row for row in csv.DictReader(file)}


def test_what_is_done_is_not_run_again(place):
    root, ran = place
    outcome = experiment(root)
    assert (len(ran), outcome.failed) == (12, {})  # 2 rows and their average, 2 seeds, 2 commands each
    assert all(done for _, done in outcome.commands)
    experiment(root)
    assert len(ran) == 12
    (root / "runs" / "four-seed1" / "score.json").unlink()
    experiment(root)
    assert ran[12:] == ["evaluate four-seed1"]


def test_the_table_has_value_interval_deviation_and_what_it_took(place):
    root, _ = place
    experiment(root)
    table = read_table(root)
    four = table["four"]
    assert [float(four[key]) for key in ("value", "low", "high", "mean")] == [0.75, 0.4, 0.95, 0.8]
    assert float(four["sd"]) == pytest.approx(0.070711, abs=1e-6)
    assert (four["metric"], four["runs"], four["over"], four["images"]) == ("auc", "2", "seeds", "3")
    assert (float(four["paper"]), float(four["epoch"]), float(four["minutes"])) == (0.8, 7, 0.5)
    assert int(four["peak_memory_mib"]) == 700
    assert int(table["both"]["parameters"]) == 2 * int(four["parameters"]) > 0
    assert float(table["both"]["minutes"]) == 1.0
    folder = root / "runs" / "made"
    tex = (folder / "table.tex").read_text(encoding="utf-8")
    written = r"Four \& \{\textasciitilde{}\textasciicircum{}\}"
    assert rf"{written} & 0.750 (0.400--0.950) & 0.800 $\pm$ 0.071 (2 seeds) & 0.80" in tex
    markdown = (folder / "table.md").read_text(encoding="utf-8")
    assert "| Four & {~^} | 0.750 (0.400–0.950) | 0.800 ± 0.071 (2 seeds) | 0.80 |" in markdown
    assert {"values.png", "roc.png", "index.html"} <= {path.name for path in folder.iterdir()}
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "python -m monai.bundle run training" in page
    assert "protocol official" in page
    assert '<td><a href="../four-seed1/report.html">four-seed1</a></td><td>0.850 (0.400–0.950)</td>' in page
    assert "PHANTOMS" not in page


def test_a_row_that_fails_stops_no_other_and_is_tried_again(place, monkeypatch):
    root, ran = place
    good = Step.run

    def run(step):
        if step.name == "train four-seed0":
            raise UserError("out of memory")
        good(step)

    monkeypatch.setattr(Step, "run", run)
    outcome = experiment(root)
    assert set(outcome.failed) == {"train four-seed0", "evaluate four-seed0", "predict both-seed0", "score both-seed0"}
    assert read_table(root)["four"]["value"] == ""
    assert float(read_table(root)["four"]["mean"]) == 0.85
    monkeypatch.setattr(Step, "run", good)
    ran.clear()
    assert experiment(root).failed == {}
    assert sorted(ran) == sorted(outcome.failed)


def test_other_settings_or_data_in_the_same_folder_are_refused(place):
    root, _ = place
    experiment(root)
    changed = json.loads((root / "data" / "datalist.json").read_text()) | {"pixel_mean": 41.0}
    (root / "data" / "datalist.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match="'train four-seed0' was run here with other settings or data"):
        experiment(root)


def test_more_commands_at_a_time_go_on_with_what_fewer_began(place):
    root, ran = place
    experiment(root, jobs=1, task="both-seed0")
    assert experiment(root, jobs=2).failed == {}
    assert len(ran) == len(set(ran)) == 12


def test_a_folder_that_was_moved_is_taken_up(place):
    root, ran = place
    experiment(root)
    (root / "runs").rename(root / "moved")
    experiment(root, out=root / "moved")
    assert len(ran) == 12


def test_dry_run_and_emit_run_nothing(place):
    root, ran = place
    outcome = experiment(root, dry_run=True)
    assert not any(done for _, done in outcome.commands)
    four = read_table(root)["four"]
    assert (four["value"], float(four["paper"])) == ("", 0.8)
    for kind in ("shell", "slurm"):
        script = experiment(root, emit=kind).written
        subprocess.run(["sh", "-n", str(script)], check=True)
    assert ran == []


def test_emitted_tasks_are_one_for_each_run_and_the_table_last(place):
    root, _ = place
    script = experiment(root, emit="shell").written
    lines = [line for line in script.read_text().splitlines() if line.startswith("monai-e2e experiment")]
    assert [line.rsplit("--task ", 1)[1] for line in lines[:-1]] == [
        "four-seed0", "four-seed1", "eight-seed0", "eight-seed1", "both-seed0", "both-seed1"
    ]  # fmt: skip
    assert "--task" not in lines[-1]
    submits = experiment(root, emit="slurm").written.read_text()
    assert [submits.count(f"--array=1-{count} ") for count in (4, 2, 1)] == [1, 1, 1]
    assert submits.count("--dependency=afterany:$job") == 2
    tasks = (root / "runs" / "made.slurm.1.txt").read_text().splitlines()
    assert [line.rsplit(" ", 1)[1] for line in tasks] == ["both-seed0", "both-seed1"]


def test_a_task_makes_its_run_and_what_that_needs(place):
    root, ran = place
    assert experiment(root, task="both-seed1").written is None
    assert sorted(ran) == ["predict both-seed1", "score both-seed1", "train eight-seed1", "train four-seed1"]
    with pytest.raises(UserError, match="--task both-seed9: did you mean 'both-seed"):
        experiment(root, task="both-seed9")


def test_data_and_folds_that_are_not_there_are_named(place, capsys):
    root, _ = place
    with pytest.raises(UserError, match="needs inbreast: name its prepared folder, --data inbreast=FOLDER"):
        experiment(root, plan="table3")
    with pytest.raises(UserError, match=r"not split into folds, which plan crossval needs: .*--protocol kfold"):
        experiment(root, plan="crossval")
    arguments = ["--out", str(root / "runs"), "--bundles", str(BUNDLES)]
    assert main(["experiment", "table2", *arguments, "--recipe", "paper"]) == 2
    assert "needs cbis-ddsm: name its prepared folder" in capsys.readouterr().err
    assert main(["experiment", "table2", *arguments, "--set", "amp"]) == 2
    assert "write KEY=VALUE" in capsys.readouterr().err


def test_the_time_left_is_by_what_was_measured(place, caplog, monkeypatch):
    root, _ = place
    experiment(root)  # each training: 60 s for the one epoch that its record has
    for name in ("eight-seed0", "eight-seed1", "both-seed0", "both-seed1"):
        for path in (root / "runs" / "logs").glob(f"*-{name}.json"):
            path.unlink()
        (root / "runs" / name / "metrics.jsonl").unlink(missing_ok=True)
    good = Step.run
    monkeypatch.setattr(Step, "run", lambda step: good(step) if step.name != "train eight-seed0" else fail())
    monkeypatch.setattr("monai_e2e.work.steps._EVERY", 0.0)
    caplog.set_level("INFO", "monai_e2e")

    def fail():
        raise UserError("out of memory")

    experiment(root, jobs=1)
    # Left are this training's 50 epochs, its evaluation, and what needs it; commands without epochs take 60 s each.
    assert "10 of 12" not in caplog.text
    assert caplog.messages[-1] == "8 of 12 commands done, about 53 min left"


@pytest.fixture
def phantoms(tmp_path, monkeypatch):
    """Where commands leave data lists alone; ``ran`` has what is typed for them."""
    ran = []

    def run(step):
        ran.append(step.command)
        words = list(step.argv)
        if "prepare" in words:
            folder = Path(words[words.index("prepare") + 3])
            folder.mkdir(parents=True)
            folds = {"folds": int(words[words.index("--folds") + 1])} if "--folds" in words else {}
            data = {"name": "cbis-ddsm", "protocol": words[words.index("--protocol") + 1], "image_size": SIZE}
            content = data | {"pixel_mean": 40.0, "training": [], "validation": [], "test": []} | folds
            (folder / "datalist.json").write_text(json.dumps(content))
        step.seconds = 1.0

    monkeypatch.setattr(Step, "run", run)
    return tmp_path, ran


@pytest.mark.parametrize(("folds", "count"), [("all", 5), ([0, 6], 7)])
def test_phantoms_are_split_into_folds_beside_those_of_other_plans(phantoms, folds, count):
    root, ran = phantoms
    settings = Settings(out=root / "runs", bundles=BUNDLES)
    run_experiment("table1", settings)
    outcome = run_experiment("crossval", settings, {"select": ["vgg16_512x1"], "folds": folds})
    words = [command.split()[1] for command in ran if command.startswith("monai-e2e")]
    assert words[:2] == ["phantom", "prepare"]
    assert (words[2:].count("phantom"), words[2:].count("prepare")) == (0, 1)
    assert f" --protocol kfold --folds {count}" in [command for command in ran if " prepare " in command][-1]
    tested = range(count) if folds == "all" else folds
    for fold in tested:
        assert any(
            f"vgg16_512x1-seed0-fold{fold} " in command and f"--fold {fold}" in command
            for command, _ in outcome.commands
        )


def test_what_would_be_run_on_phantoms_in_folds_is_listed_before_they_are_drawn(phantoms):
    root, ran = phantoms
    outcome = run_experiment("crossval", Settings(out=root / "runs", bundles=BUNDLES, dry_run=True))
    assert any("--fold 4" in command for command, _ in outcome.commands)
    assert ran == []


def test_phantoms_of_another_number_of_patients_are_not_taken_for_the_plans_own(phantoms):
    root, _ = phantoms
    settings = Settings(out=root / "runs", bundles=BUNDLES)
    run_experiment("table1", settings, {"phantom_patients": {"cbis-ddsm": 40}})
    with pytest.raises(UserError, match=r"'draw cbis-ddsm' was run here with other settings"):
        run_experiment("table1", settings)
