"""Images and hospitals' tables joined: by whichever identifiers there are, in five languages, and nothing guessed."""

import pytest
from export import EXAMS, labelled, table, write_export, write_image, write_pictures

from monai_e2e.cli.main import main
from monai_e2e.data.records import GROUP_FACTS
from monai_e2e.data.sources.hospital.labels import collect_labels, write_labels
from monai_e2e.data.sources.hospital.pseudonyms import write_link
from monai_e2e.data.sources.hospital.summary import format_labels
from monai_e2e.data.sources.own.reader import read_own
from monai_e2e.errors import UserError

GERMAN = """Befundliste 2020
Auftrags-Nr;Seite;Histologie;Name
A-1;links;bösartig;Doe
A-1;rechts;gutartig;Doe
A-2;li;Zyste;Roe
"""
BREASTS = {f"ST0/IM{n}": "1" if n < 2 else "0" for n in range(4)} | {"ST1/IM0": "0", "ST1/IM1": "0"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_breasts_are_joined_by_accession_number_and_side_in_any_encoding(src, tmp_path, encoding):
    labels = collect_labels(src, [table(tmp_path, GERMAN, encoding=encoding)])
    assert labelled(labels) == BREASTS
    assert {row["label_unit"] for row in labels.rows} == {"breast"}
    assert {row["label_source"] for row in labels.rows} == {"pathology"}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("accession number,side,pathology\nA-1,L,malignant\nA-1,R,benign\nA-2,left,cyst\n", "utf-8"),
        ("Numéro d'examen\tCôté\tRésultat\nA-1\tgauche\tmalin\nA-1\tdroite\tbénin\nA-2\tG\tkyste\n", "cp1252"),
        ("Número de estudio;Lado;Diagnóstico\nA-1;izquierda;maligno\nA-1;derecha;benigno\nA-2;I;quiste\n", "utf-8"),
        ("检查号,侧别,病理结果\nA-1,左,恶性\nA-1,右,良性\nA-2,左乳,囊肿\n", "gb18030"),
        ('accession|Seite|Histologie\n="A-1"|links|True\nA-1|R|False\nA-2|gauche|bénin\n', "utf-16-le"),
    ],
)
def test_other_languages_say_the_same(src, tmp_path, text, encoding):
    assert labelled(collect_labels(src, [table(tmp_path, text, encoding=encoding)])) == BREASTS


def test_labels_go_straight_into_prepare_folder(src, tmp_path):
    labels = collect_labels(src, [table(tmp_path, GERMAN)])
    write_labels(labels, tmp_path / "labels.csv")
    catalogue = read_own(src, tmp_path / "labels.csv")
    assert [image.label for image in catalogue.mammograms] == [1, 1, 0, 0, 0, 0]
    assert catalogue.mammograms[0].image_id == "patient-0001_LEFT_CC"
    assert not [item for item in catalogue.excluded if item.rows]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("accession,label,age,manufacturer,device,site,implant\nA-1,1,61.0,GE,Pristina,Nord,yes\n", "utf-8"),
        ("Auftrags-Nr;Befund;Alter;Hersteller;Gerät;Standort;Implantat\nA-1;ja;61 J.;GE;Pristina;Nord;ja\n", "cp1252"),
        ("Accession;Résultat;Âge;Fabricant;Appareil;Centre;Prothèse\nA-1;malin;61 ans;GE;Pristina;Nord;oui\n", "utf-8"),
        ("Accession;Resultado;Edad;Fabricante;Equipo;Centro;Prótesis\nA-1;maligno;61,0;GE;Pristina;Nord;sí\n", "utf-8"),
        ("检查号,病理结果,年龄,厂商,设备,院区,假体\nA-1,恶性,61岁,GE,Pristina,Nord,是\n", "gb18030"),
    ],
)  # fmt: skip
def test_what_subgroups_are_made_of_goes_with_the_labels(src, tmp_path, text, encoding):
    labels = collect_labels(src, [table(tmp_path, text, encoding=encoding)])
    write_labels(labels, tmp_path / "labels.csv")
    (row,) = {tuple(row[name] for name in GROUP_FACTS) for row in labels.rows if row["label"] == "1"}
    assert row == ("61", "GE", "Pristina", "Nord", "yes", "")
    assert "subtype" not in (tmp_path / "labels.csv").read_text().splitlines()[0]


def test_a_date_of_birth_is_no_age(src, tmp_path):
    rows = "accession,label,age,subtype\nA-1,1,12.03.1965,Luminal B\nA-2,0,40-49,\n"
    labels = collect_labels(src, [table(tmp_path, rows)])
    assert {row["age"] for row in labels.rows} == {""}
    assert {row["subtype"] for row in labels.rows} == {"Luminal B", ""}


