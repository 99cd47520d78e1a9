"""Writing what an evaluator predicted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from ignite.engine import Engine, Events

from monai_e2e.metrics import plot_roc, score_binary, score_classes, write_predictions, write_score

logger = logging.getLogger(__name__)


def logit_of_positive(logits: torch.Tensor) -> torch.Tensor:
    """Log-odds of the positive class, ``logits[..., 1] - logits[..., 0]`` in float32.

    Unlike the softmax it does not saturate, so it keeps the order of the samples that the AUC needs.
    """
    return logits[..., 1].float() - logits[..., 0].float()


def binary_scores(output: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """An engine's output as the pair (scores, labels), both ``[B]``, that MONAI's ``ROCAUC`` takes."""
    return logit_of_positive(output["pred"]), output["label"]


class PredictionWriter:
    """Collect an evaluator's logits and write ``predictions.csv``, and with labels ``score.json`` and ``roc.png``.

    Expects ``engine.state.output`` with ``pred`` (logits ``[B, C]``) and ``engine.state.batch`` with lists under
    ``image_path``, ``image_id`` (else the path's stem names the row), ``label`` (where known) and the id keys (not
    decollated). Two logits are negative and positive;
    more are the classes named by ``classes``.

    Args:
        output_dir: folder for the files.
        classes: names of the logits where there are more than two.
        id_keys: further keys of a sample that become columns.
    """

    def __init__(
        self,
        output_dir: str | Path,
        classes: Sequence[str] = ("negative", "positive"),
        id_keys: Sequence[str] = ("patient_id", "laterality", "view"),
    ) -> None:
        self.output_dir = Path(output_dir)
        self.classes = tuple(classes)
        self.id_keys = tuple(id_keys)

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self._rows: list[dict] = []
        self._labels: list[int] = []
        self._logits: list[torch.Tensor] = []

    def _collect(self, engine: Engine) -> None:
        batch = engine.state.batch
        for index, path in enumerate(batch["image_path"]):
            ids = {key: batch[key][index] for key in self.id_keys if key in batch}
            name = batch["image_id"][index] if "image_id" in batch else Path(path).stem
            self._rows.append({"image": name, **ids})
        self._logits.append(engine.state.output["pred"].detach().float().cpu())
        if "label" in batch:
            self._labels += torch.as_tensor(batch["label"]).tolist()

    def _write(self, engine: Engine) -> None:
        logits = torch.cat(self._logits)
        scores = logit_of_positive(logits).tolist()
        probabilities = logits.softmax(dim=1)
        predicted = logits.argmax(dim=1).tolist()
        for index, row in enumerate(self._rows):
            if self._labels:
                row["label"] = self._labels[index]
            if len(self.classes) == 2:
                row |= {"p_malignant": f"{probabilities[index, 1]:.6f}", "logit": f"{scores[index]:.6f}"}
            else:
                row["predicted"] = predicted[index]
                row |= {f"p_{name}": f"{p:.6f}" for name, p in zip(self.classes, probabilities[index], strict=True)}
        write_predictions(self.output_dir / "predictions.csv", self._rows)
        logger.info("%d predictions: %s", len(self._rows), self.output_dir / "predictions.csv")
        if self._labels:
            self._score(self._labels, scores, predicted)

    def _score(self, labels: list[int], scores: list[float], predicted: list[int]) -> None:
        if len(self.classes) == 2:
            score = {"image": score_binary(labels, scores)}
            plot_roc({"per image": (labels, scores)}, self.output_dir / "roc.png")
            image = score["image"]
            logger.info(
                "AUC %.3f (95 %% interval %.3f–%.3f) on %d images, %d of them positive.",
                image["auc"],
                *image["auc_ci"],
                image["n"],
                image["positive"],
            )
        else:
            score = {"patch": score_classes(labels, predicted, self.classes)}
            logger.info("Accuracy %.3f on %d patches.", score["patch"]["accuracy"], score["patch"]["n"])
        write_score(self.output_dir / "score.json", score)
