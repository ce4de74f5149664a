import json
import logging

import pytest

from lidiag import log as logs
from lidiag.errors import LidiagError
from lidiag.log import Log
from lidiag.watch import Silent


class Listening(Silent):
    def __init__(self):
        self.heard = []

    def remark(self, text):
        self.heard.append(text)


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "deep" / "run.jsonl"
    return lambda: [json.loads(line) for line in path.read_text().splitlines()], path


def test_a_stage_is_logged_with_its_items_and_their_rate_and_the_screen_still_sees_all(lines):
    read, path = lines
    screen = Listening()
    with Log(path, screen) as log:
        with log.stage("Encoding", 10) as advance:
            advance(4)
            advance(6)
        log.remark("two\nlines \x1b[31m")
        log.event("probe", {"probe": "retrieval", "seconds": 1.5})
    began, ended, remark, probe = read()
    assert (began["event"], began["stage"], began["total"]) == ("stage began", "Encoding", 10)
    assert (ended["event"], ended["items"]) == ("stage ended", 10)
    assert ended["per_second"] is None or ended["per_second"] > 0
    assert remark["text"] == "two\nlines \x1b[31m"
    assert probe["seconds"] == 1.5
    assert screen.heard == ["two\nlines \x1b[31m"]
    assert "\x1b" not in path.read_text()


def test_elapsed_time_never_goes_back_where_the_clock_does(lines, monkeypatch):
    read, path = lines

    class Clock(logs.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(1970, 1, 1, tzinfo=tz)

    with Log(path, Silent()) as log:
        log.event("before", {})
        monkeypatch.setattr(logs, "datetime", Clock)
        log.event("after", {})
    before, after = read()
    assert after["time"] < before["time"]
    assert after["elapsed"] >= before["elapsed"] >= 0


def test_messages_of_libraries_are_events(lines):
    read, path = lines
    with Log(path, Silent()):
        logging.getLogger("some.library").warning("careful: %s", "x")
    logging.getLogger("some.library").warning("nobody listens any more")
    (line,) = read()
    assert (line["event"], line["level"], line["logger"], line["text"]) == ("message", "WARNING", "some.library", "careful: x")


def test_a_second_run_appends(lines):
    read, path = lines
    for text in ("one", "two"):
        with Log(path, Silent()) as log:
            log.remark(text)
    assert [line["text"] for line in read()] == ["one", "two"]


def test_a_file_that_cannot_be_written_is_said_at_once(tmp_path):
    with pytest.raises(LidiagError, match=r"cannot be written: Is a directory\. Name another file with --log-file\."):
        Log(tmp_path, Silent())


def test_what_stopped_a_run_is_its_last_event(lines):
    read, path = lines
    with pytest.raises(LidiagError), Log(path, Silent()):
        raise LidiagError("The disk is full.", "Free space.")
    assert read()[-1] | {"time": "", "elapsed": 0, "process": 0} == {
        "time": "", "elapsed": 0, "process": 0, "event": "stopped", "by": "LidiagError", "text": "The disk is full. Free space."
    }  # fmt: skip
