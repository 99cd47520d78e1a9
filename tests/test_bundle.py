"""What the configs rely on: the bundle's own folder, refusal of misspelt keys, a user's mistake as one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import monai
import pytest
from monai.bundle import ConfigWorkflow
from monai.data import DataLoader, Dataset

from monai_e2e.bundle import begin, bundle_root, choose, user_error
from monai_e2e.errors import UserError
from monai_e2e.transforms import LoadMammogramd

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLES = ("ddsm_patch", "ddsm_whole", "inbreast_transfer")
CONFIGS = (("train",), ("train", "evaluate"), ("inference",))

CONFIG = {
    "imports": ["$import monai_e2e"],
    "bundle_root": "$monai_e2e.bundle.bundle_root()",
    "batch_size": 4,
    "dataset_dir": None,
    "settings": {"learning_rate": 0.1},
    "model_path": "$@bundle_root + '/model.pt'",
    "train": {"rate": "@settings#learning_rate", "size": "$@batch_size * 2", "copy": "%batch_size"},
    "initialize": ["$monai_e2e.bundle.begin()"],
    "run": ["$@model_path"],
    "fail": ["$monai_e2e.bundle.choose({'paper': {}}, 'papper')"],
    "crash": ["$1 / 0"],
}


@pytest.fixture(autouse=True)
def _same_process_settings_afterwards(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    monai.utils.set_determinism(None)


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "my_bundle" / "configs" / "train.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(CONFIG))
    return path


def workflow(config: Path | str | list[str], **override) -> ConfigWorkflow:
    files = config if isinstance(config, list) else str(config)
    return ConfigWorkflow(files, logging_file=False, workflow_type="train", **override)


class TestRoot:
    def test_is_the_folder_above_configs_from_whatever_folder_it_is_run(self, config, tmp_path, monkeypatch):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        bundle = workflow(config)
        bundle.initialize()
        assert bundle.run() == [str(tmp_path / "my_bundle" / "model.pt")]

    def test_is_absolute_for_a_relative_config_path(self, config, monkeypatch):
        monkeypatch.chdir(config.parent)
        bundle = workflow("train.json")
        bundle.initialize()
        assert bundle.run() == [str(config.parent.parent / "model.pt")]

    def test_is_the_configs_folder_where_that_is_not_called_configs(self, config, tmp_path):
        path = config.rename(tmp_path / "train.json")
        bundle = workflow(path)
        bundle.initialize()
        assert bundle.run() == [str(tmp_path / "model.pt")]

    def test_is_the_current_folder_outside_a_workflow(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert bundle_root() == str(tmp_path)


class TestBegin:
    @pytest.mark.parametrize(
        "override",
        [
            {},
            {"batch_size": 8},
            {"settings": {"learning_rate": 1.0}},  # referred to by a part of its name
            {"settings#learning_rate": 1.0},
            {"dataset_dir": "a/folder"},  # an id of MONAI's own, which nothing here refers to
            {"device": "cpu"},
            {"evaluating": ["$1 + 1"]},  # a new expression acts by itself
        ],
    )
    def test_accepts_keys_that_act(self, config, override):
        workflow(config, **override).initialize()

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ({"batch_sise": 8}, r"unknown key 'batch_sise' \(value 8\): did you mean 'batch_size'\?"),
            ({"model_pth": "a.pt"}, r"'model_pth' \(value 'a\.pt'\): did you mean 'model_path'\?"),
            ({"zzz": [1, 2]}, r"'zzz' \(value \[1, 2\]\): known keys: .*batch_size"),
        ],
    )
    def test_refuses_a_key_that_nothing_refers_to(self, config, override, message):
        with pytest.raises(RuntimeError) as caught:
            workflow(config, **override).initialize()
        with pytest.raises(UserError, match=message):
            raise user_error(caught.value)

    def test_jsons_words_on_the_command_line_are_not_texts(self, config):
        bundle = workflow(config, batch_size="false", dataset_dir="null")
        bundle.parser["train#size"] = "$'big' if @batch_size else @dataset_dir"
        bundle.initialize()
        assert bundle.parser.get_parsed_content("train#size") is None
        assert bundle.parser.get("batch_size") is False

    @pytest.mark.parametrize("bundle", BUNDLES)
    @pytest.mark.parametrize("names", CONFIGS, ids="+".join)
    def test_every_bundle_refuses_misspelt_keys_and_accepts_its_own(self, bundle, names):
        files = [str(REPOSITORY / "bundles" / bundle / "configs" / f"{name}.json") for name in names]
        workflow(files, dataset_dir="/some/folder", output_dir="/some/folder", recipe="phantom").initialize()
        with pytest.raises(RuntimeError) as caught:
            workflow(files, batch_sise=1).initialize()
        assert "did you mean 'batch_size'?" in str(user_error(caught.value))


class TestChoose:
    RECIPES = {"paper": {"size": 1152, "lr": 0.1}, "phantom": {"size": 64, "lr": 0.2}}  # noqa: RUF012

    def test_gives_the_recipe_of_that_name(self):
        assert choose(self.RECIPES, "phantom") == {"size": 64, "lr": 0.2}

    def test_unknown_name_lists_the_known(self):
        with pytest.raises(UserError, match=r"'papper'.*paper, phantom"):
            choose(self.RECIPES, "papper")

    def test_key_that_one_recipe_lacks_is_named(self):
        recipes = {"paper": {"size": 1152}, "phantom": self.RECIPES["phantom"]}
        for name in recipes:
            with pytest.raises(UserError, match=r"same keys.*\['lr'\]"):
                choose(recipes, name)

    @pytest.mark.parametrize("bundle", BUNDLES)
    def test_misspelt_setting_of_a_bundles_recipe_is_refused(self, bundle):
        file = REPOSITORY / "bundles" / bundle / "configs" / "train.json"
        with pytest.raises(RuntimeError) as caught:
            workflow(file, recipe="phantom", **{"recipes#phantom#batch_sise": 3}).initialize()
        assert "batch_sise" in str(user_error(caught.value))


class TestErrors:
    def test_users_mistake_is_found_through_monais_wrapping(self, config):
        bundle = ConfigWorkflow(str(config), logging_file=False, run_id="fail")
        bundle.initialize()
        with pytest.raises(RuntimeError) as caught:
            bundle.run()
        assert not isinstance(caught.value, UserError)
        assert "'papper'" in str(user_error(caught.value))

    def test_programs_defect_is_not_taken_for_one(self, config):
        bundle = ConfigWorkflow(str(config), logging_file=False, run_id="crash")
        bundle.initialize()
        with pytest.raises(RuntimeError) as caught:
            bundle.run()
        assert user_error(caught.value) is None
        assert user_error(None) is None

    def test_after_begin_a_users_mistake_is_one_line_and_a_defect_a_traceback(self, capsys):
        begin()
        try:
            try:
                raise UserError("no such folder")
            except UserError as mistake:
                raise RuntimeError("failed to evaluate") from mistake
        except RuntimeError as error:
            sys.excepthook(type(error), error, error.__traceback__)
        assert capsys.readouterr().err == "error: no such folder\n"
        defect = ZeroDivisionError("division")
        sys.excepthook(type(defect), defect, None)
        assert "ZeroDivisionError: division" in capsys.readouterr().err

    def test_command_line_shows_a_wrong_folder_as_one_line(self, tmp_path):
        config = "bundles/ddsm_whole/configs/train.json"
        command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", config]
        result = subprocess.run(
            [*command, "--dataset_dir", "/nonexistent", "--output_dir", str(tmp_path), "--model_dir", str(tmp_path)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        last = result.stderr.strip().splitlines()[-1]
        assert result.returncode != 0
        assert last.startswith("error: /nonexistent")
        assert "monai-e2e prepare" in last
        assert "Traceback" not in result.stdout + result.stderr
        assert list(tmp_path.iterdir()) == []


def test_a_film_that_a_loaders_process_cannot_read_is_the_users_mistake_too(tmp_path):
    (tmp_path / "film.png").write_text("no film")
    dataset = Dataset([{"image": str(tmp_path / "film.png")}], LoadMammogramd("image"))
    with pytest.raises(RuntimeError) as caught:
        list(DataLoader(dataset, num_workers=1))
    message = str(user_error(caught.value))
    assert message.startswith(f"{tmp_path}/film.png: ")
    assert "\n" not in message
