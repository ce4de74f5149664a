from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.torch import save_file

from lidiag import checkpoint, hub
from lidiag.adapter import LoadOptions
from lidiag.errors import LidiagError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text('{"architectures": ["BertModel"]}')
    save_file({"weight": torch.ones(2)}, made / "model.safetensors")
    return made


@pytest.fixture
def cache(tmp_path, monkeypatch, folder):
    """A hub's cache that holds `org/known` at one commit."""
    root = tmp_path / "cache"
    snapshot = root / "models--org--known" / "snapshots" / COMMIT
    shutil.copytree(folder, snapshot)
    (root / "models--org--known" / "refs").mkdir()
    (root / "models--org--known" / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    return root


def test_a_folder_is_named_after_itself_with_the_hash_of_its_content(folder):
    found = checkpoint.find(str(folder), LoadOptions())
    assert (found.folder, found.name) == (folder, "local/model")
    assert found.revision == checkpoint.content_revision(folder)
    assert len(found.revision) == 40


def test_the_hash_follows_names_and_contents_and_nothing_hidden(folder, tmp_path):
    before = checkpoint.content_revision(folder)
    assert checkpoint.content_revision(shutil.copytree(folder, tmp_path / "elsewhere")) == before
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("x")
    assert checkpoint.content_revision(folder) == before
    (folder / "config.json").rename(folder / "config2.json")
    renamed = checkpoint.content_revision(folder)
    (folder / "config2.json").write_text("{}")
    assert len({before, renamed, checkpoint.content_revision(folder)}) == 3


def test_a_folder_pinned_to_other_content_is_refused(folder):
    with pytest.raises(LidiagError, match="not revision abc: its files' content has the hash"):
        checkpoint.find(str(folder), LoadOptions(revision="abc"))
    assert checkpoint.find(str(folder), LoadOptions(revision=checkpoint.content_revision(folder)[:12]))


@pytest.mark.usefixtures("cache")
def test_a_cached_model_is_found_offline_by_its_commit():
    found = checkpoint.find("org/known", LoadOptions(offline=True))
    assert (found.name, found.revision) == ("org/known", COMMIT)
    assert checkpoint.snapshot("org/known", LoadOptions(offline=True), weights=False) == found.folder


@pytest.mark.usefixtures("cache")
def test_an_unreachable_hub_leaves_the_cache(monkeypatch):
    monkeypatch.setattr(hub, "silence", lambda *_: "ConnectError: no route")
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    assert checkpoint.find("org/known", LoadOptions()).revision == COMMIT
    with pytest.raises(LidiagError, match=r"org/other is not in the local cache, and the hub cannot be reached \(ConnectError: no route\)"):
        checkpoint.find("org/other", LoadOptions())


@pytest.mark.usefixtures("cache")
def test_what_is_not_cached_is_refused_offline():
    with pytest.raises(LidiagError, match="org/other@v2 is not in the local cache, and this run is offline"):
        checkpoint.find("org/other", LoadOptions(offline=True, revision="v2"))


def test_a_silent_hub_is_given_up_within_five_seconds(monkeypatch):
    """A name server that hangs is outside every time-out of an HTTP client."""
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: time.sleep(60))
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    start = time.perf_counter()
    with pytest.raises(LidiagError, match="no answer within 4 s"):
        checkpoint.find("org/nowhere-at-all", LoadOptions())
    assert time.perf_counter() - start < 5


def test_the_hubs_own_no_is_passed_on(monkeypatch):
    def refuse(*_, **__):
        response = type("Response", (), {"headers": {}, "request": None, "status_code": 404})()
        raise RepositoryNotFoundError("404", response=response)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    with pytest.raises(LidiagError, match="no model org/nowhere on the hub, or it is private"):
        checkpoint.find("org/nowhere", LoadOptions())


@pytest.mark.parametrize("name", ["nowhere", "../up", "a/b/c", "org/..", "http://host/x", "org/name\n"])
def test_what_is_neither_a_folder_nor_a_hubs_name_is_refused(name):
    with pytest.raises(LidiagError, match="not of the form org/name"):
        checkpoint.find(name, LoadOptions(offline=True))


@pytest.mark.parametrize("revision", [None, "main", "v1.0"])
def test_remote_code_needs_a_pinned_commit(revision):
    with pytest.raises(LidiagError, match="only run at a pinned commit"):
        checkpoint.find("org/known", LoadOptions(offline=True, trust_remote_code=True, revision=revision))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "adapter_model.bin"])
def test_weights_that_are_pickled_only_are_refused(folder, name):
    (folder / name).write_bytes(b"")
    assert checkpoint.find(str(folder), LoadOptions())
    (folder / "model.safetensors").unlink()
    with pytest.raises(LidiagError, match=rf"as a pickle only \(\./{re.escape(name)}\).* Convert it to safetensors"):
        checkpoint.find(str(folder), LoadOptions())


def test_a_trainers_own_pickles_are_not_weights(folder):
    (folder / "model.safetensors").unlink()
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth"):
        (folder / name).write_bytes(b"")
    assert checkpoint.find(str(folder), LoadOptions())


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\xff"])
def test_json_that_is_none_is_named(folder, text):
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(LidiagError, match=r"config\.json is not valid JSON"):
        checkpoint.config(folder)


def test_json_of_another_kind_or_size_is_refused(folder):
    (folder / "config.json").write_text("[]")
    with pytest.raises(LidiagError, match="holds a list, not an object"):
        checkpoint.config(folder)
    (folder / "config.json").write_bytes(b" " * (2**24 + 1))
    with pytest.raises(LidiagError, match="16,777,217 bytes, above"):
        checkpoint.config(folder)
    assert checkpoint.config(folder, "absent.json") == {}


@pytest.mark.parametrize(
    "listed", [{}, [1], [{"type": "x"}], [{"type": "x", "path": 3}], [{"type": "x", "path": "/etc"}], [{"type": "x", "path": "a/../.."}]]
)
def test_a_list_of_modules_that_is_none_is_refused(folder, listed):
    (folder / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(LidiagError, match="not a list of modules"):
        checkpoint.modules(folder)


def test_a_damaged_file_of_tensors_is_named(folder):
    assert checkpoint.tensor_names([folder / "model.safetensors"]) == {"weight"}
    (folder / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(LidiagError, match="not a whole safetensors file"):
        checkpoint.tensor_names([folder / "model.safetensors"])


def test_looking_at_files_imports_no_model_library():
    code = "import sys; from lidiag.adapters import sentence_transformers, smart; print({'transformers', 'sentence_transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
