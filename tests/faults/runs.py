"""Runs of the command line in forked processes: what takes seconds to import is imported once."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers  # noqa: F401 - so that a forked run need not

import lidiag.cli
import lidiag.html.card
import lidiag.run
from lidiag import catalog

for _name in catalog.probe_names():
    catalog.probe_class(_name)


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code (below 0: the signal that killed it), what it printed, and how long it took."""

    code: int
    printed: str
    seconds: float


def run(folder: Path, *arguments: str, kill_after: float | None = None, sent: int = signal.SIGKILL) -> Ended:
    """Run `lidiag ARGUMENTS` with `folder` for its cache (`cache`) and its output; send a signal after some seconds."""
    printed = folder.parent / f"{folder.name}.printed"
    began = time.perf_counter()
    child = os.fork()
    if not child:
        _become(folder, arguments, printed)
    code = _wait(child, began, kill_after, sent)
    return Ended(code, printed.read_text(encoding="utf-8", errors="replace"), time.perf_counter() - began)


def _become(folder: Path, arguments: tuple[str, ...], printed: Path) -> None:
    """Be the command line, and end with its exit code."""
    try:
        file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.environ |= {"LIDIAG_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
        sys.argv = ["lidiag", *arguments]
        lidiag.cli.main()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 0)
    except BaseException:  # noqa: BLE001 - whatever it is, the fork ends here
        traceback.print_exc()
    os._exit(99)


def _wait(child: int, began: float, kill_after: float | None, sent: int) -> int:
    killed = kill_after is None
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if not killed and time.perf_counter() - began >= (kill_after or 0):
            os.kill(child, sent)
            killed = True
        time.sleep(0.002)


def report(out: Path) -> tuple[dict[str, Any], bytes]:
    """Return a run's report without what is measured with a clock or a gauge, and the bytes of its values."""
    body = json.loads((out / "report.json").read_text(encoding="utf-8"))
    del body["timings"], body["resources"]
    for result in body["results"]:
        del result["seconds"]
    return body, (out / "values.parquet").read_bytes()
