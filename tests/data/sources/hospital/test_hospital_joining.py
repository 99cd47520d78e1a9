"""Rows find images by dates, files, views and patients, and those that don't are counted with the reason."""

import pytest
from export import labelled, table, write_export, write_image, write_pictures
from release_files import write_xlsx

from monai_e2e.data.sources.hospital.labels import collect_labels
from monai_e2e.data.sources.hospital.summary import format_labels


def test_excel_s_dates_and_lost_zeros_are_undone(src, tmp_path):
    pytest.importorskip("python_calamine")
    rows = [("Patienten-ID", "Untersuchungsdatum", "BI-RADS"), (7, 43861, "4a"), (8, 43862, 2.0), (8, 44257, "5")]
    labels = collect_labels(src, [write_xlsx(tmp_path / "t.xlsx", Befunde=rows)])
    assert labelled(labels) == {f"ST{s}/IM{n}": label for s, label in enumerate("101") for n in range(4)}
    assert labels.rows[0]["label_source"] == "BI-RADS"
    assert "12 rows" not in format_labels(labels)
    assert "3 rows joined although leading zeros" in format_labels(labels)


def test_the_order_of_day_and_month_is_the_one_that_joins(src, tmp_path):
    for text in ("02/01/2020", "01/02/2020"):
        path = table(tmp_path, f"patient,date,label\n008,{text},1\n")
        assert set(labelled(collect_labels(src, [path]))) == {f"ST1/IM{n}" for n in range(4)}


@pytest.mark.parametrize(
    "date",
    [
        "1 Feb 2020",
        "01-FEB-20",
        "01FEB2020",
        "2020-Feb-01",
        "February 1, 2020",
        "1. Februar 2020",
        "1er février 2020",
        "1 de febrero de 2020",
    ],
)
def test_months_may_have_names(src, tmp_path, date):
    path = table(tmp_path, f"patient;date;label\n008;{date};1\n")
    assert set(labelled(collect_labels(src, [path]))) == {f"ST1/IM{n}" for n in range(4)}


def test_a_date_that_is_not_understood_is_said(src, tmp_path):
    path = table(tmp_path, "patient;date;label\n007;Q1/2020;1\n008;01.02.2020;0\n")
    labels = collect_labels(src, [path])
    assert set(labelled(labels)) == {f"ST1/IM{n}" for n in range(4)}
    assert "not joined: 1 × date not understood (row 2)" in format_labels(labels)


def test_pictures_of_a_patient_with_one_date_need_none(tmp_path):
    """They have no date; a patient with two is ambiguous, unless folders are named by something else too."""
    src = write_pictures(tmp_path / "src", "P1/1.png", "P2/1.png", "P3/1.png")
    rows = "patient,date,label\nP1,2020-01-31,1\nP2,2020-01-31,0\nP2,2021-01-31,1\nP3,someday,0\n"
    labels = collect_labels(src, [table(tmp_path, rows)])
    assert labelled(labels) == {"P1/1.png": "1"}
    shown = format_labels(labels)
    assert "2 × date of the images unknown, of a patient with several (row 3, 4)" in shown
    assert "1 × date not understood (row 5)" in shown


def test_files_are_joined_with_or_without_folder_and_ending(tmp_path):
    for name in ("a/one.dcm", "b/two.dcm", "b/three.dcm"):
        write_image(tmp_path / "src" / name, Modality="MG", PatientID="1", ImageLaterality="L", ViewPosition="CC")
    path = table(tmp_path, "Datei,patient,view,label\na\\one.dcm,P,RMLO,1\ntwo,P,CC,0\nthree.dcm,P,,0\n")
    labels = collect_labels(tmp_path / "src", [path])
    assert labelled(labels) == {"a/one.dcm": "1", "b/two.dcm": "0", "b/three.dcm": "0"}
    first = labels.rows[0]
    assert (first["laterality"], first["view"], first["label_unit"]) == ("RIGHT", "MLO", "image")
    assert "another side in the header" in labels.notes[0]


def test_a_view_that_is_not_understood_does_not_widen_the_row_to_the_exam(src, tmp_path):
    rows = "accession;view;label\nA-1;MLO-L;1\nA-1;R CC;0\nA-2;Spezial;1\nA-3;2 Ebenen;0\n"
    labels = collect_labels(src, [table(tmp_path, rows)])
    of_exam = {f"ST2/IM{number}": "0" for number in range(4)}
    assert labelled(labels) == {"ST0/IM1": "1", "ST0/IM2": "0", **of_exam}
    assert "not joined: 1 × view not understood (row 4)" in format_labels(labels)


