"""`lidiag list` and `lidiag describe`: what there is, and what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lidiag.cli_options import offline

listing = typer.Typer(help="List probes, suites, models or datasets.", no_args_is_help=True, rich_markup_mode=None)


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
    asks_nobody = offline(asked=False)
    from lidiag import catalog, description
    from lidiag.dataset import DataOptions
    from lidiag.terminal import safe

    parts = catalog.parts(name)
    if parts is None:
        about = description.of_dataset(catalog.dataset(name, DataOptions(offline=asks_nobody, data_dir=data_dir)))
    else:
        about = description.of_parts(parts)
    typer.echo(json.dumps(about, indent=1) if as_json else safe(description.table(about)))
