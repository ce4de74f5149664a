"""Do the tests see when a formula is wrong? `python -m tests.mutation.run`: mutants made, mutants killed, and those that survive.

Each module of modules.toml is changed in one place at a time, in a copy of the tree, and its tests run. With `--page` the
figures are written to docs/mutation.md. Exit code 1 where a group has fewer than 90 % killed, or a survivor has no reason in
survivors.toml.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutation import forks
from tests.mutation.mutants import Mutant, mutants, sample
from tests.mutation.page import page
from tests.mutation.results import Module, Survivor, groups, lines

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
SLACK = 10.0  # seconds beyond three times what the sound tests take


@dataclass(frozen=True)
class Trial:
    """A module in a copy of the tree, and its tests."""

    tree: Path
    path: str
    tests: list[str]

    def sound(self) -> float:
        """Return the seconds that the tests take without a mutant; the first of two runs may compile kernels."""
        for _ in range(2):
            ended = forks.run_tests(self.tree, self.tests)
            if not ended.passed:
                raise SystemExit(f"{self.path}: the tests fail without any mutant:\n{ended.output}")
        return ended.seconds

    def of(self, mutant: Mutant, most: float) -> forks.Ended:
        """Run the tests with a mutant in the module's place, for at most `most` seconds."""
        file = self.tree / self.path
        sound = file.read_text(encoding="utf-8")
        try:
            for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
                compiled.unlink()
            file.write_text(mutant.source, encoding="utf-8")
            return forks.run_tests(self.tree, self.tests, most=most)
        finally:
            file.write_text(sound, encoding="utf-8")


def main() -> int:
    """Print every survivor when it is found and the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="PART", help="only modules whose path holds one of these")
    parser.add_argument("--most", type=int, default=60, help="mutants drawn by module")
    parser.add_argument("--seed", default="1", help="of the draw")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "mutation.json", help="where verdicts are kept")
    parser.add_argument("--survivors", action="store_true", help="where a module is unchanged, take over what was killed before")
    parser.add_argument("--page", action="store_true", help="write docs/mutation.md of all results kept")
    given = parser.parse_args()
    chosen = list(_chosen(given.modules))
    if not chosen:
        parser.error(f"no module of modules.toml has a path that holds {' or '.join(given.modules)}")
    reasons = _reasons()
    forks.prepare()
    with tempfile.TemporaryDirectory(prefix="lidiag-mutants-") as folder:
        tree = forks.copy_tree(ROOT, Path(folder))
        for group, path, tests in chosen:
            before = _read(given.results).get(path)
            source = (tree / path).read_text(encoding="utf-8")
            found = mutants(source)
            drawn = sample(found, given.most, f"{given.seed}:{path}")
            _say(f"{path}: {len(drawn)} of {len(found)} mutants")
            known = before.killed if given.survivors and before and before.source == _digest(source) else frozenset[str]()
            killed, survivors = _try(Trial(tree, path, tests), drawn, known)
            tried = Module(group, path, tuple(tests), len(found), killed, survivors, _digest(source), given.seed, len(killed))
            _write(given.results, _read(given.results) | {path: tried.after(before)})
    kept = _read(given.results)
    every = [path for _, path, _ in _chosen([])]
    modules = [kept[path] for path in every if path in kept and kept[path].source == _digest((ROOT / path).read_text(encoding="utf-8"))]
    missing = [path for path in every if path not in {module.path for module in modules}]
    for line in lines(modules, reasons):
        _say(line)
    if missing:
        _say(f"not measured as they are now: {', '.join(missing)}")
    if given.page:
        (ROOT / "docs" / "mutation.md").write_text(page(modules, reasons, missing), encoding="utf-8")
    unexplained = [survivor for module in modules for survivor in module.survivors if module.reason(survivor, reasons) is None]
    return int(bool(unexplained) or any(group.share < 0.9 for group in groups(modules)))


def _try(trial: Trial, drawn: list[Mutant], known: frozenset[str]) -> tuple[frozenset[str], tuple[Survivor, ...]]:
    """Return the mutants that were killed, those known to be so among them, and those that survived."""
    most = 3 * trial.sound() + SLACK
    killed, survivors, seconds, overdue = set[str](), list[Survivor](), 0.0, 0
    for mutant in drawn:
        if mutant.key in known:
            killed.add(mutant.key)
            continue
        ended = trial.of(mutant, most)
        seconds += ended.seconds
        overdue += ended.overdue
        if ended.passed:
            survivors.append(Survivor(mutant.line, mutant.before, mutant.after))
            _say(f"  survived, line {mutant.line}\n    - {mutant.before}\n    + {mutant.after}")
        else:
            killed.add(mutant.key)
    _say(f"  {len(killed)} of {len(drawn)} killed ({overdue} by time), {seconds:.0f} s")
    return frozenset(killed), tuple(survivors)


def _chosen(parts: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    for group, modules in tomllib.loads((HERE / "modules.toml").read_text(encoding="utf-8")).items():
        for path, tests in modules.items():
            if not parts or any(part in path for part in parts):
                yield group, path, tests


def _reasons() -> dict[tuple[str, str, str], str]:
    entries = tomllib.loads((HERE / "survivors.toml").read_text(encoding="utf-8")).get("survivors", [])
    return {(entry["module"], entry["before"], after): entry["reason"] for entry in entries for after in entry["after"]}


def _read(file: Path) -> dict[str, Module]:
    if not file.exists():
        return {}
    return {entry["path"]: Module.read(entry) for entry in json.loads(file.read_text(encoding="utf-8"))}


def _write(file: Path, kept: dict[str, Module]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([module.entry() for module in kept.values()], indent=1), encoding="utf-8")


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
