"""Training by two processes, as ``torchrun`` starts them; on the CPU they talk by Gloo, on GPUs by NCCL."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from monai.bundle import ConfigWorkflow
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from monai_e2e.data import load_datalist
from monai_e2e.losses import BatchBalancedCrossEntropyLoss
from monai_e2e.networks import PatchClassifier, WholeImageClassifier, read_state

BUNDLES = Path(__file__).parents[2] / "bundles"
SIZE = [128, 96]
PLAN = [
    {"name": "top layers", "trainable": ["top.*", "head"], "lr": 1e-3, "epochs": 1},
    {"name": "all layers", "trainable": ["*"], "lr": 1e-3, "epochs": 1},
]


#: How ``torchrun`` is told of two processes of one machine, and of one process each of two machines.
ONE_MACHINE = [["--standalone", "--nproc_per_node=2"]]
TWO_MACHINES = [
    ["--nnodes=2", f"--node_rank={node}", "--nproc_per_node=1", "--master_addr=127.0.0.1", "--master_port=29577"]
    for node in range(2)
]


class Job:
    """A training of ddsm_whole by two processes, by the command that users have."""

    def __init__(self, phantoms, folder, overlays=(), torchrun=ONE_MACHINE[0], **keys):
        self.folder = folder
        configs = BUNDLES / "ddsm_whole" / "configs"
        settings = {
            "config_file": str([str(configs / "train.json"), str(configs / "multi_gpu_train.json"), *overlays]),
            "recipe": "phantom",
            "dataset_dir": phantoms,
            "image_size": SIZE,
            "width": 0.0625,
            "weights": "scratch",
            "batch_size": 4,
            "stages": PLAN,
            "model_dir": str(folder / "models"),
            "output_dir": str(folder / "out"),
            **keys,
        }
        command = [sys.executable, "-m", "torch.distributed.run", *torchrun, "-m", "monai.bundle", "run", "training"]
        for key, value in settings.items():
            command += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
        with (folder / "log").open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def processes(self) -> list[psutil.Process]:
        """All that live: torchrun, its two, and the loaders' processes, whoever is their parent by now."""
        named = [(process, process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
        return [process for process, words in named if str(self.folder / "out") in words]

    def wait(self, seconds: float) -> int:
        """Exit status; fails when the job doesn't end in time or leaves a process behind."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the job did not end in {seconds} s:\n{self.log[-3000:]}")
        end = time.monotonic() + 30
        while self.processes():
            assert time.monotonic() < end, f"{self.processes()} are left:\n{self.log[-3000:]}"
            time.sleep(0.5)
        return status

    def until(self, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + 200
        while not reached():
            assert self.process.poll() is None, self.log[-3000:]
            assert time.monotonic() < end, self.log[-3000:]
            time.sleep(0.02)

    def trained_for_an_epoch(self) -> bool:
        return (self.folder / "out/checkpoints/epoch_0001.pt").exists()

    def process_of_rank(self, rank: int) -> psutil.Process:
        children = psutil.Process(self.process.pid).children()
        (found,) = (process for process in children if process.environ().get("LOCAL_RANK") == str(rank))
        return found

    def clean_up(self) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def start(phantoms, tmp_path):
    jobs = []

    def start(**settings):
        jobs.append(Job(phantoms, tmp_path, **settings))
        return jobs[-1]

    yield start
    for job in jobs:
        job.clean_up()


@pytest.fixture(
    scope="module",
    params=[ONE_MACHINE, pytest.param(TWO_MACHINES, marks=pytest.mark.slow)],
    ids=["one", "two machines"],
)
def trained(phantoms, tmp_path_factory, request):
    """A training in two stages → its results."""
    folder = tmp_path_factory.mktemp("two-processes")
    jobs = [Job(phantoms, folder, torchrun=torchrun) for torchrun in request.param]
    try:
        for job in jobs:
            assert job.wait(280) == 0, job.log[-3000:]
    finally:
        for job in jobs:
            job.clean_up()
    return folder


def test_one_process_writes_and_each_epoch_is_recorded_once(trained):
    lines = [json.loads(line) for line in (trained / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert [line["stage"] for line in lines] == [1, 2]
    assert len(list((trained / "out" / "tensorboard").glob("events.*"))) == 1
    assert sorted(path.name for path in (trained / "out" / "checkpoints").iterdir()) == [
        "epoch_0001.pt",
        "epoch_0002.pt",
    ]


def test_the_auc_is_that_of_all_validation_images_and_not_of_one_process_alone(trained, phantoms, tmp_path):
    lines = [json.loads(line) for line in (trained / "out" / "metrics.jsonl").read_text().splitlines()]
    workflow = ConfigWorkflow(
        [str(BUNDLES / "ddsm_whole" / "configs" / f"{name}.json") for name in ("train", "evaluate")],
        run_id="evaluating",
        logging_file=False,
        recipe="phantom",
        dataset_dir=phantoms,
        image_size=SIZE,
        partition="validation",
        checkpoint=str(trained / "models" / "model.pt"),
        output_dir=str(tmp_path),
    )
    workflow.initialize()
    workflow.run()
    score = json.loads((tmp_path / "score.json").read_text())["image"]
    assert score["n"] == len(load_datalist(phantoms, "validation"))
    recorded = [value for line in lines for key, value in _flat(line) if key.endswith("val_auc")]
    assert max(recorded) == pytest.approx(score["auc"], abs=1e-6)


def test_the_checkpoint_has_the_networks_own_names(trained):
    assert not [key for key in read_state(trained / "models" / "model.pt") if key.startswith("module.")]


RANKS = [1, pytest.param(0, marks=pytest.mark.slow)]
LONG = [{"name": "all layers", "trainable": ["*"], "lr": 1e-3, "epochs": 1000}]


@pytest.mark.parametrize("rank", RANKS)
def test_a_killed_process_ends_the_job_with_an_error_and_leaves_none_behind(rank, start):
    job = start(stages=LONG, num_workers=1, batch_size=2)
    job.until(job.trained_for_an_epoch)
    killed = job.process_of_rank(rank)

    def loading() -> bool:
        """Whether its loader's process is past its start, when PyTorch's would not notice that its parent dies."""
        return any(0.2 < time.time() - process.create_time() < 2 for process in killed.children())

    job.until(loading)
    killed.kill()
    assert job.wait(60) != 0
    assert "Signal 9 (SIGKILL)" in job.log


@pytest.mark.parametrize("rank", RANKS)
def test_an_error_in_one_process_ends_the_job_with_it(rank, start, tmp_path):
    weight = f"$torch.tensor([float('nan')] * 2) if dist.get_rank() == {rank} else None"
    loss = {"_target_": "torch.nn.CrossEntropyLoss", "weight": weight}
    (tmp_path / "bad.json").write_text(json.dumps({"loss": loss}))
    job = start(stages=LONG, overlays=[str(tmp_path / "bad.json")])
    assert job.wait(200) != 0
    assert job.log.count("error: the loss is nan in epoch 1, iteration 1, on ") == 1


@pytest.mark.slow
def test_a_process_that_is_stuck_ends_the_job_when_the_others_have_waited_for_the_timeout(start):
    job = start(stages=LONG, timeout_minutes=0.5)
    job.until(job.trained_for_an_epoch)
    job.process_of_rank(1).suspend()
    assert job.wait(30 + 30 + 60) != 0  # torchrun gives a process half a minute to end before it kills it


@pytest.mark.slow
def test_shared_batch_normalisation_is_refused_on_processors(start):
    job = start(sync_batchnorm=True)
    assert job.wait(200) != 0
    assert "error: sync_batchnorm: PyTorch shares batch normalisation between GPUs only" in job.log


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
    processes = torch.multiprocessing.start_processes(
        _process, args=(str(tmp_path),), nprocs=2, join=False, start_method="forkserver"
    )
    deadline = time.monotonic() + 120
    while not processes.join(timeout=5):
        if time.monotonic() > deadline:
            for process in processes.processes:
                process.kill()
            pytest.fail("the processes did not end")
    together = torch.load(tmp_path / "losses.pt", weights_only=True)
    torch.testing.assert_close(together, torch.tensor(_steps(_network(), images, labels)), rtol=1e-4, atol=1e-5)
