"""Engines: the scores are PyTorch's, a network is converted once, and what can't be used is left for PyTorch."""

import json
import logging
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from monai_e2e.errors import UserError
from monai_e2e.networks import PatchClassifier, WholeImageClassifier, make_classifier
from monai_e2e.predict import Options, engines, predict
from monai_e2e.predict.engines import TOLERANCE, Engine, cache_directory
from monai_e2e.predict.models import load_model

CPU = torch.device("cpu")
SIZE = (96, 64)
BACKBONES = {"vgg16": 0.0625, "resnet50": 0.125, "efficientnet_lite0": 0.25, "densenet121": 0.25}


def installed():
    """Engines that are installed; the test is skipped where there is none."""
    found = [name for name in ("openvino", "onnxruntime") if find_spec(name)]
    return found or pytest.skip("neither openvino nor onnxruntime is installed")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache folder. (By its variable matplotlib would write its fonts there, each time.)"""
    monkeypatch.setattr(engines, "cache_directory", lambda: tmp_path / "cache" / "networks")
    return tmp_path / "cache" / "networks"


def save(path, backbone="vgg16", patch=False, **options):
    """An untrained network whose scores aren't all 0 or 1."""
    torch.manual_seed(0)
    preparation = {"image_size": list(SIZE), "voi_lut": False, "patch_size": 32}
    network = PatchClassifier(backbone, width=BACKBONES[backbone], preparation=preparation, pixel_mean=40.0)
    if not patch:
        network = WholeImageClassifier(network, ["[8-8-16]x1"], pixel_mean=40.0, preparation=preparation, **options)
    network.head.weight.data *= 0.002
    torch.save(network.state_dict(), path)
    return path


def images_of(count):
    return [np.random.default_rng(seed).normal(0, 60, (3, *SIZE)).astype(np.float32) for seed in range(count)]


@pytest.fixture
def model(tmp_path):
    return load_model(save(tmp_path / "whole.pt"), CPU, "SRC")


@pytest.fixture
def conversions(monkeypatch):
    """Shapes that networks were converted for."""
    shapes, export = [], engines._export
    monkeypatch.setattr(engines, "_export", lambda model, shape: shapes.append(tuple(shape)) or export(model, shape))
    return shapes


def probabilities(logits):
    return logits.softmax(dim=1)[:, 1].numpy()


