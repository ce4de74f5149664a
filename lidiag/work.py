"""The work of a run: what it has loaded, and how a collection is encoded and measured, piece by piece."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lidiag
from lidiag import assembly, battery, budget, catalog, collections, machine
from lidiag.adapter import Adapter, LoadOptions
from lidiag.bench import Bench
from lidiag.cache import default_root
from lidiag.collections import Unusable
from lidiag.dataset import Dataset, Query
from lidiag.encoding import Encoder
from lidiag.errors import LidiagError
from lidiag.files import sha256
from lidiag.findings import Findings
from lidiag.gate import Status
from lidiag.measurement import Skip
from lidiag.parts import FOLDER, DataPart, Kept, Parts
from lidiag.plan import Plan, PlannedData, PlannedProbe
from lidiag.probe import Probe
from lidiag.report import Environment, Report, SuiteUsed
from lidiag.report import read as read_report
from lidiag.request import WHOLE, Request
from lidiag.similarity import Tiling
from lidiag.store import Store
from lidiag.suite import Suite
from lidiag.watch import Watch


@dataclass
class Stages:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def done(self, stage: str) -> None:
        """End a stage that began where the last one ended."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now


@dataclass(frozen=True)
class Work:
    """What a run has loaded, and where it keeps what is finished."""

    request: Request
    probes: Sequence[Probe]
    datasets: Sequence[Dataset]
    encoder: Encoder
    plan: Plan
    parts: Parts
    stages: Stages
    watch: Watch
    deadline: float  # of time.monotonic


def prepare(request: Request, watch: Watch) -> tuple[Work, Report | None]:
    """Load the model and the collections; with them return the report of this very run, where the folder holds it."""
    if request.budget is not None and (request.shard != WHOLE or request.executor != "local"):
        raise LidiagError(
            "--budget measures how fast one process encodes: shares and actors would each limit the collections in another way.",
            "Give them all the same --limit.",
        )
    stages = Stages()
    deadline = time.monotonic() + (request.budget or math.inf)
    suites = [catalog.suite(name) for name in dict.fromkeys(request.suites)]
    probes = _probes(suites)
    watch.remark(f"Loading {request.model}")
    adapter = catalog.model(request.model, _load_options(request))
    _refuse_random_weights(adapter)
    stages.done("load model")
    datasets = collections.load(suites, adapter, request, watch)
    stages.done("load data")
    if request.budget is not None:
        request, datasets = _within(request.budget, request, adapter, datasets, watch)
    store = Store(default_root(), request.store, request.shard)
    time_allowed = {} if request.budget is None else {"budget": request.budget}
    settings = {"batch_size": request.batch_size, "store": request.store, **dataclasses.asdict(Tiling.on(request.device)), **time_allowed}
    environment = machine.environment(adapter.card, request.device, settings | {"notes": []})
    plan = _plan(suites, probes, adapter, datasets, request, environment)
    there = _own_report(request, adapter, plan.used)
    finished = there if there and _is_finished(there, request, plan) else None
    encoder = Encoder(adapter, store, request.batch_size, request.device)
    parts = Parts(request.out / FOLDER, plan)
    watch.event("planned", {"model": adapter.card.name, "revision": adapter.card.revision, "plan": plan.digest, "out": str(request.out)})
    return Work(request, probes, datasets, encoder, plan, parts, stages, watch, deadline), finished


def _within(seconds: float, request: Request, adapter: Adapter, datasets: list[Dataset], watch: Watch) -> tuple[Request, list[Dataset]]:
    """Limit the collections to what can be encoded in a part of the time."""
    limit = budget.limit_for(adapter, datasets, seconds, request.batch_size)
    if limit is None or (request.limit is not None and request.limit <= limit):
        return request, datasets
    watch.remark(f"Limited to {limit} queries of each collection, for the budget of {seconds:g} s")
    request = dataclasses.replace(request, limit=limit)
    return request, [collections.limited(dataset, request) for dataset in datasets]


