"""Copies of the bundles that come with the package."""

import json
from pathlib import Path

import pytest

from monai_e2e.cli import main as cli
from monai_e2e.errors import UserError
from monai_e2e.shipped.bundles import BUNDLES, bundles_folder, copy_bundle
from monai_e2e.shipped.models import find_model


def test_in_a_checkout_they_are_its_bundles():
    assert bundles_folder() == Path(__file__).resolve().parents[2] / "bundles"
    assert all((bundles_folder() / name / "configs/train.json").is_file() for name in BUNDLES)


@pytest.mark.parametrize("name", BUNDLES)
def test_a_copy_has_all_of_the_bundle_and_nothing_that_was_made_with_it(name, tmp_path, monkeypatch):
    used = tmp_path / "used"
    copy_bundle(name, used / name)
    (used / name / "models/model.pt").write_text("trained")
    (used / name / "eval").mkdir()
    monkeypatch.setattr("monai_e2e.shipped.bundles.bundles_folder", lambda: used)
    copy = copy_bundle(name, tmp_path / "copies" / name)
    files = {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()}
    parts = ("LICENSE", "configs", "docs")
    original = Path(__file__).resolve().parents[2] / "bundles" / name
    assert files == {path.relative_to(original) for part in parts for path in _files(original / part)}
    assert (copy / "models").is_dir()
    assert not (copy / "eval").exists()


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [found for found in path.rglob("*") if found.is_file()]


def test_a_shipped_model_is_put_in_and_the_command_says_what_comes_next(tmp_path, capsys):
    assert cli.main(["bundle", "ddsm_patch", str(tmp_path / "mine"), "--model", "phantom-patch"]) == 0
    assert (tmp_path / "mine/models/model.pt").read_bytes() == find_model("phantom-patch").read_bytes()
    assert f"run inferring --config_file {tmp_path}/mine/configs/inference.json" in capsys.readouterr().out
    assert json.loads((tmp_path / "mine/configs/metadata.json").read_text())["version"]


def test_what_cannot_be_copied_is_told(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    for arguments, message in [
        (("ddsm_hole", tmp_path / "new"), "did you mean 'ddsm_whole'"),
        (("ddsm_whole", tmp_path / "full"), "is not empty"),
        (("ddsm_whole", tmp_path / "new", "phantom-pach"), "did you mean 'phantom-patch'"),
        (("ddsm_whole", tmp_path / "new", "phantom-patch"), "is a patch classifier, and ddsm_whole needs"),
        (("ddsm_patch", tmp_path / "new", "phantom-whole"), "ddsm_patch needs a patch classifier"),
        (("ddsm_whole", tmp_path / "new", tmp_path / "absent.pt"), "no such checkpoint"),
    ]:
        with pytest.raises(UserError, match=message):
            copy_bundle(*arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
