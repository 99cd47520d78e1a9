"""Who is in which subgroup."""

import pytest
from made_rows import RESAMPLES, make_rows

from monai_e2e.errors import UserError
from monai_e2e.metrics import read_labels, read_predictions, score_file, subgroup_members, write_predictions

pytestmark = pytest.mark.usefixtures("blank_curves")

HEADER = "image,label,logit,age,vendor,implant,lesion_size,subtype"


def read(tmp_path, *lines):
    (tmp_path / "p.csv").write_text("\n".join([HEADER, *lines]))
    return read_predictions(tmp_path / "p.csv")


def test_ages_and_sizes_are_in_bands_and_positives_alone_have_lesions(tmp_path):
    rows = read(
        tmp_path,
        "a,0,0,39.9,Hologic,no,,",
        "b,1,0,040Y,GE,1,10,DCIS+IDC",
        "c,0,0,69,GE,0,,",
        "d,1,0,70,,,9.5,IDC",
        "e,1,0,,,,50,",
    )
    found = {name: {w: list(n) for w, n in words.items()} for name, words in subgroup_members(rows).items()}
    assert list(found["age"].items()) == [
        ("below 40", [0]),
        ("40 to 49", [1]),
        ("60 to 69", [2]),
        ("70 and more", [3]),
        ("unknown", [4]),
    ]
    assert found["implant"] == {"no": [0, 2], "yes": [1], "unknown": [3, 4]}
    assert found["vendor"] == {"GE": [1, 2], "Hologic": [0], "unknown": [3, 4]}
    assert found["lesion_size"] == {"below 10": [3], "10 to below 20": [1], "50 and more": [4]}
    assert found["subtype"] == {"DCIS": [1], "IDC": [1, 3], "unknown": [4]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,0,0,200,,,,", "age 200; allowed are up to 120 years"),
        ("a,0,0,,,maybe,,", "implant 'maybe'; allowed are yes, no"),
        ("a,0,0,,,,-3,", "lesion_size -3; allowed are up to 300 mm"),
        ("a,0,0,old,,,,", "age 'OLD' is no number"),
    ],
)
def test_words_that_are_none_are_refused(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, line)


def test_columns_of_the_labels_divide_the_predictions_and_are_kept(tmp_path):
    rows = make_rows()
    write_predictions(tmp_path / "p.csv", rows)
    lines = [f"{row['image']},{row['label']},{50 if number % 2 else 65}" for number, row in enumerate(rows)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label,age", *lines]))
    assert read_labels(tmp_path / "labels.csv")[rows[0]["image"]]["age"] == 65
    scored = score_file(tmp_path / "p.csv", tmp_path / "labels.csv", resamples=RESAMPLES)
    assert [group["n"] for group in scored["subgroups"]["age"].values()] == [80, 80]
    assert scored["heterogeneity"]["age"]["df"] == 1
    assert "Age in years" in (tmp_path / "report.html").read_text()


def test_group_columns_are_written_where_they_are_known(tmp_path):
    rows = read(tmp_path, "a,0,0,50,GE,no,,", "b,1,1,60,GE,no,12,")
    write_predictions(tmp_path / "again.csv", rows)
    header = (tmp_path / "again.csv").read_text().splitlines()[0].split(",")
    assert header[-5:] == ["flags", "age", "vendor", "implant", "lesion_size"]
    assert read_predictions(tmp_path / "again.csv")[1]["lesion_size"] == 12
