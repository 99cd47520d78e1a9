"""What TensorBoard is given to show: which pictures, when, of what, and that training is the same without them."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import matplotlib.pyplot
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ROCAUC, ValidationHandler
from monai.visualize import GradCAM
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from monai_e2e.errors import UserError
from monai_e2e.handlers import binary_scores, figures, logit_of_positive, pictures
from monai_e2e.handlers.pictures import TrainingPictures, grad_cam
from monai_e2e.networks import PatchClassifier, WholeImageClassifier

SIZE, MEAN = (96, 64), 40.0
TOPS = {
    "residual": {"top_blocks": ["[4-4-8]x2"]},
    "VGG": {"top_blocks": ["4x1"]},
    "FC": {"top_blocks": ["FC8", "FC4"], "shortcut": True, "image_size": SIZE},
    "heatmap": {"top_blocks": ["4x1"], "heatmap": {"pool_size": 1}},
}
TAGS = {"train/images", "validation/roc", "validation/where_it_looks"}


def whole_image_net(top: str = "residual") -> WholeImageClassifier:
    torch.manual_seed(0)
    return WholeImageClassifier(PatchClassifier("vgg16", in_channels=1, width=0.0625), pixel_mean=MEAN, **TOPS[top])


def make_samples(folder: Path, labels: list[int]) -> list[dict]:
    """One image per label, two of each patient, positive ones with a lesion."""
    generator = torch.Generator().manual_seed(1)
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[20:30, 10:20] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return [
        {
            "image": torch.rand(1, *SIZE, generator=generator) * 255 - MEAN,
            "label": label,
            "image_path": f"/prepared/images/image{index}.png",
            "patient_id": f"P{index // 2}",
        }
        for index, label in enumerate(labels)
    ]


def lesions(folder: Path, samples: list[dict]) -> list[dict]:
    outline = {"mask": str(folder / "mask.png")}
    both = [{**outline, "pathology": "benign"}, {**outline, "pathology": "malignant"}]
    return [{"image": s["image_path"], "lesions": both if s["label"] == 1 else [outline]} for s in samples]


def train(
    folder: Path,
    network: nn.Module | None = None,
    labels: tuple[int, ...] = (0, 1, 1, 1, 1, 0),
    epochs: int = 2,
    validation_labels: tuple[int, ...] | None = None,
    attached: bool = True,
    lr: float = 1e-5,
    **arguments,
) -> EventAccumulator:
    """Train on a few images in batches of two and return what was written for TensorBoard."""
    network = whole_image_net() if network is None else network
    samples = make_samples(folder, list(labels))
    held_out = make_samples(folder, list(validation_labels or labels))
    binary = max(labels) < 2
    validator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(held_out, batch_size=2),
        network=network,
        key_val_metric={"val_auc": ROCAUC(output_transform=binary_scores)} if binary else None,
        decollate=False,
    )
    handlers = [ValidationHandler(1, validator)]
    if attached:
        arguments = {"samples": lesions(folder, held_out), "pixel_mean": MEAN, **arguments}
        handlers.append(
            TrainingPictures(network=network, validator=validator, log_dir=folder / "tensorboard", **arguments)
        )
    SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(samples, batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=lr),
        loss_function=nn.CrossEntropyLoss(),
        train_handlers=handlers,
        decollate=False,
    ).run()
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "tensors": 0, "scalars": 0})
    return events.Reload() if attached else events


@pytest.fixture
def drawn(monkeypatch) -> Callable[[str], list]:
    """What the drawing functions were called with; they draw nothing then, which is most of a training's time here."""
    spies: dict[str, Mock] = {}
    for name in ("draw_images", "draw_maps", "draw_confusion", "draw_roc"):
        spies[name] = Mock(side_effect=lambda _: Figure((1, 1)))
        monkeypatch.setattr(pictures, name, spies[name])
    return lambda name: [call.args[0] for call in spies[name].call_args_list]


