"""Settings of every test: one thread (test processes share the cores), and no data outside the test's own folders."""

import os

import pytest

from monai_e2e.work.forked import READING, TRAINING, import_once
from monai_e2e.work.threads import thread_variables

os.environ["OMP_NUM_THREADS"] = "1"  # for PyTorch, which tests of tables never load, and the commands that tests start


@pytest.fixture(scope="session", autouse=True)
def _private_data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONAI_DATA_DIRECTORY", str(tmp_path_factory.mktemp("monai-data")))
        yield


def pytest_configure() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # the whole suite: all processes that tests start import MONAI once
        import_once((*TRAINING, *READING), thread_variables(1))
