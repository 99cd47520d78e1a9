"""Time the preparation of full-size images by two worker processes and by a plain loop on one core, side by side.

Run: ``OMP_NUM_THREADS=1 python benchmarks/prepare.py``. Makes synthetic DICOM images of 4608 × 3000 pixels with a mask
each in a temporary folder, then prepares them by turns both ways. Prints images per second of both, the median of their
ratio with its spread, the processor time of both on one core, which other work on the machine hardly changes, and the
largest memory of the worker processes. That starting the workers takes a second at first isn't counted; later runs fork
them in a tenth of one, which is.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from monai_e2e.data.prepared.images import FINISHED, ImageTask, prepare_image
from monai_e2e.data.records import Lesion, LesionType, Mammogram, Pathology
from monai_e2e.work.parallel import run_parallel

ORIGINAL_SIZE = (4608, 3000)
IMAGE_SIZE = (1152, 896)
#: So many are drawn; the others are the same under other names.
DRAWN = 8


def plain_loop(pairs: list[tuple[Path, Path]], out: Path) -> None:
    """What one would write first: the same pictures, one after the other, with the libraries' defaults."""
    rows, columns = IMAGE_SIZE
    for image, mask in pairs:
        pixels = pydicom.dcmread(image).pixel_array.astype(np.float32)
        pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min())
        resized = np.array(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BICUBIC))
        Image.fromarray((np.clip(resized, 0, 1) * 65535).astype(np.uint16)).save(out / f"{image.stem}.png")
        lesion = Image.fromarray(pydicom.dcmread(mask).pixel_array)
        lesion.resize((columns, rows), Image.Resampling.NEAREST).save(out / f"{mask.stem}.png")


def prepare(pairs: list[tuple[Path, Path]], out: Path, workers: int) -> None:
    """The same by this package."""
    for name in ("images", "masks", FINISHED):
        (out / name).mkdir()
    tasks = []
    for image, mask in pairs:
        lesion = Lesion(LesionType.MASS, Pathology.BENIGN, 1, (mask,))
        tasks.append(ImageTask(Mammogram(image, image.stem, None, None, 0, (lesion,)), out, IMAGE_SIZE))
    results = run_parallel(prepare_image, tasks, workers, "preparing")
    if any(result.sample is None or result.excluded for result in results):
        raise SystemExit(f"images or masks were left out: {results}")


def make_images(folder: Path, count: int) -> list[tuple[Path, Path]]:
    """Images with a breast of cloudy tissue, grain everywhere, and the mask of a lesion."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: ORIGINAL_SIZE[0], : ORIGINAL_SIZE[1]].astype(np.float32)
    breast = (
        1 - ((rows - ORIGINAL_SIZE[0] / 2) / (0.45 * ORIGINAL_SIZE[0])) ** 2 - (columns / (0.7 * ORIGINAL_SIZE[1])) ** 2
    )
    lesion = (rows - 2000) ** 2 + (columns - 900) ** 2 < 150**2
    pairs = []
    for number in range(min(count, DRAWN)):
        clouds = Image.fromarray(rng.random((72, 47), np.float32)).resize(ORIGINAL_SIZE[::-1], Image.Resampling.BICUBIC)
        tissue = np.sqrt(np.clip(breast, 0, 1)) * (15000 + 30000 * np.asarray(clouds))
        image = np.clip(2000 + tissue + rng.normal(0, 300, ORIGINAL_SIZE), 0, 65535).astype(np.uint16)
        pair = folder / f"image{number}.dcm", folder / f"mask{number}.dcm"
        write_dicom(pair[0], image)
        write_dicom(pair[1], lesion.astype(np.uint8) * 255)
        pairs.append(pair)
    for number in range(DRAWN, count):
        pair = folder / f"image{number}.dcm", folder / f"mask{number}.dcm"
        for drawn, link in zip(pairs[number % DRAWN], pair, strict=True):
            os.link(drawn, link)
        pairs.append(pair)
    return pairs


def write_dicom(path: Path, pixels: np.ndarray) -> None:
    """A minimal uncompressed file."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalMammographyXRayImageStorageForPresentation, generate_uid()
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)


class PeakMemory:
    """Largest sum of the resident memory of this process's children, in bytes, while the block runs (Linux).

    Pages that processes share are counted for each, so the true figure is smaller.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._stopped.wait(0.2):
            self.peak = max(self.peak, sum(_resident_pages(child) for child in _children(os.getpid())) * page)


def _children(process: int) -> list[int]:
    """Ids of the processes below a process."""
    try:
        threads = Path(f"/proc/{process}/task").glob("*/children")
        direct = [int(word) for thread in threads for word in thread.read_text().split()]
    except OSError:
        return []
    return direct + [deeper for child in direct for deeper in _children(child)]


def _resident_pages(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0  # it has just ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, PeakMemory() as memory:
        root = Path(temporary)
        pairs = make_images(root, arguments.images)

        def seconds(clock, function, images: list[tuple[Path, Path]], *options: int) -> float:
            with tempfile.TemporaryDirectory(dir=root) as out:
                start = clock()
                function(images, Path(out), *options)
                return clock() - start

        few = pairs[:DRAWN]
        seconds(time.perf_counter, prepare, few, arguments.workers)  # starts the workers
        walls, processor = [], []
        for _ in range(arguments.repeats):
            ours = seconds(time.perf_counter, prepare, pairs, arguments.workers)
            walls.append((seconds(time.perf_counter, plain_loop, pairs), ours))
            ours = seconds(time.process_time, prepare, few, 1)  # one worker is this process
            processor.append((seconds(time.process_time, plain_loop, few), ours))
    count = arguments.images
    print(f"{count} images of {ORIGINAL_SIZE[0]} x {ORIGINAL_SIZE[1]}, {arguments.repeats} repeats")
    for name, times in (("plain loop, one core", 0), (f"prepare, {arguments.workers} workers", 1)):
        print(f"{name:22s} {count / statistics.median(wall[times] for wall in walls):5.2f} images/s")
    ratios = sorted(plain / ours for plain, ours in walls)
    print(f"{'ratio':22s} {statistics.median(ratios):5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    plain, ours = (1000 * statistics.median(times) / len(few) for times in zip(*processor, strict=True))
    print(f"{'processor time':22s} {plain:.0f} ms an image in the plain loop, {ours:.0f} ms in prepare")
    print(f"{'memory of the workers':22s} {memory.peak / 1e9:5.2f} GB at most, together")


if __name__ == "__main__":
    main()
