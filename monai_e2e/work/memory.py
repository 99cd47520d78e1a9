"""The memory that is left, in a container or a job too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil


def available_memory(root: str | Path = "/") -> int:
    """Bytes of memory that this process can still take, by the machine and by the limits of its container or job.

    The system counts the whole machine's memory, whatever a container may use; its limit is that of its control group
    (cgroup, version 1 or 2) and of those above. Files that the system holds in memory and can drop count as free.

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
        # A container may see its own group as the top one, and not the path that the machine has for it.
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
