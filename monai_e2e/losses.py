"""Class balance inside the batch (paper §2.3: "adjust the sample weights within a batch")."""

from __future__ import annotations

import torch
from torch import nn


class BatchBalancedCrossEntropyLoss(nn.Module):
    """Cross-entropy in which every class of the batch weighs the same.

    A sample's weight is the batch size over the number of its class in the batch, and the loss is the mean over
    the samples: the sum, over the classes present, of each class's mean cross-entropy. These are the weights of
    the author's code; a batch of two classes therefore weighs twice as much as a batch of one.

    With several processes the batch is that of all of them together: each gives its share of the loss times their
    number, so that the mean of their gradients, which DistributedDataParallel takes, is that of one process with the
    whole batch.

    Shape: ``logits`` ``[B, C]`` float, ``target`` ``[B]`` integer class indices; output a scalar.
    """

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        target = target.long()
        per_sample = nn.functional.cross_entropy(logits, target, reduction="none")
        counts = torch.bincount(target, minlength=logits.shape[1])
        processes = 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(counts)
            processes = torch.distributed.get_world_size()
        return (per_sample / counts[target]).sum() * processes
