"""Which commands of an experiment are done: ``logs/<name>.json`` of each that was started, with the command itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_e2e.errors import UserError
from monai_e2e.experiment.commands import Commands
from monai_e2e.provenance import now
from monai_e2e.work.files import digest_of, read_json, write_json
from monai_e2e.work.locking import HeldError, is_held, locked
from monai_e2e.work.steps import Step

#: Arguments that commands have only when they run side by side, and that don't change results.
_WITHOUT_EFFECT = (" --workers 0", "")


class Records:
    """The records of the commands of a folder, ``logs/<name>.json``."""

    def __init__(self, commands: Commands, datasets: Sequence[str]) -> None:
        self.commands, self.datasets = commands, datasets

    def run(self, step: Step) -> None:
        """Run a step unless it is done; raises a ``HeldError`` while another process is running it."""
        folder = None if step.makes is None else step.makes.parent
        with locked(step.log):
            if self.seconds(step) is not None:
                return
            if folder is not None and is_held(folder):  # by a training whose experiment was killed
                raise HeldError(f"{folder}: another process is writing to it")
            self._write(step, None)
            try:
                step.run()
            except UserError:
                if folder is not None and is_held(folder):
                    raise HeldError(f"{folder}: another process is writing to it") from None
                raise
            if step.makes is not None and not step.makes.is_file():
                raise UserError(f"step '{step.name}' wrote no {step.makes.name} (whole log: {step.log})")
            self._write(step, step.seconds)

    def seconds(self, step: Step) -> float | None:
        """Seconds of a finished step; None if it isn't finished, or its file was removed."""
        there = step.makes is None or step.makes.is_file()
        return read_json(self._file(step)).get("seconds") if there else None

    def check(self, step: Step) -> None:
        """Raise a UserError if the step was run in this folder with other settings."""
        earlier = read_json(self._file(step)).get("command")
        if earlier is not None and earlier.replace(*_WITHOUT_EFFECT) != self._portable(step):
            raise UserError(
                f"{self._file(step)}: '{step.name}' was run here with other settings or data ({earlier}); name another "
                f"--out, or remove this file and the folder {step.makes.parent if step.makes else ''}"
            )

    def _portable(self, step: Step) -> str:
        """The command without this machine's folders and number of processes, and with a hash of the data."""
        words = " ".join(step.argv).replace(*_WITHOUT_EFFECT)
        for dataset in self.datasets:
            folder = self.commands.prepared(dataset)
            listed = folder / "datalist.json"
            if str(folder) in words and listed.is_file() and step.argv[2] != "prepare":
                words = words.replace(str(folder), f"{dataset}:{digest_of(listed)[:12]}")
        return words.replace(str(self.commands.bundles), "BUNDLES").replace(str(self.commands.out), "OUT")

    def _write(self, step: Step, seconds: float | None) -> None:
        record = {"command": self._portable(step), "seconds": seconds, "written": now()}
        write_json(self._file(step), record, ensure_ascii=False)

    def _file(self, step: Step) -> Path:
        return step.log.with_suffix(".json")
