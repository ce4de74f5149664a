"""Encode once: vectors on disk, addressed by what they were made from.

A set of items is encoded in batches that the plan fixes beforehand (items in order of size), so neither a resumed run nor
the state of the cache changes a byte. Shards of several batches are saved as they are finished; in the end one packed file
holds the whole set, and a sidecar with its checksum, written last, says that it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from safetensors import SafetensorError

from lidiag import packed, strict_json
from lidiag.cache import LARGEST_SIDECAR
from lidiag.card import ModelCard
from lidiag.errors import LidiagError
from lidiag.files import sha256, write_atomically, write_text
from lidiag.lock import turn
from lidiag.multivector import MultiVectors
from lidiag.request import WHOLE, Shard

Item = TypeVar("Item")
Dtype = Literal["float32", "float16"]
Encode = Callable[[Sequence[Item]], MultiVectors]

# A model that promises unit rows keeps them within this; bfloat16 has 8 bits of mantissa.
_UNIT_TOLERANCE = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 2e-2}
_BATCHES_PER_SHARD = 8


@dataclass(frozen=True)
class Job(Generic[Item]):
    """A set of items to encode on one side of one model."""

    card: ModelCard
    side: str
    items: Sequence[Item]
    names: Sequence[str]  # how an item is called in an error
    digests: Sequence[str]  # SHA-256 of what the model sees of each
    sizes: Sequence[int]  # anything that grows with the cost of an item
    encode: Encode[Item]
    batch_size: int
    device: str

    def key(self, dtype: Dtype) -> str:
        """Return the SHA-256 of all that the vectors depend on, kept as `dtype`."""
        who = self.card.model_dump(mode="json", exclude={"reason", "randomly_initialised", "attention"})
        settings = {"card": who, "side": self.side, "batch_size": self.batch_size, "device": self.device.split(":")[0]}
        settings |= {} if dtype == "float32" else {"store": dtype}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for item in self.digests:
            digest.update(item.encode())
        return digest.hexdigest()


@dataclass
class Store:
    """A folder of encoded sets.

    `encoded` counts the items that were really encoded; `notes` says what may have moved the vectors' last digits, and
    `repairs` what had to be done again.
    """

    root: Path
    dtype: Dtype = "float32"  # of token vectors in the file of a finished set
    shard: Shard = WHOLE  # the parts of a set that are encoded first, where several processes share the work
    encoded: int = 0
    notes: list[str] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)

    def fetch(self, job: Job[Item], advance: Callable[[int], None] = lambda _: None) -> MultiVectors:
        """Return the vectors of all items of the job, in their order, encoding what is not on disk.

        `advance` is told the number of items that are done.

        Raises:
            LidiagError: the model's vectors are not what they must be (see `check`), or the disk refuses.
        """
        if not job.items:
            raise LidiagError(f"There is nothing to encode on the {job.side} side.", "Check the collection.")
        whole = self.path(job)
        vectors = self._open(whole)
        if vectors is None:
            vectors = self._assemble(job, whole, advance)
        else:
            advance(len(job.items))
        return vectors

    def path(self, job: Job[Item]) -> Path:
        """Return where the whole set lies once it is finished."""
        key = job.key(self.dtype)
        return self.root / "vectors" / key[:2] / f"{key}.safetensors"

    def part_path(self, job: Job[Item], number: int) -> Path:
        """Return where a part of the set lies until the whole is finished."""
        return self.path(job).with_suffix(".parts") / f"{number:06d}.safetensors"

    def division(self, job: Job[Item]) -> list[list[int]]:
        """Divide the set into parts: the items, by number, that each encodes."""
        order, step = _order(job), job.batch_size * _BATCHES_PER_SHARD
        return [order[start : start + step] for start in range(0, len(order), step)]

    def encode_part(self, job: Job[Item], number: int, advance: Callable[[int], None] = lambda _: None) -> MultiVectors:
        """Return a part of the set, encoding what is not on disk.

        Raises:
            LidiagError: as `fetch`.
        """
        path, chosen = self.part_path(job, number), self.division(job)[number]
        part = self._open(path)
        if part is not None:
            advance(len(chosen))
            return part
        noted = len(self.notes)
        write_atomically(path, self._encode_shard(job, chosen, advance).save)
        self._seal(path, len(chosen), job.card, job.side, self.notes[noted:])
        return MultiVectors.load(path)

    def _assemble(self, job: Job[Item], whole: Path, advance: Callable[[int], None]) -> MultiVectors:
        order, noted = _order(job), len(self.notes)
        parts = self._parts(job, whole, advance)
        advance(len(job.items) - len(order))
        with turn(whole.with_suffix(".lock")):
            vectors = self._open(whole)
            if vectors is None and parts:
                self._pack(job, order, parts, whole, self.notes[noted:])
                vectors = self._open(whole)
            if vectors is not None:
                shutil.rmtree(whole.with_suffix(".parts"), ignore_errors=True)
        if vectors is None:
            raise LidiagError(
                f"{whole} did not come back from the disk as it was written.", "Check the disk, or set LIDIAG_CACHE to another one."
            )
        return vectors

    def _parts(self, job: Job[Item], whole: Path, advance: Callable[[int], None]) -> list[MultiVectors]:
        """Return all parts of a set. What another process encodes at this moment is left to it, and waited for in the end."""
        count = len(self.division(job))
        parts: dict[int, MultiVectors] = {}
        for wait in (False, True):
            for number in sorted(set(range(count)) - set(parts), key=lambda number: (not self.shard.owns(number), number)):
                with turn(self.part_path(job, number).with_suffix(".lock"), wait=wait) as mine:
                    if not mine:
                        continue
                    if whole.with_suffix(".json").exists():
                        return []  # another process has just put the set together, and removed its parts
                    parts[number] = self.encode_part(job, number, advance)
        return [parts[number] for number in range(count)]

    def _pack(self, job: Job[Item], order: Sequence[int], parts: Sequence[MultiVectors], whole: Path, notes: Sequence[str]) -> None:
        """Write the whole set in its own order from the mapped shards."""
        seats = [(part, row) for part in parts for row in range(len(part))]
        seat = {job.digests[i]: seats[k] for k, i in enumerate(order)}
        chosen = [seat[digest] for digest in job.digests]
        lengths = torch.tensor([int(part.offsets[row + 1] - part.offsets[row]) for part, row in chosen], dtype=torch.int64)
        small: dict[str, torch.Tensor] = {}
        for name in ("pooled", "cut"):
            columns = [getattr(part, name) for part in parts]
            if all(column is not None for column in columns):
                small[name] = torch.stack([getattr(part, name)[row] for part, row in chosen])
        items = (self._in_range(part[row], job.names[i], job) for i, (part, row) in enumerate(chosen))
        dtype = torch.float16 if self.dtype == "float16" else torch.float32
        write_atomically(whole, lambda path: packed.write(path, lengths, parts[0].dim, items, small, dtype))
        self._seal(whole, len(chosen), job.card, job.side, notes)

    def _in_range(self, item: torch.Tensor, name: str, job: Job[Item]) -> torch.Tensor:
        if self.dtype == "float16" and len(item) and float(item.abs().max()) > torch.finfo(torch.float16).max:
            raise LidiagError(
                f"{job.card.name} gives {float(item.abs().max()):.4g} in a token vector of the {job.side} {name!r}, beyond what 16 bits hold.",
                "Keep its vectors with --store float32.",
            )
        return item

    def _encode_shard(self, job: Job[Item], chosen: Sequence[int], advance: Callable[[int], None]) -> MultiVectors:
        parts: list[MultiVectors] = []
        for start in range(0, len(chosen), job.batch_size):
            batch = chosen[start : start + job.batch_size]
            parts.append(self._encode(job, batch))
            self.encoded += len(batch)
            advance(len(batch))
        return MultiVectors.concat(parts)

    def _encode(self, job: Job[Item], batch: Sequence[int]) -> MultiVectors:
        try:
            vectors = job.encode([job.items[i] for i in batch])
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise LidiagError(
                    f"{job.card.name} runs out of memory on the single {job.side} {job.names[batch[0]]!r}.",
                    "Use --dtype bfloat16, a larger device, or a shorter maximum length.",
                ) from None
            half = (len(batch) + 1) // 2
            self.notes.append(f"a batch of {len(batch)} {job.side} items did not fit into memory and was halved")
            return MultiVectors.concat([self._encode(job, batch[:half]), self._encode(job, batch[half:])])
        check(vectors, job.card, job.side, [job.names[i] for i in batch])
        return vectors

    def _seal(self, path: Path, items: int, card: ModelCard, side: str, notes: Sequence[str]) -> None:
        about = {"model": card.name, "revision": card.revision, "side": side}
        body = about | {"sha256": sha256(path), "items": items, "notes": sorted(set(notes))}
        write_text(path.with_suffix(".json"), json.dumps(body))

    def _open(self, path: Path) -> MultiVectors | None:
        """Map a finished file; one that is damaged is reported and encoded again."""
        sidecar = path.with_suffix(".json")
        if not sidecar.exists():
            return None
        try:
            told = strict_json.read(sidecar, LARGEST_SIDECAR, "a sidecar", "Delete it.")
            if sha256(path) == told["sha256"]:
                vectors = MultiVectors.load(path)
                _mark_used(sidecar)
                self.notes += [str(note) for note in told.get("notes", [])]
                return vectors
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, LidiagError):
            pass
        self.repairs.append(f"the cached vectors {path.name} were damaged and have been encoded again")
        try:
            sidecar.unlink(missing_ok=True)
        except OSError as error:
            raise LidiagError(
                f"{path} is damaged and cannot be replaced: {error.strerror}.", "Set LIDIAG_CACHE to another folder."
            ) from error
        return None


def check(vectors: MultiVectors, card: ModelCard, side: str, names: Sequence[str]) -> None:
    """Refuse vectors that cannot be right, naming the first bad item.

    Raises:
        LidiagError: another number of items than asked for, another dim than the card's, a value that is not finite, or a
            row that is not of length 1 where unit rows are promised.
    """
    if len(vectors) != len(names):
        raise LidiagError(f"{card.name} returned {len(vectors)} items for a batch of {len(names)} {side} items.", "Mend the adapter.")
    if vectors.dim != card.dim:
        raise LidiagError(
            f"{card.name} returned {side} vectors of {vectors.dim} dimensions for {names[0]!r}; its card says {card.dim}.",
            "Load the model anew, or mend the adapter.",
        )
    values = vectors.vectors.float()
    wrong = ~values.isfinite().all(1)
    if bool(wrong.any()):
        name, row = _locate(vectors, names, wrong)
        raise LidiagError(
            f"{card.name} returned a value that is not finite in token vector {row} of the {side} {name!r}.",
            "Run `lidiag check` on the model: half precision and padding rows are the usual causes.",
        )
    if card.unit_rows:
        wrong = (values.norm(dim=1) - 1).abs() > _UNIT_TOLERANCE.get(card.dtype, 1e-3)
        if bool(wrong.any()):
            name, row = _locate(vectors, names, wrong)
            length = float(values[wrong][0].norm())
            raise LidiagError(
                f"{card.name} promises token vectors of length 1, but number {row} of the {side} {name!r} has length {length:.4g}.",
                "A length of 0 is a padding row that was left in. Run `lidiag check` on the model.",
            )


def _mark_used(sidecar: Path) -> None:
    with suppress(OSError):  # a cache that may only be read keeps no record of who read it
        os.utime(sidecar)


def _order(job: Job[Item]) -> list[int]:
    # Equal items are encoded once; long items come first, so that memory runs out early or never.
    first: dict[str, int] = {}
    for i, digest in enumerate(job.digests):
        first.setdefault(digest, i)
    return sorted(first.values(), key=lambda i: (-job.sizes[i], job.digests[i]))


def _is_out_of_memory(error: Exception) -> bool:
    # On the processor torch raises no error of its own kind.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def _locate(vectors: MultiVectors, names: Sequence[str], wrong: torch.Tensor) -> tuple[str, int]:
    row = int(wrong.nonzero()[0])
    item = int(torch.searchsorted(vectors.offsets, row, right=True)) - 1
    return names[item], row - int(vectors.offsets[item])
