import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import reports

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / ".github" / "gate.sh"
RETRIEVAL = {"probes": ("retrieval",), "poolings": ("maxsim",)}


@pytest.fixture
def action(tmp_path):
    """Run the action's script as GitHub would, with this Python's lidiag."""
    lidiag = tmp_path / "lidiag"
    lidiag.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lidiag "$@"\n')
    lidiag.chmod(0o755)

    def run(**inputs):
        given = {
            "MODEL": "",
            "REPORT": "",
            "SUITE": "smoke",
            "DATA": "",
            "GATES": "",
            "BASELINE": "",
            "OUT": str(tmp_path / "out"),
        } | inputs
        github = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "GITHUB_OUTPUT": str(tmp_path / "output")}
        environment = os.environ | {"LIDIAG": str(lidiag), "PYTHONPATH": str(ROOT)} | github | given
        return subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)  # noqa: S607 - our own script

    return run


def test_the_script_passes_an_unchanged_checkpoint_and_fails_an_ailing_one(action, tmp_path):
    reports.write(tmp_path / "before", **RETRIEVAL)
    reports.write(tmp_path / "ailing", quality=-0.15, **RETRIEVAL)
    same = action(REPORT=str(tmp_path / "before"), BASELINE=str(tmp_path / "before"))
    assert same.returncode == 0, same.stderr
    ailing = action(REPORT=str(tmp_path / "ailing"), BASELINE=str(tmp_path / "before"))
    assert ailing.returncode == 1
    assert "::error title=lidiag" in ailing.stdout
    assert (tmp_path / "output").read_text().splitlines() == [
        f"folder={tmp_path / 'out'}",
        "exit-code=0",
        f"folder={tmp_path / 'out'}",
        "exit-code=1",
    ]
    assert "failed" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "out" / "junit.xml").exists()


def test_the_script_asks_for_a_model_or_a_report(action):
    assert action().returncode == 4
    assert action(MODEL="a", REPORT="b").returncode == 4


def test_a_run_that_could_not_start_is_no_pass(action):
    ran = action(MODEL="builtin:nothing")
    assert ran.returncode == 4
    assert "no report to judge" in ran.stdout


def test_an_input_is_never_run_as_a_command(action, tmp_path):
    ran = action(REPORT=f"$(touch {tmp_path}/owned); `touch {tmp_path}/owned`", BASELINE="; touch owned")
    assert ran.returncode == 4
    assert not (tmp_path / "owned").exists()


def test_every_action_is_pinned_to_a_commit():
    files = (ROOT / "action.yml", *(ROOT / "examples").glob("*.yml"))
    used = [line.partition("uses:")[2].strip() for file in files for line in file.read_text().splitlines() if "uses:" in line]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}( # v[0-9.]+)?", name)] == []


def test_every_dependency_has_a_lower_and_an_upper_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    others = [one for one in asked if not one.startswith("lidiag[")]
    assert [one for one in others if not re.search(r">=[\d.]+,<[\d.]+$|==[\d.]+$", one)] == []


def test_no_expression_stands_inside_a_script():
    for file in (ROOT / "action.yml", *(ROOT / "examples").glob("*.yml")):
        inside = False
        for line in file.read_text().splitlines():
            inside = (inside and line.startswith("          ")) or line.strip().startswith(("run:", "- run:"))
            assert not (inside and "${{" in line), f"{file.name}: {line}"


@pytest.mark.parametrize(
    ("schema", "files"),
    [("github-actions", ["action.yml"]), ("github-workflows", ["examples/gate-checkpoint.yml", "examples/check-submissions.yml"])],
)
def test_the_action_and_the_examples_keep_to_githubs_schema(schema, files):
    arguments = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files]
    ran = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed here")
def test_the_script_keeps_to_shellcheck():
    ran = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)  # noqa: S607 - our own script
    assert ran.returncode == 0, ran.stdout
