"""Many simulated collections through a suite's probes and gates: how often gates fail, what verdicts say, what intervals cover."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats as scipy_stats

from lidiag.calibration.worlds import AILMENTS, PLANTED
from lidiag.suite import Suite

if TYPE_CHECKING:  # what loads torch
    from lidiag.battery import Outcome
    from lidiag.findings import PerQuery
    from lidiag.measurement import Measurement

CONFIDENCE = 0.99  # of the one-sided Clopper-Pearson bounds
ALLOWED, WANTED = 0.05, 0.95
COVERAGE = (0.93, 0.97)
_QUERY_SETS = 200  # per collection: their mean is the truth of its intervals, to a fourteenth of one set's error


@dataclass(frozen=True)
class Trial:
    """One collection: gates by label (true where it failed), verdicts by place, intervals by measurement.

    An interval is (value, low, high, weight), with the sum of a ratio's bases as the weight and 1 for anything else.
    """

    ailment: str
    collection: int
    gates: dict[str, bool]
    verdicts: dict[str, str]
    intervals: dict[str, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Rate:
    """How often something spoke up in one world, with its one-sided 99 % bounds."""

    what: str
    ailment: str
    times: int
    of: int

    @property
    def share(self) -> float:
        """Share of the collections."""
        return self.times / self.of

    @property
    def at_least(self) -> float:
        """The one-sided lower bound of the true share."""
        return float(scipy_stats.beta.ppf(1 - CONFIDENCE, self.times, self.of - self.times + 1)) if self.times else 0.0

    @property
    def at_most(self) -> float:
        """The one-sided upper bound of the true share."""
        return float(scipy_stats.beta.ppf(CONFIDENCE, self.times + 1, self.of - self.times)) if self.times < self.of else 1.0


@dataclass(frozen=True)
class Coverage:
    """How often a measurement's 95 % interval held the mean over other queries to the same healthy collection."""

    measurement: str
    covered: int
    of: int

    @property
    def share(self) -> float:
        """Share of the collections."""
        return self.covered / self.of

    @property
    def rate(self) -> Rate:
        """The same with its bounds."""
        return Rate(self.measurement, "healthy", self.covered, self.of)


@dataclass(frozen=True)
class Calibration:
    """What all trials came to."""

    suite: str
    collections: int
    seed: int
    seconds: float
    gates: tuple[Rate, ...]
    verdicts: tuple[Rate, ...]
    coverage: tuple[Coverage, ...]

    @property
    def false_alarms(self) -> list[Rate]:
        """Gates that fail healthy collections more often than in one of twenty, surely."""
        return [rate for rate in self.gates if rate.ailment == "healthy" and rate.at_least > ALLOWED]

    @property
    def missed(self) -> list[Rate]:
        """Gates that surely fail fewer than nineteen of twenty collections of the world that was made to fail them."""
        planted = [rate for rate in self.gates if rate.what.startswith(PLANTED.get(rate.ailment, "\0"))]
        return [rate for rate in planted if rate.at_most < WANTED]


