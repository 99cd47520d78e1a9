"""Workers of a Dask scheduler, one of which is killed in the middle: nothing is lost, and nothing is there twice."""

import csv
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from distributed import LocalCluster

from monai_e2e.cli.main import main
from monai_e2e.data.phantom import write_inbreast
from monai_e2e.errors import UserError
from monai_e2e.experiment import Settings, run_experiment, runner
from monai_e2e.networks import PatchClassifier, WholeImageClassifier
from monai_e2e.work.cluster import cluster, run_on
from monai_e2e.work.streaming import stream_parallel

BUNDLES = Path(__file__).parents[2] / "bundles"
SIZE = [128, 96]
PLAN = {
    "title": "Made up",
    "about": "No training.",
    "seeds": [0, 1],
    "rows": {
        "four": {"bundle": "ddsm_whole", "from": "cbis-mass-patch"},
        "eight": {"bundle": "ddsm_whole", "from": "cbis-mass-patch", "set": {"top_blocks": ["8x1"]}},
        "both": {"predict": ["four", "eight"]},
    },
}


@pytest.fixture(scope="module")
def dask():
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        yield local


@pytest.fixture
def address(dask):
    return dask.scheduler_address.replace("tcp", "dask")


@pytest.fixture(scope="module")
def model():
    preparation = {"image_size": SIZE, "patch_size": 32}
    patch_net = PatchClassifier("vgg16", width=0.0625, pixel_mean=40.0, preparation=preparation)
    return WholeImageClassifier(patch_net, ["4x1"], pixel_mean=40.0, preparation=preparation).state_dict()


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inbreast")
    write_inbreast(folder, patients=12, rows=256, workers=1)
    return folder


class Killing:
    """Kill a worker as soon as something has been done; ``done`` is how much it was then."""

    def __init__(self, dask, count):
        self.pid, self.count, self.done = next(iter(dask.workers.values())).pid, count, 0
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join(60)

    def _watch(self):
        while (done := self.count()) < 3:
            time.sleep(0.002)
        os.kill(self.pid, signal.SIGKILL)
        self.done = done


def lines_of(path):
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_task_has_its_result_once_and_in_order(dask, address, tmp_path):
    def work(number):
        with (tmp_path / "done").open("a") as file:
            file.write(f"{number}\n")
        time.sleep(0.05)
        return 2 * number

    with Killing(dask, lambda: lines_of(tmp_path / "done")) as killing:
        results = list(stream_parallel(work, range(30), address))
    assert results == [(number, 2 * number) for number in range(30)]
    assert 3 <= killing.done < 30


def test_a_task_that_ends_its_workers_is_given_up_and_no_other(dask, address, monkeypatch):
    monkeypatch.setattr(dask.scheduler, "allowed_failures", 1)

    def work(number):
        return os._exit(1) if number == 2 else number

    results = dict(stream_parallel(work, range(4), address))
    assert results[2] is None
    with cluster(address) as client, pytest.raises(UserError, match="each worker that ran it was lost"):
        run_on(client, work, 2)


def test_a_folder_is_prepared_as_on_this_machine(dask, address, download, tmp_path):
    words = ["prepare", "inbreast", str(download)]
    options = ["--image-size", "64x48", "--workers"]
    assert main([*words, str(tmp_path / "here"), *options, "1"]) == 0
    finished = tmp_path / ".there.partial" / ".finished"
    with Killing(dask, lambda: len(list(finished.glob("*.json"))) if finished.is_dir() else 0) as killing:
        assert main([*words, str(tmp_path / "there"), *options, address]) == 0
    here, there = (json.loads((tmp_path / name / "datalist.json").read_text()) for name in ("here", "there"))
    assert there == here
    images = [{path.name: path.read_bytes() for path in (tmp_path / x / "images").iterdir()} for x in ("here", "there")]
    assert images[0] == images[1]
    assert 3 <= killing.done < len(images[0])


@pytest.mark.slow  # each worker imports PyTorch and MONAI
def test_images_are_predicted_as_on_this_machine(dask, address, download, model, tmp_path, monkeypatch):
    torch.save(model, tmp_path / "whole.pt")
    monkeypatch.chdir(download)  # where the workers aren't
    words = ["predict", str(tmp_path / "whole.pt"), "AllDICOMs"]
    assert main([*words, str(tmp_path / "here"), "--workers", "0"]) == 0
    with Killing(dask, lambda: lines_of(tmp_path / "there" / "predictions.csv")) as killing:
        assert main([*words, str(tmp_path / "there"), "--workers", address]) == 0
    here, there = (rows_of(tmp_path / name / "predictions.csv") for name in ("here", "there"))
    assert there == here
    assert not (tmp_path / "there" / "failures.csv").exists()
    assert 3 <= killing.done < len(here)


def test_an_experiment_has_each_row_of_its_table_once(dask, address, model, tmp_path, monkeypatch):
    data = {"name": "cbis-ddsm", "protocol": "official", "image_size": SIZE, "pixel_mean": 40.0}
    (tmp_path / "data").mkdir()
    partitions = {"training": [], "validation": [], "test": []}
    (tmp_path / "data" / "datalist.json").write_text(json.dumps(data | partitions))
    (tmp_path / "made.json").write_text(json.dumps(PLAN))
    torch.save(model, tmp_path / "model.pt")
    begun = tmp_path / "begun"

    def leave_what_it_makes(_argv, log, _variables):
        kind, _, name = log.stem.partition("-")
        with begun.open("a") as file:
            file.write(f"{log.stem}\n")
        time.sleep(0.3)
        folder = log.parents[1] / name
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "train":
            shutil.copy(begun.parent / "model.pt", folder / "model.pt")
        if kind in ("evaluate", "predict"):
            (folder / "predictions.csv").write_text("image,p_malignant,label\na,0.9,1\nb,0.2,0\nc,0.4,1\n")
        if kind in ("evaluate", "score"):
            image = {"auc": 0.75, "auc_ci_bootstrap": [0.4, 0.95], "n": 3}
            (folder / "score.json").write_text(json.dumps({"image": image}))
        return 0

    monkeypatch.setattr(runner, "run_process", leave_what_it_makes)
    place = {"out": tmp_path / "runs", "data": (str(tmp_path / "data"),), "bundles": BUNDLES}
    with Killing(dask, lambda: lines_of(begun)) as killing:
        outcome = run_experiment(str(tmp_path / "made.json"), Settings(**place, workers=address))
    assert outcome.failed == {}
    assert [done for _, done in outcome.commands] == [True] * 12
    table = rows_of(tmp_path / "runs" / "made" / "table.csv")
    assert [(row["row"], float(row["value"]), row["runs"]) for row in table] == [
        ("four", 0.75, "2"), ("eight", 0.75, "2"), ("both", 0.75, "2")
    ]  # fmt: skip
    names = begun.read_text().split()
    assert len(set(names)) == 12
    assert len(names) <= 13  # the command of the worker that was killed, again
    assert killing.done < 12


def test_a_scheduler_that_is_not_there_or_no_address_is_told(download, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("monai_e2e.work.cluster._SECONDS", 0.5)
    words = ["prepare", "inbreast", str(download), str(tmp_path / "out"), "--workers"]
    for address, told in (
        ("dask://127.0.0.1:1", "no Dask scheduler answers; start one with `dask scheduler`"),
        ("dask://nowhere", "write dask://HOST:PORT"),
    ):
        assert main([*words, address]) == 2
        assert told in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "many"])
    assert "write a number of processes or dask://HOST:PORT, not 'many'" in capsys.readouterr().err
