"""Work on many files at once: what is shown of its progress."""

import logging

from monai_e2e.work import parallel


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch, caplog):
    monkeypatch.setattr(parallel, "_INTERVAL", 0.0)
    with caplog.at_level(logging.INFO):
        assert parallel.run_parallel(abs, [-1, -2], 1, "drawing") == [1, 2]
    assert caplog.messages == ["drawing: 1 of 2", "drawing: 2 of 2"]


def test_short_work_is_silent(caplog):
    with caplog.at_level(logging.INFO):
        parallel.run_parallel(abs, [-1, -2], 1, "drawing")
    assert caplog.messages == []
