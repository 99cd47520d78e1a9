"""Write and run the tutorial: ``python docs/tutorial.py`` makes ``docs/tutorial.ipynb``, with its pictures.

The notebook's text and code stand here, where changes to them can be read. It runs for one to three minutes.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

NOTEBOOK = Path(__file__).with_suffix(".ipynb")
SECONDS = 1800  # the most that one cell may take, on a machine that does much else

#: The cells, alternately text and code.
CELLS = (
    """
    # Tutorial: from a drawn mammogram to a scored model

    Everything here uses *phantoms*, mammograms that are drawn by a program, so you need no data. It takes one to
    three minutes. With real mammograms the steps are the same, with other folders. **For research, not for diagnosis.**

    You need `pip install -c constraints.txt .` in the folder of the repository, and Jupyter.
    """,
    """
    import csv
    import os
    import sys
    import tempfile

    import matplotlib.pyplot as plt
    import numpy as np
    import torch

    %matplotlib inline
    %config InlineBackend.figure_formats = ["jpeg"]
    plt.rcParams["figure.dpi"] = 80
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]  # this Python's commands
    work = tempfile.TemporaryDirectory(prefix="tutorial-")  # removed when the notebook ends
    %cd -q {work.name}
    """,
    """
    ## 1. Data

    `phantom` draws a data set with CBIS-DDSM's folders, tables and DICOM files. `prepare` turns such a download into
    the folder that training reads: images of one size, lesion masks, the split by patient, and a report. In a
    terminal you can write `monai-e2e` in place of `python -m monai_e2e`.
    """,
    """
    !python -m monai_e2e phantom cbis-ddsm download --patients 40 --seed 7 2> log.txt
    !python -m monai_e2e prepare cbis-ddsm download prepared --protocol official --image-size 288x224 2> log.txt
    !head -n 20 prepared/report.md
    """,
    """
    The data list has for each image what is known about it: label (1: malignant), patient, side, view and lesions.
    """,
    """
    from monai_e2e.data import load_datalist
    from monai_e2e.transforms import LoadMammogram

    samples = load_datalist("prepared", "test", (288, 224))
    load = LoadMammogram()

    shown = [next(sample for sample in samples if (sample["label"], sample["view"]) == kind)
             for kind in ((1, "CC"), (1, "MLO"), (0, "CC"), (0, "MLO"))]

    figure, panels = plt.subplots(1, 4, figsize=(10, 3.6))
    for panel, sample in zip(panels, shown, strict=True):
        panel.imshow(load(sample["image"])[0], cmap="gray")
        for lesion in sample["lesions"]:
            panel.contour(plt.imread(lesion["mask"]) > 0, levels=[0.5], colors="cyan", linewidths=1)
        panel.set_title(f"label {sample['label']}: {sample['laterality']} {sample['view']}", fontsize=9)
        panel.axis("off")
    """,
    """
    ## 2. Patches

    The first network sees small patches: background, and benign and malignant calcifications and masses. Training it
    takes some minutes, with the bundle `ddsm_patch`. Here we take `phantom-patch`, a model that comes with the package
    and was trained with that bundle.
    """,
    """
    from monai_e2e.data import PATCH_CLASSES, cut_patches
    from monai_e2e.networks import load_classifier
    from monai_e2e.shipped.models import find_model

    patches = cut_patches("prepared", "test", patch_size=64, per_roi=2)
    patch_net = load_classifier(find_model("phantom-patch")).eval()


    def network_input(image):
        \"\"\"A grey image [1, H, W] as the networks take it: [1, 3, H, W], less the training images' mean.\"\"\"
        return (image.as_tensor() - patch_net.pixel_mean).repeat(3, 1, 1)[None]


    with torch.inference_mode():
        guesses = [int(patch_net(network_input(load(patch["image"])))[0].argmax()) for patch in patches]
    right = np.mean([guess == patch["label"] for guess, patch in zip(guesses, patches, strict=True)])
    print(f"{right:.0%} of {len(patches)} patches right")

    figure, panels = plt.subplots(1, 5, figsize=(10, 2.6))
    for label, panel in enumerate(panels):
        index = next(index for index, patch in enumerate(patches) if patch["label"] == label)
        panel.imshow(load(patches[index]["image"])[0], cmap="gray")
        panel.set_title(f"{PATCH_CLASSES[label]}\\ntaken for {PATCH_CLASSES[guesses[index]]}", fontsize=7)
        panel.axis("off")
    """,
    """
    ## 3. From patch to whole image

    A convolution works on inputs of any size. The backbone of the patch classifier gives a small map for a patch, and a
    larger map for a whole image, with the same weights. `WholeImageClassifier` adds more layers on top.
    """,
    """
    from monai_e2e.networks import WholeImageClassifier

    image = load(samples[0]["image"])
    with torch.inference_mode():
        for name, pixels in (("patch", image[:, :64, :64]), ("whole image", image)):
            maps = patch_net.backbone(network_input(pixels))
            print(f"{name}: {tuple(pixels.shape[1:])} pixels > {maps.shape[1]} maps of {tuple(maps.shape[2:])}")
    whole_net = WholeImageClassifier(patch_net, ["64x1"], image_size=(288, 224))
    print("stages that a training can unfreeze:", ", ".join(whole_net.stages))
    """,
    """
    ## 4. Train the whole-image classifier

    This is the bundle `ddsm_whole`. It starts from the patch classifier and needs only image labels. Two epochs on a
    few phantoms show how a training runs, not what it can reach. Any key of the config can be set on the command line.
    """,
    """
    !python -m monai_e2e bundle ddsm_whole ddsm_whole
    !python -m monai.bundle run training --config_file ddsm_whole/configs/train.json --dataset_dir prepared \\
        --recipe phantom --patch_checkpoint phantom-patch --train#trainer#max_epochs 2 > training.txt 2>&1
    !grep -o "Epoch [12], .*" training.txt
    """,
    """
    ## 5. Heatmap

    With its last layer, the patch classifier is applied at every position of the whole image in one pass. The result is
    the probability of each class in each window. The centre of a window is the place of its value in the image.
    """,
    """
    from monai_e2e.inferers import HeatmapInferer, upsample_heatmap

    sample = next(sample for sample in samples if sample["label"])
    image = load(sample["image"])
    infer = HeatmapInferer(window=64)
    with torch.inference_mode():
        classes = infer(network_input(image), patch_net)[0].softmax(dim=0).numpy()
    malignant = sum(classes[k] for k, name in enumerate(PATCH_CLASSES) if name.endswith("malignant"))
    print(f"map of {malignant.shape} windows for {tuple(image.shape[1:])} pixels")

    figure, panels = plt.subplots(1, 3, figsize=(9, 4))
    panels[0].imshow(image[0], cmap="gray")
    for lesion in sample["lesions"]:
        panels[0].contour(plt.imread(lesion["mask"]) > 0, levels=[0.5], colors="cyan", linewidths=1)
    panels[1].imshow(malignant, vmin=0, vmax=1, cmap="hot")
    panels[2].imshow(image[0], cmap="gray")
    enlarged = upsample_heatmap(malignant, image.shape[1:], 64, patch_net.backbone.stride)
    panels[2].imshow(enlarged, vmin=0, vmax=1, cmap="hot", alpha=0.5)
    for panel, title in zip(panels, ("image and lesion", "malignant, each window", "both"), strict=True):
        panel.set_title(title)
        panel.axis("off")
    """,
    """
    ## 6. Predict and score

    `predict` classifies a folder, here the test patients of the prepared one, with `phantom-whole`, which was trained
    longer than ours. A model has a record of the patients that it was trained on, and `predict` refuses to evaluate it
    on them. Phantoms of different seeds have the same ids but are different patients, so we pass `--allow-seen`.
    """,
    """
    !python -m monai_e2e predict phantom-whole prepared results --heatmap --allow-seen 2> log.txt
    !python -m monai_e2e score results/predictions.csv
    """,
    """
    There are few test patients, so the intervals are wide. `results/report.html` has all figures on one page. Here are
    the overlay of the image with the highest score, and the ROC curves:
    """,
    """
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.5), width_ratios=[2, 1])
    with open("results/predictions.csv", encoding="utf-8") as file:
        highest = max(csv.DictReader(file), key=lambda row: float(row["logit"]))["image"]
    for panel, picture in zip(panels, (f"results/overlays/{highest}.png", "results/roc.png"), strict=True):
        panel.imshow(plt.imread(picture))
        panel.axis("off")
    """,
    """
    ## Next

    - Your own mammograms: `monai-e2e prepare folder IMAGES PREPARED --labels labels.csv`, see [Your data](data.md).
    - A model of real mammograms: `monai-e2e predict cbis-mass IMAGES results --heatmap`, see
      [Use the model](results.md).
    - Longer trainings, every key, several GPUs: [Training](training.md).
    """,
)


def notebook() -> nbformat.NotebookNode:
    """The notebook before it is run."""
    cells = []
    for number, text in enumerate(CELLS):
        make = new_code_cell if number % 2 else new_markdown_cell
        cells.append(make(textwrap.dedent(text).strip(), id=f"cell-{number}"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def run(made: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run all cells in ``folder``; a cell that fails raises nbclient's ``CellExecutionError``."""
    where = {"metadata": {"path": str(folder)}}
    return NotebookClient(made, timeout=SECONDS, kernel_name="python3", resources=where).execute()


def main() -> None:
    made = run(notebook(), NOTEBOOK.parent)
    for cell in made.cells:
        cell.metadata.clear()  # the times of this run
        cell.get("outputs", [])[:] = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"]
    made.metadata["language_info"] = {"name": "python"}
    nbformat.validate(made)
    NOTEBOOK.write_text(nbformat.writes(made) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
