"""Where a training's weights come from: the step before, or another start."""

from pathlib import Path

import pytest
from made_networks import patch_net, same, saved, snapshot, whole_net

from monai_e2e.errors import UserError
from monai_e2e.networks import initialize

COMMAND = "python -m monai.bundle run training --config_file some/train.json"


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return saved(patch_net(1, pixel_mean=52.0).state_dict(), tmp_path / "patch.pt")


class TestInitialize:
    def test_absent_checkpoint_names_the_command_that_makes_it_and_the_other_starts(self, tmp_path):
        with pytest.raises(UserError) as caught:
            initialize(whole_net(2), "checkpoint", tmp_path / "model.pt", {"backbone": "backbone"}, COMMAND)
        for part in (str(tmp_path / "model.pt"), f"`{COMMAND}`", "--weights imagenet", "--weights scratch"):
            assert part in str(caught.value)

    def test_scratch_ignores_the_checkpoint(self, checkpoint):
        network = whole_net(2)
        before = snapshot(network)
        initialize(network, "scratch", checkpoint, {"backbone": "backbone"}, COMMAND)
        assert same(network.state_dict(), before)

    def test_first_training_has_no_checkpoint_to_start_from(self):
        with pytest.raises(UserError, match="none before it"):
            initialize(patch_net(1), "checkpoint", None, None, "")

    def test_transfer_keeps_the_mean_of_the_images_that_it_is_trained_on_and_no_threshold(self, tmp_path):
        """Images are centred by the new data set's mean, so that mean has to be in the checkpoint that is saved."""
        trained = whole_net(1, pixel_mean=52.18)
        trained.threshold.fill_(2.0)
        path = saved(trained.state_dict(), tmp_path / "whole.pt")
        network = initialize(whole_net(2, pixel_mean=44.33), "checkpoint", path, None, COMMAND)
        assert network.pixel_mean.item() == pytest.approx(44.33)
        assert network.threshold == 0
