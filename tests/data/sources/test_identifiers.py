"""One person, one way of writing: what programs add is undone, what can't be told is an error."""

from pathlib import Path

import pytest

from monai_e2e.data.sources.identifiers import check_identifiers, clean_identifier, identifier_key, whole_number
from monai_e2e.errors import UserError

TABLE = Path("t.csv")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("101.0", "101"),
        ("P\u00a0001", "P 001"),
        ("P\u2007001\u200b", "P 001"),
        ("\ufeffK-1", "K-1"),
        ("\uff11\uff12", "12"),
        ("Mu\u0308ller", "Müller"),
        ("P\u2013001", "P-001"),
        ("P\u2212001", "P-001"),
        ("007", "007"),
        ("", ""),
    ],
)
def test_what_programs_add_is_removed(text, cleaned):
    assert clean_identifier(text) == cleaned


def test_whole_numbers_lose_their_zero():
    assert [whole_number(text) for text in ("1.0", "22.00", "1.5", "4a", "")] == ["1", "22", "1.5", "4a", ""]


def test_case_and_leading_zeros_are_no_part_of_the_key():
    assert identifier_key("p001") == identifier_key("P001") != identifier_key("P1")
    assert identifier_key("007") == identifier_key("7.0")
    assert identifier_key("000") == identifier_key("0") != identifier_key("")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["p001", "x", "P001"], r"t\.csv: patient_id 'p001' in row 2 and 'P001' in row 4 differ in case alone; write"),
        (["007", "", "7"], "'007' in row 2 and '7' in row 4 differ in leading zeros alone .spreadsheet programs strip"),
        (["1", "2.27E+07"], r"t\.csv, row 3: patient_id '2\.27E\+07' is a number that a spreadsheet program rounded"),
    ],
)
def test_two_ways_of_writing_one_patient_are_refused(ids, message):
    with pytest.raises(UserError, match=message):
        check_identifiers(TABLE, "patient_id", enumerate(ids, start=2))


def test_numbers_of_mixed_length_beside_padded_ones_are_told(caplog):
    check_identifiers(TABLE, "patient_id", enumerate(["7", "101", "P1", "101"], start=2))
    assert caplog.text == ""
    check_identifiers(TABLE, "patient_id", enumerate(["007", "12"], start=2))
    assert "'12' beside '007': a spreadsheet program may have stripped leading zeros" in caplog.text
