"""Mixed precision on CPUs, which MONAI's engines lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer


class CPUAutocast(Inferer):
    """Run a network with autocast to bfloat16 on a CPU; on a GPU it does nothing, since MONAI's engines do that.

    The engines' ``amp`` is ``torch.autocast("cuda")``, which has no effect on a CPU. bfloat16 has the range of float32,
    so gradients need no scaling; losses are computed in float32 from the output. It is faster on CPUs with bfloat16
    instructions (AVX-512 BF16, AMX), slower on others. In a bundle::

        "inferer": {"_target_": "monai_e2e.inferers.CPUAutocast", "enabled": "@amp"}

    Args:
        enabled: False changes nothing.
        inferer: inferer that runs the network; None for MONAI's ``SimpleInferer``.

    Shape: input and output of the inferer; the output is float32.
    """

    def __init__(self, enabled: bool = True, inferer: Inferer | None = None) -> None:
        super().__init__()
        self.enabled = enabled
        self.inferer = SimpleInferer() if inferer is None else inferer

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self.enabled or inputs.device.type != "cpu":
            return self.inferer(inputs, network, *args, **kwargs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.inferer(inputs, network, *args, **kwargs).float()
