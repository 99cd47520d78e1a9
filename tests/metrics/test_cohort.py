"""The cohort's counts are the rows' and the report's, and the flow chart shows them all."""

import json
import re
from itertools import pairwise

import pytest
from made_rows import RESAMPLES, make_rows

from monai_e2e.metrics import score_file, write_predictions
from monai_e2e.metrics.cohort import cohort_section, describe_cohort

pytestmark = pytest.mark.usefixtures("blank_curves")

REPORT = {
    "name": "CBIS-DDSM <x>",
    "protocol": "official",
    "tables": {"rows": 200, "patients": 50},
    "rows_used": 180,
    "rows_excluded": 20,
    "excluded_by_reason": {"no_file": 15, "unreadable": 5},
    "also_excluded": {"stray_file": 3},
    "partitions": {
        "training": {"patients": 30, "images": 100, "positive": 20, "lesions": {}},
        "test": {"patients": 20, "images": 60, "positive": 12, "lesions": {}},
    },
    "seconds": 3,
}


def test_counts_of_the_rows():
    rows = [row | {"age": 50.0 + 10 * (number // 4 % 2)} for number, row in enumerate(make_rows())]
    scored = describe_cohort(rows)["scored"]
    assert (scored["images"], scored["positive"]) == (160, 28)
    assert (scored["patients"], scored["positive_patients"]) == (40, 14)
    assert scored["counts"]["view"] == {"CC": 80, "MLO": 80}
    assert (scored["age"]["mean"], scored["age"]["n"]) == (55, 40)  # one for each exam, however many images it has
    more = [*rows, *(row | {"image": f"{row['image']} again"} for row in rows if row["age"] == 50)]
    assert describe_cohort(more)["scored"]["age"] == scored["age"]
    assert describe_cohort([{"label": 1, "image": "a"}])["scored"]["patients"] is None


def test_flow_chart_shows_every_count_and_reason(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    cohort = describe_cohort(make_rows(), tmp_path)
    assert "seconds" not in cohort["prepared"]
    section = cohort_section(cohort)
    for text in ("200 rows in its tables", "180 rows used", "20 rows excluded", "15 no file", "3 stray file"):
        assert f"{text}</text>" in section
    assert "160 images prepared" in section
    assert "160 images of 40 patients scored" in section
    assert "<x>" not in section
    boxes = [tuple(map(int, box)) for box in re.findall(r'<rect x="4" y="(\d+)" width="\d+" height="(\d+)"', section)]
    assert all(top + height < below for (top, height), (below, _) in pairwise(boxes))


def test_report_has_the_cohort_of_the_prepared_folder_that_was_predicted(tmp_path):
    write_predictions(tmp_path / "run" / "p.csv", make_rows())
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "report.json").write_text(json.dumps(REPORT))
    record = {"dataset": {"path": str(tmp_path / "prepared"), "name": "CBIS-DDSM"}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    scored = score_file(tmp_path / "run" / "p.csv", resamples=RESAMPLES)
    assert scored["cohort"]["prepared"]["rows_excluded"] == 20
    assert "rows excluded" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("known", [True, False])
def test_where_nobody_knows_whose_images_are_a_note_says_so(tmp_path, known):
    (tmp_path / "report.json").write_text(json.dumps({**REPORT, "patients_known": known}))
    write_predictions(tmp_path / "predictions.csv", make_rows())
    scored = score_file(tmp_path / "predictions.csv", resamples=RESAMPLES, prepared=tmp_path)
    assert any("doesn't say which images are of the same patient" in note for note in scored["notes"]) != known
