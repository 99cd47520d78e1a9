"""Pictures of a training for TensorBoard: the network's input, how it separates the classes, where it looks."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.networks.utils import eval_mode
from torch import nn
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from monai_e2e.data import read_mask
from monai_e2e.errors import UserError
from monai_e2e.handlers.epochs import short_name
from monai_e2e.handlers.figures import MappedImage, as_pixels, draw_confusion, draw_images, draw_maps
from monai_e2e.handlers.scores import EpochScores, logit_of_positive
from monai_e2e.metrics import draw_roc, score_classes
from monai_e2e.networks import WholeImageClassifier
from monai_e2e.networks.distributed import rank, unwrapped

logger = logging.getLogger(__name__)


class TrainingPictures:
    """Write pictures and the hyper-parameters of a training to TensorBoard.

    - ``train/images``: the first augmented images with their classes, written once;
    - ``validation/roc`` for two classes or ``validation/confusion`` for more, after each validation;
    - ``validation/where_it_looks``: the :func:`grad_cam` of some images of both classes, the same ones each time,
      with their class and the outlines of their lesions (red malignant, green benign). Only if the network is a
      :class:`~monai_e2e.networks.WholeImageClassifier`;
    - ``hyper-parameters`` as text, and in the HPARAMS table beside ``validation/best_<key metric>``, the best so far;
    - under *Custom scalars* one chart each for the loss and the key metric, with training and validation together,
      from the scalars that :func:`~monai_e2e.handlers.write_epoch` writes.

    Expects batches with ``image`` (0–255 minus ``pixel_mean``), ``label`` and ``image_path``, and an output with
    ``pred`` and ``label``, not decollated. In a distributed run list it on all ranks; rank 0 writes.

    Args:
        network: the trained network, for the maps; None for no maps.
        validator: the evaluator whose outputs are drawn.
        summary_writer: where to write; share one between all handlers of a run.
        log_dir: folder for a new writer if there is no ``summary_writer``.
        pixel_mean: mean that was subtracted from the images.
        classes: names of the classes.
        samples: the validation samples; masks under their ``lesions`` are outlined.
        hyper_parameters: JSON values to write.
        interval: epochs between maps.
        images: number of training images.
        mammograms: number of validation images with a map, each of another patient, half of them positive if possible.

    Raises:
        UserError: when rank 0 has neither ``summary_writer`` nor ``log_dir``.
    """

    def __init__(
        self,
        network: nn.Module | None = None,
        validator: Engine | None = None,
        summary_writer: SummaryWriter | None = None,
        log_dir: str | Path | None = None,
        pixel_mean: float = 0.0,
        classes: Sequence[str] | None = None,
        samples: Sequence[Mapping[str, Any]] = (),
        hyper_parameters: Mapping[str, Any] | None = None,
        interval: int = 1,
        images: int = 8,
        mammograms: int = 4,
    ) -> None:
        self.rank = rank()
        if self.rank == 0:
            if summary_writer is None and log_dir is None:
                raise UserError("TrainingPictures needs a place to write: give summary_writer or log_dir")
            self._writer = summary_writer or SummaryWriter(str(log_dir))
        self.network = unwrapped(network)
        self.validator = validator
        self.pixel_mean = float(pixel_mean)
        self.classes = None if classes is None else tuple(classes)
        self.lesions = {str(sample["image"]): sample.get("lesions", []) for sample in samples}
        self.hyper_parameters = dict(hyper_parameters or {})
        self.interval = interval
        self.images = images
        self.mammograms = mammograms

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer, and to the validator."""
        if self.rank == 0:
            engine.add_event_handler(Events.STARTED, self._start)
            engine.add_event_handler(Events.ITERATION_STARTED, self._collect_training_images)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._draw_training_images)
        if self.validator is not None:  # all ranks, for each has a part of the validation
            self._mammograms: dict[str, dict[str, Any]] = {}
            self._scores = EpochScores()
            self._scores.attach(self.validator)
            self.validator.add_event_handler(Events.ITERATION_COMPLETED, self._collect_mammograms)
            self.validator.add_event_handler(Events.EPOCH_COMPLETED, self._draw_validation)

    def _start(self, _engine: Engine) -> None:
        self._training_images: list[tuple[np.ndarray, str, str]] | None = []
        if self.validator is not None:
            names = ["loss", _key_metric(self.validator)]
            charts = {name: ["Multiline", [f"train/{name}", f"validation/{name}"]] for name in names}
            self._writer.add_custom_scalars({"training and validation": charts})
        if self.hyper_parameters:
            rows = [row for key, value in self.hyper_parameters.items() for row in _table_rows(key, value)]
            self._writer.add_text("hyper-parameters", "\n".join(["| key | value |", "|---|---|", *rows]), 0)
            values = {key: _scalar(value) for key, value in self.hyper_parameters.items()}
            for summary in hparams(values, {} if self.validator is None else {_best_tag(self.validator): 0.0})[:2]:
                self._writer._get_file_writer().add_summary(summary)
            self._writer.flush()

    def _collect_training_images(self, engine: Engine) -> None:
        if self._training_images is None:
            return
        batch = engine.state.batch
        for image, label, path in zip(batch["image"], batch["label"], batch["image_path"], strict=True):
            if len(self._training_images) < self.images:
                name = self.classes[int(label)] if self.classes else f"label {int(label)}"
                self._training_images.append((self._grey(image), name, Path(str(path)).stem))
        if len(self._training_images) == self.images:
            self._draw_training_images(engine)

    def _draw_training_images(self, engine: Engine) -> None:
        if self._training_images:
            self._add("train/images", as_pixels(draw_images(self._training_images)), engine.state.iteration)
        self._training_images = None

    def _collect_mammograms(self, engine: Engine) -> None:
        if self.rank > 0 or not isinstance(self.network, WholeImageClassifier):
            return
        batch = engine.state.batch
        for index, (path, label) in enumerate(zip(batch["image_path"], batch["label"], strict=True)):
            patient = batch["patient_id"][index] if "patient_id" in batch else path
            positive = int(label) == 1
            taken = sum(mammogram["positive"] == positive for mammogram in self._mammograms.values())
            if patient not in self._mammograms and taken < (self.mammograms + positive) // 2:
                image = batch["image"][index].detach().cpu().clone()
                self._mammograms[patient] = {"path": str(path), "image": image, "positive": positive}

    def _draw_validation(self, engine: Engine) -> None:
        logits, all_labels = self._scores.gathered()
        if self.rank > 0:
            return
        labels = all_labels.tolist()
        epoch, names = engine.state.epoch, self._class_names(logits.shape[1])
        if len(names) == 2:
            try:
                roc = draw_roc({"validation": (labels, logit_of_positive(logits).tolist())})
                self._add("validation/roc", as_pixels(roc), epoch)
            except UserError as error:  # a missing picture is no reason to end a training
                logger.warning("No ROC curve of epoch %d: %s", epoch, error)
        else:
            score = score_classes(labels, logits.argmax(dim=1).tolist(), names)
            self._add("validation/confusion", as_pixels(draw_confusion(score)), epoch)
        if self._mammograms and epoch % self.interval == 0:
            self._draw_maps(epoch)
        if np.isfinite(best := getattr(engine.state, "best_metric", np.nan)):
            self._writer.add_scalar(_best_tag(engine), best, epoch)
            self._writer.flush()

    def _draw_maps(self, epoch: int) -> None:
        device = next(self.network.parameters()).device
        shown = []
        for mammogram in sorted(self._mammograms.values(), key=lambda mammogram: not mammogram["positive"]):
            heat, log_odds = grad_cam(self.network, mammogram["image"][None].to(device))
            if not np.isfinite(heat).all():
                logger.warning("No maps of epoch %d: the network's features are not finite.", epoch)
                return
            positive, names = mammogram["positive"], self._class_names(2)
            lesions = [
                (read_mask(lesion["mask"]), lesion["pathology"] == "malignant" if lesion.get("pathology") else positive)
                for lesion in self.lesions.get(mammogram["path"], [])
            ]
            title = f"{Path(mammogram['path']).stem}\np({names[1]}) = {torch.tensor(log_odds).sigmoid():.2f}"
            image = self._grey(mammogram["image"])
            shown.append(MappedImage(image, heat, lesions, title, names[positive], positive))
        self._add("validation/where_it_looks", as_pixels(draw_maps(shown)), epoch)

    def _class_names(self, count: int) -> tuple[str, ...]:
        if self.classes is not None and len(self.classes) == count:
            return self.classes
        return ("negative", "positive") if count == 2 else tuple(f"class {index}" for index in range(count))

    def _grey(self, image: torch.Tensor) -> np.ndarray:
        """The image ``[H, W]``, 0–255, that a network's input ``[C, H, W]`` was made from."""
        return (torch.as_tensor(image)[0].detach().float().cpu() + self.pixel_mean).clamp(0, 255).numpy()

    def _add(self, tag: str, pixels: np.ndarray, step: int) -> None:
        self._writer.add_image(tag, pixels, step, dataformats="HWC")
        self._writer.flush()


