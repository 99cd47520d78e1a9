"""From images to scores: the mean over models and flips, their spread, and the operating point that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import expit, logit

from monai_e2e.errors import UserError
from monai_e2e.handlers.scores import logit_of_positive
from monai_e2e.inferers import mean_log_probabilities
from monai_e2e.metrics.recalibration import Recalibration, read_recalibration
from monai_e2e.predict.engines import Engine
from monai_e2e.predict.models import Model
from monai_e2e.predict.options import Options
from monai_e2e.predict.reading import ReadImage


@dataclass(frozen=True)
class Score:
    """What the models say of one image.

    Args:
        log_odds: of malignant, of the mean probability.
        low, high: the lowest and the highest probability of those averaged; None where there is one.
        over: what these are, ``"5 models"`` or ``"4 flips"``.
    """

    log_odds: float
    low: float | None = None
    high: float | None = None
    over: str = ""


class Scorer:
    """Score images.

    Args:
        models: whose probabilities are averaged.
        engine: computes the networks.
        flips: whether each model is averaged over four flips.
        recalibration: of the one model's scores.

    Attributes:
        threshold: the probability from which on an image counts as malignant, as text; empty where none is known.
    """

    def __init__(
        self, models: Sequence[Model], engine: Engine, flips: bool, recalibration: Recalibration | None = None
    ) -> None:
        self.models, self.engine, self.flips, self.recalibration = models, engine, flips, recalibration
        # The operating point belongs to a model and what it says of an image, not to an average over flips or models.
        log_odds = models[0].threshold if len(models) == 1 and not flips else None
        if recalibration is not None:
            log_odds = None if recalibration.threshold is None else logit(recalibration.threshold)
        self.threshold = "" if log_odds is None else f"{expit(log_odds):.12g}"

    def __call__(self, mammograms: Sequence[ReadImage]) -> list[Score]:
        """Log-odds of malignant of each image, and their spread."""
        each = [self._of_model(index, mammograms) for index in range(len(self.models))]
        of_models = [mean_log_probabilities(flips) if len(flips) > 1 else flips[0] for flips in each]
        members, what = (of_models, "models") if len(each) > 1 else (each[0], "flips")
        means = self._recalibrated(logit_of_positive(mean_log_probabilities(of_models))).tolist()
        if len(members) < 2:
            return [Score(mean) for mean in means]
        probabilities = torch.stack([self._recalibrated(logit_of_positive(one)) for one in members]).double().sigmoid()
        limits = zip(probabilities.amin(dim=0).tolist(), probabilities.amax(dim=0).tolist(), strict=True)
        return [Score(mean, *pair, f"{len(members)} {what}") for mean, pair in zip(means, limits, strict=True)]

    def _of_model(self, index: int, mammograms: Sequence[ReadImage]) -> list[torch.Tensor]:
        """A model's logits ``[N, 2]``: of each flip of the images, or of these alone."""
        model = self.models[index]
        logits = model.infer([mammogram.images[index] for mammogram in mammograms], self.engine, self.flips)
        if logits.shape[1:] != ((4, 2) if self.flips else (2,)):
            found = list(logits.shape[1:])
            raise UserError(f"{model.checkpoint}: gives {found} values for an image, not two logits; leave it out")
        return list(logits.unbind(dim=1)) if self.flips else [logits]

    def _recalibrated(self, log_odds: torch.Tensor) -> torch.Tensor:
        if self.recalibration is None:
            return log_odds
        return torch.from_numpy(self.recalibration.apply(log_odds))


def find_recalibration(options: Options, models: Sequence[Model]) -> Recalibration | None:
    """The recalibration that is asked for, which belongs to one model's plain scores."""
    if options.recalibration is None:
        return None
    if len(models) > 1 or options.tta:
        raise UserError("--recalibration is of one model's own scores: name that model alone, without --tta")
    recalibration = read_recalibration(options.recalibration)
    if recalibration.model not in ("", models[0].digest["checkpoint"]):
        raise UserError(
            f"{options.recalibration} was fitted to another model than {models[0].checkpoint}: fit it again"
        )
    return recalibration
