"""Time a training step with channels-last and with contiguous weights, side by side (small phantom networks, CPU).

Run: ``python benchmarks/memory_format.py``. Prints the median step of both and their ratio; absolute times are those of
the machine.
"""

import statistics
import time

import torch

from monai_e2e.networks import PatchClassifier, WholeImageClassifier

STEPS = 15


def step_seconds(network: torch.nn.Module, images: torch.Tensor) -> float:
    """Seconds of one forward and backward pass."""
    labels = torch.zeros(len(images), dtype=torch.long)
    start = time.perf_counter()
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    for backbone, width in (("vgg16", 0.125), ("resnet50", 0.25)):
        patch = PatchClassifier(backbone, width=width)
        whole = WholeImageClassifier(PatchClassifier(backbone, width=width), ["[64-64-128]x1", "[64-64-128]x1"])
        for name, network, images in (
            ("patches", patch, torch.randn(32, 3, 64, 64)),
            ("whole images", whole, torch.randn(8, 3, 288, 224)),
        ):
            times: dict[torch.memory_format, list[float]] = {torch.contiguous_format: [], torch.channels_last: []}
            for _ in range(STEPS):
                for memory_format, seconds in times.items():
                    seconds.append(step_seconds(network.to(memory_format=memory_format), images))
            plain, last = (statistics.median(seconds) for seconds in times.values())
            print(f"{backbone} {name}: contiguous {plain:.3f} s, channels last {last:.3f} s, ratio {plain / last:.2f}")


if __name__ == "__main__":
    main()
