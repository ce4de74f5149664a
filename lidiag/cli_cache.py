"""`lidiag cache`: what the store keeps on disk, listed, verified, removed."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from lidiag.errors import LidiagError

app = typer.Typer(help="List, verify or remove encoded vectors.", no_args_is_help=True, rich_markup_mode=None)

_SECONDS = {"h": 3600, "d": 86400, "w": 604800}


@app.command("ls")
def list_sets(as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False) -> None:
    """List what is encoded, used last first, with its size."""
    from tabulate import tabulate

    from lidiag import cache
    from lidiag.terminal import safe

    contents = cache.read(cache.default_root())
    if as_json:
        sets = [
            {name: getattr(entry, name) for name in ("key", "model", "revision", "side", "items", "finished")}
            | {"bytes": entry.size, "used": _time(entry.used)}
            for entry in contents.entries
        ]
        typer.echo(json.dumps({"root": str(contents.root), "bytes": contents.size, "sets": sets}, indent=1))
        return
    rows = [
        (
            entry.name,
            entry.side + ("" if entry.finished else " (unfinished)"),
            f"{entry.items:,}",
            _size(entry.size),
            _time(entry.used)[:10],
        )
        for entry in contents.entries
    ]
    if rows:
        typer.echo(safe(tabulate(rows, ("model", "side", "items", "size", "last used"), tablefmt="simple", disable_numparse=True)))
    typer.echo(f"{contents.root}: {_count(len(rows))}, {_size(contents.size)}")


@app.command("rm")
def remove_sets(
    model: Annotated[str | None, typer.Option(help="Only of models whose name, or name@revision, matches this pattern: 'org/*'.")] = None,
    older_than: Annotated[str | None, typer.Option(help="Only what was not used for so long: 12h, 30d, 8w.")] = None,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Only what was left unfinished.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
) -> None:
    """Remove encoded vectors, without asking: what is needed again is encoded again."""
    from lidiag import cache
    from lidiag.terminal import safe

    narrowed = model is not None or older_than is not None or unfinished
    if narrowed == everything:
        raise LidiagError(
            "`lidiag cache rm` must be told what to remove: --all, or any of --model, --older-than and --unfinished together.",
            "See `lidiag cache ls`.",
        )
    before = time.time() - (0 if older_than is None else _seconds(older_than))
    freed = count = 0
    for entry in cache.read(cache.default_root()).entries:
        if not everything and (
            (model is not None and not entry.matches(model))
            or (older_than is not None and entry.used > before)
            or (unfinished and entry.finished)
        ):
            continue
        line = f"{entry.name} {entry.side}, {entry.items:,} items, {_size(entry.size)}"
        if entry.busy:
            typer.echo(safe(f"kept, another process is writing it: {line}"))
            continue
        if not dry_run:
            cache.remove(entry)
        typer.echo(safe(f"{'would remove' if dry_run else 'removed'}: {line}"))
        freed, count = freed + entry.size, count + 1
    typer.echo(f"{'Would free' if dry_run else 'Freed'} {_size(freed)}: {_count(count)}")


@app.command("verify")
def verify_sets(repair: Annotated[bool, typer.Option("--repair", help="Delete what is damaged.")] = False) -> None:
    """Check the SHA-256 of all vectors, and name unfinished sets and foreign files: exit code 1 where something is damaged."""
    from lidiag import cache
    from lidiag.terminal import safe

    contents = cache.read(cache.default_root())
    damaged = 0
    for entry in contents.entries:
        if entry.busy:
            typer.echo(safe(f"not checked, another process is writing it: {entry.name} {entry.side}"))
            continue
        if not entry.finished:
            typer.echo(safe(f"unfinished: {entry.name} {entry.side}, {_size(entry.size)}"))
        for damage in cache.verify(entry):
            damaged += 1
            if repair:
                damage.repair()
            typer.echo(safe(f"damaged{', deleted' if repair else ''}: {entry.name} {entry.side}: {damage.what}"))
    for path in contents.foreign:
        typer.echo(safe(f"not made by lidiag, left alone: {path}"))
    typer.echo(f"{contents.root}: {_count(len(contents.entries))}, {damaged} damaged, {len(contents.foreign)} foreign files")
    raise typer.Exit(1 if damaged and not repair else 0)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6})([hdw])", text.strip())
    if not found:
        raise LidiagError(f"--older-than {text!r} is no length of time.", "Write hours, days or weeks: 12h, 30d, 8w.")
    return int(found[1]) * _SECONDS[found[2]]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _count(sets: int) -> str:
    return "1 set" if sets == 1 else f"{sets:,} sets"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:  # noqa: PLR2004 - the next unit
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
