"""Writing what an evaluator predicted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn

from monai_e2e import bundle
from monai_e2e.data.prepared.datalist import fingerprint, labels_in_words
from monai_e2e.data.records import GROUP_COLUMNS
from monai_e2e.handlers.scores import logit_of_positive
from monai_e2e.metrics import (
    lesion_types,
    score_classes,
    score_file,
    write_predictions,
    write_score,
    write_table,
)
from monai_e2e.networks import operating_point
from monai_e2e.provenance import now
from monai_e2e.seen import seen_flags, shared_fact

logger = logging.getLogger(__name__)

#: Keys of a batch that become columns.
_ID_KEYS = ("patient_id", "laterality", "view")


class PredictionWriter:
    """Collect an evaluator's logits, write ``predictions.csv`` and, if there are labels, score them.

    For two logits, negative and positive, the columns are :data:`~monai_e2e.metrics.PREDICTION_COLUMNS`, and the
    results are those of :func:`~monai_e2e.metrics.score_file`: ``score.json``, curves and ``report.html``. For more
    logits there is a probability for each of ``classes``, and ``score.json`` has the accuracy and the confusion matrix.

    It reads ``pred`` (logits ``[B, C]``) from ``engine.state.output``, and lists from ``engine.state.batch``:
    ``image_path``, ``image_id`` (without it the path's stem names the row) and, where known, ``label``, ``patient_id``,
    ``laterality`` and ``view``. It reads them right after the forward pass, before they are decollated and
    postprocessed.

    Args:
        output_dir: folder for the files.
        classes: names of the logits.
        samples: samples of the data list, found by the path under ``image``, for ``density``, ``lesions``, ``exam_id``
            and :data:`~monai_e2e.data.records.GROUP_COLUMNS`.
        network: network whose buffer ``threshold`` (log-odds; 0 if no validation chose one) is the operating point.
        model: name of the model, for the column ``model``.

    Raises:
        UserError: at the end of the epoch, when a file can't be written or the labels can't be scored.
    """

    def __init__(
        self,
        output_dir: str | Path,
        classes: Sequence[str] = ("negative", "positive"),
        samples: Sequence[Mapping[str, Any]] = (),
        network: nn.Module | None = None,
        model: str = "",
    ) -> None:
        self.output_dir = Path(output_dir)
        self.classes = tuple(classes)
        self.samples = {str(sample["image"]): sample for sample in samples}
        self.network = network
        self.model = model

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self._rows: list[dict[str, Any]] = []
        self._logits: list[torch.Tensor] = []

    def _collect(self, engine: Engine) -> None:
        batch = engine.state.batch
        labels = torch.as_tensor(batch["label"]).tolist() if "label" in batch else None
        for index, path in enumerate(batch["image_path"]):
            row = {"image": batch["image_id"][index] if "image_id" in batch else Path(path).stem}
            row |= {key: batch[key][index] for key in _ID_KEYS if key in batch}
            if labels is not None:
                row["label"] = labels[index]
            if str(path) in self.samples:
                sample = self.samples[str(path)]
                row |= {"density": sample.get("density"), "lesion_type": lesion_types(sample.get("lesions", []))}
                row |= {fact: sample.get(fact) for fact in ("exam_id", *GROUP_COLUMNS)}
            self._rows.append(row)
        self._logits.append(engine.state.output["pred"].detach().float().cpu())

    def _write(self, engine: Engine) -> None:
        path, logits = self.output_dir / "predictions.csv", torch.cat(self._logits)
        if len(self.classes) == 2:
            self._write_binary(path, logit_of_positive(logits).double())
        else:
            self._write_classes(path, logits)
        logger.info("%d predictions: %s", len(self._rows), path)

    def _write_binary(self, path: Path, log_odds: torch.Tensor) -> None:
        threshold = operating_point(self.network)
        probability = None if threshold is None else torch.tensor(threshold).double().sigmoid().item()
        networks = [] if self.network is None else [self.network]
        flags, facts = seen_flags(networks), {name: shared_fact(networks, name) for name in ("fold", "seed")}
        scores = {"logit": log_odds.tolist(), "p_malignant": log_odds.sigmoid().tolist()}
        for index, row in enumerate(self._rows):
            row |= {name: values[index] for name, values in scores.items()}
            row |= {"threshold": probability, "model": self.model, **facts}
            row["flags"] = ";".join(flags(str(row.get("patient_id", ""))))
        write_predictions(path, self._rows)
        if "label" not in self._rows[0]:
            return
        about, prepared = self._about()
        image = score_file(path, about=about, prepared=prepared)["image"]
        logger.info(
            "AUC %.3f (95 %% %.3f–%.3f by DeLong) on %d images, %d of them positive; %s has more.",
            image["auc"],
            *image["auc_ci_delong"],
            image["n"],
            image["positive"],
            self.output_dir / "report.html",
        )

    def _about(self) -> tuple[dict[str, Any], str | None]:
        """What the running bundle knows of model and data, for the report, and its prepared folder."""
        workflow = bundle.running_workflow()
        if workflow is None:
            return {"model": self.model or None}, None
        known: dict[str, Any] = dict(workflow.parser.ref_resolver.resolved_content)
        meta = workflow.parser.get("_meta_") or {}
        about = {key: known.get(key) for key in ("partition", "fold")}
        about |= {"model": self.model or meta.get("name"), "predicted": now()[:10]}
        if known.get("prepared_dir"):
            dataset = fingerprint(str(known["prepared_dir"]))
            about |= {"data": dataset["name"], "protocol": dataset["protocol"]}
            about["labels"] = labels_in_words(dataset)
        return about, known.get("prepared_dir")

    def _write_classes(self, path: Path, logits: torch.Tensor) -> None:
        predicted = logits.argmax(dim=1).tolist()
        for row, best, probabilities in zip(self._rows, predicted, logits.softmax(dim=1).tolist(), strict=True):
            row["predicted"] = best
            row |= {f"p_{name}": p for name, p in zip(self.classes, probabilities, strict=True)}
        write_table(path, self._rows)
        if "label" in self._rows[0]:
            score = score_classes([row["label"] for row in self._rows], predicted, self.classes)
            write_score(self.output_dir / "score.json", {"patch": score})
            logger.info("Accuracy %.3f on %d patches.", score["accuracy"], score["n"])
