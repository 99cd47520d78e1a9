"""All benchmarks that need no GPU and no data, within twenty minutes on two quiet cores: ``make bench``.

Run: ``python benchmarks/run.py [NAME …] [--out docs]``. Each is a process of its own, the command that is printed, and
can be run alone. What they print and their tables go to ``benchmarks.md`` and ``benchmarks.json`` in the folder
``--out``, with the machine and versions. One that fails or takes more than its time is named, and the others go on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from monai_e2e.provenance import device_name, git_state, now, versions

HERE = Path(__file__).parent
#: Name → arguments, number of threads (0: all cores), and the most seconds that it may take.
BENCHMARKS: dict[str, tuple[list[str], int, int]] = {
    "engines": (["--repeats", "3"], 0, 270),
    "cache": (["--repeats", "7"], 1, 60),
    "step": ([], 1, 120),
    "amp": ([], 0, 240),
    "find_unused_parameters": ([], 1, 60),
    "loader": (["--step", "0.25", "--steps", "12", "--patients", "20", "--workers", "0", "1", "2"], 1, 240),
    "predict": ([], 0, 300),
    "prepare": (["--repeats", "3"], 1, 240),
    "growth": ([], 1, 400),
    "memory": ([], 1, 240),
}


def run(name: str, tables: Path) -> dict[str, object]:
    """One benchmark's command, output, tables and exit status."""
    arguments, threads, limit = BENCHMARKS[name]
    command = ["python", f"benchmarks/{name}.py", *arguments]
    environment = {**os.environ, "BENCHMARK_JSON": str(tables)}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    tables.write_text("", encoding="utf-8")
    shown = (f"OMP_NUM_THREADS={threads} " if threads else "") + " ".join(command)
    print(f"$ {shown}", flush=True)
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", *command[1:]],
        cwd=HERE.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=limit)
        state = "finished" if process.returncode == 0 else f"failed: {(errors.strip().splitlines() or ['?'])[-1]}"
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        state = f"ended after {limit} s"
    seconds = time.perf_counter() - start
    print(f"{output.rstrip()}\n{name} {state}, {seconds:.0f} s\n", flush=True)
    found = [json.loads(line) for line in tables.read_text(encoding="utf-8").splitlines()]
    return {"name": name, "command": shown, "state": state, "seconds": seconds, "output": output, "tables": found}


def markdown(tables: list[dict[str, Any]]) -> list[str]:
    """Lines of Markdown for tables of rows, dicts by column; a row with other columns begins a new one."""
    lines: list[str] = []
    for table in tables:
        columns: list[str] = []
        for row in table["rows"]:
            if list(row) != columns:
                columns = list(row)
                lines += ["", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
            lines.append("| " + " | ".join(map(shown, row.values())) + " |")
    return lines[1:]


def shown(value: object) -> str:
    """A cell: yes and no, and numbers to three places or two digits that count."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2g}" if abs(value) < 0.01 else f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value)


def write(out: Path, machine: dict[str, object], results: list[dict[str, object]], stem: str, by: str) -> None:
    """The results as ``<stem>.json``, and as ``<stem>.md`` with each benchmark's command and what it printed (or its
    tables, where that is nothing).

    Args:
        out: folder, made if it isn't there.
        machine: device, time, revision and versions.
        results: as :func:`run` gives them.
        stem: name of the files.
        by: the command that measured.
    """
    out.mkdir(parents=True, exist_ok=True)
    content = json.dumps({**machine, "benchmarks": results}, indent=1, ensure_ascii=False) + "\n"
    (out / f"{stem}.json").write_text(content, encoding="utf-8")
    lines = [
        f"# Benchmarks: {machine['device']}",
        "",
        f"Written by `{by}`. Variants that are compared were timed in turn, in each round.",
        "",
        f"{machine['time']}; revision {machine['revision']}; PyTorch {machine['versions']['torch']}.",
    ]
    for result in results:
        state = "" if result["state"] == "finished" else f" **{result['state']}**"
        lines += ["", f"## {result['name']}", "", f"`{result['command']}`, {result['seconds']:.0f} s.{state}", ""]
        lines += [str(result["about"]), ""] if result.get("about") else []
        lines += ["```", str(result["output"]).rstrip(), "```"] if result["output"] else markdown(result["tables"])
    (out / f"{stem}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs")
    settings = parser.parse_args()
    if unknown := set(settings.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: choose of {', '.join(BENCHMARKS)}")
    machine = {
        "device": device_name(None),
        "time": now(),
        "revision": git_state(HERE.parent / "monai_e2e")["revision"],
        "versions": versions(),
    }
    with tempfile.TemporaryDirectory() as folder:
        results = [run(name, Path(folder, "tables")) for name in settings.names or BENCHMARKS]
    write(settings.out, machine, results, "benchmarks", "make bench")
    if failed := [result["name"] for result in results if result["state"] != "finished"]:
        raise SystemExit(f"not finished: {', '.join(map(str, failed))}")


if __name__ == "__main__":
    main()
