"""Where results come from: the time, versions, device and revision that a run's record states."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import psutil
import torch

_GIT_SECONDS = 10


def now() -> str:
    """The time with its zone, to the second (ISO 8601)."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of all that it needs; with PyTorch's build, such as ``+cu130``."""
    return {"python": platform.python_version(), **_package_versions(), "torch": str(torch.__version__)}


@cache
def _package_versions() -> dict[str, str]:
    try:
        needed = [text for text in requires("monai-e2e") or [] if "extra ==" not in text]
    except PackageNotFoundError:  # run from a checkout that isn't installed
        needed = ["monai", "torch", "pytorch-ignite", "numpy"]
    return {name: _version(name) for name in ["monai-e2e", *(re.split(r"[^\w.-]", text)[0] for text in needed)]}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def device_name(device: torch.device | None) -> str:
    """Name of the GPU, or of the processor with the number of its cores that PyTorch uses."""
    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        names = []
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} cores"


def peak_memory(device: torch.device | None = None) -> int:
    """MiB that this process has held at most until now: on a GPU what PyTorch allocated there, else in memory."""
    if device is not None and device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    if sys.platform == "win32":
        return round(psutil.Process().memory_info().peak_wset / 2**20)
    import resource  # Windows has none

    unit = 1 if sys.platform == "darwin" else 2**10  # macOS counts bytes, others KiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


def git_state(folder: Path) -> dict[str, Any]:
    """Revision of the checkout that this package is run from, and whether the package differs from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # else installed inside somebody else's checkout
        return {"revision": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.SubprocessError):
        return {"revision": "unknown", "modified": None}
