"""What a GPU makes of the networks, the loader and the commands: one table, within nine minutes.

Run: ``python benchmarks/gpu.py [--sections NAME …] [--out docs]``, on a machine with CUDA's PyTorch of 2.11 or later
and this package's dependencies; nothing is fetched. Where some are missing, put them beside the checkout beforehand::

    pip install --target .gpu-packages --no-deps --only-binary=:all: --python-version 3.12 -c constraints.txt \\
        monai pytorch-ignite fire termcolor pydicom nibabel importlib_resources

Sections, in the order of importance; each begins only while its time is left, and one that fails is named:

- ``speed``: images per second, and share of the bf16 peak, which is that of a large matrix product on the same card
  (fp32 convolutions take TF32, as PyTorch's default is);
- ``curves``: the loss in float16 and bfloat16 against float32, of the same batches from the same weights;
- ``memory``: peak of a training step by option, beside the figures of ``benchmarks/memory.py`` for a card of 8 GB;
- ``predictions``: ``predict --device cuda`` against the processor's, in float32 and with ``--amp``;
- ``loader``: share of a step that the trainer waits, by the number of the loader's processes;
- ``command``: the training command of the documentation, for two epochs;
- ``compile``: ``torch.compile``, with and without CUDA graphs, and what it takes at the start.

``--tiny`` runs all but ``loader`` and ``command`` on a processor at a tiny size, to see that they work.
"""

import argparse
import contextlib
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: This package, and those put beside it.
PACKAGES = [str(HERE.parent), str(HERE.parent / ".gpu-packages")]
sys.path[:0] = PACKAGES

import torch  # noqa: E402
from loader import waiting  # noqa: E402
from memory import ROWS, Options  # noqa: E402
from run import write  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from monai_e2e.data import load_datalist, phantom_dataset  # noqa: E402
from monai_e2e.networks import PatchClassifier, WholeImageClassifier, checkpoint_activations  # noqa: E402
from monai_e2e.predict import Options as PredictOptions  # noqa: E402
from monai_e2e.predict import predict  # noqa: E402
from monai_e2e.provenance import device_name, git_state, now, versions  # noqa: E402
from monai_e2e.transforms import LoadMammogram  # noqa: E402

Row = dict[str, object]
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
SECONDS = 8.5 * 60


@dataclass(frozen=True)
class Scale:
    """Sizes of the measurements.

    Args:
        device: of the networks.
        whole: rows and columns of a whole image.
        patch: side of a patch.
        batches: number of patches, and of whole images, in a batch.
        width: of the networks.
        steps: timed steps of each measurement.
        patients: of the phantoms.
        top_blocks: of the whole-image networks.
    """

    device: torch.device
    whole: tuple[int, int] = (1152, 896)
    patch: int = 224
    batches: tuple[int, int] = (128, 8)
    width: float = 1.0
    steps: int = 8
    patients: int = 40
    top_blocks: tuple[str, ...] = ("[512-512-1024]x2", "[512-512-1024]x2")


TINY = Scale(torch.device("cpu"), (128, 96), 32, (2, 2), 0.0625, 1, 30, ("[8-8-16]x1",))


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(step: Callable[[], object], scale: Scale) -> float:
    """Seconds of a step, after two that aren't counted."""
    for _ in range(2):
        step()
    wait(scale.device)
    start = time.perf_counter()
    for _ in range(scale.steps):
        step()
    wait(scale.device)
    return (time.perf_counter() - start) / scale.steps


def peak_flops(device: torch.device) -> float:
    """Operations per second of a large product of bf16 matrices of random numbers, the fastest of five."""
    side = 8192 if device.type == "cuda" else 256
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(5):
        wait(device)
        start = time.perf_counter()
        for _ in range(10):
            a @ b
        wait(device)
        seconds.append((time.perf_counter() - start) / 10)
    return 2 * side**3 / min(seconds)


