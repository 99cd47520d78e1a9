"""What computes the networks of ``monai-e2e predict``: PyTorch or, on a CPU, OpenVINO or ONNX Runtime.

The other two compute a copy of the network that was converted to ONNX, once, and is kept in the user's cache folder.
The first images of each network and size go through PyTorch as well: another engine takes over only where its scores
are the same, and chosen by ``"auto"`` only where it saves more time than the conversion takes.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.inferers import Inferer
from torch import nn

from monai_e2e import __version__
from monai_e2e.checkpoints.files import FORMAT, DamagedError, read_checkpoint, save_shared
from monai_e2e.errors import UserError

if TYPE_CHECKING:
    from monai_e2e.predict.models import Model

logger = logging.getLogger(__name__)

#: Precisions and how far a probability may be from PyTorch's in the same one.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.05}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
#: Seconds that PyTorch must need for all images, so that another engine, of half its time, saves more than is spent
#: on the conversion.
_WORTHWHILE_SECONDS = 20
#: Room for converted networks; of each trained network that is used there is one, of a hundred MB for ResNet-50.
_CACHE_BYTES = 2 * 2**30

Way = Callable[[torch.Tensor], torch.Tensor]
#: What a compiled network makes of images ``[B, C, H, W]``, and the precision that it got.
Compiled = tuple[Callable[[np.ndarray], np.ndarray], str]


def _by_openvino(onnx: bytes, precision: str) -> Compiled:
    # Its import tells Google Analytics of itself, unasked, unless this package, which it brings along, is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    names = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}
    settings = {
        "INFERENCE_PRECISION_HINT": names[precision],  # else bf16 or f16 where the CPU has them
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    core = openvino.Core()
    network = core.compile_model(core.read_model(onnx), "CPU", settings)
    request, found = network.create_infer_request(), network.get_property("INFERENCE_PRECISION_HINT")
    return lambda images: request.infer([images])[0].copy(), "bf16" if found == names["bf16"] else "fp32"


def _by_onnxruntime(onnx: bytes, precision: str) -> Compiled:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(onnx, settings, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0], precision


#: Engines beside PyTorch, the fastest first: what compiles a network, and in which precisions.
_COMPILERS: dict[str, tuple[Callable[[bytes, str], Compiled], tuple[str, ...]]] = {
    "openvino": (_by_openvino, ("fp32", "bf16")),
    "onnxruntime": (_by_onnxruntime, ("fp32",)),
}
#: What a user may choose.
ENGINES = ("auto", "torch", *_COMPILERS)


class Engine:
    """Compute what networks say of images, each network by the engine that suits it.

    Args:
        device: of the networks. On a GPU the engine is PyTorch.
        name: one of :data:`ENGINES`. ``"auto"`` is the fastest that is installed, where ``images`` make it worthwhile.
        precision: ``"fp32"``; ``"bf16"``; or, on a GPU, ``"fp16"``.
        images: number of images that will go through each network.

    Attributes:
        used: which engine computed each model's network, its version and precision, by the model's name; more than one
            where its images differ in size.
        flips_together: whether the flips of an image should go through a network as one batch.

    Raises:
        UserError: when the engine is unknown, isn't installed, or can't be had on this device or in this precision.
    """

    def __init__(self, device: torch.device, name: str = "torch", precision: str = "fp32", images: int = 0) -> None:
        if name not in ENGINES:
            raise UserError(f"engine '{name}': choose one of {', '.join(ENGINES)}")
        if precision not in _DTYPES:
            raise UserError(f"precision '{precision}': choose one of {', '.join(_DTYPES)}")
        if name in _COMPILERS:
            if device.type != "cpu":
                raise UserError(f"--engine {name} works on a CPU only: add --device cpu, or leave it out")
            if find_spec(name) is None:
                raise UserError(f'--engine {name} needs a further package: run `pip install "monai-e2e[fast]"`')
            if precision not in _COMPILERS[name][1]:
                raise UserError(f"--engine {name} has no {precision} on a CPU: choose openvino or torch")
        if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise UserError("--precision bf16: this GPU doesn't compute in bfloat16; leave it out, or take --amp")
        self.device, self.name, self.precision, self.images = device, name, precision, images
        self.used: dict[str, str] = {}
        self.flips_together = device.type != "cpu"
        self._ways: dict[tuple[object, ...], Way] = {}

    def __call__(self, model: Model, images: torch.Tensor) -> torch.Tensor:
        """What a model's inferer and network make of images ``[B, C, H, W]``, float32 on the CPU."""
        key = (*model.digest.values(), *images.shape[1:])
        if key not in self._ways:
            self._ways[key] = self._choose(model, images)
        return self._ways[key](images)

    def _choose(self, model: Model, images: torch.Tensor) -> Way:
        way: Way = partial(self._by_torch, model)
        used = f"torch {torch.__version__} {self.precision}"
        if candidates := self._candidates():
            start = time.perf_counter()
            expected = way(images)
            seconds = (time.perf_counter() - start) / len(images)
            # Of images that differ in size there may be as many sizes as images.
            worthwhile = model.name not in self.used and seconds * self.images > _WORTHWHILE_SECONDS
            if worthwhile or self.name != "auto":
                converted = (self._converted(name, model, images, expected) for name in candidates)
                way, used = next(filter(None, converted), (way, used))
        before = self.used.get(model.name, "").split(", ")
        if used not in before:
            logger.info("%s is computed by %s.", model.name, used)
            self.used[model.name] = ", ".join(filter(None, [*before, used]))
        return way

    def _candidates(self) -> list[str]:
        if self.name == "torch" or self.device.type != "cpu":
            return []
        if self.name != "auto":
            return [self.name]
        return [name for name, (_, having) in _COMPILERS.items() if self.precision in having and find_spec(name)]

    def _by_torch(self, model: Model, images: torch.Tensor) -> torch.Tensor:
        dtype = _DTYPES[self.precision]
        network = model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batch = images.to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            return model.inferer(batch, network).float().cpu()

    def _converted(
        self, name: str, model: Model, images: torch.Tensor, expected: torch.Tensor
    ) -> tuple[Way, str] | None:
        """The network in another engine; None, with a warning, where that isn't possible or its scores differ."""
        try:
            compute, precision = _COMPILERS[name][0](_onnx_of(model, images), self.precision)
            found = torch.from_numpy(compute(images.numpy()))
            difference = float((found.softmax(dim=1) - expected.softmax(dim=1)).abs().max())
        except Exception as error:  # converters and engines raise all kinds, and PyTorch is left
            logger.warning(
                "%s can't be computed by %s (%s), so PyTorch does it.", model.name, name, type(error).__name__
            )
            logger.debug("The reason:", exc_info=True)
            return None
        if not difference <= TOLERANCE[self.precision]:
            logger.warning("%s: %s is not used, since its scores differ by %.2g.", model.name, name, difference)
            return None
        used = f"{name} {import_module(name).__version__} {precision}"
        return lambda batch: torch.from_numpy(compute(batch.numpy())), used


