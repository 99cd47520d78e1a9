"""A training that is stopped anywhere and resumed ends as one that was not; bad checkpoints end in one line."""

import logging
import math
import os
import pickle
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ROCAUC, EarlyStopHandler, TensorBoardStatsHandler, ValidationHandler
from monai.transforms import Compose, RandFlipd, RandGaussianNoised
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from monai_e2e.checkpoints.files import save_atomically
from monai_e2e.errors import UserError
from monai_e2e.handlers import BestModel, StagedTraining, TrainingCheckpoint, binary_scores, write_epoch
from monai_e2e.handlers.reproducible import SeedEpochs
from monai_e2e.networks import PatchClassifier

STAGES = [
    {"name": "head", "trainable": ["head"], "lr": 0.02, "epochs": 2, "weight_decay": 0.01},
    {"name": "all", "trainable": ["*"], "lr": 0.01, "epochs": 3},
]
EPOCHS = 5
ITERATIONS = 4  # of an epoch


class Stopped(Exception):
    """Stands for whatever ends a process."""


class Toy(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        return self.head(self.body(x).mean(dim=(2, 3)))


class Run:
    """A training in a folder, all of its objects new, as in a new process."""

    def __init__(self, folder, resume=False, workers=0, stages=STAGES, width=4, patience=None, keep=2, **arguments):
        torch.manual_seed(7)  # a new process seeds anew
        images = torch.randn(16, 1, 8, 8)
        data = [{"image": image, "label": i % 2} for i, image in enumerate(images)]
        augment = Compose([RandFlipd("image", prob=0.5, spatial_axis=1), RandGaussianNoised("image", prob=0.5)])
        self.network = Toy(width)
        self.optimizer = torch.optim.Adam(self.network.parameters())
        validation = DataLoader([{**s, "image": s["image"] + 1} for s in data], batch_size=8, num_workers=workers)
        self.evaluator = SupervisedEvaluator(
            device="cpu",
            val_data_loader=validation,
            network=self.network,
            key_val_metric={"val_auc": ROCAUC(output_transform=binary_scores)},
            val_handlers=[BestModel(folder, self.network)],
            decollate=False,
        )
        self.stages = StagedTraining(
            self.network,
            self.optimizer,
            stages,
            **({} if patience is None else {"validator": self.evaluator, "monitor": "val_auc", "patience": patience}),
        )
        self.checkpoint = TrainingCheckpoint(
            folder / "checkpoints",
            {"network": self.network, "optimizer": self.optimizer, "stages": self.stages},
            validator=self.evaluator,
            resume=resume,
            keep=keep,
            **{"fingerprint": {"seed": 3, "stages": stages}, **arguments},
        )
        self.trainer = SupervisedTrainer(
            device="cpu",
            max_epochs=StagedTraining.total_epochs(stages),
            train_data_loader=DataLoader(
                CacheDataset(data, augment, progress=False), batch_size=4, shuffle=True, num_workers=workers
            ),
            network=self.network,
            optimizer=self.optimizer,
            loss_function=nn.CrossEntropyLoss(),
            key_train_metric={"train_auc": ROCAUC(output_transform=binary_scores)},
            # Before the validation on purpose: it writes last wherever it stands.
            train_handlers=[
                self.stages,
                SeedEpochs(3),
                self.checkpoint,
                ValidationHandler(1, self.evaluator),
            ],
            decollate=False,
        )
        self.trained = []
        self.trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: self.trained.append(engine.state.epoch))
        self.folder = folder

    def run(self):
        self.trainer.run()
        return self

    def stop(self, event, engine=None):
        def raise_it(_engine):
            raise Stopped

        (engine or self.trainer).add_event_handler(event, raise_it)
        with pytest.raises(Stopped):
            self.trainer.run()

    def files(self):
        return sorted(path.name for path in (self.folder / "checkpoints").iterdir())

    def result(self):
        """Everything that must be the same to the bit."""
        states = [engine.state for engine in (self.trainer, self.evaluator)]
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "stages": self.stages.state_dict(),
            "counts": (self.trainer.state.epoch, self.trainer.state.iteration),
            "best": [(state.best_metric, state.best_metric_epoch, dict(state.metrics)) for state in states],
            "model.pt": (self.folder / "model.pt").read_bytes(),
            "files": self.files(),
            "checkpoint": torch.load(self.folder / "checkpoints" / self.files()[-1], weights_only=True),
        }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def assert_same(a, b):
    for key in a:
        assert same(a[key], b[key]), key


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return {n: Run(tmp_path_factory.mktemp("whole"), workers=n).run().result() for n in (0, 2)}