def test_no_identifier_of_a_header_is_written_but_to_the_private_link(src, tmp_path):
    rows = "Patient;Datum;Diagnose\n007;31.01.2020;benigne\n008;01.02.2020;maligne\n"
    labels = collect_labels(src, [table(tmp_path, rows)])
    write_labels(labels, tmp_path / "labels.csv")
    written = (tmp_path / "labels.csv").read_text() + format_labels(labels)
    assert not [text for exam in EXAMS for text in exam if text in written]
    write_link(labels.links, tmp_path / "link.csv")
    assert (tmp_path / "link.csv").stat().st_mode & 0o077 == 0
    assert "patient-0002,patient,008" in (tmp_path / "link.csv").read_text()
    again = collect_labels(
        src, [table(tmp_path, rows.replace("007;31.01.2020;benigne\n", ""))], link=tmp_path / "link.csv"
    )
    assert {row["patient_id"] for row in again.rows} == {"patient-0002"}


def test_a_table_s_own_pseudonyms_stay(src, tmp_path):
    labels = collect_labels(src, [table(tmp_path, "accession,patient_id,label\nA-1,K-9,1\nA-2,K-8,0\n")])
    assert {row["patient_id"] for row in labels.rows} == {"K-9", "K-8"}
    assert {row["label_unit"] for row in labels.rows} == {"exam"}


def test_one_table_s_pseudonyms_join_the_next(src, tmp_path):
    keys = table(tmp_path, "accession,pseudonym\nA-1,K-9\nA-2,K-8\n", "keys.csv")
    findings = table(tmp_path, "pseudonym,histology\nK-9,IDC\nK-8,fibroadenoma\n")
    labels = collect_labels(src, [keys, findings])
    assert labelled(labels) == {f"ST0/IM{n}": "1" for n in range(4)} | {f"ST1/IM{n}": "0" for n in range(4)}


def test_a_woman_with_a_pseudonym_for_one_of_her_exams_is_one_patient(src, tmp_path):
    keys = table(tmp_path, "accession,pseudonym\nA-1,patient-0001\nA-2,K-8\n", "keys.csv")
    labels = collect_labels(src, [keys, table(tmp_path, "accession,label\nA-1,1\nA-2,0\nA-3,0\n")])
    found = {row["image"].split("/")[0]: row["patient_id"] for row in labels.rows}
    assert found == {"ST0": "patient-0001", "ST1": "K-8", "ST2": "K-8"}
    assert labels.notes == []


def test_patient_ids_that_differ_in_leading_zeros_or_case_are_one_patient(tmp_path):
    """As those of two modalities may; a patient must not be in two partitions."""
    exams = [(name, f"A-{number}", "20200131", f"1.2.{number}") for number, name in enumerate(("007", "7", "p8", "P8"))]
    src = write_export(tmp_path / "src", exams)
    path = table(tmp_path, "accession,label\nA-0,1\nA-1,1\nA-2,0\nA-3,0\n")
    labels = collect_labels(src, [path])
    patients = {row["image"].split("/")[0]: row["patient_id"] for row in labels.rows}
    assert patients == {"ST0": "patient-0001", "ST1": "patient-0001", "ST2": "patient-0002", "ST3": "patient-0002"}
    assert (
        "patients with several Patient IDs in the headers, which differ in case or leading zeros alone: 2"
        in labels.notes[0]
    )
    write_link(labels.links, tmp_path / "link.csv")
    assert collect_labels(src, [path], link=tmp_path / "link.csv").rows == labels.rows


def test_running_numbers_are_none_that_a_table_has(src, tmp_path):
    keys = table(tmp_path, "accession,pseudonym\nA-1,patient-0001\n", "keys.csv")
    labels = collect_labels(src, [keys, table(tmp_path, "accession,label\nA-1,1\nA-2,0\n")])
    assert {row["patient_id"] for row in labels.rows} == {"patient-0001", "patient-0002"}


def test_several_pseudonyms_of_one_patient_id_are_noted(src, tmp_path):
    labels = collect_labels(src, [table(tmp_path, "accession,patient_id,label\nA-1,K-7,1\nA-2,K-8,0\nA-3,K-9,0\n")])
    assert {row["patient_id"] for row in labels.rows} == {"K-7", "K-8", "K-9"}
    assert "Patient IDs of the headers with several pseudonyms in the tables: 1;" in labels.notes[0]


