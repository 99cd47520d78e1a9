"""The sdist and the wheel made from it, tried in an environment that has neither the checkout nor its tests.

``pytest -m slow tests/test_wheel.py``; ``.ci/run`` does so.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from monai_e2e.shipped.bundles import BUNDLES

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt")
SOURCES = ("monai_e2e", "bundles", *FILES)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    checkout, dist = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, checkout / name)
    made = checkout / "bundles/ddsm_whole/models/model.pt"  # of the user's own, and no part of the package
    made.write_text("trained")
    run([sys.executable, "-m", "build", "--outdir", str(dist)], checkout)
    assert {path.suffix for path in dist.iterdir()} == {".whl", ".gz"}
    return next(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Folder of the programs of an environment with the wheel and this environment's other packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True, symlinks=True)
    packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    # Of a folder that is named so, .pth files, such as that of an editable install of this checkout, are not followed.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run([str(folder / "bin/python"), "-m", "pip", "install", "--no-deps", "--force-reinstall", str(wheel)], folder)
    return folder / "bin"


def run(command: list[str], folder: Path) -> str:
    keep = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, cwd=folder, env=keep, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_bundles_the_models_and_the_mark_of_types_and_nothing_made_by_running(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for bundle in BUNDLES:
        for file in (REPOSITORY / "bundles" / bundle).rglob("*"):
            relative = file.relative_to(REPOSITORY)
            if file.is_file() and relative.parts[2] in ("LICENSE", "configs", "docs"):
                assert f"monai_e2e/{relative.as_posix()}" in names
    assert {"monai_e2e/py.typed", "monai_e2e/shipped/weights/cbis-mass.pt"} <= names
    assert not any("/models/model.pt" in name or name.startswith(("bundles/", "tests/")) for name in names)


def test_the_commands_work_in_an_empty_folder(installed, tmp_path):
    program = str(installed / "monai-e2e")
    run([program, "phantom", "inbreast", "images", "--patients", "2", "--workers", "1"], tmp_path)
    assert "vgg16_512x1" in run([program, "describe", "5"], tmp_path)
    run([program, "predict", "cbis-mass", "images/AllDICOMs", "results", "--workers", "0"], tmp_path)
    assert (tmp_path / "results/predictions.csv").is_file()
    run([program, "bundle", "ddsm_whole", "mine"], tmp_path)
    where = run([str(installed / "python"), "-c", "import monai_e2e; print(monai_e2e.__file__)"], tmp_path)
    assert str(installed.parent) in where


def test_the_demo_begins_and_a_copied_bundle_trains(installed, tmp_path):
    python = str(installed / "python")
    first_step = "from monai_e2e.demo.run import *; print(Demo(Path('out'), bundles_folder()).draw('inbreast').argv)"
    assert "inbreast" in run([python, "-c", first_step], tmp_path)
    run([str(installed / "monai-e2e"), "bundle", "ddsm_whole", "mine"], tmp_path)
    keys = {"phantom#patients": 16, "image_size": "[128,96]", "weights": "scratch", "train#trainer#max_epochs": 1}
    words = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    run([python, "-m", "monai.bundle", "run", "training", "--config_file", "mine/configs/train.json", *words], tmp_path)
    assert (tmp_path / "mine/models/model.pt").is_file()
