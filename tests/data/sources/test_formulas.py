"""Text that a spreadsheet program would run is guarded, and read back as it was."""

import pytest

from monai_e2e.data.sources.formulas import guarded_cell, unguarded_cell
from monai_e2e.data.sources.spreadsheets import read_table


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-K1", "@x", "'=1", "''@x", "\t=1"])
def test_text_that_spreadsheets_run_is_guarded_and_read_back(tmp_path, text):
    guarded = guarded_cell(text)
    assert guarded == f"'{text}"
    assert unguarded_cell(guarded) == text
    path = tmp_path / "t.csv"
    path.write_bytes(f"image\n{guarded}\n".encode())
    assert read_table(path, ["image"]).rows[0][1]["image"] == text


@pytest.mark.parametrize("value", ["-1.5", "+2", "-1e-3", "K-1", "'quoted'", "", -1.5, None])
def test_numbers_and_other_text_need_no_guard(value):
    assert guarded_cell(value) == value
    assert not isinstance(value, str) or unguarded_cell(value) == value


@pytest.mark.parametrize("cell", ['="007"', '"=""007"""'])
def test_text_that_was_guarded_by_a_formula_loses_it(tmp_path, cell):
    """So exports keep leading zeros: a spreadsheet program shows 007."""
    path = tmp_path / "t.csv"
    path.write_text(f"image;patient_id\na.png;{cell}\n")
    assert read_table(path, ["image", "patient_id"]).rows[0][1]["patient_id"] == "007"
