"""`monai-e2e score` as it is typed."""

import json

import pytest
from made_rows import make_rows, renamed

from monai_e2e.cli.main import main
from monai_e2e.metrics import score_file, write_predictions

pytestmark = pytest.mark.usefixtures("blank_curves")


@pytest.fixture
def predictions(tmp_path):
    write_predictions(tmp_path / "predictions.csv", make_rows())
    return tmp_path / "predictions.csv"


def test_score_prints_a_table_and_where_the_report_is(predictions, capsys):
    assert main(["score", str(predictions), "--resamples", "200"]) == 0
    output = capsys.readouterr().out
    scored = json.loads((predictions.parent / "score.json").read_text())
    for level in ("image", "breast", "exam"):
        assert f"{scored[level]['n']:>6} {scored[level]['positive']:>9}  {scored[level]['auc']:.3f}" in output
    assert f"Report: {predictions.parent / 'report.html'}" in output
    assert (predictions.parent / "report.html").is_file()


def test_every_option_reaches_the_score(predictions, tmp_path, capsys):
    write_predictions(tmp_path / "other.csv", make_rows(noise=1.5))
    write_predictions(tmp_path / "validation.csv", renamed(make_rows(seed=5), "V"))
    labels = tmp_path / "labels.csv"
    labels.write_text("image,label\n" + "".join(f"{row['image']},{row['label']}\n" for row in make_rows()[:100]))
    command = f"score {predictions} --labels {labels} --drop-unlabelled --compare {tmp_path / 'other.csv'} --out "
    command += (
        f"{tmp_path / 'out'} --aggregate max --threshold-from {tmp_path / 'validation.csv'} --seed 4 --resamples 150"
    )
    assert main(command.split()) == 0
    expected = score_file(
        predictions,
        labels=labels,
        compare=[tmp_path / "other.csv"],
        out=tmp_path / "expected",
        how="max",
        threshold_from=tmp_path / "validation.csv",
        drop_unlabelled=True,
        seed=4,
        resamples=150,
    )
    assert json.loads((tmp_path / "out" / "score.json").read_text()) == expected
    assert "against other.csv" in capsys.readouterr().out
    assert main(["score", str(predictions), "--threshold", "0.4", "--resamples", "150"]) == 0
    scored = json.loads((tmp_path / "score.json").read_text())
    assert scored["image"]["at_threshold"]["threshold"] == pytest.approx(0.4)


def test_a_users_mistake_is_one_line_and_status_2(tmp_path, capsys):
    (tmp_path / "p.csv").write_text("image,logit,label\na,0,1\nb,nan,0\n")
    assert main(["score", str(tmp_path / "p.csv")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "row 3, image 'b': logit is nan" in error
    assert not (tmp_path / "score.json").exists()
