"""The command line: what it passes on, and what a user's mistake looks like."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import monai_e2e
from monai_e2e.cli import main as cli
from monai_e2e.errors import UserError


def fails(arguments: list[str], capsys: pytest.CaptureFixture) -> str:
    """Run a command that must end in status 2; returns its last line."""
    try:
        status = cli.main(arguments)
    except SystemExit as stop:  # argparse
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2
    assert "Traceback" not in captured.err
    assert captured.out == ""
    return captured.err.strip().splitlines()[-1]


@pytest.mark.parametrize(("text", "size"), [("1152x896", (1152, 896)), ("288X224", (288, 224))])
def test_image_size_is_rows_by_columns(text, size):
    arguments = cli._parser().parse_args(["prepare", "inbreast", "SRC", "OUT", "--image-size", text])
    assert arguments.image_size == size


@pytest.mark.parametrize("text", ["1152", "1152x", "x896", "1152x896x3", "1152,896", "axb", "1.5x2", ""])
def test_unreadable_image_size_shows_how_to_write_it(text, capsys):
    assert f"1152x896, not '{text}'" in fails(["prepare", "inbreast", "SRC", "OUT", "--image-size", text], capsys)


@pytest.mark.parametrize("text", ["0x896", "1152x0"])
def test_empty_image_size_is_refused(text, tmp_path, capsys):
    arguments = ["prepare", "inbreast", str(tmp_path), str(tmp_path / "out"), "--image-size", text]
    assert "error:" in fails(arguments, capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "option", "values"),
    [
        ("prepare inbreast SRC OUT", "--seed", ["-1", "4294967296", "1.5", "one"]),
        ("prepare inbreast SRC OUT", "--workers", ["-3", "some"]),
        ("phantom inbreast OUT", "--seed", ["-1"]),
        ("phantom inbreast OUT", "--workers", ["-1"]),
        ("demo", "--seed", ["-1"]),
        ("experiment table2 --out OUT --dry-run", "--seeds", ["-1"]),
        ("experiment table2 --out OUT --dry-run", "--patients", ["0"]),
        ("experiment table2 --out OUT --dry-run", "--jobs", ["0"]),
        ("predict MODEL SRC OUT", "--batch-size", ["0"]),
        ("predict MODEL SRC OUT", "--fold", ["-1"]),
        ("validate --models MODEL --data SRC --out OUT", "--batch-size", ["0"]),
        ("validate --models MODEL --data SRC --out OUT", "--resamples", ["99"]),
        ("score TABLE", "--seed", ["-1"]),
        ("gallery RESULTS PREPARED OUT", "--per-group", ["0"]),
        ("forest MODEL PREPARED OUT", "--trees", ["0"]),
    ],
)
def test_a_number_out_of_range_is_refused_before_anything_is_done(command, option, values, capsys):
    for value in values:
        line = fails([*command.split(), option, value], capsys)
        assert f"argument {option}: " in line
        assert f"not '{value}'" in line


@pytest.mark.parametrize("dataset", ["cbis-ddsm", "inbreast"])
def test_preparing_a_folder_that_is_not_there_names_it(dataset, tmp_path, capsys):
    line = fails(["prepare", dataset, str(tmp_path / "absent"), str(tmp_path / "out")], capsys)
    assert line.startswith("error: ")
    assert str(tmp_path / "absent") in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dataset", ["cbis-ddsm", "inbreast"])
def test_nothing_of_someone_elses_folder_is_overwritten(dataset, tmp_path, capsys):
    (tmp_path / "src").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    for arguments in (
        ["prepare", dataset, str(tmp_path / "src"), str(tmp_path / "out")],
        ["phantom", dataset, str(tmp_path / "out"), "--patients", "2", "--workers", "1"],
    ):
        line = fails(arguments, capsys)
        assert line.startswith("error: ")
        assert str(tmp_path / "out") in line
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("patients", ["0", "-3"])
def test_phantoms_of_no_patients_are_refused(patients, tmp_path, capsys):
    arguments = ["phantom", "inbreast", str(tmp_path / "out"), "--patients", patients]
    assert fails(arguments, capsys).startswith("error: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["prepare", "ddsm", "SRC", "OUT"], "'cbis-ddsm'"),
        (["prepare", "cbis-ddsm", "SRC", "OUT", "--protocol", "ours"], "'official'"),
        (["phantom", "inbreast", "OUT", "--patients", "many"], "--patients"),
    ],
)
def test_argument_that_is_not_allowed_is_named(arguments, part, capsys):
    assert part in fails(arguments, capsys)


def test_demo_without_bundles_says_where_they_are_wanted(tmp_path, capsys):
    line = fails(["demo", "--out", str(tmp_path / "out"), "--bundles", str(tmp_path / "absent")], capsys)
    assert str(tmp_path / "absent") in line
    assert "--bundles" in line
    assert not (tmp_path / "out").exists()


def test_prepare_passes_its_arguments_on(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(
        "monai_e2e.data.prepared.prepare.prepare_dataset", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    common = ["--image-size", "64x48", "--seed", "3", "--workers", "2", "--voi-lut"]
    src, out = tmp_path / "src", tmp_path / "out"
    tables = ["--labels", "labels.csv", "--lesions", "lesions.csv"]
    assert cli.main(["prepare", "cbis-ddsm", str(src), str(out), "--protocol", "official", *common]) == 0
    assert cli.main(["prepare", "inbreast", str(src), str(out), "--protocol", "kfold", "--folds", "5", *common]) == 0
    assert cli.main(["prepare", "folder", str(src), str(out), *tables, *common]) == 0
    assert cli.main(["prepare", "vindr", str(src), str(out), "--positive", "birads5", *common]) == 0
    passed = {"image_size": (64, 48), "seed": 3, "workers": 2, "voi_lut": True, "any_modality": False, "dry_run": False}
    passed |= {"crop": None, "orient": None}
    usual = {"protocol": None, "folds": None}
    assert calls == [
        (("cbis-ddsm", src, out), {**usual, "protocol": "official", **passed}),
        (("inbreast", src, out), {"protocol": "kfold", "folds": 5, **passed}),
        (("folder", src, out), {"labels": Path("labels.csv"), "lesions": Path("lesions.csv"), **usual, **passed}),
        (("vindr", src, out), {"positive": "birads5", **usual, **passed}),
    ]
    assert str(out) in capsys.readouterr().out


def test_phantom_passes_its_arguments_on_and_tells_the_next_command(tmp_path, monkeypatch, capsys):
    calls = []
    for name in ("write_cbis_ddsm", "write_inbreast"):
        monkeypatch.setattr(
            f"monai_e2e.data.phantom.{name}", lambda *args, _name=name, **kwargs: calls.append((_name, args, kwargs))
        )
    for dataset in ("cbis-ddsm", "inbreast"):
        arguments = ["--patients", "5", "--seed", "3", "--workers", "2", "--rows", "512"]
        assert cli.main(["phantom", dataset, str(tmp_path), *arguments]) == 0
        assert f"monai-e2e prepare {dataset} {tmp_path}" in capsys.readouterr().out
    passed = {"seed": 3, "rows": 512, "workers": 2, "defects": False}
    assert calls == [
        ("write_cbis_ddsm", (tmp_path, 5), {"layout": "descriptive", **passed}),
        ("write_inbreast", (tmp_path, 5), passed),
    ]


def test_a_defect_is_not_hidden_as_a_users_mistake(tmp_path, monkeypatch):
    def crash(*_, **__):
        raise ValueError("a defect")

    monkeypatch.setattr("monai_e2e.data.prepared.prepare.prepare_dataset", crash)
    with pytest.raises(ValueError, match="a defect") as caught:
        cli.main(["prepare", "inbreast", str(tmp_path), str(tmp_path / "out")])
    assert not isinstance(caught.value, UserError)


def test_without_a_command_all_are_listed(capsys):
    assert cli.main([]) == 2
    printed = capsys.readouterr().err
    assert re.search(r"\n    predict +classify mammograms", printed)  # how far apart, Python decides
    assert "required: command" not in printed


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"monai-e2e {monai_e2e.__version__}\n"


#: What takes long to load, and what for: the networks, DICOM, pictures, statistics.
NETWORKS, IMAGES, FIGURES = {"torch", "monai", "ignite"}, {"pydicom", "cv2", "PIL"}, {"scipy", "sklearn", "matplotlib"}


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import monai_e2e.cli.main, monai_e2e.data", NETWORKS | IMAGES | FIGURES),
        ("from monai_e2e.cli.main import main; main(['models'])", NETWORKS | IMAGES | FIGURES),
        (
            "from monai_e2e.cli.main import main; main(['describe', '--bundles', 'BUNDLES'])",
            NETWORKS | IMAGES | FIGURES,
        ),
        ("from monai_e2e.data import prepare_dataset, phantom_dataset", NETWORKS | {"sklearn", "matplotlib"}),
        ("import monai_e2e.metrics", NETWORKS | IMAGES | {"matplotlib"}),
    ],
)
def test_only_what_is_needed_is_loaded(code, unwanted):
    code = code.replace("BUNDLES", (Path(__file__).parents[2] / "bundles").as_posix())
    code += f"; import sys; print(sorted({unwanted} & {{name.partition('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert result.stdout.splitlines()[-1] == "[]"


def test_matplotlibs_list_of_fonts_is_no_news(tmp_path):
    code = "from monai_e2e.cli.main import main; main(['models']); import matplotlib.font_manager"
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert (result.stderr, len(list(tmp_path.iterdir()))) == ("", 1)


def test_module_is_the_command():
    command = [sys.executable, "-m", "monai_e2e", "prepare", "inbreast", "/nonexistent", "/nonexistent/out"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith("error: /nonexistent")


def test_a_reader_that_has_enough_is_no_error():
    code = (
        "import sys; from monai_e2e.cli import main as cli; "
        'cli._describe = lambda _: print("line\\n" * 100_000) or 0; sys.exit(cli.main(["describe"]))'
    )
    command = f"{sys.executable} -c '{code}' | head -n 1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=60)
    assert result.stdout == "line\n"
    assert result.stderr == ""


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EEXIST])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_condition_of_the_disk_is_one_line(code, wrapped, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        condition = OSError(code, os.strerror(code), "some/file.png")
        if wrapped:  # as pydicom does
            raise OSError("With tag (7FE0,0010) got exception") from condition
        raise condition

    monkeypatch.setattr("monai_e2e.data.prepared.prepare.prepare_dataset", fail)
    line = fails(["prepare", "inbreast", str(tmp_path), str(tmp_path / "out")], capsys)
    assert line.startswith(f"error: some/file.png: {os.strerror(code)}: ")


@pytest.mark.parametrize(("code", "named"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
def test_a_disk_that_gets_full_while_a_file_is_open_is_named_by_the_folder_that_is_written(
    code, named, tmp_path, monkeypatch, capsys
):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))  # the system names no file then

    monkeypatch.setattr("monai_e2e.data.prepared.prepare.prepare_dataset", fail)
    line = fails(["prepare", "inbreast", str(tmp_path), str(tmp_path / "out")], capsys)
    where = f"{tmp_path / 'out'}: " if named else ""
    assert line.startswith(f"error: {where}{os.strerror(code)}: ")