def measure_collection(work: Work, number: int, own: Sequence[int]) -> None:
    """Measure those probes (their numbers) on a collection that are not kept yet, and keep what they say.

    Raises:
        LidiagError: the collection is the only one, and cannot be measured; or the disk refuses.
    """
    dataset, parts, watch = work.datasets[number], work.parts, work.watch
    kept = {j: found for j in own if (found := parts.find(number, j)) and found.result.status != "broken"}
    if len(kept) == len(own) and parts.find_data(number):
        if own:
            watch.remark(f"{dataset.name} was measured before: its figures are kept")
        work.stages.done("probes")
        return None
    noted = len(work.encoder.store.notes)

    def end(status: Status, reason: str, used: DataPart) -> None:
        for j in own:
            parts.keep(number, j, _kept(battery.Outcome(work.probes[j], status, reason, 0.0, Findings(())), dataset))
        parts.keep_data(number, used)

    try:
        bench = bench_of(dataset, work.encoder, work.request, watch)
    except LidiagError as error:
        if len(work.datasets) == 1:
            raise
        watch.remark(f"{dataset.name} cannot be measured, the others go on: {error}")
        return end("broken", str(error), DataPart(used=collections.unused(dataset, error), notes=()))
    except Skip as skip:
        return end("skipped", str(skip), DataPart(used=collections.used(dataset, None), notes=()))
    notes = tuple(sorted(set(work.encoder.store.notes[noted:])))
    parts.keep_data(number, DataPart(used=collections.used(dataset, bench), notes=notes))
    work.stages.done("encode")
    earlier = [found.result for i in range(number) for j in own if (found := parts.find(i, j))]
    left = [j for j in own if j not in kept and not assembly.stands(j, earlier, work.plan)]
    for j in set(own) - set(kept) - set(left):
        parts.keep(number, j, _kept(battery.Outcome(work.probes[j], "skipped", "measured before", 0.0, Findings(())), dataset))
    fault = next((fault for found in kept.values() if (fault := assembly.fault_of(found))), "")
    seat = {work.probes[j].name: j for j in left}

    def keep(outcome: battery.Outcome) -> None:
        parts.keep(number, seat[outcome.probe.name], _kept(outcome, dataset))

    battery.measure([work.probes[j] for j in left], bench, watch, fault=fault, deadline=work.deadline, ended=keep)
    return work.stages.done("probes")


def _kept(outcome: battery.Outcome, dataset: Dataset) -> Kept:
    return Kept(outcome.result(dataset.name), outcome.findings)


def _plan(  # noqa: PLR0913, PLR0917 - all that a report depends on
    suites: Sequence[Suite],
    probes: Sequence[Probe],
    adapter: Adapter,
    datasets: Sequence[Dataset],
    request: Request,
    environment: Environment,
) -> Plan:
    planned = [
        PlannedProbe(
            name=probe.name,
            version=probe.version,
            parameters=dataclasses.asdict(probe),  # pyright: ignore[reportArgumentType] - a probe is a dataclass
            once=not getattr(probe, "needs_collection", True),
        )
        for probe in probes
    ]
    return Plan(
        lidiag=lidiag.__version__,
        code=machine.code(),
        model=adapter.card,
        suites=tuple(suites),
        probes=tuple(planned),
        data=tuple(PlannedData(name=dataset.name, fingerprint=dataset.fingerprint) for dataset in datasets),
        seed=request.seed,
        limit=request.limit,
        environment=environment,
    )


def _probes(suites: Sequence[Suite]) -> list[Probe]:
    """Return the probes of all suites; a step that stands in two is run once, and two steps may not differ in parameters only."""
    probes: dict[str, Probe] = {}
    for suite in suites:
        for step in suite.steps:
            probe = catalog.probe(step.probe, dict(step.parameters))
            if probes.setdefault(probe.name, probe) != probe:
                raise LidiagError(
                    f"The suites {', '.join(s.name for s in suites)} ask for {probe.name} with different parameters.",
                    "Run them one by one.",
                )
    return list(probes.values())


def _load_options(request: Request) -> LoadOptions:
    return LoadOptions(
        device=request.device, dtype=request.dtype, offline=request.offline, trust_remote_code=request.trust_remote_code
    )  # fmt: skip


