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
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from monai_e2e.demo_page import write_page
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

BUNDLES = ("ddsm_patch", "ddsm_whole", "inbreast_transfer")
SEEDS = 2  # each seed trains one network from the patch classifier and one from scratch
_MARKER = ".monai-e2e-demo"


@dataclass(eq=False)
class Step:
    """One command of the demo; ``argv`` is what is run, its output goes to ``log``, after the steps that it ``needs``.

    ``cost`` is about what it takes, in seconds of a core, from which the time left is told.
    """

    name: str
    argv: Sequence[str]
    log: Path
    cost: float = 1.0
    needs: Sequence[Step] = ()
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

    def run(self, steps: Sequence[Step]) -> None:
        """Run steps side by side, each as soon as those that it needs have ended; of several the first listed."""
        self.steps += steps
        lanes = max(1, min(4, os.cpu_count() or 1))
        start, waiting = time.monotonic(), list(steps)
        running: dict[Future[None], Step] = {}
        with ThreadPoolExecutor(lanes) as pool:
            while waiting or running:
                unfinished = {*waiting, *running.values()}
                ready = [step for step in waiting if unfinished.isdisjoint(step.needs)]
                for step in ready[: lanes - len(running)]:
                    logger.info("        …  %s", step.name)
                    running[pool.submit(step.run)] = step
                    waiting.remove(step)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    step = running.pop(future)
                    left = _time_left(time.monotonic() - start, steps, [*waiting, *running.values()])
                    logger.info("%7.0f s  %s%s", step.seconds, step.name, left)

    def draw(self, dataset: str) -> Step:
        bundle = "inbreast_transfer" if dataset == "inbreast" else "ddsm_whole"
        patients = train_config(self.bundles / bundle)["phantom"]["patients"]
        arguments = ("phantom", dataset, self.download(dataset), "--patients", patients)
        return self._cli(f"draw {dataset}", *arguments, cost=patients / 4)

    def prepare(self, dataset: str, drawn: Step, *options: str) -> Step:
        size = "x".join(str(length) for length in phantom_recipe(self.bundles / "ddsm_whole")["image_size"])
        folders = (self.download(dataset), self.prepared(dataset))
        arguments = ("prepare", dataset, *folders, "--image-size", size, *options)
        return self._cli(f"prepare {dataset}", *arguments, cost=20, needs=[drawn])

    def bundle(
        self,
        name: str,
        action: str,
        bundle: str,
        configs: Sequence[str],
        run: str,
        cost: float,
        needs: Sequence[Step],
        **keys: object,
    ) -> Step:
        files = [str(self.bundles / bundle / "configs" / f"{config}.json") for config in configs]
        dataset = "inbreast" if bundle == "inbreast_transfer" else "cbis-ddsm"
        keys = {"dataset_dir": self.prepared(dataset), "recipe": "phantom", "output_dir": self.out / run, **keys}
        arguments = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
        config = files[0] if len(files) == 1 else str(files).replace(" ", "")
        argv = ["-m", "monai.bundle", "run", action, "--config_file", config, *arguments]
        return Step(name, argv, self._log(name), cost, needs)

    def train(self, bundle: str, run: str, seed: int, needs: Sequence[Step], **keys: object) -> Step:
        epochs = sum(stage["epochs"] for stage in phantom_recipe(self.bundles / bundle)["stages"])
        keys = {"model_dir": self.out / run, "seed": seed, **keys}
        return self.bundle(f"train {run}", "training", bundle, ["train"], run, 10 + 10 * epochs, needs, **keys)

    def evaluate(self, bundle: str, run: str, trained: Step) -> Step:
        keys = {"model_dir": self.out / run}
        return self.bundle(f"evaluate {run}", "evaluating", bundle, ["train", "evaluate"], run, 15, [trained], **keys)

    def predict(self, run: str, *models: Path, needs: Sequence[Step]) -> Step:
        arguments = ("predict", *models, self.prepared("cbis-ddsm"), self.out / run)
        options = ("--tta", "flips", "--heatmap", "--workers", 0)
        return self._cli(f"predict {run}", *arguments, *options, cost=40, needs=needs)

    def score(self, run: str, predicted: Step) -> Step:
        return self._cli(f"score {run}", "score", self.out / run / "predictions.csv", cost=5, needs=[predicted])

    def forest(self, run: str, patch_model: Path, trained: Step) -> Step:
        arguments = ("forest", patch_model, self.prepared("cbis-ddsm"), self.out / run)
        return self._cli(f"{run} on heatmaps", *arguments, cost=40, needs=[trained])

    def _cli(self, name: str, *arguments: object, cost: float, needs: Sequence[Step] = ()) -> Step:
        return Step(name, ["-m", "monai_e2e", *map(str, arguments)], self._log(name), cost, needs)

    def _log(self, name: str) -> Path:
        return self.out / "logs" / f"{name.replace(' ', '-').replace('/', '-')}.log"


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
    patch = demo.out / "patch" / "model.pt"
    whole = {s: demo.out / f"whole/seed{s}" / "model.pt" for s in seeds}
    scratch = _scratch_plan(phantom_recipe(demo.bundles / "ddsm_whole"))
    drawn, drawn_inbreast = demo.draw("cbis-ddsm"), demo.draw("inbreast")
    prepared = demo.prepare("cbis-ddsm", drawn, "--protocol", "official")
    prepared_inbreast = demo.prepare("inbreast", drawn_inbreast)
    patches = demo.train("ddsm_patch", "patch", seed, [prepared])
    wholes = [demo.train("ddsm_whole", f"whole/seed{s}", s, [patches], patch_checkpoint=patch) for s in seeds]
    rivals = [
        demo.train("ddsm_whole", f"scratch/seed{s}", s, [prepared], weights="scratch", stages=scratch) for s in seeds
    ]
    transfers = [
        demo.train("inbreast_transfer", f"transfer/seed{s}", s, [trained, prepared_inbreast], whole_checkpoint=whole[s])
        for s, trained in zip(seeds, wholes, strict=True)
    ]
    flips = demo.predict("flips", whole[seed], patch, needs=[wholes[0]])
    evaluations = [demo.evaluate("ddsm_patch", "patch", patches)]
    for kind, bundle, trainings in (
        ("whole", "ddsm_whole", wholes),
        ("scratch", "ddsm_whole", rivals),
        ("transfer", "inbreast_transfer", transfers),
    ):
        evaluations += [demo.evaluate(bundle, f"{kind}/seed{s}", t) for s, t in zip(seeds, trainings, strict=True)]
    data = [drawn, prepared, drawn_inbreast, prepared_inbreast]
    rest = [demo.forest("forest", patch, patches), flips, demo.score("flips", flips)]
    demo.run([*data, patches, *wholes, *transfers, *rivals, *rest, *evaluations])
    summary = _summary(demo, seeds, time.monotonic() - start)
    (demo.out / "summary.json").write_text(json.dumps(summary, indent=4) + "\n", encoding="utf-8")
    write_page(demo.out, summary, [(step.command, step.seconds) for step in demo.steps])
    return summary


def _time_left(seconds: float, steps: Sequence[Step], unfinished: Sequence[Step]) -> str:
    """The time left, in words, from what the steps that have ended took."""
    left, total = (sum(step.cost for step in some) for some in (unfinished, steps))
    if not unfinished:
        return ""
    minutes = seconds * left / (total - left) / 60
    return f", about {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"


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
