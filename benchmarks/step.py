"""A bundle's training step against the same network, batch and loss in a bare loop, and stage 1 against a full step.

Run: ``OMP_NUM_THREADS=1 python benchmarks/step.py [--recipe phantom] [--steps 8] [--rounds 5]``. The bundles train on
phantoms of the recipe's size, from random weights, with images in memory and the loader in the same process. Times are
of the processor, medians of a round's steps; a ratio below 1 is the share of the bare loop's speed that a bundle has.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow
from timing import show

from monai_e2e.data import phantom_dataset

BUNDLES = Path(__file__).parents[1] / "bundles"
NAMES = ("ddsm_patch", "ddsm_whole")


def bare(parser, batch: dict, steps: int) -> list[float]:
    """Seconds of steps of the network as its stage has it, without MONAI's and Ignite's engines."""
    network, loss, optimizer = (parser.get_parsed_content(key) for key in ("network", "loss", "optimizer"))
    seconds = []
    for _ in range(steps):
        start = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        value = loss(network(batch["image"]), batch["label"])
        value.backward()
        optimizer.step()
        value.item()
        seconds.append(time.process_time() - start)
    return seconds


def recipe_of(bundle: str, name: str) -> dict[str, Any]:
    return ConfigParser.load_config_file(BUNDLES / bundle / "configs/train.json")["recipes"][name]


def times(bundle: str, recipe: str, prepared: str, folder: str, steps: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of a step in each round, of all layers and of the first stage's, in a bare loop and in the bundle."""
    first = recipe_of(bundle, recipe)["stages"][0]
    stages = {"all layers": ["*"], first["name"]: first["trainable"]}
    plan = [{"name": name, "trainable": parts, "lr": 1e-4, "epochs": 1} for name, parts in stages.items()]
    workflow = ConfigWorkflow(
        str(BUNDLES / bundle / "configs/train.json"),
        run_id="training",
        logging_file=False,
        recipe=recipe,
        weights="scratch",
        cache="memory",
        num_workers=0,
        num_threads=1,
        dataset_dir=prepared,
        output_dir=folder,
        model_dir=folder,
        stages=plan * (rounds + 1),
        val_interval=len(plan) * (rounds + 1) + 1,
        **{"train#trainer#epoch_length": steps},
    )
    workflow.initialize()
    parser = workflow.parser
    trainer = parser.get_parsed_content("train#trainer")
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    found: dict[str, list[float]] = {f"{how}, {name}": [] for name in stages for how in ("bare loop", "bundle")}
    ends: list[float] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: ends.append(time.process_time()))

    def complete(engine) -> None:
        steps_of_bundle = [end - start for start, end in pairwise(ends)]
        ends.clear()
        if engine.state.epoch > len(plan):  # the first round is not counted
            name = plan[(engine.state.stage - 1) % len(plan)]["name"]
            found[f"bundle, {name}"].append(statistics.median(steps_of_bundle))
            found[f"bare loop, {name}"].append(statistics.median(bare(parser, batch, steps)))

    trainer.add_event_handler(Events.EPOCH_COMPLETED, complete)
    trainer.run()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="phantom", choices=["phantom", "small", "paper"])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--patients", type=int, default=30, help="phantoms' patients")
    settings = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    size = recipe_of(NAMES[0], settings.recipe)["image_size"]
    prepared = phantom_dataset("cbis-ddsm", patients=settings.patients, image_size=size)
    for bundle in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            found = times(bundle, settings.recipe, prepared, folder, settings.steps, settings.rounds)
            show(f"{bundle}, one step", found, "ms")


if __name__ == "__main__":
    main()