def calibrate(suite: Suite, collections: int, seed: int, workers: int, advance: Callable[[int], None] = lambda _: None) -> Calibration:
    """Run every world `collections` times; the number of workers changes nothing but the time."""
    began = time.perf_counter()
    tasks = [(ailment, seed + number // _QUERY_SETS, seed + number) for ailment in AILMENTS for number in range(collections)]
    trial = partial(_trial, suite.model_dump_json())
    trials: list[Trial] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_single_threaded) as pool:
        for found in pool.map(trial, tasks, chunksize=8):
            trials.append(found)
            advance(1)
    healthy = [one for one in trials if one.ailment == "healthy"]
    return Calibration(
        suite.name,
        collections,
        seed,
        time.perf_counter() - began,
        tuple(_rates(trials, lambda one: one.gates)),
        tuple(_rates(trials, lambda one: {place: _alarming(word) for place, word in one.verdicts.items()})),
        tuple(_coverage(healthy)),
    )


def _single_threaded() -> None:
    import torch  # noqa: PLC0415 - in the worker
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - likewise

    torch.set_num_threads(1)
    threadpool_limits(1)  # of what else is linked in: on matrices as small as these, threads cost five times what they save


def _trial(suite_json: str, task: tuple[str, int, int]) -> Trial:
    """Measure and judge one collection, in a worker."""
    from lidiag import battery, catalog  # noqa: PLC0415 - in the worker: what loads torch
    from lidiag.calibration.worlds import simulate  # noqa: PLC0415 - likewise
    from lidiag.gate import judge  # noqa: PLC0415 - likewise
    from lidiag.watch import Silent  # noqa: PLC0415 - likewise

    ailment, collection, seed = task
    suite = Suite.model_validate_json(suite_json)
    bench = simulate(ailment, collection, seed)
    # An ailing world is there for the gate it was made to fail; what else fires is the business of the planted ailments.
    planted = PLANTED.get(ailment)
    steps = [step for step in suite.steps if planted is None or step.probe == planted.split(" ")[0]]
    outcomes = battery.measure([catalog.probe(step.probe, dict(step.parameters)) for step in steps], bench, Silent())
    results = [outcome.result(bench.dataset.name) for outcome in outcomes]
    broken = [f"{result.probe}: {result.reason}" for result in results if result.status == "broken"]
    if broken:
        raise RuntimeError(f"{bench.dataset.name}, seed {seed}: {'; '.join(broken)}")
    verdicts = [judge(gate, [result.judged() for result in results], bench.dataset.name) for gate in suite.gates]
    return Trial(
        ailment,
        collection,
        {str(verdict): verdict.status == "failed" for verdict in verdicts if verdict.status in {"passed", "failed"}},
        {
            f"{result.probe} {finding.name}{_place(finding.data)}": str(finding.data["verdict"])
            for result in results
            for finding in result.findings
            if "verdict" in finding.data
        },
        _intervals(outcomes),
    )


def _intervals(outcomes: Sequence[Outcome]) -> dict[str, tuple[float, float, float, float]]:
    found: dict[str, tuple[float, float, float, float]] = {}
    for outcome in outcomes:
        bases = {_place_of(kept): kept.base for kept in outcome.findings.per_query}
        for m in outcome.findings.measurements:
            if m.low is not None and m.high is not None:
                base = bases.get(_place_of(m))
                weight = 1.0 if base is None else float(np.nansum(base))
                found[f"{outcome.probe.name} {_place_of(m)}"] = (m.value, m.low, m.high, weight)
    return found


def _place_of(found: Measurement | PerQuery) -> str:
    return f"{found.name} {json.dumps(dict(found.at), sort_keys=True)}"


def _alarming(word: str) -> bool:
    """Say whether a verdict's word speaks up; that of length-bias is a phrase."""
    return word in {"shown", "strong"} or word.startswith(("a length bias", "a strong length bias"))


def _place(data: dict[str, object]) -> str:
    known = [str(data[key]) for key in ("pooling", "control", "kind", "scheme") if key in data]
    return f" ({', '.join(known)})" if known else ""


def _rates(trials: Sequence[Trial], of: Callable[[Trial], dict[str, bool]]) -> Iterable[Rate]:
    names = dict.fromkeys(name for one in trials for name in of(one))
    for name in names:
        for ailment in AILMENTS:
            seen = [of(one)[name] for one in trials if one.ailment == ailment and name in of(one)]
            if seen:
                yield Rate(name, ailment, sum(seen), len(seen))


def _coverage(trials: Sequence[Trial]) -> Iterable[Coverage]:
    """Yield how often the interval of a measurement held its mean over other queries to the same documents.

    That of a ratio is the ratio of all their sums: the mean of ratios whose bases are small lies above what each of them estimates.
    What is the same in every trial, such as what no distractors do, has nothing to hold.
    """
    names = dict.fromkeys(name for one in trials for name in one.intervals)
    collections = dict.fromkeys(one.collection for one in trials)
    for name in names:
        if len({one.intervals[name][0] for one in trials if name in one.intervals}) == 1:
            continue
        covered, of = 0, 0
        for collection in collections:
            rows = np.array([one.intervals[name] for one in trials if one.collection == collection and name in one.intervals])
            if len(rows):
                truth = np.average(rows[:, 0], weights=rows[:, 3])
                covered += int(((rows[:, 1] <= truth) & (truth <= rows[:, 2])).sum())
                of += len(rows)
        if of >= 0.9 * len(trials):
            yield Coverage(name, covered, of)


def default_workers() -> int:
    """Return the number of processors."""
    return os.cpu_count() or 1
