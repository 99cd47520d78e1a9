"""A spreadsheet's cells as text; whole files are read in test_spreadsheets.py."""

from datetime import date, datetime

import pytest

from monai_e2e.data.sources.grids import _text


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        (" a ", "a"),
        (22678622.0, "22678622"),
        (0.5, "0.5"),
        (7, "7"),
        (True, "TRUE"),
        (date(2010, 1, 31), "2010-01-31"),
        (datetime(2010, 1, 31), "2010-01-31"),
        (datetime(2010, 1, 31, 8, 30), "2010-01-31 08:30:00"),
    ],
)
def test_cells_become_text_as_a_person_reads_them(cell, text):
    assert _text(cell) == text
