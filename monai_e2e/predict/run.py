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

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from joblib import cpu_count
from PIL import Image
from scipy.special import expit, logit
from tqdm import tqdm

from monai_e2e.bundle import choose_device
from monai_e2e.data import load_datalist, preparation
from monai_e2e.data.images.appearance import far_from
from monai_e2e.data.prepared.folder import is_prepared, shown
from monai_e2e.errors import UserError
from monai_e2e.handlers.predictions import logit_of_positive
from monai_e2e.inferers import mean_log_probabilities
from monai_e2e.metrics.recalibration import Recalibration, read_recalibration
from monai_e2e.metrics.tables import OPTIONAL_COLUMNS, PREDICTION_COLUMNS
from monai_e2e.networks import check_preparation
from monai_e2e.predict.engines import Engine
from monai_e2e.predict.heatmaps import Heatmap, describe_format, heatmap_writer, make_heatmap
from monai_e2e.predict.models import Model, choose_models
from monai_e2e.predict.overlays import draw_capture, draw_overlay
from monai_e2e.predict.reading import ImageReader, ReadImage, reason_of
from monai_e2e.predict.result_folder import ResultFolder, file_name
from monai_e2e.predict.worklist import ListedImage, list_images, list_prepared
from monai_e2e.provenance import device_name
from monai_e2e.seen import check_unseen, own_fold, seen_flags, shared_fact
from monai_e2e.work.locking import locked
from monai_e2e.work.streaming import stream_parallel

logger = logging.getLogger(__name__)

_MAX_WORKERS = 4
#: A worker takes seconds to start, in which this process would read as many images.
_IMAGES_PER_WORKER = 8
#: Images of rows : columns that differ from the network's by more than this factor are flagged.
_ASPECT_FACTOR = 1.5
_LOG_SECONDS = 30
_DEAD_WORKER = "the process that read it was ended, by a decoder on damaged data or for lack of memory; copy it again"


