"""A run: suites, a model and collections in; a report in a folder out."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lidiag
from lidiag import battery, catalog, claim, values
from lidiag.adapter import Adapter, LoadOptions
from lidiag.bench import Bench
from lidiag.card import ModelCard
from lidiag.choice import choose
from lidiag.claim import ClaimVerdict
from lidiag.dataset import DataOptions, Dataset
from lidiag.datasets import official_files
from lidiag.encoding import Encoder
from lidiag.errors import LidiagError
from lidiag.files import sha256
from lidiag.findings import Findings
from lidiag.gate import judge
from lidiag.measurement import Skip
from lidiag.probe import Probe
from lidiag.report import DataUsed, Environment, Report, Result, SuiteUsed
from lidiag.report import read as read_report
from lidiag.similarity import Tiling
from lidiag.store import Store, default_root
from lidiag.suite import Suite
from lidiag.watch import Watch

_DOCUMENTS_PER_QUERY = 10


@dataclass(frozen=True)
class Request:
    """What to run; names as the command line takes them."""

    model: str
    suites: tuple[str, ...]
    data: tuple[str, ...]
    out: Path
    queries: Path | None = None
    data_dir: Path | None = None
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 32
    limit: int | None = None
    offline: bool = False
    trust_remote_code: bool = False


@dataclass
class _Stages:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def done(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now


def best_device() -> str:
    """Return cuda or mps where there is one, else cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def checked_device(name: str) -> str:
    """Return the device's name if this machine has it.

    Raises:
        LidiagError: torch knows no such device, or it is not here.
    """
    try:
        torch.ones(1, device=name).item()  # `meta` makes a tensor and has no numbers
    except (RuntimeError, AssertionError, NotImplementedError):
        raise LidiagError(
            f"The device {name!r} is not here.", f"The best one here is {best_device()}; torch's names are cpu, cuda, cuda:1, mps."
        ) from None
    return name


