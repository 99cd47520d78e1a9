"""What the configs rely on: the bundle's own folder, refusal of misspelt keys, a user's mistake as one line."""

import errno
import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

import monai
import pytest
import torch
from fire.parser import DefaultParseValue
from monai.bundle import ConfigWorkflow
from monai.data import DataLoader, Dataset

from monai_e2e import overrides
from monai_e2e.bundle import begin, begin_training, bundle_root, choose, user_error
from monai_e2e.errors import UserError
from monai_e2e.networks import PatchClassifier
from monai_e2e.transforms import LoadMammogramd
from monai_e2e.work.forked import run_forked

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
    "train": {"rate": "@settings#learning_rate", "size": "$@batch_size * 2", "copy": "@batch_size"},
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


WHOLE = REPOSITORY / "bundles/ddsm_whole/configs/train.json"


def told_by(action: Callable[[], object]) -> str:
    """The user's mistake that ends it, found through MONAI's wrapping."""
    with pytest.raises(RuntimeError) as caught:
        action()
    return str(user_error(caught.value))


def refusal(config: Path | str | list[str], **override) -> str:
    return told_by(lambda: workflow(config, **override).initialize())


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
            ({"zzz": [1, 2]}, r"'zzz' \(value \[1, 2\]\): choose one of: .*batch_size"),
        ],
    )
    def test_refuses_a_key_that_nothing_refers_to(self, config, override, message):
        assert re.search(message, refusal(config, **override))

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ({"train#trainer#max_epoch": 1}, "train#trainer#max_epoch: SupervisedTrainer .*did you mean 'max_epochs'"),
            ({"train#handlers#5#intervall": 2}, "train#handlers#5#intervall: ValidationHandler .*mean 'interval'"),
            ({"phantom#patient": 2}, "phantom#patient: phantom_dataset has no argument 'patient'; did you"),
            ({"validate#key_metrc": 3}, r"unknown key 'validate#key_metrc' \(value 3\): .* 'validate#key_metric'"),
            ({"train#handler": []}, r"unknown key 'train#handler' \(value \[\]\): did you mean 'train#handlers'"),
        ],
        ids=str,
    )
    def test_refuses_a_part_of_a_component_that_nothing_refers_to(self, override, message):
        assert re.search(message, refusal(WHOLE, **override))

    def test_accepts_an_empty_part_that_monai_asks_for(self):
        workflow(WHOLE, **{"train#postprocessing": None, "device": "cpu"}).initialize()

    @pytest.mark.parametrize(
        ("key", "own"),
        [("lr", '"lr": 0.5'), ("learning_rate", '"lr": 0.5'), ("epochs", '"epochs": 0.5'), ("max_epochs", "sooner")],
    )
    def test_what_each_stage_has_of_its_own_is_shown_there(self, key, own):
        message = refusal(WHOLE, **{key: 0.5})
        assert message.startswith(f"unknown key '{key}' (value 0.5): each training stage has its own")
        assert "--stages" in message
        assert own in message

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ({"amp": "no"}, "amp 'no': give true or false"),
            ({"resume": "off"}, "resume 'off': give true or false"),
            ({"balanced_sampling": None}, "balanced_sampling None: give true or false"),
            ({"batch_size": 0}, "batch_size 0: give a whole number from 1 on"),
            ({"batch_size": 2.5}, "batch_size 2.5: give a whole number from 1 on"),
            ({"num_workers": -1}, "num_workers -1: give a whole number from 0 on"),
            ({"training_patients": 10.5}, "training_patients 10.5: give a whole number from 1 on, or null"),
            ({"seed": "one"}, "seed 'one': give a whole number from 0 on"),
            ({"amp_dtype": "bfloat"}, "amp_dtype 'bfloat': did you mean 'bfloat16'?"),
        ],
        ids=str,
    )
    def test_refuses_a_value_of_another_kind(self, override, message):
        assert refusal(WHOLE, **override) == message

    @pytest.mark.parametrize("bundle", BUNDLES)
    @pytest.mark.parametrize(("steps", "batch"), [(1, 8), (3, [8, 3])])
    def test_a_training_of_other_batches_is_another_training(self, bundle, steps, batch):
        keys = {"batch_size": 8, "accumulation_steps": steps}
        parser = workflow(REPOSITORY / "bundles" / bundle / "configs" / "train.json", **keys).parser
        handlers = parser["train#handlers"]
        place = next(n for n, one in enumerate(handlers) if one["_target_"].endswith("TrainingCheckpoint"))
        assert parser.get_parsed_content(f"train#handlers#{place}#fingerprint#batch_size") == batch

    def test_knows_every_switch_of_the_bundles(self):
        for path in (REPOSITORY / "bundles").glob("*/configs/*.json"):
            own = {key for key, value in json.loads(path.read_text()).items() if isinstance(value, bool)}
            assert {key.removeprefix("+") for key in own if "#" not in key} <= set(overrides.SWITCHES), path

    def test_jsons_words_on_the_command_line_are_not_texts(self, config):
        bundle = workflow(config, batch_size=2, dataset_dir="false")
        bundle.parser["train#size"] = "$'big' if @dataset_dir else None if @batch_size else 0"
        bundle.initialize()
        assert bundle.parser.get_parsed_content("train#size") is None
        assert bundle.parser.get("dataset_dir") is False

    @pytest.mark.parametrize("bundle", BUNDLES)
    @pytest.mark.parametrize("names", CONFIGS, ids="+".join)
    def test_every_bundle_refuses_misspelt_keys_and_accepts_its_own(self, bundle, names):
        files = [str(REPOSITORY / "bundles" / bundle / "configs" / f"{name}.json") for name in names]
        workflow(files, dataset_dir="/some/folder", output_dir="/some/folder", recipe="phantom").initialize()
        assert "did you mean 'batch_size'?" in refusal(files, batch_sise=1)


