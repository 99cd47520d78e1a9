"""A whole image's heatmap in one pass against its windows scored one by one: time, and how much the scores differ.

Run: ``OMP_NUM_THREADS=1 python benchmarks/heatmap.py [--checkpoint FILE] [--images FOLDER]``.

Time is taken side by side on one thread, with random weights, on images of 1152 x 896 pixels: one forward pass, and
batches of 32 windows cut from the image. All windows would take minutes, so one batch is timed and its time scaled to
their number.

The differences are those of a patch classifier (``--checkpoint``, else random weights, which say little) on mammograms
(``--images``, else phantoms). "In its surroundings" is a crop that reaches the receptive field beyond the window: its
scores are the heatmap's. "Cut out alone" is the window as in training, at whose edges the convolutions find zeros.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from monai_e2e.data import PATCH_CLASSES, list_mammograms, phantom_dataset
from monai_e2e.inferers import HeatmapInferer, window_boxes
from monai_e2e.networks import PatchClassifier, architecture, load_classifier
from monai_e2e.transforms import LoadMammogram

TIMED = (("vgg16", 0.25), ("resnet50", 1.0))
IMAGE_SIZE, WINDOW, BATCH = (1152, 896), 224, 32
#: More than the receptive field of VGG and ResNet reaches beyond a window, and a multiple of their strides.
MARGIN = 256


def time_both(backbone: str, width: float, repeats: int) -> None:
    """Print the seconds of both ways and their ratio."""
    network = PatchClassifier(backbone, width=width).eval()
    image = torch.randn(1, network.backbone.image_channels, *IMAGE_SIZE)
    inferer = HeatmapInferer(WINDOW)
    boxes = window_boxes(inferer(image, network).shape[-2:], WINDOW, network.backbone.stride).reshape(-1, 4)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        inferer(image, network)
        middle = time.perf_counter()
        network(torch.cat([image[..., r:s, c:d] for r, c, s, d in boxes[:BATCH]]))
        times.append((middle - start, (time.perf_counter() - middle) * len(boxes) / BATCH))
    ratios = sorted(windows / whole for whole, windows in times)
    whole, windows = (statistics.median(seconds) for seconds in zip(*times, strict=True))
    print(
        f"{backbone} x {width:g}: one pass {whole:.2f} s, {len(boxes)} windows {windows:.0f} s, "
        f"ratio {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"
    )


def differences(network: PatchClassifier, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Probabilities ``[windows, classes]`` of the heatmap and of the windows cut out alone, and the largest difference
    of a probability between the heatmap and windows in their surroundings (every seventh is looked at)."""
    window, stride = network.preparation["patch_size"], network.backbone.stride
    inferer = HeatmapInferer(window)
    heatmap = inferer(image, network).softmax(dim=1)[0]
    boxes = window_boxes(heatmap.shape[-2:], window, stride).reshape(-1, 4)
    whole = heatmap.flatten(1).T
    alone = torch.cat([network(image[..., r:s, c:d]).softmax(dim=1) for r, c, s, d in boxes])
    largest = 0.0
    for (r, c, s, d), expected in zip(boxes[::7], whole[::7], strict=True):
        first_row, first_column = max(r - MARGIN, 0), max(c - MARGIN, 0)
        crop = inferer(image[..., first_row : s + MARGIN, first_column : d + MARGIN], network).softmax(dim=1)
        inside = crop[0, :, (r - first_row) // stride, (c - first_column) // stride]
        largest = max(largest, float((inside - expected).abs().max()))
    return whole, alone, largest


def compare(network: PatchClassifier, images: list[str]) -> None:
    """Print how far the two kinds of windows are from the heatmap."""
    load = LoadMammogram(network.preparation["image_size"])
    channels = architecture(network)["in_channels"]
    results = [differences(network, load(path)[None].repeat(1, channels, 1, 1) - network.pixel_mean) for path in images]
    whole, alone = (torch.cat([result[index] for result in results]) for index in (0, 1))
    print(f"{len(images)} images, {len(whole)} windows; differences are of the class where they are largest")
    print(f"in its surroundings: at most {max(result[2] for result in results):.1e}")
    lesion = (whole.argmax(dim=1) > 0) | (alone.argmax(dim=1) > 0)
    for name, chosen in (("all windows", torch.ones_like(lesion)), ("a lesion by either", lesion)):
        difference = (whole - alone)[chosen].abs().amax(dim=1)
        same = (whole.argmax(dim=1) == alone.argmax(dim=1))[chosen].float().mean()
        both = (whole.argmax(dim=1) > 0) == (alone.argmax(dim=1) > 0)
        print(
            f"cut out alone, {name} ({int(chosen.sum())}): median {difference.median():.4f}, "
            f"95 % {difference.quantile(0.95):.3f}, largest {difference.max():.3f}; same class in {same:.1%}, "
            f"same answer to lesion or background in {both[chosen].float().mean():.1%}"
        )
    shares = " ".join(
        f"{float((whole.argmax(dim=1) == k).float().mean()):.1%} {n}" for k, n in enumerate(PATCH_CLASSES)
    )
    print(f"the heatmaps' classes: {shares}")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="patch classifier whose scores are compared")
    parser.add_argument("--images", type=Path, help="prepared folder, or folder of mammograms")
    parser.add_argument("--count", type=int, default=40, help="number of images that are compared")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for backbone, width in TIMED:
        time_both(backbone, width, arguments.repeats)
    preparation = {"image_size": [288, 224], "patch_size": 64}
    network = PatchClassifier("vgg16", width=0.125, pixel_mean=50, preparation=preparation).eval()
    if arguments.checkpoint is not None:
        network = load_classifier(arguments.checkpoint)
    folder = arguments.images or phantom_dataset("cbis-ddsm", 24, network.preparation["image_size"])
    paths = [sample["image"] for sample in list_mammograms(folder)]
    compare(network, paths[: arguments.count])


if __name__ == "__main__":
    main()
