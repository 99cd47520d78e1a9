"""Ignite handlers that MONAI lacks."""

from monai_e2e.handlers.predictions import PredictionWriter, binary_scores, logit_of_positive
from monai_e2e.handlers.stages import StagedTraining

__all__ = ["PredictionWriter", "StagedTraining", "binary_scores", "logit_of_positive"]
