"""docs/mutation.md: what the mutants say about the tests."""

from __future__ import annotations

from tests.mutation.results import Counts, Module, Reasons, groups

_HEAD = """\
# Do the tests see when a formula is wrong?

`make mutants` changes one operator, comparison or number of a formula at a time (cosmic-ray), runs the tests of its module and
counts how often one of them fails: that mutant is *killed*. This page is written by that command (`--page`).

At most {most} mutants of a module are tried, drawn by a seed ({seeds}); the interval (Clopper-Pearson, 95 %) says what a draw leaves
open. Survivors of these very draws had tests written for them, so that mutants drawn by another `--seed` may fare a little worse:
*at first* is the share that was killed before, when the draw was new to the tests.

Not changed are annotations, decorators, the fields of a class (a probe's name, version and default parameters, the sizes of
blocks), what stands in messages, and flags that guard a sound call (`strict=`). Of all operators that could take another's place
only those are tried whose result is a value: `a << b` for `a + b` mostly raises at once and would flatter the share. A survivor
counts as one even where no test could ever tell it from the original; its reason then says so. Compiled kernels
(`lidiag/kernels.py`, `probes/*_kernels.py`, `_merging.py`, `_nested.py`, `_gaussian_rows.py`) are held against the plain formulas by property
tests instead.
"""


def page(modules: list[Module], reasons: Reasons, missing: list[str]) -> str:
    """Return the page; `missing` are the modules without results."""
    most = max(module.counts.tried for module in modules)
    seeds = ", ".join(dict.fromkeys(f"`--seed {module.seed}`" for module in modules))
    parts = [_HEAD.format(most=most, seeds=seeds), *_table("group")]
    parts += [_row(counts) for counts in groups(modules)]
    if missing:
        parts += ["", f"Not measured as they are now: {', '.join(f'`{path}`' for path in missing)}."]
    for group in groups(modules):
        parts += ["", f"## {group.name}", "", *_table("module")]
        mine = [module for module in modules if module.group == group.name]
        parts += [_row(module.counts) for module in mine]
        for module in mine:
            parts += _survivors(module, reasons)
    return "\n".join(parts) + "\n"


def _table(name: str) -> list[str]:
    return [f"| {name} | mutants | tried | killed | share | interval | at first |", "|---|---:|---:|---:|---:|---|---:|"]


def _row(counts: Counts) -> str:
    low, high = counts.interval
    reach = f"{low:.1%} to {high:.1%}" if counts.tried < counts.made else "all tried"
    return f"| {counts.name} | {counts.made} | {counts.tried} | {counts.killed} | {counts.share:.1%} | {reach} | {counts.first / counts.tried:.1%} |"


def _survivors(module: Module, reasons: Reasons) -> list[str]:
    if not module.survivors:
        return []
    listed = ["", f"Survivors of `{module.path}`:", ""]
    for survivor in module.survivors:
        reason = module.reason(survivor, reasons) or "**no reason given**"
        listed.append(f"- line {survivor.line}, `{survivor.before}` becomes `{survivor.after}`: {reason}")
    return listed
