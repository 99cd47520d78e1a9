"""The commands of demo and experiments, as users type them."""

from pathlib import Path

from monai_e2e.experiment.commands import Commands

BUNDLES = Path(__file__).parents[2] / "bundles"


def test_a_value_stands_in_the_command_as_the_bundle_takes_it(tmp_path):
    step = Commands(tmp_path, BUNDLES).train(
        "ddsm_whole", "row", 1, ["models/vgg16_512x1"], resume=True, fold=2, top_blocks=["64x1"], patience=None
    )
    words = dict(zip(step.argv[4::2], step.argv[5::2], strict=True))
    assert words["--resume"] == "true"
    assert words["--patience"] == "null"
    assert words["--top_blocks"] == "['64x1']"
    assert words["--config_file"].endswith("configs/models/vgg16_512x1.json']")
    assert (words["--output_dir"], words["--model_dir"]) == (str(tmp_path / "row"),) * 2
