"""What comes with the package: the bundles, and trained models that are used by name."""

from monai_e2e.shipped.models import find_start

__all__ = ["find_start"]