@dataclass(frozen=True)
class Options:
    """What a user may choose; nothing of it is a model's own.

    Args:
        partition: of a prepared folder.
        fold: the fold that is tested, of one prepared for cross-validation; None: the first model's own.
        allow_seen: whether to score validation or test patients that a model was trained on.
        table: table of a raw folder's images, see :mod:`monai_e2e.predict.worklist`.
        tta: ``"flips"`` to average each model over four flips, ``None`` for none.
        heatmap: whether to write heatmaps and overlays.
        heatmap_format: ``"npy"`` or ``"nifti"``.
        any_modality: whether to score, and flag, DICOM files too whose header isn't a mammogram's.
        dicom: whether to write DICOM results of DICOM images.
        keep_identity: whether these name the patient as the images do.
        device: of PyTorch; None: a GPU if there is one.
        engine: what computes the networks, see :class:`~monai_e2e.predict.engines.Engine`.
        precision: ``"fp32"`` or ``"bf16"``.
        amp: float16 on a GPU.
        batch_size: images that go through a network together, as far as they have the same size.
        workers: processes that read images; None: one for each core, at most 4 and not more than the images are worth;
            0: none but this one, which a decoder of damaged data may then end.
        weights_only: whether to take the checkpoints alone of bundles, whose configs are programs.
        aggregate: how views become a breast's score, ``"mean"`` or ``"max"``.
        recalibration: file of a recalibration of the model's scores, whose threshold takes the place of the model's.
    """

    partition: str = "test"
    fold: int | None = None
    allow_seen: bool = False
    table: str | Path | None = None
    tta: str | None = None
    heatmap: bool = False
    heatmap_format: str = "npy"
    any_modality: bool = False
    dicom: bool = False
    keep_identity: bool = False
    device: str | None = None
    engine: str = "auto"
    precision: str = "fp32"
    amp: bool = False
    batch_size: int = 1
    workers: int | None = None
    weights_only: bool = False
    aggregate: str = "mean"
    recalibration: str | Path | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        predicted: rows of ``predictions.csv``.
        earlier: how many of them an earlier run had written.
        failed: rows of ``failures.csv``.
        labelled: whether the labels are known, so that the predictions can be scored as they are.
    """

    predicted: int
    earlier: int
    failed: int
    labelled: bool


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
    if prepared and (options.table is not None or options.dicom):
        raise UserError(f"{src} is a prepared folder, which has labels and no DICOM files: without --table and --dicom")
    device = choose_device(options.device, options.amp)
    if options.amp and options.precision != "fp32":
        raise UserError(f"--amp computes in float16: without --precision {options.precision}")
    precision = "fp16" if options.amp else options.precision
    engine = Engine(device, options.engine, precision)
    scorers, patch_model = choose_models(models, options.heatmap, device, src, options.weights_only)
    recalibration = _recalibration(options, scorers)
    if patch_model is not None and not prepared and _frames(patch_model):
        raise UserError(
            f"{patch_model.checkpoint}: trained on cropped or mirrored images, so its heatmaps don't lie on the images "
            "as they are: prepare them with the same --crop and --orient, or leave out --heatmap"
        )
    if prepared:
        for model in [*scorers, *filter(None, [patch_model])]:
            check_preparation(preparation(src), model.checkpoint)
        if options.fold is None:
            options = replace(options, fold=own_fold(scorers[0].checkpoint, src))
        for model in scorers:
            samples = load_datalist(src, options.partition, fold=options.fold)
            check_unseen(samples, model.checkpoint, options.partition, options.allow_seen)
    elif options.fold is not None:
        raise UserError(f"--fold {options.fold}: {src} is no prepared folder, and has no folds: leave it out")
    with locked(out):
        settings = _settings(scorers, patch_model, src, options, prepared)
        if recalibration is not None:
            settings["recalibration"] = asdict(recalibration)
        results = ResultFolder(out, settings)
        if prepared:
            mammograms = list_prepared(src, options.partition, options.fold)
        else:
            mammograms = list_images(src, options.table, [Path(out)], results.finished)
        mammograms = _flag_seen(
            mammograms, [*scorers, *filter(None, [patch_model])], prepared or options.table is not None
        )
        facts = {
            "models_named": [shown(path) for path in models],
            "images": len(mammograms),
            "device": device_name(device),
        }
        results.start(_columns(mammograms, _trainings(scorers)), facts)
        engine.images = len(mammograms) * (4 if options.tta else 1)
        run = _Run(scorers, patch_model, results, options, engine, recalibration)
        todo = [mammogram for mammogram in mammograms if mammogram.image not in results.finished]
        if len(todo) < len(mammograms):
            logger.info(
                "%d of %d images were finished by an earlier run.", len(mammograms) - len(todo), len(mammograms)
            )
        run.predict(todo)
        predicted = results.finish(options.aggregate, {"engines": engine.used})
        return Outcome(predicted, len(mammograms) - len(todo), results.failed, "label" in results.columns)


class _Run:
    """The way of the images through the models into the folder of results."""

    def __init__(
        self,
        models: Sequence[Model],
        patch_model: Model | None,
        results: ResultFolder,
        options: Options,
        engine: Engine,
        recalibration: Recalibration | None = None,
    ) -> None:
        self.recalibration = recalibration
        self.models, self.patch_model = models, patch_model
        self.results, self.options, self.engine = results, options, engine
        self.name = "+".join(model.name for model in models)
        self.trainings = _trainings(models)
        self.seen: set[str] = set()
        # The operating point belongs to a model and what it says of an image, not to an average over flips or models.
        log_odds = models[0].threshold if len(models) == 1 and not options.tta else None
        if recalibration is not None:
            log_odds = None if recalibration.threshold is None else logit(recalibration.threshold)
        self.threshold = "" if log_odds is None else f"{expit(log_odds):.6f}"

    def predict(self, mammograms: Sequence[ListedImage]) -> None:
        """Predict the images batch by batch, with a progress bar on a terminal and now and then a line elsewhere."""
        every = [*self.models, *filter(None, [self.patch_model])]
        reader = ImageReader(
            [model.preprocessing for model in every],
            self.options.heatmap or self.options.dicom,
            self.options.any_modality,
        )
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
        for (mammogram, read), log_odds in zip(readable, self._score([read for _, read in readable]), strict=True):
            if np.isfinite(log_odds):
                self._write(mammogram, read, log_odds)
            else:
                self.results.fail(
                    mammogram.image, "the score is no finite number; check image and model, try without --amp"
                )

    def _score(self, mammograms: Sequence[ReadImage]) -> list[float]:
        """Log-odds of malignant of each image."""
        predictions = []
        for index, model in enumerate(self.models):
            images = [mammogram.images[index] for mammogram in mammograms]
            logits = model.infer(images, self.engine, flips=self.options.tta == "flips")
            if logits.shape[1:] != (2,):
                found = list(logits.shape[1:])
                raise UserError(f"{model.checkpoint}: gives {found} values for an image, not two logits; leave it out")
            predictions.append(logits)
        log_odds = logit_of_positive(mean_log_probabilities(predictions))
        return log_odds.tolist() if self.recalibration is None else self.recalibration.apply(log_odds).tolist()

    def _write(self, mammogram: ListedImage, read: ReadImage, log_odds: float) -> None:
        """Write all of an image's results, its row last."""
        row = {
            **{name: getattr(mammogram, name, "") for name in PREDICTION_COLUMNS},
            "p_malignant": f"{expit(log_odds):.6f}",
            "logit": f"{log_odds:.6f}",
            "threshold": self.threshold,
            "model": self.name,
            **self.trainings,
            "flags": ";".join(dict.fromkeys([*mammogram.flags, *read.flags, *self._flags(mammogram, read)])),
        }
        heatmap = None
        if self.patch_model is not None:
            heatmap = make_heatmap(self.patch_model, read.images[-1], self.engine)
            self._write_heatmap(mammogram.image, heatmap)
            overlay = Image.fromarray(draw_overlay(read.picture, row, heatmap, read.masks))
            self.results.write(
                f"overlays/{file_name(mammogram.image)}.png", lambda path: overlay.save(path, compress_level=2)
            )
        if self.options.dicom and mammogram.dicom:
            from monai_e2e.predict.dicom_results import write_dicom_results

            capture = draw_capture(read.picture, row, heatmap, read.masks)
            folder = self.results.folder / "dicom"
            try:
                write_dicom_results(
                    folder,
                    file_name(mammogram.image),
                    row,
                    capture,
                    mammogram.path,
                    self.options.keep_identity,
                    mammogram.number,
                )
            except UserError as error:
                self.results.fail(mammogram.image, f"no DICOM results: {reason_of(error, mammogram.path)}")
                return
        self.results.add({column: "" if value is None else value for column, value in row.items()})

    def _flags(self, mammogram: ListedImage, read: ReadImage) -> list[str]:
        """Flags that only the model, or the images before, show."""
        mean, again = self.models[0].pixel_mean, read.digest in self.seen
        self.seen.add(read.digest)
        return [
            *_size_flags(mammogram, read),
            *(["brightness unusual"] if mean is not None and far_from(read.mean, mean) else []),
            *(["same pixels as another"] if again else []),
        ]

    def _write_heatmap(self, image: str, heatmap: Heatmap) -> None:
        suffix, write = heatmap_writer(heatmap, self.options.heatmap_format)
        self.results.write(f"heatmaps/{file_name(image)}{suffix}", write)
        self.results.write("heatmaps/format.json", lambda path: path.write_text(describe_format(heatmap)))


