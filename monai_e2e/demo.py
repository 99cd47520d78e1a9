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

from monai_e2e.demo_page import write_page
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

BUNDLES = ("ddsm_patch", "ddsm_whole", "inbreast_transfer")
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
        return shlex.join(words)

    def run(self) -> None:
        """Run the command; raises ``UserError`` with the end of its log when it fails."""
        start = time.monotonic()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w", encoding="utf-8") as log:
            status = subprocess.run([sys.executable, *self.argv], stdout=log, stderr=subprocess.STDOUT, check=False)
        self.seconds = time.monotonic() - start
        if status.returncode:
            tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise UserError(f"step '{self.name}' failed: {' '.join(tail)} (whole log: {self.log})")
        logger.info("%5.0f s  %s", self.seconds, self.name)


@dataclass
class Demo:
    """Names and places of one run of the demo."""

    out: Path
    bundles: Path
    seed: int
    steps: list[Step] = field(default_factory=list)

    def data(self, dataset: str) -> Path:
        return self.out / "data" / dataset / "prepared"

    def run(self, *stages: Sequence[Step]) -> None:
        """Run stages one after the other, and the steps of a stage side by side."""
        lanes = max(1, min(4, os.cpu_count() or 1))
        for stage in stages:
            self.steps += stage
            with ThreadPoolExecutor(lanes) as pool:
                for future in [pool.submit(step.run) for step in stage]:
                    future.result()

    def cli(self, name: str, *arguments: str) -> Step:
        return Step(name, ["-m", "monai_e2e", *arguments], self.out / "logs" / f"{name}.log")

    def bundle(self, name: str, action: str, bundle: str, configs: Sequence[str], run: str, **keys: object) -> Step:
        files = [str(self.bundles / bundle / "configs" / f"{config}.json") for config in configs]
        dataset = "inbreast" if bundle == "inbreast_transfer" else "cbis-ddsm"
        keys = {"dataset_dir": self.data(dataset), "recipe": "phantom", "output_dir": self.out / run, **keys}
        arguments = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
        config = files[0] if len(files) == 1 else str(files).replace(" ", "")
        argv = ["-m", "monai.bundle", "run", action, "--config_file", config, *arguments]
        return Step(name, argv, self.out / "logs" / f"{name}.log")

    def train(self, bundle: str, run: str, seed: int, **keys: object) -> Step:
        name = f"train {run}".replace("/", " ")
        return self.bundle(name, "training", bundle, ["train"], run, model_dir=self.out / run, seed=seed, **keys)

    def evaluate(self, bundle: str, run: str) -> Step:
        name = f"evaluate {run}".replace("/", " ")
        return self.bundle(name, "evaluating", bundle, ["train", "evaluate"], run, model_dir=self.out / run)


def run_demo(out: str | Path, bundles: str | Path = "bundles", seed: int = 0) -> dict:
    """Run the demo and write ``summary.json`` and ``index.html`` into ``out``, replacing an earlier demo there.

    Args:
        out: folder of the results.
        bundles: folder of the three bundles, in a checkout ``bundles``.
        seed: first seed of the trainings; the data's seed stays 0.

    Returns:
        The summary.

    Raises:
        UserError: when ``bundles`` lacks one, ``out`` holds something else, or a step fails.
    """
    demo = Demo(Path(out), Path(bundles), seed)
    for bundle in BUNDLES:
        if not (demo.bundles / bundle / "configs" / "train.json").is_file():
            raise UserError(
                f"no bundle at {demo.bundles / bundle}: run the demo in a checkout, or pass --bundles FOLDER"
            )
    _empty(demo.out)
    start = time.monotonic()
    logger.info("Demo on phantoms, drawn and not real mammograms. Results: %s", demo.out)

    seeds = [seed + index for index in range(SEEDS)]
    patch = demo.out / "patch"
    # From scratch all layers learn from the first epoch on, at the rate that trained the patch classifier from
    # scratch: freezing random layers first, as the staged plan does, would only handicap the rival.
    scratch = _scratch_plan(_phantom_recipe(demo, "ddsm_whole"))
    demo.run(
        [
            demo.cli(
                "draw cbis-ddsm",
                "phantom",
                "cbis-ddsm",
                str(demo.data("cbis-ddsm").parent / "download"),
                "--patients",
                "240",
            ),
        ],
        [
            demo.cli(
                "draw inbreast",
                "phantom",
                "inbreast",
                str(demo.data("inbreast").parent / "download"),
                "--patients",
                "100",
            ),
        ],
        [
            demo.cli(
                "prepare cbis-ddsm",
                "prepare",
                "cbis-ddsm",
                str(demo.data("cbis-ddsm").parent / "download"),
                str(demo.data("cbis-ddsm")),
                "--image-size",
                "288x224",
                "--protocol",
                "official",
            ),
        ],
        [
            demo.cli(
                "prepare inbreast",
                "prepare",
                "inbreast",
                str(demo.data("inbreast").parent / "download"),
                str(demo.data("inbreast")),
                "--image-size",
                "288x224",
            ),
        ],
        [demo.train("ddsm_patch", "patch", seed)]
        + [demo.train("ddsm_whole", f"scratch/seed{s}", s, weights="scratch", stages=scratch) for s in seeds],
        [demo.train("ddsm_whole", f"whole/seed{s}", s, patch_checkpoint=patch / "model.pt") for s in seeds],
        [demo.train("inbreast_transfer", "transfer", seed, whole_checkpoint=demo.out / f"whole/seed{seed}/model.pt")],
        [demo.evaluate("ddsm_patch", "patch"), demo.evaluate("inbreast_transfer", "transfer")]
        + [demo.evaluate("ddsm_whole", f"{start}/seed{s}") for start in ("whole", "scratch") for s in seeds]
        + [demo.bundle("heatmaps", "inferring", "ddsm_patch", ["inference"], "patch", checkpoint=patch / "model.pt")],
    )
    summary = _summary(demo, seeds, time.monotonic() - start)
    (demo.out / "summary.json").write_text(json.dumps(summary, indent=4) + "\n", encoding="utf-8")
    recipe = _phantom_recipe(demo, "ddsm_patch")
    write_page(demo.out, summary, [(step.command, step.seconds) for step in demo.steps], recipe["patch_size"])
    return summary


