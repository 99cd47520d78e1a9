"""A loss that is no number ends the run and says where; a bar on terminals, and in logs the time that is left."""

import io
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import StatsHandler
from torch import nn

from monai_e2e.errors import UserError
from monai_e2e.handlers import checks
from monai_e2e.handlers.checks import EndOnMistake, Progress, StopOnBadLoss


def batches(count: int = 3, size: int = 2, **names) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.randn(size, 4, generator=generator),
            "label": torch.arange(size) % 2,
            "image_path": [f"/prepared/images/image{number}_{index}.png" for index in range(size)],
            "patient_id": [f"P{number}_{index}" for index in range(size)],
            **names,
        }
        for number in range(count)
    ]


def trainer(data: list[dict], handlers: list, **arguments) -> SupervisedTrainer:
    torch.manual_seed(0)
    network = nn.Linear(4, 2)
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=data,
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=0.1),
        loss_function=arguments.pop("loss_function", nn.CrossEntropyLoss()),
        train_handlers=handlers,
        decollate=False,
        **arguments,
    )


class TestStopOnBadLoss:
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_message_has_the_loss_and_where_and_on_which_images(self, value):
        calls = []

        def loss(logits: torch.Tensor, _labels: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return logits.sum() * 0 + (value if len(calls) == 5 else 1.0)

        with pytest.raises(UserError) as caught:
            trainer(batches(), [StopOnBadLoss()], loss_function=loss).run()
        message = str(caught.value)
        assert f"the loss is {value} in epoch 2, iteration 5" in message
        assert "on images/image1_0.png, images/image1_1.png:" in message
        assert "learning rate" in message
        assert "\n" not in message

    def test_only_the_images_whose_logits_are_no_numbers_are_named_where_others_are(self):
        data = batches(size=4)
        data[1]["image"][2] = float("nan")
        with pytest.raises(UserError, match=r"iteration 2, on images/image1_2\.png: look"):
            trainer(data, [StopOnBadLoss()]).run()

    def test_weights_stay_as_they_were_before_the_bad_batch(self):
        good, bad = batches()[:1], batches()[:2]
        bad[1]["image"][0] = float("nan")
        expected = trainer(good, [])
        expected.add_event_handler(Events.EPOCH_COMPLETED(once=1), expected.terminate)
        expected.run()
        stopped = trainer(bad, [StopOnBadLoss()])
        with pytest.raises(UserError):
            stopped.run()
        assert torch.equal(stopped.network.weight, expected.network.weight)

    def test_image_ids_are_preferred_to_paths_and_batches_may_have_neither(self):
        data = batches(1, image_id=["case a/1-1", "case b/1-1"])
        data[0]["image"] *= float("nan")
        with pytest.raises(UserError, match="on case a/1-1, case b/1-1: look"):
            trainer(data, [StopOnBadLoss()]).run()
        data = [{"image": data[0]["image"], "label": data[0]["label"]}]
        with pytest.raises(UserError, match="on a batch without names: look"):
            trainer(data, [StopOnBadLoss()]).run()

    def test_a_large_batch_is_named_in_part_with_the_number_of_the_rest(self):
        data = batches(1, size=20)
        data[0]["image"] *= float("nan")
        with pytest.raises(UserError, match=r"image0_15\.png and 4 more: look"):
            trainer(data, [StopOnBadLoss()]).run()

    def test_a_finite_loss_with_an_infinite_gradient_as_a_gradient_scaler_skips_it_does_not_stop(self):
        engine = trainer(batches(1), [StopOnBadLoss()])
        engine.network.weight.register_hook(lambda gradient: gradient * float("inf"))
        engine.add_event_handler(Events.EPOCH_COMPLETED(once=1), engine.terminate)
        engine.run()
        assert engine.state.iteration == 1

    def test_a_trainer_with_its_own_iteration_is_looked_at_after_it(self):
        def iterate(_engine: Engine, batch: dict) -> dict:
            return {"loss": batch["image"].sum() * float("nan")}

        with pytest.raises(UserError, match="the loss is nan in epoch 1, iteration 1, on images/image0_0"):
            trainer(batches(), [StopOnBadLoss()], iteration_update=iterate).run()

    def test_monais_stats_handler_after_it_writes_no_traceback_of_a_users_mistake(self, caplog):
        data = batches(1)
        data[0]["image"] *= float("nan")
        with caplog.at_level(logging.INFO), pytest.raises(UserError):
            trainer(data, [StopOnBadLoss(), StatsHandler(name="train", iteration_log=False)]).run()
        assert not any(record.exc_info for record in caplog.records)

    @pytest.mark.parametrize("others", [[], [StatsHandler(name="train", iteration_log=False)]])
    def test_other_errors_still_end_the_run(self, others):
        def loss(_logits: torch.Tensor, _labels: torch.Tensor) -> torch.Tensor:
            raise KeyError("a defect")

        with pytest.raises(KeyError, match="a defect"):
            trainer(batches(), [StopOnBadLoss(), *others], loss_function=loss).run()


class TestEndOnMistake:
    def validate(self, error: Exception, caplog) -> None:
        def fail(_engine: Engine) -> None:
            raise error

        evaluator = SupervisedEvaluator(
            device="cpu",
            val_data_loader=batches(1),
            network=nn.Linear(4, 2),
            val_handlers=[EndOnMistake(), StatsHandler(name="validate", iteration_log=False)],
        )
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, fail)
        with caplog.at_level(logging.INFO), pytest.raises(type(error), match="full"):
            evaluator.run()

    def test_a_validator_too_writes_no_traceback_of_a_users_mistake(self, caplog, capsys):
        self.validate(UserError("model.pt can't be written: the disk is full"), caplog)
        assert "Traceback" not in "".join([caplog.text, *capsys.readouterr()])

    def test_other_errors_still_end_the_run(self, caplog):
        self.validate(KeyError("a defect, in full"), caplog)

    @pytest.mark.parametrize("bundle", ["ddsm_patch", "ddsm_whole", "inbreast_transfer"])
    def test_every_bundle_names_one_before_monais_stats_handler(self, bundle):
        config = json.loads((Path(__file__).parents[2] / f"bundles/{bundle}/configs/train.json").read_text())
        for part in ("train", "validate"):
            targets = [handler["_target_"].rpartition(".")[2] for handler in config[part]["handlers"]]
            ending = "StopOnBadLoss" if part == "train" else "EndOnMistake"
            assert targets.index(ending) < targets.index("StatsHandler")