def type_keys(monkeypatch, *words):
    """As if the runner had been called with these words; the values that it makes of them."""
    monkeypatch.setattr(overrides, "command_line", lambda: list(words))
    keys = [word.removeprefix("--") for word in words[::2]]
    return dict(zip(keys, map(DefaultParseValue, words[1::2]), strict=True))


class TestTypedValues:
    @pytest.mark.parametrize("text", ["2024_01", "20240101", "a,b", "1e3", "r#a", "a@b", "a$b", "(x)", "[x]", "r # a"])
    def test_a_path_is_what_was_typed(self, config, monkeypatch, text):
        bundle = workflow(config, **type_keys(monkeypatch, "--dataset_dir", text))
        bundle.parser["run"] = ["@dataset_dir", "$@dataset_dir + '/x'"]
        bundle.initialize()
        assert bundle.run() == [text, f"{text}/x"]
        assert bundle.parser.get("dataset_dir") == text

    def test_quotes_for_the_runner_are_no_part_of_it(self, config, monkeypatch):
        bundle = workflow(config, **type_keys(monkeypatch, "--dataset_dir", "'r#a'"))
        bundle.initialize()
        assert bundle.parser.get_parsed_content("dataset_dir") == "r#a"

    def test_an_expression_is_one(self, config, monkeypatch):
        bundle = workflow(config, **type_keys(monkeypatch, "--dataset_dir", "$@bundle_root + '/x'"))
        bundle.initialize()
        assert bundle.parser.get_parsed_content("dataset_dir") == f"{config.parents[1]}/x"

    @pytest.mark.parametrize("text", ["$x", "@x", "$HOME/x"])
    def test_what_only_looks_like_an_expression_is_refused_with_the_way_out(self, config, monkeypatch, text):
        assert f"write './{text}'" in refusal(config, **type_keys(monkeypatch, "--dataset_dir", text))

    def test_null_and_numbers_of_other_keys_stay_what_they_are(self, config, monkeypatch):
        bundle = workflow(config, **type_keys(monkeypatch, "--dataset_dir", "null", "--batch_size", "2_0"))
        bundle.initialize()
        assert bundle.parser.get_parsed_content("dataset_dir") is None
        assert bundle.parser.get_parsed_content("batch_size") == 20


