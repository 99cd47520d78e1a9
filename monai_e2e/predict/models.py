"""Trained models with all that turns an image's file into logits, so that none of their settings is an option.

A model is a bundle's folder, whose ``configs/inference.json`` says what is done to an image, or a checkpoint alone,
which carries its architecture, its mean and its preparation; both give the same scores.

A bundle is a program: its config names what is called, and has expressions that are run. A checkpoint is not, so of
bundles from elsewhere only the checkpoint should be taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.inferers import Inferer, SimpleInferer
from monai.transforms import Compose, NormalizeIntensityd, RepeatChanneld
from torch import nn

from monai_e2e.bundle import user_error
from monai_e2e.errors import UserError
from monai_e2e.inferers import FlipAveraging, HeatmapInferer
from monai_e2e.networks import PatchClassifier, architecture, load_classifier, operating_point
from monai_e2e.networks.patients import recorded_patients
from monai_e2e.shipped.models import find_model, shipped_model, shipped_models
from monai_e2e.transforms import LoadMammogramd, ResizeMammogramd
from monai_e2e.work.files import digest_of, read_json

if TYPE_CHECKING:
    from monai_e2e.predict.engines import Engine

#: What a bundle's config raises when it can't be followed (its expressions can raise anything).
_CONFIG_ERRORS = (RuntimeError, ImportError, LookupError, ValueError, TypeError, AttributeError, OSError)


@dataclass(frozen=True)
class Model:
    """One trained model.

    Args:
        name: what it is called in tables: the bundle's folder, or the checkpoint's file.
        network: in evaluation mode, on the device.
        preprocessing: from ``{"image": path}`` to ``{"image": [C, H, W]}``.
        inferer: from images ``[B, C, H, W]`` and the network to logits.
        checkpoint: file of its weights.
        digest: SHA-256 of the checkpoint and, of a bundle, of its config.
    """

    name: str
    network: nn.Module
    preprocessing: Callable[[dict[str, Any]], dict[str, Any]]
    inferer: Inferer
    checkpoint: Path
    digest: dict[str, str]

    @property
    def makes_heatmaps(self) -> bool:
        """Whether it classifies patches, so that it gives heatmaps and no scores of images."""
        return isinstance(self.network, PatchClassifier)

    @property
    def threshold(self) -> float | None:
        """Operating point as log-odds of malignant, chosen on validation images; None where there is none."""
        return operating_point(self.network)

    @property
    def pixel_mean(self) -> float | None:
        """Mean of its training images, 0…255; None where the network doesn't carry it."""
        mean = dict(self.network.named_buffers()).get("pixel_mean")
        return None if mean is None or mean <= 0 else float(mean)

    def infer(self, images: Sequence[np.ndarray], engine: Engine, flips: bool = False) -> torch.Tensor:
        """What the network says of each preprocessed image ``[C, H, W]``; those of one size go through it together.

        Args:
            images: they may differ in size.
            engine: what computes the network.
            flips: whether to predict the image's four flips.

        Returns:
            float32 on the CPU, one logit vector, or map of them, for each image; with flips ``[N, 4, 2]``, those of
            each flip.

        Raises:
            UserError: when the memory is too small.
        """
        compute = partial(engine, self)
        found: dict[int, torch.Tensor] = {}
        for shape in dict.fromkeys(image.shape for image in images):
            places = [place for place, image in enumerate(images) if image.shape == shape]
            batch = torch.from_numpy(np.stack([images[place] for place in places]))
            try:
                outputs = _of_flips(batch, engine, compute) if flips else compute(batch)
            except torch.OutOfMemoryError as error:
                raise UserError(
                    f"out of memory for {len(places)} images {list(shape)}: use a smaller --batch-size, --amp or "
                    "--device cpu"
                ) from error
            found |= dict(zip(places, outputs, strict=True))
        return torch.stack([found[place] for place in range(len(images))])


