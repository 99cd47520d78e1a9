"""Prepared images decoded once: kept in memory or on disk, with a look at the room that is left before it is taken."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from joblib import cpu_count
from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.data.utils import json_hashing, pickle_hashing
from monai.transforms import Compose, Transform
from monai.transforms.traits import RandomizableTrait

from monai_e2e import __version__
from monai_e2e.checkpoints.files import FORMAT, DamagedError, as_plain, map_checkpoint, read_checkpoint, save_shared
from monai_e2e.data.training.chain import Chain
from monai_e2e.data.training.seeded import SeededDataset
from monai_e2e.errors import UserError
from monai_e2e.work.memory import available_memory

logger = logging.getLogger(__name__)

Sample = TypeVar("Sample")

CACHES = ("memory", "disk", "none")
#: Share of the free room that a cache may take; the rest is for the network, the loader's processes and checkpoints.
_SHARE = 0.8
#: The largest number of 16 bits, which stands for 255.
_MAXIMUM = 65535
#: Key under which a sample lists what is packed.
_PACKED = "_packed"
#: Threads that fill a cache in memory: Pillow decodes without Python's lock, so a second one halves the time.
_MAX_THREADS = 8


def make_dataset(
    data: Sequence[Mapping[str, Any]],
    transform: Compose,
    cache: str = "memory",
    cache_rate: float = 1.0,
    cache_dir: str | Path | None = None,
    seed: int | None = None,
) -> Dataset | SeededDataset:
    """MONAI's data set that keeps what the transforms before the first random one, or :func:`not_cached`, give.

    Whatever is kept, the samples are the same to the bit, random transforms included. Images whose values are those of
    16 bits, as all of a prepared folder are, are kept as such, in half the room. What it will take is logged
    before it is taken: the bytes of one transformed sample times their number and, in memory, where each process has
    its own, times the number of processes that ``torchrun`` has on this machine. Data sets share the room: the second
    to be made finds what the first has left.

    Args:
        data: samples, dicts of plain values with the path ``image``.
        transform: chain of transforms.
        cache: ``"memory"``; ``"disk"``, files that later runs use too; or ``"none"``, which decodes in each epoch.
        cache_rate: share of the samples to keep, 0…1; the others are decoded in each epoch.
        cache_dir: folder of the files; data sets may share it, and it may be deleted at any time.
        seed: what random transforms draw follows from it, see :class:`~monai_e2e.data.training.seeded.SeededDataset`;
            None: from the state of their generators.

    Raises:
        UserError: when an argument is out of range, the images need more room than there is, or the folder can't be
            written to.
    """
    dataset = _make(data, transform, cache, cache_rate, cache_dir)
    return dataset if seed is None else SeededDataset(dataset, seed)


def _make(
    data: Sequence[Mapping[str, Any]], transform: Compose, cache: str, cache_rate: float, cache_dir: str | Path | None
) -> Dataset:
    if cache not in CACHES:
        raise UserError(f"cache {cache!r}: choose one of {', '.join(CACHES)}")
    if isinstance(cache_rate, bool) or not isinstance(cache_rate, int | float) or not 0 <= cache_rate <= 1:
        raise UserError(f"cache_rate must be a number from 0 to 1, the share of the images to keep, got {cache_rate!r}")
    count = int(len(data) * cache_rate)
    if cache == "none" or not count:
        return Dataset(data, transform)
    transform = _packing(transform)
    size = _bytes(_kept(transform, data[0]))
    if cache == "disk":
        if cache_dir is None:
            raise UserError("cache 'disk' needs a folder: set cache_dir")
        dataset = DiskCacheDataset(data, transform, cache_dir, count)
        _check_disk(dataset, size)
        return dataset
    _check_memory(count, size, cache_rate)
    threads = max(1, min(cpu_count(), _MAX_THREADS) // _processes())
    bar = sys.stderr.isatty() and _first_process()
    return CacheDataset(data, transform, cache_num=count, num_workers=threads, progress=bar, copy_cache=False)


def not_cached(sample: Sample) -> Sample:
    """Put between transforms: caches end here, as they do at a random transform. Returns the sample as it is.

    (MONAI's data sets cache up to the first random transform or the first callable that is no ``Transform``, as this.)
    """
    return sample


class _Pack(Transform):
    """Replace a sample's float32 images by the whole numbers of 16 bits that they were read from, where these exist."""

    def __call__(self, sample: Mapping[Any, Any]) -> dict[Any, Any]:
        packed, names = dict(sample), []
        for name, value in sample.items():
            if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
                plain = value.as_subclass(torch.Tensor)  # a MetaTensor's copies take longer than its pixels'
                numbers = (plain * (_MAXIMUM / 255)).round().clamp(0, _MAXIMUM).to(torch.uint16)
                if torch.equal(_unpacked(numbers), plain):
                    packed[name] = numbers
                    names.append(name)
        return {**packed, _PACKED: names}


def _unpack(sample: Mapping[Any, Any]) -> dict[Any, Any]:
    """A sample as it was before :class:`_Pack`, which may be changed without changing what is kept."""
    packed = sample[_PACKED]
    return {
        name: _unpacked(value) if name in packed else deepcopy(value)
        for name, value in sample.items()
        if name != _PACKED
    }


def _unpacked(numbers: torch.Tensor) -> torch.Tensor:
    # In the steps of LoadMammogram, which round; by NumPy, which takes half of PyTorch's time for a patch.
    values = numbers.numpy().astype(np.float32)
    values /= _MAXIMUM
    values *= 255
    return torch.from_numpy(values)


def _packing(transform: Compose) -> Compose:
    """The same chain, which packs what is kept."""
    end = _end_of_kept(transform)
    chain = Chain(transform)
    # What follows a function that is no Transform isn't kept.
    chain.transforms = (*transform.transforms[:end], _Pack(), _unpack, *transform.transforms[end:])
    return chain


class DiskCacheDataset(PersistentDataset):
    """MONAI's ``PersistentDataset``, proof against files that are damaged, half written or out of date.

    A file's name is a hash of its sample, the size and time of change of the sample's image file, the transforms and
    this package's version, so that an image that was replaced is decoded again. Files are whole or absent, also when
    processes write the same one or are killed; they hold plain tensors and values alone, are mapped into memory, and
    their checksums are looked at when they are first read. One that is damaged is replaced with a warning, and where
    none can be written training goes on without.

    Args:
        data: samples, dicts of plain values with the path ``image``.
        transform: chain of transforms.
        cache_dir: folder, made if it isn't there.
        cache_num: number of samples to keep, the first ones.

    Raises:
        UserError: when the folder can't be made or written to.
    """

    def __init__(
        self, data: Sequence[Mapping[str, Any]], transform: Compose, cache_dir: str | Path, cache_num: int
    ) -> None:
        folder = Path(cache_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            reason = None if os.access(folder, os.W_OK | os.X_OK) else "no permission"
        except OSError as error:
            reason = error.strerror
        if reason:
            raise UserError(
                f"{folder}: images can't be kept there ({reason}); name another folder with --cache_dir, "
                "or pass --cache memory or --cache none"
            )
        super().__init__(data, transform, folder, hash_func=_hash, hash_transform=pickle_hashing)
        self.folder, self.cache_num = folder, cache_num
        #: Whose checksums were right; shared with the loader's processes, which end with each epoch.
        self._sound = torch.zeros(len(data), dtype=torch.bool).share_memory_()

    def file_of(self, index: int) -> Path:
        """Where a sample is kept."""
        return self.folder / f"{self.hash_func(self.data[index]).decode()}{self.transform_hash[:16]}.pt"

    def _transform(self, index: int) -> Any:
        index %= len(self)
        sample = self._read(index) if index < self.cache_num else self._pre_transform(self.data[index])
        return self._post_transform(sample)

    def _read(self, index: int) -> Any:
        """A sample as its file has it, which is written first if it isn't there."""
        path = self.file_of(index)
        if path.is_file():
            try:
                content = map_checkpoint(path) if self._sound[index] else read_checkpoint(path)
                self._sound[index] = True
                return content["sample"]
            except (DamagedError, UserError) as error:  # the latter of a file that this package didn't write
                reason = error if isinstance(error, DamagedError) else "written by something else"
                logger.warning("%s is damaged (%s): its image is decoded again.", path, reason)
        sample = as_plain(self._pre_transform(deepcopy(self.data[index])), "sample")
        try:
            save_shared({"format": FORMAT, "sample": sample}, path)
        except (UserError, OSError) as error:
            logger.warning("An image could not be kept: %s", error)
        return sample


def _check_memory(count: int, size: int, cache_rate: float) -> None:
    processes = _processes()
    need = count * size * processes
    # Together, so that no process finds less because another has begun to fill its cache.
    _wait_for_all()
    free = available_memory()
    _wait_for_all()
    each = f" in each of {processes} processes" if processes > 1 else ""
    if need > _SHARE * free:
        fits = int(100 * cache_rate * _SHARE * free / need) / 100
        raise UserError(
            f"keeping {count} images of {_text(size)} in memory{each} takes {_text(need)}, more than {_SHARE:.0%} of "
            f"the {_text(free)} that are free: keep them on disk (--cache disk), a share of them "
            f"(--cache_rate {fits:g}), or none (--cache none)"
        )
    if _first_process():
        logger.info("Keeping %d images in memory%s: %s of %s free.", count, each, _text(need), _text(free))


def _check_disk(dataset: DiskCacheDataset, size: int) -> None:
    missing = sum(not dataset.file_of(index).is_file() for index in range(dataset.cache_num))
    need, free = missing * size, shutil.disk_usage(dataset.folder).free
    if need > _SHARE * free:
        raise UserError(
            f"{dataset.folder}: keeping {missing} images of {_text(size)} takes {_text(need)}, more than "
            f"{_SHARE:.0%} of the {_text(free)} that are free: name a folder on another disk with --cache_dir, keep "
            "them in memory (--cache memory), or none (--cache none)"
        )
    if _first_process():
        there = f", {dataset.cache_num - missing} of them already there" if missing < dataset.cache_num else ""
        logger.info(
            "Keeping %d images in %s%s: %s of %s free.",
            dataset.cache_num, dataset.folder, there, _text(need), _text(free),
        )  # fmt: skip


def _hash(sample: Mapping[str, Any]) -> bytes:
    status = os.stat(sample["image"])
    return json_hashing([dict(sample), status.st_size, status.st_mtime_ns, __version__])


def _kept(transform: Compose, sample: Mapping[str, Any]) -> Any:
    """A sample as a cache keeps it."""
    return transform(deepcopy(sample), end=_end_of_kept(transform))


def _end_of_kept(transform: Compose) -> int:
    """Number of transforms whose result a cache keeps, by MONAI's rule."""
    end = transform.get_index_of_first(lambda t: isinstance(t, RandomizableTrait) or not isinstance(t, Transform))
    return len(transform.transforms) if end is None else end


def _bytes(sample: Any) -> int:
    """Bytes of the arrays in a sample; beside them the rest is small."""
    if isinstance(sample, (torch.Tensor, np.ndarray)):
        return int(sample.nbytes)
    parts = list(sample.values()) if isinstance(sample, Mapping) else sample
    return sum(map(_bytes, parts)) if isinstance(parts, (list, tuple)) else 0


def _processes() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _first_process() -> bool:
    """Whether this is the first of a machine's processes, the one that speaks."""
    return int(os.environ.get("LOCAL_RANK", 0)) == 0


def _wait_for_all() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def _text(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