def grad_cam(network: WholeImageClassifier, image: torch.Tensor) -> tuple[np.ndarray, float]:
    """Where in an image the backbone's features speak for the positive class (Grad-CAM, Selvaraju et al., ICCV 2017).

    The map has the size of the backbone's output, one value per stride. The top blocks' output is four times coarser,
    and their strides skip every other position. MONAI's ``GradCAM`` gives the same values, but its hooks stay on the
    network and keep the activations of every later step, and it needs the memory of a whole backward pass.

    Args:
        network: its training or evaluation mode and its parameters' gradients are left as they are.
        image: one image ``[1, C, H, W]``, prepared as for training, on the network's device.

    Returns:
        Map ``[h, w]``, 0 where nothing speaks for the class, and the image's log-odds of the positive class.
    """
    with eval_mode(network):  # and without autograd: only the layers after the backbone need it
        features = network.backbone(image).float().requires_grad_()
        with torch.enable_grad():
            log_odds = logit_of_positive(network.classify_features(features)).sum()
            (gradient,) = torch.autograd.grad(log_odds, features)
        heat = (features * gradient.mean(dim=(2, 3), keepdim=True)).sum(dim=1)[0].relu()
        return heat.cpu().numpy(), float(log_odds.detach())


def _key_metric(validator: Engine) -> str:
    return short_name(str(getattr(validator.state, "key_metric_name", None)))


def _best_tag(validator: Engine) -> str:
    return f"validation/best_{_key_metric(validator)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _scalar(value: Any) -> int | float | str:
    """A value for the HPARAMS table, which would show False as 0.000."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else _text(value)


def _table_rows(key: str, value: Any) -> list[str]:
    """Lines of a Markdown table; a list of dicts, such as the stages, has one line for each."""
    texts = [_text(value)]
    if isinstance(value, Sequence) and value and all(isinstance(item, Mapping) for item in value):
        texts = [", ".join(f"{name} {_text(entry)}" for name, entry in item.items()) for item in value]
    names = [key] if len(texts) == 1 else [f"{key} {number}" for number in range(1, len(texts) + 1)]
    return [f"| {name} | `{text}` |" for name, text in zip(names, texts, strict=True)]