def _of_flips(batch: torch.Tensor, engine: Engine, compute: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """What the network says of each flip ``[N, 4, 2]``, all as one batch where that is faster and memory allows."""
    if engine.flips_together:
        try:
            return torch.stack(FlipAveraging(together=True).of_each_flip(batch, compute), dim=1)
        except torch.OutOfMemoryError:
            engine.flips_together = False
    return torch.stack(FlipAveraging().of_each_flip(batch, compute), dim=1)


def load_model(path: str | Path, device: torch.device, src: str | Path, weights_only: bool = False) -> Model:
    """Load a bundle, which runs what its config says, or a checkpoint, which runs nothing.

    Args:
        path: folder of a bundle, which has its checkpoint at ``models/model.pt``, a checkpoint or the name of a shipped
            model.
        device: where the network is put.
        src: folder of the images, the ``dataset_dir`` of a bundle.
        weights_only: whether to take the checkpoint alone of a bundle, and not its config.

    Raises:
        UserError: when there is no such model, or it can't be built or loaded.
    """
    path = find_model(path)
    if weights_only:
        path = checkpoint_of(path)
    if path.is_dir():
        return _load_bundle(path, device, src)
    if path.is_file():
        return _load_checkpoint(path, device)
    raise UserError(
        f"{path}: no such model; name a bundle's folder, such as bundles/ddsm_whole, a checkpoint (.pt), or a "
        "shipped model (`monai-e2e models` lists them)"
    )


def choose_models(
    paths: Sequence[str | Path], heatmaps: bool, device: torch.device, src: str | Path, weights_only: bool = False
) -> tuple[list[Model], Model | None]:
    """Load models; sort out those that score images and the one that makes heatmaps.

    Args:
        paths: bundles, checkpoints or names of shipped models. Without a patch classifier among them, heatmaps are made
            by the first one's: a shipped model's own, or the trained bundle ``ddsm_patch`` beside it.
        heatmaps: whether they are wanted.
        device: of the networks.
        src: folder of the images.
        weights_only: as of :func:`load_model`.

    Raises:
        UserError: as :func:`load_model`, and when there is no model that scores, no patch classifier, or two of these.
    """
    models = _load_distinct(paths, device, src, weights_only)
    scorers = [model for model in models if not model.makes_heatmaps]
    makers = [model for model in models if model.makes_heatmaps]
    if not scorers:
        raise UserError(
            f"{paths[0]} is a patch classifier, which scores no images: name a whole-image model too, such as cbis-mass"
        )
    if makers and not heatmaps:
        raise UserError(f"{makers[0].checkpoint} is a patch classifier: add --heatmap, or leave it out")
    if len(makers) > 1:
        raise UserError(f"{makers[1].checkpoint} is the second patch classifier: name one for the heatmaps")
    if heatmaps and not makers:
        shipped = shipped_model(paths[0])
        beside = shipped.patch_classifier if shipped is not None else _patch_bundle_beside(paths[0])
        if beside is None:
            known = [model.name for model in shipped_models() if model.kind == "patch classifier"]
            raise UserError(
                f"heatmaps need a patch classifier, and there is no trained bundle ddsm_patch beside {paths[0]}: name "
                f"one after the models, a bundle, a checkpoint or a shipped one ({', '.join(known)})"
            )
        makers = [load_model(beside, device, src, weights_only=True)]  # nobody asked for its config to be run
    return scorers, makers[0] if makers else None


def _load_distinct(
    paths: Sequence[str | Path], device: torch.device, src: str | Path, weights_only: bool
) -> list[Model]:
    """Load several models, each under a name of its own."""
    models: list[Model] = []
    for path in paths:
        model = load_model(path, device, src, weights_only)
        if any(model.digest == other.digest for other in models):
            raise UserError(f"{path}: is named twice; name each model once")
        if any(model.name == other.name for other in models):
            model = replace(model, name=f"{model.name}-{model.digest['checkpoint'][:8]}")
        models.append(model)
    return models


def _patch_bundle_beside(path: str | Path) -> Path | None:
    """The trained bundle ``ddsm_patch`` in the folder that a bundle, or a checkpoint in its ``models``, is in."""
    resolved = Path(path).resolve()
    bundle = resolved if resolved.is_dir() else resolved.parents[1]
    beside = bundle.parent / "ddsm_patch"
    return beside if (beside / "models" / "model.pt").is_file() else None


def checkpoint_of(path: Path) -> Path:
    """A bundle's trained network, or the checkpoint itself; raises :class:`UserError` where a bundle has none."""
    checkpoint = path / "models" / "model.pt" if path.is_dir() else path
    if path.is_dir() and not checkpoint.is_file():
        raise UserError(f"{path}: no checkpoint at models/model.pt; train the bundle first, or name a checkpoint")
    return checkpoint


def _load_bundle(folder: Path, device: torch.device, src: str | Path) -> Model:
    config = folder / "configs" / "inference.json"
    if not config.is_file():
        raise UserError(f"{folder}: no bundle, since it has no configs/inference.json; name one, or a checkpoint (.pt)")
    checkpoint = checkpoint_of(folder)
    parser = ConfigParser()
    try:
        parser.read_config(str(config))
        if (folder / "configs" / "metadata.json").is_file():
            parser.read_meta(str(folder / "configs" / "metadata.json"))
        known = {"bundle_root": str(folder.resolve()), "dataset_dir": str(src), "checkpoint": str(checkpoint)}
        parser.update({key: value for key, value in {**known, "device": device}.items() if key in parser.get()})
        network, preprocessing, inferer = (
            parser.get_parsed_content(key) for key in ("network", "preprocessing", "inferer")
        )
    except _CONFIG_ERRORS as error:
        if mistake := user_error(error):
            raise mistake from error
        raise UserError(f"{config}: can't be run ({type(error).__name__}: {error}); correct the config") from error
    digest = {"checkpoint": digest_of(checkpoint), "inference.json": digest_of(config)}
    name = name_of(checkpoint, network)
    return Model(name, network.to(device).eval(), preprocessing, inferer, checkpoint, digest)


def _load_checkpoint(path: Path, device: torch.device) -> Model:
    network = load_classifier(path)
    preparation, is_patch = network.preparation, isinstance(network, PatchClassifier)
    preprocessing = Compose(
        [
            LoadMammogramd(
                "image",
                preparation["image_size"] if preparation["crop"] else None,
                voi_lut=preparation["voi_lut"],
                crop=preparation["crop"],
                orient=preparation["orient"],
            ),
            ResizeMammogramd("image", preparation["image_size"]),
            NormalizeIntensityd("image", float(network.get_buffer("pixel_mean")), 1.0),  # type: ignore[arg-type]
            RepeatChanneld("image", architecture(network)["in_channels"]),
        ]
    )
    inferer = HeatmapInferer(preparation["patch_size"]) if is_patch else SimpleInferer()
    digest, name = {"checkpoint": digest_of(path)}, name_of(path, network)
    return Model(name, network.to(device).eval(), preprocessing, inferer, path, digest)


def name_of(path: Path, network: nn.Module) -> str:
    """What a checkpoint is called: as its card or its file says, in a bundle as this, else by what it is.

    Training calls every checkpoint ``model.pt``, and experiments their folders ``seed0``: neither says which model.
    """
    card = read_json(path.with_name("card.json")).get("name")
    if card or path.stem != "model":
        return str(card or path.stem)
    bundle = path.resolve().parent.parent.name if path.resolve().parent.name == "models" else ""
    if bundle:
        return bundle
    arguments, facts = architecture(network), recorded_patients(network)
    parts = [arguments["backbone"], *map(str, arguments.get("top_blocks") or [])]
    known = [f"{name} {facts[name]}" for name in ("fold", "seed") if facts.get(name) is not None]
    return ", ".join([" ".join(parts), *known])
