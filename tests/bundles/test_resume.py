"""A bundle's training, killed time and again, ends to the bit as one that was left alone."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

BUNDLES = Path(__file__).parents[2] / "bundles"
TRAIN = BUNDLES / "ddsm_whole/configs/train.json"
CONFIGS = [TRAIN]
STAGES = [
    {"name": "top layers", "trainable": ["top.*", "head"], "lr": 0.003, "epochs": 3, "weight_decay": 0.002},
    {"name": "all layers", "trainable": ["*"], "lr": 0.001, "epochs": 3, "weight_decay": 0.002},
]
EPOCHS = 6
KILLS = 10
PATIENCE = 300  # seconds for a process to get anywhere


class Training:
    """A training by the command that users have, in a process of its own."""

    def __init__(self, folder, phantoms, workers, resume):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        keys = {
            "recipe": "phantom",
            "weights": "scratch",
            "backbone": "resnet50",
            "width": 0.0625,
            "image_size": [128, 96],
            "batch_size": 8,
            "stages": STAGES,
            "num_workers": workers,
            "dataset_dir": str(phantoms),
            "output_dir": str(folder),
            "model_dir": str(folder),
            "resume": str(resume).lower(),
        }
        command = [sys.executable, "-m", "monai.bundle", "run", "training"]
        command += ["--config_file", json.dumps([str(path) for path in CONFIGS])]
        command += ["--logging_file", str(TRAIN.with_name("logging.conf"))]
        for key, value in keys.items():
            command += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
        self.log = folder / f"{len(list(folder.glob('*.log')))}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def until(self, reached):
        """Wait for ``reached()`` and give the moment."""
        end = time.monotonic() + PATIENCE
        while not reached():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.002)
        return time.monotonic()

    def started(self):
        return re.search(r"Resuming after epoch|starting with epoch 1", self.log.read_text(), re.IGNORECASE) is not None

    def checkpoint(self, epoch):
        return self.folder / "checkpoints" / f"epoch_{epoch:04d}.pt"

    def kill_at(self, moment, seconds_per_epoch):
        """Kill at a moment in epochs, such as 2.5 for half an epoch after the second has ended."""
        epoch = int(moment)
        begun = self.until(self.started)
        if epoch and not self.checkpoint(epoch).exists():
            begun = self.until(self.checkpoint(epoch).exists)
        time.sleep(max(0.0, begun + (moment - epoch) * seconds_per_epoch - time.monotonic()))
        alive = self.process.poll() is None
        self.process.kill()
        assert alive, f"the training had ended before it was killed at {moment} epochs:\n{self.log.read_text()}"
        assert self.process.wait() == -signal.SIGKILL

    def finish(self):
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()
        return self


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_ten_times_it_ends_to_the_bit_as_one_that_was_not(workers, phantoms, tmp_path):
    whole = Training(tmp_path / "whole", phantoms, workers, resume=False)
    times = [whole.until(whole.checkpoint(epoch).exists) for epoch in (1, EPOCHS)]
    whole.finish()
    seconds_per_epoch = (times[1] - times[0]) / (EPOCHS - 1)

    chance = random.Random(workers)
    for moment in sorted(chance.uniform(0, EPOCHS - 0.5) for _ in range(KILLS)):
        Training(tmp_path / "killed", phantoms, workers, resume=True).kill_at(moment, seconds_per_epoch)
    killed = Training(tmp_path / "killed", phantoms, workers, resume=True).finish()

    logs = [path.read_text() for path in sorted(killed.folder.glob("*.log"), key=lambda path: int(path.stem))]
    resumed = [re.search(r"Resuming after epoch (\d+)", log) for log in logs]
    assert len(logs) == KILLS + 1
    assert len({match.group(1) for match in resumed if match}) >= 3
    a, b = (torch.load(run.checkpoint(EPOCHS), weights_only=True) for run in (whole, killed))
    for key in a:
        assert same(a[key], b[key]), key
    assert (whole.folder / "model.pt").read_bytes() == (killed.folder / "model.pt").read_bytes()
    best = [re.findall(r"Best val_auc \S+ at epoch \d+", run.log.read_text()) for run in (whole, killed)]
    assert best[0] == best[1] != []

    again = Training(killed.folder, phantoms, workers, resume=True).finish()
    assert "nothing left to do" in again.log.read_text()
    assert same(torch.load(again.checkpoint(EPOCHS), weights_only=True), a)
