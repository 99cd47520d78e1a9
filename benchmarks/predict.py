"""Time and memory of ``monai-e2e predict``: per image, by reading processes, and as the number of images grows.

Run: ``python benchmarks/predict.py``. Untrained networks; noise in the shape of images, written as PNG. Each is
measured in a process of its own, whose largest resident memory the system reports; reading processes are counted apart.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import record

from monai_e2e.inferers import FlipAveraging
from monai_e2e.networks import PatchClassifier, WholeImageClassifier
from monai_e2e.predict import Options, predict

#: Name, rows and columns of the images, their numbers, the network's image, and how wide the network is.
CASES = (
    ("small images", (288, 224), (20, 200), (288, 224), 0.0625),
    ("large images", (4084, 3328), (4, 8), (1152, 896), 0.0625),
)


def save_model(path: Path, image_size: tuple[int, int], width: float) -> None:
    torch.manual_seed(0)
    preparation = {"image_size": list(image_size), "voi_lut": False}
    network = WholeImageClassifier(PatchClassifier("vgg16", width=width), ["32x1"], preparation=preparation)
    torch.save(network.state_dict(), path)


def write_images(folder: Path, size: tuple[int, int], count: int) -> None:
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 4096, size, dtype=np.uint16) * 16
    for number in range(count):
        Image.fromarray(np.roll(pixels, number)).save(folder / f"{number:04d}.png", compress_level=1)


def measure(model: str, images: str, out: str, workers: int) -> None:
    """Run in a process of its own; prints JSON."""
    start = time.perf_counter()
    outcome = predict([model], images, out, Options(device="cpu", workers=workers))
    peaks = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps([outcome.predicted, time.perf_counter() - start, *peaks]))


def memory() -> None:
    columns = f"{'s per image':>11} {'images a minute':>15} {'MiB':>7} {'MiB of the largest reader':>26}"
    print(f"{'':12} {'images':>6} {'workers':>8} {columns}")
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as root:
        for name, size, counts, image_size, width in CASES:
            model = Path(root, f"{size[0]}.pt")
            save_model(model, image_size, width)
            for count in counts:
                images = Path(root, f"{size[0]}-{count}")
                write_images(images, size, count)
                for workers in (0, 1, 2, 4) if count == counts[-1] else (0,):
                    arguments = [str(model), str(images), f"{images}-out-{workers}", str(workers)]
                    command = [sys.executable, __file__, *arguments]
                    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                    number, seconds, own, reader = json.loads(found.splitlines()[-1])
                    rows.append({"name": name, "images": number, "workers": workers, "s": seconds, "MiB": own})
                    reader = f"{reader:26.0f}" if workers else f"{'-':>26}"
                    rate = f"{seconds / number:11.3f} {60 * number / seconds:15.0f}"
                    print(f"{name:12} {number:6} {workers:8} {rate} {own:7.0f} {reader}", flush=True)
    record("predict, by number of images and of reading processes", rows)


def flips() -> None:
    """Four flips one after the other, as :class:`FlipAveraging` does it, and as one batch."""
    torch.manual_seed(0)
    network = WholeImageClassifier(PatchClassifier("resnet50"), ["[512-512-1024]x2"] * 2).eval()
    image = torch.randn(1, 3, 1152, 896)
    ways = {
        "one after the other": lambda: FlipAveraging()(image, network),
        "one batch of four": lambda: FlipAveraging(together=True)(image, network),
    }
    for name, run in ways.items():
        with torch.inference_mode():
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name:20} {seconds:6.2f} s, peak so far {peak:.0f} MiB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(*sys.argv[1:4], int(sys.argv[4]))
    else:
        memory()
        flips()