class TestGradCam:
    @pytest.mark.parametrize("top", list(TOPS))
    def test_is_monais_for_every_kind_of_top(self, top):
        network = whole_image_net(top).eval()
        image = torch.rand(1, 1, *SIZE) * 255 - MEAN
        heat, log_odds = grad_cam(network, image)
        theirs = GradCAM(copy.deepcopy(network), "backbone")
        theirs.nn_module.class_score = lambda logits, _index: logit_of_positive(logits)
        assert heat.shape == (3, 2)
        np.testing.assert_allclose(heat, theirs.compute_map(image, class_idx=1)[0, 0].detach(), rtol=1e-4, atol=1e-7)
        assert log_odds == pytest.approx(float(logit_of_positive(network(image)).detach()), abs=1e-5)

    def test_leaves_nothing_on_the_network(self):
        network = whole_image_net().train()
        before = copy.deepcopy(network.state_dict())
        grad_cam(network, torch.rand(1, 1, *SIZE))
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
        assert all(module.training for module in network.modules())
        assert all(parameter.grad is None for parameter in network.parameters())
        assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())

    def test_works_where_every_layer_is_frozen(self):
        network = whole_image_net().requires_grad_(False)
        assert np.isfinite(grad_cam(network, torch.rand(1, 1, *SIZE))[0]).all()


class TestWhatIsWritten:
    def test_pictures_after_each_validation_and_the_training_images_once_all_of_them_small(self, tmp_path):
        events = train(tmp_path, images=3)
        assert set(events.Tags()["images"]) == TAGS
        steps = {tag: [image.step for image in events.Images(tag)] for tag in TAGS}
        assert steps == {"train/images": [2], "validation/roc": [1, 2], "validation/where_it_looks": [1, 2]}
        assert all(len(image.encoded_image_string) <= 200_000 for tag in TAGS for image in events.Images(tag))
        assert matplotlib.pyplot.get_fignums() == []

    def test_maps_come_at_the_interval(self, tmp_path, drawn):
        events = train(tmp_path, epochs=3, interval=2)
        assert [image.step for image in events.Images("validation/where_it_looks")] == [2]

    def test_patches_get_a_confusion_matrix_instead(self, tmp_path):
        network = PatchClassifier("vgg16", in_channels=1, width=0.0625, num_classes=3)
        events = train(tmp_path, network, labels=(0, 1, 2, 2), classes=["background", "benign", "malignant"])
        assert set(events.Tags()["images"]) == {"train/images", "validation/confusion"}
        assert [image.step for image in events.Images("validation/confusion")] == [1, 2]

    def test_hyper_parameters_as_a_table_and_beside_the_best_metric_so_far(self, tmp_path, drawn):
        stages = [{"trainable": ["head"], "lr": 0.1}, {"trainable": ["*"], "lr": 0.01}]
        values = {"batch_size": 2, "backbone": "vgg16", "amp": False, "stages": stages}
        events = train(tmp_path, epochs=2, hyper_parameters=values)
        table = events.Tensors("hyper-parameters/text_summary")[0].tensor_proto.string_val[0].decode()
        assert table.splitlines()[2:] == [
            "| batch_size | `2` |",
            "| backbone | `vgg16` |",
            "| amp | `false` |",
            '| stages 1 | `trainable ["head"], lr 0.1` |',
            '| stages 2 | `trainable ["*"], lr 0.01` |',
        ]
        best = [event.value for event in events.Scalars("validation/best_auc")]
        assert len(best) == 2
        assert best == sorted(best)
        assert "_hparams_/session_start_info" in events.summary_metadata

    def test_validation_with_one_class_has_no_curve_but_goes_on(self, tmp_path, caplog):
        with caplog.at_level(logging.WARNING):
            events = train(tmp_path, validation_labels=(1, 1))
        assert "validation/roc" not in events.Tags()["images"]
        assert [image.step for image in events.Images("validation/where_it_looks")] == [1, 2]
        assert "No ROC curve of epoch 2: the AUC needs positive and negative" in caplog.text

    def test_a_diverged_network_has_no_maps_but_ends_nothing(self, tmp_path, caplog):
        with caplog.at_level(logging.WARNING):
            events = train(tmp_path, lr=1e30)
        assert set(events.Tags()["images"]) == {"train/images"}
        assert "No maps of epoch 2" in caplog.text

    def test_training_is_the_same_with_and_without_pictures(self, tmp_path):
        states = []
        for attached in (True, False):
            network = whole_image_net("FC")
            train(tmp_path, network, attached=attached)
            states.append(network.state_dict())
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

    def test_other_ranks_write_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr("monai_e2e.handlers.pictures.rank", lambda: 1)
        with pytest.raises(Exception, match="tensorboard"):
            train(tmp_path, hyper_parameters={"lr": 1})
        assert not (tmp_path / "tensorboard").exists()