def cache_directory() -> Path:
    """Where converted networks are kept: the user's own folder, since others could change scores there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "monai-e2e" / "networks"


class _Inference(nn.Module):
    def __init__(self, network: nn.Module, inferer: Inferer) -> None:
        super().__init__()
        self.network, self.inferer = network, inferer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inferer(images, self.network)


def _onnx_of(model: Model, images: torch.Tensor) -> bytes:
    """The network with its inferer as an ONNX file, for batches of any number of images of this size."""
    shape = list(images.shape[1:])
    key = json.dumps([model.digest, shape, torch.__version__, __version__])  # engines compile it again in each run
    path = cache_directory() / f"{hashlib.sha256(key.encode()).hexdigest()}.pt"
    if path.is_file():
        try:
            content = read_checkpoint(path)["onnx"].numpy().tobytes()
            path.touch()  # for those used last are kept
            return content
        except (DamagedError, UserError) as error:
            logger.warning("%s is damaged (%s): the network is converted again.", path, error)
    logger.info("%s is converted, once …", model.name)
    content = _export(model, [1 if len(images) > 1 else 2, *shape])
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        save_shared({"format": FORMAT, "onnx": torch.frombuffer(bytearray(content), dtype=torch.uint8)}, path)
        _drop_oldest(path.parent)
    except (UserError, OSError) as error:
        logger.warning("The converted network is not kept: %s", error)
    return content


def _export(model: Model, shape: list[int]) -> bytes:
    """ONNX of a network traced with images of another number than those that then check it."""
    file, batch = io.BytesIO(), {0: "batch"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # on sizes that become constants, as they are meant to
        torch.onnx.export(
            _Inference(model.network, model.inferer).eval(),
            (torch.zeros(shape),),
            file,  # type: ignore[arg-type]  # which the older exporter takes
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": batch, "logits": batch},
            dynamo=False,  # the newer exporter takes several times as long
        )
    return file.getvalue()


def _drop_oldest(folder: Path) -> None:
    """Delete the converted networks that were not used for longest, where they take too much room."""
    total = 0
    for path in sorted(folder.glob("*.pt"), key=lambda path: path.stat().st_mtime, reverse=True):
        total += path.stat().st_size
        if total > _CACHE_BYTES:
            path.unlink(missing_ok=True)
