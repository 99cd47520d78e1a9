"""The whole pipeline on phantoms, by the same commands that users type: data → patch → whole image → transfer.

The ablation of the paper's claim runs beside it: the same whole-image network, trained on the same images for the
same number of epochs, but from scratch instead of from the patch classifier.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from monai_e2e.bundle_folders import BUNDLES, bundles_folder
from monai_e2e.demo_page import write_page
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

SEEDS = 2  # each seed trains one network from the patch classifier and one from scratch
_MARKER = ".monai-e2e-demo"


@dataclass
class Step:
    """One command of the demo; ``argv`` is what is run, its output goes to ``log``."""

    name: str
    argv: Sequence[str]
    log: Path
    seconds: float = 0.0

    @property
    def command(self) -> str:
        words = ["monai-e2e" if word == "monai_e2e" else word for word in self.argv]
        if words[:2] == ["-m", "monai-e2e"]:
            words = words[1:]
        elif words[:1] == ["-m"]:
            words = ["python", *words]
        return " ".join(f'"{word}"' if "'" in word else shlex.quote(word) for word in words)

    def run(self) -> None:
        """Run the command; raises ``UserError`` with the end of its log when it fails."""
        start = time.monotonic()
        logger.info("        …  %s", self.name)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # Steps run side by side: PyTorch's threads wait for each other by spinning, and would slow each other down.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self.log.open("w", encoding="utf-8") as log:
            status = subprocess.run(
                [sys.executable, *self.argv], stdout=log, stderr=subprocess.STDOUT, env=environment, check=False
            )
        self.seconds = time.monotonic() - start
        if status.returncode:
            tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise UserError(f"step '{self.name}' failed: {' '.join(tail)} (whole log: {self.log})")
        logger.info("%7.0f s  %s", self.seconds, self.name)


@dataclass
class Demo:
    """Names and places of one run of the demo."""

    out: Path
    bundles: Path
    seed: int
    steps: list[Step] = field(default_factory=list)

    def download(self, dataset: str) -> Path:
        return self.out / "data" / dataset / "download"

    def prepared(self, dataset: str) -> Path:
        return self.out / "data" / dataset / "prepared"

    def run(self, *stages: Sequence[Step]) -> None:
        """Run stages one after the other, and the steps of a stage side by side."""
        lanes = max(1, min(4, os.cpu_count() or 1))
        for stage in stages:
            self.steps += stage
            with ThreadPoolExecutor(lanes) as pool:
                for future in [pool.submit(step.run) for step in stage]:
                    future.result()

    def draw(self, dataset: str) -> Step:
        bundle = "inbreast_transfer" if dataset == "inbreast" else "ddsm_whole"
        patients = train_config(self.bundles / bundle)["phantom"]["patients"]
        return self._cli(f"draw {dataset}", "phantom", dataset, self.download(dataset), "--patients", patients)

    def prepare(self, dataset: str, *options: str) -> Step:
        size = "x".join(str(length) for length in phantom_recipe(self.bundles / "ddsm_whole")["image_size"])
        folders = (self.download(dataset), self.prepared(dataset))
        return self._cli(f"prepare {dataset}", "prepare", dataset, *folders, "--image-size", size, *options)

    def bundle(self, name: str, action: str, bundle: str, configs: Sequence[str], run: str, **keys: object) -> Step:
        files = [str(self.bundles / bundle / "configs" / f"{config}.json") for config in configs]
        dataset = "inbreast" if bundle == "inbreast_transfer" else "cbis-ddsm"
        keys = {"dataset_dir": self.prepared(dataset), "recipe": "phantom", "output_dir": self.out / run, **keys}
        arguments = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
        config = files[0] if len(files) == 1 else str(files).replace(" ", "")
        argv = ["-m", "monai.bundle", "run", action, "--config_file", config, *arguments]
        return Step(name, argv, self._log(name))

    def train(self, bundle: str, run: str, seed: int, **keys: object) -> Step:
        return self.bundle(
            f"train {run}", "training", bundle, ["train"], run, model_dir=self.out / run, seed=seed, **keys
        )

    def evaluate(self, bundle: str, run: str) -> Step:
        return self.bundle(
            f"evaluate {run}", "evaluating", bundle, ["train", "evaluate"], run, model_dir=self.out / run
        )

    def predict(self, run: str, *models: Path) -> Step:
        folders = (self.prepared("cbis-ddsm"), self.out / run)
        return self._cli(f"predict {run}", "predict", *models, *folders, "--tta", "flips", "--heatmap", "--workers", 0)

    def score(self, run: str) -> Step:
        return self._cli(f"score {run}", "score", self.out / run / "predictions.csv")

    def forest(self, run: str, patch_model: Path) -> Step:
        return self._cli(f"{run} on heatmaps", "forest", patch_model, self.prepared("cbis-ddsm"), self.out / run)

    def _cli(self, name: str, *arguments: object) -> Step:
        return Step(name, ["-m", "monai_e2e", *map(str, arguments)], self._log(name))

    def _log(self, name: str) -> Path:
        return self.out / "logs" / f"{name.replace(' ', '-').replace('/', '-')}.log"


def run_demo(out: str | Path, bundles: str | Path | None = None, seed: int = 0) -> dict:
    """Run the demo and write ``summary.json`` and ``index.html`` into ``out``, replacing an earlier demo there.

    Args:
        out: folder of the results.
        bundles: folder of the three bundles; None: those that come with the package.
        seed: first seed of the trainings; the data's seed stays 0.

    Returns:
        The summary.

    Raises:
        UserError: when ``bundles`` lacks one, ``out`` holds something else, or a step fails.
    """
    demo = Demo(Path(out), bundles_folder() if bundles is None else Path(bundles), seed)
    for bundle in BUNDLES:
        if not (demo.bundles / bundle / "configs" / "train.json").is_file():
            where = demo.bundles / bundle
            raise UserError(f"no bundle at {where}: name another folder with --bundles, or leave it out")
    _empty(demo.out)
    start = time.monotonic()
    logger.info("Demo on phantoms, drawn and not real mammograms. Results: %s", demo.out)

    seeds = [seed + index for index in range(SEEDS)]
    patch = demo.out / "patch" / "model.pt"
    whole = {s: demo.out / f"whole/seed{s}" / "model.pt" for s in seeds}
    scratch = _scratch_plan(phantom_recipe(demo.bundles / "ddsm_whole"))
    demo.run(
        [demo.draw("cbis-ddsm")],
        [demo.draw("inbreast")],
        [demo.prepare("cbis-ddsm", "--protocol", "official")],
        [demo.prepare("inbreast")],
        [demo.train("ddsm_patch", "patch", seed)]
        + [demo.train("ddsm_whole", f"scratch/seed{s}", s, weights="scratch", stages=scratch) for s in seeds],
        [demo.train("ddsm_whole", f"whole/seed{s}", s, patch_checkpoint=patch) for s in seeds],
        [demo.train("inbreast_transfer", f"transfer/seed{s}", s, whole_checkpoint=whole[s]) for s in seeds],
        [demo.evaluate("ddsm_patch", "patch")]
        + [demo.evaluate("ddsm_whole", f"{kind}/seed{s}") for kind in ("whole", "scratch") for s in seeds]
        + [demo.evaluate("inbreast_transfer", f"transfer/seed{s}") for s in seeds]
        + [demo.predict("flips", whole[seed], patch), demo.forest("forest", patch)],
        [demo.score("flips")],
    )
    summary = _summary(demo, seeds, time.monotonic() - start)
    (demo.out / "summary.json").write_text(json.dumps(summary, indent=4) + "\n", encoding="utf-8")
    write_page(demo.out, summary, [(step.command, step.seconds) for step in demo.steps])
    return summary


def format_summary(summary: dict) -> str:
    """The demo's table for the terminal."""
    whole, transfer = summary["whole"], summary["transfer"]
    seeds = f"mean of {len(summary['seeds'])} seeds"
    rows = [
        ("patch classifier, accuracy", f"{summary['patch']['accuracy']:.3f}", "CBIS-DDSM phantoms, five classes"),
        ("whole image, AUC", _with_interval(whole), "from the patch classifier"),
        (f"  {seeds}", f"{whole['auc_mean']:.3f}", "from the patch classifier"),
        (f"  {seeds}", f"{whole['auc_from_scratch']:.3f}", "from scratch, same images and epochs"),
        ("  four flips averaged", _with_interval(summary["flips"]), "the first, as the paper augments predictions"),
        ("  random forest, AUC", _with_interval(summary["forest"]), "on the patch classifier's heatmaps, the rival"),
        ("transferred, AUC", _with_interval(transfer), "INbreast phantoms, image labels alone"),
        (f"  {seeds}", f"{transfer['auc_mean']:.3f}", "INbreast phantoms, image labels alone"),
    ]
    lines = [f"{name:<28} {value:<22} {note}" for name, value, note in rows]
    lines.append("")
    lines += [f"{name:<28} {path}" for name, path in summary["paths"].items()]
    return "\n".join(lines)


