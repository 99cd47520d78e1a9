"""Networks leave Python: TorchScript and ONNX compute what PyTorch computes, for every row of the paper's Table 2.

An ONNX export takes 3 to 60 seconds, so these are marked slow: ``pytest -m slow tests/networks/test_export.py``.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_networks import randomized
from monai.bundle import ConfigParser, ckpt_export, onnx_export
from monai.networks.utils import convert_to_onnx, convert_to_torchscript
from torch import nn

from monai_e2e.networks import architecture, make_classifier
from monai_e2e.networks.architecture import decode_description

BUNDLES = Path(__file__).parents[2] / "bundles"
BUNDLE = BUNDLES / "ddsm_whole" / "configs"
ROWS = {path.stem: json.loads(path.read_text()) for path in sorted((BUNDLE / "models").glob("*.json"))}
KERAS = {"backbone": "resnet50_keras", "top_blocks": ["128x1"]}
OTHERS: dict[str, dict[str, Any]] = {
    "resnet50_keras, zeros": KERAS,
    "resnet50_keras, same": {**KERAS, "backbone_options": {"stem_padding": "same"}},
    "resnet50_keras, before ReLU": {**KERAS, "backbone_options": {"last_layer": False}},
    "yaroslavnet, published top": {
        "backbone": "yaroslavnet",
        "top_blocks": ["FC16", "FC8"],
        "heatmap": {"pool_size": 3, "max_pool": 5},
        "shortcut": True,
    },
    "vgg19, not pooled, softmax": {
        "backbone": "vgg19",
        "backbone_options": {"last_layer": False},
        "top_blocks": ["128x1"],
        "heatmap": {"activation": "softmax"},
    },
    "densenet121": {"backbone": "densenet121", "top_blocks": ["128x1"]},
    "efficientnet_lite0": {"backbone": "efficientnet_lite0", "top_blocks": ["[64-64-128]x1"]},
    "efficientnet_lite0, patch classifier": {"backbone": "efficientnet_lite0"},
    "patch classifier": {"backbone": "resnet50", "pool_size": 2},
}
NETWORKS = {**ROWS, **OTHERS}
#: Traced in every run; the others are in that marked slow.
TRACED = ("vgg16_512x1", "vgg16_heatmap_fc64_fc32", "resnet50_keras, zeros", "resnet50_keras, same", "patch classifier")
WIDTH = 1 / 16

quiet = pytest.mark.filterwarnings(
    "ignore:`torch.jit:DeprecationWarning",
    "ignore::torch.jit.TracerWarning",
    "ignore:# 'dynamic_axes' is not recommended:UserWarning",
    "ignore::DeprecationWarning:torch.onnx",
    "ignore::DeprecationWarning:onnxscript",
    "ignore::DeprecationWarning:onnx_ir",
    "ignore::FutureWarning",
)


def needs_onnx() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


def narrow(block: str) -> str:
    """A block with a sixteenth of its channels; fully connected layers as they are."""
    if block.startswith("FC"):
        return block
    return re.sub(r"\d+(?=[-\]x])", lambda match: str(int(int(match[0]) * WIDTH)), block)


def has_fixed_size(name: str) -> bool:
    return NETWORKS[name].get("top_blocks", [""])[-1].startswith("FC")


def size_for(name: str) -> tuple[int, int]:
    """Rows and columns of small images; a heatmap needs windows of 7 × 7 positions and a map of them."""
    if not NETWORKS[name].get("heatmap"):
        return 128, 160
    if NETWORKS[name]["backbone"] == "yaroslavnet":
        return 448, 768
    return (352, 512) if has_fixed_size(name) else (288, 320)


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    arguments = {**NETWORKS[name], "width": WIDTH}
    if "top_blocks" in arguments:
        arguments["top_blocks"] = [narrow(block) for block in arguments["top_blocks"]]
        arguments["image_size"] = size_for(name)
    return randomized(make_classifier(**arguments))


def images(name: str, network: nn.Module, batch: int, more_rows: int = 0, more_columns: int = 0) -> torch.Tensor:
    rows, columns = size_for(name)
    generator = torch.Generator().manual_seed(batch)
    size = (rows + more_rows, columns + more_columns)
    return 5 * torch.randn(batch, next(network.parameters()).shape[1], *size, generator=generator)


def check(name: str, network: nn.Module, run: Callable[[torch.Tensor], torch.Tensor], odd: bool = True) -> None:
    """Compare with PyTorch on one image, on three, and, where the network allows it, on images of other sizes."""
    inputs = [images(name, network, 1), images(name, network, 3)]
    if not has_fixed_size(name):
        inputs += [images(name, network, 2, 64, 32)]
        inputs += [images(name, network, 1, 33, 65)] if odd else []
    for image in inputs:
        with torch.no_grad():
            expected = network(image)
        if len(image) == 3:
            assert expected.std(dim=0).min() > 1e-4  # ten times the tolerance, or nothing would be compared
        torch.testing.assert_close(run(image), expected, rtol=1e-4, atol=1e-5)


def marked(name: str) -> Any:
    """A network for scripting; some can't be scripted as they are now."""
    marks = []
    if name == "densenet121":
        marks.append(pytest.mark.slow)
    return pytest.param(name, marks=marks)