def make(backbone: str, whole: bool, scale: Scale) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A network on the device in channels_last, and a batch of images and labels for it."""
    torch.manual_seed(0)
    network: torch.nn.Module = PatchClassifier(backbone, width=scale.width)
    size = (scale.patch, scale.patch)
    if whole:
        network, size = WholeImageClassifier(network, scale.top_blocks), scale.whole
    network = network.to(scale.device, memory_format=torch.channels_last)
    images = (60 * torch.randn(scale.batches[whole], 3, *size)).to(scale.device, memory_format=torch.channels_last)
    return network, images, (torch.arange(len(images)) % 2).to(scale.device)


def training_step(
    network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, dtype: torch.dtype | None, lr: float = 1e-5
) -> Callable[[], torch.Tensor]:
    """One step of Adam with MONAI's way of mixed precision; gives the loss."""
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    scaler = torch.amp.GradScaler(images.device.type, enabled=dtype == torch.float16)
    network.train()

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, dtype, enabled=dtype is not None):
            loss = cross_entropy(network(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return step


def inference_step(network: torch.nn.Module, images: torch.Tensor, dtype: torch.dtype | None) -> Callable[[], object]:
    network.eval()

    def step() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(images.device.type, dtype, enabled=dtype is not None):
            return network(images)

    return step


def speed(scale: Scale) -> Iterator[Row]:
    """Images per second. Share of peak: against a large product of bf16 matrices on the same card."""
    peak = peak_flops(scale.device)
    yield {"what": "peak: a large product of bf16 matrices", "TFLOP/s": round(peak / 1e12, 1)}
    for backbone in ("efficientnet_lite0", "vgg16", "resnet50"):
        for whole in (False, True):
            network, images, labels = make(backbone, whole, scale)
            for kind in ("training", "inference"):
                with FlopCounterMode(display=False) as counter:
                    step = training_step(network, images[:1].repeat(2, 1, 1, 1), labels[:2], None)
                    step() if kind == "training" else inference_step(network, images[:2], None)()
                flops = counter.get_total_flops() / 2
                for name in ("fp32", "bf16") if scale.device.type == "cuda" else ("fp32",):
                    dtype = PRECISIONS[name]
                    step = (
                        training_step(network, images, labels, dtype)
                        if kind == "training"
                        else inference_step(network, images, dtype)
                    )
                    what = f"{backbone}, {'whole images' if whole else 'patches'}, {kind}, {name}"
                    try:
                        rate = len(images) / timed(step, scale)
                    except torch.OutOfMemoryError:
                        yield {"what": what, "images/s": f"out of memory with a batch of {len(images)}"}
                        continue
                    yield {"what": what, "images/s": round(rate, 1), "share of peak": round(rate * flops / peak, 3)}


def curves(scale: Scale) -> Iterator[Row]:
    """Mean losses of 40 steps on the same eight phantoms, ten by ten. Those of the last quarter should agree."""
    folder = phantom_dataset("cbis-ddsm", scale.patients, scale.whole)
    samples = load_datalist(folder, "training")
    chosen = [sample for label in (0, 1) for sample in [s for s in samples if s["label"] == label][:4]]
    load = LoadMammogram()
    images = torch.stack([load(sample["image"]).as_tensor() for sample in chosen]).repeat(1, 3, 1, 1) - 40
    labels = torch.tensor([sample["label"] for sample in chosen]).to(scale.device)
    images = images.to(scale.device, memory_format=torch.channels_last)
    for name, dtype in PRECISIONS.items():
        network, _, _ = make("resnet50", True, scale)
        step = training_step(network, images, labels, dtype, lr=1e-4)
        losses = [float(step()) for _ in range(40 if scale.device.type == "cuda" else 4)]
        tenth = len(losses) // 4
        means = [sum(losses[i : i + tenth]) / tenth for i in range(0, len(losses), tenth)]
        yield {"what": f"loss, {name}"} | {f"quarter {number + 1}": round(mean, 4) for number, mean in enumerate(means)}


def memory(scale: Scale) -> Iterator[Row]:
    """Memory of training steps by option, with the paper's batch of two images."""
    for options in ROWS:
        if scale.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        steps_of_memory(options, scale)
        gib = torch.cuda.max_memory_allocated() / 2**30 if scale.device.type == "cuda" else float("nan")
        held = torch.cuda.max_memory_reserved() / 2**30 if scale.device.type == "cuda" else float("nan")
        yield {
            "what": spoken(options),
            "peak, GiB": round(gib, 2),
            "reserved, GiB": round(held, 2),
            "below 8 GiB": held < 8,
        }


def spoken(options: Options) -> str:
    """The keys of ``train.json`` that are on."""
    chosen = {key: value for key, value in asdict(options).items() if value != getattr(Options(), key)}
    return ", ".join(key if value is True else f"{key} {value}" for key, value in chosen.items()) or "none"


def steps_of_memory(options: Options, scale: Scale) -> None:
    """Two optimizer steps as ``benchmarks/memory.py`` follows them, with the paper's batch of two."""
    network, images, labels = make("resnet50", True, scale)
    form = torch.channels_last if options.channels_last else torch.contiguous_format
    network, images, labels = network.to(memory_format=form).train(), images[:2].contiguous(), labels[:2]
    checkpoint_activations(network, options.checkpoint_activations)
    optimizer = torch.optim.Adam(network.parameter_groups(), lr=1e-4)
    dtype = getattr(torch, options.amp or "bfloat16")
    for _ in range(2):
        for _ in range(options.accumulation_steps):
            with torch.autocast(scale.device.type, dtype, enabled=bool(options.amp)):
                loss = cross_entropy(network(images), labels)
            (loss / options.accumulation_steps).backward()
        optimizer.step()
        optimizer.zero_grad()


def predictions(scale: Scale) -> Iterator[Row]:
    """Scores of `phantom-whole` on phantoms that it has never seen: on the GPU against those on the CPU."""
    folder = phantom_dataset("cbis-ddsm", scale.patients, (288, 224), seed=1)
    with tempfile.TemporaryDirectory() as out:
        found = {}
        ways = {"cpu": PredictOptions(device="cpu", engine="torch", allow_seen=True)}
        for name, options in (("fp32", {}), ("amp", {"amp": True}), ("bf16", {"precision": "bf16"})):
            if scale.device.type == "cuda" or name != "amp":
                device = str(scale.device)
                ways[f"{device} {name}"] = PredictOptions(device=device, engine="torch", allow_seen=True, **options)
        for name, options in ways.items():
            start = time.perf_counter()
            predict(["phantom-whole"], folder, Path(out, name), options)
            seconds = time.perf_counter() - start
            with Path(out, name, "predictions.csv").open(newline="", encoding="utf-8") as file:
                found[name] = {row["image"]: float(row["p_malignant"]) for row in csv.DictReader(file)}
            difference = max(abs(found[name][image] - p) for image, p in found["cpu"].items())
            row = {"what": f"predict, {name}", "images": len(found[name]), "s": round(seconds, 1)}
            yield row | {"largest difference": difference, "within 1e-3": difference <= 1e-3}


def loader(scale: Scale) -> Iterator[Row]:
    """Seconds of a training step and of its wait for images, by cache and number of the loader's processes."""
    prepared = phantom_dataset("cbis-ddsm", scale.patients, scale.whole)
    for cache in ("disk", "memory"):
        for workers in (1, 2, 4):
            with tempfile.TemporaryDirectory() as folder:
                step, waited, first = waiting(prepared, folder, 12, None, cache, workers, amp=True)
            share = waited / (step + waited)
            row = {"what": f"{cache}, {workers} process(es)", "step, s": round(step, 4), "waiting, s": round(waited, 4)}
            yield row | {"share": round(share, 3), "first batch, s": round(first, 2)}


def environment() -> dict[str, str]:
    """Of a command that needs the same packages, which may lie on the caller's own PYTHONPATH too."""
    given = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*PACKAGES, *given])}


