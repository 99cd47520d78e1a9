"""Inferers that MONAI lacks."""

from monai_e2e.inferers.heatmap import HeatmapInferer

__all__ = ["HeatmapInferer"]
