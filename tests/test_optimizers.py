"""Optimizers by name."""

import pytest
import torch

from monai_e2e.errors import UserError
from monai_e2e.optimizers import OPTIMIZERS, make_optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_takes_the_groups_that_a_stage_sets(name):
    kernel, bias = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    groups = [{"params": [kernel], "name": "decay"}, {"params": [bias], "name": "no decay", "weight_decay": 0.0}]
    optimizer = make_optimizer(name, groups, lr=0.1)
    assert type(optimizer) is getattr(torch.optim, name)
    optimizer.param_groups[0]["weight_decay"] = 0.5
    kernel.grad, bias.grad = torch.zeros(2), torch.zeros(2)
    optimizer.step()
    assert torch.equal(bias, torch.ones(2))
    assert (kernel < 1).all()


def test_options_reach_it():
    parameters = [torch.nn.Parameter(torch.ones(1))]
    assert make_optimizer("SGD", parameters, lr=0.1, momentum=0.9).param_groups[0]["momentum"] == 0.9


def test_an_unknown_name_or_option_is_answered_with_what_is_known():
    parameters = [torch.nn.Parameter(torch.ones(1))]
    with pytest.raises(UserError, match="unknown optimizer 'adam', choose one of: Adam, AdamW"):
        make_optimizer("adam", parameters, lr=0.1)
    with pytest.raises(UserError, match=r"Adam does not take these options: .*momentum"):
        make_optimizer("Adam", parameters, lr=0.1, momentum=0.9)
