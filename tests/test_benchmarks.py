"""The benchmarks' own parts: the GPU's table on a processor at a tiny size, and results that survive a failure."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _folder(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) & {"gpu", "loader", "memory", "run", "timing"} - before:
        del sys.modules[name]


def test_the_gpus_table_has_rows_of_every_network_and_option_and_names_what_failed(tmp_path, monkeypatch, capsys):
    import gpu

    def fail(_scale):
        yield {"what": "first", "images/s": 1.5}
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(gpu, "SECONDS", 1e9)  # however busy the machine is
    monkeypatch.setitem(gpu.SECTIONS, "compile", fail)
    gpu.main(["--tiny", "--sections", "compile", "speed", "memory", "--out", str(tmp_path)])
    found = {section["name"]: section for section in json.loads((tmp_path / "tiny.json").read_text())["benchmarks"]}
    assert {name: section["state"].split(":")[0] for name, section in found.items()} == {
        "compile": "failed",
        "speed": "finished",
        "memory": "finished",
    }
    rows = {name: section["tables"][0]["rows"] for name, section in found.items()}
    assert rows["compile"] == [{"what": "first", "images/s": 1.5}]
    assert list(rows["speed"][0]) == ["what", "TFLOP/s"]
    assert len(rows["speed"]) == 1 + 3 * 2 * 2
    assert all(row["share of peak"] >= 0 for row in rows["speed"][1:])  # thousandths: 0 beside other work
    assert len(rows["memory"]) == len(gpu.ROWS)
    text = (tmp_path / "tiny.md").read_text()
    assert "no kernel image" in text
    assert "| what | images/s | share of peak |" in text
    assert "| resnet50, whole images, inference, fp32 | " in text
    assert "| amp bfloat16, channels_last | " in text
    assert "python benchmarks/gpu.py --sections speed" in text
    assert capsys.readouterr().out


@pytest.mark.parametrize(("given", "expected"), [("", []), (f"a{os.pathsep}b", ["a", "b"])])
def test_the_gpus_command_finds_the_packages_of_the_callers_own_path_too(monkeypatch, given, expected):
    import gpu

    monkeypatch.setenv("PYTHONPATH", given)
    assert gpu.environment()["PYTHONPATH"].split(os.pathsep) == [*gpu.PACKAGES, *expected]


def test_ways_are_timed_by_turns_and_ratios_are_of_each_round(tmp_path, monkeypatch, capsys):
    import timing

    monkeypatch.setenv("BENCHMARK_JSON", str(tmp_path / "tables"))
    order, clock = [], iter(range(1000))
    ways = {"slow": lambda: (order.append("slow"), next(clock)), "fast": lambda: order.append("fast")}
    times = timing.compare(ways, 2, lambda: next(clock))
    assert order == ["slow", "fast"] * 3
    assert times == {"slow": [2, 2], "fast": [1, 1]}
    timing.show("Two ways", times, "ms", calls=4)
    (table,) = map(json.loads, (tmp_path / "tables").read_text().splitlines())
    assert table["title"] == "Two ways"
    assert table["rows"][1] == {"name": "fast", "median": 250, "low": 250, "high": 250, "ratio": 2, "unit": "ms"}
    assert "2.00 (2.00 to 2.00)" in capsys.readouterr().out


def test_the_real_experiments_plan_trains_its_arms_for_equally_many_epochs():
    from monai_e2e.experiment.plan import read_plan

    plan = read_plan(BENCHMARKS / "real" / "arms.json", "small")
    assert (plan.seeds, plan.datasets) == ((0, 1, 2), ["cbis-ddsm"])
    epochs = {name: sum(stage["epochs"] for stage in row.keys.get("stages", ())) for name, row in plan.rows.items()}
    assert epochs["A"] == epochs["B"] == epochs["C"] == epochs["D"] == 8  # as many over whole images
    assert plan.rows["A-plain"].keys["ema_momentum"] is None


def test_the_page_of_tables_is_what_the_committed_results_make():
    results = BENCHMARKS / "real" / "results" / "arms"
    page = (BENCHMARKS.parent / "docs" / "real-tables.md").read_text(encoding="utf-8")
    arms = [results / f"{name}.json" for name in ("A0", "A1", "A2", "B0", "B1", "B2")]
    run = [sys.executable, BENCHMARKS / "real" / "tables.py", *arms]
    printed = subprocess.run(run, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    rows = [line for line in printed.splitlines() if line.startswith(("| A |", "| B |"))]
    assert len(rows) == 5 * 8
    assert [row for row in rows if row not in page] == []
