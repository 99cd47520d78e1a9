"""Heatmaps of whole images as files: the probabilities of the five patch classes in every window (paper §2.1)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from monai_e2e.data.records import PATCH_CLASSES
from monai_e2e.errors import UserError
from monai_e2e.inferers import HeatmapInferer, upsample_heatmap
from monai_e2e.networks import PatchClassifier
from monai_e2e.predict.engines import Engine
from monai_e2e.predict.models import Model

#: Classes of the patch classifier that count as malignant.
MALIGNANT = tuple(index for index, name in enumerate(PATCH_CLASSES) if name.endswith("malignant"))
#: Formats of heatmaps' files.
HEATMAP_ENDINGS = {"npy": ".npy", "nifti": ".nii.gz"}


@dataclass(frozen=True)
class Heatmap:
    """Probabilities of the patch classes in the windows of an image.

    Args:
        probabilities: float32 ``[classes, h, w]``, 0…1; position (i, j) is the window whose first row is ``stride * i``
            and whose first column is ``stride * j``.
        window: side of the windows, in pixels of the image that the patch classifier saw.
        stride: distance of neighbouring windows, in the same pixels.
        image_size: rows and columns of that image.
    """

    probabilities: np.ndarray
    window: int
    stride: int
    image_size: tuple[int, int]

    @property
    def malignant(self) -> np.ndarray:
        """Probability of a malignant lesion, ``[h, w]``."""
        return self.probabilities[list(MALIGNANT)].sum(axis=0)

    def enlarge(self, values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """A map of the windows ``[h, w]`` at the size of a picture of the image, each value at its window's centre."""
        # The picture is the image at another scale, first the rows' and then the columns', which may differ from it.
        scale = size[0] / self.image_size[0]
        scaled = size[0], max(1, round(self.image_size[1] * scale))
        full = upsample_heatmap(values, scaled, self.window * scale, self.stride * scale)  # type: ignore[arg-type]
        picture = Image.fromarray(full.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
        return np.clip(np.asarray(picture), 0, 1)


def make_heatmap(model: Model, image: np.ndarray, engine: Engine) -> Heatmap:
    """Run a patch classifier over one image.

    Args:
        model: see :attr:`~monai_e2e.predict.models.Model.makes_heatmaps`.
        image: ``[C, H, W]``, preprocessed by the model.
        engine: what computes the network.

    Raises:
        UserError: when the model isn't run by a ``HeatmapInferer`` or has other classes than the paper's.
    """
    network, inferer = model.network, model.inferer
    if not isinstance(network, PatchClassifier) or not isinstance(inferer, HeatmapInferer):
        raise UserError(f"{model.checkpoint}: its inferer must be monai_e2e.inferers.HeatmapInferer to make heatmaps")
    logits = model.infer([image], engine)[0]
    if len(logits) != len(PATCH_CLASSES):
        raise UserError(f"{model.checkpoint}: has {len(logits)} classes; heatmaps are of {', '.join(PATCH_CLASSES)}")
    size = image.shape[-2], image.shape[-1]
    return Heatmap(logits.softmax(dim=0).numpy(), inferer.window, network.backbone.stride, size)


def save_heatmap(heatmap: Heatmap, path: Path) -> None:
    """Write a heatmap, float32, in the format of the file's ending, see :data:`HEATMAP_ENDINGS`.

    npy: ``[classes, h, w]``; NIfTI: ``[h, w, 1, classes]``, whose affine maps a window to the row and column of its
    centre in the image.
    """
    values = heatmap.probabilities.astype(np.float32)
    if path.suffix == ".npy":
        np.save(path, values)
        return
    import nibabel

    affine = np.diag([heatmap.stride, heatmap.stride, 1.0, 1.0])
    affine[:2, 3] = (heatmap.window - 1) / 2
    volume = nibabel.Nifti1Image(values.transpose(1, 2, 0)[:, :, None], affine)
    volume.header["descrip"] = f"window {heatmap.window} stride {heatmap.stride}".encode()
    nibabel.save(volume, path)


def read_heatmap(folder: Path, image: str) -> Heatmap:
    """An image's heatmap as ``predict --heatmap`` wrote it, in its default format.

    Args:
        folder: ``heatmaps`` in the folder of the results.
        image: the image's id in predictions.csv.
    """
    form = json.loads((folder / "format.json").read_text(encoding="utf-8"))
    values = np.load(folder / f"{image}.npy", allow_pickle=False)
    return Heatmap(values, form["window"], form["stride"], tuple(form["image_size"]))


def describe_format(heatmap: Heatmap) -> str:
    """What ``format.json`` says of all heatmaps of a run."""
    description = {
        "values": "probability of each class in each window, float32",
        "axes": {"npy": ["class", "row", "column"], "nifti": ["row", "column", "1", "class"]},
        "classes": PATCH_CLASSES,
        "window": heatmap.window,
        "stride": heatmap.stride,
        "image_size": heatmap.image_size,
        "position": "rows stride*i to stride*i+window, columns stride*j to stride*j+window of an image of image_size",
    }
    return json.dumps(description, indent=4) + "\n"