def lines(caplog, level=logging.INFO):
    records = [r for r in caplog.records if r.name.endswith(".checkpoints") and r.levelno >= level]
    return [record.getMessage() for record in records]


def ended_after(epoch, folder, **arguments):
    """A folder in which a training was stopped in the middle of the epoch after ``epoch``."""
    Run(folder, **arguments).stop(Events.ITERATION_COMPLETED(once=epoch * ITERATIONS + 2))
    return folder


@pytest.mark.parametrize(("epoch", "workers"), [*((epoch, 0) for epoch in range(EPOCHS)), (0, 2), (3, 2)])
def test_stopped_within_any_epoch_and_resumed_it_ends_to_the_bit_as_one_that_was_not(epoch, workers, whole, tmp_path):
    ended_after(epoch, tmp_path, workers=workers)
    torch.rand(epoch)
    resumed = Run(tmp_path, resume=True, workers=workers).run()
    assert resumed.trained == list(range(epoch + 1, EPOCHS + 1))
    assert_same(resumed.result(), whole[workers])


@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
def test_stopped_between_the_best_model_and_the_checkpoint_it_does_the_epoch_again(epoch, whole, tmp_path):
    run = Run(tmp_path)
    run.stop(Events.COMPLETED(event_filter=lambda _engine, _count: run.trainer.state.epoch == epoch), run.evaluator)
    resumed = Run(tmp_path, resume=True).run()
    assert resumed.trained[0] == epoch
    assert_same(resumed.result(), whole[0])


def test_stopped_time_and_again(whole, tmp_path):
    for iteration in (1, 6, 7, 12, 13, 15, 19):
        Run(tmp_path, resume=True).stop(
            Events.ITERATION_COMPLETED(event_filter=lambda engine, _count, at=iteration: engine.state.iteration == at)
        )
    assert_same(Run(tmp_path, resume=True).run().result(), whole[0])


def test_curves_show_each_step_once_though_a_stopped_epoch_is_done_again(tmp_path):
    for resume, stop in [(False, 11), (True, 14), (True, None)]:  # in epoch 3, in epoch 4, not at all
        with SummaryWriter(str(tmp_path / "tensorboard")) as writer:
            run = Run(tmp_path, resume, summary_writer=writer)
            writer.add_text("settings", "at each start", 0)
            TensorBoardStatsHandler(
                summary_writer=writer, epoch_event_writer=write_epoch("train"), output_transform=lambda _output: 0.5
            ).attach(run.trainer)
            if stop is None:
                run.run()
            else:
                run.stop(Events.ITERATION_COMPLETED(once=stop))
        time.sleep(1.1)  # files are read in the order of their names, which have the second
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()  # as TensorBoard without its data server reads
    steps = {tag: [event.step for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}
    assert steps["Loss"] == list(range(1, EPOCHS * ITERATIONS + 1))
    assert steps["train/auc"] == list(range(1, EPOCHS + 1))
    assert "settings/text_summary" in steps


def test_a_run_that_begins_anew_replaces_the_curves_of_the_one_before(tmp_path):
    for _ in range(2):
        with SummaryWriter(str(tmp_path / "tensorboard")) as writer:
            run = Run(tmp_path, summary_writer=writer)
            TensorBoardStatsHandler(summary_writer=writer, output_transform=lambda _output: 0.5).attach(run.trainer)
            run.run()
        time.sleep(1.1)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Tensors("Loss")] == list(range(1, EPOCHS * ITERATIONS + 1))


def test_the_best_model_before_the_stop_is_kept_from_worse_ones_after_it(tmp_path):
    ended_after(3, tmp_path)
    path = tmp_path / "checkpoints/epoch_0003.pt"
    content = torch.load(path, weights_only=True)
    content["best"]["validator"] = {"best_metric": 2.0, "best_metric_epoch": 2}  # no AUC is better
    save_atomically(content, path)
    before = (tmp_path / "model.pt").read_bytes()
    state = Run(tmp_path, resume=True).run().evaluator.state
    assert (state.best_metric, state.best_metric_epoch) == (2.0, 2)
    assert (tmp_path / "model.pt").read_bytes() == before


