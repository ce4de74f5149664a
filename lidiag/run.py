"""A run: suites, a model and collections in; a report in a folder out.

Every piece that is finished is kept in the folder until the report is written, so the same command goes on where it stopped.
"""

from __future__ import annotations

import shutil

from lidiag import assembly, machine
from lidiag.datasets import official_files
from lidiag.lock import alone
from lidiag.report import Report, Resources
from lidiag.request import WHOLE, Request
from lidiag.watch import Watch
from lidiag.work import Work, measure_collection, prepare


def run(request: Request, watch: Watch) -> Report:
    """Run everything and write `report.json` and `values.parquet` into the request's folder.

    Raises:
        LidiagError: what the user must act on; then no report is written. What was finished is kept for the same command.
    """
    if request.shard != WHOLE:
        raise ValueError("a share of a run makes no report: call `share`")
    work, there = prepare(request, watch)
    if there:
        watch.remark(f"{request.out} holds this very run, finished before: nothing is measured again")
        return there
    with alone(request.out):
        _measure(work)
        report = assembly.assemble(work.parts, request.out, work.stages.seconds, _resources(work))
        official_files.write(report, request.out)
        shutil.rmtree(work.parts.folder, ignore_errors=True)
    watch.event("finished", {"exit_code": report.exit_code()})
    return report


def share(request: Request, watch: Watch) -> int:
    """Do the request's share of a run, and return how many pieces are kept; `lidiag.merge` makes a report of all shares.

    Raises:
        LidiagError: what the user must act on.
    """
    work, _ = prepare(request, watch)
    shard, name = request.shard, f".share-{request.shard.number}-of-{request.shard.of}.lock"
    with alone(request.out, shared=True), alone(request.out, name):
        _measure(work)
        work.parts.keep_plan(shard)
    return sum(1 for i in range(len(work.datasets)) for j in range(len(work.probes)) if shard.owns(work.plan.unit(i, j)))


def _measure(work: Work) -> None:
    """Measure what is this share's and not kept yet, collection by collection."""
    if work.request.executor == "ray":
        from lidiag import cluster  # noqa: PLC0415 - the extra `ray`

        cluster.measure(work)
    for i in range(len(work.datasets)):
        measure_collection(work, i, [j for j in range(len(work.probes)) if work.request.shard.owns(work.plan.unit(i, j))])
    for note in dict.fromkeys(work.encoder.store.notes + work.encoder.store.repairs):
        work.watch.remark(note)
    for name in dict.fromkeys(work.parts.damaged):
        work.watch.remark(f"{name} was damaged, and has been measured again")


def _resources(work: Work) -> Resources:
    store, encoding = work.encoder.store, work.stages.seconds.get("encode", 0.0)
    return Resources(
        peak_memory=machine.peak_memory(),
        peak_device_memory=machine.peak_device_memory(work.request.device),
        encoded=store.encoded,
        encoded_per_second=store.encoded / encoding if store.encoded and encoding else None,
    )
