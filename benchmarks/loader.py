"""Share of a training step that the trainer waits for its next batch, by kind of cache and number of loader processes.

Run: ``OMP_NUM_THREADS=1 python benchmarks/loader.py --step 0.25``. It trains by the configuration of ``ddsm_whole`` in
the paper's size (1152 × 896, batch 2) on phantoms, and takes the times from Ignite's profiler. With ``--step`` the
network is replaced by a pause of so many seconds, which leaves the processor idle as a GPU does; without it the step is
the paper's network on the processor, some ten seconds long. First it prints what each transform costs.

The steady state is the second half of the last epoch: the first epoch fills the cache on disk, and an epoch's first
batches come from what the loader has prepared ahead.
"""

import argparse
import logging
import statistics
import tempfile
import time
from pathlib import Path

import torch
from ignite.handlers import BasicTimeProfiler
from monai.bundle import ConfigWorkflow

from monai_e2e.data import phantom_dataset

CONFIG = Path(__file__).parents[1] / "bundles/ddsm_whole/configs/train.json"
EPOCHS = 2


def workflow(prepared: str, folder: str, steps: int, **keys: object) -> ConfigWorkflow:
    """The bundle's training, ready to run, of so many steps an epoch."""
    plan = [{"name": "all layers", "trainable": ["*"], "lr": 1e-6, "epochs": EPOCHS}]
    made = ConfigWorkflow(
        str(CONFIG),
        run_id="training",
        logging_file=False,
        recipe="paper",
        weights="scratch",
        dataset_dir=prepared,
        cache_dir=f"{folder}/cache",
        output_dir=f"{folder}/out",
        model_dir=f"{folder}/out",
        stages=plan,
        val_interval=EPOCHS + 1,
        num_threads=1,
        **{"train#trainer#epoch_length": steps, **keys},
    )
    made.initialize()
    return made


def costs_of_transforms(prepared: str, folder: str) -> dict[str, float]:
    """Milliseconds on one core, median over images."""
    parser = workflow(prepared, folder, 1, cache="none").parser
    samples, chain = (parser.get_parsed_content(f"train#{key}") for key in ("dataset#data", "preprocessing"))
    times: dict[str, list[float]] = {}
    for sample in samples[:20]:
        for index, transform in enumerate(chain.flatten().transforms):
            start = time.perf_counter()
            sample = transform(sample)
            name = getattr(transform, "__name__", type(transform).__name__)
            times.setdefault(f"{index} {name}", []).append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(seconds) for name, seconds in times.items()}


def waiting(
    prepared: str, folder: str, steps: int, step: float | None, cache: str, workers: int, **keys: object
) -> list[float]:
    """Seconds that a batch takes of the trainer and of the loader, and an epoch's first batch of the loader."""
    # The pause needs some network for the optimizer, and a small one is quickly written to the checkpoint.
    width = {} if step is None else {"width": 0.0625}
    parser = workflow(prepared, folder, steps, cache=cache, num_workers=workers, **width, **keys).parser
    trainer, network = (parser.get_parsed_content(key) for key in ("train#trainer", "network"))
    if steps > (most := len(parser.get_parsed_content("train#dataloader"))):
        raise SystemExit(f"{steps} steps: these patients have images for {most}; use fewer --steps or more --patients")
    if step is not None:

        def pause(images: torch.Tensor) -> torch.Tensor:
            time.sleep(step)
            return network.head(torch.zeros(len(images), network.head.in_features))

        network.forward = pause
    profiler = BasicTimeProfiler()
    profiler.attach(trainer)
    trainer.run()
    # It notes a batch under the iteration before it, the first one under the last.
    loading = profiler.dataflow_times.roll(1)[steps * (EPOCHS - 1) : steps * EPOCHS]
    processing = profiler.processing_times[steps * (EPOCHS - 1) : steps * EPOCHS]
    return [processing[steps // 2 :].mean().item(), loading[steps // 2 :].mean().item(), loading[0].item()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=float, help="seconds of a pause in place of the network")
    parser.add_argument("--steps", type=int, help="steps of an epoch (40 with --step, else 6)")
    parser.add_argument("--patients", type=int, default=60, help="phantoms' patients")
    parser.add_argument("--caches", nargs="+", default=["none", "disk", "memory"])
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2, 4])
    settings = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    prepared = phantom_dataset("cbis-ddsm", patients=settings.patients, image_size=(1152, 896))
    with tempfile.TemporaryDirectory() as folder:
        for name, milliseconds in costs_of_transforms(prepared, folder).items():
            print(f"{name:<36} {milliseconds:>6.1f} ms")
        print(f"\n{'cache':<8} {'num_workers':>11} {'step':>9} {'waiting':>10} {'share':>7} {'first batch':>12}")
        for cache in settings.caches:
            for workers in settings.workers:
                steps = settings.steps or (6 if settings.step is None else 40)
                step, wait, first = waiting(prepared, folder, steps, settings.step, cache, workers)
                share = wait / (step + wait)
                print(f"{cache:<8} {workers:>11} {step:>7.2f} s {1000 * wait:>7.1f} ms {share:>7.1%} {first:>10.2f} s")


if __name__ == "__main__":
    main()
