"""Damaged tables and data lists: each is read without losing a row, or refused with a sentence (`pytest -m fuzz`)."""

from __future__ import annotations

import copy
import json
import random
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from release_files import check_rows
from test_cbis_ddsm import COLUMNS

from monai_e2e.data.prepared.datalist import PARTITIONS, load_datalist, pixel_mean, preparation
from monai_e2e.data.sources.cbis_ddsm.reader import read_cbis_ddsm
from monai_e2e.data.sources.inbreast.reader import read_inbreast
from monai_e2e.data.sources.own.reader import read_own
from monai_e2e.data.sources.spreadsheets import read_table
from monai_e2e.errors import UserError
from monai_e2e.metrics import read_labels, read_predictions

pytestmark = pytest.mark.fuzz
TABLES, DATALISTS = 200, 100
#: Seconds after which a reader hangs.
LIMIT = 20
DEEP = "deep"


@contextmanager
def time_limit() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {LIMIT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refusal(read: Callable[[], Any], where: str) -> str:
    """The sentence that something damaged is refused with, ``""`` if it is read; anything else fails."""
    try:
        with time_limit():
            read()
    except UserError as error:
        return str(error)
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}") from error
    return ""


def own_table() -> str:
    rows = [f"{number:02d}.png,{number % 2},P{number // 2:03d},L,{('CC', 'MLO')[number % 2]}" for number in range(20)]
    return "\n".join(["image,label,patient_id,laterality,view", *rows, ""])


def predictions() -> str:
    rows = [f"P{n:03d}/L_CC,{n:03d},L,CC,{n % 2},{(n * 37 % 100) / 100 + 0.001234:.6f},dark" for n in range(40)]
    return "\n".join(["image,patient_id,laterality,view,label,p_malignant,flags", *rows, ""])


def cbis_table() -> str:
    rows = []
    for n in range(20):
        name, uid = f"Mass-Training_P_{n:05d}_LEFT_CC", f"1.2.{n}/1.3.{n}"
        word = ("BENIGN", "MALIGNANT", "BENIGN_WITHOUT_CALLBACK")[n % 3]
        paths = f"{name}/{uid}/000000.dcm,{name}_1/{uid}/000000.dcm,{name}_1/{uid}/000001.dcm"
        rows.append(f"P_{n:05d},2,LEFT,CC,1,mass,{word},{paths}")
    return "\n".join([",".join(COLUMNS), *rows, ""])


def inbreast_table() -> str:
    rows = [f"removed;{'LR'[n % 2]};CC;{20_000_000 + n};{n % 4 + 1};{(1, 2, '4a', 5)[n % 4]}" for n in range(20)]
    return "\n".join(["Patient ID;Laterality;View;File Name;ACR;Bi-Rads", *rows, ""])


