"""Logits and labels of an engine's output, for metrics and handlers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.handlers import EpochOutputStore
from monai.utils import evenly_divisible_all_gather


def logit_of_positive(logits: torch.Tensor) -> torch.Tensor:
    """Log-odds of the positive class, ``logits[..., 1] - logits[..., 0]`` in float32.

    Unlike the softmax it does not saturate, so it keeps the ranking of the samples, which the AUC needs.
    """
    return logits[..., 1].float() - logits[..., 0].float()


def class_scores(output: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """An engine's output, decollated or not, as the pair (logits ``[B, C]``, labels ``[B]``), for Ignite's metrics."""
    if isinstance(output, Mapping):
        return output["pred"].detach(), output["label"]
    pred = torch.stack([item["pred"] for item in output])
    return pred, torch.as_tensor([item["label"] for item in output], device=pred.device)


def binary_scores(output: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """An engine's output, decollated or not, as the pair (scores, labels), both ``[B]``, for MONAI's ``ROCAUC``."""
    logits, labels = class_scores(output)
    return logit_of_positive(logits), labels


class EpochScores(EpochOutputStore):
    """Keeps an epoch's logits and labels; the output has ``pred`` ``[B, C]`` and ``label`` ``[B]``, not decollated."""

    def __init__(self) -> None:
        super().__init__(_tensors)

    def gathered(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits ``[N, C]`` in float32 and labels ``[N]`` of all ranks, on the CPU; call it on all of them."""
        logits, labels = (torch.cat(parts) for parts in zip(*self.data, strict=True))
        gathered = [evenly_divisible_all_gather(part, concat=True).cpu() for part in (logits, labels)]
        return gathered[0], gathered[1]


def _tensors(output: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    logits = output["pred"].detach().float()
    return logits, torch.as_tensor(output["label"], device=logits.device)
