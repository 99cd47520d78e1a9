"""``monai-e2e predict``: from a folder of mammograms and trained models to tables, heatmaps and pictures.

Images are read in worker processes, a few ahead, and each is written before the next: memory doesn't grow with their
number, and a run that was stopped goes on where it was. In the folder of results are

- ``predictions.csv``, a row for each image, whose score is the log-odds of malignant; ``breast.csv``, ``exam.csv``;
- ``failures.csv``, the images that have none, and why; the next run tries them again;
- ``overlays/<image>.png`` and ``heatmaps/<image>.npy``, if asked for, ``heatmaps/format.json`` saying what these are;
- ``dicom/<image>_overlay.dcm`` and ``dicom/<image>_report.dcm``, if asked for;
- ``run.json``, models, settings, versions, and what computed the networks.

Flags of a row, joined by ``;``, are listed in docs/results.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from joblib import cpu_count
from PIL import Image
from scipy.special import expit
from tqdm import tqdm

from monai_e2e.bundle import choose_device
from monai_e2e.data import load_datalist, preparation
from monai_e2e.data.images.appearance import far_from
from monai_e2e.data.prepared.datalist import fingerprint
from monai_e2e.data.prepared.folder import is_prepared, shown
from monai_e2e.errors import UserError, some
from monai_e2e.metrics.tables import PREDICTION_COLUMNS
from monai_e2e.networks import check_preparation
from monai_e2e.predict.engines import Engine
from monai_e2e.predict.flags import flag_seen, size_flags
from monai_e2e.predict.heatmaps import HEATMAP_ENDINGS, Heatmap, describe_format, make_heatmap, save_heatmap
from monai_e2e.predict.models import Model, choose_models
from monai_e2e.predict.options import Options, Outcome
from monai_e2e.predict.overlays import draw_capture, draw_overlay
from monai_e2e.predict.reading import ImageReader, ReadImage, reason_of
from monai_e2e.predict.record import columns_of, settings_of, trainings_of
from monai_e2e.predict.result_folder import ResultFolder, file_name
from monai_e2e.predict.scoring import Score, Scorer, find_recalibration
from monai_e2e.predict.worklist import ListedImage, list_images, list_prepared
from monai_e2e.provenance import device_name
from monai_e2e.seen import check_unseen, own_fold
from monai_e2e.shipped.models import shipped_model
from monai_e2e.work.locking import locked
from monai_e2e.work.streaming import stream_parallel

logger = logging.getLogger(__name__)

_MAX_WORKERS = 4
#: A worker takes seconds to start, in which this process would read as many images.
_IMAGES_PER_WORKER = 8
_LOG_SECONDS = 30
_DEAD_WORKER = "the process that read it was killed, by a decoder on damaged data or for lack of memory; copy it again"


def predict(models: Sequence[str | Path], src: str | Path, out: str | Path, options: Options | None = None) -> Outcome:
    """Classify the images of a folder by one model, or by the mean of several models' probabilities.

    Args:
        models: bundles' folders or checkpoints. A patch classifier makes heatmaps only; without one among them it is
            the trained bundle ``ddsm_patch`` beside the first of them.
        src: prepared folder, or any folder of DICOM, PNG, TIFF or JPEG images.
        out: folder of the results; one of the same command is taken up.
        options: see :class:`Options`.

    Raises:
        UserError: when something named isn't there or doesn't go together, ``out`` has other results or
            another process writes to it.
    """
    options = options or Options()
    prepared = is_prepared(src)
    _refuse_contradictions(options, src, prepared)
    device = choose_device(options.device, options.amp)
    engine = Engine(device, options.engine, "fp16" if options.amp else options.precision)
    scorers, patch_model = choose_models(models, options.heatmap, device, src, options.weights_only)
    every = [*scorers, *filter(None, [patch_model])]
    recalibration = find_recalibration(options, scorers)
    if prepared:
        for model in every:
            check_preparation(preparation(src), model.checkpoint)
        if options.fold is None:
            options = replace(options, fold=own_fold(scorers[0].checkpoint, src))
        samples = load_datalist(src, options.partition, fold=options.fold)
        for model in scorers:
            check_unseen(samples, model.checkpoint, options.partition, options.allow_seen)
    elif patch_model is not None and _frames(patch_model):
        raise UserError(
            f"{patch_model.checkpoint}: trained on cropped or mirrored images, so its heatmaps don't fit these "
            "images: prepare them with the same --crop and --orient, or leave out --heatmap"
        )
    with locked(out):
        settings = settings_of(scorers, patch_model, src, options, prepared)
        if recalibration is not None:
            settings["recalibration"] = asdict(recalibration)
        results = ResultFolder(out, settings)
        place = Path(src).absolute()  # workers may be in another folder, or machine
        if prepared:
            mammograms = list_prepared(place, options.partition, options.fold)
        else:
            mammograms = list_images(place, options.table, [Path(out)], results.finished)
        if gone := results.finished.keys() - {mammogram.image for mammogram in mammograms}:
            raise UserError(
                f"{out} has results of {len(gone)} images that aren't in {src} ({some(sorted(gone))}): name a new "
                "folder, or put them back"
            )
        for shipped in filter(None, map(shipped_model, models)):
            logger.warning(
                "%s was trained without: %s. Its scores of such images mean little.", shipped.name, shipped.never_shown
            )
        mammograms = flag_seen(mammograms, every, named=prepared or options.table is not None)
        facts = {
            "models_named": [shown(path) for path in models],
            "dataset": fingerprint(src) if prepared else None,
            "images": len(mammograms),
            "device": device_name(device),
        }
        several = len(scorers) > 1 or options.tta is not None
        results.start(columns_of(mammograms, trainings_of(scorers), several), facts)
        engine.images = len(mammograms) * (4 if options.tta else 1)
        scorer = Scorer(scorers, engine, options.tta == "flips", recalibration)
        todo = [mammogram for mammogram in mammograms if mammogram.image not in results.finished]
        if len(todo) < len(mammograms):
            logger.info(
                "%d of %d images were finished by an earlier run.", len(mammograms) - len(todo), len(mammograms)
            )
        _Run(scorer, patch_model, results, options).predict(todo)
        predicted = results.finish(options.aggregate, {"engines": engine.used})
        return Outcome(predicted, len(mammograms) - len(todo), results.failed, "label" in results.columns)


def _refuse_contradictions(options: Options, src: str | Path, prepared: bool) -> None:
    """Raise :class:`UserError` where options don't go together, or not with the folder."""
    if prepared and (options.table is not None or options.dicom):
        raise UserError(
            f"{src} is a prepared folder, which has labels and no DICOM files: leave out --table and --dicom"
        )
    if not prepared and options.fold is not None:
        raise UserError(f"--fold {options.fold}: {src} is no prepared folder, and has no folds: leave it out")
    if options.amp and options.precision != "fp32":
        raise UserError(f"--amp computes in float16: leave out --precision {options.precision}, or --amp")


