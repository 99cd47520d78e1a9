"""Tables from any program, on files written here and two spreadsheets (see ``inbreast/README.md``)."""

import sys
from pathlib import Path

import pytest
from release_files import write_xlsx

from monai_e2e.data.sources.grids import can_read_spreadsheets
from monai_e2e.data.sources.spreadsheets import read_table, read_whole_table
from monai_e2e.errors import UserError

SPREADSHEETS = Path(__file__).parent / "inbreast"
ROWS = ((2, {"image": "a.png", "patient_id": "1"}), (3, {"image": "b.png", "patient_id": ""}))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiter_line_end_and_encoding_are_recognised(tmp_path, delimiter, end, encoding):
    lines = [delimiter.join(cells) for cells in (["image", "patient_id"], [" a.png", "1 "], ["", ""], ["b.png"])]
    table = read_table(write(tmp_path / "t.csv", end.join(lines).encode(encoding)), ["image", "patient_id"])
    assert table.rows == (ROWS[0], (4, ROWS[1][1]))
    assert table.columns == ("image", "patient_id")


def test_header_s_case_blanks_hyphens_and_underscores_do_not_matter(tmp_path):
    path = write(tmp_path / "t.csv", "IMAGE ;Patient-ID;PatientAge\na.png;1;50\n")
    table = read_table(path, ["image", "patient_id"], ["patient age", "mask"])
    assert table.columns == ("image", "patient_id", "patient age")
    assert table.rows == ((2, {"image": "a.png", "patient_id": "1", "patient age": "50", "mask": ""}),)


def test_titles_above_the_header_are_skipped_and_row_numbers_are_the_file_s(tmp_path):
    path = write(tmp_path / "t.csv", "sep=;\nour image list\nimage;patient_id\na.png;1\n")
    assert read_table(path, ["image", "patient_id"]).rows == ((4, ROWS[0][1]),)


def test_quoted_cells_may_hold_the_delimiter(tmp_path):
    path = write(tmp_path / "t.csv", 'image,mask\na.png,"m,1.png;m2.png"\n')
    assert read_table(path, ["image"], ["mask"]).rows[0][1]["mask"] == "m,1.png;m2.png"


def test_windows_encoding_is_read_with_a_warning(tmp_path, caplog):
    path = write(tmp_path / "t.csv", "image;patient_id\nMüller.png;1\n".encode("cp1252"))
    assert read_table(path, ["image"]).rows[0][1]["image"] == "Müller.png"
    assert "not UTF-8" in caplog.text


@pytest.mark.parametrize("suffix", ["xls", "xlsx", "csv"])
def test_spreadsheets_are_known_by_content_and_numbers_lose_their_zero(tmp_path, suffix):
    pytest.importorskip("python_calamine")
    source = SPREADSHEETS / f"INbreast.{'xls' if suffix == 'csv' else suffix}"
    path = write(tmp_path / f"t.{suffix}", source.read_bytes())
    table = read_table(path, ["File Name", "BI-RADS"], ["ACR"])
    assert table.rows[0] == (2, {"File Name": "10000001", "BI-RADS": "1", "ACR": "4"})
    assert table.rows[2][1]["ACR"] == ""
    assert table.rows[3][1]["BI-RADS"] == "4a"
    assert len(table.rows) == 7  # with the sums below the images


def test_numbers_of_more_digits_than_a_spreadsheet_keeps_are_no_identifiers(tmp_path):
    pytest.importorskip("python_calamine")
    header = ["image", "patient_id"]
    path = write_xlsx(tmp_path / "t.xlsx", a=[header, ["a.png", 123456789012345], ["b.png", 12]])
    assert [values["patient_id"] for _, values in read_table(path, header).rows] == ["123456789012345", "12"]
    path = write_xlsx(path, a=[header, ["a.png", 1234567890123450], ["b.png", 1234567890123450]])  # …51 and …54
    with pytest.raises(UserError, match="is a number that a spreadsheet program rounded"):
        read_table(path, header)


def test_sheets_that_are_not_read_are_told_of(tmp_path, caplog):
    pytest.importorskip("python_calamine")
    header = ["image", "patient_id"]
    sheets = {"notes": [["read me"]], "y2019": [header, ["a.png", 1]], "y2020": [[*header, "site"], ["b.png", 2, "x"]]}
    path = write_xlsx(tmp_path / "t.xlsx", **sheets)
    for read in (lambda: read_table(path, header), lambda: read_whole_table(path, header.__contains__)):
        caplog.clear()
        assert [values["image"] for _, values in read().rows] == ["a.png"]
        assert "only sheet 'y2019' is read, and no row of 'y2020', which has such columns too" in caplog.text


def test_text_named_as_spreadsheet_is_read(tmp_path):
    assert read_table(write(tmp_path / "t.xls", "image\tpatient_id\na.png\t1\n"), ["image"]).rows[0][0] == 2


def test_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    assert not can_read_spreadsheets()
    with pytest.raises(UserError, match=r'INbreast\.xlsx: .*`pip install "monai-e2e\[excel\]"`, or save it as CSV'):
        read_table(SPREADSHEETS / "INbreast.xlsx", ["File Name"])


@pytest.mark.parametrize("suffix", ["xls", "xlsx"])
@pytest.mark.parametrize("size", [8, 600, 2000, 4500])
def test_cut_off_spreadsheet_is_refused(tmp_path, suffix, size):
    pytest.importorskip("python_calamine")
    path = write(tmp_path / f"t.{suffix}", (SPREADSHEETS / f"INbreast.{suffix}").read_bytes()[:size])
    with pytest.raises(UserError, match=rf"t\.{suffix}: not readable as a spreadsheet; unpack it again"):
        read_table(path, ["File Name"], advice="unpack it again")


