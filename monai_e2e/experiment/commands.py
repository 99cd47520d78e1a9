"""The commands that the demo and the experiments run, as users type them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_e2e.errors import UserError
from monai_e2e.shipped.bundles import BUNDLES
from monai_e2e.work.forked import run_forked
from monai_e2e.work.steps import Runner, Step


@dataclass
class Commands:
    """Makes the steps of one folder of results.

    Args:
        out: the folder.
        bundles: folder of the three bundles.
        recipe: recipe of all bundles.
        data: data set → prepared folder; for other data sets it is the folder that :meth:`prepare` writes.
        folder: name of the folder that it writes.
        threads, runner: of all steps, see :class:`Step`.

    Raises:
        UserError: when ``bundles`` lacks one.
    """

    out: Path
    bundles: Path
    recipe: str = "phantom"
    data: Mapping[str, Path] = field(default_factory=dict)
    folder: str = "prepared"
    threads: int | None = 1
    runner: Runner = run_forked

    def __post_init__(self) -> None:
        for bundle in BUNDLES:
            if not (self.bundles / bundle / "configs" / "train.json").is_file():
                where = self.bundles / bundle
                raise UserError(f"no bundle at {where}: name another folder with --bundles, or leave it out")

    def prepared(self, dataset: str) -> Path:
        return self.data.get(dataset) or self.out / "data" / dataset / self.folder

    def draw(self, dataset: str, patients: int | None = None) -> Step:
        from monai_e2e.data.phantom import rows_for  # takes a second, and most experiments don't need it

        bundle = "inbreast_transfer" if dataset == "inbreast" else "ddsm_whole"
        patients = patients or train_config(self.bundles / bundle)["phantom"]["patients"]
        options = ("--patients", patients, "--rows", rows_for(self._image_size()))
        return self.cli(f"draw {dataset}", "phantom", dataset, self._download(dataset), *options)

    def prepare(self, dataset: str, *options: str) -> Step:
        size = "x".join(map(str, self._image_size()))
        folders = (self._download(dataset), self.prepared(dataset))
        name = f"prepare {dataset}" + ("" if self.folder == "prepared" else f"-{self.folder}")
        return self.cli(name, "prepare", dataset, *folders, "--image-size", size, *options)

    def bundle(self, name: str, action: str, bundle: str, configs: Sequence[str], run: str, **keys: object) -> Step:
        """``python -m monai.bundle run``; ``configs`` are files of the bundle's ``configs``, without their ending."""
        files = [str(self.bundles / bundle / "configs" / f"{config}.json") for config in configs]
        places = {"output_dir": self.out / run, "model_dir": self.out / run}
        keys = {"dataset_dir": self.prepared(dataset_of(bundle)), "recipe": self.recipe, **places, **keys}
        arguments = [word for key, value in keys.items() for word in (f"--{key}", _text(value))]
        config = files[0] if len(files) == 1 else str(files).replace(" ", "")
        argv = ["-m", "monai.bundle", "run", action, "--config_file", config, *arguments]
        return self._step(name, argv)

    def train(self, bundle: str, run: str, seed: int, configs: Sequence[str] = (), **keys: object) -> Step:
        return self.bundle(f"train {run}", "training", bundle, ["train", *configs], run, seed=seed, **keys)

    def evaluate(self, bundle: str, run: str, configs: Sequence[str] = (), **keys: object) -> Step:
        return self.bundle(f"evaluate {run}", "evaluating", bundle, ["train", *configs, "evaluate"], run, **keys)

    def predict(self, run: str, *models: Path, dataset: str = "cbis-ddsm", options: Sequence[str] = ()) -> Step:
        folders = (self.prepared(dataset), self.out / run)
        alone = () if self.threads is None else ("--workers", 0)  # runs side by side need no more processes
        return self.cli(f"predict {run}", "predict", *models, *folders, *options, *alone)

    def score(self, run: str, *tables: Path) -> Step:
        """Score tables, by default the run's own predictions, and write the results to the run's folder."""
        into = ("--out", self.out / run) if tables else ()
        return self.cli(f"score {run}", "score", *(tables or (self.out / run / "predictions.csv",)), *into)

    def forest(self, run: str, patch_model: Path, *options: object) -> Step:
        folders = (self.prepared("cbis-ddsm"), self.out / run)
        return self.cli(f"{run} on heatmaps", "forest", patch_model, *folders, *options)

    def cli(self, name: str, *arguments: object) -> Step:
        return self._step(name, ["-m", "monai_e2e", *map(str, arguments)])

    def _step(self, name: str, argv: Sequence[str]) -> Step:
        log = self.out / "logs" / f"{name.replace(' ', '-').replace('/', '-')}.log"
        return Step(name, argv, log, threads=self.threads, runner=self.runner)

    def _image_size(self) -> list[int]:
        return recipe_of(self.bundles / "ddsm_whole", self.recipe)["image_size"]

    def _download(self, dataset: str) -> Path:
        return self.out / "data" / dataset / "download"


def dataset_of(bundle: str) -> str:
    """The data set of a bundle, by its name in the command ``prepare``."""
    return "inbreast" if bundle == "inbreast_transfer" else "cbis-ddsm"


def train_config(bundle: Path) -> dict:
    """A bundle's ``train.json``."""
    return json.loads((bundle / "configs" / "train.json").read_text(encoding="utf-8"))


def recipe_of(bundle: Path, recipe: str = "phantom") -> dict:
    """A recipe of a bundle's ``train.json``."""
    return train_config(bundle)["recipes"][recipe]


def _text(value: Any) -> str:
    """A value for MONAI's command line: alone as in JSON, within lists and dicts as in Python."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