def quiet_libraries() -> None:
    """Keep the bars and advice of model libraries off the terminal; their errors still come through."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging  # noqa: PLC0415 - only once a command needs models

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def run(request: Request, watch: Watch) -> Report:
    """Run everything and write `report.json` and `values.parquet` into the request's folder.

    Raises:
        LidiagError: what the user must act on; then nothing is written.
    """
    stages = _Stages()
    suites = [catalog.suite(name) for name in dict.fromkeys(request.suites)]
    probes = _probes(suites)
    watch.remark(f"Loading {request.model}")
    adapter = catalog.model(request.model, _load_options(request))
    _refuse_random_weights(adapter)
    stages.done("load model")
    datasets = _datasets(suites, adapter, request, watch)
    stages.done("load data")
    used = tuple(SuiteUsed(name=suite.name, version=suite.version, digest=suite.digest) for suite in suites)
    store = Store(default_root())
    there = _own_report(request, adapter, used)
    if there and _is_finished(there, request, datasets, _environment(request, adapter, store)):
        watch.remark(f"{request.out} holds this very run, finished before: nothing is measured again")
        return there
    encoder = Encoder(adapter, store, request.batch_size, request.device)
    data: list[DataUsed] = []
    results: list[Result] = []
    said: list[tuple[str, str, Findings]] = []
    for dataset in datasets:
        try:
            bench = _bench(dataset, encoder, request, watch)
        except LidiagError as error:
            if len(datasets) == 1:
                raise
            watch.remark(f"{dataset.name} cannot be measured, the others go on: {error}")
            data.append(_unused(dataset, error))
            results += [battery.Outcome(probe, "broken", str(error), 0.0, Findings(())).result(dataset.name) for probe in probes]
            continue
        except Skip as skip:
            data.append(_used(dataset, None))
            results += [battery.Outcome(probe, "skipped", str(skip), 0.0, Findings(())).result(dataset.name) for probe in probes]
            continue
        stages.done("encode")
        outcomes = battery.measure([probe for probe in probes if not _stands(probe, results)], bench, watch)
        stages.done("probes")
        data.append(_used(dataset, bench))
        results += [outcome.result(dataset.name) for outcome in outcomes]
        results += [
            _elsewhere(probe, results).result(dataset.name) for probe in probes if probe.name not in {o.probe.name for o in outcomes}
        ]
        said += [(dataset.name, outcome.probe.name, outcome.findings) for outcome in outcomes if outcome.status == "passed"]
    for note in dict.fromkeys(store.notes + store.repairs):
        watch.remark(note)
    gates = [
        judge(gate, [r.judged() for r in results if r.dataset == d.name], d.name) for suite in suites for gate in suite.gates for d in data
    ]
    report = Report(
        lidiag=lidiag.__version__,
        model=adapter.card,
        suites=used,
        data=tuple(data),
        seed=request.seed,
        limit=request.limit,
        environment=_environment(request, adapter, store),
        results=tuple(_after_gates(result, gates) for result in results),
        gates=tuple(gates),
        claims=tuple(_claims(suites, results, adapter.card)),
        values=values.write(request.out / "values.parquet", said),
        timings=stages.seconds,
    )
    report.write(request.out / "report.json")
    official_files.write(report, request.out)
    return report


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


@dataclass(frozen=True)
class Unusable(Dataset):
    """A collection that could not be had: gated, missing or faulty. It holds nothing, and breaks where it is to be encoded."""

    cause: LidiagError = field(kw_only=True)


def _datasets(suites: Sequence[Suite], adapter: Adapter, request: Request, watch: Watch) -> list[Dataset]:
    """Load what is to be measured; a collection that cannot be had is left out of nothing but its own step.

    Raises:
        LidiagError: a name is unknown, not one of them can be had, or two have the same name.
    """
    choice = choose(request.data, suites, adapter.card)
    names = list(dict.fromkeys(member for name in choice.names for member in catalog.members(name)))
    if choice.why:
        watch.remark(choice.why[0].upper() + choice.why[1:])
    found: list[Dataset] = []
    for name in names:
        if len(names) > 1:
            watch.remark(f"Loading {name}")
        try:
            found.append(_limited(_dataset(name, request), request))
        except LidiagError as error:
            found.append(Unusable(name, (), (), {}, cause=error))
    causes = [dataset.cause for dataset in found if isinstance(dataset, Unusable)]
    if len(causes) == len(found) and choice.why:
        builtin = "builtin:pages" if "image" in adapter.card.modalities else "builtin:facts"
        raise LidiagError(
            f"No collection of {', '.join(choice.names)} can be had ({choice.why}). The first: {causes[0].what}",
            f"Name your own with --data FOLDER, a mirror of the hub with --data-dir FOLDER, or what needs no download: --data {builtin}.",
        ) from causes[0]
    if len(causes) == len(found):
        raise causes[0]
    _refuse_equal_names([dataset.name for dataset in found])
    return found


def _refuse_equal_names(names: Sequence[str]) -> None:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise LidiagError(
            f"Two of the collections are named {twice!r}, and a report tells them apart by their names.",
            "Rename one folder, or run them one by one.",
        )


def _dataset(name: str, request: Request) -> Dataset:
    dataset = catalog.dataset(name, DataOptions(offline=request.offline, data_dir=request.data_dir))
    if request.queries is None:
        return dataset
    from lidiag.datasets import beir  # noqa: PLC0415 - needed for --queries alone

    return beir.queries_from(dataset, request.queries)


def _limited(dataset: Dataset, request: Request) -> Dataset:
    """Keep the first `limit` queries with a relevant document, what they judge, and a seeded draw of other documents."""
    if request.limit is None:
        return dataset
    positive = {q for q, judged in dataset.relevance.items() if any(grade > 0 for grade in judged.values())}
    queries = [query for query in dataset.queries if query.id in positive][: request.limit]
    relevance = {query.id: dataset.relevance[query.id] for query in queries}
    judged = {document for row in relevance.values() for document in row}
    others = [i for i, document in enumerate(dataset.documents) if document.id not in judged]
    room = max(0, _DOCUMENTS_PER_QUERY * request.limit - len(judged))
    drawn = np.random.default_rng([request.seed, 1]).permutation(len(others))[:room]
    kept = {others[i] for i in drawn} | {i for i, document in enumerate(dataset.documents) if document.id in judged}
    documents = [document for i, document in enumerate(dataset.documents) if i in kept]
    note = f"limited to {len(queries)} queries and {len(documents)} of {len(dataset.documents)} documents"
    notes = (*dataset.notes, note)
    return dataclasses.replace(dataset, queries=queries, documents=documents, relevance=relevance, notes=notes, benchmark=None)


def _bench(dataset: Dataset, encoder: Encoder, request: Request, watch: Watch) -> Bench:
    """Encode a collection; raise Skip where the model cannot read its documents."""
    if isinstance(dataset, Unusable):
        raise dataset.cause
    card = encoder.adapter.card
    if not dataset.modalities & set(card.modalities):
        mine, theirs = " and ".join(card.modalities), " and ".join(sorted(dataset.modalities)) or "empty"
        raise Skip(f"{card.name} reads {mine}, and the documents of {dataset.name} are {theirs}")
    judged = [q for q in dataset.queries if any(grade > 0 for grade in dataset.relevance.get(q.id, {}).values())]
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


def _used(dataset: Dataset, bench: Bench | None) -> DataUsed:
    """Say what of a collection counted; nothing did where it was skipped."""
    judged = [q for q in dataset.queries if any(grade > 0 for grade in dataset.relevance.get(q.id, {}).values())]
    counted = len(bench) if bench else 0
    left_out = {"no positive judgement": len(dataset.queries) - len(judged)}
    left_out |= {"no token vector": len(judged) - counted} if bench else {"skipped": len(judged)}
    return DataUsed(
        name=dataset.name,
        revision=dataset.revision,
        fingerprint=dataset.fingerprint,
        documents=len(dataset.documents),
        queries=counted,
        left_out=left_out,
        empty_documents=int((bench.lengths == 0).sum()) if bench else 0,
        document_vectors=len(bench.documents.vectors) if bench else 0,
        query_vectors=len(bench.queries.vectors) if bench else 0,
        notes=dataset.notes,
    )


def _unused(dataset: Dataset, cause: LidiagError) -> DataUsed:
    """Say of a collection that it broke before anything was measured on it."""
    return DataUsed(
        name=dataset.name,
        revision=dataset.revision,
        fingerprint="",
        documents=len(dataset.documents),
        queries=0,
        left_out={"broken": len(dataset.queries)},
        empty_documents=0,
        document_vectors=0,
        query_vectors=0,
        notes=(f"broken: {cause.what}",),
    )


def _after_gates(result: Result, gates: Sequence[Any]) -> Result:
    own = {gate.status for gate in gates if gate.probe == result.probe and gate.dataset == result.dataset}
    return result.model_copy(update={"status": "failed"}) if result.status == "passed" and "failed" in own else result


def _stands(probe: Probe, results: Sequence[Result]) -> str:
    """Return the collection under which the figures of a probe that needs none stand already."""
    if getattr(probe, "needs_collection", True):
        return ""
    return next((result.dataset for result in results if result.probe == probe.name and result.status == "passed"), "")


def _elsewhere(probe: Probe, results: Sequence[Result]) -> battery.Outcome:
    reason = f"its figures do not depend on the collection, and stand under {_stands(probe, results)}"
    return battery.Outcome(probe, "skipped", reason, 0.0, Findings(()))


def _claims(suites: Sequence[Suite], results: Sequence[Result], model: ModelCard) -> list[ClaimVerdict]:
    judged = [(result.dataset, result.judged()) for result in results]
    return [verdict for suite in suites for said in suite.claims for verdict in claim.judge(said, judged, model)]


def _environment(request: Request, adapter: Adapter, store: Store) -> Environment:
    packages = ("torch", "numba", "transformers", "sentence-transformers", "numpy", "scipy", "ir-measures", "tokenizers")
    tiling = Tiling.on(request.device)
    return Environment(
        versions={"python": platform.python_version()} | {name: version(name) for name in packages} | adapter.card.versions,
        device=request.device,
        dtype=adapter.card.dtype,
        threads=torch.get_num_threads(),
        git=_commit(),
        platform=f"{platform.system()} {platform.machine()}",
        plan={"batch_size": request.batch_size, **dataclasses.asdict(tiling), "notes": sorted(set(store.notes))},
    )


def _commit() -> str | None:
    here = Path(lidiag.__file__).parents[1]
    if not (here / ".git").exists():
        return None
    try:
        asked = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return None


def _own_report(request: Request, adapter: Adapter, suites: tuple[SuiteUsed, ...]) -> Report | None:
    """Return the report that the folder holds, if any, refusing that of another model or suite; other files do not matter."""
    path = request.out / "report.json"
    if not path.exists():
        return None
    there = read_report(path)
    if (there.model.name, there.model.revision, there.suites) != (adapter.card.name, adapter.card.revision, suites):
        asked = ", ".join(suite.name for suite in suites)
        other = ", ".join(suite.name for suite in there.suites)
        raise LidiagError(
            f"{request.out} holds the run of {there.model.name} ({there.model.revision[:12]}) on {other}; this is "
            f"{adapter.card.name} ({adapter.card.revision[:12]}) on {asked}.",
            "Name another folder with --out, or remove that one.",
        )
    return there if there.model == adapter.card else None


def _is_finished(there: Report, request: Request, datasets: Sequence[Dataset], now: Environment) -> bool:
    """Tell whether a report is what this run would make: same data, seed, plan and code, all measured, its values whole."""
    code = now.git is None or not now.git.endswith("+")  # a checkout with changes may measure something else today
    same = (there.lidiag, there.seed, there.limit) == (lidiag.__version__, request.seed, request.limit)
    data = [(used.name, used.fingerprint) for used in there.data] == [(dataset.name, dataset.fingerprint) for dataset in datasets]
    plan = {**there.environment.plan, "notes": []}
    environment = there.environment.model_copy(update={"plan": plan}) == now
    whole = "broken" not in {result.status for result in there.results}
    file = request.out / there.values.file
    return code and same and data and environment and whole and file.exists() and sha256(file) == there.values.sha256
