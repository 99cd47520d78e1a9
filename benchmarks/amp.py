"""Time a training step on a CPU side by side: memory layouts, and ``amp``, which is bfloat16 there.

Run: ``python benchmarks/amp.py [--sizes 576x448 1152x896] [--backbones vgg16 resnet50 efficientnet_lite0]``. A step is
the forward and backward pass and the optimizer's step, of a patch classifier with 32 patches and of a whole-image
network. Whether the CPU has instructions for bfloat16 is printed.
"""

import argparse
from collections.abc import Callable
from copy import deepcopy

import torch
from timing import compare, show

from monai_e2e.inferers import CPUAutocast
from monai_e2e.losses import BatchBalancedCrossEntropyLoss
from monai_e2e.networks import PatchClassifier, WholeImageClassifier, find_backbone

#: Backbone → top layers and images of a batch: of the paper's networks, and of the recipe ``small``.
WHOLE = {
    "vgg16": (["[512-512-1024]x2", "[512-512-1024]x2"], 2),
    "resnet50": (["[512-512-1024]x2", "[512-512-1024]x2"], 2),
    "efficientnet_lite0": ([], 8),
}
WAYS = {
    "float32, contiguous": (torch.contiguous_format, False),
    "float32, channels last": (torch.channels_last, False),
    "amp (bfloat16), channels last": (torch.channels_last, True),
}


def step(
    network: torch.nn.Module, images: torch.Tensor, memory_format: torch.memory_format, amp: bool
) -> Callable[[], None]:
    """A training step of a copy of the network, in one of the ways."""
    network = deepcopy(network).to(memory_format=memory_format)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)
    inferer, loss = CPUAutocast(enabled=amp), BatchBalancedCrossEntropyLoss()
    labels = torch.arange(len(images)) % 2

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(inferer(images, network), labels).backward()
        optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", choices=WHOLE, default=list(WHOLE))
    parser.add_argument("--patch-size", type=int, default=128)
    parser.add_argument("--sizes", nargs="+", default=["576x448"], help="rows and columns of whole images")
    parser.add_argument("--repeats", type=int, default=3)
    settings = parser.parse_args()
    has = "yes" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "no"
    print(f"{torch.get_num_threads()} thread(s), instructions for bfloat16: {has}\n")
    for backbone in settings.backbones:
        channels = find_backbone(backbone).image_channels
        patch = PatchClassifier(backbone, in_channels=channels)
        patches = torch.randn(32, channels, settings.patch_size, settings.patch_size)
        cases = [(f"32 patches of {settings.patch_size}", patch, patches)]
        for size in settings.sizes:
            rows, columns = map(int, size.split("x"))
            top, count = WHOLE[backbone]
            whole = WholeImageClassifier(PatchClassifier(backbone, in_channels=channels), top)
            cases.append((f"{count} images of {rows} × {columns}", whole, torch.randn(count, channels, rows, columns)))
        for what, network, images in cases:
            ways = {name: step(network, images, *how) for name, how in WAYS.items()}
            show(f"{backbone}, {what}", compare(ways, settings.repeats))


if __name__ == "__main__":
    main()
