"""What a network shares with a federation's server, and what its file holds."""

import pytest
import torch

from monai_e2e.checkpoints.files import read_state, save_atomically
from monai_e2e.federated import UNSHARED, model_file, share_what_is_learned
from monai_e2e.networks import PatchClassifier, load_classifier
from monai_e2e.networks.patients import record_patients


def make_network(**arguments) -> PatchClassifier:
    network = PatchClassifier("vgg16", width=0.0625, **arguments)
    record_patients(network, {"fold": None, "training": ["a"], "validation": ["b"]}, {})
    return network


def test_the_state_of_a_shared_network_is_what_was_learned_alone():
    network = make_network()
    everything = set(network.state_dict())
    assert share_what_is_learned(network, federated=False) is network
    assert set(network.state_dict()) == everything
    share_what_is_learned(network)
    assert everything - set(network.state_dict()) == {"architecture", "patients", "pixel_mean"}
    assert {name for name, _ in network.named_parameters()} <= set(network.state_dict())


def test_the_state_of_a_shared_network_is_contiguous_in_any_memory_format():
    network = share_what_is_learned(make_network().to(memory_format=torch.channels_last))
    assert not all(parameter.is_contiguous() for parameter in network.parameters())
    state = network.state_dict()
    assert all(value.is_contiguous() for value in state.values())
    assert all(torch.equal(state[name], parameter) for name, parameter in network.named_parameters())


def test_a_shared_network_loads_such_a_state_and_keeps_what_describes_it():
    network, other = (share_what_is_learned(make_network(pixel_mean=mean)) for mean in (40.0, 60.0))
    network.load_state_dict(other.state_dict())
    assert float(network.pixel_mean) == 40.0
    assert torch.equal(network.head.weight, other.head.weight)
    with pytest.raises(RuntimeError, match="head"):
        network.load_state_dict({key: value for key, value in other.state_dict().items() if "head" not in key})


def test_the_file_of_a_shared_network_is_a_whole_model_with_the_patients_beside_what_is_sent(tmp_path):
    network = make_network(pixel_mean=40.0)
    whole = {key: value.clone() for key, value in model_file(network).items()}
    assert set(UNSHARED) - {"threshold"} <= set(whole)
    content = model_file(share_what_is_learned(network))
    assert set(content) == {"model", "patients"}
    assert "patients" not in content["model"]
    save_atomically(content, tmp_path / "model.pt")
    state = read_state(tmp_path / "model.pt")
    assert set(state) == set(whole)
    assert all(torch.equal(state[key], value) for key, value in whole.items())
    assert float(load_classifier(tmp_path / "model.pt").pixel_mean) == 40.0
