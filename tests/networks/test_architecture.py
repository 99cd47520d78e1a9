"""A checkpoint says by itself what its network is made of, and a bundle that starts from it builds that network."""

from __future__ import annotations

import copy
import inspect
import io
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from monai_e2e.errors import UserError
from monai_e2e.networks import (
    ARCHITECTURE,
    BACKBONES,
    PatchClassifier,
    WholeImageClassifier,
    architecture,
    choose_architecture,
    load_classifier,
    load_weights,
    make_classifier,
    read_architecture,
)
from monai_e2e.networks.architecture import decode_description, encode_description

TINY = {"width": 0.0625}
FC = {"top_blocks": ["8x1", "FC6", "FC4"], "image_size": [192, 128], "shortcut": True}
#: Arguments of networks of every kind.
KINDS: dict[str, dict[str, Any]] = {
    **{f"{name}, patch": {"backbone": name, **TINY} for name in BACKBONES},
    **{f"{name}, whole": {"backbone": name, **TINY, "top_blocks": ["[4-4-8]x2", "8x1"]} for name in BACKBONES},
    "stages' own channels": {"backbone": "vgg16", "width": [3, 4, 5, 6, 7]},
    "a tuple of channels": {"backbone": "resnet50", "width": (3, 4, 5, 6), "top_blocks": ("8x1",)},
    "a whole factor": {"backbone": "yaroslavnet", "width": 1, "in_channels": 2},
    "patch, pooled": {"backbone": "resnet50", **TINY, "pool_size": 7, "patch_classes": 3, "in_channels": 1},
    "not pooled": {"backbone": "vgg19", **TINY, "backbone_options": {"last_layer": False}, "top_blocks": ["8x1"]},
    "author's": {
        "backbone": "resnet50_keras",
        **TINY,
        "backbone_options": {"stem_padding": "same", "last_layer": False},
        "pool_size": 7,
        "top_blocks": ["[4-4-8]x1"],
        "norm_eps": 1e-3,
        "num_classes": 3,
    },
    "heatmap": {"backbone": "resnet50", **TINY, "top_blocks": ["8x1"], "heatmap": {}},
    "heatmap, all options": {
        "backbone": "vgg16",
        **TINY,
        "top_blocks": ["8x1"],
        "heatmap": {"pool_size": 2, "stride": 2, "activation": "softmax", "max_pool": 2},
        "patch_classes": 4,
    },
    "fully connected": {"backbone": "vgg16", **TINY, **FC},
    "heatmap, fully connected": {
        "backbone": "vgg16",
        **TINY,
        "top_blocks": ["FC6", "FC4"],
        "image_size": (192, 192),
        "heatmap": {"pool_size": 2, "max_pool": 2},
        "shortcut": True,
    },
}
LOGGER = "monai_e2e.networks.start"


def make(kind: str) -> PatchClassifier | WholeImageClassifier:
    torch.manual_seed(0)
    return make_classifier(**KINDS[kind]).eval()


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    path = tmp_path / "model.pt"
    torch.save({"model": make("heatmap, fully connected").state_dict()}, path)
    return path


