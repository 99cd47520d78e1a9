"""Inferers that MONAI lacks."""

from monai_e2e.inferers.autocast import CPUAutocast
from monai_e2e.inferers.flips import FlipAveraging, mean_log_probabilities
from monai_e2e.inferers.heatmap import HeatmapInferer, upsample_heatmap, window_boxes

__all__ = [
    "CPUAutocast",
    "FlipAveraging",
    "HeatmapInferer",
    "mean_log_probabilities",
    "upsample_heatmap",
    "window_boxes",
]
