"""Peak memory of a training step of the paper's whole-image network, option by option.

Run: ``OMP_NUM_THREADS=1 python benchmarks/memory.py``. The step is run on fake tensors, which have shapes and no
numbers, and every tensor alive is counted by PyTorch's own memory tracker. So no GPU is needed; what a GPU's libraries
take for themselves (context, workspaces of cuDNN) is not in the figures. Nor is ``compile``, the one option that can't
be followed so: what it keeps is decided by the code that it makes for a device.
"""

import copy
from dataclasses import dataclass, fields

import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from monai_e2e.networks import PatchClassifier, WholeImageClassifier, checkpoint_activations

IMAGE_SIZE, BATCH_SIZE, BLOCKS = (1152, 896), 2, ["[512-512-1024]x2", "[512-512-1024]x2"]


@dataclass(frozen=True)
class Options:
    """Keys of ``train.json``, off by default here."""

    amp: str | None = None
    channels_last: bool = False
    accumulation_steps: int = 1
    checkpoint_activations: bool = False


ROWS = (
    Options(),
    Options(channels_last=True),
    Options(accumulation_steps=4),
    Options(checkpoint_activations=True),
    Options(amp="bfloat16"),
    Options(amp="float16"),
    Options(amp="bfloat16", channels_last=True),
    Options(amp="bfloat16", checkpoint_activations=True),
    Options(amp="float16", channels_last=True, accumulation_steps=4, checkpoint_activations=True),
)


def peak(options: Options) -> dict[str, float]:
    """GiB at the peak of the second optimizer step, when the optimizer's moments are there, by kind."""
    memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
    real = WholeImageClassifier(PatchClassifier("resnet50"), BLOCKS).to(memory_format=memory_format)
    mode = FakeTensorMode()
    with FakeCopyMode(mode):
        network = copy.deepcopy(real).train()
    with mode:
        checkpoint_activations(network, options.checkpoint_activations)
        optimizer = torch.optim.Adam(network.parameter_groups(), lr=1e-4)
        tracker = MemTracker()
        tracker.track_external(network, optimizer)
        # The loader's batches are contiguous, whatever the network is.
        images, labels = torch.randn(BATCH_SIZE, 3, *IMAGE_SIZE), torch.tensor([0, 1])
        with tracker:
            for step in range(2):
                for batch in range(options.accumulation_steps):
                    if step or batch:
                        tracker.reset_mod_stats()  # it follows each module through one pass; the peak is kept
                    with torch.autocast("cpu", getattr(torch, options.amp or "bfloat16"), enabled=bool(options.amp)):
                        loss = torch.nn.functional.cross_entropy(network(images), labels)
                    (loss / options.accumulation_steps).backward()
                optimizer.step()
                optimizer.zero_grad()
    (snapshot,) = tracker.get_tracker_snapshot("peak").values()
    return {str(kind).rpartition(".")[2]: count / 2**30 for kind, count in snapshot.items()}


def main() -> None:
    print(f"{', '.join(BLOCKS)} on resnet50, {IMAGE_SIZE[0]} x {IMAGE_SIZE[1]}, batch {BATCH_SIZE}, all layers trained")
    names = [field.name for field in fields(Options)]
    print(*(f"{name:>{len(name) + 2}}" for name in ["amp     ", *names[1:], "activations", "total"]), "  GiB")
    for options in ROWS:
        found = peak(options)
        values = [str(getattr(options, name)) for name in names]
        widths = [10, *(len(name) + 2 for name in names[1:])]
        print(*(f"{value:>{width}}" for value, width in zip(values, widths, strict=True)), end=" ")
        print(f"{found['ACT']:>13.2f} {found['Total']:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
