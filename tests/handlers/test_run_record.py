"""The run's folder: what was run on what, one line for each epoch, and none twice when a run is resumed."""

import hashlib
import json
import math
import re
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from monai_e2e.errors import UserError
from monai_e2e.handlers.run_record import RunRecord

BATCHES = [0, 1]


def trainer(*handlers: RunRecord, validator: Engine | None = None, validate_every: int = 1) -> Engine:
    """An engine whose metrics tell the epoch, as trainers do, with a validator that runs before the handlers."""
    engine = Engine(lambda _engine, batch: batch)

    @engine.on(Events.EPOCH_STARTED)
    def _stage() -> None:
        engine.state.stage, engine.state.learning_rate = 1, 0.1

    @engine.on(Events.EPOCH_COMPLETED)
    def _metrics() -> None:
        engine.state.metrics = {"train_loss": engine.state.epoch / 10}

    if validator is not None:

        @engine.on(Events.EPOCH_COMPLETED(every=validate_every))
        def _validate() -> None:
            validator.state.epoch = engine.state.epoch - 1
            validator.run(BATCHES, max_epochs=engine.state.epoch)

    for handler in handlers:
        handler.attach(engine)
    return engine


def make_validator(**metrics) -> Engine:
    validator = Engine(lambda _engine, batch: batch)
    validator.add_event_handler(Events.EPOCH_COMPLETED, lambda: setattr(validator.state, "metrics", metrics))
    return validator


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def resume(folder: Path, epoch: int, max_epochs: int) -> None:
    engine = trainer(RunRecord(folder))
    engine.add_event_handler(Events.STARTED, lambda: vars(engine.state).update(epoch=epoch, iteration=2 * epoch))
    engine.run(BATCHES, max_epochs=max_epochs)


