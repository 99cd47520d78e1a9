"""ImageNet weights, the start of the patch classifier (paper §2.3): torchvision's files, downloaded once or given."""

from __future__ import annotations

import hashlib
import logging
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn

from monai_e2e.checkpoint_files import read_state
from monai_e2e.errors import UserError
from monai_e2e.networks.backbones import BACKBONES, Backbone

logger = logging.getLogger(__name__)


def load_imagenet(backbone: nn.Module, source: str) -> nn.Module:
    """Load torchvision's ImageNet weights into a backbone, leaving its classifier aside.

    Args:
        backbone: a backbone of :data:`monai_e2e.networks.BACKBONES` at width 1.0 with three input channels.
        source: ``"imagenet"``, an URL whose file name carries its SHA-256 as torchvision's do, or a local file.

    Raises:
        UserError: when the download fails, the hash differs or the weights don't fit.
    """
    if source == "imagenet":
        url = getattr(backbone, "imagenet_url", None)
        if url is None:
            known = ", ".join(name for name, known in BACKBONES.items() if known.imagenet_url)
            raise UserError(f"no ImageNet weights known for '{type(backbone).__name__}', only for: {known}")
        source = url
    path = _download(source) if is_url(source) else source
    state = read_state(path)
    if isinstance(backbone, Backbone):
        state = backbone.from_torchvision(state)
    wanted = backbone.state_dict()
    for key, value in wanted.items():
        if key.endswith("num_batches_tracked") and key not in state:
            continue  # older files lack these counters, which nothing here reads
        if key not in state or state[key].shape != value.shape:
            found = list(state[key].shape) if key in state else "absent"
            raise UserError(f"{path} does not fit: '{key}' is {found}, not {list(value.shape)}")
    backbone.load_state_dict({key: state.get(key, value) for key, value in wanted.items()})
    logger.info("Backbone starts from %s.", path)
    return backbone


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _download(url: str) -> str:
    name = url.rsplit("/", 1)[-1]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    target = folder / name
    match = torch.hub.HASH_REGEX.search(name)
    digest = match.group(1) if match else None
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(target), hash_prefix=digest)
        except (URLError, HTTPException, OSError, RuntimeError) as error:
            raise UserError(
                f"cannot download {url} ({error}): fetch it elsewhere and put it at {target}, or pass --weights FILE"
            ) from error
    elif digest and not _sha256(target).startswith(digest):
        raise UserError(
            f"{target} is damaged or another file: its SHA-256 begins with {_sha256(target)[:8]}, not with {digest}; "
            f"delete it and run again, or fetch {url} elsewhere and put it there"
        )
    return str(target)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
