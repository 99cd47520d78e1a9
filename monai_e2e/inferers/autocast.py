"""Mixed precision on processors, where MONAI's engines have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer


class CPUAutocast(Inferer):
    """Run a network in bfloat16 where that is safe, on a processor; on a GPU MONAI's engines do so themselves.

    Their ``amp`` is ``torch.autocast("cuda")``, which does nothing on a processor. bfloat16 has the range of float32,
    so gradients need no scaling; losses are computed in float32 from the output. It is faster on processors that
    compute in bfloat16 (AVX-512 BF16, AMX), slower on others. In a bundle::

        "inferer": {"_target_": "monai_e2e.inferers.CPUAutocast", "enabled": "@amp"}

    Args:
        enabled: False leaves everything as it is.
        inferer: what runs the network; None: the network itself (MONAI's ``SimpleInferer``).

    Shape: those of the inferer; float32 out.
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