class TestMetrics:
    def test_one_line_for_each_epoch_with_state_and_metrics_of_trainer_and_validator(self, tmp_path):
        validator = make_validator(val_auc=0.75)
        trainer(RunRecord(tmp_path, validator=validator), validator=validator).run(BATCHES, max_epochs=2)
        first, second = lines(tmp_path)
        seconds = first.pop("seconds")
        assert 0 <= seconds < 60
        assert 10 < first.pop("peak_memory_mib") < 1_000_000
        assert first == {
            "epoch": 1,
            "iteration": 2,
            "stage": 1,
            "learning_rate": 0.1,
            "train_loss": 0.1,
            "val_auc": 0.75,
        }
        assert (second["epoch"], second["iteration"], second["train_loss"]) == (2, 4, 0.2)

    def test_an_epoch_without_validation_has_no_old_result_of_it(self, tmp_path):
        validator = make_validator(val_auc=0.75)
        engine = trainer(RunRecord(tmp_path, validator=validator), validator=validator, validate_every=2)
        engine.run(BATCHES, max_epochs=3)
        assert ["val_auc" in line for line in lines(tmp_path)] == [False, True, False]

    def test_metrics_of_one_name_stay_apart(self, tmp_path):
        validator = make_validator(train_loss=7)
        trainer(RunRecord(tmp_path, validator=validator), validator=validator).run(BATCHES, max_epochs=1)
        assert (lines(tmp_path)[0]["train_loss"], lines(tmp_path)[0]["val_train_loss"]) == (0.1, 7)

    def test_what_is_no_number_is_null_and_tensors_are_numbers(self, tmp_path):
        values = {"nan": math.nan, "inf": math.inf, "tensor": torch.tensor(0.5), "list": torch.tensor([1.0, math.nan])}
        validator = make_validator(**values)
        trainer(RunRecord(tmp_path, validator=validator), validator=validator).run(BATCHES, max_epochs=1)
        text = (tmp_path / "metrics.jsonl").read_text()
        line = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert {name: line[name] for name in values} == {"nan": None, "inf": None, "tensor": 0.5, "list": [1.0, None]}

    def test_a_resumed_run_goes_on_after_the_earlier_lines_and_doubles_no_epoch(self, tmp_path):
        trainer(RunRecord(tmp_path)).run(BATCHES, max_epochs=3)
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 4, "itera')  # killed while writing
        resume(tmp_path, epoch=2, max_epochs=5)
        assert [line["epoch"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]
        assert [line["iteration"] for line in lines(tmp_path)] == [2, 4, 6, 8, 10]

    def test_a_run_that_starts_anew_drops_an_earlier_ones_lines(self, tmp_path):
        trainer(RunRecord(tmp_path)).run(BATCHES, max_epochs=3)
        trainer(RunRecord(tmp_path)).run(BATCHES, max_epochs=1)
        assert [line["epoch"] for line in lines(tmp_path)] == [1]


class TestRecord:
    def test_has_command_versions_device_seed_and_revision(self, tmp_path):
        trainer(RunRecord(tmp_path, seed=3)).run(BATCHES, max_epochs=1)
        run = record(tmp_path)
        assert run["seed"] == 3
        assert sys.orig_argv[0] in run["command"]
        assert run["versions"]["torch"] == torch.__version__
        assert {"python", "monai-e2e", "monai", "pytorch-ignite", "numpy"} <= set(run["versions"])
        assert re.search(r"of \d+ cores", run["device"])
        assert re.fullmatch(r"[0-9a-f]{40}|unknown", run["git"]["revision"])
        assert run["started"] <= run["ended"]
        assert (run["from_epoch"], run["epochs"], run["processes"], run["earlier"]) == (1, 1, 1, [])

    def test_names_the_best_validation_and_a_run_that_was_killed_has_no_end(self, tmp_path):
        validator = make_validator(val_auc=0.75)
        vars(validator.state).update(key_metric_name="val_auc", best_metric=0.75, best_metric_epoch=1)
        engine = trainer(RunRecord(tmp_path, validator=validator), validator=validator)

        @engine.on(Events.ITERATION_COMPLETED(once=3))
        def _kill() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            engine.run(BATCHES, max_epochs=2)
        assert "ended" not in record(tmp_path)
        engine = trainer(RunRecord(tmp_path, validator=validator), validator=validator)
        engine.run(BATCHES, max_epochs=1)
        best = {"key_metric_name": "val_auc", "best_metric": 0.75, "best_metric_epoch": 1}
        assert record(tmp_path)["best"] == best

    def test_a_resumed_run_keeps_the_records_of_the_starts_before_it(self, tmp_path):
        trainer(RunRecord(tmp_path, seed=3)).run(BATCHES, max_epochs=2)
        resume(tmp_path, epoch=2, max_epochs=3)
        resume(tmp_path, epoch=3, max_epochs=4)
        run = record(tmp_path)
        assert run["from_epoch"] == 4
        assert [start["from_epoch"] for start in run["earlier"]] == [1, 3]
        assert run["earlier"][0]["seed"] == 3
        assert not any("earlier" in start or "config" in start for start in run["earlier"])

    def test_resuming_a_run_that_has_ended_leaves_its_record_alone(self, tmp_path):
        trainer(RunRecord(tmp_path)).run(BATCHES, max_epochs=2)
        before = (tmp_path / "run.json").read_bytes()
        engine = trainer(RunRecord(tmp_path))
        engine.add_event_handler(Events.STARTED, engine.terminate)
        engine.run(BATCHES, max_epochs=2)
        assert (tmp_path / "run.json").read_bytes() == before

    def test_fingerprints_the_data_list(self, tmp_path):
        datalist = {"name": "inbreast", "protocol": "paper", "seed": 4, "image_size": [128, 96], "training": []}
        (tmp_path / "datalist.json").write_text(json.dumps(datalist))
        trainer(RunRecord(tmp_path / "run", prepared_dir=tmp_path)).run(BATCHES, max_epochs=1)
        dataset = record(tmp_path / "run")["dataset"]
        assert dataset["sha256"] == hashlib.sha256((tmp_path / "datalist.json").read_bytes()).hexdigest()
        assert (dataset["name"], dataset["protocol"], dataset["seed"]) == ("inbreast", "paper", 4)

    @pytest.mark.parametrize("gone", [False, True])
    def test_data_that_are_prepared_anew_meanwhile_are_told_once_and_noted(self, gone, tmp_path, caplog):
        path = tmp_path / "datalist.json"
        path.write_text(json.dumps({"name": "inbreast", "training": []}))
        engine = trainer(RunRecord(tmp_path / "run", prepared_dir=tmp_path))

        @engine.on(Events.EPOCH_STARTED(once=2))
        def _prepare_again() -> None:
            path.unlink() if gone else path.write_text(json.dumps({"name": "inbreast", "training": [1]}))

        engine.run(BATCHES, max_epochs=4)
        told = [message for message in caplog.messages if str(tmp_path) in message]
        assert len(told) == (0 if gone else 1)  # images in memory are trained on whatever becomes of the folder
        assert all(
            "prepared again in epoch 2" in message and "don't prepare into a folder" in message for message in told
        )
        assert record(tmp_path / "run").get("prepared_anew_in_epoch") == (None if gone else 2)

    def test_has_the_merged_config_with_overrides_and_expressions_as_text(self, tmp_path):
        config = {
            "output_dir": "nowhere",
            "device": "$torch.device('cpu')",
            "net": {"width": 1, "depth": [1, 2]},
            "trainer": {"_target_": "ignite.engine.Engine", "process_function": "$lambda engine, batch: batch"},
            "record": {"_target_": "monai_e2e.handlers.run_record.RunRecord", "output_dir": "@output_dir"},
            "training": ["$@record.attach(@trainer)", "$@trainer.run([1, 2], max_epochs=1)"],
        }
        files = [tmp_path / "train.json", tmp_path / "overlay.json"]
        files[0].write_text(json.dumps(config))
        files[1].write_text('{"+net": {"height": 5}}')
        (tmp_path / "metadata.json").write_text('{"name": "a bundle", "version": "1.2.3"}')
        out = str(tmp_path / "out")
        overrides = {"output_dir": out, "net#width": 7}
        workflow = ConfigWorkflow([str(file) for file in files], run_id="training", logging_file=False, **overrides)
        workflow.initialize()
        workflow.run()
        run = record(tmp_path / "out")
        assert run["config"] == {**config, "output_dir": out, "net": {"width": 7, "depth": [1, 2], "height": 5}}
        assert run["bundle"] == {"name": "a bundle", "version": "1.2.3"}

    def test_a_write_that_is_cut_off_leaves_the_earlier_record_whole(self, tmp_path, monkeypatch):
        trainer(RunRecord(tmp_path)).run(BATCHES, max_epochs=1)
        before = (tmp_path / "run.json").read_bytes()

        def cut_off(path: Path, text: str, **_arguments) -> None:
            path.write_bytes(text.encode()[:20])
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "write_text", cut_off)
        with pytest.raises(KeyboardInterrupt):
            trainer(RunRecord(tmp_path)).run(BATCHES, max_epochs=1)
        assert (tmp_path / "run.json").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    engine = trainer(RunRecord(tmp_path / "file" / "run"))
    with pytest.raises(UserError, match="can't write there"):
        engine.run(BATCHES, max_epochs=1)
    assert engine.state.iteration == 0


def test_a_folder_without_data_list_is_no_prepared_one(tmp_path):
    with pytest.raises(UserError, match=r"no readable datalist\.json"):
        trainer(RunRecord(tmp_path / "run", prepared_dir=tmp_path)).run(BATCHES, max_epochs=1)


def test_one_rank_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("monai_e2e.handlers.run_record.rank", lambda: 1)
    trainer(RunRecord(tmp_path / "run")).run(BATCHES, max_epochs=1)
    assert not (tmp_path / "run").exists()
