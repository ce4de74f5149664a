"""Signals to the command line while it is busy, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# A model that is busy for minutes: in Python, in one call of C that heeds no signal, or that refuses to be interrupted.
SLOW = """
import hashlib, time
from pathlib import Path
from lidiag.adapter import LoadOptions
from lidiag.adapters.builtin import load

class Slow:
    def __init__(self, kind):
        self.model, self.kind = load("lexical", LoadOptions()), kind
        self.card = self.model.card.model_copy(update={"adapter": "python"})
    def documents(self, documents):
        Path("busy").touch()
        if self.kind == "c":
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
        while True:
            try:
                time.sleep(0.1)
            except KeyboardInterrupt:
                if self.kind != "deaf":
                    raise
    def queries(self, texts):
        return self.model.queries(texts)
    def labels(self, side, item):
        return self.model.labels(side, item)

def python(options): return Slow("python")
def c(options): return Slow("c")
def deaf(options): return Slow("deaf")
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
@pytest.mark.parametrize("kind", ["python", "c", "deaf"])
def test_a_signal_ends_the_run_within_five_seconds_with_exit_code_2(tmp_path, kind, sent):
    (tmp_path / "slow.py").write_text(SLOW)
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "LIDIAG_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "lidiag", "run", "--model", f"python:slow:{kind}", "--data", "builtin:facts", "--out", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "busy").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    began = time.monotonic()
    process.send_signal(sent)
    _, printed = process.communicate(timeout=60)
    assert time.monotonic() - began < 5
    assert process.returncode == 2
    assert "Interrupted. What was finished is kept" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "out" / "report.json").exists()


def test_a_second_signal_ends_it_at_once(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "LIDIAG_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [
        sys.executable,
        "-m",
        "lidiag",
        "run",
        "--model",
        "python:slow:deaf",
        "--data",
        "builtin:facts",
        "--out",
        "out",
        "--log-file",
        "log",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "busy").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 2
    assert time.monotonic() - began < 2
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert "stage began" in events
