"""The commands that read reports: no model, no collection, and nothing of torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from lidiag.cli_options import say


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


def submit(
    report: Annotated[Path, typer.Argument(help="A report.json, or the folder of a run.")],
    to: Annotated[Path, typer.Option(help="The leaderboards' folder.")] = Path("leaderboards"),
) -> None:
    """Verify a report and file it with its values in a leaderboard's folder."""
    from lidiag import leaderboard as boards

    typer.echo(str(boards.submit(report, to, _suites())))


leaderboard = typer.Typer(help="Check a leaderboard's folder, or draw its pages.", no_args_is_help=True, rich_markup_mode=None)


@leaderboard.command("check")
def check_leaderboard(folder: Annotated[Path, typer.Argument(help="The leaderboards' folder.")]) -> None:
    """Verify every submission, reading data only: exit code 1 where one is not acceptable, 5 where there is none."""
    from lidiag import leaderboard as boards

    submissions, faults = boards.check(folder, _suites())
    for fault in faults:
        say(fault)
    typer.echo(f"{len(submissions)} submissions accepted, {len(faults)} faults")
    raise typer.Exit(1 if faults else 0 if submissions else 5)


@leaderboard.command("build")
def build_leaderboard(folder: Annotated[Path, typer.Argument(help="The leaderboards' folder.")]) -> None:
    """Draw README.md, index.html, leaderboard.json and leaderboard.csv, and a page per submission."""
    from lidiag.html import board

    made = board.build(folder, _suites())
    typer.echo(f"{folder / 'index.html'}: {len(made)} boards, {sum(len(one.rows) for one in made)} rows")


def schema() -> None:
    """Print the JSON Schema of a report."""
    from lidiag import report as reports

    typer.echo(json.dumps(reports.json_schema(), indent=1))


def _suites() -> dict[str, Any]:
    from lidiag import catalog

    return {name: catalog.suite(name) for name in catalog.suite_names()}
