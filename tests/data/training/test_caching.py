import logging
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.transforms import Compose, EnsureTyped, RandAffined, RandFlipd, RepeatChanneld
from PIL import Image

from monai_e2e.checkpoints import files as checkpoint_files
from monai_e2e.data.images.pixels import save_grey16
from monai_e2e.data.training import caching
from monai_e2e.data.training.caching import make_dataset, not_cached
from monai_e2e.errors import UserError
from monai_e2e.handlers import SeedEpochs
from monai_e2e.transforms import LoadMammogramd, RandShiftIntensityWithinRanged

GiB = 2**30
SIZE = (64, 48)
KINDS = [("memory", 1.0), ("memory", 0.5), ("disk", 1.0), ("disk", 0.5), ("none", 1.0)]


def write_image(path, seed):
    save_grey16(np.random.default_rng(seed).integers(0, 65536, SIZE, dtype=np.uint16), Path(path))


@pytest.fixture
def data(tmp_path):
    samples = []
    for index in range(8):
        path = str(tmp_path / f"{index}.png")
        write_image(path, index)
        samples.append({"image": path, "label": index % 2, "lesions": [{"mask": "m"}], "density": None, "mean": 0.5})
    return samples


@pytest.fixture
def decoded(monkeypatch):
    """Numbers of the images that are decoded, in order."""
    numbers, real = [], LoadMammogramd.__call__

    def noting(self, sample):
        numbers.append(int(Path(sample["image"]).stem))
        return real(self, sample)

    monkeypatch.setattr(LoadMammogramd, "__call__", noting)
    return numbers


def chain(random=True, repeats=3):
    drawn = [
        RandFlipd("image", prob=0.5, spatial_axis=1),
        RandAffined("image", prob=1.0, spatial_size=SIZE, cache_grid=True, rotate_range=0.4, padding_mode="border"),
        RandShiftIntensityWithinRanged("image", offset=20),
    ]
    last = [not_cached, RepeatChanneld("image", repeats=repeats), EnsureTyped("image", track_meta=False)]
    return Compose([LoadMammogramd("image"), *(drawn if random else []), *last])


def epochs(dataset, workers, first=1):
    """Images of the epochs up to the second, by epoch; the run begins with epoch ``first``."""
    seen = {}
    engine = Engine(lambda engine, batch: seen.setdefault(engine.state.epoch, []).append(batch["image"]))
    SeedEpochs(3).attach(engine)

    @engine.on(Events.STARTED)
    def _resume(_engine):
        engine.state.epoch, engine.state.iteration = first - 1, (first - 1) * engine.state.epoch_length

    names = lambda batch: [{key: sample[key] for key in ("image", "label")} for sample in batch]  # noqa: E731
    collate = lambda batch: torch.utils.data.default_collate(names(batch))  # noqa: E731
    engine.run(DataLoader(dataset, batch_size=2, shuffle=True, num_workers=workers, collate_fn=collate), max_epochs=2)
    return {epoch: torch.cat(images) for epoch, images in seen.items()}


@pytest.mark.parametrize("workers", [0, 2])
def test_every_kind_gives_the_same_augmented_images_to_the_bit_also_in_a_resumed_run(workers, data, tmp_path):
    expected = epochs(make_dataset(data, chain(), "none"), workers)
    assert not torch.equal(expected[1], expected[2])
    for kind, rate in KINDS:
        folder = tmp_path / f"{kind}{rate}"
        whole = epochs(make_dataset(data, chain(), kind, rate, folder), workers)
        resumed = epochs(make_dataset(data, chain(), kind, rate, folder), workers, first=2)
        assert torch.equal(whole[1], expected[1])
        assert torch.equal(whole[2], expected[2])
        assert list(resumed) == [2]
        assert torch.equal(resumed[2], expected[2])


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("random", [True, False])
def test_an_image_that_is_kept_is_decoded_once(kind, random, data, tmp_path, decoded):
    dataset = make_dataset(data, chain(random), kind, cache_rate=0.5, cache_dir=tmp_path / "cache")
    for _ in range(3):
        for index in range(len(dataset)):
            dataset[index]
    once = decoded[1:]  # the first was for the size
    assert [once.count(number) for number in range(8)] == [1] * 4 + [3] * 4


