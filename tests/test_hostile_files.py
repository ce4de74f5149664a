"""What the source may not contain: pickles, evaluated text, and JSON that is read past the one strict reader."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "lidiag").rglob("*.py"), *(ROOT / "probes").glob("*.py")])
RUN_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
# Coordinates that this very process has written a moment before.
OWN_JSON = {"lidiag/leaderboard.py", "lidiag/html/board.py", "lidiag/strict_json.py"}


def faults(source: str, name: str = "x.py") -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [module for module in modules if module.partition(".")[0] in RUN_CODE]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        runs = called in {"torch.load", "yaml.load", "eval", "exec", "pd.read_pickle"}
        unpickles = called in {"np.load", "numpy.load"} and keywords.get("allow_pickle") != "False"
        lax = called in {"json.load", "json.loads"} and name not in OWN_JSON
        found += [called] if runs or unpickles or lax else []
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_unpickled_or_evaluated_and_all_json_is_read_strictly(path):
    assert faults(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()) == []


@pytest.mark.parametrize("source", [
    "import pickle", "from pickle import loads", "import joblib.x", "torch.load(p)", "np.load(p)", "np.load(p, allow_pickle=True)",
    "yaml.load(t)", "eval('1')", "json.loads(t)", "with p.open() as f:\n    json.load(f)",
])  # fmt: skip
def test_each_of_them_would_be_seen(source):
    assert len(faults(source)) == 1