def test_two_columns_of_one_name_are_ambiguous(src, tmp_path):
    with pytest.raises(UserError, match="column 'label' occurs twice; rename or remove one"):
        collect_labels(src, [table(tmp_path, "accession,label,label\nA-1,1,0\nA-2,0,0\n")])
    labels = collect_labels(src, [table(tmp_path, "accession,text,label,text\nA-1,x,1,y\nA-2,x,0,y\n")])
    assert len(labels.rows) == 8


@pytest.mark.parametrize(("high", "low"), [("IV", "II"), ("BI-RADS IVa", "BIRADS-I"), ("V", "II "), ("VI", "I")])
def test_categories_may_be_roman_numbers(src, tmp_path, high, low):
    labels = collect_labels(src, [table(tmp_path, f"accession,BI-RADS\nA-1,{high}\nA-2,{low}\nA-3,III\n")])
    assert labelled(labels) == {f"ST0/IM{n}": "1" for n in range(4)} | {f"ST1/IM{n}": "0" for n in range(4)}


def test_a_column_of_each_breast_is_two_labels(src, tmp_path):
    path = table(tmp_path, "Accession;BIRADS li;BIRADS re\nA-1;4,0;1\nA-2;0;2\n")
    labels = collect_labels(src, [path])
    assert labelled(labels) == {
        "ST0/IM0": "1",
        "ST0/IM1": "1",
        "ST0/IM2": "0",
        "ST0/IM3": "0",
        "ST1/IM2": "0",
        "ST1/IM3": "0",
    }


def test_an_accession_number_of_pictures_is_not_written_either(tmp_path):
    src = write_pictures(tmp_path / "src", "A-77/1.png", "A-78/1.png")
    rows = "accession,pseudonym,label\nA-77,P1,1\nA-78,P1,0\n"
    labels = collect_labels(src, [table(tmp_path, rows)])
    assert [row["exam_id"] for row in labels.rows] == ["exam-0001", "exam-0002"]
    assert ("exam-0001", "exam", "A-77") in labels.links


@pytest.mark.parametrize(
    ("rows", "positive", "rule"),
    [
        ("accession,BI-RADS\nA-1,4\nA-2,1\n", None, "BI-RADS 4 to 6"),
        ("accession,BI-RADS\nA-1,5\nA-2,4\nA-3,1\n", "birads5", "BI-RADS 5 and 6"),
        ("accession,histology\nA-1,DCIS\nA-2,B2\n", None, None),
    ],
)  # fmt: skip
def test_the_rule_of_bi_rads_categories_goes_on_to_the_report(src, tmp_path, rows, positive, rule):
    labels = collect_labels(src, [table(tmp_path, rows)], positive=positive)
    write_labels(labels, tmp_path / "labels.csv")
    assert read_own(src, tmp_path / "labels.csv").facts.get("label_rule") == (
        f"{rule} positive, 1 and 2 negative, others left out" if rule else None
    )


