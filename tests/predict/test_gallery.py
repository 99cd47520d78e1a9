"""The page of images: which image is in which group, and a page that holds all and asks for nothing."""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from monai_e2e.cli import main as cli
from monai_e2e.errors import UserError
from monai_e2e.metrics import write_predictions
from monai_e2e.predict.gallery import ROWS, choose_groups, write_gallery
from monai_e2e.predict.heatmaps import Heatmap, describe_format

SIZE = (96, 64)
#: Label and log-odds of each image; the threshold is 0.5, log-odds of 0.
IMAGES = {"a": (1, 3.0), "b": (1, 2.0), "c": (0, -4.0), "d": (0, 5.0), "e": (1, -1.0), "f": (0, 0.1)}


def rows_of(images=None):
    return [{"image": name, "label": label, "logit": logit} for name, (label, logit) in (images or IMAGES).items()]


def names(group):
    return [row["image"] for row in group.rows]


@pytest.fixture
def folders(tmp_path):
    """A prepared folder of six images, and results of predicting it."""
    prepared, results = tmp_path / "prepared", tmp_path / "results"
    for folder in (prepared / "images", prepared / "masks", results / "heatmaps"):
        folder.mkdir(parents=True)
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[20:40, 10:30] = 255
    samples, rows = [], []
    probabilities = np.full((5, 5, 3), 0.2, dtype=np.float32)
    for number, (name, (label, logit)) in enumerate(IMAGES.items()):
        image = np.tile(np.arange(SIZE[1], dtype=np.uint16) * 100 + 1000 * number, (SIZE[0], 1))
        Image.fromarray(image).save(prepared / f"images/{name}.png")
        Image.fromarray(mask).save(prepared / f"masks/{name}_1.png")
        lesion = {"mask": f"masks/{name}_1.png", "type": "mass", "pathology": "malignant", "drawn_as": "box"}
        place = {"patient_id": f"P<{number}>", "laterality": "LEFT", "view": "CC", "label": label}
        samples.append(
            {"image": f"images/{name}.png", "lesions": [lesion], "original_size": SIZE, "mean": 40.0, **place}
        )
        row = {"image": name, "logit": logit, "p_malignant": 1 / (1 + np.exp(-logit)), "threshold": 0.5}
        rows.append({**row, **place, "lesion_type": "mass"})
        np.save(results / f"heatmaps/{name}.npy", probabilities)
    (results / "heatmaps/format.json").write_text(describe_format(Heatmap(probabilities, 32, 16, SIZE)))
    datalist = {"image_size": SIZE, "pixel_mean": 40.0, "training": [], "validation": [], "test": samples}
    (prepared / "datalist.json").write_text(json.dumps(datalist))
    (results / "run.json").write_text(json.dumps({"settings": {"partition": "test", "fold": None}}))
    write_predictions(results / "predictions.csv", rows)
    return prepared, results


class TestGroups:
    def test_each_image_is_in_one_group_and_the_surest_come_first(self):
        found, spared, marked, missed, unsure = choose_groups(rows_of(), 0.0, 8)
        assert names(found) == ["a", "b"]
        assert names(spared) == ["c"]
        assert names(marked) == ["d"]
        assert names(missed) == ["e"]
        assert names(unsure) == ["f"]

    def test_no_group_shows_more_than_asked_for_but_counts_all(self):
        images = {f"image{number}": (1, 1.0 + number) for number in range(40)}
        found, *_, unsure = choose_groups(rows_of(images), 0.0, 3)
        assert (names(found), found.total) == (["image39", "image38", "image37"], 37)
        assert names(unsure) == ["image0", "image1", "image2"]

    def test_a_score_at_the_threshold_is_marked_as_in_the_scores(self):
        images = {"at": (0, 1.5), **{f"far{number}": (1, 100.0) for number in range(3)}}
        assert names(choose_groups(rows_of(images), 1.5, 8)[2]) == ["at"]


class TestPage:
    def test_holds_its_pictures_and_says_what_must_not_be_done_with_them(self, folders, tmp_path):
        prepared, results = folders
        write_gallery(results, prepared, tmp_path / "page")
        assert [path.name for path in (tmp_path / "page").iterdir()] == ["index.html"]
        text = (tmp_path / "page" / "index.html").read_text()
        assert "For research, not for diagnosis." in text
        assert "may not be passed on" in text
        assert text.count("data:image/jpeg;base64,") == len(IMAGES)
        assert not re.search(r'(src|href)="(?!data:)', text)
        assert "P&lt;0&gt; LEFT CC" in text
        assert "p(malignant) 0.95, above the threshold 0.50; labelled malignant, mass" in text
        assert "At the threshold 0.50 (the model's" in html.unescape(text)
        assert "2 of 3 malignant ones are marked, and 1 of 3 others are not" in text

    def test_a_picture_has_the_image_beside_its_heatmap_with_the_lesion_outlined(self, folders, tmp_path):
        prepared, results = folders
        write_gallery(results, prepared, tmp_path / "page")
        text = (tmp_path / "page" / "index.html").read_text()
        data = base64.b64decode(re.search(r'base64,([^"]+)"', text)[1])
        picture = np.asarray(Image.open(io.BytesIO(data))).astype(int)
        assert picture.shape[0] == ROWS
        left, right = picture[:, : picture.shape[1] // 2 - 8], picture[:, picture.shape[1] // 2 + 8 :]
        corner = (slice(ROWS - 100, None), slice(20, 80))
        assert np.ptp(left[corner].mean(axis=(0, 1))) < 6  # grey
        assert np.ptp(right[corner].mean(axis=(0, 1))) > 20  # under the heatmap's colour
        for half in (left, right):
            assert (half[..., 2] - half[..., 0]).max() > 60  # the outline is blue

    def test_the_command_takes_a_threshold_of_its_own(self, folders, tmp_path, capsys):
        prepared, results = folders
        arguments = ["gallery", str(results), str(prepared), str(tmp_path / "page"), "--threshold", "0.99"]
        assert cli.main([*arguments, "--per-group", "1"]) == 0
        assert "Wrong: malignant, but not marked: 1 of 3" in capsys.readouterr().out

    def test_images_without_threshold_are_refused(self, folders, tmp_path):
        prepared, results = folders
        text = (results / "predictions.csv").read_text().replace(",0.5,", ",,")
        (results / "predictions.csv").write_text(text)
        with pytest.raises(UserError, match=r"no threshold .*--threshold P"):
            write_gallery(results, prepared, tmp_path / "page")

    def test_results_without_heatmaps_or_of_other_images_are_refused(self, folders, tmp_path):
        prepared, results = folders
        (results / "heatmaps/a.npy").unlink()
        with pytest.raises(UserError, match=r"a\.npy: no heatmap .*--heatmap"):
            write_gallery(results, prepared, tmp_path / "page")
        text = (results / "predictions.csv").read_text().replace("\na,", "\nz,")
        (results / "predictions.csv").write_text(text)
        with pytest.raises(UserError, match=r"1 images aren't in .*z"):
            write_gallery(results, prepared, tmp_path / "page")

    @pytest.mark.parametrize("record", ["", "{}", '{"settings": {"partition": null, "fold": null}}'])
    def test_results_that_no_prepared_folder_gave_are_refused(self, folders, tmp_path, record):
        prepared, results = folders
        (results / "run.json").write_text(record)
        with pytest.raises(UserError, match=r"run\.json: (not written|results of images that aren't)"):
            write_gallery(results, prepared, tmp_path / "page")
