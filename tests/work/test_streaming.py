"""Work ahead in processes: in order, bounded, and not stopped by a task that ends its process."""

import os
import signal
import sys
import threading
import time

import pytest
from joblib.externals.loky.backend.queues import Queue

from monai_e2e.work.streaming import stream_parallel


def double(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # as a decoder does that crashes
    return 2 * number


def square(number):
    return number * number


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_with_their_tasks_in_order(workers):
    assert list(stream_parallel(square, range(9), workers)) == [(number, number * number) for number in range(9)]


def test_a_task_that_ends_its_process_has_no_result_and_costs_no_other():
    found = list(stream_parallel(double, range(8), 2))
    assert found == [(number, None if number == 3 else 2 * number) for number in range(8)]


def test_no_more_tasks_are_taken_than_are_worked_on_ahead():
    taken = []
    tasks = (taken.append(number) or number for number in range(50))
    results = stream_parallel(square, tasks, 1)
    for _ in range(5):
        next(results)
    assert len(taken) <= 7
    results.close()


def test_closing_right_after_a_task_was_given_out_leaves_no_error_in_a_thread(monkeypatch):
    errors = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    before = sys.getswitchinterval()
    results = stream_parallel(square, range(50), 1)
    next(results)
    next(results)
    try:
        sys.setswitchinterval(60)  # loky's thread can do nothing unless this one waits
        next(results)
        results.close()
    finally:
        sys.setswitchinterval(before)
    assert errors == []


def test_no_thread_of_the_pool_outlives_the_stream(monkeypatch):
    def slow(*arguments, feed=Queue._feed):
        feed(*arguments)
        time.sleep(0.2)

    monkeypatch.setattr(Queue, "_feed", staticmethod(slow))
    before = threading.active_count()
    assert len(list(stream_parallel(square, range(3), 1))) == 3
    assert threading.active_count() == before


def test_an_error_of_the_function_is_the_callers():
    with pytest.raises(ZeroDivisionError):
        list(stream_parallel(divide, [1, 0], 1))


def divide(number):
    return 1 / number
