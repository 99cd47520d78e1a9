"""Cost of DistributedDataParallel's ``find_unused_parameters`` in a stage that trains everything, and so has none.

Run: ``OMP_NUM_THREADS=1 python benchmarks/find_unused_parameters.py``. Two processes (Gloo on the processor) train a
whole-image network by turns with and without it. Prints the median step of both, and the median of their ratio with its
quartiles. A stage that freezes layers can't do without: the wrapper would wait for gradients that never come.
"""

import statistics
import tempfile
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from monai_e2e.networks import PatchClassifier, WholeImageClassifier

STEPS = 40
#: The first two steps of each wrapper build its buckets.
WARM_UP = 3


def step_seconds(network: torch.nn.Module, images: torch.Tensor) -> float:
    """Seconds of one forward and backward pass, both processes beginning together."""
    dist.barrier()
    start = time.perf_counter()
    torch.nn.functional.cross_entropy(network(images), torch.zeros(len(images), dtype=torch.long)).backward()
    return time.perf_counter() - start


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    times: dict[bool, list[float]] = {False: [], True: []}
    wrapped = {}
    for find in times:
        network = WholeImageClassifier(PatchClassifier("resnet50", width=0.25), ["[64-64-128]x2", "[64-64-128]x2"])
        wrapped[find] = DistributedDataParallel(network.train(), find_unused_parameters=find)
    images = torch.randn(2, 3, 288, 224)
    for _ in range(STEPS):
        for find, seconds in times.items():
            seconds.append(step_seconds(wrapped[find], images))
    if rank == 0:
        without, found = (seconds[WARM_UP:] for seconds in times.values())
        ratios = [b / a for a, b in zip(without, found, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"without {1000 * statistics.median(without):.1f} ms, with {1000 * statistics.median(found):.1f} ms,")
        print(f"ratio {middle:.3f} ({low:.3f}–{high:.3f}), {sum(1 for _ in network.parameters())} parameters")
    wrapped.clear()
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(process, args=(folder,), nprocs=2)


if __name__ == "__main__":
    main()
