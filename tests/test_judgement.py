import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from lidiag import github, judgement, junit
from lidiag.compare import load, load_alone
from lidiag.errors import LidiagError
from lidiag.gate import Gate
from lidiag.regression import Regression, _Fall, _verdict
from tests import reports

RETRIEVAL = {"probes": ("retrieval",), "poolings": ("maxsim",)}
NDCG = {"probe": "retrieval", "name": "nDCG@10", "at": {"pooling": "maxsim"}}
HOSTILE = "a | b\n::error::x <img src=x onerror=alert(1)> [l](http://x) @all \x1b[31m\u202e\ufffe"


def pair(tmp_path, now, before):
    reports.write(tmp_path / "now", **RETRIEVAL | now)
    reports.write(tmp_path / "before", **RETRIEVAL | before)
    return load([tmp_path / "now", tmp_path / "before"])


def by_status(judged):
    return {status: [v for v in judged.verdicts if v.status == status] for status in ("passed", "failed", "skipped", "broken")}


def test_without_a_file_the_suites_own_gates_are_judged_again_from_the_measurements(tmp_path):
    report = reports.write(tmp_path, **RETRIEVAL)
    lied = report.model_copy(update={"gates": tuple(gate.model_copy(update={"status": "passed", "bound": 0.99}) for gate in report.gates)})
    lied.write(tmp_path / "report.json")
    judged = judgement.judge(*load_alone(tmp_path))
    assert [v.status for v in judged.verdicts] == ["failed"]
    assert judged.exit_code() == 1


def test_a_planted_ailment_fails_against_the_healthy_baseline(tmp_path):
    judged = judgement.judge(*pair(tmp_path, {"quality": -0.15}, {}))
    assert {v.name for v in by_status(judged)["failed"]} == {"nDCG@10", "R@1"}
    assert judged.exit_code() == 1
    assert "fell by" in judged.text()


def test_a_better_model_passes(tmp_path):
    assert judgement.judge(*pair(tmp_path, {"quality": 0.15}, {})).exit_code() == 0


def test_a_report_passes_against_itself_whatever_it_measured(tmp_path):
    probes = {"probes": reports.PROBES, "queries": 20}
    assert judgement.judge(*pair(tmp_path, probes, probes)).exit_code() == 0


def test_of_100_equal_models_none_fails_by_chance(tmp_path):
    codes = [judgement.judge(*pair(tmp_path, {"seed": 2 * seed}, {"seed": 2 * seed + 1})).exit_code() for seed in range(100)]
    assert sum(code != 0 for code in codes) <= 3


def test_lower_is_better_turns_the_test_round(tmp_path):
    hijack = {"probes": ("distractor-hijacking",), "poolings": ("maxsim",)}
    sides = pair(tmp_path, hijack, hijack | {"poolings": ("maxsim",)})
    place = {"probe": "distractor-hijacking", "name": "hijack_rate", "at": {"pooling": "maxsim", "k": 100, "distractor": "targeted"}}
    gates = judgement.Gates(regressions=[Regression(**place)])
    verdict = judgement.judge(*sides, gates=gates).verdicts[0]
    assert (verdict.status, verdict.op) == ("passed", "<=")
    assert verdict.limit == pytest.approx(verdict.observed + 0.01)


def test_a_strict_regression_needs_proof_that_there_is_none(tmp_path):
    sides = pair(tmp_path, {"seed": 1, "queries": 20}, {"queries": 20})
    lenient, strict = (judgement.Gates(regressions=[Regression(**NDCG, strict=strict, most=0.001)]) for strict in (False, True))
    assert judgement.judge(*sides, gates=lenient).exit_code() == 0
    assert judgement.judge(*sides, gates=strict).exit_code() == 1


def test_a_gate_fails_four_times_in_five_where_the_fall_is_as_large_as_it_says(tmp_path):
    rng = np.random.default_rng(0)
    regression = Regression(**NDCG)
    noise, units = 0.1, 50

    def judged(fall):
        falls = fall + noise * rng.standard_normal(units)
        error = falls.std(ddof=1) / np.sqrt(units)
        shown = _Fall(regression, "facts", 0.5, 0.5 + fall, falls.mean(), error, units, 1.0)
        return _verdict(shown, shown.p())

    said = float(judged(0.0).why.split("for the worse of ")[1].split()[0])
    failed = np.mean([judged(said).status == "failed" for _ in range(2000)])
    assert 0.7 < failed < 0.9  # the noise that `said` was drawn from is known to a tenth


def test_a_gate_on_what_was_not_measured_is_broken(tmp_path):
    sides = pair(tmp_path, {}, {})
    for place in (NDCG | {"name": "none"}, NDCG | {"probe": "none"}, NDCG | {"at": {"pooling": "mean"}}):
        assert judgement.judge(*sides, gates=judgement.Gates(regressions=[Regression(**place)])).exit_code() == 3
        bound = Gate(**place, op=">", bound=0.0, reason="r")
        assert judgement.judge(sides[0], gates=judgement.Gates(gates=[bound])).exit_code() == 3


def test_what_the_baseline_measured_and_this_report_did_not_is_broken(tmp_path):
    now, before = pair(tmp_path, {}, {})
    skipped = now.report.results[0].model_copy(update={"status": "skipped", "reason": "no page", "measurements": ()})
    judged = judgement.judge(type(now)(now.name, now.report.model_copy(update={"results": (skipped,), "gates": ()}), now.samples), before)
    assert {v.status for v in judged.verdicts} == {"broken"}
    assert "no page" in judged.verdicts[0].why


