"""Reading the data list back, and what it refuses."""

import copy
import json

import numpy as np
import pytest
from PIL import Image

from monai_e2e.data.prepared.datalist import load_datalist, pixel_mean, preparation
from monai_e2e.errors import UserError


def sample(patient: str, label: int) -> dict:
    return {
        "image": f"images/{patient}.png",
        "label": label,
        "patient_id": patient,
        "laterality": "LEFT",
        "view": "CC",
        "lesions": [{"mask": f"masks/{patient}_1.png", "type": "mass", "pathology": "benign"}],
        "lesions_excluded": 0,
    }


DATALIST = {
    "name": "made-up",
    "image_size": [288, 224],
    "pixel_mean": 44.33,
    "training": [sample("a", 0), sample("b", 1)],
    "validation": [sample("c", 0), sample("d", 1)],
    "test": [sample("e", 0), sample("f", 0)],
}


@pytest.fixture
def datalist():
    return copy.deepcopy(DATALIST)


@pytest.fixture
def write(tmp_path):
    """Write a data list and the files of the made-up patients; returns the folder."""
    folder = tmp_path / "prepared"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for patient in "abcdef":
        for path in (f"images/{patient}.png", f"masks/{patient}_1.png"):
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / path)

    def write(content: dict):
        (folder / "datalist.json").write_text(json.dumps(content))
        return folder

    return write


def test_paths_are_absolute_and_the_rest_is_kept(write, datalist):
    folder = write(datalist)
    samples = load_datalist(folder, "training", (288, 224))
    assert [item["label"] for item in samples] == [0, 1]
    assert samples[0]["image"] == str(folder / "images" / "a.png")
    assert samples[0]["lesions"] == [{"mask": str(folder / "masks" / "a_1.png"), "type": "mass", "pathology": "benign"}]
    assert samples[0]["view"] == "CC"
    assert pixel_mean(folder) == 44.33


def test_missing_or_other_folders_name_the_next_step(tmp_path, write, datalist):
    with pytest.raises(UserError, match="no such folder; run `monai-e2e prepare"):
        load_datalist(tmp_path / "absent", "training")
    with pytest.raises(UserError, match=r"not a prepared folder \(no datalist\.json\).*monai-e2e prepare"):
        load_datalist(tmp_path, "training")
    folder = write(datalist)
    (folder / "datalist.json").write_text("{")
    with pytest.raises(UserError, match="not readable as JSON"):
        pixel_mean(folder)
    with pytest.raises(UserError, match="'image_size' is a required property"):
        pixel_mean(write({"training": []}))
    with pytest.raises(UserError, match="choose one of training, validation, test"):
        load_datalist(folder, "train")


def test_other_size_names_both_ways_out(write, datalist):
    expected = r"288×224, this config wants 1152×896: .*--image-size or pass --image_size '\[288,224\]'"
    with pytest.raises(UserError, match=expected):
        load_datalist(write(datalist), "training", [1152, 896])


def test_shared_patient_is_refused(write, datalist):
    datalist["test"][0]["patient_id"] = "a"
    with pytest.raises(UserError, match=r"datalist\.json: patient a is in both training and test"):
        load_datalist(write(datalist), "validation")


def test_partition_of_one_class_is_refused_unless_it_is_for_testing(write, datalist):
    assert len(load_datalist(write(datalist), "test")) == 2
    datalist["validation"][1]["label"] = 0
    with pytest.raises(UserError, match=r"partition validation has labels \[0\]"):
        load_datalist(write(datalist), "validation")


def test_folder_for_testing_alone_has_neither_mean_nor_training_images(write, datalist):
    folder = write(datalist | {"training": [], "validation": [], "pixel_mean": None})
    assert len(load_datalist(folder, "test")) == 2
    with pytest.raises(UserError, match="no training images, so no pixel mean; prepare"):
        pixel_mean(folder)
    with pytest.raises(UserError, match="partition training has no images"):
        load_datalist(folder, "training")


def in_training(**changes) -> dict:
    return {"training": [sample("a", 0) | changes, sample("b", 1)]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            in_training(label=2),
            r"datalist\.json: training\[0\]\.label: 2 is not one of \[0, 1\]; run `monai-e2e prepare",
        ),
        (in_training(label=[1]), r"training\[0\]\.label"),
        (in_training(patient_id=7), r"training\[0\]\.patient_id: 7 is not of type 'string'"),
        (in_training(image=None), r"training\[0\]\.image: None is not of type 'string'"),
        (in_training(image="images/\0.png"), r"'images/.x00\.png' is no usable path"),
        (in_training(image="images/\ud800.png"), "is no usable path"),
        (in_training(image="a" * 400), "is no usable path"),
        (in_training(lesions={}), r"training\[0\]\.lesions: {} is not of type 'array'"),
        (in_training(lesions=["mask"]), r"training\[0\]\.lesions\[0\]"),
        (in_training(lesions=[{"type": "mass"}]), "'mask' is a required property"),
        (in_training(mean=float("inf")), "Infinity is no number"),
        (in_training(mean=-1), r"training\[0\]\.mean"),
        (in_training(density=7), r"training\[0\]\.density"),
        (in_training(flags=["upscaled"]), r"training\[0\]\.flags"),
        (in_training(pixel_spacing="0.1"), r"training\[0\]\.pixel_spacing"),
        ({"training": {"a": 1}}, "training: {'a': 1} is not of type 'array'"),
        ({"training": [None]}, r"training\[0\]: None is not of type 'object'"),
        ({"image_size": "288x224"}, "image_size: '288x224' is not of type 'array'"),
        ({"image_size": [288]}, "image_size"),
        ({"pixel_mean": "44"}, "pixel_mean: '44' is not of type"),
        ({"pixel_mean": float("nan")}, "NaN is no number"),
        ({"classes": "cancer"}, "classes: 'cancer' is not of type 'array'"),
    ],
)
def test_values_of_other_types_are_refused_with_their_place(write, datalist, change, message):
    with pytest.raises(UserError, match=message):
        load_datalist(write(datalist | change), "training")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[]", "null", '"text"', "\0", "NaN"])
