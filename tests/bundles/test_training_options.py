"""The keys for speed and memory through a bundle, in two stages, on tiny phantoms."""

import json
import re
import shutil
from pathlib import Path

import monai.engines.evaluator
import monai.engines.trainer
import pytest
import torch
from monai.bundle import ConfigWorkflow
from without_pictures import WITHOUT_PICTURES

from monai_e2e.bundle import user_error
from monai_e2e.networks import read_state

TRAIN = Path(__file__).parents[2] / "bundles/ddsm_whole/configs/train.json"
STAGES = [
    {"name": "top layers", "trainable": ["top.*", "head"], "lr": 1e-3, "epochs": 1},
    {"name": "all layers", "trainable": ["*"], "lr": 1e-3, "epochs": 1},
]


def run(phantoms, out, **keys):
    usual = {
        "recipe": "phantom",
        "weights": "scratch",
        "dataset_dir": phantoms,
        "image_size": [128, 96],
        "backbone": "resnet50",
        "width": 0.0625,
        "batch_size": 8,
        "stages": STAGES,
        "output_dir": str(out),
        "model_dir": str(out),
        **WITHOUT_PICTURES,
    }
    workflow = ConfigWorkflow(str(TRAIN), run_id="training", logging_file=False, **(usual | keys))
    workflow.initialize()
    workflow.run()
    return workflow.parser


def train(phantoms, out, **keys):
    """Train, resume the training that is over, and give the last epoch's weights."""
    for resume in (False, True):
        parser = run(phantoms, out, resume=resume, **keys)
    assert parser.get_parsed_content("train#trainer").state.epoch == 2
    assert read_state(out / "model.pt").keys() == parser.get_parsed_content("network").state_dict().keys()
    return torch.load(out / "checkpoints" / "epoch_0002.pt", weights_only=True)["objects"]["network"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"batch_size": 7}, "batch_size is 8 in the file and 7 in this training"),
        ({"balanced_sampling": True}, "balanced_sampling is False in the file and True in this training"),
        ({"epoch_share": 0.99}, r"balanced_sampling is False in the file and \[False, 0.99\] in this training"),
        ({"training_patients": 4}, r"training is '\d+ images, \w+' in the file and '\d+ images, \w+' in this training"),
        ({"dataset_dir": "inverted"}, r"training is '(\d+) images, \w+' in the file and '\1 images, \w+'"),
        ({"dataset_dir": "moved"}, None),
    ],
    ids=str,
)
def test_a_training_is_resumed_on_its_own_data_alone_wherever_they_lie(keys, message, phantoms, tmp_path):
    run(phantoms, tmp_path / "out", **{"train#trainer#max_epochs": 1})
    folder = Path(shutil.copytree(phantoms, tmp_path / "copy"))
    if keys.get("dataset_dir") == "inverted":
        datalist = json.loads((folder / "datalist.json").read_text())
        for sample in datalist["training"]:
            sample["label"] = 1 - sample["label"]
        (folder / "datalist.json").write_text(json.dumps(datalist))
    if "dataset_dir" in keys:
        keys = {"dataset_dir": str(folder)}
    if message is None:
        assert run(phantoms, tmp_path / "out", resume=True, **keys)["train#trainer"]
        return
    with pytest.raises(Exception) as caught:  # noqa: PT011 - MONAI's parser wraps it
        run(phantoms, tmp_path / "out", resume=True, **keys)
    assert re.search(message, str(user_error(caught.value)))


@pytest.fixture(scope="module")
def plain(phantoms, tmp_path_factory):
    return train(phantoms, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    "keys",
    [
        {"cache": "disk"},
        {"cache": "none"},
        {"cache_rate": 0.5},
        {"num_workers": 1},
        {"num_workers": 2, "cache": "none"},
        {"checkpoint_activations": True},
        # All of torch.compile but for the code that its last step makes, which rounds otherwise.
        pytest.param(
            {"compile": True, "train#trainer#compile_kwargs": {"backend": "aot_eager"}}, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_the_weights_are_the_same_to_the_bit_with(keys, phantoms, plain, tmp_path):
    weights = train(phantoms, tmp_path / "out", cache_dir=str(tmp_path / "cache"), **keys)
    assert weights.keys() == plain.keys()
    assert all(torch.equal(weights[key], plain[key]) for key in weights)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_of_a_gpu_trains_and_leaves_weights_of_full_precision(dtype, phantoms, tmp_path, monkeypatch):
    # MONAI asks for CUDA's, which on a processor is off.
    on_processor = lambda device, **kwargs: torch.amp.autocast_mode.autocast("cpu", **kwargs)  # noqa: E731
    for module in (monai.engines.trainer, monai.engines.evaluator):
        monkeypatch.setattr(module.torch, "autocast", on_processor)
    engines = {"train#trainer#amp": True, "validate#evaluator#amp": True, "train#inferer#enabled": False}
    # A frozen backbone of random weights doesn't normalise: its activations come close to float16's largest number.
    stages = [{**STAGES[1], "epochs": 2}]
    weights = train(phantoms, tmp_path, amp=True, amp_dtype=dtype, stages=stages, **engines)
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("keys", [{}, {"checkpoint_activations": True, "accumulation_steps": 2}], ids=str)
def test_mixed_precision_on_a_processor_trains_nearly_to_the_weights_of_full_precision(
    keys, phantoms, plain, tmp_path, recwarn
):
    weights = train(phantoms, tmp_path, amp=True, **keys)
    assert not [warning for warning in recwarn if "CUDA is not available" in str(warning.message)]
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}
    kernels = [key for key in weights if key.startswith("backbone") and weights[key].ndim == 4]
    assert all(torch.isfinite(weights[key]).all() for key in weights)
    assert any(not torch.equal(weights[key], plain[key]) for key in kernels)
    if not keys:
        for key in kernels:
            torch.testing.assert_close(weights[key], plain[key], rtol=0, atol=2e-2)


@pytest.mark.slow
def test_a_compiled_network_trains(phantoms, tmp_path):
    weights = train(phantoms, tmp_path, compile=True)
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_the_average_of_the_weights_is_what_is_judged_and_saved_and_survives_a_stop(phantoms, tmp_path):
    parser = run(phantoms, tmp_path, ema_momentum=0.1)
    judged, network = parser.get_parsed_content("judged_network"), parser.get_parsed_content("network")
    assert parser.get_parsed_content("validate#evaluator").network is judged
    saved = torch.load(tmp_path / "model_final.pt", weights_only=True)
    assert all(torch.equal(saved[name], value) for name, value in judged.state_dict().items())
    assert not torch.equal(saved["head.weight"], network.state_dict()["head.weight"])
    assert saved["threshold"] == network.threshold

    for lost in ("model_final.pt", "checkpoints/epoch_0002.pt"):  # as if it had been stopped in the second epoch
        (tmp_path / lost).unlink()
    run(phantoms, tmp_path, ema_momentum=0.1, resume=True)
    resumed = torch.load(tmp_path / "model_final.pt", weights_only=True)
    assert all(torch.equal(saved[name], value) for name, value in resumed.items())