def test_a_broken_probe_is_never_a_pass(tmp_path):
    report = reports.write(tmp_path, probes=("retrieval", "length-bias"))
    broken = report.results[1].model_copy(update={"status": "broken", "reason": "it raised", "measurements": ()})
    report.model_copy(update={"results": (report.results[0], broken)}).write(tmp_path / "report.json")
    assert judgement.judge(*load_alone(tmp_path)).exit_code() == 3


def test_nothing_judged_is_no_pass(tmp_path):
    reports.write(tmp_path, gates=(), **RETRIEVAL)
    assert judgement.judge(*load_alone(tmp_path)).exit_code() == 5


def test_a_file_of_gates_is_read(tmp_path):
    (tmp_path / "gates.toml").write_text("""
        [[gates]]
        probe = "retrieval"
        name = "nDCG@10"
        at = { pooling = "maxsim" }
        op = ">="
        bound = 0.3
        reason = "less is of no use"

        [[regressions]]
        probe = "retrieval"
        name = "nDCG@10"
        at = { pooling = "maxsim" }
        most = 0.01
        confidence = 0.95
    """)
    gates = judgement.read(tmp_path / "gates.toml")
    assert judgement.judge(*pair(tmp_path, {}, {}), gates=gates).exit_code() == 0
    assert judgement.judge(*pair(tmp_path, {"quality": -0.1}, {}), gates=gates).exit_code() == 1
    with pytest.raises(LidiagError, match="--baseline"):
        judgement.judge(*load_alone(tmp_path / "now"), gates=gates)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "name no gate"),
        ("[[gates]]\nprobe='p'", "not valid"),
        ("x", "not TOML"),
        ("[[regressions]]\nprobe='p'\nname='n'\nmost=-1", "not valid"),
    ],
)
def test_a_file_that_holds_no_gates_is_refused(tmp_path, content, said):
    (tmp_path / "gates.toml").write_text(content)
    with pytest.raises(LidiagError, match=said):
        judgement.read(tmp_path / "gates.toml")


def test_junit_has_a_case_per_probe_and_gate(tmp_path):
    judged = judgement.judge(*pair(tmp_path, {"quality": -0.15}, {}))
    root = ET.fromstring(junit.text(judged))  # noqa: S314 - our own
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("4", "2", "0")
    assert [case.get("name") for case in root.findall("testcase")][:2] == ["retrieval", "retrieval nDCG@10[pooling=maxsim] (low) > 0.02"]


def hostile(tmp_path):
    gate = Gate(probe="retrieval", name=HOSTILE, op=">", bound=0.0, reason=HOSTILE)
    reports.write(tmp_path, name=HOSTILE, datasets=(HOSTILE,), gates=[gate], **RETRIEVAL)
    return judgement.judge(*load_alone(tmp_path))


def test_hostile_names_stay_inert_in_every_output(tmp_path):
    judged = hostile(tmp_path)
    assert ET.fromstring(junit.text(judged)) is not None  # noqa: S314 - our own
    assert all(line.startswith("::error title=lidiag") for line in github.commands(judged).splitlines())
    summary = github.summary(judged)
    assert "<img" not in summary
    assert "](http" not in summary
    assert "\\@all" in summary
    assert all(line.count("|") - line.count("\\|") == 6 for line in summary.splitlines() if line.startswith("|"))
    for text in (junit.text(judged), github.commands(judged), summary, judged.text()):
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_a_summary_keeps_within_what_github_takes_and_says_what_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(github, "_MOST_BYTES", 2000)
    judged = judgement.judge(
        *pair(tmp_path, {"probes": ("distractor-hijacking",), "gates": ()}, {"probes": ("distractor-hijacking",), "gates": ()})
    )
    summary = github.summary(judged)
    assert len(summary.encode()) < 2100
    assert f"{len(judged.verdicts) - summary.count('| passed')} more gates" in summary


def test_no_more_annotations_than_github_shows(tmp_path):
    gates = [Gate(probe="retrieval", name=f"x{i}", op=">", bound=0.0, reason="r") for i in range(30)]
    reports.write(tmp_path, gates=gates, **RETRIEVAL)
    lines = github.commands(judgement.judge(*load_alone(tmp_path))).splitlines()
    assert len(lines) == 10
    assert "and 21 more" in lines[-1]


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "lidiag", "gate", *map(str, arguments)], capture_output=True, text=True, check=False, **environment
    )


def test_the_command_writes_everything_and_exits_as_designed(tmp_path):
    pair(tmp_path, {"quality": -0.15}, {})
    step = tmp_path / "summary.md"
    ran = command(
        tmp_path / "now",
        "--baseline",
        tmp_path / "before",
        "--junit",
        tmp_path / "j.xml",
        "--github",
        "--json",
        env=os.environ | {"GITHUB_STEP_SUMMARY": str(step)},
    )
    assert ran.returncode == 1, ran.stderr
    assert json.loads(ran.stdout)["exit_code"] == 1
    assert "::error" in ran.stderr
    assert "nDCG" in step.read_text()
    assert ET.parse(tmp_path / "j.xml").getroot().get("failures") == "2"  # noqa: S314 - our own
    assert command(tmp_path / "before").returncode == 0
    assert command(tmp_path / "none").returncode == 4
