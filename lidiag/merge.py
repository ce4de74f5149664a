"""Shares of a run, done by several processes, made into one report. No model is loaded."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lidiag import assembly
from lidiag.datasets import official_files
from lidiag.errors import LidiagError
from lidiag.lock import alone
from lidiag.parts import FOLDER, Parts, plans
from lidiag.plan import Plan
from lidiag.report import Report


def merge(out: Path, folders: Sequence[Path]) -> Report:
    """Write into `out` the report of the shares that lie in `out` and in `folders`, each of them a run's folder.

    The report is the one that a single process would have written.

    Raises:
        LidiagError: there are no shares, they are of different runs, or some have not finished.
    """
    for folder in folders:
        if not (folder / FOLDER).is_dir():
            raise LidiagError(f"{folder} holds no share of a run.", "Name the --out of `lidiag run --shard`.")
    with alone(out):
        parts = out / FOLDER
        for folder in folders:
            if folder.resolve() != out.resolve():
                shutil.copytree(folder / FOLDER, parts, dirs_exist_ok=True)
        plan = _one(plans(parts), out)
        report = assembly.assemble(Parts(parts, plan), out, {}, None)
        official_files.write(report, out)
        shutil.rmtree(parts, ignore_errors=True)
    return report


def _one(found: Sequence[Plan], out: Path) -> Plan:
    if not found:
        raise LidiagError(f"{out} holds no finished share of a run.", "Run `lidiag run --shard 1/2 --out ...` and the others first.")
    digests = {plan.digest: plan for plan in found}
    if len(digests) > 1:
        one, other = list(digests.values())[:2]
        raise LidiagError(
            f"{out} holds shares of {len(digests)} different runs: {_difference(one, other)}.",
            "Merge the shares of one run, in a folder of its own.",
        )
    return found[0]


def _difference(one: Plan, other: Plan) -> str:
    """Say in what two plans differ first."""
    a, b = one.model_dump(mode="json"), other.model_dump(mode="json")
    name = next(key for key in ("seed", "limit", *a) if a[key] != b[key])
    if isinstance(a[name], dict):
        inner = next(key for key in a[name] if a[name][key] != b[name].get(key))
        return f"{name} {inner} is {str(a[name][inner])[:100]} in one and {str(b[name].get(inner))[:100]} in another"
    return f"{name} is {str(a[name])[:100]} in one and {str(b[name])[:100]} in another"