def test_an_image_of_several_rows_is_malignant_if_any_is(src, tmp_path):
    labels = collect_labels(src, [table(tmp_path, "accession,label\nA-1,0\nA-1,1\nA-2,0\n")])
    assert labelled(labels)["ST0/IM0"] == "1"
    assert labels.notes == ["images with rows of both labels, of which malignant counts: 4"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("accession,histology\nA-1,LCIS\nA-2,LCIS\n", r"column 'histology': 1 value.*'LCIS' \(2\).*--value 'LCIS'=1"),
        ("accession,label\nA-1,2\nA-2,1\n", "may be BI-RADS categories.*--positive birads4"),
        ("accession,side,label\nA-1,up,0\n", "row 2: side 'up'.*L, R or B"),
        (
            "accession,histology,BI-RADS\nA-1,M,4\n",
            "may stand in 'histology', 'BI-RADS'; choose: --column label='histology'",
        ),
        ("name,weight\nx,3\n", "no row of column names that are known.*--column"),
        ("histology,view\nM,CC\n", "no column that tells which images"),
        ("accession,view\nA-1,CC\n", "none of the columns is known to hold labels"),
        ("accession,BI-RADS\nA-1,0\nA-2,3\n", "no image got a label: the labels of all rows are left out or empty"),
        ("accession,label\n", r"t\.csv: the table has no row"),
        ("accession,label\nX-1,1\n", r"no image got a label \(1 × no image of this accession number\)"),
        ("patient,label\n7,1\n007,0\n", "differ in leading zeros alone"),
        ("patient,label\n2.27E+07,1\n", "a spreadsheet program rounded"),
    ],
)
def test_what_cannot_be_understood_is_an_error_that_says_what_to_do(src, tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        collect_labels(src, [table(tmp_path, rows)])


def test_files_that_are_no_tables_say_so(src, tmp_path):
    with pytest.raises(UserError, match=r"absent\.xlsx: can't be read \(No such file or directory\); check the path"):
        collect_labels(src, [tmp_path / "absent.xlsx"])
    pytest.importorskip("python_calamine")
    (tmp_path / "locked.xlsx").write_bytes(b"\xd0\xcf\x11\xe0 encrypted")
    with pytest.raises(
        UserError, match=r"locked\.xlsx: not readable as a spreadsheet; open it in a spreadsheet program"
    ):
        collect_labels(src, [tmp_path / "locked.xlsx"])


def test_the_user_says_what_no_dictionary_knows(src, tmp_path):
    path = table(tmp_path, "Auftrag;Text\nA-1;LCIS\nA-2;Ca (NST)\nA-3;?\n")
    columns, values = {"accession": "Auftrag", "label": "text"}, {"lcis": "0", "Ca (NST)": "1"}
    labels = collect_labels(src, [path], columns, values)
    assert sorted(labelled(labels).values()) == ["0"] * 4 + ["1"] * 4
    with pytest.raises(UserError, match="no table has this column"):
        collect_labels(src, [path], columns | {"date": "Tag"}, values)
    with pytest.raises(UserError, match="did you mean 'laterality'"):
        collect_labels(src, [path], columns | {"lateralty": "Tag"}, values)


def test_reports_raw_data_and_damaged_files_get_no_label(tmp_path):
    src = write_export(tmp_path / "src", EXAMS[:2])
    write_image(src / "raw", Modality="MG", AccessionNumber="A-1", PresentationIntentType="FOR PROCESSING")
    write_image(src / "ct", Modality="CT", AccessionNumber="A-1")
    labels = collect_labels(src, [table(tmp_path, "accession,label\nA-1,1\nA-2,0\n")])
    assert len(labels.rows) == 8
    assert labels.without == {"raw detector data": 1, "no mammogram, but modality CT": 1}


def test_the_command_shows_what_joined_and_writes_only_where_it_is_told(src, tmp_path, capsys):
    path = table(tmp_path, GERMAN)
    assert main(["labels", str(src), str(path)]) == 0
    shown = capsys.readouterr().out
    for line in ("columns: accession = 'Auftrags-Nr', laterality = 'Seite', label = 'Histologie'", "not used: 'Name'"):
        assert line in shown
    assert "bösartig  1 positive  (1)" in shown
    assert "joined: 3 rows by accession number, per breast: 3" in shown
    assert "Images with a label: 6, 2 positive, 2 patients" in shown
    assert "Nothing written" in shown
    out = tmp_path / "out" / "labels.csv"
    assert main(["labels", str(src), str(path), "-o", str(out), "--keep-link", str(tmp_path / "link.csv")]) == 0
    assert out.is_file()
    assert f"prepare folder {src} PREPARED --labels {out}" in capsys.readouterr().out
    assert main(["labels", str(src), str(path), "-o", str(out), "--keep-link", str(out.parent / "l.csv")]) == 2
    assert main(["labels", str(src), str(path), "-o", str(path)]) == 2


def test_the_command_quotes_what_a_shell_would_split_and_writes_the_link_first(src, tmp_path, capsys):
    path, out = table(tmp_path, GERMAN), tmp_path / "of 2020" / "labels.csv"
    assert main(["labels", str(src), str(path), "-o", str(out), "--keep-link", str(tmp_path / "link.csv")]) == 0
    assert f"--labels '{out}'" in capsys.readouterr().out
    (tmp_path / "file").touch()
    arguments = ["labels", str(src), str(path), "-o", str(tmp_path / "new.csv")]
    assert main([*arguments, "--keep-link", str(tmp_path / "file" / "link.csv")]) == 2
    assert not (tmp_path / "new.csv").exists()


def test_images_in_an_archive_or_behind_links_are_named(src, tmp_path, caplog):
    (tmp_path / "zipped").mkdir()
    (tmp_path / "zipped" / "export.zip").touch()
    with pytest.raises(UserError, match=r"no DICOM, PNG, TIFF or JPEG file; unpack export\.zip first"):
        collect_labels(tmp_path / "zipped", [table(tmp_path, GERMAN)])
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "exams").symlink_to(src / "ST0", target_is_directory=True)
    (tmp_path / "linked" / "one.dcm").symlink_to(src / "ST1" / "IM0")
    with pytest.raises(UserError, match="no mammogram"):
        collect_labels(tmp_path / "linked", [table(tmp_path, GERMAN)])
    assert "2 links that lead out of the folder are left out" in caplog.text