def train_config(bundle: Path) -> dict:
    """A bundle's ``train.json``."""
    return json.loads((bundle / "configs" / "train.json").read_text(encoding="utf-8"))


def phantom_recipe(bundle: Path) -> dict:
    """The phantom recipe of a bundle's ``train.json``."""
    return train_config(bundle)["recipes"]["phantom"]


def _scratch_plan(recipe: dict) -> str:
    # From scratch all layers learn from the first epoch on, at the plan's highest rate: freezing random layers first,
    # as the staged plan does, would only handicap the rival.
    epochs = sum(stage["epochs"] for stage in recipe["stages"])
    fastest = max(stage["lr"] for stage in recipe["stages"])
    return str([{"name": "all layers", "trainable": ["*"], "lr": fastest, "epochs": epochs}])


def _with_interval(score: dict) -> str:
    low, high = score["auc_ci"]
    return f"{score['auc']:.3f} ({low:.3f}–{high:.3f})"


def _summary(demo: Demo, seeds: list[int], seconds: float) -> dict:
    """What ``summary.json`` holds; ``auc`` and ``auc_ci`` are the first seed's, whose files ``paths`` names."""

    def score(run: str, level: str = "image") -> dict:
        return json.loads((demo.out / run / "score.json").read_text(encoding="utf-8"))[level]

    aucs = {kind: [score(f"{kind}/seed{s}")["auc"] for s in seeds] for kind in ("whole", "scratch", "transfer")}
    first = demo.out / f"whole/seed{seeds[0]}"

    def one(run: str) -> dict:
        chosen = score(run)
        return {"auc": chosen["auc"], "auc_ci": chosen["auc_ci_bootstrap"]}

    def of_kind(kind: str) -> dict:
        return {**one(f"{kind}/seed{seeds[0]}"), "auc_mean": mean(aucs[kind]), "auc_by_seed": aucs[kind]}

    scratch = {"auc_from_scratch": mean(aucs["scratch"]), "auc_from_scratch_by_seed": aucs["scratch"]}
    return {
        "patch": {"accuracy": score("patch", "patch")["accuracy"]},
        "whole": {**of_kind("whole"), **scratch},
        "transfer": of_kind("transfer"),
        "flips": one("flips"),
        "forest": one("forest"),
        "seeds": seeds,
        "seconds": round(seconds, 1),
        "paths": {
            "report": str(demo.out / "index.html"),
            "TensorBoard logs": str(demo.out),
            "checkpoints": str(first / "model.pt"),
            "predictions": str(first / "predictions.csv"),
            "their statistics": str(first / "report.html"),
            "heatmaps": str(demo.out / "flips" / "overlays"),
        },
    }


def _empty(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        if not (out / _MARKER).is_file():
            raise UserError(f"{out} is not empty and no earlier demo: name another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARKER).touch()
