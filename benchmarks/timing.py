"""What the benchmarks share: ways of doing one thing, timed by turns so that other work on the machine meets all alike.

With the environment variable ``BENCHMARK_JSON``, results are appended to that file too, a line of JSON for each table.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def compare(
    ways: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each way in each round, after a round that isn't counted."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            start = clock()
            way()
            if repeat:
                times[name].append(clock() - start)
    return times


def show(title: str, times: Mapping[str, list[float]], unit: str = "s", calls: int = 1) -> None:
    """Print median, range and how many times faster than the first way each is; ratios are of each round.

    Args:
        title: what is timed, with its size.
        times: as :func:`compare` gives them.
        unit: "s" or "ms".
        calls: how often a way did the thing in one timing.
    """
    scale = {"s": 1, "ms": 1000}[unit] / calls
    first = next(iter(times.values()))
    rows = []
    print(f"{title}\n{'':40} {'median':>10} {'range':>20} {'faster than the first, range':>30}")
    for name, seconds in times.items():
        ratios = sorted(a / b for a, b in zip(first, seconds, strict=True))
        low, middle, high = (scale * f(seconds) for f in (min, statistics.median, max))
        ratio = statistics.median(ratios)
        spread = f"{low:.3g} to {high:.3g}"
        print(f"{name:40} {middle:>7.3g} {unit:2} {spread:>20} {ratio:>9.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        rows.append({"name": name, "median": middle, "low": low, "high": high, "ratio": ratio, "unit": unit})
    print(flush=True)
    record(title, rows)


def record(title: str, rows: list[dict[str, object]]) -> None:
    """Append a table to the file that ``BENCHMARK_JSON`` names, if it does."""
    if path := os.environ.get("BENCHMARK_JSON"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"title": title, "rows": rows}) + "\n")
