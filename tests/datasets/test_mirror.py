"""The hub and its caches: jobs side by side, a stand-in hub that refuses, and the variables that users set."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

datasets = pytest.importorskip("datasets")

from huggingface_hub import constants  # noqa: E402 - after the skip

from lidiag.dataset import DataOptions  # noqa: E402
from lidiag.datasets import mteb  # noqa: E402
from lidiag.errors import LidiagError  # noqa: E402
from tests.datasets.test_mteb import CORPUS, QRELS, QUERIES, mirror  # noqa: E402 - after the skip

Dataset = datasets.Dataset
LOAD = """
import sys
from pathlib import Path
from lidiag.dataset import DataOptions
from lidiag.datasets import mteb
from lidiag.errors import LidiagError
try:
    found = mteb.load(sys.argv[1], DataOptions(data_dir=Path(sys.argv[2]) if len(sys.argv) > 2 else None))
    print(found.fingerprint)
except LidiagError as error:
    print("refused:", error)
"""


def start(*arguments, cwd, code=LOAD, **environment):
    env = (
        dict(os.environ) | {"HF_HOME": str(cwd / "hf"), "MTEB_CACHE": str(cwd / "mteb"), "LIDIAG_CACHE": str(cwd / "lidiag")} | environment
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def said(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.strip()


def test_jobs_that_load_the_same_collection_at_once_read_the_same_rows_and_honour_hf_home(tmp_path):
    many = [row | {"_id": f"{row['_id']}-{i}"} for i in range(300) for row in CORPUS]
    judged = [row | {"corpus-id": "d1-7"} for row in QRELS[:1]]
    tables = {"default": Dataset.from_list(judged), "corpus": Dataset.from_list(many), "queries": Dataset.from_list(QUERIES)}
    mirror(tmp_path / "mirror/mteb/NanoSciFactRetrieval", "train", tables)
    jobs = [start("NanoSciFactRetrieval", tmp_path / "mirror", cwd=tmp_path) for _ in range(3)]
    fingerprints = {said(job) for job in jobs}
    assert len(fingerprints) == 1
    assert len(fingerprints.pop()) == 64
    assert list((tmp_path / "hf" / "datasets").rglob("*.arrow"))


def test_a_damaged_file_is_the_cause_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / "lidiag"))
    tables = {"default": Dataset.from_list(QRELS[:2]), "corpus": Dataset.from_list(CORPUS), "queries": Dataset.from_list(QUERIES)}
    mirror(tmp_path / "NanoSciFactRetrieval", "train", tables)
    (tmp_path / "NanoSciFactRetrieval" / "corpus.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(LidiagError, match=r"NanoSciFactRetrieval of NanoSciFactRetrieval cannot be loaded: "):
        mteb.load("NanoSciFactRetrieval", DataOptions(data_dir=tmp_path))


def test_a_mirror_without_its_readme_is_told_to_have_one(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / "lidiag"))
    mirror(tmp_path / "NanoSciFactRetrieval", "train", {"default": Dataset.from_list(QRELS), "corpus": Dataset.from_list(CORPUS)})
    (tmp_path / "NanoSciFactRetrieval" / "README.md").unlink()
    with pytest.raises(LidiagError, match=r"it has no README\.md, which on the hub says which file is which"):
        mteb.load("NanoSciFactRetrieval", DataOptions(data_dir=tmp_path))


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves the files of one collection at whatever commit it is asked for, or refuses; keeps who asked for what."""

    asked: ClassVar[list[tuple[str, str | None]]] = []
    root: ClassVar[Path | None] = None
    status, code = 403, "GatedRepo"

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Authorization")))
        path = urlsplit(self.path).path
        if self.root is None:
            self.answer(self.status, b'{"error": "no"}', {"X-Error-Code": self.code})
        elif "/resolve/" in path:
            commit, name = path.split("/resolve/")[1].split("/", 1)
            self.file(self.root / name, commit)
        elif "/tree/" in path:
            sizes = {name: (self.root / name).stat().st_size for name in self.names()}
            rows = [{"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in sizes.items()]
            self.answer(200, json.dumps(rows).encode(), {})
        else:
            about = {"id": "mteb/NanoSciFactRetrieval", "sha": path.rpartition("/")[2], "private": False, "tags": [], "downloads": 0}
            about |= {"siblings": [{"rfilename": name} for name in self.names()]}
            self.answer(200, json.dumps(about).encode(), {})

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def names(self):
        assert self.root is not None
        return sorted(path.name for path in self.root.iterdir())

    def file(self, path, commit):
        if not path.exists():
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        body = path.read_bytes()
        self.answer(200, body, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": commit})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(Hub, "asked", [])
    monkeypatch.setattr(Hub, "root", None)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def online(hub):
    return {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@pytest.mark.parametrize(
    ("refusal", "cause"),
    [
        ((403, "GatedRepo"), "mteb/NanoSciFactRetrieval is gated on the hub. Accept its terms there and set HF_TOKEN."),
        ((401, "RepoNotFound"), "There is no collection mteb/NanoSciFactRetrieval on the hub, or it is private."),
        ((404, "RevisionNotFound"), "mteb/NanoSciFactRetrieval has no revision 8c5f7bbe"),
    ],
)
def test_what_the_hub_refuses_is_said_with_its_cause_and_the_token_is_sent(hub, monkeypatch, refusal, cause):
    monkeypatch.setattr(Hub, "status", refusal[0])
    monkeypatch.setattr(Hub, "code", refusal[1])
    monkeypatch.setattr(constants, "ENDPOINT", hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(LidiagError) as error:
        mteb.load("NanoSciFactRetrieval", DataOptions())
    assert str(error.value).startswith(cause)
    assert "hf_secret" not in str(error.value)
    asked = [(path, key) for path, key in Hub.asked if "/datasets/" in path]
    assert asked[0][0].startswith("/api/datasets/mteb/NanoSciFactRetrieval/revision/8c5f7bbe")
    assert {key for _, key in asked} == {"Bearer hf_secret"}


def test_hf_hub_offline_asks_nobody(tmp_path, hub):
    answer = said(start("NanoSciFactRetrieval", cwd=tmp_path, HF_ENDPOINT=hub, HF_HUB_OFFLINE="1"))
    assert answer.startswith("refused: mteb/NanoSciFactRetrieval of NanoSciFactRetrieval cannot be loaded: HF_HUB_OFFLINE is set, and ")
    assert Hub.asked == []


def test_what_the_hub_gave_is_read_again_offline_but_not_for_another_commit(tmp_path, hub, monkeypatch):
    tables = {"default": Dataset.from_list(QRELS[:2]), "corpus": Dataset.from_list(CORPUS), "queries": Dataset.from_list(QUERIES)}
    mirror(tmp_path / "served", "train", tables)
    monkeypatch.setattr(Hub, "root", tmp_path / "served")
    first = said(start("NanoSciFactRetrieval", cwd=tmp_path, **online(hub)))
    assert len(first) == 64
    assert any(path.endswith("/corpus.parquet") for path, _ in Hub.asked)
    Hub.asked.clear()
    assert said(start("NanoSciFactRetrieval", cwd=tmp_path, HF_ENDPOINT=hub, HF_HUB_OFFLINE="1")) == first
    other = LOAD.replace("mteb.load(sys.argv[1], ", "hf.load(sys.argv[1], ").replace("import mteb", "import hf")
    other = other.replace("DataOptions(", "DataOptions(revision='1' * 40, ")
    answer = said(start("mteb/NanoSciFactRetrieval", cwd=tmp_path, code=other, HF_ENDPOINT=hub, HF_HUB_OFFLINE="1"))
    assert answer.startswith("refused: The cache holds mteb/NanoSciFactRetrieval at revision 8c5f7bbe")
    assert Hub.asked == []
