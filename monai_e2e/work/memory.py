"""The memory that is left, also in a container or a cluster's job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil


def available_memory(root: str | Path = "/") -> int:
    """Bytes of memory that this process can still use, on this machine and within the limits of its container or job.

    The system reports the memory of the whole machine. The limit of a container is that of its control group (cgroup,
    version 1 or 2) and of the groups above. Files that the system caches in memory count as free.

    Args:
        root: where the system's folders ``proc`` and ``sys`` are.
    """
    return max(0, min([int(psutil.virtual_memory().available), *_rooms_of_groups(Path(root))]))


def _rooms_of_groups(root: Path) -> Iterator[int]:
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # another system than Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", maxsplit=2)
        if not controllers:
            top, limit, usage, cached = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit, usage = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cached = "total_inactive_file"
        else:
            continue
        # In a container the own group may appear as the top one, without the path that it has outside.
        group = Path(path.lstrip("/"))
        for folder in (root / top / part for part in (group, *group.parents)):
            try:
                most = (folder / limit).read_text(encoding="utf-8").strip()
                used = int((folder / usage).read_text(encoding="utf-8"))
                table = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
            except (OSError, ValueError):
                continue
            if most != "max":
                yield int(most) - used + int(table.get(cached, 0))
