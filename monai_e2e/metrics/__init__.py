"""Statistics of predictions."""

from monai_e2e.metrics.auc import roc_auc
from monai_e2e.metrics.report import plot_roc, score_binary, score_classes, write_predictions, write_score

__all__ = ["plot_roc", "roc_auc", "score_binary", "score_classes", "write_predictions", "write_score"]
