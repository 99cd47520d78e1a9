"""The commands of every page run, one after the other, in a folder with what the pages presuppose, all of it drawn.

What isn't run is marked in the page by a comment, which its readers don't see, with the reason: ``<!-- not run: … -->``
before a block, or before code in a sentence. A sentence's code with ``…`` is a pattern, and no command.
"""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from keras_models import whole_model, write_keras_h5
from PIL import Image
from release_files import write_xlsx
from test_cmmd import write_cmmd
from test_docs import BLOCK, PAGES, ROOT, text_of

from monai_e2e.data.phantom import write_cbis_ddsm, write_inbreast
from monai_e2e.shipped.bundles import BUNDLES, copy_bundle

#: The reason not to run it, a block's language and text, or code in a sentence.
CODE = re.compile(
    r"(?:<!-- not run: ([^>]+) -->\s+)?(?:^```(\w*)\n(.*?)^```|`([^`\n]+(?:\n[^`\n]+)?)`)", re.MULTILINE | re.DOTALL
)
#: A sentence's code that is to be typed: not just a command's name, and no installation, test suite or benchmark.
TYPED = re.compile(r"monai-e2e (models|describe)|monai-e2e \S+\s+\S|python -m monai\.bundle\s+\S")
#: As the phantoms' models have it.
SIZE = "--image-size 288x224"


def commands(page: str) -> list[str]:
    """What a page tells its reader to type, in its order and without what is marked; of a block all lines as one."""
    found = []
    for why_not, language, block, inline in CODE.findall(text_of(page)):
        if why_not:
            continue
        if language == "sh":
            lines = re.sub(r"\s+#.*", "", block.replace("\\\n", " ")).splitlines()
            found.append(" && ".join(quick(line) for line in lines if line.strip()))
        elif language == "python":
            found.append(f"python -c {shlex.quote(block)}")
        elif TYPED.match(inline) and "…" not in inline:
            found.append(quick(inline.replace("\n", " ")))
    return found


def quick(line: str) -> str:
    """A command with small images, if it names no size; of an experiment, which takes days, only the list of it."""
    if line.startswith("monai-e2e prepare") and "--image-size" not in line:
        return f"{line} {SIZE}"
    if "published/configs" in line:  # of a bundle that the page copies, so that its recipes are the paper's
        return f"{line} --image_size [288,224]"
    return f"{line} --dry-run" if line.startswith("monai-e2e experiment") else line


