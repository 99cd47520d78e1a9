"""What a prepared folder's data list must have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai_e2e.errors import UserError

PARTITIONS = ("training", "validation", "test")
#: What to do about a folder that isn't a sound prepared one.
PREPARE = "run `monai-e2e prepare cbis-ddsm SRC OUT`, or another data set's name or folder"
#: Characters of a schema's message, which quotes what it found.
_MESSAGE = 200
_PATH = {"type": "string", "minLength": 1, "maxLength": 1000}
_WORD = {"type": ["string", "null"]}
_LESION = {
    "type": "object",
    "required": ["mask"],
    "properties": {"mask": _PATH, "type": _WORD, "pathology": _WORD, "drawn_as": _WORD},
}
_SAMPLE = {
    "type": "object",
    "required": ["image", "label", "patient_id", "lesions"],
    "properties": {
        "image": _PATH,
        "label": {"enum": [0, 1]},
        "patient_id": {"type": "string", "minLength": 1},
        "laterality": {"type": "string"},
        "view": {"type": "string"},
        "lesions": {"type": "array", "items": _LESION},
        "lesions_excluded": {"type": "integer"},
        "flags": {"type": "string"},
        "density": {"enum": [1, 2, 3, 4, None]},
        "age": {"type": ["integer", "null"]},
        **dict.fromkeys(("exam_id", "vendor", "machine", "site", "implant", "subtype"), _WORD),
        "lesion_size": {"type": "number", "exclusiveMinimum": 0},
        "mean": {"type": "number", "minimum": 0, "maximum": 255},
        "fold": {"type": "integer", "minimum": 0},
        "original_size": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2},
        "pixel_spacing": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    },
}
#: What a data list must have, as a JSON schema; other keys are allowed.
_SCHEMA = {
    "type": "object",
    "required": ["image_size", "pixel_mean", *PARTITIONS],
    "properties": {
        "image_size": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1, "maximum": 65535},
            "minItems": 2,
            "maxItems": 2,
        },
        "pixel_mean": {"type": ["number", "null"], "minimum": 0, "maximum": 255},
        "folds": {"type": "integer", "minimum": 3},
        "voi_lut": {"enum": [False, True, "auto"]},
        "models_may_be_passed_on": {"type": "boolean"},
        "classes": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
        "crop": {"enum": [None, "breast"]},
        "orient": {"enum": [None, "left"]},
        **{name: {"type": "array", "items": _SAMPLE} for name in PARTITIONS},
    },
}


def check_datalist(datalist: Any, path: Path) -> None:
    """Raise :class:`UserError` unless a data list has what the schema wants."""
    from jsonschema import Draft202012Validator  # a quarter of a second that worker processes needn't pay

    # The first one: a damaged list may have thousands.
    error = next(Draft202012Validator(_SCHEMA).iter_errors(datalist), None)
    if error is not None:
        place = error.json_path.removeprefix("$").removeprefix(".") or "the file"
        message = error.message if len(error.message) <= _MESSAGE else f"{error.message[:_MESSAGE]} …"
        raise UserError(f"{path}: {place}: {message}; {PREPARE} again")
