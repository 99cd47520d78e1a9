"""Settings of every test: one thread (test processes share the cores), and no data outside the test's own folders."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from monai_e2e.work.forked import READING, TRAINING, import_once, run_forked
from monai_e2e.work.threads import thread_variables

os.environ.update(thread_variables(1))  # for what tests of tables never load, and for the commands that tests start


@pytest.fixture(scope="session", autouse=True)
def _private_data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONAI_DATA_DIRECTORY", str(tmp_path_factory.mktemp("monai-data")))
        yield


@pytest.fixture(scope="module")
def blank_curves() -> Iterator[None]:
    """Matplotlib's figures as pictures of one pixel: to draw curves is most of the time of a score.

    For files of tests of anything else, with ``pytestmark = pytest.mark.usefixtures("blank_curves")``.
    """
    from matplotlib.figure import Figure

    def save(_figure: Figure, path: str | Path, **_options: Any) -> None:
        Image.new("L", (1, 1)).save(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        yield


@pytest.fixture
def run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Runs Python text in a process of its own → its exit status and output.

    The process is forked from one that has imported MONAI, which a new one would do for seconds.
    """
    monkeypatch.syspath_prepend(tmp_path)

    def run(code: str, *arguments: str, **variables: str) -> tuple[int, str]:
        (tmp_path / "made_module.py").write_text(code)
        status = run_forked(["-m", "made_module", *arguments], tmp_path / "log", variables)
        return status, (tmp_path / "log").read_text()

    return run


@pytest.fixture
def one_process_group() -> Iterator[None]:
    """PyTorch's processes of a distributed run, of which there is this one alone."""
    from torch import distributed

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def pytest_configure() -> None:
    gc.disable()  # a quarter of the imports' time, to which pytest_collection_finish puts an end
    if "PYTEST_XDIST_WORKER" in os.environ:  # the whole suite: all processes that tests start import MONAI once
        import_once((*TRAINING, *READING), thread_variables(1))


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()  # what tests leave is looked through, not all of PyTorch again and again
