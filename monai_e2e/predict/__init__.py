"""``monai-e2e predict``: from images and trained models to scores, heatmaps, pictures and DICOM results."""

from monai_e2e.predict.run import Options, Outcome, predict

__all__ = ["Options", "Outcome", "predict"]
