"""``monai-e2e validate``: models on data sets that they weren't made for, side by side."""

from monai_e2e.validation.run import Settings, format_validation, validate

__all__ = ["Settings", "format_validation", "validate"]
