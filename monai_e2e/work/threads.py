"""How many threads a process computes with: PyTorch has a pool of them, and OpenCV one of its own."""

from __future__ import annotations


def limit_threads(count: int | None) -> None:
    """Let this process compute with ``count`` threads, in PyTorch and in OpenCV.

    Args:
        count: 1 or more; None: as many as PyTorch has, by ``OMP_NUM_THREADS`` or the machine's cores.
    """
    import cv2
    import torch

    if count is not None:
        torch.set_num_threads(count)
    cv2.setNumThreads(torch.get_num_threads())


def begin_worker(worker: int) -> None:
    """For a loader, as its ``worker_init_fn``: each process is one thread, and draws by a seed of its own.

    PyTorch sees to its own threads. OpenCV would take one for each core in each of the loader's processes.
    """
    import cv2
    from monai.data.utils import worker_init_fn

    cv2.setNumThreads(0)  # 1 would wait for the threads of its parent's pool, which a fork hasn't got
    worker_init_fn(worker)


def thread_variables(count: int | None) -> dict[str, str]:
    """Environment of a process to be started that shall compute with so many threads; None: with any number."""
    return {} if count is None else {"OMP_NUM_THREADS": str(count), "OPENCV_FOR_THREADS_NUM": str(count)}