class TestProgress:
    @pytest.fixture
    def clock(self, monkeypatch) -> SimpleNamespace:
        clock = SimpleNamespace(now=0.0)
        monkeypatch.setattr(checks, "time", SimpleNamespace(monotonic=lambda: clock.now))
        return clock

    def run(self, clock: SimpleNamespace, seconds: list[float], caplog) -> list[str]:
        def iterate(engine: Engine, _batch: object) -> None:
            clock.now += seconds[engine.state.epoch - 1]

        engine = Engine(iterate)
        Progress().attach(engine)
        with caplog.at_level(logging.INFO, logger=checks.__name__):
            engine.run([0], max_epochs=len(seconds))
        return [record.getMessage() for record in caplog.records if record.name == checks.__name__]

    def test_one_line_for_each_epoch_with_the_hours_and_minutes_that_are_left(self, clock, caplog):
        assert self.run(clock, [3600.0, 3600.0, 90.0], caplog) == [
            "Epoch 1 of 3 took 3600.0 s, about 2 h 0 min left.",
            "Epoch 2 of 3 took 3600.0 s, about 1 h 0 min left.",
            "Epoch 3 of 3 took 90.0 s.",
        ]

    def test_the_last_three_epochs_count_since_stages_differ_in_speed(self, clock, caplog):
        lines = self.run(clock, [9000.0, 60.0, 60.0, 60.0, 60.0], caplog)
        assert lines[3] == "Epoch 4 of 5 took 60.0 s, about 1 min left."

    def test_what_other_handlers_do_at_the_end_of_an_epoch_counts_too(self, clock, caplog):
        engine = Engine(lambda _engine, _batch: None)
        Progress().attach(engine)

        @engine.on(Events.EPOCH_COMPLETED)
        def validate() -> None:
            clock.now += 30.0

        with caplog.at_level(logging.INFO, logger=checks.__name__):
            engine.run([0], max_epochs=2)
        assert "Epoch 1 of 2 took 30.0 s, about 1 min left." in caplog.messages

    def test_a_training_that_stops_early_has_nothing_left(self, caplog):
        engine = Engine(lambda _engine, _batch: None)
        engine.add_event_handler(Events.EPOCH_COMPLETED(once=2), engine.terminate)
        Progress().attach(engine)
        with caplog.at_level(logging.INFO, logger=checks.__name__):
            engine.run([0], max_epochs=9)
        assert len(caplog.messages) == 2
        assert "left" not in caplog.messages[1]

    def test_a_bar_on_a_terminal_alone(self, monkeypatch):
        for terminal in (True, False):
            stderr = io.StringIO()
            stderr.isatty = lambda terminal=terminal: terminal
            monkeypatch.setattr(sys, "stderr", stderr)
            engine = Engine(lambda _engine, _batch: None)
            Progress().attach(engine)
            engine.run(range(5), max_epochs=2)
            assert ("Epoch [2/2]" in stderr.getvalue()) == terminal

    def test_an_evaluator_gets_a_bar_and_no_line(self, caplog):
        evaluator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=batches(),
            network=nn.Linear(4, 2),
            val_handlers=[Progress("Validation")],
            decollate=False,
        )
        with caplog.at_level(logging.INFO, logger=checks.__name__):
            evaluator.run()
        assert not [record for record in caplog.records if record.name == checks.__name__]

    def test_one_rank_speaks(self, monkeypatch, caplog):
        monkeypatch.setattr("monai_e2e.handlers.checks.rank", lambda: 1)
        engine = Engine(lambda _engine, _batch: None)
        Progress().attach(engine)
        with caplog.at_level(logging.INFO, logger=checks.__name__):
            engine.run([0], max_epochs=1)
        assert not caplog.messages