class TestScores:
    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_they_are_pytorchs_within_1e_4_for_any_batch_and_with_flips(self, tmp_path, backbone):
        model = load_model(save(tmp_path / "whole.pt", backbone), CPU, "SRC")
        chosen = {name: Engine(CPU, name) for name in installed()}
        for count, flips in ((1, False), (3, False), (2, True)):
            expected = probabilities(model.infer(images_of(count), Engine(CPU), flips))
            assert 0.01 < expected.min() <= expected.max() < 0.99
            for engine in chosen.values():
                found = probabilities(model.infer(images_of(count), engine, flips))
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
        for name, engine in chosen.items():
            assert engine.used["whole"].startswith(f"{name} ")

    def test_heatmaps_and_the_authors_networks_are_converted_too(self, tmp_path):
        patch = save(tmp_path / "patch.pt", patch=True)
        torch.manual_seed(0)
        preparation = {"image_size": list(SIZE), "voi_lut": False}
        author = make_classifier(
            backbone="resnet50_keras",
            width=0.0625,
            backbone_options={"stem_padding": "same"},
            top_blocks=["FC8"],
            shortcut=True,
            image_size=SIZE,
            preparation=preparation,
        )
        torch.save(author.state_dict(), tmp_path / "author.pt")
        for path in (patch, tmp_path / "author.pt"):
            model = load_model(path, CPU, "SRC")
            expected = model.infer(images_of(2), Engine(CPU)).softmax(dim=1)
            for engine in installed():
                chosen = Engine(CPU, engine)
                found = model.infer(images_of(2), chosen).softmax(dim=1)
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
                assert chosen.used[model.name].startswith(engine)

    @pytest.mark.parametrize("engine", ["torch", "openvino"])
    def test_bf16_is_near_and_the_record_says_what_the_processor_made_of_it(self, model, engine):
        if engine != "torch":
            pytest.importorskip(engine)
        chosen = Engine(CPU, engine, "bf16")
        found, expected = (probabilities(model.infer(images_of(2), one)) for one in (chosen, Engine(CPU)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE["bf16"])
        assert chosen.used["whole"].split()[-1] in ("bf16", "fp32")
        if engine == "torch":
            assert chosen.used["whole"] == f"torch {torch.__version__} bf16"
            assert np.abs(found - expected).max() > 0


class TestConversion:
    @pytest.fixture(autouse=True)
    def _needs_onnxruntime(self):
        pytest.importorskip("onnxruntime")

    def test_a_network_is_converted_once_for_each_size_of_image(self, model, cache, conversions):
        wider = [np.pad(image, ((0, 0), (0, 0), (0, 32))) for image in images_of(1)]
        for _ in range(2):  # two runs
            engine = Engine(CPU, "onnxruntime")
            for images in (images_of(1), images_of(2), wider):
                model.infer(images, engine)
        assert conversions == [(2, 3, 96, 64), (2, 3, 96, 96)]
        assert cache.stat().st_mode & 0o077 == 0

    def test_another_checkpoint_of_the_same_name_is_another_network(self, model, tmp_path, conversions):
        model.infer(images_of(1), Engine(CPU, "onnxruntime"))
        state = torch.load(tmp_path / "whole.pt")
        state["head.bias"] += torch.tensor([0.0, 1.0])
        torch.save(state, tmp_path / "whole.pt")
        other = load_model(tmp_path / "whole.pt", CPU, "SRC")
        found = other.infer(images_of(1), Engine(CPU, "onnxruntime"))
        torch.testing.assert_close(found, other.infer(images_of(1), Engine(CPU)), rtol=0, atol=1e-3)
        assert len(conversions) == 2

    def test_a_damaged_file_is_made_anew(self, model, cache, conversions, caplog):
        model.infer(images_of(1), Engine(CPU, "onnxruntime"))
        (file,) = cache.iterdir()
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        engine = Engine(CPU, "onnxruntime")
        model.infer(images_of(1), engine)
        assert "damaged" in caplog.text
        assert len(conversions) == 2
        assert engine.used["whole"].startswith("onnxruntime")

    def test_where_nothing_can_be_written_it_is_converted_in_each_run(self, model, tmp_path, monkeypatch, caplog):
        (tmp_path / "file").write_text("")
        monkeypatch.setattr(engines, "cache_directory", lambda: tmp_path / "file" / "networks")
        engine = Engine(CPU, "onnxruntime")
        model.infer(images_of(1), engine)
        assert engine.used["whole"].startswith("onnxruntime")
        assert "not kept" in caplog.text

    def test_those_unused_for_longest_make_room(self, model, cache, tmp_path, monkeypatch):
        model.infer(images_of(1), Engine(CPU, "onnxruntime"))
        (first,) = cache.iterdir()
        monkeypatch.setattr(engines, "_CACHE_BYTES", 1.5 * first.stat().st_size)
        save(tmp_path / "other.pt", shortcut=False, num_classes=3)
        load_model(tmp_path / "other.pt", CPU, "SRC").infer(images_of(1), Engine(CPU, "onnxruntime"))
        (other,) = cache.iterdir()
        assert other != first

    def test_the_folder_is_the_users_own(self, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert cache_directory() == Path("/somewhere/monai-e2e/networks")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_directory() == Path.home() / ".cache/monai-e2e/networks"


class TestChoice:
    def test_auto_takes_the_fastest_that_is_installed_where_it_pays(self, model, monkeypatch):
        pytest.importorskip("onnxruntime")
        few = Engine(CPU, "auto", images=5)
        model.infer(images_of(1), few)
        assert few.used["whole"].startswith("torch")
        monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "openvino" else object())
        many = Engine(CPU, "auto", images=10**9)
        model.infer(images_of(1), many)
        assert many.used["whole"].startswith("onnxruntime")
        monkeypatch.setattr(engines, "find_spec", lambda name: None)
        none = Engine(CPU, "auto", images=10**9)
        model.infer(images_of(1), none)
        assert none.used["whole"].startswith("torch")

    def test_auto_converts_a_network_for_one_size_alone_since_each_image_might_have_its_own(self, model, conversions):
        pytest.importorskip("onnxruntime")
        engine = Engine(CPU, "auto", images=10**9)
        for columns in (0, 32, 64):
            model.infer([np.pad(image, ((0, 0), (0, 0), (0, columns))) for image in images_of(1)], engine)
        assert len(conversions) == 1
        first, second = engine.used["whole"].split(", ")
        assert not first.startswith("torch")
        assert second == f"torch {torch.__version__} fp32"

    @pytest.mark.parametrize("fault", ["other scores", "no number", "an error"])
    def test_an_engine_that_goes_wrong_is_left_for_pytorch(self, model, monkeypatch, caplog, fault):
        pytest.importorskip("onnxruntime")

        def compile_wrongly(onnx, precision):
            if fault == "an error":
                raise RuntimeError("an operator is missing")
            return lambda images: np.full((len(images), 2), np.nan if fault == "no number" else 7.0), precision

        monkeypatch.setitem(engines._COMPILERS, "onnxruntime", (compile_wrongly, ("fp32",)))
        engine = Engine(CPU, "onnxruntime")
        found = model.infer(images_of(2), engine)
        assert torch.equal(found, model.infer(images_of(2), Engine(CPU)))
        assert engine.used["whole"] == f"torch {torch.__version__} fp32"
        assert "whole" in caplog.text
        assert "onnxruntime" in caplog.text

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ((CPU, "tensorrt"), "'tensorrt'.*openvino"),
            ((CPU, "torch", "int8"), "'int8'.*bf16"),
            ((CPU, "onnxruntime", "bf16"), "no bf16.*openvino"),
            ((torch.device("meta"), "onnxruntime"), "--device cpu"),
        ],
    )
    def test_what_cant_be_had_is_a_users_mistake(self, given, message):
        pytest.importorskip("onnxruntime")
        with pytest.raises(UserError, match=message):
            Engine(*given)

    def test_an_engine_that_is_not_installed_is_named_with_what_installs_it(self, monkeypatch):
        monkeypatch.setattr(engines, "find_spec", lambda name: None)
        with pytest.raises(UserError, match=r"monai-e2e\[fast\]"):
            Engine(CPU, "openvino")

    def test_nothing_is_told_to_others_about_its_use(self, model, run_code, tmp_path):
        pytest.importorskip("openvino")
        code = (
            "import sys, socket, torch, numpy as np\n"
            "def refuse(*_): raise SystemExit('a connection was made')\n"
            "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
            "from monai_e2e.predict.engines import Engine\n"
            "from monai_e2e.predict.models import load_model\n"
            "device = torch.device('cpu')\n"
            "model, engine = load_model(sys.argv[1], device, ''), Engine(device, 'openvino')\n"
            "model.infer([np.zeros((3, 96, 64), np.float32)], engine)\n"
            "print(engine.used, [name for name in sys.modules if name.startswith('openvino_telemetry.')])"
        )
        status, printed = run_code(code, str(model.checkpoint), XDG_CACHE_HOME=str(tmp_path))
        assert status == 0
        assert printed.startswith("{'whole': 'openvino ")
        assert printed.endswith("[]\n")