class TestWithoutEffect:
    def refused(self, **keys):
        run_id = keys.pop("run_id", "training")
        return told_by(ConfigWorkflow(str(WHOLE), logging_file=False, run_id=run_id, **keys).initialize)

    @pytest.mark.parametrize("name", ["lr", "weight_decay"])
    def test_what_the_stages_set_is_not_the_optimizers(self, name):
        assert f"optimizer#{name} 0.01 has no effect" in self.refused(**{f"optimizer#{name}": 0.01})

    def test_another_recipes_value(self, monkeypatch):
        keys = type_keys(monkeypatch, "--recipes#paper#batch_size", "4")
        assert "recipes#paper#batch_size 4 has no effect: the recipe is 'phantom'" in self.refused(**keys)

    def test_a_checkpoint_that_the_training_does_not_start_from(self, monkeypatch):
        keys = type_keys(monkeypatch, "--patch_checkpoint", "a.pt", "--weights", "scratch")
        assert "patch_checkpoint a.pt has no effect with weights 'scratch'" in self.refused(**keys)

    @pytest.mark.parametrize("name", ["train", "trainin", "dataset_dir"])
    def test_running_a_part_that_does_nothing(self, name):
        line = self.refused(run_id=name)
        assert line.startswith(f"`run {name}`: no such step")
        assert "training" in line

    def test_a_component_is_not_replaced_by_its_arguments(self):
        line = self.refused(phantom={"patients": 10})
        assert "phantom {'patients': 10}: a component" in line
        assert "--phantom#patients VALUE" in line

    def test_a_component_is_not_replaced_by_a_plain_value(self):
        assert "tensorboard False: a component" in self.refused(tensorboard=False)

    def test_a_device_that_is_not_there(self):
        assert "'cuda:99' can't be used here" in self.refused(device="cuda:99")

    @pytest.mark.parametrize("interval", [0, 3, "often"])
    def test_an_interval_without_validation(self, interval, tmp_path):
        with pytest.raises(UserError, match=r"val_interval .*from 1 to 2"):
            begin_training(str(tmp_path), str(tmp_path), 2, interval)

    @pytest.mark.parametrize("epochs", [0, -1, 1.5, "two"])
    def test_a_training_of_no_whole_number_of_epochs(self, epochs, tmp_path):
        with pytest.raises(UserError, match=rf"max_epochs {epochs}: give a whole number from 1"):
            begin_training(str(tmp_path), str(tmp_path), epochs, 1)

    @pytest.mark.parametrize("name", ["ddsm_patch", "ddsm_whole", "inbreast_transfer"])
    @pytest.mark.parametrize(("overlay", "run_id"), [("evaluate", "evaluating"), ("multi_gpu_train", "training")])
    def test_an_overlay_without_the_file_that_it_belongs_to(self, name, overlay, run_id):
        path = REPOSITORY / "bundles" / name / "configs" / f"{overlay}.json"
        bundle = ConfigWorkflow(str(path), logging_file=False, run_id=run_id)

        def run() -> None:
            bundle.initialize()
            bundle.run()

        assert re.search(r"refers to '\w+' and \d+ more .*train\.json", told_by(run))


class TestChoose:
    RECIPES = {"paper": {"size": 1152, "lr": 0.1}, "phantom": {"size": 64, "lr": 0.2}}  # noqa: RUF012

    def test_gives_the_recipe_of_that_name(self):
        assert choose(self.RECIPES, "phantom") == {"size": 64, "lr": 0.2}

    def test_unknown_name_lists_the_known(self):
        with pytest.raises(UserError, match=r"'papper': did you mean 'paper'"):
            choose(self.RECIPES, "papper")

    def test_key_that_one_recipe_lacks_is_named(self):
        recipes = {"paper": {"size": 1152}, "phantom": self.RECIPES["phantom"]}
        for name in recipes:
            with pytest.raises(UserError, match=r"same keys.*\['lr'\]"):
                choose(recipes, name)

    @pytest.mark.parametrize("bundle", BUNDLES)
    def test_misspelt_setting_of_a_bundles_recipe_is_refused(self, bundle):
        file = REPOSITORY / "bundles" / bundle / "configs" / "train.json"
        assert "batch_sise" in refusal(file, recipe="phantom", **{"recipes#phantom#batch_sise": 3})


