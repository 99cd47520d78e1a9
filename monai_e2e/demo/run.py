"""The whole pipeline on phantoms, by the same commands that users type: data → patch → whole image → transfer.

The ablation of the paper's claim runs beside it: the same whole-image network, trained on the same images for the
same number of epochs, but from scratch instead of from the patch classifier.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from monai_e2e.demo.page import with_interval, write_page
from monai_e2e.errors import UserError
from monai_e2e.experiment.commands import Commands, recipe_of
from monai_e2e.shipped.bundles import bundles_folder
from monai_e2e.work.files import write_json
from monai_e2e.work.forked import TRAINING, import_once
from monai_e2e.work.steps import Progress, Step, command_variables, run_steps

logger = logging.getLogger(__name__)

SEEDS = 2  # each seed trains one network from the patch classifier and one from scratch
_MARKER = ".monai-e2e-demo"


#: About what a step takes beside the others, in seconds, by the first word of its name.
_COSTS = {"draw": 40, "prepare": 16, "train": 100, "evaluate": 6, "predict": 35, "forest": 24, "score": 2, "gallery": 6}


class Demo(Commands):
    """The steps of the demo, those first that most wait for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.steps: list[Step] = []

    def add(self, step: Step, *after: Step) -> Step:
        """Add a step that is run as soon as others have succeeded."""
        step.after = after
        self.steps.append(step)
        return step

    def add_all(self, seeds: Sequence[int]) -> None:
        """Add the steps of the whole demo, which trains with each of the seeds."""
        patch = self.out / "patch" / "model.pt"
        whole = {s: self.out / f"whole/seed{s}" / "model.pt" for s in seeds}
        plan = _scratch_plan(recipe_of(self.bundles / "ddsm_whole"))
        drawn = self.add(self.draw("cbis-ddsm"))
        prepared = self.add(self.prepare("cbis-ddsm", "--protocol", "official"), drawn)
        inbreast = self.add(self.prepare("inbreast"), self.add(self.draw("inbreast")))
        patches = self.add(self.train("ddsm_patch", "patch", seeds[0]), prepared)
        wholes = {
            s: self.add(self.train("ddsm_whole", f"whole/seed{s}", s, patch_checkpoint=patch), patches) for s in seeds
        }
        transfers = {
            s: self.add(
                self.train("inbreast_transfer", f"transfer/seed{s}", s, whole_checkpoint=whole[s]), wholes[s], inbreast
            )
            for s in seeds
        }
        scratch = {
            s: self.add(self.train("ddsm_whole", f"scratch/seed{s}", s, weights="scratch", stages=plan), prepared)
            for s in seeds
        }
        self.add(self.forest("forest", patch), patches)
        flips = self.predict("flips", whole[seeds[0]], patch, options=("--tta", "flips", "--heatmap"))
        predicted = self.add(flips, wholes[seeds[0]])
        self.add(self.score("flips"), predicted)
        self.add(self.gallery("flips", "cbis-ddsm"), predicted)
        self.add(self.evaluate("ddsm_patch", "patch"), patches)
        for s in seeds:
            self.add(self.evaluate("ddsm_whole", f"whole/seed{s}"), wholes[s])
            self.add(self.evaluate("ddsm_whole", f"scratch/seed{s}"), scratch[s])
            self.add(self.evaluate("inbreast_transfer", f"transfer/seed{s}"), transfers[s])

    def gallery(self, run: str, dataset: str) -> Step:
        # An average over flips has no threshold of its own.
        folders = (self.out / run, self.prepared(dataset), self.out / "gallery")
        return self.cli(f"gallery {run}", "gallery", *folders, "--threshold", 0.5)

    def run(self) -> None:
        """Run the steps; raises the ``UserError`` of the first that fails, after which no other is begun."""
        import_once(TRAINING, command_variables(self.threads))
        lanes = max(1, min(4, os.cpu_count() or 1))
        watch = Progress(self.steps, lambda step: step.seconds > 0, lambda: self.seconds_left(lanes))
        failed = run_steps(self.steps, lanes, watch=watch, keep_going=False)
        if failed:
            raise next(iter(failed.values()))

    def seconds_left(self, lanes: int) -> float | None:
        """What the other steps take, ``lanes`` at a time, by what those took that have ended, None before the first."""
        costs = {step: _COSTS[step.name.split()[0]] for step in self.steps}
        ended = [step for step in self.steps if step.seconds]
        if not ended:
            return None
        spent = sum(costs[step] for step in ended)
        return sum(step.seconds for step in ended) / spent * (sum(costs.values()) - spent) / lanes


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
    demo = Demo(Path(out), bundles_folder() if bundles is None else Path(bundles))
    _empty(demo.out)
    start = time.monotonic()
    logger.info("Demo on phantoms, drawn and not real mammograms. Results: %s", demo.out)

    seeds = [seed + index for index in range(SEEDS)]
    demo.add_all(seeds)
    demo.run()
    summary = _summary(demo, seeds, time.monotonic() - start)
    write_json(demo.out / "summary.json", summary)
    write_page(demo.out, summary, [(step.command, step.seconds) for step in demo.steps])
    return summary


def format_summary(summary: dict) -> str:
    """The demo's table for the terminal."""
    whole, transfer = summary["whole"], summary["transfer"]
    seeds = f"mean of {len(summary['seeds'])} seeds"
    rows = [
        ("patch classifier, accuracy", f"{summary['patch']['accuracy']:.3f}", "CBIS-DDSM phantoms, five classes"),
        ("whole image, AUC", with_interval(whole), "from the patch classifier"),
        (f"  {seeds}", f"{whole['auc_mean']:.3f}", "from the patch classifier"),
        (f"  {seeds}", f"{whole['auc_from_scratch']:.3f}", "from scratch, same images and epochs"),
        ("  four flips averaged", with_interval(summary["flips"]), "the first, as the paper augments predictions"),
        ("  random forest, AUC", with_interval(summary["forest"]), "on the patch classifier's heatmaps (Appendix 1)"),
        ("transferred, AUC", with_interval(transfer), "INbreast phantoms, image labels alone"),
        (f"  {seeds}", f"{transfer['auc_mean']:.3f}", "INbreast phantoms, image labels alone"),
    ]
    lines = [f"{name:<28} {value:<22} {note}" for name, value, note in rows]
    lines.append("")
    lines += [f"{name:<28} {path}" for name, path in summary["paths"].items()]
    return "\n".join(lines)


def _scratch_plan(recipe: dict) -> str:
    # From scratch all layers learn from the first epoch on, at the plan's highest rate: freezing random layers first,
    # as the staged plan does, would only put it at a disadvantage.
    epochs = sum(stage["epochs"] for stage in recipe["stages"])
    fastest = max(stage["lr"] for stage in recipe["stages"])
    return str([{**recipe["stages"][-1], "name": "all layers", "trainable": ["*"], "lr": fastest, "epochs": epochs}])


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
            "images with heatmaps": str(demo.out / "gallery" / "index.html"),
        },
    }


def _empty(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        if not (out / _MARKER).is_file():
            raise UserError(f"{out} is not empty and not an earlier demo's folder: name another one with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARKER).touch()