def command(scale: Scale) -> Iterator[Row]:
    """The training command of the documentation, for two epochs."""
    prepared = phantom_dataset("cbis-ddsm", scale.patients, scale.whole)
    stages = [{"name": "all layers", "trainable": ["*"], "lr": 1e-5, "epochs": 2}]
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["run", "training", "--config_file", "bundles/ddsm_whole/configs/train.json"]
        arguments += ["--dataset_dir", prepared, "--recipe", "paper", "--weights", "scratch", "--amp", "true"]
        arguments += ["--cache_dir", f"{folder}/cache", "--output_dir", f"{folder}/out", "--model_dir", f"{folder}/out"]
        arguments += ["--stages", str(stages)]
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "monai.bundle", *arguments],
            cwd=HERE.parent,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=150,
        )
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "Best " in line or "rror" in line]
        row = {"what": f"python -m monai.bundle {' '.join(arguments[:4])} …", "exit status": done.returncode}
        yield row | {"s": round(time.perf_counter() - start), "said": lines[-1][-200:] if lines else ""}


def compile_(scale: Scale) -> Iterator[Row]:
    """`torch.compile` by mode against PyTorch without it (eager)."""
    backend = {} if scale.device.type == "cuda" else {"backend": "aot_eager"}
    for whole, kind, batch in ((True, "inference", 1), (False, "training", None)):
        network, images, labels = make("resnet50", whole, scale)
        images, labels = images[:batch], labels[:batch]
        for mode in (None, "default", "reduce-overhead"):
            torch.compiler.reset()
            options = backend or {"mode": mode}
            compiled = network if mode is None else torch.compile(network, **options)
            step = (
                training_step(compiled, images, labels, torch.bfloat16)
                if kind == "training"
                else inference_step(compiled, images, torch.bfloat16)
            )
            start = time.perf_counter()
            step()
            wait(scale.device)
            first = time.perf_counter() - start
            what = f"resnet50, {'whole image' if whole else 'patches'}, {kind}, bf16, batch {len(images)}"
            rate = len(images) / timed(step, scale)
            what = f"{what}, {mode or 'eager'}"
            yield {"what": what, "images/s": round(rate, 1), "first step, s": round(first, 1)}


