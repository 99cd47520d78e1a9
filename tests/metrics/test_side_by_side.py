"""Several models in one report: each under its name, all pairs compared, all curves in one figure."""

import json
import re

import pytest
from made_rows import RESAMPLES, make_rows

from monai_e2e.cli.main import main
from monai_e2e.errors import UserError
from monai_e2e.metrics import compare_rows, holm, score_models, write_predictions
from monai_e2e.metrics.side_by_side import format_models

pytestmark = pytest.mark.usefixtures("blank_curves")


@pytest.fixture
def tables(tmp_path):
    paths = {}
    for name, noise in (("VGG-16", 0.5), ("ResNet 50", 1.5), ("forest", 2.5)):
        paths[name] = [tmp_path / name / "predictions.csv"]
        paths[name][0].parent.mkdir()
        write_predictions(paths[name][0], make_rows(noise=noise))
    return paths


def test_every_pair_is_compared_with_holms_correction(tables, tmp_path):
    result = score_models(tables, tmp_path / "out", resamples=RESAMPLES)
    assert json.loads((tmp_path / "out" / "score.json").read_text()) == result
    pairs = [(pair["first"], pair["second"]) for pair in result["pairs"]]
    assert pairs == [("VGG-16", "ResNet 50"), ("VGG-16", "forest"), ("ResNet 50", "forest")]
    for level in ("image", "breast", "exam"):
        assert [pair[level]["p_holm"] for pair in result["pairs"]] == holm(
            [pair[level]["p_patients"] for pair in result["pairs"]]
        )
        assert (tmp_path / "out" / f"roc_{level}.png").is_file()
    expected = compare_rows(make_rows(noise=1.5), make_rows(noise=2.5), resamples=RESAMPLES)["exam"]
    assert result["pairs"][2]["exam"]["difference"] == pytest.approx(expected["difference"], abs=1e-6)
    report = (tmp_path / "out" / "report.html").read_text()
    assert "<h1>VGG-16 against ResNet 50 against forest</h1>" in report
    assert "<title>Score of VGG-16</title>" in (tmp_path / "out" / "VGG-16" / "report.html").read_text()


def test_names_must_be_folders_and_two(tables, tmp_path):
    with pytest.raises(UserError, match="two models or more"):
        score_models({"a": tables["forest"]}, tmp_path / "out")
    with pytest.raises(UserError, match=r"'\.\./x': use letters"):
        score_models({"a": tables["forest"], "../x": tables["VGG-16"]}, tmp_path / "out")


def test_command_takes_names_and_folds(tables, tmp_path, capsys):
    rows = make_rows(noise=2.5)
    halves = [tmp_path / "fold0.csv", tmp_path / "fold1.csv"]
    for number, half in enumerate(halves):
        write_predictions(half, [row | {"fold": number} for row in rows if int(row["patient_id"][1:]) % 2 == number])
    command = ["score", "--name", f"A={tables['VGG-16'][0]}", f"B={halves[0]}", "--name", f"B={halves[1]}"]
    assert main([*command, "--out", str(tmp_path / "out"), "--resamples", "100"]) == 0
    assert "per exam A − B: +" in capsys.readouterr().out
    assert (tmp_path / "out" / "B" / "pooled.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either PREDICTIONS"),
        (["p.csv", "--name", "A=a.csv"], "give either PREDICTIONS"),
        (["--name", "a.csv", "--out", "o"], "write NAME=TABLE"),
        (["--name", "A=a.csv", "B=b.csv"], "name the folder of the results"),
        (["--name", "A=a.csv", "B=b.csv", "--compare", "c.csv", "--out", "o"], "--compare belongs to one model"),
    ],
)
def test_unfit_commands_are_refused(arguments, message, capsys):
    assert main(["score", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_written_where_the_images_differ(tables, tmp_path):
    write_predictions(tables["forest"][0], make_rows(noise=2.5)[:-1])
    with pytest.raises(UserError, match=r"VGG-16 and forest: the two sets of images differ: 1 are without prediction"):
        score_models({name: tables[name] for name in ("VGG-16", "forest")}, tmp_path / "out", resamples=RESAMPLES)
    assert not (tmp_path / "out").exists()


def test_folds_that_share_patients_are_an_error_that_names_the_model(tables, tmp_path):
    both = [*tables["VGG-16"], *tables["forest"]]
    with pytest.raises(UserError, match="A: 40 patients are in more than one fold"):
        score_models({"A": both, "B": tables["forest"]}, tmp_path / "out", resamples=RESAMPLES)


def test_printed_differences_have_their_interval(tables, tmp_path):
    printed = format_models(score_models(tables, tmp_path / "out", resamples=RESAMPLES))
    assert "95 %" in printed
    assert re.search(r"per image VGG-16 − forest: \+0\.\d{3} \(\+0\.\d{3} to \+0\.\d{3}\), p ", printed)
