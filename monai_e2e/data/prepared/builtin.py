"""The built-in data set: phantoms, drawn and prepared on first use, for those who have no mammograms at hand."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from monai_e2e import __version__
from monai_e2e.data.phantom import rows_for, write_cbis_ddsm, write_inbreast
from monai_e2e.data.prepared.prepare import prepare_dataset
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

#: Data set → how it is drawn, and settings of the preparation. TCIA's split uses every phantom.
_DATASETS: dict[str, tuple[Callable[..., dict], dict[str, str]]] = {
    "cbis-ddsm": (write_cbis_ddsm, {"protocol": "official"}),
    "inbreast": (write_inbreast, {}),
}


def data_directory() -> Path:
    """Where generated data is kept: ``$MONAI_DATA_DIRECTORY``, MONAI's own variable, or ``~/.cache/monai-e2e``."""
    folder = os.environ.get("MONAI_DATA_DIRECTORY")
    return Path(folder) if folder else Path.home() / ".cache" / "monai-e2e"


def phantom_dataset(
    name: str,
    patients: int,
    image_size: Sequence[int],
    seed: int = 0,
    folder: str | Path | None = None,
    workers: int | None = None,
) -> str:
    """Path of the prepared phantom data set, made now if it isn't there.

    Args:
        name: ``"cbis-ddsm"`` or ``"inbreast"``.
        patients: number of patients to draw.
        image_size: rows and columns of the prepared images.
        seed: seed of the drawing and of the split.
        folder: where to keep it, :func:`data_directory` by default.
        workers: processes, all cores by default.

    Raises:
        UserError: when ``name`` is unknown.
    """
    if name not in _DATASETS:
        raise UserError(f"unknown phantom data set '{name}', choose one of: {', '.join(_DATASETS)}")
    rows, columns = (int(length) for length in image_size)
    parent = Path(folder) if folder is not None else data_directory()
    root = parent / f"phantom-{name}-{patients}-patients-seed-{seed}-{rows}x{columns}-v{__version__}"
    if not (root / "prepared" / "datalist.json").is_file():
        parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".phantom-", dir=parent))
        try:
            logger.info("Drawing phantoms of %d patients in the form of %s, only this once …", patients, name)
            write, usual = _DATASETS[name]
            size = (rows, columns)
            write(draft / "download", patients, seed=seed, rows=rows_for(size), workers=workers)
            settings = {**usual, "image_size": size, "seed": seed, "workers": workers}
            prepare_dataset(name, draft / "download", draft / "prepared", **settings)
            draft.chmod(0o755)  # mkdtemp's folders are private, a data set is not
            draft.rename(root)
        except OSError:
            if not (root / "prepared" / "datalist.json").is_file():  # else another process was faster
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    logger.warning(
        "No dataset_dir given, so these are PHANTOMS, drawn and not real mammograms: %s. For real data run "
        "`monai-e2e prepare %s DOWNLOAD PREPARED` and pass `--dataset_dir PREPARED`.",
        root / "prepared",
        name,
    )
    return str(root / "prepared")
