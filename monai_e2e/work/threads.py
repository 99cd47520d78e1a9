"""How many threads a process computes with: PyTorch and OpenCV have a pool each."""

from __future__ import annotations


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
