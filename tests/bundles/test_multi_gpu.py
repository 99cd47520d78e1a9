"""Training by two processes, as ``torchrun`` starts them; on the CPU they talk by Gloo, on GPUs by NCCL."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from monai_e2e.data import load_datalist, phantom_dataset
from monai_e2e.losses import BatchBalancedCrossEntropyLoss
from monai_e2e.networks import PatchClassifier, WholeImageClassifier, read_state

BUNDLES = Path(__file__).parents[2] / "bundles"
SIZE = [128, 96]
PLAN = [
    {"name": "top layers", "trainable": ["top.*", "head"], "lr": 1e-3, "epochs": 1},
    {"name": "all layers", "trainable": ["*"], "lr": 1e-3, "epochs": 1},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training of ddsm_whole in two stages by two processes → prepared folder and results."""
    root = tmp_path_factory.mktemp("two-processes")
    prepared = phantom_dataset("cbis-ddsm", patients=30, image_size=SIZE, folder=root, workers=2)
    configs = BUNDLES / "ddsm_whole" / "configs"
    settings = {
        "config_file": f"['{configs}/train.json','{configs}/multi_gpu_train.json']",
        "recipe": "phantom",
        "dataset_dir": prepared,
        "image_size": json.dumps(SIZE),
        "width": 0.0625,
        "weights": "scratch",
        "batch_size": 4,
        "stages": json.dumps(PLAN),
        "model_dir": root / "models",
        "output_dir": root / "out",
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "monai.bundle", "run", "training"]
    for key, value in settings.items():
        command += [f"--{key}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return prepared, root


def test_one_process_writes_and_each_epoch_is_recorded_once(run):
    _, root = run
    lines = [json.loads(line) for line in (root / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert [line["stage"] for line in lines] == [1, 2]
    assert len(list((root / "out" / "tensorboard").glob("events.*"))) == 1
    assert sorted(path.name for path in (root / "out" / "checkpoints").iterdir()) == ["epoch_0001.pt", "epoch_0002.pt"]


def test_the_auc_is_that_of_all_validation_images_and_not_of_one_process_alone(run, tmp_path):
    prepared, root = run
    lines = [json.loads(line) for line in (root / "out" / "metrics.jsonl").read_text().splitlines()]
    workflow = ConfigWorkflow(
        [str(BUNDLES / "ddsm_whole" / "configs" / f"{name}.json") for name in ("train", "evaluate")],
        run_id="evaluating",
        logging_file=False,
        recipe="phantom",
        dataset_dir=prepared,
        image_size=SIZE,
        partition="validation",
        checkpoint=str(root / "models" / "model.pt"),
        output_dir=str(tmp_path),
    )
    workflow.initialize()
    workflow.run()
    score = json.loads((tmp_path / "score.json").read_text())["image"]
    assert score["n"] == len(load_datalist(prepared, "validation"))
    recorded = [value for line in lines for key, value in _flat(line) if key.endswith("val_auc")]
    assert max(recorded) == pytest.approx(score["auc"], abs=1e-6)


def test_the_checkpoint_has_the_networks_own_names(run):
    _, root = run
    assert not [key for key in read_state(root / "models" / "model.pt") if key.startswith("module.")]


def _flat(line: dict, prefix: str = "") -> list[tuple[str, float]]:
    found = []
    for key, value in line.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found


def _network() -> WholeImageClassifier:
    torch.manual_seed(0)
    network = WholeImageClassifier(PatchClassifier("resnet50", width=0.0625), ["[4-4-8]x1"])
    return network.eval()  # batch normalisation by its running statistics, else the batch's size would count


def _steps(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Losses of five optimizer steps."""
    optimizer, loss_function = torch.optim.Adam(network.parameters(), lr=1e-3), BatchBalancedCrossEntropyLoss()
    losses = []
    for step in range(5):
        optimizer.zero_grad()
        loss = loss_function(network(images[step]), labels[step])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    images, labels = torch.load(f"{folder}/data.pt", weights_only=True)
    network = DistributedDataParallel(_network(), find_unused_parameters=True)
    losses = torch.tensor(_steps(network, images[:, rank : rank + 1], labels[:, rank : rank + 1]))
    torch.distributed.all_reduce(losses)
    if rank == 0:
        torch.save(losses / 2, f"{folder}/losses.pt")
    # Gloo may wait for ever when one process takes the group down while the other or its reducer still has it.
    del network
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_with_batch_1_have_the_losses_of_one_with_batch_2(tmp_path):
    images = torch.randn(5, 2, 3, 64, 64)
    labels = torch.tensor([[0, 1], [1, 1], [1, 0], [0, 0], [0, 1]])
    torch.save((images, labels), tmp_path / "data.pt")
    processes = torch.multiprocessing.spawn(_process, args=(str(tmp_path),), nprocs=2, join=False)
    deadline = time.monotonic() + 120
    while not processes.join(timeout=5):
        if time.monotonic() > deadline:
            for process in processes.processes:
                process.kill()
            pytest.fail("the processes did not end")
    together = torch.load(tmp_path / "losses.pt", weights_only=True)
    torch.testing.assert_close(together, torch.tensor(_steps(_network(), images, labels)), rtol=1e-4, atol=1e-5)
