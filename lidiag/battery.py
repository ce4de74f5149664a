"""The probes of a suite on one bench, sharing similarity passes."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lidiag.bench import Bench
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.gate import Status
from lidiag.measurement import Skip
from lidiag.pooling import Hybrid, Single
from lidiag.probe import Measuring, Probe
from lidiag.report import Result
from lidiag.similarity import Block, Needs, Tiling, similarity_pass
from lidiag.watch import Watch

_log = logging.getLogger(__name__)
_LATE = "the time that --budget gives was over"


@dataclass(frozen=True)
class Outcome:
    """How one probe ended."""

    probe: Probe
    status: Status
    reason: str
    seconds: float
    findings: Findings

    def result(self, dataset: str) -> Result:
        """Return it as the report holds it."""
        probe, findings = self.probe, self.findings
        return Result(
            probe=probe.name,
            version=probe.version,
            question=probe.question,
            primary=probe.primary,
            source="" if probe.source is None else str(probe.source),
            formulas=dict(probe.formulas),
            parameters=dataclasses.asdict(probe),  # pyright: ignore[reportArgumentType] - a probe is a dataclass
            dataset=dataset,
            status=self.status,
            reason=self.reason,
            seconds=self.seconds,
            measurements=tuple(findings.measurements),
            findings=tuple(findings.findings),
        )


class _Runner:
    """Drives one probe's generator and takes its time; whatever it raises is its own result, never another's."""

    def __init__(self, probe: Probe, bench: Bench, ended: Callable[[Outcome], None]) -> None:
        self.probe = probe
        self._ended = ended
        self.bench = bench
        self.seconds = 0.0
        self.needs: Needs | None = None
        self.outcome: Outcome | None = None
        self._measuring: Measuring | None = None

    def send(self, block: Block | None) -> None:
        began = time.perf_counter()
        try:
            if self._measuring is None:
                self._measuring = self.probe.measure(self.bench)
                needs = next(self._measuring)
            else:
                needs = self._measuring.send(block)
            _refuse_single_vector_scores(needs, self.bench)
            self.needs = needs
        except StopIteration as end:
            self._end("passed", "", end.value, began)
        except Skip as skip:
            self._end("skipped", str(skip), None, began)
        except LidiagError as error:
            self._end("broken", str(error), None, began)
        except Exception as error:  # noqa: BLE001 - a probe may be anyone's code, and its crash must not end the others
            _log.error("%s broke:\n%s", self.probe.name, traceback.format_exc())
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f" ({frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})"
            self._end("broken", f"{type(error).__name__}: {error}{where}", None, began)
        else:
            self.seconds += time.perf_counter() - began

    def refuse(self, reason: str) -> None:
        """End without a figure."""
        self.outcome = Outcome(self.probe, "skipped", reason, 0.0, self.bench.findings())
        self._ended(self.outcome)

    def fault(self) -> str:
        """Say what makes every further figure of this model meaningless, if the probe has found such a thing."""
        faults = self.outcome.findings.faults if self.outcome else []
        return f"{self.probe.name} found a fault, and no figure of this model would mean anything: {faults[0].text}" if faults else ""

    def _end(self, status: Status, reason: str, findings: Findings | None, began: float) -> None:
        self.seconds += time.perf_counter() - began
        if status == "passed" and not isinstance(findings, Findings):
            status, reason = "broken", f"measure returned {type(findings).__name__}, not Findings"
        self.outcome = Outcome(
            self.probe, status, reason, self.seconds, findings if isinstance(findings, Findings) else self.bench.findings()
        )
        self._ended(self.outcome)


def measure(  # noqa: PLR0913 - what a run knows and its probes do not
    probes: Sequence[Probe],
    bench: Bench,
    watch: Watch,
    *,
    fault: str = "",
    deadline: float = math.inf,
    ended: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Measure all probes; those that wait for a pass at the same time share it. A fault in the model skips what comes after.

    `fault` is one that was found before; `ended` is told every outcome as soon as there is one. What has not begun at `deadline`
    (of time.monotonic) is skipped, and so is what waits for a pass then.
    """

    def told(outcome: Outcome) -> None:
        about = {"dataset": bench.dataset.name, "probe": outcome.probe.name, "status": outcome.status, "reason": outcome.reason}
        watch.event("probe", {**about, "seconds": round(outcome.seconds, 3)})
        ended(outcome)

    runners = [_Runner(probe, bench, told) for probe in probes]
    tiling = bench.tiling or Tiling.on(bench.device)
    # Every block is forgotten before the next is made; half of the room that this saves is left to what probes make of it.
    roomy = dataclasses.replace(tiling, floats=3 * tiling.floats // 2)
    _start(runners, watch, fault, deadline)
    while waiting := [runner for runner in runners if runner.outcome is None]:
        if time.monotonic() > deadline:
            for runner in waiting:
                runner.refuse(_LATE)
            break
        needs = Needs.union([runner.needs for runner in waiting if runner.needs])
        names = ", ".join(runner.probe.name for runner in waiting)
        with watch.stage(f"Pass for {names}", len(bench.queries.vectors)) as advance:
            for block in similarity_pass(
                bench.queries, bench.documents, needs, device=bench.device, tiling=roomy, advance=advance
            ):  # fmt: skip
                for runner in waiting:
                    if runner.outcome is None:
                        runner.send(block)
                block.forget()
        for runner in waiting:
            if runner.outcome is None:
                runner.send(None)
    return [runner.outcome for runner in runners if runner.outcome]


def _start(runners: Sequence[_Runner], watch: Watch, fault: str, deadline: float) -> None:
    for runner in runners:
        if fault or time.monotonic() > deadline:
            runner.refuse(fault or _LATE)
            continue
        watch.remark(f"{runner.bench.dataset.name}: {runner.probe.name}")
        runner.send(None)
        fault = runner.fault()


def _refuse_single_vector_scores(needs: Needs, bench: Bench) -> None:
    chosen = [scoring for scoring in needs.poolings if isinstance(scoring, (Single, Hybrid))]
    if chosen and not bench.pooled:
        raise Skip(f"{chosen[0]} needs a pooled vector beside the token vectors, which {bench.adapter.card.name} does not give")
