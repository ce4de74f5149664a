"""A checkpoint judged against its baseline by the whole way through: run, report, and the three doors of CI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lidiag import catalog, judgement
from lidiag.compare import load
from lidiag.dataset import DataOptions
from lidiag.errors import LidiagError
from lidiag.request import Request
from lidiag.run import run
from lidiag.watch import Silent

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[1]
AILMENTS = (
    "length_bias=0.3",
    "hijackable=0.5",
    "hub_vector=0.4",
    "tail_signal=0.5",
    "gradient_spike=0.5",
    "batch_dependent=0.2",
    "pad_rows=2",
)
GATED = """
name = "gated"
version = 1
description = "A baseline's gates over a small collection."
[[steps]]
probe = "load-check"
[[steps]]
probe = "retrieval"
parameters = { poolings = ["maxsim"] }
[[steps]]
probe = "length-sweep"
parameters = { poolings = ["maxsim"], growth = [2], texts = 0 }
[[steps]]
probe = "distractor-hijacking"
parameters = { poolings = ["maxsim"], k = [100], draws = 2, echo = 0, distractors = ["targeted", "random", "gaussian_matched"] }
[[gates]]
probe = "load-check"
name = "faults"
op = "<="
bound = 0
reason = "A fault makes every other figure meaningless."
"""


def write_collection(folder: Path, statements: int) -> None:
    """Write a part of builtin:facts as a folder in the BEIR layout: 10 documents and 3 questions for each statement."""
    data = catalog.dataset("builtin:facts", DataOptions())
    kept = set(sorted(set(data.groups.values()))[:statements])
    documents = [document for document in data.documents if data.facets[document.id]["fact"] in kept]
    queries = [query for query in data.queries if data.groups[query.id] in kept]
    folder.mkdir()
    for name, items in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps({"_id": item.id, "text": item.text}) for item in items]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    rows = [f"{query.id}\t{document}\t{grade}" for query in queries for document, grade in data.relevance[query.id].items()]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a collection, a suite, and a store of vectors."""
    place = tmp_path_factory.mktemp("gated")
    write_collection(place / "small", 20)
    (place / "gated.toml").write_text(GATED)
    return place


def measured(place: Path, parameters: str = "", *, seed: int = 0, suite: str = "") -> Path:
    """Run the built-in model, unless it was, and return the run's folder."""
    suite = suite or str(place / "gated.toml")
    out = place / f"run-{parameters}-{seed}-{Path(suite).stem}"
    if not out.exists():
        model = f"builtin:lexical?{parameters}" if parameters else "builtin:lexical"
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("LIDIAG_CACHE", str(place / "cache"))
            run(Request(model=model, suites=(suite,), data=(str(place / "small"),), out=out, seed=seed, device="cpu"), Silent())
    return out


def against(report: Path, baseline: Path) -> judgement.Judgement:
    return judgement.judge(*load([report, baseline]))


@pytest.mark.parametrize("ailment", AILMENTS)
def test_an_ailing_checkpoint_fails_against_its_healthy_baseline(place, ailment):
    judged = against(measured(place, ailment), measured(place))
    assert judged.exit_code() in {1, 3}
    assert any(verdict.status == "failed" for verdict in judged.verdicts)


def test_a_checkpoint_with_a_random_head_is_refused_before_anything_is_measured(place):
    with pytest.raises(LidiagError, match="lacks weights"):
        measured(place, "random_head=1")


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lidiag", "gate", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_the_command_fails_the_ailing_checkpoint_and_passes_the_same_one(place):
    healthy, ailing = measured(place), measured(place, "hijackable=0.5")
    assert command(measured(place, seed=1), "--baseline", healthy).returncode == 0
    ran = command(ailing, "--baseline", healthy)
    assert ran.returncode == 1, ran.stderr
    assert "lidiag/lexical.hijackable-0.5 against lidiag/lexical" in ran.stdout


def test_the_plugin_fails_the_ailing_checkpoint_and_passes_the_same_one(place, pytester, monkeypatch):
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    judged = {}
    for name, report in (("same", measured(place, seed=1)), ("ailing", measured(place, "hijackable=0.5"))):
        given = (f"--lidiag-report={report}", f"--lidiag-baseline={measured(place)}", f"--lidiag-suite={place / 'gated.toml'}")
        judged[name] = pytester.runpytest_subprocess(*given, f"--lidiag-data={place / 'small'}", "-v")
    assert judged["same"].ret == pytest.ExitCode.OK
    assert judged["ailing"].ret == pytest.ExitCode.TESTS_FAILED
    judged["ailing"].stdout.fnmatch_lines(["*distractor-hijacking no regression FAILED*"])


def test_the_actions_script_fails_the_ailing_checkpoint_and_passes_the_same_one(place, tmp_path):
    (tmp_path / "lidiag").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lidiag "$@"\n')
    (tmp_path / "lidiag").chmod(0o755)
    inputs = {"SUITE": str(place / "gated.toml"), "DATA": str(place / "small"), "GATES": "", "REPORT": "", "BASELINE": str(measured(place))}
    known = {"LIDIAG": str(tmp_path / "lidiag"), "PYTHONPATH": str(ROOT), "LIDIAG_CACHE": str(place / "cache")}
    known |= {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "GITHUB_OUTPUT": str(tmp_path / "output")}
    codes = {}
    for model in ("builtin:lexical", "builtin:lexical?hijackable=0.5"):
        environment = os.environ | inputs | known | {"MODEL": model, "OUT": str(tmp_path / f"out{len(codes)}")}
        script = ["bash", str(ROOT / ".github" / "gate.sh")]
        ran = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
        codes[model] = ran.returncode, "::error" in ran.stdout + ran.stderr
    assert codes == {"builtin:lexical": (0, False), "builtin:lexical?hijackable=0.5": (1, True)}


def test_the_same_checkpoint_passes_with_other_seeds(place):
    for seed in range(1, 6):
        assert against(measured(place, seed=seed), measured(place)).exit_code() == 0


@pytest.mark.slow
def test_the_same_checkpoint_passes_the_whole_suite_for_100_of_100_seeds(place):
    baseline = measured(place, suite="robustness")
    codes = [against(measured(place, seed=seed, suite="robustness"), baseline).exit_code() for seed in range(1, 101)]
    assert codes == [0] * 100
