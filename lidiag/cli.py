"""The command line: parsing, printing, exit codes; nothing else.

stdout is the answer, stderr the progress. 0 all gates hold, 1 a gate failed, 2 interrupted, 3 something broke, 4 the user
must act, 5 nothing ran.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from lidiag import __version__, interruption
from lidiag.cli_cache import app as cache
from lidiag.errors import LidiagError, unknown

if TYPE_CHECKING:
    from lidiag.report import Report

INTERRUPTED, BROKEN, USER_MUST_ACT = 2, 3, 4
_INTERRUPTED_BY_TYPER = 130  # what it makes of KeyboardInterrupt

app = typer.Typer(
    name="lidiag",
    help="Diagnostics for late-interaction retrievers: what a leaderboard does not show.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DEFAULT_MODEL = "builtin:lexical"
DEFAULT_SUITE = "robustness"


@app.command()
def run(
    model: Annotated[str, typer.Option(help="[adapter:]name[@revision][?key=value], a folder, or an id on the hub.")] = DEFAULT_MODEL,
    suite: Annotated[list[str] | None, typer.Option(help="A suite's name or TOML file; repeatable.")] = None,
    data: Annotated[list[str] | None, typer.Option(help="[kind:]name or a folder; repeatable; default: by the model.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Take questions and judgements from this folder.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="A local mirror of the hub: a folder that holds its org/name as folders.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; default: lidiag-runs/MODEL/SUITE.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every draw.", min=0)] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps; default: the best there is.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16: how the model computes.")] = "float32",
    store: Annotated[str, typer.Option(help="float32 or float16: how token vectors are kept.")] = "float32",
    batch_size: Annotated[int, typer.Option(help="Items encoded at once; halved where memory runs out.", min=1)] = 32,
    limit: Annotated[int | None, typer.Option(help="Use this many queries only: a first look.", min=1)] = None,
    budget: Annotated[str | None, typer.Option(help="The findings that can be had in this time: 90s, 10m, 2h.")] = None,
    offline: Annotated[bool, typer.Option(help="Ask no hub.")] = False,
    trust_remote_code: Annotated[bool, typer.Option(help="Run code of the checkpoint; needs a pinned @revision.")] = False,
    shard: Annotated[str, typer.Option(help="Do share I of N of the work (I/N), for `lidiag merge`.")] = "1/1",
    executor: Annotated[str, typer.Option(help="local, or ray: on the cluster of RAY_ADDRESS, or on all of this machine.")] = "local",
    workers: Annotated[int | None, typer.Option(help="Actors of the executor ray; default: one per node.", min=1)] = None,
    log_file: Annotated[Path | None, typer.Option(help="Append what happens to this file, one JSON object a line.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure a model and write a report.

    Without options: builtin:lexical on builtin:facts, suite robustness. Name your own model with --model. What is finished
    is kept: the same command goes on where it was stopped.
    """
    console = Console(stderr=True)
    offline = _offline(offline)
    if model == DEFAULT_MODEL and not data:
        console.print(
            f"Running {DEFAULT_MODEL}, the built-in model, on built-in data. Measure your own: lidiag run --model NAME --data FOLDER",
            highlight=False,
            soft_wrap=True,
        )
    from lidiag.budget import parse as parse_budget
    from lidiag.log import Log
    from lidiag.machine import best_device, checked_device, quiet_libraries
    from lidiag.progress import Bars
    from lidiag.request import WHOLE, Request, Shard
    from lidiag.run import run as run_suites
    from lidiag.run import share

    quiet_libraries()
    suites = tuple(suite or [DEFAULT_SUITE])
    request = Request(
        model=model,
        suites=suites,
        data=tuple(data or ()),
        out=out or _default_folder(model, suites),
        queries=queries,
        data_dir=data_dir,
        seed=seed,
        device=checked_device(device) if device else best_device(),
        dtype=_dtype(dtype),
        store=_store(store),
        batch_size=batch_size,
        limit=limit,
        budget=None if budget is None else parse_budget(budget),
        offline=offline,
        trust_remote_code=trust_remote_code,
        shard=Shard.parse(shard),
        executor=_executor(executor),
        workers=workers,
    )
    bars = Bars(console)
    with nullcontext(bars) if log_file is None else Log(log_file, bars) as watch:
        if request.shard != WHOLE:
            pieces = share(request, watch)
            typer.echo(
                f"Share {request.shard} is done: {pieces} pieces are kept in {request.out}. When all are: lidiag merge {request.out}"
            )
            return
        report = run_suites(request, watch)
    _answer(report, request.out, as_json=as_json)