def test_a_run_that_had_ended_says_so_and_trains_nothing(whole, tmp_path, caplog):
    Run(tmp_path).run()
    with caplog.at_level(logging.INFO):
        again = Run(tmp_path, resume=True).run()
    assert again.trained == []
    assert (again.evaluator.state.best_metric, again.evaluator.state.best_metric_epoch) == whole[0]["best"][1][:2]
    assert same(again.network.state_dict(), whole[0]["network"])
    (line,) = lines(caplog)
    assert line.endswith(f"epoch_{EPOCHS:04d}.pt ended with epoch {EPOCHS}: nothing left to do.")


def test_a_run_that_early_stopping_ended_is_ended_too(tmp_path):
    first = Run(tmp_path, stages=[{**STAGES[1], "lr": 1e-30, "epochs": 9}], patience=2).run()
    assert first.trainer.state.epoch < 9
    again = Run(tmp_path, resume=True, stages=[{**STAGES[1], "lr": 1e-30, "epochs": 9}], patience=2).run()
    assert again.trained == []
    assert again.trainer.state.epoch == first.trainer.state.epoch


def test_early_stopping_counts_on_from_before_the_stop(tmp_path):
    plan = {"stages": [{**STAGES[1], "lr": 1e-30, "epochs": 9}], "patience": 4}
    (tmp_path / "whole").mkdir()
    whole = Run(tmp_path / "whole", **plan).run()
    assert 5 <= whole.trainer.state.epoch < 9
    ended_after(3, tmp_path / "stopped", **plan)
    resumed = Run(tmp_path / "stopped", resume=True, **plan).run()
    assert resumed.trained[0] == 4
    assert_same(resumed.result(), whole.result())


def test_one_that_was_asked_for_fewer_epochs_goes_on_when_asked_for_more(whole, tmp_path):
    first = Run(tmp_path)
    first.trainer.state.max_epochs = 2  # as --train#trainer#max_epochs sets it
    first.run()
    again = Run(tmp_path, resume=True).run()
    assert again.trained == [3, 4, 5]
    assert_same(again.result(), whole[0])


def test_ended_also_by_monais_early_stopping(tmp_path):
    for trained in ([1, 2], []):
        run = Run(tmp_path, resume=True)
        EarlyStopHandler(1, lambda engine: 0.0, run.trainer).attach(run.trainer)
        run.run()
        assert run.trained == trained


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_as_many_stay_as_asked(keep, tmp_path):
    run = Run(tmp_path, keep=keep).run()
    assert run.files() == [f"epoch_{epoch:04d}.pt" for epoch in range(EPOCHS - keep + 1, EPOCHS + 1)]


def test_a_checkpoint_holds_plain_values_alone(tmp_path):
    Run(tmp_path, fingerprint={"seed": np.int64(3), "rate": np.float64(0.5), "sizes": (1, 2)}).run()
    content = torch.load(tmp_path / "checkpoints/epoch_0005.pt", weights_only=True)
    kinds = set()

    def look(value):
        kinds.add(type(value))
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
            look(item)

    look(content)
    assert kinds <= {torch.Tensor, int, float, str, bool, list, tuple, dict, type(None)}
    assert content["fingerprint"] == {"seed": 3, "rate": 0.5, "sizes": (1, 2), "iterations of an epoch": ITERATIONS}
    assert (content["format"], content["epoch"], content["iteration"], content["ended"]) == (1, 5, 20, False)
    model = torch.load(tmp_path / "model.pt", weights_only=True)
    assert type(model) is dict
    assert {type(value) for value in model.values()} == {torch.Tensor}


def damage(path, how):
    content = path.read_bytes()
    if how == "flipped":
        weight = torch.load(path, weights_only=True)["objects"]["network"]["head.weight"]
        first = content.index(weight.numpy().tobytes())
        path.write_bytes(content[:first] + bytes([content[first] ^ 1]) + content[first + 1 :])
    else:
        path.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "zeros": bytes(len(content))}[how])


@pytest.mark.parametrize("how", ["truncated", "empty", "zeros", "flipped"])
def test_from_a_damaged_checkpoint_it_goes_back_to_the_one_before(how, whole, tmp_path, caplog):
    ended_after(4, tmp_path)
    damage(tmp_path / "checkpoints/epoch_0004.pt", how)
    with caplog.at_level(logging.INFO):
        resumed = Run(tmp_path, resume=True).run()
    assert resumed.trained == [4, 5]
    assert_same(resumed.result(), whole[0])
    warning, info = lines(caplog)
    assert "epoch_0004.pt can't be used (" in warning
    assert "Resuming after epoch 3 of 5" in info
    assert "epoch_0003.pt" in info


