"""The networks' figures: those of the paper's Table 2, those counted by hand, and how the command shows them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from monai_e2e.cli import main as cli
from monai_e2e.describe.network import describe, from_config, from_row
from monai_e2e.describe.stored import TABLE_2, Description, stored_row
from monai_e2e.networks import BACKBONES, PatchClassifier, WholeImageClassifier

BUNDLES = Path(__file__).parents[2] / "bundles"
CONFIGS = BUNDLES / "ddsm_whole" / "configs"

# The author's own networks at 1152 × 896: maps from the backbone's on, parameters, parameters after the backbone.
AUTHORS = {
    1: ("36x28x2048 > 18x14x2048 > 9x7x2048", 40_944_514, 17_356_802),
    2: ("36x28x2048 > 18x14x1024 > 9x7x1024", 40_942_466, 17_354_754),
    3: ("36x28x2048 > 18x14x512 > 9x7x256", 28_415_618, 4_827_906),
    4: ("36x28x512 > 18x14x512 > 9x7x512", 28_886_850, 14_172_162),
    5: ("36x28x512 > 18x14x512 > 9x7x512", 19_439_426, 4_724_738),
    6: ("36x28x512 > 18x14x256 > 9x7x128", 16_191_426, 1_476_738),
    7: ("36x28x512 > 18x14x1024 > 9x7x1024", 29_710_146, 14_995_458),
    8: ("36x28x2048 > 30x22x5 > 15x11x1024 > 8x6x1024", 37_814_663, 14_226_951),
    9: ("36x28x2048 > 30x22x5 > 6x4x5 > 120", 23_608_473, 20_761),
    10: ("36x28x512 > 30x22x5 > 6x4x5 > 120", 14_727_769, 13_081),
}
AUTHORS_PATCH_NETS = {"resnet50": 23_597_957, "vgg16": 14_717_253, "vgg19": 20_026_949, "yaroslavnet": 5_904_357}
BIASES = 26_560  # of the convolutions of the author's ResNet-50
#: Rows of the input that one position of the last map sees; stride of that map.
FIELDS = {
    "resnet50": (427, 32),
    "vgg16": (212, 32),
    "vgg19": (268, 32),
    "densenet121": (2071, 32),
    "efficientnet_lite0": (851, 32),
    "yaroslavnet": (316, 64),
    "resnet50_keras": (483, 32),
}


@pytest.fixture(scope="module")
def rows() -> dict[int, Description]:
    return {number: from_row(name, BUNDLES) for number, name in enumerate(TABLE_2, start=1)}


def patch_net(backbone: str, **arguments) -> PatchClassifier:
    with torch.device("meta"):
        return PatchClassifier(backbone, **arguments)


def whole_net(backbone: str, top_blocks: list[str], **arguments) -> WholeImageClassifier:
    with torch.device("meta"):
        return WholeImageClassifier(PatchClassifier(backbone), top_blocks, **arguments)


def block(description: Description, name: str):
    return next(block for block in description.blocks if block.name == name)


def run(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    assert cli.main(["describe", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def fails(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """Run a command that must end in status 2 and one line; returns it."""
    assert cli.main(["describe", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("number", AUTHORS)
def test_rows_of_table_2_are_the_authors_networks(number, rows):
    maps, parameters, top_parameters = AUTHORS[number]
    row = rows[number]
    assert row.row == number
    assert row.image_size == (1152, 896)
    assert row.maps == maps
    assert row.author_parameters == parameters
    assert row.top_parameters == top_parameters
    assert row.parameters == parameters - (BIASES if row.architecture["backbone"] == "resnet50" else 0)


def test_stored_rows_are_those_that_the_bundle_makes(rows):
    """Where this fails, the networks or the bundle have changed: run `python -m monai_e2e.describe.stored`."""
    assert [stored_row(name, BUNDLES) for name in TABLE_2] == list(rows.values())


def test_rows_of_a_bundle_that_was_changed_are_computed(tmp_path):
    shutil.copytree(CONFIGS, tmp_path / "ddsm_whole" / "configs")
    overlay = tmp_path / "ddsm_whole" / "configs" / "models" / f"{TABLE_2[4]}.json"
    changed = json.loads(overlay.read_text()) | {"top_blocks": ["256x1", "512x1"]}
    overlay.write_text(json.dumps(changed))
    assert stored_row(TABLE_2[4], tmp_path) is None
    assert stored_row(TABLE_2[3], tmp_path) == stored_row(TABLE_2[3], BUNDLES)
    train = tmp_path / "ddsm_whole" / "configs" / "train.json"
    for key, same in (("val_interval", True), ("width", False)):
        train.write_text(json.dumps(json.loads(train.read_text()) | {key: 7}))
        assert (stored_row(TABLE_2[1], tmp_path) == stored_row(TABLE_2[1], BUNDLES)) == same


def test_each_overlay_of_the_bundle_is_one_row():
    assert sorted(TABLE_2) == sorted(path.stem for path in (CONFIGS / "models").glob("*.json"))
    assert len(set(TABLE_2)) == len(AUTHORS)


@pytest.mark.parametrize("number", AUTHORS)
def test_blocks_add_up_and_follow_one_another(number, rows):
    row = rows[number]
    assert sum(part.parameters for part in row.blocks) == row.parameters
    assert sum(part.multiply_adds for part in row.blocks) == row.multiply_adds
    after = [part for part in row.blocks if not part.name.startswith("backbone.")]
    assert sum(part.parameters for part in after) == row.top_parameters
    assert row.blocks[-1].channels == 2
    seen = [part.receptive_field for part in row.blocks if part.receptive_field is not None]
    assert seen == sorted(set(seen))
    assert row.receptive_field == seen[-1]
    assert all(part.receptive_field is None for part in row.blocks[len(seen) :])


def test_heatmap_row_has_no_pooling_between(rows):
    outputs = {part.name: (part.rows, part.columns, part.channels) for part in rows[8].blocks}
    assert outputs["backbone.stage5"] == (36, 28, 2048)
    assert outputs["heatmap"] == (30, 22, 5)
    assert outputs["top.block1"] == (15, 11, 1024)
    assert outputs["top.block2"] == (8, 6, 1024)
    assert outputs["pool"] == (1, 1, 1024)
    assert "heatmap.max_pool" not in outputs


@pytest.mark.parametrize("number", [9, 10])
def test_rows_with_fully_connected_layers_end_in_vectors(number, rows):
    after = [(part.name, part.output, part.parameters) for part in rows[number].blocks][5:]
    features = 2048 if number == 9 else 512
    assert after == [
        ("heatmap", "30x22x5", features * 5 + 5),
        ("heatmap.max_pool", "6x4x5", 0),
        ("flatten", "120", 0),
        ("top.fc1", "64", 120 * 64 + 64 + 4 * 64),
        ("top.fc2", "32", 64 * 32 + 32 + 4 * 32),
        ("head", "2", 32 * 2 + 2 + 120 * 2 + 2),
    ]


@pytest.mark.parametrize(("backbone", "parameters"), AUTHORS_PATCH_NETS.items())
def test_patch_classifiers_are_the_authors(backbone, parameters):
    found = describe(patch_net(backbone), (224, 224))
    assert found.author_parameters == parameters
    assert found.top_parameters == found.blocks[-1].parameters
    assert describe(patch_net("resnet50_keras"), (224, 224)).parameters == AUTHORS_PATCH_NETS["resnet50"]


def test_yaroslavnet_with_its_heatmap_is_the_authors():
    heatmap = {"pool_size": 3, "max_pool": 5}
    network = whole_net("yaroslavnet", ["FC16", "FC8"], heatmap=heatmap, shortcut=True, image_size=[1152, 896])
    found = describe(network, (1152, 896))
    assert (found.author_parameters, found.top_parameters) == (5_905_165, 3_373)
    assert found.architecture["in_channels"] == 1


def test_running_statistics_count_as_parameters_that_are_not_trained(rows):
    # two VGG blocks of one convolution with 512 channels each: mean and variance of each channel
    assert rows[5].parameters - rows[5].trainable == 2 * 2 * 512


def test_multiply_adds_are_those_counted_by_hand():
    found = describe(whole_net("vgg16", ["16x1"]), (288, 224))
    assert block(found, "backbone.stage1").multiply_adds == 288 * 224 * 9 * (3 * 64 + 64 * 64)
    assert block(found, "backbone.stage5").multiply_adds == 18 * 14 * 3 * 9 * 512 * 512
    assert block(found, "top.block1").multiply_adds == 9 * 7 * 9 * 512 * 16
    assert block(found, "pool").multiply_adds == 0
    assert block(found, "head").multiply_adds == 16 * 2


def test_multiply_adds_of_a_residual_block_count_its_shortcut():
    found = describe(whole_net("vgg16", ["[4-8-16]x2"]), (288, 224))
    first = 512 * 4 + 9 * 4 * 8 + 8 * 16 + 512 * 16
    second = 16 * 4 + 9 * 4 * 8 + 8 * 16
    assert block(found, "top.block1").multiply_adds == 5 * 4 * (first + second)


def test_multiply_adds_of_heatmap_and_fully_connected_layers(rows):
    assert block(rows[9], "heatmap").multiply_adds == 30 * 22 * 2048 * 5
    assert block(rows[9], "top.fc1").multiply_adds == 120 * 64
    assert block(rows[9], "head").multiply_adds == 32 * 2 + 120 * 2


@pytest.mark.parametrize("backbone", BACKBONES)
def test_receptive_field_and_stride_of_backbones(backbone):
    found = describe(patch_net(backbone), (224, 224))
    assert (found.receptive_field, found.stride) == FIELDS[backbone]
    assert found.stride == BACKBONES[backbone](in_channels=1, width=0.03125).stride


def make_transparent(network: nn.Module) -> nn.Module:
    """Let every position that a layer can see count, and none cancel another: all weights positive, no maximum."""
    for name, module in list(network.named_modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.MaxPool2d | nn.ReLU6):
            through = nn.ReLU()  # which never ends in a plateau
            if isinstance(module, nn.MaxPool2d):
                through = nn.AvgPool2d(module.kernel_size, module.stride, module.padding)
            setattr(network.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], through)
    return network.double().eval()


@pytest.mark.parametrize(
    ("backbone", "top_blocks", "heatmap"),
    [
        *[(backbone, [], None) for backbone in BACKBONES],
        ("vgg16", ["[2-2-4]x2", "4x2"], None),
        ("yaroslavnet", ["[2-2-4]x2"], {"pool_size": 3, "max_pool": 2}),
    ],
)
def test_receptive_field_is_where_the_gradient_comes_from(backbone, top_blocks, heatmap):
    patches = PatchClassifier(backbone, in_channels=1, width=0.03125)
    network = make_transparent(WholeImageClassifier(patches, top_blocks, heatmap=heatmap))
    expected = describe(network, (2304, 448))
    assert expected.receptive_field is not None
    assert expected.stride is not None
    height = expected.receptive_field + 4 * expected.stride
    image = torch.ones(1, 1, height, 448, dtype=torch.float64, requires_grad=True)
    maps = network.top(network.heatmap(network.backbone(image)))

    def seen(row: int) -> tuple[int, int]:
        (gradient,) = torch.autograd.grad(maps[0, :, row].sum(), image, retain_graph=True)
        touched = gradient[0, 0].sum(dim=1).nonzero().flatten()
        return int(touched[0]), int(touched[-1])

    middle = maps.shape[2] // 2
    first, last = seen(middle)
    assert 0 < first < last < height - 1  # not cut off by the border
    assert last - first + 1 == expected.receptive_field
    assert seen(middle + 1)[0] - first == expected.stride


def test_describing_leaves_the_network_as_it_is():
    network = PatchClassifier("vgg16", width=0.0625).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    describe(network, (64, 64))
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_table_holds_the_ten_rows_in_the_papers_order(capsys):
    text = run(capsys, "--bundles", BUNDLES)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    assert lines[0].split()[0] == "#"
    for number, (maps, parameters, top_parameters) in AUTHORS.items():
        figures, names = lines[2 * number - 1 : 2 * number + 1]
        assert figures.split()[0] == str(number)
        assert f"{parameters:,}" in figures
        assert f"{top_parameters:,}" in figures
        assert names.strip() == f"{TABLE_2[number - 1]}: {maps}"
    assert "318.67 G" in lines[9]
    assert "top only" in lines[-2]


def test_table_as_json_is_a_list(capsys):
    content = json.loads(run(capsys, "--json", "--bundles", BUNDLES))
    assert [item["row"] for item in content] == list(AUTHORS)
    assert [item["author_parameters"] for item in content] == [parameters for _, parameters, _ in AUTHORS.values()]


def test_row_by_name_or_number(capsys):
    text = run(capsys, "vgg16_512x1", "--bundles", BUNDLES)
    assert text == run(capsys, "5", "--bundles", BUNDLES)
    lines = text.splitlines()
    assert lines[0] == "vgg16_512x1 (row 5 of the paper's Table 2)"
    assert lines[1] == "vgg16, 512x1, 512x1; input 1152x896x3"
    cells = [line.split() for line in lines]
    assert ["top.block2", "9x7x512", "2,361,856", "594,542,592", "500", "128"] in cells
    assert ["head", "2", "1,026", "1,024", "image", "-"] in cells
    assert "19,439,426" in next(line for line in lines if line.startswith("total"))
    assert "author" not in text


def test_detail_tells_the_count_in_the_authors_layout_where_it_differs(capsys):
    assert "With the author's ResNet-50, which has biases: 40,942,466" in run(capsys, "2", "--bundles", BUNDLES)


def test_row_as_json_is_one_object(capsys):
    content = json.loads(run(capsys, "10", "--json", "--bundles", BUNDLES))
    assert list(content) == [
        "name",
        "row",
        "image_size",
        "architecture",
        "parameters",
        "author_parameters",
        "trainable",
        "top_parameters",
        "multiply_adds",
        "receptive_field",
        "stride",
        "blocks",
    ]
    assert content["name"] == "vgg16_heatmap_fc64_fc32"
    assert content["architecture"]["top_blocks"] == ["FC64", "FC32"]
    assert content["blocks"][6] == {
        "name": "heatmap.max_pool",
        "rows": 6,
        "columns": 4,
        "channels": 5,
        "parameters": 0,
        "multiply_adds": 0,
        "receptive_field": 212 + 6 * 32 + 4 * 32,
        "stride": 160,
    }
    assert content["blocks"][-1]["receptive_field"] is None


def test_image_size_changes_maps_and_fully_connected_layers(capsys):
    plain = json.loads(run(capsys, "5", "--json", "--image-size", "576x448", "--bundles", BUNDLES))
    assert plain["image_size"] == [576, 448]
    assert plain["parameters"] == AUTHORS[5][1]
    connected = json.loads(run(capsys, "10", "--json", "--image-size", "576x448", "--bundles", BUNDLES))
    assert connected["architecture"]["image_size"] == [576, 448]
    assert connected["parameters"] == AUTHORS[10][1] - (120 - 10) * (64 + 2)


@pytest.mark.parametrize("bundle", ["ddsm_whole", "inbreast_transfer"])
@pytest.mark.parametrize("config", ["train", "inference"])
def test_config_of_whole_images_makes_row_2(bundle, config, capsys):
    content = json.loads(run(capsys, BUNDLES / bundle / "configs" / f"{config}.json", "--json"))
    assert content["parameters"] == AUTHORS[2][1] - BIASES
    assert content["image_size"] == [1152, 896]
    assert content["row"] is None


@pytest.mark.parametrize("config", ["train", "inference"])
def test_config_of_patches_is_described_on_a_patch(config, capsys):
    path = BUNDLES / "ddsm_patch" / "configs" / f"{config}.json"
    content = json.loads(run(capsys, path, "--json"))
    assert content["image_size"] == [224, 224]
    assert content["author_parameters"] == AUTHORS_PATCH_NETS["resnet50"]
    assert json.loads(run(capsys, path, "--json", "--image-size", "448x224"))["image_size"] == [448, 224]


def test_configs_with_commas_override_one_another(capsys):
    overlay = CONFIGS / "models" / "vgg16_512x1.json"
    content = json.loads(run(capsys, f"{CONFIGS / 'inference.json'},{overlay}", "--json"))
    assert content["parameters"] == AUTHORS[5][1]
    assert str(overlay) in content["name"]


def test_overlay_of_ones_own_is_found_by_name(tmp_path, capsys):
    configs = tmp_path / "ddsm_whole" / "configs"
    (configs / "models").mkdir(parents=True)
    (configs / "train.json").write_text((CONFIGS / "train.json").read_text())
    (configs / "models" / "mine.json").write_text('{"backbone": "densenet121", "top_blocks": ["64x1"]}')
    text = run(capsys, "mine", "--bundles", tmp_path)
    assert text.startswith("mine\ndensenet121, 64x1;")


def test_checkpoint_says_what_it_is(tmp_path, capsys):
    patches = PatchClassifier("vgg16", width=0.0625)
    heatmap = {"pool_size": 2}
    whole = WholeImageClassifier(patches, ["FC8"], heatmap=heatmap, shortcut=True, image_size=(288, 224))
    for network, name, size in ((patches, "patch.pt", [224, 224]), (whole, "whole.pt", [288, 224])):
        torch.save(network.state_dict(), tmp_path / name)
        content = json.loads(run(capsys, tmp_path / name, "--json"))
        assert content["image_size"] == size
        assert content["trainable"] == sum(parameter.numel() for parameter in network.parameters())
    assert "don't suit" in fails(capsys, tmp_path / "whole.pt", "--image-size", "576x448")


def test_checkpoint_that_does_not_say_what_it_is(tmp_path, capsys):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "model.pt")
    line = fails(capsys, tmp_path / "model.pt")
    assert f"{tmp_path / 'model.pt'} does not say which network" in line
    assert "absent.pt" in fails(capsys, tmp_path / "absent.pt")


@pytest.mark.parametrize("name", ["vgg16_512x2", "0", "11", "-"])
def test_unknown_row_names_the_known_ones_and_the_other_ways(name, capsys):
    line = fails(capsys, name, "--bundles", BUNDLES)
    assert f"unknown row '{name}'" in line
    assert all(row in line for row in TABLE_2)
    assert ".json" in line


def test_absent_bundles_say_where_they_are_wanted(tmp_path, capsys):
    for arguments in ([], ["5"]):
        line = fails(capsys, *arguments, "--bundles", tmp_path / "absent")
        assert str(tmp_path / "absent") in line
        assert "name another folder" in line
        assert "--bundles" in line


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"backbone": ', "is not a config: Expecting value"),
        ("[1, 2]", "is not a config, which is a JSON object"),
        ("{}", "no 'network_def'"),
        ('{"network_def": {"_target_": "torch.nn.Flatten"}}', "'network_def' makes a Flatten"),
        ('{"network_def": {"_target_": "monai_e2e.networks.PatchClassifier", "backbone": "lenet"}}', "'lenet'"),
        ('{"network_def": "@nothing"}', "nothing"),
    ],
)
def test_config_that_makes_no_network_says_why(text, part, tmp_path, capsys):
    path = tmp_path / "train.json"
    path.write_text(text)
    line = fails(capsys, path)
    assert str(path) in line
    assert part in line


def test_absent_config_is_named(tmp_path, capsys):
    assert str(tmp_path / "absent.json") in fails(capsys, f"{CONFIGS / 'train.json'},{tmp_path / 'absent.json'}")


def test_block_of_an_overlay_that_is_misspelt_is_named(tmp_path, capsys):
    (tmp_path / "mine.json").write_text('{"top_blocks": ["512-1"]}')
    assert "cannot read top block '512-1'" in fails(capsys, f"{CONFIGS / 'train.json'},{tmp_path / 'mine.json'}")


@pytest.mark.parametrize("size", ["0x896", "40x40"])
def test_image_that_is_too_small_is_named(size, capsys):
    assert f"{size} pixels don't suit" in fails(capsys, "5", "--image-size", size, "--bundles", BUNDLES)


def test_describing_a_training_draws_no_phantoms(monkeypatch):
    monkeypatch.setattr("monai_e2e.data.phantom_dataset", lambda **_: pytest.fail("phantoms were drawn"))
    assert from_config([BUNDLES / "ddsm_whole" / "configs" / "train.json"]).image_size == (1152, 896)
