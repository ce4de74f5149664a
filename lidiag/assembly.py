"""The report of a run, put together from its finished pieces. What was measured when, and by whom, leaves no trace in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lidiag import claim, values
from lidiag.claim import ClaimVerdict
from lidiag.errors import LidiagError
from lidiag.gate import Verdict, judge
from lidiag.parts import DataPart, Kept, Parts
from lidiag.plan import Plan
from lidiag.report import Report, Resources, Result


def assemble(parts: Parts, out: Path, timings: Mapping[str, float], resources: Resources | None) -> Report:
    """Judge what was measured, and write `report.json` and `values.parquet` into `out`.

    Raises:
        LidiagError: a piece is missing, or the folder cannot be written to.
    """
    plan = parts.plan
    data, kept = _data(parts), _results(parts)
    results = [one.result for one in kept]
    gates = [
        judge(gate, [result.judged() for result in results if result.dataset == part.used.name], part.used.name)
        for suite in plan.suites
        for gate in suite.gates
        for part in data
    ]
    said = [(one.result.dataset, one.result.probe, one.findings) for one in kept if one.result.status == "passed"]
    notes = {"notes": sorted({note for part in data for note in part.notes})}
    report = Report(
        lidiag=plan.lidiag,
        model=plan.model,
        suites=plan.used,
        data=tuple(part.used for part in data),
        seed=plan.seed,
        limit=plan.limit,
        environment=plan.environment.model_copy(update={"plan": plan.environment.plan | notes}),
        results=tuple(_after_gates(result, gates) for result in results),
        gates=tuple(gates),
        claims=tuple(_claims(plan, results)),
        values=values.write(out / "values.parquet", said),
        timings=dict(timings),
        resources=resources,
    )
    report.write(out / "report.json")
    return report


def stands(probe: int, results: Sequence[Result], plan: Plan) -> str:
    """Return the collection under which the figures of a probe that needs none stand already, if there is one."""
    planned = plan.probes[probe]
    if not planned.once:
        return ""
    return next((result.dataset for result in results if result.probe == planned.name and result.status == "passed"), "")


def _data(parts: Parts) -> list[DataPart]:
    found = [parts.find_data(i) for i in range(len(parts.plan.data))]
    missing = [parts.plan.data[i].name for i, part in enumerate(found) if part is None]
    if missing:
        raise _unfinished(parts, f"the collection {missing[0]}", len(missing))
    return [part for part in found if part is not None]


def _results(parts: Parts) -> list[Kept]:
    """Return all results, collection by collection in the order of the probes.

    What stands after a fault in the model is skipped, whether or not somebody measured it before the fault was found; so is
    a second measurement of what depends on no collection.
    """
    plan, found, missing = parts.plan, list[Kept](), list[str]()
    for i, collection in enumerate(plan.data):
        fault = ""
        for j, planned in enumerate(plan.probes):
            kept = parts.find(i, j)
            if kept is None:
                missing.append(f"{planned.name} on {collection.name}")
                continue
            if elsewhere := stands(j, [one.result for one in found], plan):
                kept = _skipped(kept, f"its figures do not depend on the collection, and stand under {elsewhere}")
            elif fault:
                kept = _skipped(kept, fault)
            fault = fault or fault_of(kept)
            found.append(kept)
    if missing:
        raise _unfinished(parts, missing[0], len(missing))
    return found


def fault_of(kept: Kept) -> str:
    """Say what makes every further figure of this model meaningless, if a probe has found such a thing."""
    faults = [finding for finding in kept.result.findings if finding.severity == "fault"]
    return f"{kept.result.probe} found a fault, and no figure of this model would mean anything: {faults[0].text}" if faults else ""


def _skipped(kept: Kept, reason: str) -> Kept:
    nothing = {"status": "skipped", "reason": reason, "seconds": 0.0, "measurements": (), "findings": ()}
    return Kept(kept.result.model_copy(update=nothing), kept.findings)


def _unfinished(parts: Parts, first: str, count: int) -> LidiagError:
    more = f" and {count - 1} more pieces" if count > 1 else ""
    return LidiagError(f"{parts.folder} lacks {first}{more}.", "Run the shares that have not finished, then merge again.")


def _after_gates(result: Result, gates: Sequence[Verdict]) -> Result:
    own = {gate.status for gate in gates if gate.probe == result.probe and gate.dataset == result.dataset}
    return result.model_copy(update={"status": "failed"}) if result.status == "passed" and "failed" in own else result


def _claims(plan: Plan, results: Sequence[Result]) -> list[ClaimVerdict]:
    judged = [(result.dataset, result.judged()) for result in results]
    return [verdict for suite in plan.suites for said in suite.claims for verdict in claim.judge(said, judged, plan.model)]