@app.command()
def merge(
    out: Annotated[Path, typer.Argument(help="The folder of the run, or a new one.")],
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of shares that were written elsewhere.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Make one report of the shares of a run (see `lidiag run --shard`)."""
    from lidiag.merge import merge as merge_shares

    _answer(merge_shares(out, folders or []), out, as_json=as_json)


def _answer(report: Report, out: Path, *, as_json: bool) -> None:
    """Write the card, print the report, and end with its exit code."""
    from lidiag.html import card
    from lidiag.terminal import summary

    card.write(report, out / "report.html")
    if as_json:
        sys.stdout.write(report.to_json())
    else:
        typer.echo(summary(report))
    Console(stderr=True).print(f"Report: {out / 'report.json'} and report.html beside it", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(report.exit_code())


listing = typer.Typer(help="List probes, suites, models or datasets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(listing, name="list")


@listing.command("probes")
def list_probes() -> None:
    """List the probes, each with its question."""
    from lidiag import catalog

    for name in catalog.probe_names():
        typer.echo(f"{name:24} {catalog.probe_class(name).question}")


@listing.command("suites")
def list_suites() -> None:
    """List the suites that ship with lidiag."""
    from lidiag import catalog

    for name in catalog.suite_names():
        suite = catalog.suite(name)
        typer.echo(f"{name:24} {suite.description}")


@listing.command("models")
def list_models() -> None:
    """List the models that need no download, and the adapters that take a name."""
    from lidiag import catalog

    for name in catalog.model_names():
        typer.echo(name)


@listing.command("datasets")
def list_datasets() -> None:
    """List the collections that need no download, and the kinds that take a name."""
    from lidiag import catalog

    for name in catalog.dataset_names():
        typer.echo(name)


describing = typer.Typer(help="Describe a probe or a dataset.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(describing, name="describe")


@describing.command("probe")
def describe_probe(name: str) -> None:
    """Say what a probe asks, how each of its numbers is defined, and its parameters."""
    from lidiag import catalog
    from lidiag.description import describe

    typer.echo(describe(catalog.probe_class(name)))


@describing.command("dataset")
def describe_dataset(
    name: Annotated[str, typer.Argument(help="[kind:]name or a folder.")],
    data_dir: Annotated[Path | None, typer.Option(help="A local mirror of the hub.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what a name stands for: a benchmark's tasks with the revisions that are pinned (no data needed), or what a collection holds."""
    offline = _offline(asked=False)
    from lidiag import catalog, description
    from lidiag.dataset import DataOptions
    from lidiag.terminal import safe

    parts = catalog.parts(name)
    if parts is None:
        about = description.of_dataset(catalog.dataset(name, DataOptions(offline=offline, data_dir=data_dir)))
    else:
        about = description.of_parts(parts)
    typer.echo(json.dumps(about, indent=1) if as_json else safe(description.table(about)))


@app.command()
def show(
    report: Annotated[Path, typer.Argument(help="A report.json, or the folder of a run.")],
    everything: Annotated[bool, typer.Option("--all", help="Every number, not only the headline ones.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Print a report."""
    from lidiag import report as reports
    from lidiag.terminal import summary

    there = reports.read(report)
    typer.echo(there.to_json() if as_json else summary(there, everything=everything))


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="[adapter:]name[@revision][?key=value], a folder, or an id on the hub.")],
    data: Annotated[str | None, typer.Option(help="[kind:]name or a folder to draw the sample from; default: what is built in.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="A local mirror of the hub.")] = None,
    golden: Annotated[
        Path | None, typer.Option(help="Vectors that the model is known to give; see `lidiag describe probe load-check`.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sample.", min=0)] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps; default: the best there is.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    offline: Annotated[bool, typer.Option(help="Ask no hub.")] = False,
    trust_remote_code: Annotated[bool, typer.Option(help="Run code of the checkpoint; needs a pinned @revision.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Tell whether a model is loaded as its authors meant it: exit 0 where no fault is found, 1 where one is."""
    offline = _offline(offline)
    from lidiag import catalog
    from lidiag.adapter import LoadOptions
    from lidiag.check import check as check_model
    from lidiag.dataset import DataOptions
    from lidiag.machine import best_device, checked_device, quiet_libraries
    from lidiag.progress import Bars
    from lidiag.terminal import of_result, safe

    quiet_libraries()
    options = LoadOptions(
        device=checked_device(device) if device else best_device(),
        dtype=_dtype(dtype),
        offline=offline,
        trust_remote_code=trust_remote_code,
    )
    adapter = catalog.model(model, options)
    source = data or ("builtin:facts" if "text" in adapter.card.modalities else "builtin:pages")
    dataset = catalog.dataset(source, DataOptions(offline=offline, data_dir=data_dir))
    probe = catalog.probe("load-check", {} if golden is None else {"golden": str(golden)})
    result = check_model(adapter, dataset, probe, batch_size=8, seed=seed, watch=Bars(Console(stderr=True)))
    card = adapter.card
    if as_json:
        typer.echo(json.dumps({"model": card.model_dump(mode="json"), "result": result.model_dump(mode="json")}, indent=1, allow_nan=False))
    else:
        typer.echo(safe(f"{card.name} @ {card.revision[:12]}: {card.family} by the adapter {card.adapter} ({card.reason})"))
        typer.echo(of_result(result))
    if result.status == "broken":
        raise typer.Exit(BROKEN)
    raise typer.Exit(int(any(finding.severity == "fault" for finding in result.findings)))


collections = typer.Typer(help="Look at a collection.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(collections, name="data")


@collections.command("check")
def check_data(folder: Annotated[Path, typer.Argument(help="A folder in the BEIR layout, or of page images and PDFs.")]) -> None:
    """Report every fault of a folder by file and line, and the lengths that the probes will see; exit 4 where there is a fault."""
    from lidiag.datasets import check
    from lidiag.terminal import safe

    found = check.check(folder)
    typer.echo(safe(check.text(found)))
    if found.fault_count:
        raise typer.Exit(USER_MUST_ACT)


@app.command()
def explain(
    query: Annotated[str, typer.Option(help="The query's text.")],
    document: Annotated[str, typer.Option(help="A text file, a page image, or the id of a document of --data.")],
    model: Annotated[str, typer.Option(help="[adapter:]name[@revision][?key=value], a folder, or an id on the hub.")] = DEFAULT_MODEL,
    data: Annotated[str | None, typer.Option(help="The collection that the document is of.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="A local mirror of the hub.")] = None,
    spikes: Annotated[int, typer.Option(help="Distractor vectors to inject, means of four query vectors each; 0 for none.", min=0)] = 25,
    out: Annotated[Path, typer.Option(help="Folder for explanation.html and explanation.png.")] = Path("lidiag-explanation"),
    seed: Annotated[int, typer.Option(help="Seed of the draw of spikes.", min=0)] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps; default: the best there is.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    offline: Annotated[bool, typer.Option(help="Ask no hub.")] = False,
) -> None:
    """Draw which query token matched which word or patch, clean and with injected distractors."""
    offline = _offline(offline)
    from lidiag import catalog, explanation, heatmap
    from lidiag.adapter import LoadOptions
    from lidiag.attribution import attribute
    from lidiag.dataset import DataOptions
    from lidiag.files import expanded
    from lidiag.machine import best_device, checked_device, quiet_libraries

    quiet_libraries()
    if data is None:
        chosen = explanation.document_from_file(expanded(document))
    else:
        documents = {item.id: item for item in catalog.dataset(data, DataOptions(offline=offline, data_dir=data_dir)).documents}
        if document not in documents:
            raise unknown(f"document of {data}", document, documents, "the collection's corpus")
        chosen = documents[document]
    options = LoadOptions(device=checked_device(device) if device else best_device(), dtype=_dtype(dtype), offline=offline)
    attribution = attribute(catalog.model(model, options), query, chosen, spikes=spikes, seed=seed)
    heatmap.draw(attribution, out / "explanation.png")
    explanation.write(attribution, out / "explanation.html")
    hijacked = sum(match.hijacked for match in attribution.matches)
    typer.echo(
        f"Score {attribution.score:.3f}; with {spikes} spikes {attribution.injected_score:.3f}: {hijacked} of {len(attribution.matches)} query tokens hijacked."
    )
    typer.echo(str(out / "explanation.html"))
    typer.echo(str(out / "explanation.png"))


@app.command()
def html(
    report: Annotated[Path, typer.Argument(help="A report.json, or the folder of a run.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; default: report.html beside the report.")] = None,
) -> None:
    """Write a report as one page, for people."""
    from lidiag import report as reports
    from lidiag.html import card

    path = out or (report if report.is_dir() else report.parent) / "report.html"
    card.write(reports.read(report), path)
    typer.echo(path)


@app.command()
def export(
    report: Annotated[Path, typer.Argument(help="A report.json, or the folder of a run.")],
    to: Annotated[str, typer.Option(help="csv: every number; latex: the headline numbers; every-eval-ever: a record of its schema 0.3.0.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; default: print.")] = None,
    organization: Annotated[str, typer.Option(help="For every-eval-ever: who evaluated.")] = "",
    relationship: Annotated[str, typer.Option(help="Likewise: first_party, third_party, collaborative or other.")] = "other",
) -> None:
    """Write a report's numbers in another format."""
    from lidiag import export as exports
    from lidiag import report as reports
    from lidiag.files import write_text

    text = exports.text(reports.read(report), to, organization, relationship)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)
        typer.echo(out)


@app.command()
def compare(
    reports: Annotated[list[Path], typer.Argument(help="Two or more report.json or folders of runs; the first is the baseline.")],
    floor: Annotated[float, typer.Option(help="Differences below this are negligible.", min=0)] = 0.01,
    everything: Annotated[bool, typer.Option("--all", help="Every difference, not only the decided ones.")] = False,
    as_html: Annotated[Path | None, typer.Option("--html", help="Write the comparison as a page, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare reports query by query."""
    from lidiag import compare as comparing
    from lidiag import comparison_table

    comparison = comparing.compare(comparing.load(reports), floor=floor)
    if as_html is not None:
        from lidiag.html import comparison as pages

        pages.write(comparison, as_html)
    typer.echo(comparison.to_json() if as_json else comparison_table.text(comparison, everything=everything))


@app.command()
def gate(
    report: Annotated[Path, typer.Argument(help="A report.json, or the folder of a run.")],
    baseline: Annotated[Path | None, typer.Option(help="The report that this one may not fall behind.")] = None,
    gates: Annotated[Path | None, typer.Option(help="A TOML file of [[gates]] and [[regressions]]; default: the suite's own.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the outcome as JUnit XML.")] = None,
    github: Annotated[bool, typer.Option("--github", help="Print annotations, and append to $GITHUB_STEP_SUMMARY.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Judge a report: exit code 0 all gates hold, 1 one failed, 3 something broke, 5 nothing was judged."""
    from lidiag import github as on_github
    from lidiag import judgement
    from lidiag import junit as junit_xml
    from lidiag.compare import load, load_alone

    sides = load_alone(report) if baseline is None else load([report, baseline])
    judged = judgement.judge(*sides, gates=None if gates is None else judgement.read(gates))
    if junit is not None:
        junit_xml.write(judged, junit)
    typer.echo(judged.to_json() if as_json else judged.text())
    if github:
        typer.echo(on_github.commands(judged), err=as_json)
        on_github.append_summary(judged, os.environ.get("GITHUB_STEP_SUMMARY"))
    raise typer.Exit(judged.exit_code())


@app.command()
def submit(
    report: Annotated[Path, typer.Argument(help="A report.json, or the folder of a run.")],
    to: Annotated[Path, typer.Option(help="The leaderboards' folder.")] = Path("leaderboards"),
) -> None:
    """Verify a report and file it with its values in a leaderboard's folder."""
    from lidiag import leaderboard as boards

    typer.echo(str(boards.submit(report, to, _suites())))


leaderboard = typer.Typer(help="Check a leaderboard's folder, or draw its pages.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(leaderboard, name="leaderboard")


@leaderboard.command("check")
def check_leaderboard(folder: Annotated[Path, typer.Argument(help="The leaderboards' folder.")]) -> None:
    """Verify every submission, reading data only: exit code 1 where one is not acceptable, 5 where there is none."""
    from lidiag import leaderboard as boards

    submissions, faults = boards.check(folder, _suites())
    for fault in faults:
        _say(fault)
    typer.echo(f"{len(submissions)} submissions accepted, {len(faults)} faults")
    raise typer.Exit(1 if faults else 0 if submissions else 5)


@leaderboard.command("build")
def build_leaderboard(folder: Annotated[Path, typer.Argument(help="The leaderboards' folder.")]) -> None:
    """Draw README.md, index.html, leaderboard.json and leaderboard.csv, and a page per submission."""
    from lidiag.html import board

    made = board.build(folder, _suites())
    typer.echo(f"{folder / 'index.html'}: {len(made)} boards, {sum(len(one.rows) for one in made)} rows")


@app.command()
def calibrate(
    suite: Annotated[str, typer.Option(help="The suite whose gates and intervals are tried.")] = "calibration",
    collections: Annotated[int, typer.Option(help="Simulated collections of each world.", min=10)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the first collection; the others follow it.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; default: one per processor.", min=1)] = None,
    out: Annotated[Path | None, typer.Option(help="The Markdown file to write; default: print.")] = None,
) -> None:
    """Try gates and intervals on simulated collections: false alarms, power, coverage. Exit code 1: a gate alarms falsely or misses."""
    from lidiag import catalog
    from lidiag.calibration import page, trials
    from lidiag.calibration.worlds import AILMENTS
    from lidiag.files import write_text
    from lidiag.progress import Bars

    with Bars(Console(stderr=True)).stage("Simulating", collections * len(AILMENTS)) as advance:
        found = trials.calibrate(catalog.suite(suite), collections, seed, workers or trials.default_workers(), advance)
    if out is None:
        typer.echo(page.text(found), nl=False)
    else:
        write_text(out, page.text(found))
        typer.echo(out)
    raise typer.Exit(1 if found.false_alarms or found.missed else 0)


app.add_typer(cache, name="cache")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a report."""
    from lidiag import report as reports

    typer.echo(json.dumps(reports.json_schema(), indent=1))


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Diagnostics for late-interaction retrievers: what a leaderboard does not show."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def command() -> None:
    """Be the process of the command line: signals end it within seconds."""
    interruption.watch(INTERRUPTED)
    try:
        main()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            interruption.leave(INTERRUPTED)
        raise


def main() -> None:
    """Run the command line and end with the designed exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    # Threads that spin while they wait made a run on a busy machine 20 times slower; read by OpenMP when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        # Without standalone mode an Exit comes back as the code it carries.
        code = _unless_interrupted(app(standalone_mode=False))
    except LidiagError as error:
        _say(str(error))
        raise SystemExit(USER_MUST_ACT) from None
    except KeyboardInterrupt:
        _say("Interrupted. What was finished is kept: the same command goes on from there.")
        raise SystemExit(INTERRUPTED) from None
    except typer.Abort:
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if _is_usage_error(error):
            _say(f"{error.format_message()} See `lidiag --help`.")  # pyright: ignore[reportAttributeAccessIssue] - click's
            raise SystemExit(USER_MUST_ACT) from None
        logging.getLogger(__name__).exception("lidiag itself broke; this is a bug worth reporting.")
        raise SystemExit(BROKEN) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def _unless_interrupted(code: Any) -> Any:
    if code == _INTERRUPTED_BY_TYPER:
        raise KeyboardInterrupt
    return code


def _is_usage_error(error: Exception) -> bool:
    return any(kind.__name__ == "ClickException" for kind in type(error).__mro__)


def _say(text: str) -> None:
    from lidiag.terminal import safe

    sys.stderr.write(f"lidiag: {safe(text)}\n")


def _dtype(name: str) -> str:
    known = ("float32", "bfloat16", "float16")
    if name not in known:
        raise unknown("dtype", name, known, "`lidiag run --help`")
    return name


def _store(name: str) -> Literal["float32", "float16"]:
    if name == "float32" or name == "float16":  # noqa: PLR1714 - tells the types apart
        return name
    raise unknown("type of the store", name, ("float32", "float16"), "`lidiag run --help`")


def _executor(name: str) -> Any:
    known = ("local", "ray")
    if name not in known:
        raise unknown("executor", name, known, "`lidiag run --help`")
    return name


def _suites() -> dict[str, Any]:
    from lidiag import catalog

    return {name: catalog.suite(name) for name in catalog.suite_names()}


def _default_folder(model: str, suites: tuple[str, ...]) -> Path:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", model).strip("._") or "model"
    chosen = "+".join(re.sub(r"[^A-Za-z0-9._-]+", "_", Path(suite).stem) for suite in suites)
    return Path("lidiag-runs") / plain[:80] / chosen[:80]


def _offline(asked: bool) -> bool:
    """Tell whether no hub may be asked, by the option or HF_HUB_OFFLINE, and let the hub's own client know."""
    asked = asked or os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}
    if asked:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub at its import, which comes later
    return asked
