"""Loading models: by folder or file, under names of their own, with mistakes that say what to do."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from monai_e2e.errors import UserError
from monai_e2e.networks import PatchClassifier, WholeImageClassifier
from monai_e2e.predict.engines import Engine
from monai_e2e.predict.models import choose_models, load_model

CONFIGS = Path(__file__).parents[2] / "bundles" / "ddsm_whole" / "configs"
CPU = torch.device("cpu")


@pytest.fixture
def bundle(tmp_path):
    """A bundle with an untrained network for images of 64 × 64."""
    torch.manual_seed(0)
    preparation = {"image_size": [64, 64], "voi_lut": True}
    network = WholeImageClassifier(
        PatchClassifier("vgg16", width=0.0625), ["8x1"], pixel_mean=30.0, preparation=preparation
    )
    shutil.copytree(CONFIGS, tmp_path / "ddsm_whole" / "configs")
    (tmp_path / "ddsm_whole" / "models").mkdir()
    torch.save(network.state_dict(), tmp_path / "ddsm_whole" / "models" / "model.pt")
    return tmp_path / "ddsm_whole"


def test_the_checkpoint_and_not_the_recipe_says_how_images_are_prepared(bundle, tmp_path):
    image = tmp_path / "image.png"
    Image.fromarray(np.arange(4000, dtype=np.uint16).reshape(80, 50) * 16).save(image)
    for path in (bundle, bundle / "models" / "model.pt"):
        model = load_model(path, CPU, "SRC")
        assert model.preprocessing({"image": str(image)})["image"].shape[1:] == (64, 64)
        assert model.preprocessing.transforms[0].loader.voi_lut
        assert model.name == "ddsm_whole"
        assert not model.network.training


def test_a_checkpoint_in_a_folder_that_says_nothing_is_called_after_its_card_or_what_it_is(bundle, tmp_path):
    (tmp_path / "seed0").mkdir()
    path = shutil.copy(bundle / "models" / "model.pt", tmp_path / "seed0" / "model.pt")
    assert load_model(path, CPU, "SRC").name.startswith("vgg16 ")
    (tmp_path / "seed0" / "card.json").write_text('{"name": "Small VGG"}')
    assert load_model(path, CPU, "SRC").name == "Small VGG"


def test_no_phantoms_are_drawn_for_a_bundle(bundle, monkeypatch):
    monkeypatch.setattr("monai_e2e.data.phantom_dataset", lambda **_: pytest.fail("phantoms were drawn"))
    load_model(bundle, CPU, "SRC")


def test_nothing_of_a_bundles_config_is_run_where_the_weights_alone_are_wanted(bundle, tmp_path):
    config = bundle / "configs" / "inference.json"
    mark = tmp_path / "was run"
    content = json.loads(config.read_text())
    content["network"] = f"$open({str(mark)!r}, 'w') and {content['network'][1:]}"
    config.write_text(json.dumps(content))
    (model,), _ = choose_models([bundle], False, CPU, "SRC", weights_only=True)
    assert model.name == "ddsm_whole"
    assert not mark.exists()
    load_model(bundle, CPU, "SRC")
    assert mark.exists()


def test_the_patch_bundle_beside_a_model_gives_its_weights_and_its_config_is_not_run(bundle, tmp_path):
    beside = tmp_path / "ddsm_patch"
    (beside / "models").mkdir(parents=True)
    (beside / "configs").mkdir()
    (beside / "configs" / "inference.json").write_text('{"network": "$1 / 0"}')
    preparation = {"image_size": [64, 64], "patch_size": 32}
    torch.save(PatchClassifier("vgg16", width=0.0625, preparation=preparation).state_dict(), beside / "models/model.pt")
    _, patch_model = choose_models([bundle], True, CPU, "SRC")
    assert patch_model.name == "ddsm_patch"
    with pytest.raises(UserError, match=r"is a patch classifier, .* such as cbis-mass$"):  # which predict does know
        choose_models([beside / "models/model.pt"], True, CPU, "SRC")


def test_images_of_different_sizes_are_scored_as_each_alone(bundle):
    model = load_model(bundle, CPU, "SRC")
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(3, rows, 64)).astype(np.float32) for rows in (64, 96, 64)]
    alone = torch.cat([model.infer([image], Engine(CPU)) for image in images])
    torch.testing.assert_close(model.infer(images, Engine(CPU)), alone)


def test_flips_go_as_one_batch_until_the_memory_does_not_suffice(bundle):
    model, image = load_model(bundle, CPU, "SRC"), np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    sizes = []

    class Small(Engine):
        def __call__(self, model, images):
            sizes.append(len(images))
            if len(images) > 1:
                raise torch.OutOfMemoryError
            return super().__call__(model, images)

    engine = Small(CPU)
    engine.flips_together = True
    for _ in range(2):
        found = model.infer([image], engine, flips=True)
    torch.testing.assert_close(found, model.infer([image], Engine(CPU), flips=True))
    assert sizes == [4, *[1] * 8]


def test_models_of_one_name_are_told_apart_and_one_model_is_not_counted_twice(bundle, tmp_path):
    other = tmp_path / "other" / "ddsm_whole"
    shutil.copytree(bundle, other)
    state = torch.load(other / "models" / "model.pt")
    state["head.bias"] += 1
    torch.save(state, other / "models" / "model.pt")
    models, _ = choose_models([bundle, other], False, CPU, "SRC")
    assert models[0].name == "ddsm_whole"
    assert models[1].name == f"ddsm_whole-{models[1].digest['checkpoint'][:8]}"
    with pytest.raises(UserError, match="is named twice"):
        choose_models([bundle, bundle], False, CPU, "SRC")


def test_what_is_no_model_is_named_with_what_would_be(bundle, tmp_path):
    (tmp_path / "text.pt").write_text("no checkpoint")
    (bundle / "models" / "model.pt").unlink()
    for path, message in (
        (tmp_path / "absent", "no such model"),
        (tmp_path, "no configs/inference.json"),
        (bundle, "no checkpoint at models/model.pt"),
        (tmp_path / "text.pt", "can't be read as plain tensors"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            load_model(path, CPU, "SRC")
        assert str(path) in str(caught.value)


def test_a_config_that_fails_is_a_users_mistake_that_names_it(bundle):
    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text())
    config["preprocessing"]["transforms"][1]["_target_"] = "NoSuchTransform"
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"inference.json.*can't be run"):
        load_model(bundle, CPU, "SRC")