def test_the_table_has_ten_rows():
    assert len(ROWS) == 10


@quiet
class TestTorchScript:
    @pytest.mark.parametrize("name", [marked(name) for name in NETWORKS])
    def test_scripted_network_computes_the_same_after_saving(self, name, tmp_path):
        network = make(name)
        convert_to_torchscript(network, filename_or_obj=str(tmp_path / "model.ts"))
        check(name, network, torch.jit.load(str(tmp_path / "model.ts")))

    @pytest.mark.parametrize(
        "name", [name if name in TRACED else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
    )
    def test_traced_network_computes_the_same_after_saving(self, name):
        network = make(name)
        file = io.BytesIO()
        torch.jit.save(torch.jit.trace(network, images(name, network, 2)), file)
        file.seek(0)
        # A trace keeps the padding of even sides, which "same" chooses by parity.
        check(name, network, torch.jit.load(file), odd=name != "resnet50_keras, same")

    def test_several_heatmap_networks_can_be_scripted_one_after_the_other(self):
        for width in (0.0625, 0.125):
            network = make_classifier(backbone="vgg16", width=width, top_blocks=["8x1"], heatmap={}).eval()
            image = torch.randn(1, 3, 288, 288)
            with torch.no_grad():
                torch.testing.assert_close(torch.jit.script(network)(image), network(image))


@quiet
class TestOnnx:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", NETWORKS)
    def test_exported_network_computes_the_same_for_any_batch_and_size(self, name, tmp_path):
        needs_onnx()
        import onnxruntime

        network = make(name)
        dynamic = {0: torch.export.Dim.DYNAMIC}
        if not has_fixed_size(name):
            dynamic |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
        model = convert_to_onnx(
            network,
            inputs=[images(name, network, 2)],
            input_names=["image"],
            output_names=["pred"],
            filename=str(tmp_path / "model.onnx"),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            verbose=False,
        )
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        check(name, network, lambda image: torch.from_numpy(session.run(["pred"], {"image": image.numpy()})[0]))


@quiet
class TestBundleCommands:
    """``python -m monai.bundle ckpt_export`` and ``onnx_export``, which run these functions."""

    CHOICES = {  # noqa: RUF012 (never written to)
        "convolutional": {"top_blocks": ["[4-4-8]x1", "8x1"]},
        "heatmap": {"top_blocks": ["8x1"], "heatmap": {"pool_size": 2}},
        "fully connected": {"top_blocks": ["8x1", "FC6"], "shortcut": True, "image_size": [128, 160]},
    }

    def checkpoint(self, top: str, folder: Path) -> tuple[nn.Module, Path]:
        """A network of the bundle's inference config, as if trained, and its checkpoint as the bundle writes it."""
        parser = ConfigParser()
        parser.read_config(str(BUNDLE / "inference.json"))
        parser.update({"recipe": "phantom", "width": 0.0625, **self.CHOICES[top], "checkpoint": "absent.pt"})
        torch.manual_seed(0)
        network = randomized(parser.get_parsed_content("network_def"))
        torch.save({"model": network.state_dict()}, folder / "model.pt")
        return network, folder / "model.pt"

    def arguments(self, top: str, checkpoint: Path) -> dict[str, Any]:
        """The recipe and the checkpoint, which says the rest; fully connected layers need the images' size too."""
        chosen = {key: value for key, value in self.CHOICES[top].items() if key == "image_size"}
        return {
            "net_id": "network_def",
            "ckpt_file": str(checkpoint),
            "meta_file": str(BUNDLE / "metadata.json"),
            "config_file": str(BUNDLE / "inference.json"),
            "key_in_ckpt": "model",
            "checkpoint": str(checkpoint),
            **chosen,
        }

    @pytest.mark.parametrize(
        "top",
        [
            "convolutional",
            "heatmap",
            "fully connected",
        ],
    )
    def test_ckpt_export_writes_the_network_with_metadata_and_config(self, top, tmp_path):
        network, checkpoint = self.checkpoint(top, tmp_path)
        ckpt_export(filepath=str(tmp_path / "model.ts"), **self.arguments(top, checkpoint))
        extra = {"metadata.json": "", "inference.json": ""}
        exported = torch.jit.load(str(tmp_path / "model.ts"), _extra_files=extra)
        image = torch.randn(2, 3, 128, 160)
        with torch.no_grad():
            expected = network(image)
            torch.testing.assert_close(exported(image), expected)
        assert not torch.allclose(expected[0], expected[1], rtol=1e-3)
        assert json.loads(extra["inference.json"]) == json.loads((BUNDLE / "inference.json").read_text())
        assert json.loads(extra["metadata.json"])["intended_use"] == "For research, not for diagnosis."
        assert decode_description(exported.state_dict()["architecture"]) == architecture(network)

    @pytest.mark.parametrize(
        "top",
        [
            "convolutional",
            pytest.param("heatmap", marks=pytest.mark.slow),
            pytest.param("fully connected", marks=pytest.mark.slow),
        ],
    )
    def test_onnx_export_writes_a_network_for_any_batch(self, top, tmp_path):
        needs_onnx()
        import onnxruntime

        network, checkpoint = self.checkpoint(top, tmp_path)
        names = {"input_names": ["image"], "output_names": ["pred"], "dynamic_axes": {"image": {0: "batch"}}}
        arguments = self.arguments(top, checkpoint)
        path = str(tmp_path / "model.onnx")
        onnx_export(filepath=path, input_shape=[2, 3, 128, 160], converter_kwargs=names, **arguments)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for batch in (1, 3):
            image = torch.randn(batch, 3, 128, 160)
            with torch.no_grad():
                expected = network(image)
            torch.testing.assert_close(
                torch.from_numpy(session.run(["pred"], {"image": image.numpy()})[0]), expected, rtol=1e-4, atol=1e-5
            )


@quiet
class TestBundlesExportFiles:
    """``python -m monai.bundle onnx_export --args_file configs/onnx_export.json``, as the documentation says it."""

    @pytest.fixture(params=["ddsm_patch", "ddsm_whole", "inbreast_transfer"])
    def bundle(self, request, tmp_path, monkeypatch) -> nn.Module:
        """A narrow network as a bundle's model, and the bundle's folder as the current one."""
        shutil.copytree(BUNDLES / request.param / "configs", tmp_path / "configs")
        (tmp_path / "models").mkdir()
        monkeypatch.chdir(tmp_path)
        torch.manual_seed(0)
        top = {} if request.param == "ddsm_patch" else {"top_blocks": ["[4-4-8]x1"]}
        network = randomized(make_classifier(backbone="resnet50", width=WIDTH, **top))
        torch.save(network.state_dict(), "models/model.pt")
        return network

    def check(self, network: nn.Module, run: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for batch in (1, 3):
            image = 50 * torch.randn(batch, 3, 1152, 896)
            with torch.no_grad():
                expected = network(image).softmax(dim=1)
            torch.testing.assert_close(run(image).softmax(dim=1), expected, rtol=0, atol=1e-4)

    def test_torchscript_gives_the_same_scores(self, bundle):
        ckpt_export(args_file="configs/ckpt_export.json")
        self.check(bundle, torch.jit.load("models/model.ts"))

    @pytest.mark.slow
    def test_onnx_gives_the_same_scores_for_any_batch(self, bundle):
        needs_onnx()
        import onnxruntime

        onnx_export(args_file="configs/onnx_export.json")
        session = onnxruntime.InferenceSession("models/model.onnx", providers=["CPUExecutionProvider"])
        self.check(bundle, lambda image: torch.from_numpy(session.run(["pred"], {"image": image.numpy()})[0]))
