"""``monai-e2e check``: what is odd about a folder of mammograms, before anything is prepared or predicted."""

from monai_e2e.check.run import CheckedImage, check_folder

__all__ = ["CheckedImage", "check_folder"]
