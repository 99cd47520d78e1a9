"""Records of a run: ``run.json`` with config, data and versions, and ``metrics.jsonl`` with a line for each epoch."""

from __future__ import annotations

import json
import logging
import math
import platform
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser

from monai_e2e import bundle
from monai_e2e.data.prepared.datalist import fingerprint
from monai_e2e.errors import UserError
from monai_e2e.networks.distributed import rank, world_size
from monai_e2e.provenance import device_name, git_state, now, peak_memory, versions
from monai_e2e.work.files import read_json, write_json, write_text

logger = logging.getLogger(__name__)

#: Key of the epoch in which the data were replaced.
_ANEW = "prepared_anew_in_epoch"
#: Most characters of a setting; longer values, such as the list of patients, are data.
_LONGEST = 4000
#: Parts that an earlier start's record leaves out where they are the same as now.
_CONFIG = ("config", "resolved")


class RunRecord:
    """Write the run's settings to ``run.json``, and one line for each epoch to ``metrics.jsonl``.

    ``run.json`` has:

    - ``config``: the bundle's merged config with the overrides of the command line; expressions stay text;
    - ``resolved``: the values of the config's keys, where these are plain values;
    - the command, versions, device, git revision, seed and the fingerprint of the data set;
    - ``earlier``: in a resumed run, the records of the starts before it.

    A line of ``metrics.jsonl`` has ``epoch``, ``iteration``, the state attributes, the metrics of trainer and
    validator, ``seconds``, and ``peak_memory_mib`` of the process so far (on a GPU: what PyTorch allocated there).
    NaN and infinity are null. When an epoch is repeated, its earlier line is removed.

    List it after MONAI's ``ValidationHandler``, whose result it writes, and before the handler that saves checkpoints:
    a run that is killed between the two then repeats the epoch, and no line is lost. In a distributed run list it on
    all ranks; rank 0 writes.

    Args:
        output_dir: folder of the run.
        prepared_dir: prepared folder of the data, to be fingerprinted.
        validator: evaluator whose metrics are written too.
        seed: the run's seed.
        state_attributes: attributes of the trainer's state to write.

    Raises:
        UserError: at the start, when the folder can't be written.
    """

    def __init__(
        self,
        output_dir: str | Path,
        prepared_dir: str | Path | None = None,
        validator: Engine | None = None,
        seed: int | None = None,
        state_attributes: Sequence[str] = ("stage", "learning_rate"),
    ) -> None:
        self.output_dir = Path(output_dir)
        self.prepared_dir = None if prepared_dir is None else Path(prepared_dir)
        self.validator = validator
        self.seed = seed
        self.state_attributes = tuple(state_attributes)
        self._record: dict[str, Any] | None = None
        self._workflow = bundle.running_workflow()  # a federated client later runs the trainer without it

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        if rank() == 0:
            engine.add_event_handler(Events.STARTED, self._forget)
            engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
            engine.add_event_handler(Events.COMPLETED, self._finish)

    def _forget(self, _engine: Engine) -> None:
        self._record = None

    def _start_epoch(self, engine: Engine) -> None:
        self._start = time.monotonic()
        if self._record is None:  # not before: only now is it certain from which epoch a resumed run goes on
            self._record = self._describe(engine)
            try:
                self.output_dir.mkdir(parents=True, exist_ok=True)
                self._write_record()
                self._drop_lines_from(engine.state.epoch)
            except OSError as error:
                raise UserError(f"{self.output_dir}: can't write there ({error.strerror}); pass another one") from error

    def _end_epoch(self, engine: Engine) -> None:
        line = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        line |= {name: getattr(engine.state, name, None) for name in self.state_attributes}
        line |= engine.state.metrics
        if self.validator is not None and self.validator.state.epoch == engine.state.epoch:
            for name, value in self.validator.state.metrics.items():
                line[f"val_{name}" if name in line else name] = value
        self._look_at_data(engine.state.epoch)
        line["seconds"] = round(time.monotonic() - self._start, 3)
        line["peak_memory_mib"] = peak_memory(getattr(engine.state, "device", None))
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_plain(line)) + "\n")

    def _look_at_data(self, epoch: int) -> None:
        """Warn when the data are no longer those that the run began with."""
        record = self._record
        if self.prepared_dir is None or record is None or _ANEW in record:
            return
        with suppress(UserError):  # images in memory don't need the folder any more
            if fingerprint(self.prepared_dir)["sha256"] != record["dataset"]["sha256"]:
                record[_ANEW] = epoch
                self._write_record()
                logger.warning(
                    "%s was prepared again in epoch %d of this training, which may have used images of both "
                    "versions: train again, and don't prepare into a folder that a training uses",
                    self.prepared_dir,
                    epoch,
                )

    def _finish(self, engine: Engine) -> None:
        if self._record is None:  # a resumed run that was complete already
            return
        state = engine.state if self.validator is None else self.validator.state
        self._record["ended"] = now()
        self._record["epochs"] = engine.state.epoch
        names = ("key_metric_name", "best_metric", "best_metric_epoch")
        self._record["best"] = {name: _plain(getattr(state, name, None)) for name in names}
        self._write_record()

    @property
    def _lines(self) -> Path:
        return self.output_dir / "metrics.jsonl"

    def _write_record(self) -> None:
        write_json(self.output_dir / "run.json", self._record, ensure_ascii=False)

    def _drop_lines_from(self, epoch: int) -> None:
        text = self._lines.read_text(encoding="utf-8") if self._lines.is_file() else ""
        kept = "".join(f"{line}\n" for line in text.splitlines() if 0 < _epoch_of(line) < epoch)
        if kept != text:
            write_text(self._lines, kept)

    def _describe(self, engine: Engine) -> dict[str, Any]:
        workflow = self._workflow
        config = {} if workflow is None else dict(workflow.parser.get())
        metadata = config.pop("_meta_", None) or {}
        record = {
            "started": now(),
            "from_epoch": engine.state.epoch,
            "command": shlex.join(sys.orig_argv),
            "bundle": {key: metadata.get(key) for key in ("name", "version")},
            "seed": self.seed,
            "dataset": None if self.prepared_dir is None else fingerprint(self.prepared_dir),
            "git": git_state(Path(__file__).parents[1]),
            "versions": versions(),
            "device": device_name(getattr(engine.state, "device", None)),
            "processes": world_size(),
            "system": platform.platform(),
            "config": _plain(config),
            "resolved": {} if workflow is None else _resolved(workflow.parser, config),
        }
        earlier = self._earlier() if engine.state.epoch > 1 else []
        record["earlier"] = [
            {key: value for key, value in start.items() if key not in _CONFIG or value != record[key]}
            for start in earlier
        ]
        return record

    def _earlier(self) -> list[dict[str, Any]]:
        last = read_json(self.output_dir / "run.json")
        return [*last.pop("earlier"), last] if "earlier" in last else []


def _resolved(parser: ConfigParser, keys: Iterable[str]) -> dict[str, Any]:
    """Values of a config's top-level keys, where these are plain and short enough to be settings."""
    found = parser.ref_resolver.resolved_content
    plain = {key: found[key] for key in keys if key in found and _is_plain(found[key])}
    return {key: value for key, value in plain.items() if len(json.dumps(value)) <= _LONGEST}


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))


def _plain(value: Any) -> Any:
    """Any value as JSON can hold it: NaN and infinity become null, other objects become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _epoch_of(line: str) -> int:
    try:
        return int(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError):
        return 0  # cut off when the run was killed