class TestRoundTrip:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_network_is_built_again_from_what_it_says(self, kind):
        network = make(kind)
        torch.manual_seed(1)
        again = make_classifier(**architecture(network)).eval()
        assert type(again) is type(network)
        assert type(again) is (WholeImageClassifier if "top_blocks" in KINDS[kind] else PatchClassifier)
        assert shapes(again) == shapes(network)
        assert architecture(again) == architecture(network)
        again.load_state_dict(network.state_dict())
        image = torch.randn(1, next(network.parameters()).shape[1], *KINDS[kind].get("image_size", (256, 256)))
        with torch.no_grad():
            assert torch.equal(again(image), network(image))

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_says_all_that_it_was_made_of(self, kind):
        said, given = architecture(make(kind)), KINDS[kind]
        plain = json.loads(json.dumps(given))  # a tuple is a list there
        assert {key: said[key] for key in given} == plain
        defaults = {**ARCHITECTURE, "in_channels": BACKBONES[given["backbone"]].image_channels}
        left_out = [key for key in defaults if key in said and key not in given]
        assert {key: said[key] for key in left_out} == {key: defaults[key] for key in left_out}

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_file_says_what_the_network_in_it_is_made_of(self, kind, tmp_path):
        network = make(kind)
        for content in (network.state_dict(), {"model": network.state_dict(), "epoch": 3}):
            torch.save(content, tmp_path / "model.pt")
            assert read_architecture(tmp_path / "model.pt") == architecture(network)
            load_weights(make_classifier(**read_architecture(tmp_path / "model.pt")), tmp_path / "model.pt")

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda network: network.to(memory_format=torch.channels_last), id="channels last"),
            pytest.param(lambda network: network.double(), id="double"),
            pytest.param(lambda network: network.half(), id="half"),
            pytest.param(lambda network: network.bfloat16(), id="bfloat16"),
            pytest.param(lambda network: network.train(), id="train"),
            pytest.param(copy.deepcopy, id="deep copy"),
        ],
    )
    @pytest.mark.parametrize("kind", ["resnet50, patch", "heatmap, fully connected"])
    def test_it_survives_what_is_done_to_networks(self, kind, change):
        network = make(kind)
        expected = architecture(network)
        assert architecture(change(network)) == expected

    @pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
    @pytest.mark.parametrize("kind", ["resnet50, patch", "fully connected"])
    @pytest.mark.parametrize("how", ["script", "trace"])
    def test_it_travels_in_torchscript(self, how, kind):
        network = make(kind)
        image = torch.randn(1, 3, *KINDS[kind].get("image_size", (128, 128)))
        scripted = torch.jit.script(network) if how == "script" else torch.jit.trace(network, image)
        file = io.BytesIO()
        torch.jit.save(scripted, file)
        file.seek(0)
        assert decode_description(torch.jit.load(file).state_dict()["architecture"]) == architecture(network)

    def test_it_is_plain_bytes_of_json_and_no_pickle(self):
        buffer = make("heatmap").get_buffer("architecture")
        assert buffer.dtype == torch.uint8
        assert json.loads(bytes(buffer.tolist()))["heatmap"] == {}

    def test_it_is_no_parameter_and_is_left_alone_by_training(self):
        network = make("heatmap").train()
        assert "architecture" not in dict(network.named_parameters())
        before = network.get_buffer("architecture").clone()
        optimizer = torch.optim.Adam(network.parameter_groups(), lr=0.1, weight_decay=0.1)
        network(torch.randn(2, 3, 288, 288)).sum().backward()
        optimizer.step()
        assert torch.equal(network.get_buffer("architecture"), before)


class TestDefaults:
    def test_they_are_those_of_the_networks(self):
        names = {"patch_classes": "num_classes"}
        patch = inspect.signature(PatchClassifier).parameters
        whole = inspect.signature(WholeImageClassifier).parameters
        both = inspect.signature(make_classifier).parameters
        required = {"backbone", "top_blocks"}  # a recipe may leave them out, a network may not
        for key, default in ARCHITECTURE.items():
            owner = whole if key in ("top_blocks", "heatmap", "shortcut", "norm_eps") else patch
            parameter = owner[names.get(key, key)]
            if key in required:
                assert parameter.default is inspect.Parameter.empty
            else:
                assert (parameter.default or None) == (default or None), key
            if key in both and key not in required:
                assert (both[key].default or None) == (default or None), key

    def test_they_cannot_be_changed_by_mistake(self):
        with pytest.raises(TypeError):
            ARCHITECTURE["width"] = 2.0

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_key_that_makes_a_network_is_known_to_the_recipes(self, kind):
        not_in_recipes = {"num_classes", "image_size", "preparation"}  # two classes, and the data's own
        assert set(architecture(make(kind))) - not_in_recipes <= set(ARCHITECTURE)


