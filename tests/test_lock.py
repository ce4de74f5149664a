import os
import shutil
import socket
import threading
from pathlib import Path

import pytest

from lidiag.errors import LidiagError
from lidiag.lock import alone, turn


def test_a_folder_in_use_is_refused_with_the_name_of_its_user(tmp_path):
    user = f"in use by process {os.getpid()} on {socket.gethostname()}"
    with alone(tmp_path / "run"), pytest.raises(LidiagError, match=user), alone(tmp_path / "run"):
        pass


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    (tmp_path / ".lock").write_text("process 1 on a machine that is gone")
    with alone(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()
    assert not (tmp_path / ".lock").exists()


def test_a_folder_made_for_the_lock_alone_is_removed_and_one_with_something_in_it_is_kept(tmp_path):
    with alone(tmp_path / "empty"):
        pass
    assert not (tmp_path / "empty").exists()
    with alone(tmp_path / "full"):
        (tmp_path / "full" / "report.json").touch()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["report.json"]


def test_shares_hold_a_folder_together_and_keep_a_whole_run_out(tmp_path):
    with alone(tmp_path, shared=True), alone(tmp_path, shared=True), alone(tmp_path, ".share-1-of-2.lock"):
        with pytest.raises(LidiagError, match="in use"), alone(tmp_path):
            pass
        with pytest.raises(LidiagError, match="in use"), alone(tmp_path, ".share-1-of-2.lock"):
            pass


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LidiagError, match="cannot be locked"), alone(tmp_path / "file" / "run"):
        pass


def test_one_after_the_other_has_a_turn_and_nobody_is_left_out(tmp_path):
    inside, most, times = 0, 0, 0
    guard = threading.Lock()

    def work():
        nonlocal inside, most, times
        for _ in range(25):
            with turn(tmp_path / "turn") as mine:
                assert mine
                with guard:
                    inside, times = inside + 1, times + 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, times) == (1, 100)


def test_who_does_not_wait_is_told_that_it_is_not_its_turn(tmp_path):
    with turn(tmp_path / "turn") as mine, turn(tmp_path / "turn", wait=False) as other:
        assert mine
        assert not other
    with turn(tmp_path / "turn", wait=False) as mine:
        assert mine


def test_a_folder_that_is_removed_while_one_waits_is_made_again(tmp_path, monkeypatch):
    real, removed = Path.open, []

    def gone_once(path, *arguments, **named):
        if not removed:
            removed.append(path)
            shutil.rmtree(path.parent)
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", gone_once)
    with turn(tmp_path / "parts" / "turn") as mine:
        assert mine
    assert removed