@pytest.mark.parametrize("content", [b"\x81\x8d\x00\x01image", b"image;\x00", b"\xff\xfe\x00"])
def test_other_files_are_refused(tmp_path, content):
    with pytest.raises(UserError, match=r"t\.csv: not readable as a table; save it as CSV with UTF-8"):
        read_table(write(tmp_path / "t.csv", content), ["image"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "image,label\n",
            r"t\.csv: column 'patient_id' is missing; needed: image, patient_id; found: image, label\. Do",
        ),
        ("a;b\n", r"columns 'image', 'patient_id' are missing; .*found: a, b\."),
        ("", "found: nothing"),
        ("image,patient_id,Image\n", "column 'image' occurs twice; remove one"),
    ],
)
def test_unusable_headers_are_told_with_what_was_found(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_table(write(tmp_path / "t.csv", content), ["image", "patient_id"], advice="Do this")


def rows_of(*rows: str, header: str = "image,patient_id,label", end: str = "\n") -> str:
    return "\n".join([header, *rows]) + end


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            rows_of("a,1,0", 'b,"2,0', "c,3,1"),
            r't\.csv, row 3: a quote \("\) is stray or never closed.*; correct this row',
        ),
        (rows_of("a,1,0", 'b,"2" x,0', "c,3,1"), r"t\.csv, row 3: a quote"),
        (rows_of("a,1,0", 'b,"2,0', 'c,3",1', "d,4,0"), r't\.csv, row 3: a cell begins with a quote \("\) and goes on'),
        (rows_of("a,1,0", 'b,"2,0', "c,3,1", 'd,4",0'), r"row 3: a cell begins with a quote .* goes on over 3 lines"),
        (rows_of("a,1,0", '"b,2,0', 'c,3,"1', "d,4,0"), "row 3: a quote"),
        (rows_of("a,1,0", 'b,2,"0', 'c",3,1', "d,4,0"), r"row 3: more cells than the header \(5, not 3\): a line end"),
        (rows_of("a,1,0", "b,2,0c,3,1"), r"row 3: more cells than the header \(5, not 3\)"),
        (
            rows_of("a,1,0", "b,2,0", "c,3,0", "d,4", end=""),
            r"row 5: the file seems to end in the middle of this row .*'4'",
        ),
        (rows_of("a,1,10", "b,2,11", "c,3,12", "d,4,1", end=""), "row 5: the file seems to end in the middle"),
        (rows_of("a,1,0", "b,2,0", "c,3,0", "d,4,", end=""), "row 5: the file seems to end"),
        ('image,"patient_id,label\na,1,0\n', 'found: image,"patient_id,label'),
        (rows_of("a,1,0", "b;2;1", "c,3,1"), r"t\.csv, row 3: cells are separated by ';', but in the header by ','"),
        (rows_of("a\t1\t0", "b\t2\t1"), r"row 2: cells are separated by '\\t', but in the header by ','"),
        (rows_of("a;1;0", "b,2,1", header="image;patient_id;label"), "row 3: .* by ',', but in the header by ';'"),
    ],
)
def test_rows_that_were_swallowed_joined_or_cut_are_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_table(write(tmp_path / "t.csv", content), ["image", "patient_id", "label"])


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (rows_of('a,"1\n",0', 'b,"2\n",0'), 2),  # CBIS-DDSM's cells end in line breaks
        (rows_of('a,1,0,"found,\nthen biopsied"', header="image,patient_id,label,comment"), 1),
        (rows_of('a, "1", 0', 'b 5" x,2,1'), 2),
        (rows_of("a,1,0,,", "b,2,1,,"), 2),
        (rows_of("a,1,0", "b,2,1", "c,3,1", "d,4,1", end=""), 4),
        (rows_of("a,1,10", "b,2,9", "c,3,8", "d,4,7", end=""), 4),
        (rows_of("a;b;c,1,0", "", "d;e;f,2,1", ""), 2),
    ],
)
def test_tables_that_only_look_odd_are_read(tmp_path, content, count):
    table = read_table(write(tmp_path / "t.csv", content), ["image", "patient_id", "label"])
    assert [values["patient_id"] for _, values in table.rows] == [str(number + 1) for number in range(count)]


def test_a_table_of_one_column_may_have_tabs_and_commas_in_its_cells(tmp_path):
    table = read_table(write(tmp_path / "t.csv", "image\na\t1.png\nb,2.png\n"), ["image"])
    assert [values["image"] for _, values in table.rows] == ["a\t1.png", "b,2.png"]


def test_identifiers_are_cleaned_and_checked(tmp_path):
    path = write(tmp_path / "t.csv", "image,Patient ID,exam_id\na  b.png,101.0,E\u00a01\nc.png,101,\n")
    assert read_table(path, ["image", "patient_id"], ["exam_id"]).rows == (
        (2, {"image": "a  b.png", "patient_id": "101", "exam_id": "E 1"}),
        (3, {"image": "c.png", "patient_id": "101", "exam_id": ""}),
    )
    with pytest.raises(UserError, match="'K1' in row 2 and 'k1' in row 3 differ in case alone"):
        read_table(write(path, "image,patient_id\na,K1\nb,k1\n"), ["image", "patient_id"])


def test_missing_file_is_told(tmp_path):
    with pytest.raises(UserError, match=r"t\.csv: can't be read \(No such file or directory\); check the path"):
        read_table(tmp_path / "t.csv", ["image"])
