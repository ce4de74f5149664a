"""A run on a Ray cluster: actors that hold the model encode parts and measure pieces, and the driver keeps what they hand back.

Every node has lidiag, the model and the collections at hand, under the same names as the driver. Vectors travel to nodes
that do not share the driver's cache. What an actor that dies was doing is done again by its successor, and neither the number of
actors nor who did what changes a byte of the report.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from threadpoolctl import threadpool_limits

from lidiag import assembly
from lidiag.collections import Unusable
from lidiag.dataset import Dataset
from lidiag.errors import LidiagError
from lidiag.files import write_atomically
from lidiag.request import WHOLE, Request
from lidiag.store import Job
from lidiag.watch import Silent
from lidiag.work import Work, judged_queries, measure_collection, prepare

Side = Literal["document", "query"]
Files = dict[str, bytes]
"""Contents by path, relative to the cache or to the folder of pieces; what seals the others stands last."""

_WAITING = 2  # tasks per actor that are handed out at once: the next is there when one ends, and the rest goes to whoever is free


class Worker:
    """The model on one node."""

    def __init__(self, request: Request, threads: int) -> None:
        """Load the model and the collections; pieces go to a folder of the actor's own.

        `threads` are those of the driver, whatever this node has: sums of another number are other sums in the last digits.
        """
        torch.set_num_threads(threads)
        threadpool_limits(threads)
        self._folder = tempfile.TemporaryDirectory(prefix="lidiag-")
        self.work, _ = prepare(replace(request, out=Path(self._folder.name), executor="local", shard=WHOLE), Silent())

    def encode(self, collection: int, side: Side, part: int) -> Files:
        """Encode a part of a collection, and return its file and its sidecar."""
        job, store = job_of(self.work, collection, side), self.work.encoder.store
        store.encode_part(job, part)
        return _read(store.root, [path := store.part_path(job, part), path.with_suffix(".json")])

    def holds(self, names: Sequence[str]) -> bool:
        """Tell whether this node's cache has these files."""
        return all((self.work.encoder.store.root / name).exists() for name in names)

    def receive(self, files: Files) -> None:
        """Put files into this node's cache."""
        _write(self.work.encoder.store.root, files)

    def measure(self, collection: int, probe: int) -> Files:
        """Measure one probe on one collection, and return the files of its piece."""
        measure_collection(self.work, collection, [probe])
        folder = self.work.parts.folder
        return _read(folder, self.work.parts.paths(collection, probe))


def measure(work: Work) -> None:
    """Encode and measure what is not kept yet, on the cluster that RAY_ADDRESS names or on one made of this machine.

    Raises:
        LidiagError: Ray is not installed or cannot be reached, or an actor met what the user must act on.
    """
    ray = _ray()
    actors = _actors(ray, work.request)
    try:
        for i, dataset in enumerate(work.datasets):
            earlier = [kept.result for k in range(i) for j in range(len(work.probes)) if (kept := work.parts.find(k, j))]
            missing = [j for j in range(len(work.probes)) if work.parts.find(i, j) is None]
            left = [j for j in missing if not assembly.stands(j, earlier, work.plan)]
            if left and not isinstance(dataset, Unusable) and dataset.modalities & set(work.plan.model.modalities):
                _encode(ray, actors, work, i)
                _measure(ray, actors, work, i, left)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, LidiagError):
            raise error.cause from None
        raise
    except ray.exceptions.RayActorError as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise LidiagError(
            f"An actor did not start: {said[-1][:500] if said else error}.", "Check that this run works there without Ray."
        ) from error
    finally:
        for actor in actors:
            ray.kill(actor)


def job_of(work: Work, collection: int, side: Side) -> Job[Any]:
    """Return the set that a run encodes of a collection, on one side."""
    dataset: Dataset = work.datasets[collection]
    if side == "document":
        return work.encoder.document_job(dataset.documents)
    return work.encoder.query_job([query.text for query in judged_queries(dataset)])


