"""Inferers that MONAI lacks."""

from monai_e2e.inferers.heatmap import HeatmapInferer, upsample_heatmap

__all__ = ["HeatmapInferer", "upsample_heatmap"]