class _Run:
    """The way of the images through the models into the folder of results."""

    def __init__(self, score: Scorer, patch_model: Model | None, results: ResultFolder, options: Options) -> None:
        self.score, self.patch_model, self.results, self.options = score, patch_model, results, options
        self.name = "+".join(model.name for model in score.models)
        self.trainings = trainings_of(score.models)
        self.seen: set[str] = set()

    def predict(self, mammograms: Sequence[ListedImage]) -> None:
        """Predict the images batch by batch, with a progress bar on a terminal and now and then a line elsewhere."""
        every = [*self.score.models, *filter(None, [self.patch_model])]
        pictures = self.options.heatmap or self.options.dicom
        reader = ImageReader([model.preprocessing for model in every], pictures, self.options.any_modality)
        worth = min(cpu_count(), _MAX_WORKERS, -(-len(mammograms) // _IMAGES_PER_WORKER))
        reading = stream_parallel(reader, mammograms, worth if self.options.workers is None else self.options.workers)
        done, last = 0, time.monotonic()
        with tqdm(total=len(mammograms), desc="predict", unit="image", disable=None) as bar:
            while batch := list(islice(reading, self.options.batch_size)):
                self._predict_batch(batch)
                bar.update(len(batch))
                done += len(batch)
                if bar.disable and time.monotonic() - last > _LOG_SECONDS:
                    last = time.monotonic()
                    logger.info("%d of %d images", done, len(mammograms))

    def _predict_batch(self, batch: Sequence[tuple[ListedImage, ReadImage | str | None]]) -> None:
        readable: list[tuple[ListedImage, ReadImage]] = []
        for mammogram, read in batch:
            if isinstance(read, ReadImage):
                readable.append((mammogram, read))
            else:
                self.results.fail(mammogram.image, read or _DEAD_WORKER)
        if not readable:
            return
        for (mammogram, read), score in zip(readable, self.score([read for _, read in readable]), strict=True):
            if np.isfinite(score.log_odds):
                self._write(mammogram, read, score)
            else:
                self.results.fail(
                    mammogram.image, "the score is not a finite number; check image and model, try without --amp"
                )

    def _write(self, mammogram: ListedImage, read: ReadImage, score: Score) -> None:
        """Write all of an image's results, its row last."""
        row = self._row(mammogram, read, score)
        heatmap = None
        if self.patch_model is not None:
            heatmap = make_heatmap(self.patch_model, read.images[-1], self.score.engine)
            self._write_heatmap(mammogram.image, heatmap)
            overlay = Image.fromarray(draw_overlay(read.picture, row, heatmap, read.masks, self.patch_model.name))
            self.results.write(
                f"overlays/{file_name(mammogram.image)}.png", lambda path: overlay.save(path, compress_level=2)
            )
        if self.options.dicom and mammogram.dicom:
            capture = draw_capture(read.picture, row, heatmap, read.masks)
            try:
                self._write_dicom(mammogram, row, capture)
            except UserError as error:
                self.results.fail(mammogram.image, f"no DICOM results: {reason_of(error, mammogram.path)}")
                return
        self.results.add(row)

    def _row(self, mammogram: ListedImage, read: ReadImage, score: Score) -> dict[str, Any]:
        """The image's row of ``predictions.csv``."""
        return {
            **{name: getattr(mammogram, name, "") for name in PREDICTION_COLUMNS},
            **mammogram.facts,
            "p_malignant": f"{expit(score.log_odds):.6f}",
            "logit": f"{score.log_odds:.6f}",
            "threshold": self.score.threshold,
            "model": self.name,
            **self.trainings,
            **({} if score.low is None else {"p_low": f"{score.low:.6f}", "p_high": f"{score.high:.6f}"}),
            "spread_over": score.over,
            "flags": ";".join(dict.fromkeys([*mammogram.flags, *read.flags, *self._flags(mammogram, read)])),
        }

    def _flags(self, mammogram: ListedImage, read: ReadImage) -> list[str]:
        """Flags that only the model, or the images before, show."""
        mean, again = self.score.models[0].pixel_mean, read.digest in self.seen
        self.seen.add(read.digest)
        return [
            *size_flags(mammogram, read),
            *(["brightness unusual"] if mean is not None and far_from(read.mean, mean) else []),
            *(["same pixels as another"] if again else []),
        ]

    def _write_heatmap(self, image: str, heatmap: Heatmap) -> None:
        ending = HEATMAP_ENDINGS[self.options.heatmap_format]
        self.results.write(f"heatmaps/{file_name(image)}{ending}", partial(save_heatmap, heatmap))
        self.results.write("heatmaps/format.json", lambda path: path.write_text(describe_format(heatmap)))

    def _write_dicom(self, mammogram: ListedImage, row: Mapping[str, Any], capture: np.ndarray) -> None:
        from monai_e2e.predict.dicom_results import write_dicom_results

        folder, name, identity = self.results.folder / "dicom", file_name(mammogram.image), self.options.keep_identity
        write_dicom_results(folder, name, row, capture, mammogram.path, identity, mammogram.number)


def _frames(model: Model) -> bool:
    known = getattr(model.network, "preparation", {})
    return bool(known.get("crop") or known.get("orient"))