class TestPredict:
    @pytest.fixture
    def images(self, tmp_path):
        (tmp_path / "images").mkdir()
        for seed in range(3):
            noise = np.random.default_rng(seed).integers(0, 90, (300, 200), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "images" / f"{seed}.png")
        return tmp_path / "images"

    def test_the_engine_stands_in_the_record_and_once_in_the_log(self, images, tmp_path, caplog):
        pytest.importorskip("onnxruntime")
        whole, patch = save(tmp_path / "whole.pt"), save(tmp_path / "patch.pt", patch=True)
        with caplog.at_level(logging.INFO):
            for engine in ("onnxruntime", "torch"):
                options = Options(workers=0, heatmap=True, device="cpu", engine=engine)
                predict([whole, patch], images, tmp_path / engine, options)
        used = {
            engine: json.loads((tmp_path / engine / "run.json").read_text())["engines"]
            for engine in ("onnxruntime", "torch")
        }
        assert used["torch"] == dict.fromkeys(["whole", "patch"], f"torch {torch.__version__} fp32")
        assert set(used["onnxruntime"]) == {"whole", "patch"}
        for name, engine in used["onnxruntime"].items():
            assert engine.startswith("onnxruntime ")
            assert caplog.text.count(f"{name} is computed by {engine}.") == 1
        scores = [np.load(tmp_path / engine / "heatmaps" / "0.npy") for engine in used]
        np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=1e-4)

    def test_amp_and_bf16_exclude_each_other(self, images, tmp_path):
        with pytest.raises(UserError, match=r"--amp.*bf16"):
            predict([save(tmp_path / "whole.pt")], images, tmp_path / "out", Options(amp=True, precision="bf16"))
