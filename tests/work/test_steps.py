"""Commands as processes: how they are shown, in which order they run, and how one that fails ends."""

import threading
import time
from pathlib import Path

import pytest

from monai_e2e.errors import UserError
from monai_e2e.work import steps
from monai_e2e.work.locking import HeldError
from monai_e2e.work.steps import Progress, Step, run_steps


def test_the_commands_are_shown_as_a_user_would_type_them(tmp_path):
    def command(*argv):
        return Step("name", argv, tmp_path / "log").command

    assert command("-m", "monai_e2e", "phantom", "inbreast", "a b") == "monai-e2e phantom inbreast 'a b'"
    assert command("-m", "monai.bundle", "run", "training") == "python -m monai.bundle run training"


def test_a_failing_step_ends_in_one_line_that_names_its_log(tmp_path):
    step = Step("prepare", ["-m", "monai_e2e", "prepare", "inbreast", str(tmp_path / "no"), "out"], tmp_path / "a.log")
    with pytest.raises(UserError) as caught:
        step.run()
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "a.log") in message
    assert str(tmp_path / "no") in message


def made(name, *after):
    return Step(name, [], Path("log"), after)


def test_steps_run_after_those_that_they_need_and_side_by_side():
    first, second = made("first"), made("second")
    last = made("last", first, second)
    both, order = threading.Barrier(2, timeout=20), []

    def run(step):
        if step is not last:
            both.wait()  # fails unless the two run at the same time
        order.append(step.name)

    assert run_steps([last, first, second], 2, run) == {}
    assert order[-1] == "last"


def test_a_long_step_holds_up_none_that_does_not_need_it():
    data = made("data")
    first = made("first", data)
    second = made("second", first)
    free, order = threading.Event(), []

    def run(step):
        order.append(step.name)
        if step.name == "long":
            assert free.wait(20)  # ends when all the others have run beside it
        if step is second:
            free.set()

    assert run_steps([data, made("long", data), first, second], 2, run) == {}
    assert order[0] == "data"
    assert order[-1] == "second"


def test_what_needs_a_failed_step_is_not_run_and_all_else_is():
    first = made("first")
    steps_ = [first, made("second", first), made("other")]
    ran = []

    def run(step):
        ran.append(step.name)
        if step is first:
            raise UserError("no space")

    failed = run_steps(steps_, 1, run)
    assert ran == ["first", "other"]
    assert {name: str(error) for name, error in failed.items()} == {
        "first": "no space",
        "second": "step 'second' was not run, since one before it failed",
    }


def test_nothing_is_begun_after_a_failed_step_where_that_is_wanted():
    def run(step):
        raise UserError("no space")

    failed = run_steps([made("first"), made("other")], 1, run, keep_going=False)
    assert list(failed) == ["first", "other"]
    assert str(failed["other"]) == "step 'other' was not run, since one before it failed"


def test_the_progress_tells_the_time_left_until_all_is_done(monkeypatch, caplog):
    monkeypatch.setattr(steps, "_EVERY", 0.0)
    steps_, done, left = [made("a"), made("b"), made("c")], [], iter([None, 7500.0, 0.0])
    with caplog.at_level("INFO"):
        run_steps(steps_, 1, done.append, Progress(steps_, done.__contains__, lambda: next(left)))
    assert caplog.messages == [
        "1 of 3 commands done, time left not known yet",
        "2 of 3 commands done, about 2 h 5 min left",
        "3 of 3 commands done",
    ]


def test_a_step_that_another_process_is_at_is_waited_for_while_others_run(monkeypatch):
    monkeypatch.setattr(steps, "_PAUSE", 0.05)
    free, ran = time.monotonic() + 0.3, []

    def run(step):
        if step.name == "held" and time.monotonic() < free:
            raise HeldError("process 1 is writing to it")
        ran.append(step.name)

    assert run_steps([made("held"), made("other")], 1, run) == {}
    assert ran == ["other", "held"]
