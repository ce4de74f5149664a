"""Tests of a copy of the tree, each run in a fork of one process that has imported the large libraries, but nothing of lidiag."""

from __future__ import annotations

import importlib
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hypothesis import Phase, settings

_LIBRARIES = (
    "torch",
    "numba",
    "scipy.stats",
    "sklearn.linear_model",
    "sklearn.metrics",
    "pydantic",
    "ir_measures",
    "hypothesis.extra.numpy",
)
_PASSED = 0
_OURS = frozenset({"lidiag", "tests"})
_GIB = 2**30


@dataclass(frozen=True)
class Ended:
    """How a run of tests ended, and what it printed; `seconds` are those of its process on a core."""

    passed: bool
    overdue: bool
    seconds: float
    output: str


def prepare() -> None:
    """Import what every run needs, once; it takes seconds, and a fork has it for nothing."""
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HF_HUB_OFFLINE": "1"}
    for name in _LIBRARIES:
        importlib.import_module(name)
    # The same examples for every mutant, none kept from run to run, and no search for the smallest one that fails.
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", derandomize=True, database=None, deadline=None, phases=phases, report_multiple_bugs=False)


def copy_tree(root: Path, folder: Path) -> Path:
    """Copy what git does not ignore, with the collections and models that tests find beside the repository."""
    asked = ["git", "ls-files", "-z", "-c", "-o", "--exclude-standard"]
    listed = subprocess.run(asked, cwd=root, check=True, capture_output=True, text=True)
    tree = folder / "tree"
    for name in filter(None, listed.stdout.split("\0")):
        if (root / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, tree / name)
    if (root.parent / "shared").is_dir():
        (folder / "shared").symlink_to((root.parent / "shared").resolve())
    return tree


def run_tests(tree: Path, tests: list[str], *, most: float | None = None) -> Ended:
    """Run tests of a tree until the first that fails, for at most `most` seconds on a core and five times that on the clock."""
    log = tree.parent / "output.txt"
    sys.stdout.flush()
    child = os.fork()
    if not child:
        _run(tree, tests, log, most)
    ending = time.monotonic() + (5 * most if most else 3600)
    overdue = False
    while not (done := os.wait4(child, os.WNOHANG))[0]:
        time.sleep(0.02)
        if time.monotonic() > ending:
            overdue = True
            os.kill(child, 9)
            done = os.wait4(child, 0)
            break
    _, status, usage = done
    seconds = usage.ru_utime + usage.ru_stime
    overdue |= most is not None and os.WIFSIGNALED(status) and seconds >= most - 1
    return Ended(status == _PASSED, overdue, seconds, log.read_text(encoding="utf-8", errors="replace"))


def _run(tree: Path, tests: list[str], log: Path, most: float | None) -> None:
    """Become the process of the tests; never returns."""
    code = 70
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.dont_write_bytecode = most is not None  # what was compiled of a mutant must not be taken for the next
        if most is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (int(most), int(most) + 1))
            held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + 6 * _GIB, held + 6 * _GIB))
        os.chdir(tree)
        sys.path[:] = [str(tree), *(entry for entry in sys.path if entry not in {"", str(Path.cwd()), os.environ.get("PWD", "")})]
        for name in [name for name in sys.modules if name.split(".")[0] in _OURS]:
            del sys.modules[name]
        pytest = importlib.import_module("pytest")
        # Triton's interpreter takes half a minute, and computes nothing of what is mutated.
        plugin = ["-p", "_hypothesis_pytestplugin", "--hypothesis-profile=mutants"]
        code = int(pytest.main(["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-k", "not triton", *plugin, *tests]))
    finally:
        os._exit(code)
