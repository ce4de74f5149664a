"""The program as a user meets it: its exit code, its two streams and the files it leaves."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pyarrow.parquet as pq
import pytest

from lidiag import machine
from lidiag import report as reports
from lidiag.cli import main


@dataclass(frozen=True)
class Done:
    returncode: object
    stdout: str
    stderr: str


def lidiag(*arguments, cwd, **environment):
    """Run the command in this process, as main() does: a process of its own would import torch anew for every test."""
    out, err = io.StringIO(), io.StringIO()
    env = {"LIDIAG_CACHE": str(cwd / "cache"), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "COLUMNS": "80"} | environment
    before = dict(os.environ), Path.cwd(), sys.argv
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["lidiag", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
            main()
    finally:
        os.environ.clear()
        os.environ.update(before[0])
        os.chdir(before[1])
        sys.argv = before[2]
    return Done(end.value.code or 0, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BEIR folder in which words decide: document i is about one thing, query i asks for it."""
    root = tmp_path_factory.mktemp("cli")
    data = root / "data"
    data.mkdir()
    things = ["anchor", "barley", "copper", "dolphin", "ember", "falcon", "granite", "harbour", "iris", "juniper", "kestrel", "lantern"]
    texts = {t: " ".join([f"the {t} stands here"] * (1 + i % 4)) for i, t in enumerate(things)}
    (data / "corpus.jsonl").write_text("".join(json.dumps({"_id": t, "title": "", "text": text}) + "\n" for t, text in texts.items()))
    (data / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q-{t}", "text": f"{t} stands"}) + "\n" for t in things))
    (data / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q-{t}\t{t}\t1\n" for t in things))
    return root


@pytest.fixture(scope="module")
def finished(folder):
    return lidiag("run", "--data", "data", "--suite", "smoke", "--out", "out", cwd=folder)


def test_a_run_writes_a_valid_report_and_ends_by_its_gates(folder, finished):
    assert finished.returncode == 0, finished.stderr
    report = reports.read(folder / "out")
    jsonschema.validate(json.loads((folder / "out" / "report.json").read_text()), reports.json_schema())
    assert {result.probe: result.status for result in report.results} == {
        "load-check": "passed",
        "retrieval": "passed",
        "length-bias": "passed",
    }
    assert {gate.status for gate in report.gates} == {"passed"}
    (ndcg,) = [m for m in report.results[1].measurements if m.name == "nDCG@10"]
    assert (ndcg.value, ndcg.n) == (1.0, 12)


def test_the_per_query_values_give_the_reports_numbers(folder, finished):
    report = reports.read(folder / "out")
    rows = pq.read_table(folder / "out" / report.values.file).to_pylist()
    assert len(rows) == report.values.rows
    for result in report.results:
        for m in result.measurements:
            own = [r for r in rows if (r["probe"], r["name"], json.loads(r["at"])) == (result.probe, m.name, m.at)]
            if m.aggregate == "mean":
                assert sum(r["value"] for r in own) / len(own) == pytest.approx(m.value, abs=1e-12)
            elif m.aggregate == "ratio":
                assert sum(r["value"] for r in own) / sum(r["base"] for r in own) == pytest.approx(m.value, abs=1e-12)
            else:
                assert own == []


def test_the_answer_is_on_stdout_within_80_columns_and_progress_on_stderr(finished):
    assert "nDCG@10" in finished.stdout
    assert "Encoding" not in finished.stdout
    assert "Encoding" in finished.stderr
    assert max(map(len, finished.stdout.splitlines())) <= 80
    assert "\x1b" not in finished.stdout + finished.stderr


def without_times(text):
    body = json.loads(text)
    body.pop("timings")
    body.pop("resources")
    body["environment"].pop("git")  # whoever works on lidiag while its tests run may commit
    for result in body["results"]:
        result.pop("seconds")
    return body


def test_the_same_command_again_gives_the_same_report_and_values(folder, finished):
    first, values = (folder / "out" / "report.json").read_text(), (folder / "out" / "values.parquet").read_bytes()
    again = lidiag("run", "--data", "data", "--suite", "smoke", "--out", "out", "--json", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert without_times(again.stdout) == without_times(first)
    assert (folder / "out" / "values.parquet").read_bytes() == values
    fresh = lidiag("run", "--data", "data", "--suite", "smoke", "--out", "fresh", cwd=folder, LIDIAG_CACHE=str(folder / "cache2"))
    assert fresh.returncode == 0
    assert without_times((folder / "fresh" / "report.json").read_text()) == without_times(first)


def test_a_finished_run_is_measured_again_only_where_something_differs(folder, finished, monkeypatch):
    for code, again in (("0" * 40, False), ("0" * 40 + "+", True), ("1" * 40, True), ("1" * 40, False)):
        monkeypatch.setattr(machine, "commit", lambda code=code: code)
        if code == "0" * 40:
            lidiag("run", "--data", "data", "--suite", "smoke", "--out", "twice", cwd=folder)
        done = lidiag("run", "--data", "data", "--suite", "smoke", "--out", "twice", cwd=folder)
        assert done.returncode == 0
        assert ("finished before" not in done.stderr) == again
    (folder / "twice" / "values.parquet").write_bytes(b"damaged")
    mended = lidiag("run", "--data", "data", "--suite", "smoke", "--out", "twice", cwd=folder)
    assert "finished before" not in mended.stderr
    assert (folder / "twice" / "values.parquet").read_bytes() != b"damaged"


def test_another_runs_folder_is_refused_and_left_as_it_was(folder, finished):
    before = (folder / "out" / "report.json").read_bytes()
    refused = lidiag("run", "--data", "data", "--suite", "smoke", "--model", "builtin:lexical?context=0.5", "--out", "out", cwd=folder)
    assert refused.returncode == 4
    assert "--out" in refused.stderr
    assert (folder / "out" / "report.json").read_bytes() == before


def test_files_that_are_not_lidiags_are_left_alone(folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("mine")
    assert lidiag("run", "--data", "data", "--suite", "smoke", "--out", "mine", cwd=folder).returncode == 0
    assert (folder / "mine" / "notes.txt").read_text() == "mine"


def test_a_gate_that_fails_gives_exit_1_and_its_reason(folder):
    suite = folder / "strict.toml"
    suite.write_text(
        'name = "strict"\nversion = 1\ndescription = "d"\n[[steps]]\nprobe = "retrieval"\n[[gates]]\nprobe = "retrieval"\n'
        'name = "nDCG@10"\nat = { pooling = "maxsim" }\nop = ">"\nbound = 1.0\nreason = "nobody is better than perfect"\n'
    )
    failed = lidiag("run", "--data", "data", "--suite", suite, "--out", "strict", cwd=folder)
    assert failed.returncode == 1
    assert "nobody is better than perfect" in failed.stdout


def test_a_limited_report_says_so(folder):
    limited = lidiag("run", "--data", "data", "--suite", "smoke", "--limit", 3, "--out", "limited", cwd=folder)
    report = reports.read(folder / "limited")
    assert (report.limit, report.data[0].queries) == (3, 3)
    assert "LIMITED" in limited.stdout


def test_show_prints_what_the_run_printed(folder, finished):
    shown = lidiag("show", "out", cwd=folder)
    assert shown.returncode == 0
    assert shown.stdout == finished.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--model", "bultin:lexical"], "builtin"),
        (["run", "--model", "nothing/there"], "nothing/there"),
        (["run", "--model", "builtin:lexicl"], "lexical"),
        (["run", "--suite", "robustnes"], "robustness"),
        (["run", "--suite", "unknown-probe.toml"], "retrieval"),
        (["run", "--suite", "unknown-pooling.toml"], "maxsin"),
        (["run", "--data", "nowhere"], "nowhere"),
        (["run", "--data", "no-qrels"], "qrels"),
        (["run", "--data", "malformed"], "corpus.jsonl line 2"),
        (["run", "--data", "unknown-id"], "qrels.tsv line 2"),
        (["run", "--data", "duplicate"], "duplicate"),
        (["run", "--model", "python:bad_adapter:nan", "--data", "builtin:facts"], "finite"),
        (["run", "--model", "python:bad_adapter:dim", "--data", "builtin:facts"], "dimensions"),
        (["run", "--dtype", "float8"], "float16"),
        (["run", "--limit", "0"], "limit"),
        (["run", "--sute", "smoke"], "--suite"),
        (["rum"], "run"),
        (["show", "nowhere"], "nowhere"),
        (["describe", "probe", "lenght-bias"], "length-bias"),
    ],
    ids=lambda value: "-".join(value).replace("--", "") if isinstance(value, list) else "",
)
def test_bad_input_gets_one_paragraph_exit_4_and_leaves_nothing_behind(folder, monkeypatch, arguments, said):
    spoil(folder)
    monkeypatch.syspath_prepend(folder)
    done = lidiag(*arguments, *(["--out", "bad-out"] if arguments[0] == "run" else []), cwd=folder)
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert said in done.stderr
    assert done.stdout == ""
    assert not (folder / "bad-out").exists()


def spoil(folder):
    """Lay out one faulty collection, suite and adapter for each kind of bad input."""
    if (folder / "malformed").exists():
        return
    for name in ("no-qrels", "malformed", "unknown-id", "duplicate"):
        shutil.copytree(folder / "data", folder / name)
    (folder / "no-qrels" / "qrels.tsv").unlink()
    lines = (folder / "data" / "corpus.jsonl").read_text().splitlines()
    (folder / "malformed" / "corpus.jsonl").write_text("\n".join([lines[0], lines[1][:-4], *lines[2:]]))
    (folder / "unknown-id" / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq-anchor\tzebra\t1\n")
    (folder / "duplicate" / "corpus.jsonl").write_text("\n".join([*lines, lines[0]]))
    head = 'name = "x"\nversion = 1\ndescription = "d"\n[[steps]]\n'
    (folder / "unknown-probe.toml").write_text(head + 'probe = "retreival"\n')
    (folder / "unknown-pooling.toml").write_text(head + 'probe = "retrieval"\nparameters = { poolings = ["maxsin"] }\n')
    (folder / "bad_adapter.py").write_text(
        "import torch\nfrom lidiag.adapters.builtin import load\nfrom lidiag.multivector import MultiVectors\n"
        "class Bad:\n"
        "    def __init__(self, options, spoil):\n        self.good = load('lexical', options)\n        self.card = self.good.card\n        self.spoil = spoil\n"
        "    def queries(self, texts):\n        return self.good.queries(texts)\n"
        "    def documents(self, documents):\n        return self.spoil(self.good.documents(documents))\n"
        "    def labels(self, side, item):\n        return self.good.labels(side, item)\n"
        "def nan(options):\n    def spoil(v):\n        v.vectors[1, 1] = float('nan')\n        return v\n    return Bad(options, spoil)\n"
        "def dim(options):\n    return Bad(options, lambda v: MultiVectors(v.vectors[:, :64], v.offsets))\n"
    )


def test_help_loads_no_model_library():
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "lidiag", "--help"], capture_output=True, text=True, check=True)
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "typer" in loaded
    assert not loaded & {"torch", "transformers", "mteb", "numpy", "sentence_transformers"}


@pytest.mark.parametrize("what", ["probes", "suites", "models", "datasets"])
def test_what_there_is_can_be_listed(tmp_path, what):
    done = lidiag("list", what, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"probes": "length-bias", "suites": "robustness", "models": "builtin:lexical", "datasets": "builtin:facts"}[what] in done.stdout


def test_a_probe_describes_every_number_it_gives(folder, finished):
    report = reports.read(folder / "out")
    for result in report.results:
        described = lidiag("describe", "probe", result.probe, cwd=folder).stdout
        for measurement in result.measurements:
            assert f"  {measurement.name}" in described


def test_the_schema_is_printed_as_json(tmp_path):
    done = lidiag("schema", cwd=tmp_path)
    jsonschema.Draft202012Validator.check_schema(json.loads(done.stdout))


def test_a_benchmarks_name_resolves_to_tasks_and_pinned_revisions_without_a_hub(folder):
    shown = lidiag("describe", "dataset", "nanobeir", "--json", cwd=folder)
    parts = json.loads(shown.stdout)
    assert len(parts) == 13
    assert all(re.fullmatch("[0-9a-f]{40}", part["revision"]) for part in parts)
    assert {"name", "hub", "revision", "main_score", "languages"} == set(parts[0])
    counts = {
        name: len(json.loads(lidiag("describe", "dataset", name, "--json", cwd=folder).stdout)) for name in ("vidore-v1", "vidore-v3")
    }
    assert counts == {"vidore-v1": 10, "vidore-v3": 60}
    assert "mteb/NanoSciFactRetrieval" in lidiag("describe", "dataset", "mteb:NanoSciFactRetrieval", cwd=folder).stdout


def test_a_collection_is_described_by_what_it_holds(folder):
    shown = lidiag("describe", "dataset", "data", cwd=folder).stdout
    assert re.search(r"queries: +12\n", shown)
    assert re.search(r"modality: +text\n", shown)


def test_a_collection_that_cannot_be_had_is_shown_once_with_its_cause(folder):
    (folder / "unjudged").mkdir()
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / "unjudged" / name).write_text((folder / "data" / name).read_text())
    done = lidiag("run", "--data", "data", "--data", "unjudged", "--suite", "smoke", "--out", "half", cwd=folder)
    assert done.returncode == 3
    assert "broken on unjudged, all 3 probes: unjudged cannot be used: qrels.tsv is missing" in " ".join(done.stdout.split())
    assert "retrieval on data - How good are the rankings?" in done.stdout
    assert "BROKEN  all 2 gates on unjudged: nothing was measured there" in done.stdout
    assert done.stdout.count("PASSED") == 2


@pytest.mark.parametrize(
    "arguments", [("run", "--model", "~nobody-here/x"), ("run", "--data", "~nobody-here/x"), ("data", "check", "~nobody-here/x")]
)
def test_the_folder_of_an_unknown_user_is_a_folder_that_is_not_there(folder, arguments):
    done = lidiag(*arguments, cwd=folder)
    assert done.returncode == 4
    assert "~nobody-here/x" in done.stderr
    assert "Traceback" not in done.stderr
