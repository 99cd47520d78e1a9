"""Mixed precision on a processor: in bfloat16 between inputs and outputs of float32, and only where it is asked for."""

import pytest
import torch
from torch import nn

from monai_e2e.inferers import CPUAutocast, FlipAveraging


class Net(nn.Module):
    """A convolution and a linear layer that note the precision between them."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)
        self.dtypes = []

    def forward(self, x):
        features = self.conv(x)
        self.dtypes.append(features.dtype)
        return self.head(features.mean(dim=(2, 3)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_network_is_run_in_bfloat16_and_gives_float32_with_gradients(net, enabled):
    images = torch.randn(2, 1, 8, 8)
    expected = net(images)
    found = CPUAutocast(enabled)(images, net)
    assert net.dtypes == [torch.float32, torch.bfloat16 if enabled else torch.float32]
    assert found.dtype == torch.float32
    assert torch.equal(found, expected) is not enabled
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-2)
    nn.functional.cross_entropy(found, torch.tensor([0, 1])).backward()
    assert net.conv.weight.grad.dtype == torch.float32


def test_it_wraps_another_inferer(net):
    images = torch.randn(2, 1, 8, 8)
    found = CPUAutocast(inferer=FlipAveraging())(images, net)
    assert net.dtypes == [torch.bfloat16] * 4
    torch.testing.assert_close(found, FlipAveraging()(images, net), rtol=0, atol=2e-2)


def test_on_a_gpu_it_leaves_mixed_precision_to_monais_engines(net):
    images = torch.randn(2, 1, 8, 8, device="meta")
    CPUAutocast()(images, net.to("meta"))
    assert net.dtypes == [torch.float32]
