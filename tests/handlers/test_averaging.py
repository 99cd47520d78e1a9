"""The average of weights over a training."""

import pytest
import torch
from ignite.engine import Engine

from monai_e2e.errors import UserError
from monai_e2e.handlers import average_weights


def test_the_average_follows_the_weights_by_its_momentum_and_has_the_networks_buffers():
    network = torch.nn.BatchNorm1d(1)
    average = average_weights(network, 0.25)

    def step(_engine, value):
        network.weight.data.fill_(value)
        network.running_mean.fill_(value)

    trainer = Engine(step)
    average.attach(trainer)
    trainer.run([5.0, 9.0])
    assert average.ema_model.weight.item() == (1 * 0.75 + 5 * 0.25) * 0.75 + 9 * 0.25
    assert average.ema_model.running_mean.item() == 9


@pytest.mark.parametrize("momentum", [0, 1, -0.1, True, "0.005"])
def test_a_momentum_out_of_range_is_refused_with_one_that_works(momentum):
    with pytest.raises(UserError, match=r"ema_momentum must be between 0 and 1, such as 0\.005"):
        average_weights(torch.nn.Linear(1, 1), momentum)


def test_without_a_momentum_there_is_no_average():
    assert average_weights(torch.nn.Linear(1, 1), None) is None