class TestErrors:
    def test_users_mistake_is_found_through_monais_wrapping(self, config):
        bundle = ConfigWorkflow(str(config), logging_file=False, run_id="fail")
        bundle.initialize()
        assert "'papper'" in told_by(bundle.run)

    def test_programs_defect_is_not_taken_for_one(self, config):
        bundle = ConfigWorkflow(str(config), logging_file=False, run_id="crash")
        bundle.initialize()
        with pytest.raises(RuntimeError) as caught:
            bundle.run()
        assert user_error(caught.value) is None
        assert user_error(None) is None

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (OSError(errno.ENOSPC, "No space left on device", "run.json"), r"run\.json: No space left on device: free"),
            (
                RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "),
                r"killed by signal: Killed.*num_wo",
            ),
            (
                RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"),
                r"exited unexpectedly.*--resume true",
            ),
            (torch.OutOfMemoryError("CUDA out of memory."), r"smaller --batch_size"),
        ],
        ids=["full disk", "killed", "exited", "GPU"],
    )
    def test_a_condition_that_a_user_can_mend_is_one_line_in_whatever_wraps_it(self, error, message):
        try:
            raise RuntimeError("failed to evaluate") from error
        except RuntimeError as wrapped:
            found = str(user_error(wrapped))
        assert re.search(message, found)
        assert "\n" not in found

    def test_what_a_mistake_was_raised_from_does_not_hide_it(self):
        mistake = UserError("data: prepare it first")
        mistake.__cause__ = FileNotFoundError(errno.ENOENT, "No such file or directory", "datalist.json")
        wrapped = RuntimeError("failed to evaluate")
        wrapped.__cause__ = mistake
        assert user_error(wrapped) is mistake

    def test_no_traceback_of_a_mistake_is_logged(self, caplog, monkeypatch):
        monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])
        begin()
        for error in (UserError("a mistake"), ZeroDivisionError("a defect")):
            logging.getLogger("any").error("Exception", exc_info=error)
        assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]

    def test_no_traceback_of_a_mistake_in_a_loaders_process_is_logged(self, caplog, monkeypatch):
        monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])
        begin()
        for end in ("monai_e2e.errors.UserError: a.png: not readable", "ZeroDivisionError: a defect"):
            told = f"Caught RuntimeError in DataLoader worker process 0.\nTraceback (most recent call last):\n{end}"
            logging.getLogger("ignite").error("Current run is terminating due to exception: %s", told)
        assert [message[-8:] for message in caplog.messages] == ["a defect"]

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
        out, log = tmp_path / "out", tmp_path / "log"
        words = ["-m", "monai.bundle", "run", "training", "--config_file", str(WHOLE), "--dataset_dir", "/nonexistent"]
        assert run_forked([*words, "--output_dir", str(out), "--model_dir", str(out)], log, {}) != 0
        last = log.read_text().strip().splitlines()[-1]
        assert last.startswith("error: /nonexistent")
        assert "monai-e2e prepare" in last
        assert "Traceback" not in log.read_text()
        assert not out.exists()


def test_an_image_that_a_loaders_process_cannot_read_is_the_users_mistake_too(tmp_path):
    (tmp_path / "image.png").write_text("no image")
    dataset = Dataset([{"image": str(tmp_path / "image.png")}], LoadMammogramd("image"))
    message = told_by(lambda: list(DataLoader(dataset, num_workers=1)))
    assert message.startswith(f"{tmp_path}/image.png: ")
    assert "\n" not in message


@pytest.mark.parametrize("backbone", ["vgg16", "densenet121", "efficientnet_lite0", "yaroslavnet"])
def test_patches_that_are_too_small_for_a_backbone_are_the_users_mistake(backbone):
    network = PatchClassifier(backbone, width=0.125).eval()
    assert "--patch_size" in told_by(lambda: network(torch.zeros(1, network.backbone.image_channels, 16, 16)))
