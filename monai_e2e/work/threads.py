"""How many threads a process computes with: PyTorch and OpenCV have a pool each. And what else its environment says."""

from __future__ import annotations

#: By default glibc returns large freed blocks to the system, which clears them before the next use. That takes a sixth
#: of a training step on phantoms.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}


def limit_threads(count: int | None) -> None:
    """Compute with ``count`` threads in this process, in PyTorch and in OpenCV.

    Args:
        count: 1 or more; None: PyTorch's number, which is ``OMP_NUM_THREADS`` or that of the cores.
    """
    import cv2
    import torch

    if count is not None:
        torch.set_num_threads(count)
    cv2.setNumThreads(torch.get_num_threads())


def begin_worker(worker: int) -> None:
    """The ``worker_init_fn`` of a loader: each process computes with one thread, and has its own random seed.

    PyTorch does that by itself. OpenCV would start one thread per core in each of the loader's processes.
    """
    import cv2
    from monai.data.utils import worker_init_fn

    cv2.setNumThreads(0)  # with 1 it would wait for the threads of its parent's pool, which a fork doesn't have
    worker_init_fn(worker)


def thread_variables(count: int | None) -> dict[str, str]:
    """Environment for a new process that computes with this number of threads; None: with any number."""
    return {} if count is None else {"OMP_NUM_THREADS": str(count), "OPENCV_FOR_THREADS_NUM": str(count)}


def reader_variables() -> dict[str, str]:
    """Environment of a process that reads one image after the other, with one thread.

    It keeps the memory of one image, which is above glibc's largest threshold, for the next: a tenth of the time.
    """
    return {**KEEP_MEMORY, "MALLOC_MMAP_MAX_": "0", **thread_variables(1)}
