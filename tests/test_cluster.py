"""A run on a Ray cluster of several nodes on this machine, each with a cache of its own."""

import dataclasses
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from lidiag.errors import LidiagError
from lidiag.request import Request
from lidiag.run import run
from lidiag.watch import Silent
from tests.datasets.folders import write
from tests.test_merge import SUITE, read

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
# Its processes and sockets are cleared away by Ray itself, some after the test that is looked at.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def cluster(folder):
    root = str(Path(__file__).resolve().parents[1])
    before = dict(os.environ)
    os.environ |= {
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "PYTHONPATH": os.pathsep.join([root, str(folder)]),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    nodes = cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "env_vars": {"LIDIAG_CACHE": str(folder / "cache-0")}},
    )
    for number in (1, 2):
        nodes.add_node(num_cpus=1, env_vars={"LIDIAG_CACHE": str(folder / f"cache-{number}")})
    ray.init(address=nodes.address, log_to_driver=False, configure_logging=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def request_(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "four.toml").write_text(SUITE)
    small = write(tmp_path / "small")
    return Request(
        model="builtin:lexical", suites=(str(tmp_path / "four.toml"),), data=("builtin:facts", str(small)), out=tmp_path / "whole", limit=12,
        batch_size=4,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_actors_makes_the_bytes_of_a_single_process(cluster, request_, tmp_path, monkeypatch, workers):
    run(request_, Silent())
    monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / "another cache"))
    run(dataclasses.replace(request_, out=tmp_path / "ray", executor="ray", workers=workers), Silent())
    assert read(tmp_path / "ray") == read(request_.out)


PROBE = '''
import os, time
from pathlib import Path
from lidiag.adapter import LoadOptions
from lidiag.adapters.builtin import load

class Slow:
    """Says which process encodes, and takes its time."""
    def __init__(self):
        self.model = load("lexical", LoadOptions())
        self.card = self.model.card.model_copy(update={"adapter": "python"})
    def documents(self, documents):
        Path(os.environ["SAYS"], str(os.getpid())).touch()
        time.sleep(0.3)
        return self.model.documents(documents)
    def queries(self, texts):
        return self.model.queries(texts)
    def labels(self, side, item):
        return self.model.labels(side, item)

def make(options): return Slow()
'''


def test_an_actor_that_is_killed_in_the_middle_is_replaced_and_changes_no_byte(cluster, folder, request_, tmp_path, monkeypatch):
    (folder / "slowly.py").write_text(PROBE.replace('os.environ["SAYS"]', repr(str(tmp_path / "says"))))
    monkeypatch.syspath_prepend(folder)
    says = tmp_path / "says"
    says.mkdir()
    request_ = dataclasses.replace(request_, model="python:slowly:make")
    run(request_, Silent())
    for path in says.iterdir():
        path.unlink()
    monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / "another cache"))
    killed = []

    def kill():
        while not killed:
            for path in says.iterdir():
                if int(path.name) != os.getpid():
                    os.kill(int(path.name), signal.SIGKILL)
                    killed.append(path.name)
                    return
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    run(dataclasses.replace(request_, out=tmp_path / "ray", executor="ray", workers=2), Silent())
    thread.join()
    assert len(killed) == 1
    assert len({path.name for path in says.iterdir()} - {str(os.getpid())}) > 1
    assert read(tmp_path / "ray") == read(request_.out)


def test_what_the_user_must_mend_comes_back_from_an_actor_as_it_is(cluster, folder, request_, tmp_path):
    source = "from slowly import Slow\nfrom lidiag.errors import LidiagError\n"
    source += "class Faulty(Slow):\n    def documents(self, documents):\n        raise LidiagError('The page is torn.', 'Mend it.')\n"
    (folder / "faulty.py").write_text(source + "def make(options): return Faulty()\n")
    (folder / "slowly.py").write_text(PROBE)

    sys.path.insert(0, str(folder))
    try:
        faulty = dataclasses.replace(request_, model="python:faulty:make", data=request_.data[:1], executor="ray", workers=1)
        with pytest.raises(LidiagError, match=r"The page is torn\. Mend it\."):
            run(faulty, Silent())
    finally:
        sys.path.remove(str(folder))
    assert not (request_.out / "report.json").exists()