def damaged(content: bytes, chance: random.Random) -> bytes:
    """One to three bytes flipped, put in or taken out, a piece lost or doubled, or the end cut off."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data))
        kind = chance.choice(["flip", "insert", "remove", "lose", "double", "cut"])
        if kind == "flip":
            data[at] ^= 1 << chance.randrange(8)
        elif kind == "insert":
            data[at:at] = bytes([chance.choice(b'"",;\n\r\t\0\xff')])
        elif kind == "remove":
            del data[at]
        elif kind == "lose":
            del data[at : at + chance.randint(2, 60)]
        elif kind == "double":
            data[at:at] = data[at : at + chance.randint(2, 60)]
        elif len(data) > 2:
            del data[max(2, at) :]
    return bytes(data) or b"x"


def rows_of(content: bytes) -> int:
    """Lines with text below the header; of cells that are empty throughout nothing remains."""
    lines = re.split(r"\r\n|\r|\n", content.decode("utf-8", errors="replace"))
    return sum(bool(re.sub(r'[\s",;]', "", line)) for line in lines) - 1


def read_as_own(path: Path) -> None:
    check_rows(read_own(path.parent / "images", path))


def read_as_predictions(path: Path) -> None:
    for row in read_predictions(path):
        assert 0 <= row["p_malignant"] <= 1


def read_as_cbis(path: Path) -> None:
    check_rows(read_cbis_ddsm(path.parent, tables_only=True))


def read_as_inbreast(path: Path) -> None:
    check_rows(read_inbreast(path.parent, tables_only=True))


KINDS: dict[str, tuple[Callable[[], str], str, Callable[[Path], None], tuple[str, ...]]] = {
    "own": (own_table, "labels.csv", read_as_own, ("image", "label", "patient_id")),
    "predictions": (predictions, "predictions.csv", read_as_predictions, ("image",)),
    "cbis": (cbis_table, "mass_case_description_train_set.csv", read_as_cbis, ("patient id", "pathology")),
    "inbreast": (inbreast_table, "INbreast.csv", read_as_inbreast, ("file name", "bi-rads")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_tables_are_read_whole_or_refused(kind, tmp_path):
    make, name, read, needed = KINDS[kind]
    content, path, chance = make().encode(), tmp_path / name, random.Random(f"tables {kind}")
    (tmp_path / "images").mkdir()
    for number in range(20):
        (tmp_path / "images" / f"{number:02d}.png").touch()
    path.write_bytes(content)
    with time_limit():
        read(path)
    refused = 0
    for number in range(TABLES // len(KINDS)):
        data = damaged(content, chance)
        path.write_bytes(data)

        def read_whole(data: bytes = data) -> None:
            assert len(read_table(path, needed).rows) == rows_of(data)
            read(path)

        message = refusal(read_whole, f"table {number}")
        refused += bool(message)
        assert not message or str(path.parent) in message, f"table {number}: {message}"
        assert "\n" not in message, f"table {number}"
    assert 0 < refused < TABLES // len(KINDS)


def prepared(folder: Path) -> dict[str, Any]:
    """A made-up prepared folder of three folds and its data list."""
    content: dict[str, Any] = {"image_size": [8, 6], "pixel_mean": 44.3, "voi_lut": False, "folds": 3}
    for fold, name in ((2, "training"), (1, "validation"), (0, "test")):
        content[name] = []
        for label in (0, 1):
            patient = f"{name}{label}"
            lesion = {"mask": f"masks/{patient}_1.png", "type": "mass", "pathology": None, "drawn_as": "mask"}
            for path in (f"images/{patient}.png", lesion["mask"]):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).touch()
            facts = {"laterality": "LEFT", "view": "CC", "lesions": [lesion], "mean": 40.5, "original_size": [80, 60]}
            sample = {"image": f"images/{patient}.png", "label": label, "patient_id": patient, "fold": fold, **facts}
            content[name].append(sample)
    return content


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every container of a tree with each of its keys."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [(node, key) for key in keys] + [place for key in keys for place in places(node[key])]


def changed(content: dict[str, Any], chance: random.Random) -> str:
    """JSON of the data list with one value replaced or removed."""
    tree = copy.deepcopy(content)
    node, key = chance.choice(places(tree))
    values: list[Any] = [None, -1, 2**70, float("inf"), float("nan"), True, "", "\0", "\ud800", "../x", "x" * 5000]
    values += [[], {}, [[]], {"mask": 1}, "0", 0.5, DEEP]
    if chance.random() < 0.2:
        del node[key]
    else:
        node[key] = chance.choice(values)
    return json.dumps(tree).replace(f'"{DEEP}"', "[" * 20_000 + "]" * 20_000)


def test_damaged_datalists_are_read_whole_or_refused(tmp_path):
    content, chance = prepared(tmp_path), random.Random("datalists")
    path = tmp_path / "datalist.json"
    readers: list[Callable[[], Any]] = [
        *(lambda name=name: load_datalist(tmp_path, name) for name in PARTITIONS),
        *(lambda name=name: load_datalist(tmp_path, name, fold=1) for name in PARTITIONS),
        lambda: pixel_mean(tmp_path),
        lambda: pixel_mean(tmp_path, 2),
        lambda: preparation(tmp_path),
        lambda: read_labels(tmp_path),
    ]
    path.write_text(json.dumps(content))
    assert [len(read()) for read in readers[:6]] == [2] * 6
    for number in range(DATALISTS):
        text = changed(content, chance) if number % 2 else ""
        data = text.encode() if text else damaged(json.dumps(content).encode(), chance)
        path.write_bytes(data)
        for read in readers:
            message = refusal(read, f"data list {number}")
            assert not message or str(tmp_path) in message, f"data list {number}: {message}"
            assert len(message) < 1000, f"data list {number}"
