"""The words of a table's column ``label``: two classes, and what isn't one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from monai_e2e.data.sources.identifiers import whole_number
from monai_e2e.errors import UserError

LABELS = {"0": 0, "negative": 0, "benign": 0, "false": 0, "1": 1, "positive": 1, "malignant": 1, "true": 1}
#: Assessments and densities are numbers too, but neither is a class.
_CATEGORY = re.compile(r"(bi-?rads)?[\s:_-]*([2-6]|4[abc])", re.IGNORECASE)


def label_key(text: str) -> str:
    """A label as :data:`LABELS` writes it."""
    return whole_number(text.lower())


def refuse_categories(cells: Iterable[tuple[str, str]]) -> None:
    """Refuse a column of BI-RADS categories: its 1 is negative, and would be read as malignant.

    Args:
        cells: where each cell is, for the message, and its text.

    Raises:
        UserError: when a cell is a category other than 0 and 1.
    """
    for where, text in cells:
        if _CATEGORY.fullmatch(label_key(text)):
            raise UserError(
                f"{where}: label {text!r} looks like a BI-RADS category, of which 1 is negative, not malignant; write "
                "two classes, 0 or 1, for example 0 for BI-RADS 1 and 2, 1 for 4 to 6, and leave out 0 and 3"
            )