def _encode(ray: Any, actors: Sequence[Any], work: Work, collection: int) -> None:
    """Have all parts of both sides encoded, and hand the finished sets to the nodes that lack them."""
    store, dataset = work.encoder.store, work.datasets[collection]
    names: list[str] = []
    for side in ("document", "query"):
        job = job_of(work, collection, side)
        if not store.path(job).with_suffix(".json").exists():
            left = [part for part in range(len(store.division(job))) if not store.part_path(job, part).with_suffix(".json").exists()]
            with work.watch.stage(
                f"Encoding {len(left)} parts of the {side} side of {dataset.name} on {len(actors)} actors", len(left)
            ) as advance:
                for files in _each(ray, actors, [("encode", (collection, side, part)) for part in left]):
                    _write(store.root, files)
                    advance(1)
        store.fetch(job)
        names += [str(path.relative_to(store.root)) for path in (store.path(job), store.path(job).with_suffix(".json"))]
    lacking = [actor for actor, has in zip(actors, ray.get([actor.holds.remote(names) for actor in actors]), strict=True) if not has]
    if lacking:
        files = ray.put(_read(store.root, [store.root / name for name in names]))
        ray.get([actor.receive.remote(files) for actor in lacking])


def _measure(ray: Any, actors: Sequence[Any], work: Work, collection: int, probes: Sequence[int]) -> None:
    name = work.datasets[collection].name
    with work.watch.stage(f"Measuring {len(probes)} probes on {name} on {len(actors)} actors", len(probes)) as advance:
        for files in _each(ray, actors, [("measure", (collection, probe)) for probe in probes]):
            _write(work.parts.folder, files)
            advance(1)


def _each(ray: Any, actors: Sequence[Any], tasks: Sequence[tuple[str, tuple[Any, ...]]]) -> Iterator[Files]:
    """Yield the answers as they come; an actor has no more than a few tasks waiting."""
    waiting, free = list(reversed(tasks)), [actor for _ in range(_WAITING) for actor in actors]
    busy: dict[Any, Any] = {}
    while waiting or busy:
        while waiting and free:
            actor = free.pop(0)
            method, arguments = waiting.pop()
            busy[getattr(actor, method).remote(*arguments)] = actor
        (ready, *_), _ = ray.wait(list(busy), num_returns=1)
        free.append(busy.pop(ready))
        yield ray.get(ready)


def _actors(ray: Any, request: Request) -> list[Any]:
    """Start the actors, one per node where no number is given: each has an equal part of its node, and a GPU where one is asked for.

    Raises:
        LidiagError: the cluster has not the processors or GPUs for so many: they would wait for ever.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    count = request.workers or len(nodes)
    on_one = math.ceil(count / max(1, len(nodes)))
    for what, needed in (("CPU", 1), ("GPU", 1 if request.device.startswith("cuda") else 0)):
        room = sum(min(on_one, int(node.get(what, 0))) for node in nodes) if needed else count
        if room < count:
            raise LidiagError(
                f"{count} actors, {on_one} on a node, need a {what} each, and the {len(nodes)} nodes of the cluster have room for {room}.",
                "Lower --workers, or name another --device.",
            )
    processors = max(1, int(min(node["CPU"] for node in nodes)) // on_one)
    kind = ray.remote(Worker).options(
        num_cpus=processors,
        num_gpus=1 if request.device.startswith("cuda") else 0,
        max_restarts=-1,
        max_task_retries=-1,
        scheduling_strategy="SPREAD",
    )
    return [kind.remote(request, torch.get_num_threads()) for _ in range(count)]


def _ray() -> Any:
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError:
        raise LidiagError("--executor ray needs Ray, which is not installed.", "pip install 'lidiag[ray]'.") from None
    if not ray.is_initialized():
        try:
            ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise LidiagError(
                f"The Ray cluster cannot be reached: {error}.", "Check RAY_ADDRESS, or unset it to use this machine."
            ) from error
    return ray


def _read(root: Path, paths: Sequence[Path]) -> Files:
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.exists()}


def _write(root: Path, files: Files) -> None:
    for name, body in files.items():
        write_atomically(root / name, lambda temporary, body=body: temporary.write_bytes(body))