def test_where_all_are_damaged_it_does_not_begin_anew_by_itself(tmp_path):
    ended_after(2, tmp_path)
    for path in (tmp_path / "checkpoints").iterdir():
        damage(path, "truncated")
    with pytest.raises(UserError, match=r"none of the 2 checkpoints in .*/checkpoints can be read"):
        Run(tmp_path, resume=True)


def test_where_there_is_none_it_begins_anew_and_says_so(whole, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run = Run(tmp_path, resume=True).run()
    assert_same(run.result(), whole[0])
    assert lines(caplog) == [f"No checkpoint in {tmp_path / 'checkpoints'} to resume from: starting with epoch 1."]


def test_without_resume_it_begins_anew_and_replaces_an_earlier_runs_after_an_epoch(tmp_path, caplog):
    Run(tmp_path).run()
    with caplog.at_level(logging.INFO):
        Run(tmp_path).stop(Events.ITERATION_COMPLETED(once=2))
    (line,) = lines(caplog, logging.WARNING)
    assert "up to epoch 5. Starting over, since resume is false" in line
    run = Run(tmp_path)
    assert run.files() == ["epoch_0004.pt", "epoch_0005.pt"]
    run.stop(Events.ITERATION_COMPLETED(once=ITERATIONS + 1))
    assert run.files() == ["epoch_0001.pt"]


class Code:
    def __reduce__(self):
        return (os.system, ("touch ran",))


def test_a_checkpoint_that_carries_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended_after(2, tmp_path)
    path = tmp_path / "checkpoints/epoch_0003.pt"
    content = torch.load(tmp_path / "checkpoints/epoch_0002.pt", weights_only=True)
    for write in (
        lambda: torch.save({**content, "extra": Code()}, path),
        lambda: torch.save({**content, "extra": Code()}, path, _use_new_zipfile_serialization=False),
        lambda: path.write_bytes(pickle.dumps(Code())),
        lambda: torch.jit.save(torch.jit.script(nn.Linear(1, 1)), path),
    ):
        write()
        with pytest.raises(UserError, match=r"epoch_0003\.pt is refused.*may run code"):
            Run(tmp_path, resume=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": torch.zeros(1)}, r"epoch_0003\.pt is not a checkpoint of a training"),
        ({"format": 2}, r"epoch_0003\.pt has format 2, this version reads 1"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    save_atomically(content, tmp_path / "checkpoints/epoch_0003.pt")
    with pytest.raises(UserError, match=message):
        Run(tmp_path, resume=True)


def test_other_names_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("epoch_best.pt", "epoch_0000.pt", "notes.txt"):
        (tmp_path / "checkpoints" / name).write_text("mine")
    assert set(Run(tmp_path, resume=True).run().files()) > {"epoch_best.pt", "epoch_0000.pt", "notes.txt"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fingerprint": {"seed": 4, "stages": STAGES}}, "seed is 3 in the file and 4 in this training"),
        (
            {"fingerprint": {"seed": 3, "stages": [STAGES[0], {**STAGES[1], "lr": 0.5}]}},
            r"stages\[1\]\.lr is 0\.01 in the file and 0\.5 in this training",
        ),
        ({"fingerprint": {"seed": 3}}, "stages is in the file only"),
        (
            {"fingerprint": {"seed": 3, "stages": STAGES, "dataset": "ab12"}},
            "dataset is in this training only",
        ),
        (
            {"width": 5},
            r"epoch_0002\.pt is of another network: 'network\.body\.0\.weight' is \[4, 1, 3, 3\] in the file and "
            r"\[5, 1, 3, 3\] in this training",
        ),
    ],
)
def test_a_checkpoint_of_another_training_says_what_differs(arguments, message, tmp_path):
    ended_after(2, tmp_path)
    with pytest.raises(UserError, match=message):
        Run(tmp_path, resume=True, **arguments)


def resume_with(tmp_path, first, second):
    """Write a checkpoint of the objects ``first``, and resume with ``second``."""
    for objects, resume in ((first, False), (second, True)):
        engine = Engine(lambda engine, batch: None)
        engine.state.max_epochs, engine.state.epoch_length = 2, 1
        TrainingCheckpoint(tmp_path, objects, resume=resume).attach(engine)
        engine.run([1])


def test_networks_that_have_an_architecture_say_in_what_it_differs(tmp_path):
    first, second = (PatchClassifier("vgg16", width=width) for width in (0.0625, 0.125))
    with pytest.raises(UserError, match=r"'network\.\S+' is \[4.* in the file and \[8.*width is 0\.0625 in the file"):
        resume_with(tmp_path, {"network": first}, {"network": second})


def test_missing_and_additional_parts_are_named(tmp_path):
    first, second = nn.Linear(2, 1), nn.Sequential(nn.Linear(2, 1))
    with pytest.raises(UserError, match=r"'network\.0\.weight' is absent in the file and \[1, 2\] in this training"):
        resume_with(tmp_path, {"network": first}, {"network": second})
    with pytest.raises(UserError, match="holds network, but this training has network, optimizer"):
        resume_with(tmp_path, {"network": first}, {"network": first, "optimizer": torch.optim.SGD(first.parameters())})


def test_an_optimizer_of_other_groups_is_named(tmp_path):
    network = nn.Linear(2, 1)
    one = torch.optim.SGD(network.parameters())
    two = torch.optim.SGD([{"params": [p]} for p in network.parameters()])
    with pytest.raises(
        UserError, match=r"epoch_0002\.pt does not fit: 'optimizer' can't be restored from it \(.*group"
    ):
        resume_with(tmp_path, {"optimizer": one}, {"optimizer": two})


@pytest.mark.parametrize("last", [4, 2])
def test_schedulers_and_gradient_scalers_go_on(last, tmp_path):
    seen = {}
    for resume in (False, True):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3], gamma=0.1)

        def step(engine, batch, optimizer=optimizer):
            (parameter,) = optimizer.param_groups[0]["params"]
            engine.scaler.scale(parameter.sum()).backward()
            engine.scaler.step(optimizer)
            engine.scaler.update()

        def end_epoch(engine, optimizer=optimizer, scheduler=scheduler):
            scheduler.step()
            seen.setdefault(engine.state.epoch, []).append((optimizer.param_groups[0]["lr"], engine.scaler.get_scale()))

        engine = Engine(step)
        engine.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
        engine.state.max_epochs, engine.state.epoch_length = 4, 1
        TrainingCheckpoint(tmp_path, {"optimizer": optimizer, "scheduler": scheduler}, resume=resume).attach(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, end_epoch)
        if not resume and last < 4:
            engine.add_event_handler(Events.EPOCH_STARTED(once=last + 1), lambda engine: engine.terminate())
        engine.run([1])
    rates, scales = zip(*(seen[epoch][0] for epoch in (1, 2, 3, 4)), strict=True)
    assert rates == pytest.approx((0.1, 0.1, 0.01, 0.01))
    assert scales == (16.0, 32.0, 64.0, 128.0)
    assert all(len(values) == 1 for values in seen.values())


