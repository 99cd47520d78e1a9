"""Ignite handlers that MONAI lacks."""

from monai_e2e.handlers.auc import AucInterval
from monai_e2e.handlers.averaging import average_weights
from monai_e2e.handlers.checkpoints import TrainingCheckpoint
from monai_e2e.handlers.checks import EndOnMistake, Progress, StopOnBadLoss
from monai_e2e.handlers.epochs import print_epoch, write_epoch
from monai_e2e.handlers.pictures import TrainingPictures
from monai_e2e.handlers.predictions import PredictionWriter
from monai_e2e.handlers.reproducible import SeedEpochs
from monai_e2e.handlers.run_record import RunRecord
from monai_e2e.handlers.saved_models import BestModel, FinalModel
from monai_e2e.handlers.scores import binary_scores, class_scores, logit_of_positive
from monai_e2e.handlers.stage_plan import train_only
from monai_e2e.handlers.stages import StagedTraining

__all__ = [
    "AucInterval",
    "BestModel",
    "EndOnMistake",
    "FinalModel",
    "PredictionWriter",
    "Progress",
    "RunRecord",
    "SeedEpochs",
    "StagedTraining",
    "StopOnBadLoss",
    "TrainingCheckpoint",
    "TrainingPictures",
    "average_weights",
    "binary_scores",
    "class_scores",
    "logit_of_positive",
    "print_epoch",
    "train_only",
    "write_epoch",
]
