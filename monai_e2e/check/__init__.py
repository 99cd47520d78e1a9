"""``monai-e2e check``: find problems in a folder of mammograms, before they are prepared or predicted."""

from monai_e2e.check.run import CheckedImage, check_folder

__all__ = ["CheckedImage", "check_folder"]
