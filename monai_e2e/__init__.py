"""Whole-image breast-cancer classifiers trained end to end, as a MONAI plugin.

Implements Shen, *End-to-end training for whole image breast cancer diagnosis using an all convolutional design*
(arXiv:1708.09427). For research, not for diagnosis.
"""

from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

#: Shown on every result that could be mistaken for a diagnosis.
NOTICE = "For research, not for diagnosis."

_MODULES = (
    "bundle",
    "data",
    "errors",
    "federated",
    "handlers",
    "inferers",
    "losses",
    "metrics",
    "networks",
    "optimizers",
    "seen",
    "shipped",
    "transforms",
)


def __getattr__(name: str) -> ModuleType:
    # Modules load on first use: so "$import monai_e2e" in a config gives access to all of them, and the processes that
    # prepare images don't import torch.
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
