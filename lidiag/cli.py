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
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from lidiag import __version__, cli_list, cli_options, cli_reports, interruption
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
    offline = cli_options.offline(offline)
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
        dtype=cli_options.dtype(dtype),
        store=cli_options.store(store),
        batch_size=batch_size,
        limit=limit,
        budget=None if budget is None else parse_budget(budget),
        offline=offline,
        trust_remote_code=trust_remote_code,
        shard=Shard.parse(shard),
        executor=cli_options.executor(executor),
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
    offline = cli_options.offline(offline)
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
        dtype=cli_options.dtype(dtype),
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
    offline = cli_options.offline(offline)
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
    options = LoadOptions(device=checked_device(device) if device else best_device(), dtype=cli_options.dtype(dtype), offline=offline)
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
app.add_typer(cli_list.listing, name="list")
app.add_typer(cli_list.describing, name="describe")
for _reading in (
    cli_reports.show,
    cli_reports.html,
    cli_reports.export,
    cli_reports.compare,
    cli_reports.gate,
    cli_reports.submit,
    cli_reports.schema,
):
    app.command()(_reading)
app.add_typer(cli_reports.leaderboard, name="leaderboard")


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
        cli_options.say(str(error))
        raise SystemExit(USER_MUST_ACT) from None
    except KeyboardInterrupt:
        cli_options.say("Interrupted. What was finished is kept: the same command goes on from there.")
        raise SystemExit(INTERRUPTED) from None
    except typer.Abort:
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if _is_usage_error(error):
            cli_options.say(f"{error.format_message()} See `lidiag --help`.")  # pyright: ignore[reportAttributeAccessIssue] - click's
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


def _default_folder(model: str, suites: tuple[str, ...]) -> Path:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", model).strip("._") or "model"
    chosen = "+".join(re.sub(r"[^A-Za-z0-9._-]+", "_", Path(suite).stem) for suite in suites)
    return Path("lidiag-runs") / plain[:80] / chosen[:80]