def test_what_cannot_be_saved_is_named_with_its_place(tmp_path):
    class Odd:
        def state_dict(self):
            return {"history": [1, {2}]}

        def load_state_dict(self, state):
            pass

    with pytest.raises(UserError, match=r"checkpoint\.objects\.odd\.history\[1\] is a set"):
        resume_with(tmp_path, {"odd": Odd()}, {})
    with pytest.raises(UserError, match=r"'odd' \(int\) has no state_dict"):
        TrainingCheckpoint(tmp_path, {"odd": 3})


@pytest.mark.parametrize("keep", [0, -1, 1.5, True, None])
def test_keep_must_be_a_number_of_files(keep, tmp_path):
    with pytest.raises(UserError, match=f"1 or more, got {keep}"):
        TrainingCheckpoint(tmp_path, {}, keep=keep)


def test_a_file_is_complete_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.pt"
    save_atomically({"a": 1}, path)

    def die(content, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", die)
    with pytest.raises(KeyboardInterrupt):
        save_atomically({"a": 2}, path)
    monkeypatch.undo()
    assert torch.load(path, weights_only=True) == {"a": 1}
    save_atomically({"a": 3}, path)
    assert torch.load(path, weights_only=True) == {"a": 3}
    assert [p.name for p in path.parent.iterdir()] == ["a.pt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_keeps_the_file_before(tmp_path):
    path = tmp_path / "a.pt"
    save_atomically({"a": 1}, path)
    (tmp_path / ".a.pt.partial").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"a\.pt can't be written \(No space left on device\)"):
        save_atomically({"a": torch.zeros(100_000)}, path)
    assert torch.load(path, weights_only=True) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.skipif(os.name != "posix", reason="needs limits of a process")
def test_a_disk_that_is_full_in_the_middle_is_told_as_the_system_says_it(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"a\.pt can't be written \(File too large\)"):
            save_atomically({"a": torch.zeros(50_000), "b": torch.zeros(50_000)}, tmp_path / "a.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/a\.pt can't be written"):
        save_atomically({}, tmp_path / "file" / "a.pt")


class Given(Metric):
    """A metric with given values, one for each epoch."""

    def __init__(self, values):
        self.values = iter(values)
        super().__init__(lambda output: (output["pred"], output["label"]))

    def reset(self):
        pass

    def update(self, output):
        pass

    def compute(self):
        return next(self.values)


def best_of(metrics, tmp_path, **arguments):
    """Evaluate once for each key metric: of which epoch the saved network is after each, and the evaluator's state."""
    network, path = nn.Linear(1, 1), tmp_path / "model.pt"
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=[{"image": torch.zeros(1, 1), "label": torch.zeros(1)}],
        network=network,
        key_val_metric={"val_auc": Given(metrics)},
        val_handlers=[BestModel(tmp_path, network)],
        decollate=False,
        **arguments,
    )
    saved = []
    for epoch in range(1, len(metrics) + 1):
        nn.init.constant_(network.weight, epoch)
        evaluator.run(epoch)
        saved.append(int(torch.load(path, weights_only=True)["weight"]) if path.exists() else 0)
    return saved, evaluator.state


