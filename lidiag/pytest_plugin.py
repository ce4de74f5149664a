"""`pytest --lidiag-model M --lidiag-suite S`: a test for every probe and every gate. Imports no model library until a test runs."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lidiag.compare import Side
    from lidiag.gate import Gate, Verdict
    from lidiag.regression import Regression
    from lidiag.suite import Suite


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; without --lidiag-model or --lidiag-report nothing happens."""
    group = parser.getgroup("lidiag", "diagnostics for late-interaction retrievers")
    group.addoption("--lidiag-model", metavar="MODEL", help="measure this model: [adapter:]name[@revision], or a folder")
    group.addoption("--lidiag-report", metavar="RUN", help="judge this report, or folder of a run, instead of measuring")
    group.addoption("--lidiag-suite", metavar="SUITE", default="robustness", help="a suite's name or TOML file")
    group.addoption(
        "--lidiag-data",
        metavar="DATA",
        action="append",
        help="[kind:]name or a folder; repeatable; default: the suite's, else builtin:facts",
    )
    group.addoption("--lidiag-gates", metavar="FILE", help="a TOML file of gates; default: the suite's own")
    group.addoption("--lidiag-baseline", metavar="RUN", help="the report that the model may not fall behind")
    group.addoption("--lidiag-limit", metavar="N", type=int, help="use N queries only")
    group.addoption("--lidiag-device", metavar="DEVICE", help="cpu, cuda or mps; default: the best there is")
    group.addoption("--lidiag-out", metavar="FOLDER", help="keep the run's folder here")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and say which run this is, so that all workers share one."""
    for line in ("lidiag: made by --lidiag-model", "lidiag_probe: a probe of a lidiag suite", "lidiag_gate: a gate of a lidiag suite"):
        config.addinivalue_line("markers", line)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the tests, first, so that -m and -k choose among them like among all others."""
    model, report = config.getoption("--lidiag-model"), config.getoption("--lidiag-report")
    if not model and not report:
        return
    if model and report:
        raise pytest.UsageError("--lidiag-model measures, --lidiag-report reads: give one of them.")
    from lidiag.errors import LidiagError  # noqa: PLC0415 - nothing is loaded where the plugin is not used
    from lidiag.terminal import safe  # noqa: PLC0415

    try:
        items += list(_items(session, _Run(config)))
    except LidiagError as error:
        raise pytest.UsageError(safe(str(error))) from None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the shared folder, once, when all workers are done."""
    if not hasattr(config, "workerinput") and not config.getoption("--lidiag-out", None):
        shutil.rmtree(_shared(config), ignore_errors=True)


def _identity(config: pytest.Config) -> str:
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is not None:
        return str(worker["testrunuid"])
    # pytest-xdist's controller names the run; without it this process is alone.
    session = config.pluginmanager.getplugin("dsession")
    manager = getattr(session, "nodemanager", None)
    return str(manager.testrunuid) if manager is not None else config.stash.setdefault(_ALONE, uuid.uuid4().hex)


_ALONE = pytest.StashKey[str]()


def _shared(config: pytest.Config) -> Path:
    return Path(tempfile.gettempdir()) / f"lidiag-{_identity(config)}"


@dataclass
class _Run:
    """The one run behind all tests of a session."""

    config: pytest.Config

    @property
    def suite_name(self) -> str:
        return str(self.config.getoption("--lidiag-suite"))

    @cached_property
    def suite(self) -> Suite:
        from lidiag import catalog  # noqa: PLC0415

        return catalog.suite(self.suite_name)

    @cached_property
    def gates(self) -> tuple[tuple[Gate, ...], tuple[Regression, ...]]:
        path = self.config.getoption("--lidiag-gates")
        if not path:
            return self.suite.gates, ()
        from lidiag import judgement  # noqa: PLC0415

        there = judgement.read(Path(path))
        if there.regressions and not self.config.getoption("--lidiag-baseline"):
            raise pytest.UsageError("--lidiag-gates has regressions: name what to compare with by --lidiag-baseline.")
        return there.gates, there.regressions

    @cached_property
    def data(self) -> tuple[str, ...]:
        """The collections; the items are made before the model is loaded, so it has no say in them."""
        from lidiag import catalog  # noqa: PLC0415

        names = self.config.getoption("--lidiag-data") or self.suite.data or ("builtin:facts",)
        return tuple(dict.fromkeys(member for name in names for member in catalog.members(name)))

    @cached_property
    def folder(self) -> Path:
        """The folder of the run, which the first worker to come fills while the others wait."""
        report = self.config.getoption("--lidiag-report")
        if report:
            return Path(report)
        from filelock import FileLock  # noqa: PLC0415

        shared = _shared(self.config)
        shared.mkdir(mode=0o700, parents=True, exist_ok=True)
        out = Path(self.config.getoption("--lidiag-out") or shared / "run")
        done, failed = shared / "done", shared / "failed"
        with FileLock(shared / "lock"):
            if failed.exists():
                raise _error(failed.read_text(encoding="utf-8"))
            if not done.exists():
                self._measure(out, failed)
                done.touch()
        return out

    def _measure(self, out: Path, failed: Path) -> None:
        from lidiag.errors import LidiagError  # noqa: PLC0415
        from lidiag.machine import best_device  # noqa: PLC0415
        from lidiag.request import Request  # noqa: PLC0415
        from lidiag.run import run  # noqa: PLC0415
        from lidiag.watch import Silent  # noqa: PLC0415

        option = self.config.getoption
        request = Request(
            model=str(option("--lidiag-model")),
            suites=(self.suite_name,),
            data=self.data,
            out=out,
            device=option("--lidiag-device") or best_device(),
            limit=option("--lidiag-limit"),
            offline=os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"},
        )
        try:
            run(request, Silent())
        except LidiagError as error:
            failed.write_text(str(error), encoding="utf-8")
            raise

    @cached_property
    def sides(self) -> list[Side]:
        """This run, and the baseline where there is one."""
        from lidiag.compare import load, load_alone  # noqa: PLC0415

        baseline = self.config.getoption("--lidiag-baseline")
        return load([self.folder, Path(baseline)]) if baseline else load_alone(self.folder)

    @cached_property
    def judged(self) -> dict[int, list[Verdict]]:
        """Every measurement against the baseline, by the number of the collection."""
        from lidiag import regression  # noqa: PLC0415
        from lidiag.compare import refuse_incomparable  # noqa: PLC0415

        now, baseline = self.sides
        refuse_incomparable(baseline, now)
        return {i: regression.judge_all(now, baseline, data.name) for i, data in enumerate(now.report.data)}

    def dataset(self, number: int) -> str:
        return self.sides[0].report.data[number].name


def _error(text: str) -> Exception:
    from lidiag.errors import LidiagError  # noqa: PLC0415

    return LidiagError(text, "")


def _items(session: pytest.Session, run: _Run) -> Iterator[pytest.Item]:
    gates, regressions = run.gates
    compared = bool(run.config.getoption("--lidiag-baseline")) and not run.config.getoption("--lidiag-gates")
    for number, data in enumerate(run.data):
        for step in run.suite.steps:
            yield _ProbeItem.made(session, run, number, f"{data}::{step.probe}", step.probe)
        for gate in gates:
            yield _GateItem.made(session, run, number, f"{data}::{gate} {gate.op} {gate.bound}", gate)
        for regression in regressions:
            place = ", ".join(f"{key}={value}" for key, value in regression.at.items())
            name = f"{data}::{regression.probe} {regression.name}[{place}] no worse by {regression.most:g}"
            yield _RegressionItem.made(session, run, number, name, regression)
        for step in run.suite.steps if compared else ():
            yield _NoRegressionItem.made(session, run, number, f"{data}::{step.probe} no regression", step.probe)


class _Item(pytest.Item):
    """One test; `about` is what it judges."""

    run: _Run
    number: int
    about: Any
    marks = ("lidiag",)

    @classmethod
    def made(cls, session: pytest.Session, run: _Run, number: int, name: str, about: object) -> _Item:
        item = cls.from_parent(session, name=name, nodeid=f"lidiag::{name}")
        item.run, item.number, item.about = run, number, about
        for mark in cls.marks:
            item.add_marker(mark)
        return item

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what the user can mend without a traceback."""
        from lidiag.errors import LidiagError  # noqa: PLC0415
        from lidiag.terminal import safe  # noqa: PLC0415

        return safe(str(excinfo.value)) if isinstance(excinfo.value, LidiagError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the test in reports."""
        return Path("lidiag"), None, self.name

    def conclude(self, verdicts: list[Verdict]) -> None:
        """Fail where one verdict did; skip where none applies."""
        bad = [verdict for verdict in verdicts if verdict.status in {"failed", "broken"}]
        if bad:
            from lidiag.terminal import gate_lines, safe  # noqa: PLC0415

            pytest.fail(safe("\n".join(gate_lines(bad))), pytrace=False)
        if not any(verdict.status == "passed" for verdict in verdicts):
            pytest.skip(verdicts[0].why if verdicts else "nothing of this probe can get better or worse")


class _ProbeItem(_Item):
    marks = ("lidiag", "lidiag_probe")

    def runtest(self) -> None:
        """Pass where the probe measured."""
        from lidiag.terminal import safe  # noqa: PLC0415

        dataset = self.run.dataset(self.number)
        result = next((r for r in self.run.sides[0].report.results if (r.probe, r.dataset) == (self.about, dataset)), None)
        if result is None:
            pytest.fail(f"{self.about} did not run", pytrace=False)
        if result.status == "skipped":
            pytest.skip(safe(result.reason))
        if result.status == "broken":
            pytest.fail(safe(f"{self.about} broke: {result.reason}"), pytrace=False)


class _GateItem(_Item):
    marks = ("lidiag", "lidiag_gate")

    def runtest(self) -> None:
        """Pass where the bound is kept."""
        from lidiag.gate import judge  # noqa: PLC0415

        dataset = self.run.dataset(self.number)
        self.conclude([judge(self.about, [r.judged() for r in self.run.sides[0].report.results if r.dataset == dataset], dataset)])


class _RegressionItem(_Item):
    marks = ("lidiag", "lidiag_gate")

    def runtest(self) -> None:
        """Pass where no fall beyond what is allowed is shown."""
        from lidiag import regression  # noqa: PLC0415
        from lidiag.compare import refuse_incomparable  # noqa: PLC0415

        now, baseline = self.run.sides
        refuse_incomparable(baseline, now)
        self.conclude(regression.judge([self.about], now, baseline, self.run.dataset(self.number)))


class _NoRegressionItem(_Item):
    marks = ("lidiag", "lidiag_gate")

    def runtest(self) -> None:
        """Pass where no measurement of the probe is shown to have got worse."""
        self.conclude([verdict for verdict in self.run.judged[self.number] if verdict.probe == self.about])
