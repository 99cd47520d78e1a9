"""Class balance within a batch (paper §2.3: "adjust the sample weights within a batch")."""

from __future__ import annotations

import torch
from torch import nn

from monai_e2e.networks.distributed import world_size


class BatchBalancedCrossEntropyLoss(nn.Module):
    """Cross-entropy in which every class of a batch has the same weight.

    The loss is the sum, over the classes in the batch, of each class's mean cross-entropy. In other words, it is the
    mean over samples weighted by the batch size divided by the number of samples of their class, as in the author's
    code. So a batch with two classes has twice the weight of a batch with one.

    In distributed training the classes are counted over the batches of all processes. Each process returns its share of
    the loss times the number of processes, so that the mean of the gradients, which DistributedDataParallel computes,
    equals the gradient of one process with all these samples.

    Shape: ``logits`` ``[B, C]`` float, ``target`` ``[B]`` integer class indices; output a scalar.
    """

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        target = target.long()
        per_sample = nn.functional.cross_entropy(logits, target, reduction="none")
        counts = torch.bincount(target, minlength=logits.shape[1])
        if world_size() > 1:
            torch.distributed.all_reduce(counts)
        return (per_sample / counts[target]).sum() * world_size()
