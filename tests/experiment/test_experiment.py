"""An experiment by the command that users have: killed in the middle, and taken up."""

import csv
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from monai_e2e.data.phantom import write_cbis_ddsm
from monai_e2e.data.prepared.prepare import prepare_dataset
from monai_e2e.metrics import score_files

BUNDLES = Path(__file__).parents[2] / "bundles"
PATIENCE = 3000  # seconds for the whole of it, on a busy machine
PLAN = {
    "title": "Two narrow networks",
    "folds": [0, 1],
    "set": {
        "image_size": [128, 96],
        "weights": "scratch",
        "width": 0.0625,
        "batch_size": 8,
        "stages": [{"name": "all layers", "trainable": ["*"], "lr": 0.001, "epochs": 3}],
    },
    "rows": {
        "four": {"bundle": "ddsm_whole", "set": {"top_blocks": ["4x1"]}, "paper": {"auc": 0.8, "epoch": 3}},
        "eight": {"bundle": "ddsm_whole", "set": {"top_blocks": ["8x1"]}},
    },
}


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    root = tmp_path_factory.mktemp("experiment")
    write_cbis_ddsm(root / "download", 18, workers=1)
    prepare_dataset(
        "cbis-ddsm", root / "download", root / "data", image_size=(128, 96), protocol="kfold", folds=3, workers=1
    )
    (root / "tiny.json").write_text(json.dumps(PLAN))
    command = [sys.executable, "-m", "monai_e2e", "experiment", str(root / "tiny.json"), "--recipe", "phantom"]
    return [*command, "--data", str(root / "data"), "--out", str(root / "runs"), "--bundles", str(BUNDLES)]


def records(runs):
    files = {path.stem: json.loads(path.read_text()) for path in (runs / "logs").glob("*.json")}
    return {name: record for name, record in files.items() if record["seconds"] is not None}


def kill(process):
    children = psutil.Process(process.pid).children(recursive=True)
    for one in [process, *children]:
        one.kill()
    process.wait()
    psutil.wait_procs(children)


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_its_table_is_that_of_the_scores(command):
    runs = Path(command[command.index("--out") + 1])
    with (runs.parent / "first.log").open("w") as log:
        first = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    end = time.monotonic() + PATIENCE
    half = []
    while not half or not records(runs):
        assert first.poll() is None, (runs.parent / "first.log").read_text()
        assert time.monotonic() < end
        done = [name for name in records(runs) if name.startswith("train-")]
        trained = [path.parents[1].name for path in runs.glob("*/checkpoints/epoch_000[12].pt")]
        half = [name for name in trained if f"train-{name}" not in done]
        time.sleep(0.02)
    kill(first)
    before = records(runs)
    assert 0 < len(before) < 10

    subprocess.run([*command, "--jobs", "2"], check=True, timeout=PATIENCE)
    after = records(runs)
    assert {name: after[name] for name in before} == before  # not run again
    assert len(after) == 10  # two rows, two folds, trained and evaluated, and pooled
    resumed = [name for name in half if f"train-{name}" not in before]
    logs = [(runs / "logs" / f"train-{name}.log").read_text() for name in resumed]
    assert any(re.search("Resuming after epoch|nothing left to do", log) for log in logs)

    with (runs / "tiny" / "table.csv").open(newline="", encoding="utf-8") as file:
        table = {row["row"]: row for row in csv.DictReader(file)}
    for name in ("four", "eight"):
        folds = [runs / f"{name}-seed0-fold{fold}" / "predictions.csv" for fold in (0, 1)]
        for fold, path in enumerate(folds):
            with path.open(newline="", encoding="utf-8") as file:
                assert {(row["fold"], row["seed"]) for row in csv.DictReader(file)} == {(str(fold), "0")}
        score = score_files(folds, runs.parent / "again")["image"]
        assert float(table[name]["value"]) == pytest.approx(score["auc"], abs=1e-6)
        limits = [float(table[name][key]) for key in ("low", "high")]
        assert limits == pytest.approx(score["auc_ci_bootstrap"], abs=1e-6)
        assert (table[name]["runs"], table[name]["over"]) == ("2", "folds")
        assert 1 <= float(table[name]["epoch"]) <= 3
        assert all(float(table[name][key]) > 0 for key in ("minutes", "parameters", "peak_memory_mib"))
    assert (float(table["four"]["paper"]), table["eight"]["paper"]) == (0.8, "")
    page = (runs / "tiny" / "index.html").read_text(encoding="utf-8")
    assert len(re.findall("python -m monai.bundle run training", page)) == 4
