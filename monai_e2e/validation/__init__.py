"""``monai-e2e validate``: score models on other data sets than their own, side by side."""

from monai_e2e.validation.run import Settings, format_validation, validate

__all__ = ["Settings", "format_validation", "validate"]
