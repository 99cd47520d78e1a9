"""From a plan to runs: a folder for each row, seed, fold and number of patients, and the commands that fill it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_e2e.errors import UserError, did_you_mean
from monai_e2e.experiment.commands import Commands, recipe_of, train_config
from monai_e2e.experiment.plan import START, Plan, Row
from monai_e2e.work.files import read_json
from monai_e2e.work.steps import Step


@dataclass(eq=False)
class Run:
    """One run of a row: a folder, and the commands that fill it, of which the last writes ``score.json``."""

    row: Row
    seed: int
    fold: int | None
    patients: int | None
    folder: Path
    steps: list[Step] = field(default_factory=list)
    epochs: int = 0  # most epochs of its training

    @property
    def score(self) -> Path:
        return self.folder / "score.json"


@dataclass(frozen=True)
class Line:
    """A line of the table: a row with one number of training patients.

    Args:
        row: the row.
        patients: number of training patients; None: all.
        runs: seed → the runs of its folds.
        pooled: seed → the command that scores all folds' predictions together; None without folds.
    """

    row: Row
    patients: int | None
    runs: Mapping[int, Sequence[Run]]
    pooled: Mapping[int, Step | None]


class Expansion:
    """The runs of a plan: ``lines`` for the table; ``runs``: all runs, each after those that it needs.

    Args:
        plan: the plan.
        commands: makes the commands.
        folds: data set → the folds used for testing; ``[None]`` without cross-validation.
    """

    def __init__(self, plan: Plan, commands: Commands, folds: Mapping[str, Sequence[int | None]]) -> None:
        self.plan, self.commands, self.folds = plan, commands, folds
        self.runs: dict[str, Run] = {}
        #: Rows with a run for each seed: the selected ones, and those that they average.
        self._varied = {*plan.select, *(member for name in plan.select for member in plan.rows[name].predict)}
        self.lines = [self._line(plan.rows[name], patients) for name in plan.select for patients in plan.patients]

    @property
    def steps(self) -> list[Step]:
        """All commands."""
        pooled = [step for line in self.lines for step in line.pooled.values() if step is not None]
        return [step for run in self.runs.values() for step in run.steps] + pooled

    def _line(self, row: Row, patients: int | None) -> Line:
        folds = self.folds[self.plan.dataset(row)]
        runs = {seed: [self._run(row, seed, fold, patients) for fold in folds] for seed in self.plan.seeds}
        pooled = {seed: self._pool(row, seed, patients, runs[seed]) for seed in self.plan.seeds}
        return Line(row, patients, runs, pooled)

    def _pool(self, row: Row, seed: int, patients: int | None, runs: Sequence[Run]) -> Step | None:
        if len(runs) < 2 or row.bundle == "ddsm_patch":  # accuracies of patches aren't pooled
            return None
        name = f"{_name(row, seed, None, patients)}-folds"  # a run of this row without folds may be in the same folder
        step = self.commands.score(name, *(run.folder / "predictions.csv" for run in runs))
        step.after = [run.steps[-1] for run in runs]
        step.makes = self.commands.out / name / "score.json"
        return step

    def _run(self, row: Row, seed: int, fold: int | None, patients: int | None) -> Run:
        name = _name(row, seed, fold, patients)
        if name in self.runs:
            return self.runs[name]
        if row.predict:
            before = [self._run(self.plan.rows[member], seed, fold, patients) for member in row.predict]
        else:
            before = [self._upstream(self.plan.rows[needed], seed, fold) for needed in self.plan.needs(row)]
        run = Run(row, seed, fold, patients, self.commands.out / name)
        run.steps = self._steps(run, name, [one.folder / "model.pt" for one in before])
        run.steps[0].after = [one.steps[0] for one in before]
        for earlier, later in zip(run.steps, run.steps[1:], strict=False):
            later.after = [earlier]
        run.steps[-1].makes = run.score
        if row.bundle is not None:
            stages = (
                row.keys.get("stages") or recipe_of(self.commands.bundles / row.bundle, self.commands.recipe)["stages"]
            )
            run.epochs = sum(stage["epochs"] for stage in stages)
        self.runs[name] = run
        return run

    def _upstream(self, row: Row, seed: int, fold: int | None) -> Run:
        """The run that another one starts from. It has the same fold, so that it hasn't seen the test patients."""
        folds = self.folds[self.plan.dataset(row)]
        return self._run(
            row, seed if row.name in self._varied else self.plan.seeds[0], fold if fold in folds else folds[0], None
        )

    def _steps(self, run: Run, name: str, models: Sequence[Path]) -> list[Step]:
        row, make = run.row, self.commands
        if row.forest is not None:
            return [make.forest(name, models[0], "--seed", run.seed)]
        if row.predict:
            options = ("--tta", "flips") if row.flips else ()
            dataset = self.plan.dataset(row)
            return [make.predict(name, *models, dataset=dataset, options=options), make.score(name)]
        bundle = str(row.bundle)
        configs = [row.overlay] if row.overlay else []
        _refuse_unknown(row, make.bundles / bundle)
        keys = {**row.keys, **({} if run.fold is None else {"fold": run.fold})}
        more: dict[str, Any] = {} if run.patients is None else {"training_patients": run.patients}
        if row.start is not None:
            more[START[bundle]] = models[0] if models else row.start
        train = make.train(bundle, name, run.seed, configs, **keys, **more, resume=True)
        train.makes = run.folder / "model.pt"
        return [train, make.evaluate(bundle, name, configs, **keys)]


def _refuse_unknown(row: Row, bundle: Path) -> None:
    """Report a mistake in a row now, and not after hours of other rows."""
    known = train_config(bundle)
    if row.overlay:
        configs = bundle / "configs"
        found = {path.relative_to(configs).with_suffix("").as_posix(): path for path in configs.rglob("*.json")}
        if row.overlay not in found:
            others = did_you_mean(row.overlay, found)
            raise UserError(f"row '{row.name}': {bundle.name} has no config {row.overlay}; {others}")
        known = {**known, **read_json(found[row.overlay])}
    for key in row.keys:
        if re.split("#|::", key)[0] not in known:
            near = difflib.get_close_matches(key, known, n=1)
            advice = f"did you mean '{near[0]}'?" if near else "docs/configuration.md has its keys"
            raise UserError(f"row '{row.name}' sets '{key}', which {bundle.name} doesn't have; {advice}")


def _name(row: Row, seed: int, fold: int | None, patients: int | None) -> str:
    """Name of a run's folder, which is also the model's name in tables."""
    parts = (("seed", seed), ("fold", fold), ("patients", patients))
    return "-".join([row.name, *(f"{part}{number}" for part, number in parts if number is not None)])