def test_other_json_is_refused(write, datalist, text):
    folder = write(datalist)
    (folder / "datalist.json").write_text(text)
    with pytest.raises(UserError, match=r"datalist\.json: "):
        load_datalist(folder, "training")


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "images/../../secret.png", "images/link.png"])
@pytest.mark.parametrize("where", ["image", "mask"])
def test_paths_out_of_the_folder_are_refused(write, datalist, path, where):
    if where == "image":
        datalist["training"][0]["image"] = path
    else:
        datalist["training"][0]["lesions"][0]["mask"] = path
    folder = write(datalist)
    (folder.parent / "secret.png").touch()
    (folder / "images" / "link.png").symlink_to(folder.parent / "secret.png")
    with pytest.raises(UserError, match="leads out of the folder"):
        load_datalist(folder, "training")


def test_absent_file_and_incomplete_sample_are_refused(write, datalist):
    folder = write(datalist)
    (folder / "images" / "b.png").unlink()
    with pytest.raises(UserError, match=r"b\.png is missing, though datalist\.json lists it"):
        load_datalist(folder, "training")
    del datalist["validation"][1]["label"]
    with pytest.raises(UserError, match="'label' is a required property"):
        load_datalist(write(datalist), "validation")


class TestFolds:
    @pytest.fixture
    def folder(self, write, datalist, tmp_path):
        """Six folds of one patient each; the data list is that of fold 0."""
        everything = datalist["training"] + datalist["validation"] + datalist["test"]
        for fold, entry in enumerate(everything):
            entry |= {"fold": fold // 2, "mean": 10.0 * fold, "label": fold % 2}
        datalist |= {"folds": 3, "test": everything[:2], "validation": everything[2:4], "training": everything[4:]}
        return write(datalist)

    def test_the_tested_fold_turns_the_partitions(self, folder):
        for fold, patients in enumerate(["ab cd ef", "cd ef ab", "ef ab cd"]):
            for name, expected in zip(("test", "validation", "training"), patients.split(), strict=True):
                assert "".join(s["patient_id"] for s in load_datalist(folder, name, fold=fold)) == expected
        assert load_datalist(folder, "test", fold=0) == load_datalist(folder, "test")

    def test_each_fold_has_the_mean_of_its_own_training_images(self, folder):
        assert [pixel_mean(folder, fold) for fold in range(3)] == [45.0, 5.0, 25.0]

    def test_folds_that_are_not_there_are_refused(self, folder, write, datalist):
        with pytest.raises(UserError, match=r"fold 3: .* has folds 0 to 2"):
            load_datalist(folder, "test", fold=3)
        datalist["training"][0]["fold"] = 5
        with pytest.raises(UserError, match=r"image images/e\.png has none of the 3 folds"):
            load_datalist(write(datalist), "test", fold=1)
        del datalist["folds"]
        with pytest.raises(UserError, match="not split into folds; prepare it with --protocol kfold"):
            pixel_mean(write(datalist), fold=0)


def test_preparation_is_what_later_images_need_too(write, datalist):
    usual = {"image_size": [288, 224], "voi_lut": False, "crop": None, "orient": None}
    chosen = {"voi_lut": True, "crop": "breast", "orient": "left"}
    assert preparation(write({**datalist, **chosen})) == {**usual, **chosen}
    assert preparation(write(datalist)) == usual  # as in folders of the versions that did not record it


class TestTrainingPatients:
    """A training on so many patients, drawn by the seed."""

    @pytest.fixture
    def prepared(self, tmp_path):
        names = [f"p{number:02}" for number in range(20)]
        samples = [{**sample(name, int(number % 4 == 0)), "mean": number} for number, name in enumerate(names)]
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir()
        for name in [*names, *"cdef"]:
            for path in (f"images/{name}.png", f"masks/{name}_1.png"):
                Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / path)
        (tmp_path / "datalist.json").write_text(json.dumps(DATALIST | {"training": samples}))
        return tmp_path

    def draw(self, prepared, patients, seed=0):
        return load_datalist(prepared, "training", training_patients=patients, seed=seed)

    def test_are_as_many_as_asked_for_with_the_positive_ones_in_their_share(self, prepared):
        for patients in (4, 8, 12, 20):
            drawn = self.draw(prepared, patients)
            assert (len(drawn), sum(item["label"] for item in drawn)) == (patients, patients // 4)

    def test_of_a_smaller_number_are_among_those_of_a_larger_and_others_of_another_seed(self, prepared):
        few, more, others = (
            {item["patient_id"] for item in self.draw(prepared, *draw)} for draw in ((8, 3), (12, 3), (8, 4))
        )
        assert few < more
        assert few != others

    def test_leave_the_other_partitions_alone_and_give_the_mean(self, prepared):
        assert len(load_datalist(prepared, "validation", training_patients=4)) == 2
        means = [item["mean"] for item in self.draw(prepared, 8)]
        assert pixel_mean(prepared, training_patients=8) == pytest.approx(np.mean(means), abs=1e-3)

    @pytest.mark.parametrize("patients", [0, 21])
    def test_that_are_not_there_are_refused_with_the_number_that_is(self, prepared, patients):
        with pytest.raises(UserError, match=f"training_patients {patients}: .* has 20 patients .* from 1 to 20"):
            self.draw(prepared, patients)