def format_summary(summary: dict) -> str:
    """The demo's table for the terminal."""
    whole, transfer = summary["whole"], summary["transfer"]
    seeds = len(summary["seeds"])
    rows = [
        ("patch classifier, accuracy", f"{summary['patch']['accuracy']:.3f}", "CBIS-DDSM phantoms, five classes"),
        ("whole image, AUC", f"{whole['auc']:.3f} ({_interval(whole)})", "from the patch classifier"),
        (f"  mean of {seeds} seeds", f"{whole['auc_mean']:.3f}", "from the patch classifier"),
        (f"  mean of {seeds} seeds", f"{whole['auc_from_scratch']:.3f}", "from scratch, same images and epochs"),
        ("transferred, AUC", f"{transfer['auc']:.3f} ({_interval(transfer)})", "INbreast phantoms"),
    ]
    lines = [f"{name:<28} {value:<22} {note}" for name, value, note in rows]
    lines.append("")
    lines += [f"{name:<28} {path}" for name, path in summary["paths"].items()]
    return "\n".join(lines)


def _interval(score: dict) -> str:
    low, high = score["auc_ci"]
    return f"{low:.3f}–{high:.3f}"


def _summary(demo: Demo, seeds: list[int], seconds: float) -> dict:
    def score(run: str, level: str = "image") -> dict:
        return json.loads((demo.out / run / "score.json").read_text(encoding="utf-8"))[level]

    whole = {start: [score(f"{start}/seed{s}")["auc"] for s in seeds] for start in ("whole", "scratch")}
    first = score(f"whole/seed{seeds[0]}")
    transfer = score("transfer")
    return {
        "patch": {"accuracy": score("patch", "patch")["accuracy"]},
        "whole": {
            "auc": first["auc"],
            "auc_ci": first["auc_ci"],
            "auc_from_scratch": mean(whole["scratch"]),
            "auc_mean": mean(whole["whole"]),
            "auc_by_seed": whole["whole"],
            "auc_from_scratch_by_seed": whole["scratch"],
        },
        "transfer": {"auc": transfer["auc"], "auc_ci": transfer["auc_ci"]},
        "seeds": seeds,
        "seconds": round(seconds, 1),
        "paths": {
            "report": str(demo.out / "index.html"),
            "TensorBoard logs": f"{demo.out} (tensorboard --logdir {demo.out})",
            "checkpoints": str(demo.out / "{patch,whole/seed*,scratch/seed*,transfer}" / "model.pt"),
            "predictions": str(demo.out / f"whole/seed{seeds[0]}" / "predictions.csv"),
            "ROC plot": str(demo.out / f"whole/seed{seeds[0]}" / "roc.png"),
        },
    }


def _phantom_recipe(demo: Demo, bundle: str) -> dict:
    config = demo.bundles / bundle / "configs" / "train.json"
    return json.loads(config.read_text(encoding="utf-8"))["recipes"]["phantom"]


def _scratch_plan(recipe: dict) -> str:
    epochs = sum(stage["epochs"] for stage in recipe["stages"])
    fastest = max(stage["lr"] for stage in recipe["stages"])
    return str([{"name": "all layers", "trainable": ["*"], "lr": fastest, "epochs": epochs}])


def _empty(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        if not (out / _MARKER).is_file():
            raise UserError(f"{out} is not empty and no earlier demo: name another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARKER).touch()
