"""The direction of imports, read from the source, and what reading a report may load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGINE = sorted((ROOT / "lidiag").glob("*.py"))
PROBES = sorted((ROOT / "probes").glob("*.py"))
ADAPTERS = sorted((ROOT / "lidiag" / "adapters").glob("[!_]*.py"))
DATASETS = sorted((ROOT / "lidiag" / "datasets").glob("[!_]*.py"))
# They turn names into things, or call what does.
CONTENT = {"catalog", "collections", "work", "run", "merge", "cli", "cli_list", "cli_reports", "pytest_plugin"}
HEAVY = ("torch", "transformers", "sentence_transformers", "mteb", "colpali_engine", "datasets")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def reaches(path: Path, *packages: str) -> set[str]:
    return {name for name in imports(path) if any(name == package or name.startswith(f"{package}.") for package in packages)}


@pytest.mark.parametrize("path", PROBES, ids=lambda path: path.stem)
def test_a_probe_knows_no_adapter_no_dataset_and_no_other_probe(path: Path) -> None:
    assert not reaches(path, "lidiag.adapters", "lidiag.datasets", "lidiag.catalog", "lidiag.run", "lidiag.cli")
    others = {name for name in reaches(path, "lidiag.probes") if not name.removeprefix("lidiag.probes.").startswith("_")}
    assert others <= {"lidiag.probes"}


@pytest.mark.parametrize(
    "path",
    [p for p in ENGINE if p.stem not in CONTENT],
    ids=lambda path: path.stem,
)
def test_the_engine_names_no_probe_no_adapter_and_no_dataset(path: Path) -> None:
    assert not reaches(path, "lidiag.probes", "lidiag.adapters", "lidiag.datasets", "lidiag.catalog")


@pytest.mark.parametrize("path", ADAPTERS + DATASETS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_adapters_and_datasets_know_nothing_of_runs_and_probes(path: Path) -> None:
    assert not reaches(path, "lidiag.probes", "lidiag.run", "lidiag.cli", "lidiag.catalog", "lidiag.battery", "lidiag.probe")


@pytest.mark.parametrize("module", [
    "measurement", "gate", "suite", "report", "errors", "stats", "terminal", "cli", "files", "advice", "compare", "judgement", "junit", "github",
    "submission", "leaderboard", "html.card", "html.board", "pytest_plugin",
])  # fmt: skip
def test_reading_a_report_loads_no_model_library(module: str) -> None:
    code = f"import sys, lidiag.{module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize("path", ENGINE + PROBES + ADAPTERS + DATASETS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_function_hands_keyword_arguments_through_unnamed(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # What stands in for another library's from_pretrained must take and hand on whatever that takes.
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.args.kwarg and node.name != "from_pretrained"
    ]
    for function in functions:
        handed = [k for call in ast.walk(function) if isinstance(call, ast.Call) for k in call.keywords if k.arg is None]
        assert not [k for k in handed if isinstance(k.value, ast.Name) and k.value.id == function.args.kwarg.arg], function.name


@pytest.mark.parametrize(
    "path", [p for p in ENGINE + PROBES + ADAPTERS + DATASETS if p.stem != "cli"], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_only_the_command_line_prints(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