class TestWhatIsDrawn:
    def test_training_images_are_images_again_with_class_and_name(self, tmp_path, drawn):
        train(tmp_path, epochs=1, images=3, classes=["benign", "malignant"])
        (images,) = drawn("draw_images")
        assert [(label, name) for _, label, name in images] == [
            ("benign", "image0"),
            ("malignant", "image1"),
            ("malignant", "image2"),
        ]
        for (image, _, _), sample in zip(images, make_samples(tmp_path, [0, 1, 1]), strict=True):
            np.testing.assert_allclose(image, sample["image"][0] + MEAN, atol=1e-4)
            assert 0 <= image.min() <= image.max() <= 255

    def test_an_epoch_of_fewer_images_shows_those(self, tmp_path, drawn):
        train(tmp_path, images=100)
        assert [len(images) for images in drawn("draw_images")] == [6]

    def test_maps_are_of_images_of_both_classes_and_several_patients_the_same_each_time(self, tmp_path, drawn):
        train(tmp_path, mammograms=3)
        names = [[mammogram.title.split("\n")[0] for mammogram in mammograms] for mammograms in drawn("draw_maps")]
        assert names == [["image2", "image4", "image0"]] * 2  # 1, 3 and 5 are of the patients of those before them
        shown = drawn("draw_maps")[0]
        truths = [(mammogram.truth, mammogram.malignant) for mammogram in shown]
        assert truths == [("positive", True), ("positive", True), ("negative", False)]
        assert "p(positive) = 0." in shown[0].title

    def test_lesions_have_the_colour_of_their_pathology_and_without_it_of_the_image(self, tmp_path, drawn):
        train(tmp_path, epochs=1, mammograms=2)
        malignant, benign = drawn("draw_maps")[0]
        assert [is_malignant for _, is_malignant in malignant.lesions] == [False, True]
        assert [is_malignant for _, is_malignant in benign.lesions] == [False]
        assert figures.COLOURS == {True: "red", False: "limegreen"}

    def test_classes_of_training_images_have_the_colours_of_lesions(self):
        labels = ("malignant", "not malignant", "mass-malignant", "calcification-benign", "background", "label 1")
        figure = figures.draw_images([(np.zeros((8, 8)), label, "image") for label in labels])
        colours = [axes.title.get_color() for axes in figure.axes]
        assert colours == ["red", "limegreen", "red", "limegreen", "black", "black"]

    def test_losses_and_key_metrics_of_both_engines_share_a_chart(self, tmp_path, drawn):
        events = train(tmp_path)
        content = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
        for name in ("loss", "auc"):
            assert f"train/{name}".encode() in content
            assert f"validation/{name}".encode() in content

    def test_the_confusion_matrix_has_all_batches_and_names_without_classes_given(self, tmp_path, drawn):
        train(tmp_path, PatchClassifier("vgg16", in_channels=1, width=0.0625, num_classes=3), labels=(0, 1, 2, 2, 1))
        score = drawn("draw_confusion")[-1]
        assert np.array(score["confusion"]).sum(axis=1).tolist() == [1, 2, 2]
        assert score["classes"] == ["class 0", "class 1", "class 2"]

    def test_a_picture_of_many_details_is_made_coarser_until_it_is_small(self, tmp_path):
        noise = [(np.random.default_rng(0).uniform(0, 255, (288, 224)), "malignant", "image") for _ in range(8)]
        figure = figures.draw_images(noise)
        full = figure.get_size_inches()[0] * figures._DPI
        pixels = figures.as_pixels(figure)
        assert pixels.shape[1] < full
        Image.fromarray(pixels).save(tmp_path / "noise.png")
        assert (tmp_path / "noise.png").stat().st_size <= 200_000


def test_a_place_to_write_is_needed_by_the_rank_that_writes(monkeypatch):
    with pytest.raises(UserError, match="summary_writer or log_dir"):
        TrainingPictures()
    monkeypatch.setattr("monai_e2e.handlers.pictures.rank", lambda: 1)
    TrainingPictures()