def _refuse_random_weights(adapter: Adapter) -> None:
    missing = adapter.card.randomly_initialised
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")  # noqa: PLR2004 - three are enough
        raise LidiagError(
            f"{adapter.card.name} lacks weights that {adapter.card.family} needs: {shown} would be random, and so would every figure.",
            "Check that the checkpoint was saved whole, and that the adapter is the right one.",
        )


def judged_queries(dataset: Dataset) -> list[Query]:
    """Return the queries that have a relevant document: the others measure nothing."""
    return [query for query in dataset.queries if any(grade > 0 for grade in dataset.relevance.get(query.id, {}).values())]


def bench_of(dataset: Dataset, encoder: Encoder, request: Request, watch: Watch) -> Bench:
    """Encode a collection; raise Skip where the model cannot read its documents."""
    if isinstance(dataset, Unusable):
        raise dataset.cause
    card = encoder.adapter.card
    if not dataset.modalities & set(card.modalities):
        mine, theirs = " and ".join(card.modalities), " and ".join(sorted(dataset.modalities)) or "empty"
        raise Skip(f"{card.name} reads {mine}, and the documents of {dataset.name} are {theirs}")
    judged = judged_queries(dataset)
    if not judged:
        raise LidiagError(f"No query of {dataset.name} has a relevant document.", "Check its judgements: a grade above 0 is relevant.")
    with watch.stage(f"Encoding {len(dataset.documents):,} documents of {dataset.name}", len(dataset.documents)) as advance:
        documents = encoder.documents(dataset.documents, advance)
    with watch.stage(f"Encoding {len(judged):,} queries of {dataset.name}", len(judged)) as advance:
        queries = encoder.queries([query.text for query in judged], advance)
    if not len(queries.vectors) or not len(documents.vectors):
        side = "documents" if len(queries.vectors) else "queries"
        raise LidiagError(f"{card.name} gives the {side} of {dataset.name} not a single token vector.", "Run `lidiag check` on the model.")
    counted = [i for i, length in enumerate(queries.lengths.tolist()) if length]
    return Bench(
        dataset=dataset,
        adapter=encoder.adapter,
        query_ids=[judged[i].id for i in counted],
        queries=queries if len(counted) == len(judged) else queries.select(counted),
        documents=documents,
        encode_documents=encoder.documents,
        encode_queries=encoder.queries,
        encode_states=encoder.states,
        seed=request.seed,
        device=request.device,
        tiling=Tiling.on(request.device),
    )


def _own_report(request: Request, adapter: Adapter, suites: tuple[SuiteUsed, ...]) -> Report | None:
    """Return the report that the folder holds, if any, refusing that of another model or suite; other files do not matter."""
    path = request.out / "report.json"
    if not path.exists():
        return None
    try:
        there = read_report(path)
    except LidiagError as error:
        raise LidiagError(error.what, "Remove it to measure again, or name another folder with --out.") from error
    if (there.model.name, there.model.revision, there.suites) != (adapter.card.name, adapter.card.revision, suites):
        asked = ", ".join(suite.name for suite in suites)
        other = ", ".join(suite.name for suite in there.suites)
        raise LidiagError(
            f"{request.out} holds the run of {there.model.name} ({there.model.revision[:12]}) on {other}; this is "
            f"{adapter.card.name} ({adapter.card.revision[:12]}) on {asked}.",
            "Name another folder with --out, or remove that one.",
        )
    return there if there.model == adapter.card else None


def _is_finished(there: Report, request: Request, plan: Plan) -> bool:
    """Tell whether a report is what this run would make: same data, seed, plan and code, all measured, its values whole."""
    git = plan.environment.git
    code = git is None or not git.endswith("+")  # a checkout with changes may measure something else today
    same = (there.lidiag, there.seed, there.limit) == (plan.lidiag, plan.seed, plan.limit)
    data = [(used.name, used.fingerprint) for used in there.data] == [(used.name, used.fingerprint) for used in plan.data]
    settings = {**there.environment.plan, "notes": []}
    environment = there.environment.model_copy(update={"plan": settings}) == plan.environment
    whole = "broken" not in {result.status for result in there.results}
    file: Path = request.out / there.values.file
    return code and same and data and environment and whole and file.exists() and sha256(file) == there.values.sha256
