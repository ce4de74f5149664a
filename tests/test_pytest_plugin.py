import subprocess
import sys

import pytest

from lidiag.gate import Gate
from lidiag.report import SuiteUsed
from tests import reports

pytest_plugins = ["pytester"]

SUITE = """
name = "tiny"
version = 1
description = "d"
data = ["builtin:facts"]
[[steps]]
probe = "retrieval"
[[steps]]
probe = "length-bias"
[[gates]]
probe = "retrieval"
name = "nDCG@10"
at = { pooling = "maxsim" }
of = "low"
op = ">"
bound = 0.02
reason = "below this it retrieves nothing"
"""


@pytest.fixture
def judged(pytester, monkeypatch):
    """Run the plugin on a synthetic report."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makefile(".toml", tiny=SUITE)

    def run(*arguments, **options):
        used = SuiteUsed(name="tiny", version=1, digest="d" * 64)
        reports.write(pytester.path / "run", **{"probes": ("retrieval", "length-bias"), "suite": used} | options)
        return pytester.runpytest_subprocess("--lidiag-report=run", "--lidiag-suite=tiny.toml", "-v", *arguments)

    return run


def test_there_is_a_test_per_probe_and_gate(judged):
    ran = judged()
    ran.assert_outcomes(passed=3)
    ran.stdout.fnmatch_lines(
        [
            "*builtin:facts::retrieval PASSED*",
            "*builtin:facts::length-bias PASSED*",
            "*retrieval nDCG@10[[]pooling=maxsim[]] (low) > 0.02 PASSED*",
        ]
    )


def test_a_failed_gate_fails_its_test_with_the_reason_and_no_traceback(judged):
    ran = judged(quality=-0.9)
    ran.assert_outcomes(passed=2, failed=1)
    ran.stdout.fnmatch_lines(["*below this it retrieves nothing*"])
    ran.stdout.no_fnmatch_line("*Traceback*")


def test_tests_can_be_chosen_by_marker(judged):
    judged("-m", "lidiag_probe").assert_outcomes(passed=2, deselected=1)
    judged("-m", "lidiag_gate", "--strict-markers").assert_outcomes(passed=1, deselected=2)


def test_a_planted_ailment_fails_against_the_baseline_and_the_same_model_passes(judged, pytester):
    used = SuiteUsed(name="tiny", version=1, digest="d" * 64)
    reports.write(pytester.path / "before", probes=("retrieval", "length-bias"), suite=used)
    judged("--lidiag-baseline=before").assert_outcomes(passed=4, skipped=1)
    ran = judged("--lidiag-baseline=before", quality=-0.15)
    ran.assert_outcomes(passed=3, failed=1, skipped=1)
    ran.stdout.fnmatch_lines(["*fell by*"])


def test_a_file_of_gates_replaces_the_suites(judged, pytester):
    pytester.makefile(".toml", mine="[[gates]]\nprobe='retrieval'\nname='nope'\nop='>'\nbound=0\nreason='r'")
    ran = judged("--lidiag-gates=mine.toml")
    ran.assert_outcomes(passed=2, failed=1)
    ran.stdout.fnmatch_lines(["*was not measured*"])


def test_a_broken_probe_fails_and_a_skipped_one_skips(judged, pytester):
    from lidiag import report as on_file  # noqa: PLC0415

    judged()
    report = on_file.read(pytester.path / "run")
    broken = report.results[0].model_copy(update={"status": "broken", "reason": "it raised", "measurements": ()})
    skipped = report.results[1].model_copy(update={"status": "skipped", "reason": "no text", "measurements": ()})
    report.model_copy(update={"results": (broken, skipped)}).write(pytester.path / "run" / "report.json")
    ran = pytester.runpytest_inprocess("--lidiag-report=run", "--lidiag-suite=tiny.toml", "-rs")
    ran.assert_outcomes(failed=2, skipped=1)
    ran.stdout.fnmatch_lines(["*broke: it raised*", "*no text*"])


@pytest.mark.parametrize(
    ("options", "said"), [(("--lidiag-suite=nothing",), "*no suite named*"), (("--lidiag-model=x",), "*give one of them*")]
)
def test_what_the_user_must_mend_is_a_usage_error(judged, options, said):
    ran = judged(*options)
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines([said])


def test_an_unused_plugin_adds_no_test_and_loads_no_model_library(pytester):
    pytester.makepyfile("import sys\ndef test_it(): assert not {'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_collecting_loads_no_model_library(pytester):
    pytester.makefile(".toml", tiny=SUITE)
    code = (
        "import sys, pytest; pytest.main(['--lidiag-model=builtin:lexical', '--lidiag-suite=tiny.toml', "
        "'--collect-only', '-q']); print('loaded', [m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=pytester.path, check=True)
    assert "builtin:facts::length-bias" in ran.stdout
    assert "loaded []" in ran.stdout


def test_workers_share_one_run(pytester, monkeypatch):
    monkeypatch.setenv("LIDIAG_CACHE", str(pytester.path / "cache"))
    pytester.makefile(
        ".toml", tiny=SUITE.split('[[steps]]\nprobe = "length-bias"\n', maxsplit=1)[0] + SUITE.split('probe = "length-bias"\n')[1]
    )
    pytester.makeconftest("""
        import lidiag.run
        real = lidiag.run.run
        def counted(request, watch):
            open("runs", "a").write("x")
            return real(request, watch)
        lidiag.run.run = counted
    """)
    ran = pytester.runpytest_subprocess(
        "-p",
        "xdist",
        "-n2",
        "--lidiag-model=builtin:lexical",
        "--lidiag-suite=tiny.toml",
        "--lidiag-limit=10",
    )
    ran.assert_outcomes(passed=2)
    assert (pytester.path / "runs").read_text() == "x"


def test_a_gate_names_its_place_in_the_tests_name():
    assert str(Gate(probe="p", name="x", at={"k": 1}, op=">", bound=0.0, reason="")) == "p x[k=1]"
