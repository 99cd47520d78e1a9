"""A process computes with the threads that it was given, in OpenCV too."""

import ast
import os
import platform
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset

from monai_e2e.work.threads import begin_worker, limit_threads, reader_variables, thread_variables

BUNDLES = Path(__file__).parents[2] / "bundles"
CONFIGS = sorted(path for path in BUNDLES.glob("*/configs/*.json") if '"DataLoader"' in path.read_text())


@pytest.fixture(autouse=True)
def restored():
    before = torch.get_num_threads(), cv2.getNumThreads()
    cv2.setNumThreads(4)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def warp(_=None):
    cv2.warpAffine(np.ones((1152, 896), np.float32), np.eye(2, 3), (896, 1152))
    return cv2.getNumThreads()


def test_a_loaders_process_is_one_thread_although_its_parent_has_used_several():
    assert warp() == 4
    loader = DataLoader(Dataset([0], warp), num_workers=1, worker_init_fn=begin_worker, collate_fn=list)
    assert list(loader) == [[1]]


def test_this_process_has_the_threads_it_is_given_or_pytorchs():
    limit_threads(2)
    assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 2)
    torch.set_num_threads(1)
    limit_threads(None)
    assert (torch.get_num_threads(), cv2.getNumThreads()) == (1, 1)


READER = """
import cv2
import resource

def look(_):
    bytearray(2**26)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(2**26)
    return cv2.getNumThreads(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another library gives out memory")
def test_a_worker_that_works_on_files_is_one_thread_and_keeps_the_memory_of_an_image_for_the_next(tmp_path):
    # In a process of its own: all that are forked here have the environment of the first, in whatever test that was.
    (tmp_path / "reader.py").write_text(READER)
    code = "from monai_e2e.work.parallel import run_parallel; from reader import look; "
    code += "print(run_parallel(look, [0, 1, 2], 2, 'looking'))"
    environment = {name: value for name, value in os.environ.items() if name not in reader_variables()}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = ast.literal_eval(done.stdout)
    assert [threads for threads, _ in found] == [1, 1, 1]
    assert max(pages for _, pages in found) < 100  # of 16,384 that new memory takes


def test_a_process_that_is_started_has_the_threads_of_its_environment():
    code = "import cv2, torch; print(torch.get_num_threads(), cv2.getNumThreads())"
    environment = {**os.environ, **thread_variables(1)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout
    assert told == "1 1\n"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_each_loader_of_the_bundles_begins_its_processes_so(path):
    loaders = []

    def look(value):
        if isinstance(value, dict):
            loaders.extend([value] if value.get("_target_") == "DataLoader" else [])
            value = list(value.values())
        for item in value if isinstance(value, list) else []:
            look(item)

    look(ConfigParser.load_config_file(path))
    assert loaders
    assert all(loader.get("worker_init_fn") == "$monai_e2e.bundle.begin_worker" for loader in loaders)
