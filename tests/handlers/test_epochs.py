"""One line in the log for an epoch, and its scalars in groups."""

import logging

import pytest
from ignite.engine import Engine
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from monai_e2e.handlers import print_epoch, write_epoch


@pytest.fixture
def engine() -> Engine:
    engine = Engine(lambda _engine, _batch: None)
    engine.state.epoch = 3
    engine.state.metrics = {"val_auc": 0.85, "val_auc_low": 0.781, "val_auc_high": 0.912, "val_loss": 0.61}
    engine.state.key_metric_name, engine.state.best_metric, engine.state.best_metric_epoch = "val_auc", 0.87, 2
    return engine


def printed(engine: Engine, caplog) -> str:
    with caplog.at_level(logging.INFO):
        print_epoch("validation", best=True)(engine)
    (line,) = caplog.messages
    return line


def test_the_metrics_with_their_interval_and_an_earlier_best_are_one_line(engine, caplog):
    line = "Epoch 3, validation: AUC 0.850 (95 % 0.78–0.91), loss 0.610, best AUC 0.870 at epoch 2"
    assert printed(engine, caplog) == line


def test_a_new_best_is_said_once(engine, caplog):
    engine.state.best_metric_epoch = 3
    assert printed(engine, caplog).endswith("loss 0.610")


def test_of_training_no_best_is_told(engine, caplog):
    with caplog.at_level(logging.INFO):
        print_epoch("training")(engine)
    assert "best" not in caplog.text


def test_what_is_no_scalar_or_not_there_is_left_out(engine, caplog):
    engine.state.metrics = {"val_auc": float("nan"), "confusion": [[1, 0], [0, 1]]}
    engine.state.best_metric_epoch = -1
    assert printed(engine, caplog) == "Epoch 3, validation: AUC nan"


def test_scalars_of_training_and_validation_have_the_same_name_in_two_groups(engine, tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        write_epoch("validation")(engine, writer)
        engine.state.metrics = {"train_auc": 0.9, "train_loss": 0.5}
        engine.state.stage = 2
        write_epoch("train", ["stage", "absent"])(engine, writer)
    events = EventAccumulator(str(tmp_path)).Reload()
    validation = {f"validation/{name}" for name in ("auc", "auc_low", "auc_high", "loss")}
    assert set(events.Tags()["scalars"]) == validation | {"train/auc", "train/loss", "train/stage"}
    assert events.Scalars("train/stage")[0].step == 3