def test_the_model_is_replaced_by_strictly_better_ones(tmp_path):
    saved, state = best_of([0.5, 0.5, 0.7, 0.6], tmp_path)
    assert saved == [1, 1, 3, 3]
    assert (state.best_metric, state.best_metric_epoch) == (0.7, 3)


def test_what_is_better_is_the_evaluators_judgement(tmp_path):
    saved, state = best_of([0.5, 0.4, 0.6], tmp_path, metric_cmp_fn=lambda current, best: current < best)
    assert saved == [1, 2, 2]
    assert (state.best_metric, state.best_metric_epoch) == (0.4, 2)


def test_nan_and_infinity_are_never_best(tmp_path, caplog):
    saved, state = best_of([math.nan, 0.6, math.inf, 0.5, 0.7, math.nan], tmp_path)
    assert saved == [0, 2, 2, 2, 5, 5]
    assert (state.best_metric, state.best_metric_epoch) == (0.7, 5)


def test_zip_files_hold_the_checksums_that_damage_is_found_by(tmp_path):
    save_atomically({"a": torch.arange(9)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert all(item.CRC for item in archive.infolist() if item.file_size)


def train_on_rank(rank, folder):
    """One of two processes: train and resume together, then look for checkpoints in different folders."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)

    def run(name, epochs, resume):
        network = nn.parallel.DistributedDataParallel(nn.Linear(1, 1))
        engine = Engine(lambda engine, batch: torch.rand(1).item())
        seen = []
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append((e.state.epoch, e.state.output)))
        engine.state.max_epochs, engine.state.epoch_length = 4, 1
        engine.add_event_handler(Events.EPOCH_STARTED(once=epochs + 1), lambda engine: engine.terminate())
        SeedEpochs(0).attach(engine)
        TrainingCheckpoint(folder / name, {"network": network}, resume=resume).attach(engine)
        engine.run([1])
        return seen

    seen = run("shared", 2, False)
    torch.distributed.barrier()
    files = sorted(path.name for path in (folder / "shared").iterdir())
    torch.distributed.barrier()
    seen += run("shared", 4, True)
    try:
        run("shared" if rank else "none here", 4, True)
        message = "none"
    except UserError as error:
        message = str(error)
    torch.save((seen, files, message), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_several_processes_write_once_and_resume_together(tmp_path):
    torch.multiprocessing.spawn(train_on_rank, (tmp_path,), nprocs=2)
    (first, files, message), (second, _, other) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert [epoch for epoch, _ in first] == [epoch for epoch, _ in second] == [1, 2, 3, 4]
    assert len({draw for _, draw in first + second}) == 8
    assert files == ["epoch_0001.pt", "epoch_0002.pt"]
    assert "different epochs" in message
    assert "[0, 4], by rank" in message
    assert other == message.replace("none here", "shared")
    content = torch.load(tmp_path / "shared/epoch_0004.pt", weights_only=True)
    assert set(content["objects"]["network"]) == {"weight", "bias"}  # readable by one process too