class TestChoice:
    RECIPE = {  # noqa: RUF012 (never written to)
        "backbone": "resnet50",
        "width": 0.5,
        "top_blocks": ["512x1"],
        "shortcut": False,
        "batch_size": 2,
        "stages": [],
    }

    def chosen_from_recipe(self) -> dict[str, Any]:
        return {
            **ARCHITECTURE,
            **{key: value for key, value in self.RECIPE.items() if key not in ("batch_size", "stages")},
        }

    def test_without_a_checkpoint_the_recipe_says_it_and_defaults_fill_the_rest(self):
        assert choose_architecture(self.RECIPE) == self.chosen_from_recipe()
        assert choose_architecture({}) == dict(ARCHITECTURE)

    def test_an_absent_file_leaves_it_to_the_recipe(self, tmp_path):
        assert choose_architecture(self.RECIPE, tmp_path / "absent.pt") == self.chosen_from_recipe()

    def test_the_checkpoint_wins(self, checkpoint):
        said = read_architecture(checkpoint)
        chosen = choose_architecture(self.RECIPE, checkpoint, "checkpoint")
        assert chosen == {key: said[key] for key in ARCHITECTURE}
        assert (chosen["backbone"], chosen["width"], chosen["top_blocks"]) == ("vgg16", 0.0625, ["FC6", "FC4"])
        assert chosen["heatmap"] == {"pool_size": 2, "max_pool": 2}

    @pytest.mark.parametrize("weights", ["scratch", "imagenet", "some/file.pth", "https://example.org/vgg16.pth"])
    def test_a_checkpoint_that_training_does_not_start_from_counts_for_nothing(self, checkpoint, weights):
        assert choose_architecture(self.RECIPE, checkpoint, weights) == self.chosen_from_recipe()
        checkpoint.write_bytes(b"damaged")
        assert choose_architecture(self.RECIPE, checkpoint, weights) == self.chosen_from_recipe()

    def test_where_the_two_differ_it_is_told(self, checkpoint, caplog):
        with caplog.at_level(logging.INFO, LOGGER):
            choose_architecture(self.RECIPE, checkpoint)
        (line,) = (record.getMessage() for record in caplog.records)
        assert str(checkpoint) in line
        for part in ("backbone vgg16", "width 0.0625", "top_blocks ['FC6', 'FC4']", "shortcut True"):
            assert part in line
        assert "norm_eps" not in line

    def test_it_is_told_of_a_heatmap_that_the_recipe_does_not_mention(self, checkpoint, caplog):
        said = read_architecture(checkpoint)
        recipe = {key: said[key] for key in ("backbone", "width", "top_blocks", "shortcut")}
        with caplog.at_level(logging.INFO, LOGGER):
            choose_architecture(recipe, checkpoint)
        assert "heatmap" in caplog.text

    def test_where_they_agree_nothing_is_told(self, checkpoint, caplog):
        said = read_architecture(checkpoint)
        with caplog.at_level(logging.INFO, LOGGER):
            assert choose_architecture(said, checkpoint) == {key: said[key] for key in ARCHITECTURE}
        assert caplog.records == []

    def test_a_patch_classifiers_checkpoint_leaves_the_top_layers_to_the_recipe(self, tmp_path):
        torch.save(make("patch, pooled").state_dict(), tmp_path / "patch.pt")
        chosen = choose_architecture(self.RECIPE, tmp_path / "patch.pt")
        assert chosen["top_blocks"] == ["512x1"]
        assert (chosen["width"], chosen["patch_classes"], chosen["in_channels"]) == (0.0625, 3, 1)

    def test_a_checkpoint_that_says_nothing_leaves_it_to_the_recipe(self, tmp_path):
        state = make("heatmap").state_dict()
        del state["architecture"]
        torch.save(state, tmp_path / "old.pt")
        assert read_architecture(tmp_path / "old.pt") == {}
        assert choose_architecture(self.RECIPE, tmp_path / "old.pt") == self.chosen_from_recipe()

    def test_a_network_can_be_made_from_the_choice(self, checkpoint):
        network = make_classifier(**choose_architecture(self.RECIPE, checkpoint), image_size=(192, 192))
        load_weights(network, checkpoint)


