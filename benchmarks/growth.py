"""How time and memory grow with the number of images: prepare, an epoch of training, predict and score.

Run: ``OMP_NUM_THREADS=1 python benchmarks/growth.py [--images 250]``, for 1, 2 and 4 times as many images, and as many
rows of a table for each as ``--rows`` says. Noise in the shape of images, written as PNG; the command line of this
package, each command with one process. Times are of the processor. Where they are linear, a further image takes as long
from 1 × to 2 × as from 2 × to 4 ×; starting takes the same whatever their number.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from predict import write_images
from timing import record

#: Rows and columns as stored, and as prepared.
STORED, PREPARED = (576, 448), (288, 224)
TRAIN = Path(__file__).parents[1] / "bundles/ddsm_whole/configs/train.json"
EPOCH = '[{"name": "all layers", "trainable": ["*"], "lr": 0.0003, "epochs": 1}]'


def write_labels(path: Path, images: Path) -> None:
    """A patient for each two images, every second one positive."""
    names = sorted(image.stem for image in images.iterdir())
    rows = [f"{name},{number // 2 % 2},{number // 2}" for number, name in enumerate(names)]
    path.write_text("\n".join(["image,label,patient_id", *rows]) + "\n", encoding="utf-8")


def write_predictions(path: Path, rows: int) -> None:
    """Four images of each patient, whose scores tell a little."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.random(rows // 4) < 0.05, 4).astype(int)
    scores = 1 / (1 + np.exp(3 - labels - rng.normal(size=len(labels))))
    lines = (
        f"{number},{number // 4},{'LR'[number // 2 % 2]},{('CC', 'MLO')[number % 2]},{label},{score:.6f}"
        for number, (label, score) in enumerate(zip(labels, scores, strict=True))
    )
    path.write_text("\n".join(["image,patient_id,laterality,view,label,p_malignant", *lines]) + "\n", encoding="utf-8")


def commands(root: Path, count: int, rows: int) -> dict[str, list[str]]:
    """What is measured → its command, for images and a table that are written first."""
    images, labels, table = root / f"{count}", root / f"{count}.csv", root / f"rows-{rows}.csv"
    write_images(images, STORED, count)
    write_labels(labels, images)
    write_predictions(table, rows)
    ours, one_process = ["-m", "monai_e2e"], ["--image-size", "x".join(map(str, PREPARED)), "--workers", "1"]
    prepared, out = str(root / f"prepared-{count}"), root / f"out-{count}"
    training = ["-m", "monai.bundle", "run", "training", "--config_file", str(TRAIN), "--recipe", "phantom"]
    training += ["--dataset_dir", prepared, "--cache", "none", "--patch_checkpoint", "phantom-patch"]
    training += ["--stages", EPOCH, "--output_dir", f"{out}/eval", "--model_dir", f"{out}/models"]
    return {
        "prepare": [*ours, "prepare", "folder", str(images), prepared, "--labels", str(labels), *one_process],
        "an epoch": training,
        "predict": [*ours, "predict", "phantom-whole", str(images), f"{out}/predicted", "--workers", "0"],
        "score": [*ours, "score", str(table), "--out", f"{out}/scored"],
    }


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds of the processor that a command takes, and MiB of its process at most (Linux)."""
    peak = 0.0
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen([sys.executable, *command], stdout=printed, stderr=printed)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            peak = peak_memory(process.pid) or peak
            time.sleep(0.02)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            printed.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{printed.read().decode()}")
    return usage.ru_utime + usage.ru_stime, peak


def peak_memory(process: int) -> float:
    """MiB of a process at most until now, 0 of one that has ended.

    Its ``ru_maxrss`` would be at least that of this process, which it was for a moment.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--rows", type=int, default=200, help="rows of the scored table for each image")
    settings = parser.parse_args()
    counts = [times * settings.images for times in (1, 2, 4)]
    with tempfile.TemporaryDirectory() as folder:
        todo = {count: commands(Path(folder), count, settings.rows * count) for count in counts}
        found = {name: [measure(todo[count][name]) for count in counts] for name in todo[counts[0]]}
    print(f"{'':10} {'of':>24} {'seconds':>24} {'ms of a further one':>22} {'MiB':>18}")
    rows = []
    for name, measured in found.items():
        seconds, peaks = zip(*measured, strict=True)
        numbers = [count * (settings.rows if name == "score" else 1) for count in counts]
        further = np.diff(seconds) / np.diff(numbers) * 1000
        columns = [
            f"{' '.join(f'{number:,}' for number in numbers):>24}",
            f"{' '.join(f'{value:.1f}' for value in seconds):>24}",
            f"{' '.join(f'{value:.3g}' for value in further):>22}",
            f"{' '.join(f'{value:.0f}' for value in peaks):>18}",
        ]
        print(f"{name:10} {' '.join(columns)}", flush=True)
        rows += [
            {"name": name, "number": number, "s": second, "MiB": peak}
            for number, second, peak in zip(numbers, seconds, peaks, strict=True)
        ]
    record("growth", rows)


if __name__ == "__main__":
    main()
