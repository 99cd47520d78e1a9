"""Peak memory of a training step of the paper's whole-image network, option by option.

Run: ``python benchmarks/memory.py``. The step is run on fake tensors, which have shapes and no numbers, and every
tensor alive is counted by PyTorch's own memory tracker. So no GPU is needed; what a GPU's libraries take for themselves
(context, workspaces of cuDNN) is not in the figures.
"""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from monai_e2e.networks import PatchClassifier, WholeImageClassifier, checkpoint_activations

IMAGE_SIZE, BATCH_SIZE, BLOCKS = (1152, 896), 2, ["[512-512-1024]x2", "[512-512-1024]x2"]


def peak(checkpointing: bool, amp: bool) -> dict[str, float]:
    """GiB at the peak of the second step, when the optimizer's moments are there, by kind."""
    with FakeTensorMode():
        network = WholeImageClassifier(PatchClassifier("resnet50"), BLOCKS).train()
        checkpoint_activations(network, checkpointing)
        optimizer = torch.optim.Adam(network.parameter_groups(), lr=1e-4)
        tracker = MemTracker()
        tracker.track_external(network, optimizer)
        images, labels = torch.randn(BATCH_SIZE, 3, *IMAGE_SIZE), torch.tensor([0, 1])
        with tracker:
            for step in range(2):
                with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                    loss = torch.nn.functional.cross_entropy(network(images), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                if step == 0:
                    tracker.reset_mod_stats()
    (snapshot,) = tracker.get_tracker_snapshot("peak").values()
    return {str(kind).rpartition(".")[2]: count / 2**30 for kind, count in snapshot.items()}


def main() -> None:
    print(f"{', '.join(BLOCKS)} on resnet50, {IMAGE_SIZE[0]} x {IMAGE_SIZE[1]}, batch {BATCH_SIZE}, all layers trained")
    print(f"{'amp':>6} {'checkpoint_activations':>24} {'activations':>12} {'total':>8}   GiB")
    for amp in (False, True):
        for checkpointing in (False, True):
            found = peak(checkpointing, amp)
            print(f"{amp!s:>6} {checkpointing!s:>24} {found['ACT']:>12.2f} {found['Total']:>8.2f}")


if __name__ == "__main__":
    main()
