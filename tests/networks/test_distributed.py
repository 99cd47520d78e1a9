import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from monai_e2e.errors import UserError
from monai_e2e.networks import PatchClassifier, synchronize_batchnorm
from monai_e2e.networks.distributed import unwrapped


def test_every_batch_normalisation_is_shared_and_the_state_keeps_its_names():
    with torch.device("meta"):  # the processor has no such layer, and the conversion runs without numbers
        network = PatchClassifier("resnet50", width=0.0625)
    names = list(network.state_dict())
    count = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    synchronized = synchronize_batchnorm(network)
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in synchronized.modules()) == count > 0
    assert not any(isinstance(module, nn.BatchNorm2d) for module in synchronized.modules())
    assert list(synchronized.state_dict()) == names


def test_on_a_processor_it_is_an_error_unless_it_is_off():
    network = PatchClassifier("resnet50", width=0.0625)
    assert synchronize_batchnorm(network, False) is network
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    with pytest.raises(UserError, match=r"sync_batchnorm: .*'cpu'.*--sync_batchnorm false"):
        synchronize_batchnorm(network)


@pytest.mark.usefixtures("one_process_group")
def test_a_network_is_taken_out_of_pytorchs_wrappers_and_anything_else_stays():
    network = nn.Linear(2, 1)
    compiled, shared = torch.compile(network), DistributedDataParallel(network)
    assert all(unwrapped(thing) is network for thing in (network, compiled, shared))
    assert unwrapped(DistributedDataParallel(compiled)) is network
    optimizer = torch.optim.SGD(network.parameters())
    assert unwrapped(optimizer) is optimizer
    assert unwrapped(None) is None
