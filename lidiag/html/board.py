"""The leaderboard's pages: one that sorts and filters, one per submission, and the same as Markdown, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from lidiag.errors import LidiagError
from lidiag.files import write_text
from lidiag.github import inert
from lidiag.html import page
from lidiag.leaderboard import Board, Cell, Row, boards, check
from lidiag.suite import Suite
from lidiag.terminal import number

_INTRODUCTION = (
    "Equal ranks cannot be told apart: a rank is 1 + the number of models shown to be better, query by query (paired t, "
    "Benjamini-Hochberg over all pairs, 5 %). Every number and interval is recomputed from the values by query."
)


def build(folder: Path, suites: Mapping[str, Suite]) -> list[Board]:
    """Draw the leaderboard from what is filed in `folder`, all or nothing.

    Raises:
        LidiagError: something filed there is not acceptable.
    """
    submissions, faults = check(folder, suites)
    if faults:
        raise LidiagError(f"{folder} holds {len(faults)} faults: {faults[0]}", "See `lidiag leaderboard check`.")
    made = list(boards(submissions))
    for board in made:
        for row in board.rows:
            own = [(other, found) for other in made for found in other.rows if found.submission is row.submission]
            if own[0][0] is board:
                write_text(
                    folder / row.submission.place / "index.html",
                    page.render("submission.html", {"report": row.submission.report, "own": own}),
                )
    write_text(
        folder / "leaderboard.json", json.dumps([_plain(board) for board in made], indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )
    write_text(folder / "leaderboard.csv", _csv(made))
    write_text(folder / "README.md", _markdown(made))
    write_text(folder / "index.html", page.render("board.html", {"boards": made, "introduction": _INTRODUCTION}))
    return made


def _plain(board: Board) -> dict[str, Any]:
    return {
        "suite": board.suite,
        "dataset": board.data.name,
        "fingerprint": board.data.fingerprint,
        "ranked_by": None if board.by is None else str(board.by),
        "rows": [
            {
                "rank": row.rank,
                "model": row.submission.report.model.name,
                "revision": row.submission.report.model.revision,
                "gates": row.gates,
                "numbers": [
                    {
                        "probe": column.probe,
                        "probe_version": column.version,
                        "name": column.name,
                        "at": json.loads(column.at),
                        "better": column.better,
                    }
                    | {"value": cell.value, "low": cell.low, "high": cell.high, "n": cell.n}
                    for column, cell in row.cells.items()
                ],
            }
            for row in board.rows
        ],
    }


def _csv(made: Sequence[Board]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        (
            "suite",
            "dataset",
            "fingerprint",
            "rank",
            "model",
            "revision",
            "probe",
            "version",
            "measure",
            "at",
            "value",
            "low",
            "high",
            "n",
        )
    )
    for board in made:
        for row in board.rows:
            model = row.submission.report.model
            who = (board.suite, board.data.name, board.data.fingerprint, row.rank, model.name, model.revision)
            for column, cell in row.cells.items():
                writer.writerow((*who, column.probe, column.version, column.name, column.at, cell.value, cell.low, cell.high, cell.n))
    return text.getvalue()


def _markdown(made: Sequence[Board]) -> str:
    parts = [
        "# Leaderboards",
        "",
        _INTRODUCTION,
        "",
        "To sort and filter, open index.html. How to submit: `lidiag submit RUN --to leaderboards/`.",
        "",
    ]
    for board in made:
        parts += [
            f"## {inert(board.suite)} on {inert(board.data.name)}",
            "",
            f"{board.data.queries:,} queries, {board.data.documents:,} documents.",
            "",
        ]
        header = ("rank", "model", *(inert(str(column)) for column in board.columns), "gates")
        parts += [tabulate([_markdown_row(board, row) for row in board.rows], header, tablefmt="pipe", disable_numparse=True), ""]
    return "\n".join(parts)


def _markdown_row(board: Board, row: Row) -> tuple[str, ...]:
    report = row.submission.report
    name = f"[{inert(report.model.name)}]({row.submission.place.as_posix()}/report.json)"
    cells = (_cell(row.cells.get(column)) for column in board.columns)
    gates = ", ".join(f"{count} {status}" for status, count in row.gates.items())
    return ("" if row.rank is None else str(row.rank), name, *cells, gates)


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return number(cell.value) + ("" if cell.low is None or cell.high is None else f" ({number(cell.low)} to {number(cell.high)})")