def test_pictures_lie_in_folders_named_by_patient(tmp_path):
    src = write_pictures(tmp_path / "src", "007/1.png", "008/1.png")
    labels = collect_labels(src, [table(tmp_path, "Patient,label\n7,1\n008,0\n")])
    assert labelled(labels) == {"007/1.png": "1", "008/1.png": "0"}


def test_rows_of_another_patient_than_the_header_s_are_left_out_where_most_agree(src, tmp_path):
    rows = "accession,patient,label\nA-1,007,1\nA-2,008,0\nA-3,007,1\n"
    labels = collect_labels(src, [table(tmp_path, rows)])
    assert not [name for name in labelled(labels) if name.startswith("ST2")]
    assert "1 × another patient than the image's header (row 4)" in format_labels(labels)


def test_rows_of_a_merged_cell_are_counted_with_what_to_do(src, tmp_path):
    """A spreadsheet program has its value in the first of them alone."""
    labels = collect_labels(src, [table(tmp_path, "accession,side,label\nA-1,L,1\n,R,0\n")])
    assert labelled(labels) == {"ST0/IM0": "1", "ST0/IM1": "1"}
    assert "1 × no accession number; fill in empty and merged cells (row 3)" in format_labels(labels)


@pytest.mark.parametrize("root", ["D:\\PACS\\src\\", "\\\\server\\share\\", "/mnt/export/", "src/"])
def test_whole_paths_of_another_machine_are_joined_by_their_end(tmp_path, root):
    for name in ("a/1.dcm", "b/1.dcm", "c/2.dcm", "2021/d/3.dcm"):
        write_image(tmp_path / "src" / name, Modality="MG", PatientID="1", ImageLaterality="L", ViewPosition="CC")
    rows = f"file,label\n{root}a/1.dcm,1\n{root}b\\1,0\n{root}elsewhere/2.dcm,1\n{root}2020/d/3.dcm,1\n"
    labels = collect_labels(tmp_path / "src", [table(tmp_path, rows)])
    assert labelled(labels) == {"a/1.dcm": "1", "b/1.dcm": "0"}  # those of other folders may be other images
    assert "2 × no image of this file (row 4, 5)" in format_labels(labels)


def test_whole_paths_of_files_in_no_subfolder_have_the_folders_name(tmp_path):
    write_image(tmp_path / "Export" / "1.dcm", Modality="MG", PatientID="1", ImageLaterality="L", ViewPosition="CC")
    labels = collect_labels(tmp_path / "Export", [table(tmp_path, "file,label\nD:\\PACS\\Export\\1.dcm,1\n")])
    assert labelled(labels) == {"1.dcm": "1"}


def test_a_running_number_of_images_is_no_folder(tmp_path):
    """``Bild`` counts the images of an exam here, and folders count patients."""
    exams = [(f"P{number}", f"A-{number}", "20200131", f"1.2.{number}") for number in (1, 2)]
    src = write_export(tmp_path / "src", exams)
    for number in (0, 1):
        (src / f"ST{number}").rename(src / f"{number + 1}")
    rows = "Auftragsnummer;Bild;label\nA-2;1;1\nA-2;2;1\nA-1;1;0\nA-1;2;0\n"
    labels = collect_labels(src, [table(tmp_path, rows)])
    assert {(name[0], label) for name, label in labelled(labels).items()} == {("1", "0"), ("2", "1")}
    assert labels.tables[0].joined.key == "accession"


@pytest.mark.parametrize(
    ("text", "exam", "note"),
    [
        ("007", "ST0", False),  # as it is, though 7 is alike
        ("7", "ST1", False),
        ("0007", "", False),  # may be either
        ("008", "ST2", False),
        ("8", "ST2", True),
        ('="0008"', "ST2", True),
        ("8.0", "ST2", True),  # as programs write whole numbers
        ("08 ", "ST2", True),
        ("80", "", False),
    ],
)
def test_leading_zeros_are_lost_and_found_where_that_is_certain(tmp_path, text, exam, note):
    exams = [("P1", "007", "20200131", "1.1"), ("P2", "7", "20200131", "1.2"), ("P3", "008", "20200131", "1.3")]
    src = write_export(tmp_path / "src", [*exams, ("P4", "A", "20200131", "1.4")])
    labels = collect_labels(src, [table(tmp_path, f"accession,label\nA,0\n{text},1\n")])
    assert {name[:3] for name, label in labelled(labels).items() if label == "1"} == ({exam} if exam else set())
    assert ("leading zeros or case differ (accession number)" in format_labels(labels)) is note


def test_a_table_whose_rows_name_no_image_joins_none(src, tmp_path):
    tables = [table(tmp_path, "accession,label\nA-1,1\n"), table(tmp_path, "accession,label\n,1\n", "empty.csv")]
    assert "  joined: 0 rows\nImages with a label" in format_labels(collect_labels(src, tables))