def run(line: str, folder: Path) -> None:
    """Run a line as a shell does, with this environment's programs first."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": programs}
    done = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def quick_bundle(name: str, folder: Path) -> None:
    """A bundle's copy with one epoch for each recipe, without pictures; the paper's is as small as the phantoms'."""
    copy_bundle(name, folder)
    config = json.loads((folder / "configs/train.json").read_text(encoding="utf-8"))
    recipes = config["recipes"]
    small = {"image_size", "patch_size", "backbone", "width", "top_blocks"} & recipes["phantom"].keys()
    recipes["paper"] |= {key: recipes["phantom"][key] for key in small}
    for recipe in recipes.values():
        recipe |= {"stages": [{"name": "one", "trainable": ["*"], "lr": 1e-4, "epochs": 1}], "num_workers": 0}
    if name == "ddsm_patch":
        recipes["paper"] |= {"weights": "scratch", "per_roi": 2}  # ImageNet weights are a download
    for handler in config["train"]["handlers"]:
        handler["_disabled_"] = handler.get("_disabled_", handler["_target_"].endswith("TrainingPictures"))
    (folder / "configs/train.json").write_text(json.dumps(config), encoding="utf-8")
    for path in (folder / "configs/train.json", folder / "configs/inference.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r'"patients": \d+', '"patients": 20', text), encoding="utf-8")


def write_images(folder: Path) -> None:
    """INbreast, and of two images of each of its patients ``IMAGES`` with tables, and a hospital's export."""
    write_inbreast(folder / "DOWNLOAD/INbreast", 20, rows=480, workers=2)
    with (folder / "DOWNLOAD/INbreast/INbreast.csv").open(encoding="ascii") as table:
        bi_rads = {row["File Name"]: row["Bi-Rads"] for row in csv.DictReader(table, delimiter=";")}
    patients: dict[str, list[Path]] = {}
    for path in sorted((folder / "DOWNLOAD/INbreast/AllDICOMs").iterdir()):
        patients.setdefault(path.name.split("_")[1], []).append(path)
    labels, lesions = ["image,label,patient_id"], ["image,type,pathology,x,y,width,height"]
    findings = [["Auftragsnummer", "BI-RADS", "Bemerkung"]]
    (folder / "IMAGES").mkdir()
    for number, paths in enumerate(patients.values(), 1):
        (folder / f"EXPORT/{number}").mkdir(parents=True)
        for path, kind in zip(paths[:2], ("mass", "calcification"), strict=True):
            if number <= 12:
                shutil.copy(path, folder / "IMAGES")
                labels.append(f"{path.stem},{number % 2},{number}")
                lesions.append(f"{path.stem},{kind},{'malignant' if number % 2 else 'benign'},200,200,60,60")
            image = pydicom.dcmread(path)
            image.PatientID, image.AccessionNumber, image.StudyInstanceUID = f"{number}", f"A{number}", f"1.2.{number}"
            image.save_as(folder / f"EXPORT/{number}/{path.name}")
            findings.append([f"A{number}", bi_rads[path.name.split("_")[0]], "–"])
    for name, lines in (("labels.csv", labels), ("truth.csv", labels), ("lesions.csv", lesions)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_xlsx(folder / "Befunde.xlsx", Befunde=findings)
    shutil.copytree(folder / "EXPORT/1", folder / "NEW-EXPORT")
    shutil.copy(path, folder / "image.dcm")


def write_real(folder: Path) -> None:
    """``CBIS`` and ``MIAS``, pictures of half of ``IMAGES`` with tables in the form that ``benchmarks/real`` reads."""
    validation = (ROOT / "benchmarks/real/validation_patients.txt").read_text(encoding="utf-8").split()
    images = ["image,patient_id,laterality,view,density,half,label"]
    boxes = ["image,type,pathology,x,y,width,height"]
    mias = ["image,patient,laterality,cls,severity,x,y_topleft,radius"]
    for name in ("CBIS", "MIAS"):
        (folder / name / "images").mkdir(parents=True)
    for number, path in enumerate(sorted((folder / "IMAGES").iterdir())[::2]):
        pixels = pydicom.dcmread(path).pixel_array
        image, side, malignant = f"mdb{number:03d}.png", "LR"[number % 2], number // 2 % 2
        for name in ("CBIS", "MIAS"):
            Image.fromarray((pixels / pixels.max() * 255).astype(np.uint8)).save(folder / name / "images" / image)
        patient = validation[number] if number % 3 == 1 else f"T{number}"
        images.append(f"{image},{patient},{side},MLO,2,{'test' if number % 3 == 2 else 'train'},{malignant}")
        boxes.append(f"{image},mass,{'malignant' if malignant else 'benign'},200,200,60,60")
        mias.append(f"{image},{number},{side},CIRC,{'M' if malignant else 'B'},200,200,30")
    mias[-1] = f"{image},{number},{side},NORM,,,,"
    for name, lines in (("CBIS/images.csv", images), ("CBIS/boxes.csv", boxes), ("MIAS/labels.csv", mias)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def furnished(tmp_path_factory) -> Path:
    """What the pages presuppose, by the names that they have there."""
    folder = tmp_path_factory.mktemp("furnished")
    write_images(folder)
    write_real(folder)
    write_cbis_ddsm(folder / "DOWNLOAD/CBIS-DDSM", 40, rows=480, workers=2)
    write_cmmd(folder / "DOWNLOAD/CMMD")
    for name in ("docs", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name)
    for name in BUNDLES:
        quick_bundle(name, folder / "bundles" / name)
    for source, options in (
        ("cbis-ddsm DOWNLOAD/CBIS-DDSM data/cbis-ddsm", ""),
        ("cbis-ddsm DOWNLOAD/CBIS-DDSM data/cbis-ddsm-folds", "--protocol kfold --folds 5"),
        ("inbreast DOWNLOAD/INbreast data/inbreast", ""),
    ):
        run(f"monai-e2e prepare {source} {SIZE} {options}", folder)
    shutil.copytree(folder / "data/inbreast", folder / "PREPARED")
    for name in ("ddsm_patch", "ddsm_whole"):
        config = f"bundles/{name}/configs/train.json"
        run(f"python -m monai.bundle run training --config_file {config} --dataset_dir data/cbis-ddsm", folder)
    run("monai-e2e predict bundles/ddsm_whole IMAGES other", folder)
    run("monai-e2e predict bundles/ddsm_whole data/cbis-ddsm validation", folder)
    for name in ("a", "b"):
        shutil.copytree(folder / "validation", folder / name)
    for name in ("model.pt", "other/model.pt"):
        shutil.copy(folder / "bundles/ddsm_whole/models/model.pt", folder / name)
    published = whole_model("resnet50", [("residual", (4, 4, 8), 1)] * 2, image_size=(288, 224))
    write_keras_h5(folder / "ddsm_resnet50.h5", published)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_a_mark_stands_before_code_and_a_block_says_what_it_is(page):
    """So whatever a shell or Python would run is either run here or marked."""
    text = text_of(page)
    found = CODE.findall(text)
    assert [(language, block) for _, language, block, inline in found if not inline] == BLOCK.findall(text)
    assert {language for _, language, _, _ in found} <= {"sh", "python", "json", ""}
    assert sum(bool(why_not) for why_not, *_ in found) == text.count("<!-- not run")
    assert not re.search(r"^ *<!--.*-->(?!\n```)", text, re.MULTILINE), "at a line's start it ends the paragraph"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_the_commands_of_a_page_run_one_after_the_other(page, furnished, tmp_path):
    shutil.copytree(furnished, tmp_path, dirs_exist_ok=True)
    place = tmp_path
    if page.startswith("bundles/"):  # of which the commands are typed in the bundle's folder
        place = tmp_path / Path(page).parts[0] / Path(page).parts[1]
        for name in ("IMAGES", "labels.csv", "lesions.csv"):
            (place / name).symlink_to(tmp_path / name)
        (place / "FOLDER").symlink_to(tmp_path / "IMAGES")
        download = "INbreast" if place.name == "inbreast_transfer" else "CBIS-DDSM"
        (place / "DOWNLOAD").symlink_to(tmp_path / "DOWNLOAD" / download)
    for line in commands(page):
        run(line, place)
