"""Patch sampling: overlaps by brute force, edges, repeatability, reuse."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_e2e.data.training import patches as patches_module
from monai_e2e.data.training.patch_centers import cut_patch, sample_background_centers, sample_patch_centers
from monai_e2e.data.training.patches import cut_patches
from monai_e2e.errors import UserError
from monai_e2e.work.locking import HeldError

SIZE, PATCH = (96, 72), 20


def overlap(mask: np.ndarray, center: np.ndarray, patch_size: int) -> float:
    """The definition, pixel by pixel."""
    window = cut_patch(mask, center, patch_size)
    return max(window.sum() / mask.sum(), window.sum() / patch_size**2)


def disc(row: float, column: float, radius: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


@pytest.mark.parametrize("mask", [disc(40, 30, 6), disc(40, 30, 25), disc(2, 1, 5), disc(50, 40, 0.5)])
def test_lesion_patches_reach_the_overlap_by_brute_force(mask):
    centers, cutoff = sample_patch_centers(mask, 30, PATCH, 0.9, np.random.default_rng(0))
    assert centers.shape == (30, 2)
    assert cutoff == 0.9
    assert all(overlap(mask, center, PATCH) >= 0.9 for center in centers)
    rows, columns = np.nonzero(mask)
    assert (centers.min(axis=0) >= [rows.min(), columns.min()]).all()
    assert (centers.max(axis=0) <= [rows.max(), columns.max()]).all()


def test_centres_cover_the_bounding_box_and_not_just_its_middle():
    mask = disc(48, 36, 30)
    centers, _ = sample_patch_centers(mask, 500, PATCH, 0.9, np.random.default_rng(0))
    assert np.ptp(centers, axis=0).min() > 30


def test_cutoff_falls_where_no_patch_can_reach_it():
    ring = disc(48, 36, 30) & ~disc(48, 36, 24)
    centers, cutoff = sample_patch_centers(ring, 10, PATCH, 0.9, np.random.default_rng(0))
    assert len(centers) == 10
    assert 0 < cutoff < 0.9
    best = max(overlap(ring, np.array([r, c]), PATCH) for r in range(18, 79) for c in range(6, 67))
    assert best < cutoff + 0.1
    assert all(overlap(ring, center, PATCH) >= cutoff for center in centers)


def test_background_stays_clear_of_every_lesion():
    masks = [disc(30, 20, 8), disc(70, 50, 12)]
    centers = sample_background_centers(masks, SIZE, 200, PATCH, 0.35, np.random.default_rng(0))
    assert len(centers) == 200
    assert max(overlap(mask, center, PATCH) for mask in masks for center in centers) < 0.35
    assert (centers >= 0).all()
    assert (centers < SIZE).all()


def test_search_for_background_ends_where_there_is_none():
    everything = np.ones(SIZE, bool)
    assert len(sample_background_centers([everything], SIZE, 5, 4, 0.01, np.random.default_rng(0))) == 0


def test_windows_beyond_the_edge_are_filled_with_zeros():
    image = np.arange(1, 13, dtype=np.uint16).reshape(3, 4)
    np.testing.assert_array_equal(cut_patch(image, (0, 0), 4), [[0] * 4, [0] * 4, [0, 0, 1, 2], [0, 0, 5, 6]])
    np.testing.assert_array_equal(cut_patch(image, (2, 3), 3), [[7, 8, 0], [11, 12, 0], [0] * 3])
    assert cut_patch(image, (1, 1), 9).sum() == image.sum()


LESIONS = {
    "a": [("mass", "malignant", disc(40, 30, 8))],
    "b": [("calcification", "benign", disc(20, 20, 3)), ("mass", "benign", disc(70, 40, 15))],
    "c": [("calcification", "malignant", disc(50, 50, 5))],
    "d": [],
}


@pytest.fixture
def prepared(tmp_path):
    """A prepared folder of four images whose lesions are brighter than their surroundings."""
    folder = tmp_path / "prepared"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    training = []
    for name, lesions in LESIONS.items():
        image = np.full(SIZE, 10000, np.uint16)
        entries = []
        for number, (kind, pathology, mask) in enumerate(lesions, start=1):
            image[mask] = 60000
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"masks/{name}_{number}.png")
            entries.append({"mask": f"masks/{name}_{number}.png", "type": kind, "pathology": pathology})
        Image.fromarray(image).save(folder / f"images/{name}.png")
        label = int(any(lesion[1] == "malignant" for lesion in lesions))
        training.append(
            {
                "image": f"images/{name}.png",
                "label": label,
                "patient_id": f"P{name}",
                "lesions": entries,
                "lesions_excluded": 0,
            }
        )
    content = {"image_size": SIZE, "pixel_mean": 40.0, "training": training, "validation": [], "test": []}
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder


def rewrite(folder: Path, change) -> None:
    content = json.loads((folder / "datalist.json").read_text())
    change(content["training"])
    (folder / "datalist.json").write_text(json.dumps(content))


def pixels(patch: dict) -> np.ndarray:
    with Image.open(patch["image"]) as image:
        return np.array(image)


def test_ten_patches_per_lesion_and_as_many_of_background(prepared, caplog):
    with caplog.at_level(logging.INFO):
        patches = cut_patches(prepared, "training", PATCH, workers=1)
    counts = np.bincount([patch["label"] for patch in patches], minlength=5)
    assert counts.tolist() == [40, 10, 10, 10, 10]
    assert "40 background, 10 calcification-benign" in caplog.text
    assert {patch["source"] for patch in patches} == {"a", "b", "c"}
    assert all(patch["patient_id"] == f"P{patch['source']}" for patch in patches)
    assert all(Path(patch["image"]).is_absolute() for patch in patches)
    assert all(pixels(patch).shape == (PATCH, PATCH) and pixels(patch).dtype == np.uint16 for patch in patches)


def test_patches_show_what_their_class_says(prepared):
    for patch in cut_patches(prepared, "training", PATCH, workers=1):
        bright = (pixels(patch) == 60000).sum()
        areas = [mask.sum() for *_, mask in LESIONS[patch["source"]]]
        if patch["label"]:
            assert bright >= 0.9 * min(*areas, PATCH**2) if len(areas) > 1 else bright >= 0.9 * areas[0]
        else:
            assert bright < 0.35 * sum(areas)


def test_patches_do_not_depend_on_workers_but_on_the_seed(prepared, tmp_path):
    first = cut_patches(prepared, "training", PATCH, patches_dir=tmp_path / "one", workers=1)
    second = cut_patches(prepared, "training", PATCH, patches_dir=tmp_path / "two", workers=2)
    assert [Path(p["image"]).relative_to(tmp_path / "one") for p in first] == [
        Path(p["image"]).relative_to(tmp_path / "two") for p in second
    ]
    assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(first, second, strict=True))
    third = cut_patches(prepared, "training", PATCH, seed=1, patches_dir=tmp_path / "one", workers=1)
    assert not all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(first, third, strict=True))


def test_same_arguments_reuse_and_other_data_does_not(prepared):
    first = cut_patches(prepared, "training", PATCH, workers=1)
    stamp = Path(first[0]["image"]).stat().st_mtime_ns
    assert cut_patches(prepared, "training", PATCH, workers=1) == first
    assert Path(first[0]["image"]).stat().st_mtime_ns == stamp
    rewrite(prepared, lambda training: training[0].update(view="MLO"))
    other = cut_patches(prepared, "training", PATCH, workers=1)
    assert Path(other[0]["image"]).parents[1] != Path(first[0]["image"]).parents[1]
    assert not list((prepared / "patches").glob(".*"))


def test_two_processes_that_cut_at_once_agree(prepared, monkeypatch):
    cut_all = patches_module._cut_all

    def second_while_first_works(*arguments):
        cut_all(*arguments)
        cut_all(*arguments)

    monkeypatch.setattr(patches_module, "_cut_all", second_while_first_works)
    assert len(cut_patches(prepared, "training", PATCH, workers=1)) == 80
    assert [path.name for path in (prepared / "patches").glob(".*")] == []


def test_patches_that_another_process_is_cutting_are_waited_for(prepared, monkeypatch):
    expected = cut_patches(prepared, "training", PATCH, workers=1)
    folder = Path(expected[0]["image"]).parents[1]
    elsewhere, pauses = folder.rename(prepared / "elsewhere"), []

    def held(_folder):
        raise HeldError("another process is writing to it")

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            elsewhere.rename(folder)

    monkeypatch.setattr(patches_module, "locked", held)
    monkeypatch.setattr(patches_module.time, "sleep", pause)
    assert cut_patches(prepared, "training", PATCH, workers=1) == expected
    assert len(pauses) == 2


def test_no_background_from_images_whose_masks_are_incomplete(prepared):
    rewrite(prepared, lambda training: training[1].update(lesions_excluded=1))
    patches = cut_patches(prepared, "training", PATCH, workers=1)
    assert sum(patch["label"] == 0 and patch["source"] == "b" for patch in patches) == 0
    assert sum(patch["label"] > 0 and patch["source"] == "b" for patch in patches) == 20


def test_lesions_of_unknown_class_give_no_patches_and_keep_background_away(prepared, caplog):
    rewrite(prepared, lambda training: training[0]["lesions"][0].update(pathology=None))
    rewrite(prepared, lambda training: training[1]["lesions"][1].update(type=None))
    with caplog.at_level(logging.INFO):
        patches = cut_patches(prepared, "training", PATCH, workers=1)
    assert "2 lesion(s) of unknown type or pathology" in caplog.text
    counts = np.bincount([patch["label"] for patch in patches], minlength=5)
    assert counts.tolist() == [20, 10, 10, 0, 0]
    background = [patch for patch in patches if patch["label"] == 0 and patch["source"] == "b"]
    assert len(background) == 10
    limit = 0.35 * sum(min(mask.sum(), PATCH**2) for *_, mask in LESIONS["b"])
    assert all((pixels(patch) == 60000).sum() < limit for patch in background)


def test_lists_without_any_lesion_of_known_class_are_refused(prepared):
    def forget(training):
        for sample in training:
            for lesion in sample["lesions"]:
                lesion.update(pathology=None)

    rewrite(prepared, forget)
    with pytest.raises(UserError, match="none of the 4 lesions of partition training has both type and pathology"):
        cut_patches(prepared, "training", PATCH)


@pytest.mark.parametrize(
    "arguments", [{"patch_size": 0}, {"per_roi": 0}, {"min_overlap": 0}, {"max_background_overlap": 2}, {"seed": -1}]
)
def test_arguments_out_of_range_are_refused(prepared, arguments):
    with pytest.raises(UserError, match=next(iter(arguments))):
        cut_patches(prepared, "training", **arguments)


def test_images_without_lesions_give_no_patches(prepared):
    rewrite(prepared, lambda training: [sample.update(lesions=[]) for sample in training])
    with pytest.raises(UserError, match=r"no lesions in partition training.*image labels alone.*inbreast_transfer"):
        cut_patches(prepared, "training", PATCH)
