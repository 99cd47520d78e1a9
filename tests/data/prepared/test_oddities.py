"""Flags that an image's pixels, and the other images of its set, give it."""

import numpy as np
import pytest
from test_appearance import breast
from test_dicom import write_dicom

from monai_e2e.data.prepared.images import ImageTask, PreparedImage, prepare_image
from monai_e2e.data.prepared.oddities import flag_images
from monai_e2e.data.records import Laterality, Mammogram, View
from monai_e2e.predict.reading import ImageReader
from monai_e2e.predict.worklist import list_images


def prepared(patient, mean=50.0, pixels="a", instance="", label=0, flags=""):
    sample = {"patient_id": patient, "mean": mean, "label": label, "flags": flags}
    return PreparedImage(sample, [], pixels, instance)


@pytest.mark.parametrize(("mirrored", "told"), [(35, "set"), (9, "rows")])
def test_images_that_a_set_keeps_mirrored_are_a_fact_of_the_set(mirrored, told):
    images = [
        prepared(str(number), pixels=str(number), flags="no window;breast on the other side" * (number < mirrored))
        for number in range(100)
    ]
    notes = flag_images(images)
    flagged = sum("breast on the other side" in image.sample["flags"] for image in images)
    assert flagged == (0 if told == "set" else mirrored)
    assert sum(image.sample["flags"].startswith("no window") for image in images) == mirrored
    words = "images_with_the_breast_on_the_other_side,_mirrored_by_the_data_set_or_of_wrong_laterality"
    assert notes.get(words) == (mirrored if told == "set" else None)
    assert notes.get("images_flagged_breast on the other side") == (None if told == "set" else mirrored)


def test_images_that_are_alike_and_unusual_are_flagged_and_counted():
    images = [
        prepared("1", pixels="a", flags="no window"),
        prepared("2", pixels="a", label=1),
        prepared("3", pixels="b"),
        prepared("3", pixels="b"),
        prepared("4", pixels="c", instance="x"),
        prepared("4", pixels="d", instance="x", mean=3.7),
        PreparedImage(None, []),
    ]
    notes = flag_images(images)
    assert [image.sample["flags"] for image in images[:-1]] == [
        "no window;same pixels as another;same pixels, other patient;same pixels, other label",
        "same pixels as another;same pixels, other patient;same pixels, other label",
        "same pixels as another",
        "same pixels as another",
        "same instance as another",
        "brightness unusual;same instance as another",
    ]
    assert notes["images_flagged_same pixels as another"] == 4
    assert notes["images_flagged_same instance as another"] == 2
    assert notes["images_flagged_no window"] == 1


def test_a_half_of_a_set_that_is_far_darker_is_flagged():
    images = [prepared(str(number), mean=(3.7, 58)[number % 2], pixels=str(number)) for number in range(20)]
    assert flag_images(images)["images_flagged_brightness unusual"] >= 10


def test_a_prepared_image_has_the_flags_of_its_file_and_finds_them_again(tmp_path):
    pixels = (breast() * 4000).astype(np.uint16)
    path = write_dicom(
        tmp_path / "image.dcm", pixels, ImageLaterality="R", ViewPosition="CC", BreastImplantPresent="YES"
    )
    image = Mammogram(path, "1", Laterality.LEFT, View.CC, 0)
    task = ImageTask(image, tmp_path / "out", (64, 48), voi_lut=True)
    first = prepare_image(task)
    assert first.sample["flags"] == "implant;no window;side differs from header"
    assert first.pixels
    assert first.instance
    assert prepare_image(task) == first


def test_an_image_has_the_same_flags_when_it_is_prepared_as_when_it_is_checked_or_predicted(tmp_path):
    pixels = np.rint(breast()[::-1] * 4000).astype(np.uint16)
    path = write_dicom(tmp_path / "src" / "image.dcm", pixels, ImageLaterality="R", ViewPosition="MLO", PatientID="1")
    (listed,) = list_images(tmp_path / "src")
    read = ImageReader([], pictures=False)(listed)
    image = Mammogram(path, "1", Laterality.RIGHT, View.MLO, 0)
    prepared = prepare_image(ImageTask(image, tmp_path / "out", (64, 48)))
    assert {"breast on the other side", "perhaps upside down"} <= set(read.flags)
    assert prepared.sample["flags"].split(";") == [*listed.flags, *read.flags]


def test_an_image_of_which_nobody_says_the_side_is_flagged_when_it_is_prepared(tmp_path):
    path = write_dicom(tmp_path / "image.dcm", np.rint(breast() * 4000).astype(np.uint16), ViewPosition="XCCL")
    sample = prepare_image(ImageTask(Mammogram(path, "1", None, None, 0), tmp_path / "out", (64, 48))).sample
    assert sample["flags"].split(";")[:2] == ["side unknown", "other view position XCCL"]