def _frames(model: Model) -> bool:
    known = getattr(model.network, "preparation", {})
    return bool(known.get("crop") or known.get("orient"))


def _recalibration(options: Options, models: Sequence[Model]) -> Recalibration | None:
    """The recalibration that is asked for, which belongs to one model's plain scores."""
    if options.recalibration is None:
        return None
    if len(models) > 1 or options.tta:
        raise UserError("--recalibration is of one model's own scores: name that model alone, without --tta")
    recalibration = read_recalibration(options.recalibration)
    if recalibration.model not in ("", models[0].digest["checkpoint"]):
        raise UserError(
            f"{options.recalibration} was fitted to another model than {models[0].checkpoint}: fit it again"
        )
    return recalibration


def _settings(
    models: Sequence[Model], patch_model: Model | None, src: str | Path, options: Options, prepared: bool
) -> dict[str, Any]:
    """What must be the same for a run to be taken up; places are as the user wrote them."""
    return {
        "models": {model.name: model.digest for model in models},
        "patch_model": None if patch_model is None else {patch_model.name: patch_model.digest},
        "src": shown(src),
        "partition": options.partition if prepared else None,
        "fold": options.fold,
        "table": None if options.table is None else _sha256(Path(options.table)),
        "tta": options.tta,
        "amp": options.amp,
        "precision": None if options.precision == "fp32" else options.precision,
        "heatmap_format": options.heatmap_format if options.heatmap else None,
        "dicom": options.dicom,
        "keep_identity": options.keep_identity,
        "any_modality": options.any_modality or None,
    }


def _flag_seen(mammograms: Sequence[ListedImage], models: Sequence[Model], named: bool) -> list[ListedImage]:
    """The images, those of patients that a model was trained on or chosen by flagged.

    Args:
        images: of all patients.
        models: that score them.
        named: whether the patients' ids are their own; else they are running numbers, and the headers' are compared.
    """
    flags = seen_flags([model.network for model in models])
    ids = [mammogram.patient_id if named else mammogram.header_patient for mammogram in mammograms]
    flagged = [
        replace(mammogram, flags=(*mammogram.flags, *flags(patient))) if patient else mammogram
        for mammogram, patient in zip(mammograms, ids, strict=True)
    ]
    if count := sum("seen in training" in mammogram.flags for mammogram in flagged):
        logger.warning(
            "%d of %d images are of patients that a model was trained on, see the flags.", count, len(mammograms)
        )
    return flagged


def _trainings(models: Sequence[Model]) -> dict[str, int | None]:
    """Fold and seed of the models' trainings, None where they differ or aren't known."""
    return {name: shared_fact([model.network for model in models], name) for name in ("fold", "seed")}


def _columns(mammograms: Sequence[ListedImage], trainings: Mapping[str, int | None]) -> list[str]:
    """Columns of the table, optional ones only where something is known of an image, or of the models."""
    known = {
        name
        for name in OPTIONAL_COLUMNS
        if any(getattr(mammogram, name, None) not in (None, "") for mammogram in mammograms)
    }
    known |= {name for name, value in trainings.items() if value is not None}
    return [name for name in PREDICTION_COLUMNS if name not in OPTIONAL_COLUMNS or name in known]


def _size_flags(mammogram: ListedImage, read: ReadImage) -> list[str]:
    (rows, columns), (height, width) = mammogram.original_size or read.size, read.images[0].shape[-2:]
    flags = ["upscaled"] if rows < height or columns < width else []
    factor = rows * width / (columns * height)
    return flags + (["other aspect"] if max(factor, 1 / factor) > _ASPECT_FACTOR else [])


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); name the table of the images") from error
