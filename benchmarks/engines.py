"""An image through one network by every engine of ``monai-e2e predict``, by turns.

Run: ``python benchmarks/engines.py [--backbone resnet50] [--size 1152 896] [--threads 2]``. Untrained, with scores that
aren't 0 or 1. The first way is the network as PyTorch makes it, with contiguous weights. Also the largest difference of
a probability from it, the time of the first image (conversion and check), and four flips by each engine.

``--processor`` counts the time of the processor's cores in place of the clock's: on a machine that does other work too,
with ``--threads 1``, it says what a quiet one would do.
"""

import argparse
import os
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from timing import compare, record, show

from monai_e2e.networks import PatchClassifier, WholeImageClassifier
from monai_e2e.predict.engines import Engine
from monai_e2e.predict.models import load_model

CPU = torch.device("cpu")


@torch.inference_mode()
def save_model(path: Path, backbone: str, width: float, size: tuple[int, int]) -> None:
    """The paper's second network, its head scaled so that the log-odds of noise are about 1."""
    torch.manual_seed(0)
    preparation = {"image_size": list(size), "voi_lut": False}
    patch = PatchClassifier(backbone, width=width)
    network = WholeImageClassifier(patch, ["[512-512-1024]x2"] * 2, preparation=preparation).eval()
    logits = network(torch.from_numpy(noise(size)[None]))
    network.head.weight /= float((logits[0, 0] - logits[0, 1]).abs())
    torch.save(network.state_dict(), path)


def noise(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 60, (3, *size)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", type=int, nargs=2, default=(1152, 896))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--processor", action="store_true")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    clock = time.process_time if settings.processor else time.perf_counter
    size = (settings.size[0], settings.size[1])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        path = Path(folder, "model.pt")
        save_model(path, settings.backbone, settings.width, size)
        before, image = load_model(path, CPU, ""), noise(size)
        batch = torch.from_numpy(image[None])

        @torch.inference_mode()
        def contiguous() -> torch.Tensor:
            return before.network(batch)

        ways, flips, rows = {"torch, contiguous": contiguous}, {}, []
        expected = contiguous().softmax(dim=1)
        for name, precision in (
            ("torch", "fp32"),
            ("onnxruntime", "fp32"),
            ("openvino", "fp32"),
            ("torch", "bf16"),
            ("openvino", "bf16"),
        ):
            if find_spec(name) is None:
                print(f"{name} is not installed")
                continue
            model, engine = load_model(path, CPU, ""), Engine(CPU, name, precision)
            start = clock()
            found = model.infer([image], engine).softmax(dim=1)
            seconds, difference = clock() - start, float((found - expected).abs().max())
            used = engine.used[model.name]
            rows.append({"name": used, "first image, s": seconds, "difference": difference})
            print(f"{name} {precision}: {used}, first image {seconds:.1f} s, differs by {difference:.1e}", flush=True)
            ways[f"{name} {precision}"] = lambda model=model, engine=engine: model.infer([image], engine)
            if precision == "fp32":
                flips[f"{name}, four flips"] = lambda model=model, engine=engine: model.infer([image], engine, True)
        kind = "processor time" if settings.processor else "time"
        what = f"{settings.backbone} × {settings.width:g}, {size[0]} × {size[1]}, {settings.threads} thread(s), {kind}"
        record(f"First image: {what}", rows)
        show(f"One image: {what}", compare(ways, settings.repeats, clock))
        show(f"Four flips: {what}", compare(flips, max(2, settings.repeats // 2), clock))


if __name__ == "__main__":
    main()
