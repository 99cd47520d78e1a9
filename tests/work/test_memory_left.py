from collections import namedtuple

import psutil
import pytest

from monai_e2e.work.memory import available_memory

GiB = 2**30


def _group(folder, version, limit, used, cached):
    names = {2: ("memory.max", "memory.current"), 1: ("memory.limit_in_bytes", "memory.usage_in_bytes")}[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(
        f"anon 5\n{'inactive_file' if version == 2 else 'total_inactive_file'} {cached}\n"
    )


@pytest.mark.parametrize(
    ("lines", "groups", "expected"),
    [
        (["0::/"], [("", 2, 4 * GiB, 3 * GiB, GiB)], 2 * GiB),  # a container that sees its group as the top one
        (["0::/job/step"], [("job", 2, 4 * GiB, GiB, 0), ("job/step", 2, "max", GiB, 0)], 3 * GiB),  # a limit above
        (["0::/job"], [("job", 2, "max", GiB, 0)], 10 * GiB),
        (["0::/job"], [("job", 2, 2 * GiB, 3 * GiB, 0)], 0),
        (["4:cpu,memory:/job", "0::/"], [("memory/job", 1, 4 * GiB, 2 * GiB, GiB)], 3 * GiB),
        (["4:memory:/docker/1f"], [("memory", 1, 4 * GiB, 3 * GiB, 0)], GiB),  # the machine's path, unseen inside
        (["4:memory:/"], [("memory", 1, 2**63 - 4096, 3 * GiB, 0)], 10 * GiB),  # no limit
        (["3:cpuset:/"], [("", 2, GiB, 0, 0)], 10 * GiB),
        ([], [], 10 * GiB),
    ],
)
def test_the_memory_left_is_that_of_the_machine_and_of_every_group_above(
    lines, groups, expected, tmp_path, monkeypatch
):
    memory = namedtuple("memory", "available")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(10 * GiB))
    if lines:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text("\n".join(lines) + "\n")
    for path, version, limit, used, cached in groups:
        _group(tmp_path / "sys/fs/cgroup" / path, version, limit, used, cached)
    assert available_memory(tmp_path) == expected


def test_the_memory_left_on_this_machine_is_some_and_not_more_than_it_has():
    assert 0 < available_memory() <= psutil.virtual_memory().total
