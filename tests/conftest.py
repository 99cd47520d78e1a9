"""Settings of every test: one thread (test processes share the cores), and no data outside the test's own folders."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread_and_private_data(tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONAI_DATA_DIRECTORY", str(tmp_path_factory.mktemp("monai-data")))
        patch.setenv("OMP_NUM_THREADS", "1")  # for the commands that tests start
        yield
    torch.set_num_threads(threads)
