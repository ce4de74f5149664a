"""Stores made by hand and by the store itself, with every fault that a disk, a kill or a person can leave."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
import torch

from lidiag import cache, cli
from lidiag.card import ModelCard
from lidiag.errors import LidiagError
from lidiag.lock import turn
from lidiag.multivector import MultiVectors
from lidiag.store import Job, Store

DAY = 86400


def finished(root, letter, model="org/a", *, side="document", items=2, age=0.0):  # noqa: PLR0913 - what a sidecar says
    """Write a set as the store does, last used `age` days ago, and return the path of its vectors."""
    vectors = root / "vectors" / (letter * 2) / f"{letter * 64}.safetensors"
    vectors.parent.mkdir(parents=True, exist_ok=True)
    MultiVectors.pack([torch.eye(4)[:1]] * items).save(vectors)
    about = {"model": model, "revision": "f" * 40, "side": side, "items": items, "notes": []}
    sidecar = vectors.with_suffix(".json")
    sidecar.write_text(json.dumps(about | {"sha256": hashlib.sha256(vectors.read_bytes()).hexdigest()}))
    for path in (vectors, sidecar):
        os.utime(path, (time.time() - age * DAY,) * 2)
    return vectors


def unfinished(root, letter, model="org/a"):
    """Leave a folder of parts as a killed run does: one finished part, a temporary file, a lock that nobody holds."""
    whole = finished(root, letter, model)
    parts = whole.with_suffix(".parts")
    parts.mkdir()
    for path in (whole, whole.with_suffix(".json")):
        path.rename(parts / f"000000{path.suffix}")
    (parts / ".000001.safetensors.x1.tmp").write_bytes(b"half")
    (parts / "000001.lock").write_text("")
    return parts


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path))
        monkeypatch.setattr("sys.argv", ["lidiag", "cache", *arguments])
        monkeypatch.setattr("lidiag.interruption.watch", lambda _code: None)
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    return call


def faults(root):
    return [damage.what for entry in cache.read(root).entries for damage in cache.verify(entry)]


def test_a_set_is_listed_with_what_it_is_of_and_the_bytes_of_its_files(tmp_path, command):
    vectors = finished(tmp_path, "a", items=3)
    finished(tmp_path, "b", model="org/b", side="query", age=3)
    code, out, _ = command("ls", "--json")
    listed = json.loads(out)
    assert code == 0
    assert [(one["model"], one["side"], one["items"], one["finished"]) for one in listed["sets"]] == [
        ("org/a", "document", 3, True),
        ("org/b", "query", 2, True),
    ]
    assert listed["sets"][0]["bytes"] == vectors.stat().st_size + vectors.with_suffix(".json").stat().st_size
    assert listed["bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert "org/b@ffffffffffff" in command("ls")[1]


def test_a_set_that_the_store_wrote_is_read_whole_and_opening_it_counts_as_use(tmp_path):
    card = ModelCard(name="org/m", revision="0" * 40, adapter="toy", reason="", family="Toy", modalities=("text",), dim=4, dtype="float32")
    job = Job(card, "query", ["x"], ["x"], ["d"], [1], lambda texts: MultiVectors.pack([torch.eye(4)[:1]] * len(texts)), 2, "cpu")
    Store(tmp_path).fetch(job)
    (entry,) = cache.read(tmp_path).entries
    assert (entry.model, entry.side, entry.items, entry.finished, cache.verify(entry)) == ("org/m", "query", 1, True, [])
    sidecar = next(path for path in entry.files if path.suffix == ".json")
    for path in entry.files:
        os.utime(path, (0, 0))
    Store(tmp_path).fetch(job)
    assert time.time() - sidecar.stat().st_mtime < DAY
    assert not cache.read(tmp_path).foreign


def test_no_cache_is_an_empty_one(command):
    assert command("ls")[:2] == (0, command("ls")[1])
    assert "0 sets" in command("ls")[1]
    assert command("verify")[0] == 0
    assert command("rm", "--all")[0] == 0


def flip(vectors):
    content = bytearray(vectors.read_bytes())
    content[-3] ^= 1
    vectors.write_bytes(content)


DAMAGE = {
    "flipped": (flip, "is not what was written"),
    "truncated": (lambda vectors: vectors.write_bytes(vectors.read_bytes()[:-9]), "is not what was written"),
    "missing": (Path.unlink, "is missing"),
    "sidecar": (lambda vectors: vectors.with_suffix(".json").write_text('{"sha256": 3}'), "does not say what it must"),
    "broken sidecar": (lambda vectors: vectors.with_suffix(".json").write_text("{"), "is not a sidecar"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_repair_deletes_that_set_and_no_other(tmp_path, command, damage):
    good, bad = finished(tmp_path, "a"), finished(tmp_path, "b")
    DAMAGE[damage][0](bad)
    (what,) = faults(tmp_path)
    assert DAMAGE[damage][1] in what
    code, out, _ = command("verify")
    assert code == 1
    assert "1 damaged" in out
    assert command("verify", "--repair")[0] == 0
    assert not bad.exists()
    assert not bad.with_suffix(".json").exists()
    assert good.exists()
    assert command("verify")[0] == 0


def test_a_damaged_part_of_an_unfinished_set_is_deleted_alone(tmp_path, command):
    parts = unfinished(tmp_path, "a")
    for suffix in (".safetensors", ".json"):
        (parts / f"000001{suffix}").write_bytes((parts / f"000000{suffix}").read_bytes())
    flip(parts / "000001.safetensors")
    assert command("verify", "--repair")[0] == 0
    assert (parts / "000000.safetensors").exists()
    assert not (parts / "000001.safetensors").exists()


def test_vectors_without_a_sidecar_are_unfinished_and_no_damage(tmp_path, command):
    finished(tmp_path, "a").with_suffix(".json").unlink()
    code, out, _ = command("verify")
    assert (code, "unfinished: ? (aaaaaaaaaaaa)" in out) == (0, True)


def test_an_unfinished_set_says_its_model_and_its_finished_items(tmp_path):
    unfinished(tmp_path, "a", "org/part")
    (entry,) = cache.read(tmp_path).entries
    assert (entry.model, entry.items, entry.finished) == ("org/part", 2, False)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (("--all",), ""),
        (("--unfinished",), "abc"),
        (("--model", "org/*"), "c"),
        (("--model", "org/a@ffff*"), "bc"),
        (("--older-than", "30d"), "acd"),
        (("--older-than", "2w", "--model", "other/*"), "abcd"),
        (("--model", "org/*", "--unfinished"), "abc"),
    ],
)
def test_rm_removes_what_all_its_options_name(tmp_path, command, options, left):
    finished(tmp_path, "a")
    finished(tmp_path, "b", model="org/b", age=40)
    finished(tmp_path, "c", model="other/c", age=5)
    unfinished(tmp_path, "d")
    assert "Would free" in command("rm", *options, "--dry-run")[1]
    assert len(cache.read(tmp_path).entries) == 4
    before = cache.read(tmp_path).size
    out = command("rm", *options)[1]
    assert "".join(sorted(entry.key[0] for entry in cache.read(tmp_path).entries)) == left
    assert f"{4 - len(left)} set" in out
    assert before >= cache.read(tmp_path).size
    assert {folder.name[0] for folder in (tmp_path / "vectors").iterdir()} == set(left)


def test_a_removed_set_that_is_mapped_is_read_on(tmp_path, command):
    vectors = MultiVectors.load(finished(tmp_path, "a", items=5))
    command("rm", "--all")
    assert vectors.vectors.sum() == 5


def test_foreign_files_and_symbolic_links_are_named_and_never_touched(tmp_path, command):
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    target = finished(elsewhere, "b")
    parts = unfinished(tmp_path, "a")
    (tmp_path / "vectors" / "bb").symlink_to(target.parent)
    (tmp_path / "vectors" / "notes.txt").write_text("mine")
    (parts / "readme").write_text("mine")
    (parts / "000007.safetensors").symlink_to(target)
    (tmp_path / "vectors" / "aa" / f"{'a' * 64}.safetensors").symlink_to(target)
    out = command("verify")[1]
    for name in ("bb", "notes.txt", "readme", "000007.safetensors", f"{'a' * 64}.safetensors"):
        assert f"/{name}\n" in out
    assert command("rm", "--all")[0] == 0
    assert target.exists()
    assert sorted(path.name for path in parts.iterdir()) == ["000007.safetensors", "readme"]
    assert (tmp_path / "vectors" / "bb").is_symlink()
    assert (tmp_path / "vectors" / "notes.txt").exists()


def test_what_another_process_is_writing_is_left_alone(tmp_path, command):
    parts = unfinished(tmp_path, "a")
    with turn(parts / "000001.lock"):
        assert "kept, another process" in command("rm", "--all")[1]
        assert "not checked" in command("verify")[1]
        assert parts.exists()
    assert command("rm", "--all")[0] == 0
    assert not parts.exists()


@pytest.mark.parametrize(
    ("options", "said"), [((), "must be told"), (("--all", "--unfinished"), "must be told"), (("--older-than", "3y"), "'3y'")]
)
def test_rm_without_a_clear_wish_removes_nothing(tmp_path, command, options, said):
    vectors = finished(tmp_path, "a")
    code, _, err = command("rm", *options)
    assert code == 4
    assert said in err
    assert vectors.exists()


def test_a_cache_whose_folder_is_a_link_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "vectors").symlink_to(tmp_path / "real")
    with pytest.raises(LidiagError, match="folder of its own"):
        cache.read(tmp_path)
