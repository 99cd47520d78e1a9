import zipfile

import pytest
import torch
from torch import nn

from monai_e2e.checkpoints.files import read_state
from monai_e2e.checkpoints.torchscript import read_tensors
from monai_e2e.errors import UserError
from monai_e2e.networks import PatchClassifier, WholeImageClassifier

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Planted(nn.Module):
    """A module whose code runs as soon as PyTorch loads it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.zeros(1)

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        print("planted code was run")  # noqa: T201
        self.weight = state[0]
        self.training = state[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def saved(network, path):
    torch.jit.save(torch.jit.script(network), path)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("backbone", ["vgg16", "resnet50"])
def test_what_is_read_is_the_networks_state(tmp_path, backbone, dtype):
    network = WholeImageClassifier(PatchClassifier(backbone, width=0.0625), ["8x1"], pixel_mean=31.0).to(dtype)
    state, found = network.state_dict(), read_tensors(saved(network, tmp_path / "model.ts"))
    assert found.keys() == state.keys()
    assert all(found[name].dtype == state[name].dtype and torch.equal(found[name], state[name]) for name in state)


def test_code_in_the_file_does_not_run(tmp_path, capfd):
    path = saved(Planted(), tmp_path / "model.ts")
    torch.jit.load(path)
    assert "planted code was run" in capfd.readouterr().out  # PyTorch's loading does run it
    with pytest.raises(UserError, match=r"model\.ts"):
        read_state(path)
    assert "planted" not in capfd.readouterr().out


def test_a_file_that_is_no_torchscript_is_refused(tmp_path):
    path = tmp_path / "model.ts"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"model\.ts"):
        read_state(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02K\x01.")
    with pytest.raises(UserError, match=r"model\.ts"):
        read_state(path)
