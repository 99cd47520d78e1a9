"""``monai-e2e predict``: from images and trained models to scores, heatmaps, pictures and DICOM results."""

from monai_e2e.predict.options import Options, Outcome
from monai_e2e.predict.run import predict

__all__ = ["Options", "Outcome", "predict"]