SECTIONS: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "speed": speed,
    "curves": curves,
    "memory": memory,
    "predictions": predictions,
    "loader": loader,
    "command": command,
    "compile": compile_,
}


def measure(name: str, scale: Scale, until: float) -> dict[str, object]:
    """A section's rows, as many as there is time for, as a result of :func:`run.write`."""
    start, rows, state = time.perf_counter(), [], "finished"
    if scale.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        if time.monotonic() > until:
            raise TimeoutError("not begun")
        for row in SECTIONS[name](scale):
            rows.append(row)
            print(name, *(f"{key} {value}" for key, value in row.items()), sep=" | ", flush=True)
            if time.monotonic() > until:
                state = "ended for lack of time"
                break
    except Exception as error:  # noqa: BLE001 # the other sections are measured all the same
        state = f"failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        print(f"{name} {state}", flush=True)
    return {
        "name": name,
        "about": SECTIONS[name].__doc__ or "",
        "command": f"python benchmarks/gpu.py --sections {name}",
        "state": state,
        "seconds": time.perf_counter() - start,
        "output": "",
        "tables": [{"title": name, "rows": rows}],
    }


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=None)
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs")
    parser.add_argument("--tiny", action="store_true", help="on a processor, to see that it works")
    settings = parser.parse_args(given)
    if not settings.tiny and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU here; --tiny runs the measurements on a processor, whose figures say nothing")
    scale = TINY if settings.tiny else Scale(torch.device("cuda"))
    names = settings.sections or [name for name in SECTIONS if not settings.tiny or name not in ("loader", "command")]
    until = time.monotonic() + SECONDS
    machine = {"device": device_name(scale.device), "time": now(), "versions": versions()}
    machine["revision"] = git_state(HERE.parent / "monai_e2e")["revision"]
    results: list[dict[str, object]] = []
    with contextlib.suppress(KeyboardInterrupt):
        for name in names:
            results.append(measure(name, scale, until))
            write(settings.out, machine, results, "tiny" if settings.tiny else "gpu", "benchmarks/gpu.py")


if __name__ == "__main__":
    main()
