"""What a user of ``monai-e2e predict`` may choose, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monai_e2e.work.cluster import Workers


@dataclass(frozen=True)
class Options:
    """What a user may choose; what belongs to a model is not among it.

    Args:
        partition: of a prepared folder.
        fold: the fold that is tested, of one prepared for cross-validation; None: the first model's own.
        allow_seen: whether to score validation or test patients that a model was trained on.
        table: table of a raw folder's images, see :mod:`monai_e2e.predict.worklist`.
        tta: ``"flips"`` to average each model over four flips, ``None`` for none.
        heatmap: whether to write heatmaps and overlays.
        heatmap_format: ``"npy"`` or ``"nifti"``.
        any_modality: also score DICOM files whose header doesn't say that they are mammograms; they are flagged.
        dicom: whether to write DICOM results of DICOM images.
        keep_identity: whether these name the patient as the images do.
        device: of PyTorch; None: a GPU if there is one.
        engine: what computes the networks, see :class:`~monai_e2e.predict.engines.Engine`.
        precision: ``"fp32"`` or ``"bf16"``.
        amp: float16 on a GPU.
        batch_size: images that go through a network together, as far as they have the same size.
        workers: processes that read images; None: one for each core, at most 4 and not more than the images are worth;
            0: none but this one, which a decoder of damaged data may then end; or a Dask scheduler, ``dask://HOST:PORT``,
            see :mod:`monai_e2e.work.cluster`.
        weights_only: whether to read only the checkpoints of bundles, and run none of their configs.
        aggregate: how views become a breast's score, ``"mean"`` or ``"max"``.
        recalibration: file of a recalibration of the model's scores, whose threshold replaces the model's.
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
    workers: Workers = None
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