class TestDamage:
    @pytest.mark.parametrize(
        "buffer",
        [
            pytest.param(torch.empty(0, dtype=torch.uint8), id="empty"),
            pytest.param(torch.tensor([255, 254], dtype=torch.uint8), id="no UTF-8"),
            pytest.param(torch.tensor(list(b'{"backbone": "vgg1'), dtype=torch.uint8), id="cut off"),
            pytest.param(torch.tensor(list(b'["vgg16"]'), dtype=torch.uint8), id="a list"),
            pytest.param(torch.tensor(list(b"3"), dtype=torch.uint8), id="a number"),
            pytest.param(torch.tensor([300, -1]), id="no bytes"),
            pytest.param(
                torch.tensor(list(b'{"width": 1.0}'), dtype=torch.float32),
                id="floats",
            ),
            pytest.param(
                torch.zeros(2, 2, dtype=torch.uint8),
                id="two dimensions",
            ),
        ],
    )
    def test_a_damaged_architecture_is_a_users_mistake_that_names_the_file(self, buffer, tmp_path):
        path = tmp_path / "damaged.pt"
        torch.save({**make("vgg16, patch").state_dict(), "architecture": buffer}, path)
        with pytest.raises(UserError, match=rf"{re.escape(str(path))} is damaged.*architecture"):
            read_architecture(path)
        with pytest.raises(UserError, match=rf"{re.escape(str(path))} is damaged"):
            choose_architecture({}, path)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"top_blocks": ["[8-8-8]x100000000"]}, "100000000 layers or more"),
            ({"top_blocks": ["8x1"] * 10_000}, "10000 layers or more"),
            ({"top_blocks": ["[8-8-100000]x1"]}, "100000 channels"),
            ({"top_blocks": [8]}, ""),
            ({"width": 1e6}, "1e[+]06 channels"),
            ({"width": [64, 64, 64, 64, 10**12]}, "1e[+]12 channels"),
            ({"in_channels": 10**9}, "1e[+]09 channels"),
            ({"width": 4000.0}, "does not fit"),
            ({"preparation": {"image_size": [2_000_000, 2_000_000]}}, "more than 134217728 pixels"),
            ({"preparation": {"patch_size": 10**6}}, "patch_size 1000000"),
            ({"preparation": [1]}, "invalid"),
            ({"image_size": [2_000_000, 2_000_000], "top_blocks": ["FC8"]}, "more than 134217728 pixels"),
        ],
        ids=str,
    )
    def test_a_size_that_the_weights_cannot_be_of_is_refused_before_anything_is_built(self, changes, message, tmp_path):
        network = make("vgg16, patch")
        buffer = encode_description({**architecture(network), **changes})
        torch.save({**network.state_dict(), "architecture": buffer}, tmp_path / "model.pt")
        with pytest.raises(UserError, match=rf"model\.pt.*{message}"):
            load_classifier(tmp_path / "model.pt")

    def test_an_architecture_that_is_nested_deeply_is_damaged(self, tmp_path):
        deep = torch.tensor(list(b"[" * 200_000), dtype=torch.uint8)
        torch.save({**make("vgg16, patch").state_dict(), "architecture": deep}, tmp_path / "model.pt")
        with pytest.raises(UserError, match=r"model\.pt is damaged"):
            read_architecture(tmp_path / "model.pt")

    def test_a_misfit_is_told_of_even_when_the_architecture_is_damaged(self, tmp_path):
        path = tmp_path / "damaged.pt"
        damaged = torch.tensor([255], dtype=torch.uint8)
        torch.save({**make("vgg16, patch").state_dict(), "architecture": damaged}, path)
        with pytest.raises(UserError, match="does not fit"):
            load_weights(PatchClassifier("vgg16", width=0.125), path)

    def test_a_checkpoint_keeps_the_networks_own_architecture_when_it_is_loaded(self, checkpoint):
        """An older file that says nothing, or says it in other words, must not change what the network says."""
        network = make("heatmap, fully connected")
        state = torch.load(checkpoint, weights_only=True)["model"]
        state["architecture"] = torch.tensor(list(b"{}"), dtype=torch.uint8)
        torch.save(state, checkpoint)
        expected = architecture(network)
        assert architecture(load_weights(network, checkpoint)) == expected != {}