def test_a_later_run_uses_the_files_on_disk(data, tmp_path, decoded):
    for index in range(8):
        make_dataset(data, chain(), "disk", cache_dir=tmp_path / "cache")[index]
    before = len(decoded)
    again = make_dataset(data, chain(), "disk", cache_dir=tmp_path / "cache")
    assert [again[index]["image"].shape for index in range(8)] == [(3, *SIZE)] * 8
    assert decoded[before:] == [0]


def test_the_channels_that_a_network_wants_are_not_kept(data, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(caching, "available_memory", lambda: 3 * GiB)
    with caplog.at_level(logging.INFO):
        make_dataset(data * 43, chain(random=False), "memory")
    assert f"Keeping 344 images in memory: {344 * 64 * 48 * 2 / 2**20:.1f} MiB of 3.0 GiB free." in caplog.messages
    dataset = make_dataset(data, chain(random=False), "disk", cache_dir=tmp_path / "cache")
    assert dataset[0]["image"].shape == (3, *SIZE)
    (file,) = (tmp_path / "cache").iterdir()
    assert torch.load(file, weights_only=True)["sample"]["image"].shape == (1, *SIZE)


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("depth", [8, 16, 12])
def test_images_are_kept_as_16_bits_where_that_changes_no_bit(kind, depth, tmp_path):
    """12 bits in a file of 16, as no prepared folder has, are spread so that they fall between the 16."""
    pixels = np.arange(2**depth, dtype=np.uint16).reshape(2 ** (depth // 2), -1)
    path = tmp_path / "image.png"
    if depth == 16:
        save_grey16(pixels, path)
    else:
        Image.fromarray(pixels.astype(np.uint8 if depth == 8 else np.uint16)).save(path)
    loaded = LoadMammogramd("image")({"image": str(path)})["image"]
    load = Compose([LoadMammogramd("image")])
    dataset = make_dataset([{"image": str(path)}], load, kind, cache_dir=tmp_path / "cache")
    for _ in range(3):  # written, read with its checksum, mapped
        found = dataset[0]["image"]
        assert found.dtype == torch.float32
        assert torch.equal(found, loaded)
    kept = dataset._cache[0] if kind == "memory" else torch.load(dataset.file_of(0), weights_only=True)["sample"]
    assert kept["image"].dtype == (torch.float32 if depth == 12 else torch.uint16)


def test_a_file_is_mapped_after_its_checksum_was_looked_at_once_by_any_process(data, tmp_path, monkeypatch):
    dataset = make_dataset(data[:4], chain(random=False), "disk", cache_dir=tmp_path / "cache")
    expected = [dataset[index]["image"] for index in range(4)]
    list(DataLoader(dataset, num_workers=2, collate_fn=lambda batch: batch[0]["image"]))
    monkeypatch.setattr(caching, "read_checkpoint", lambda path: pytest.fail(f"{path} was read"))
    assert all(torch.equal(dataset[index]["image"], expected[index]) for index in range(4))
    dataset.file_of(0).write_bytes(b"cut off by something else")
    assert torch.equal(dataset[0]["image"], expected[0])


def test_room_is_counted_for_every_process_on_the_machine(data, caplog, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(caching, "available_memory", lambda: GiB)
    with caplog.at_level(logging.INFO):
        make_dataset(data, chain(), "memory")
        monkeypatch.setenv("LOCAL_RANK", "1")
        make_dataset(data, chain(), "memory")
    need = 8 * 64 * 48 * 2 * 4 / 2**20
    assert caplog.messages == [f"Keeping 8 images in memory in each of 4 processes: {need:.1f} MiB of 1.0 GiB free."]


def test_too_large_for_memory_is_an_error_before_anything_is_kept_and_names_a_share_that_fits(
    data, decoded, monkeypatch
):
    need = 8 * 64 * 48 * 2
    monkeypatch.setattr(caching, "available_memory", lambda: need - 1)
    with pytest.raises(UserError, match=r"8 images .* takes 0\.0 MiB, more than 80% of the 0\.0 MiB .*--cache disk"):
        make_dataset(data, chain(), "memory")
    with pytest.raises(UserError, match=r"--cache_rate 0\.79"):
        make_dataset(data, chain(), "memory")
    assert decoded == [0, 0]
    assert len(make_dataset(data, chain(), "memory", cache_rate=0.79)) == 8


def test_too_large_for_the_disk_is_an_error_but_not_what_is_there_already(data, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(caching.shutil, "disk_usage", lambda _: usage(0, 0, 64 * 48 * 2 * 2))
    with pytest.raises(UserError, match=r"cache: keeping 8 images of 0\.0 MiB takes 0\.0 MiB.*--cache_dir"):
        make_dataset(data, chain(), "disk", cache_dir=tmp_path / "cache")
    for index in range(7):
        make_dataset(data[index : index + 1], chain(), "disk", cache_dir=tmp_path / "cache")[0]
    assert len(make_dataset(data, chain(), "disk", cache_dir=tmp_path / "cache")) == 8


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "pickle", "other"])
def test_a_damaged_file_is_replaced_with_a_warning(damage, data, tmp_path, caplog):
    make_dataset(data, chain(False), "disk", cache_dir=tmp_path / "cache")[0]
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    changed = {"cut": whole[:-900], "bit": flipped, "empty": b"", "pickle": b"\x80\x04N.", "other": b"PK\x03\x04"}
    file.write_bytes(changed[damage])
    image = make_dataset(data, chain(False), "disk", cache_dir=tmp_path / "cache")[0]["image"]
    assert torch.equal(image, make_dataset(data, chain(False), "none")[0]["image"])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(file) in caplog.text
    assert file.read_bytes() == whole


def test_an_image_that_was_replaced_is_decoded_anew(data, tmp_path):
    before = make_dataset(data, chain(False), "disk", cache_dir=tmp_path / "cache")[0]["image"]
    write_image(data[0]["image"], 99)
    after = make_dataset(data, chain(False), "disk", cache_dir=tmp_path / "cache")[0]["image"]
    assert torch.equal(after, make_dataset(data, chain(False), "none")[0]["image"])
    assert not torch.equal(before, after)


def test_other_transforms_use_other_files(data, tmp_path):
    small = Compose([LoadMammogramd("image", image_size=(32, 24))])
    shapes = [make_dataset(data, t, "disk", cache_dir=tmp_path / "cache")[0]["image"].shape for t in (chain(), small)]
    assert shapes == [(3, *SIZE), (1, 32, 24)]


def test_processes_that_keep_the_same_image_at_the_same_time_leave_one_whole_file(data, tmp_path, monkeypatch):
    names, real = [], checkpoint_files.save_atomically
    monkeypatch.setattr(
        checkpoint_files, "save_atomically", lambda content, path: (names.append(path), real(content, path))
    )
    dataset = make_dataset(data[:1] * 32, chain(False, 1), "disk", cache_dir=tmp_path / "cache")
    images = [b["image"] for b in DataLoader(dataset, num_workers=2, collate_fn=lambda batch: batch[0])]
    assert all(torch.equal(image, images[0]) for image in images)
    assert list((tmp_path / "cache").iterdir()) == [dataset.file_of(0)]
    for _ in range(2):
        dataset.file_of(0).unlink()
        dataset[0]
    assert names[0] != names[1]  # else one would move the other's half-written file into place


def test_a_disk_that_is_full_costs_the_cache_and_not_the_training(data, tmp_path, caplog, monkeypatch):
    def full(_content, path):
        raise UserError(f"{path} can't be written (No space left on device): free some space")

    monkeypatch.setattr(checkpoint_files, "save_atomically", full)
    dataset = make_dataset(data, chain(False), "disk", cache_dir=tmp_path / "cache")
    assert torch.equal(dataset[1]["image"], make_dataset(data, chain(False), "none")[1]["image"])
    assert "No space left on device" in caplog.text


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(data, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/cache: images can't be kept there .*--cache_dir"):
        make_dataset(data, chain(), "disk", cache_dir=tmp_path / "file" / "cache")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cache": "ram"}, "'ram': choose one of memory, disk, none"),
        ({"cache_rate": 1.5}, "from 0 to 1, .* got 1.5"),
        ({"cache_rate": "half"}, "got 'half'"),
        ({"cache": "disk"}, "set cache_dir"),
    ],
)
def test_an_argument_out_of_range_is_an_error(settings, message, data):
    with pytest.raises(UserError, match=message):
        make_dataset(data, chain(), **settings)
