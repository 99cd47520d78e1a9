"""The report is one file that needs no other, shows the figures and runs nothing that a table brings along."""

import base64
import re
from html.parser import HTMLParser

import pytest
from made_rows import RESAMPLES, make_rows

from monai_e2e.metrics import compare_rows, correct_by_holm, level_samples, score_rows, write_results

pytestmark = pytest.mark.usefixtures("blank_curves")

VOID = {"meta", "img", "br", "path", "circle"}
MARKUP = "<script>alert('x')</script>"


class Page(HTMLParser):
    """What a browser would see: the text, the elements, and every place that an attribute points to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self.references += [value or "" for name, value in attributes if name in ("src", "href", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    rows = make_rows()
    rows[0] |= {"flags": MARKUP, "density": None}
    rows[1] |= {"lesion_type": f"mass+{MARKUP}"}
    scored = score_rows(rows, threshold=0.2, resamples=RESAMPLES, threshold_source=MARKUP)
    others = compare_rows(rows, make_rows(noise=1.5), resamples=RESAMPLES)
    correct_by_holm([others])
    scored["comparisons"] = [{"predictions": f"{MARKUP}.csv", **others}]
    folder = tmp_path_factory.mktemp("report")
    write_results(folder, scored, level_samples(rows)[0], title=f"{MARKUP}.csv")
    return scored, (folder / "report.html").read_text(encoding="utf-8")


def test_page_is_well_formed_and_shows_the_headline_figures(report):
    scored, text = report
    page = Page(text)
    for level in ("image", "breast", "exam"):
        assert f"AUC per {level}{scored[level]['auc']:.3f}" in page.text
        for kind in ("delong", "bootstrap"):
            low, high = scored[level][f"auc_ci_{kind}"]
            assert f"({low:.3f} to {high:.3f})" in page.text
    for title in ("Curves", "At the threshold", "At fixed rates", "Calibration", "Subgroups", "Compared with", "Notes"):
        assert title in page.text
    assert "For research, not for diagnosis." in page.text


def test_page_refers_to_nothing_outside_itself(report):
    _, text = report
    page = Page(text)
    assert len(page.references) == 4
    assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
    assert base64.b64decode(page.references[0].partition(",")[2]).startswith(b"\x89PNG")
    assert not re.search(r"https?://|@import|url\(", text)
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.elements)


def test_text_of_tables_is_shown_and_not_run(report):
    _, text = report
    page = Page(text)
    assert MARKUP not in text
    assert page.text.count(MARKUP) == 7  # title twice, threshold, subgroup, comparison twice and flag
    assert "Content-Security-Policy" in text


def test_page_without_threshold_subgroups_and_comparison_says_how_to_get_one(tmp_path):
    rows = [{**row, "view": "", "density": None, "lesion_type": ""} for row in make_rows()]
    write_results(tmp_path, score_rows(rows, resamples=RESAMPLES), level_samples(rows)[0])
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "--threshold-from" in page.text
    assert "Subgroups" not in page.text
    assert "Compared with" not in page.text


def test_recalibrated_probabilities_are_not_called_the_networks(tmp_path):
    rows = make_rows()
    scored = score_rows(rows, threshold=0.2, resamples=RESAMPLES, prevalence=0.006)
    for changed, said in ((None, True), ("platt, slope 1", False)):
        scored["settings"]["recalibration"] = changed
        write_results(tmp_path, scored, level_samples(rows)[0])
        assert ("Probabilities are as the network gives them" in (tmp_path / "report.html").read_text()) is said


def test_net_benefit_is_per_thousand_and_shows_no_minus_zero(tmp_path):
    rows = make_rows()
    scored = score_rows(rows, resamples=RESAMPLES)
    limits = {"model_ci_bootstrap": [-0.00001, 0.0049]}
    scored["image"]["net_benefit"][0] |= {"model": 0.00253, "all": -0.00001, **limits}
    write_results(tmp_path, scored, level_samples(rows)[0])
    text = (tmp_path / "report.html").read_text()
    assert "Net benefit per 1,000" in text
    assert "<td>2.5</td>" in text
    assert "<td>0.0 to 4.9</td>" in text
    assert "−0.0<" not in text


def test_a_subgroup_without_width_is_drawn_with_delongs_interval(tmp_path):
    rows = make_rows()
    scored = score_rows(rows, resamples=RESAMPLES)
    group = scored["subgroups"]["view"]["CC"]
    group |= {"auc": 1.0, "auc_ci_bootstrap": [1.0, 1.0], "auc_ci_delong": [0.368, 1.0]}
    write_results(tmp_path, scored, level_samples(rows)[0])
    text = (tmp_path / "report.html").read_text()
    assert 'aria-label="1.00, 0.37 to 1.00"' in text
    assert "(1.000 to 1.000)" not in text


def test_both_sides_of_a_comparison_have_their_names(tmp_path):
    rows = make_rows()
    scored = score_rows(rows, resamples=RESAMPLES)
    others = compare_rows(rows, make_rows(noise=1.5), resamples=RESAMPLES)
    correct_by_holm([others])
    scored |= {
        "about": {"model": "VGG-16"},
        "comparisons": [{"predictions": "b/predictions.csv", "name": "ResNet", **others}],
    }
    write_results(tmp_path, scored, level_samples(rows)[0])
    text = (tmp_path / "report.html").read_text()
    assert "AUC VGG-16" in text
    assert "AUC ResNet" in text
