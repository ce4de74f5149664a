"""What a run does with collections that cannot be had, and with names that stand for several."""

from __future__ import annotations

import dataclasses

import pytest

from lidiag import catalog, run, work
from lidiag.errors import LidiagError
from lidiag.request import Request
from lidiag.watch import Silent
from tests.datasets.folders import write


class Listening(Silent):
    def __init__(self):
        self.remarks: list[str] = []

    def remark(self, text):
        self.remarks.append(text)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "only.toml"
    gate = '[[gates]]\nprobe = "retrieval"\nname = "nDCG@10"\nat = { pooling = "maxsim" }\nop = ">="\nbound = 0\nreason = "A gate for this test."\n'
    path.write_text(
        'name = "only"\nversion = 1\ndescription = ""\n[[steps]]\nprobe = "retrieval"\nparameters = { poolings = ["maxsim"] }\n' + gate
    )
    return str(path)


@pytest.fixture
def request_of(tmp_path, suite):
    def make(*data, **changes):
        request = Request(model="builtin:lexical", suites=(suite,), data=tuple(map(str, data)), out=tmp_path / "out")
        return dataclasses.replace(request, **changes)

    return make


def test_a_collection_that_cannot_be_read_breaks_its_own_step_with_the_cause_and_the_others_go_on(tmp_path, request_of):
    good = write(tmp_path / "good")
    bad = write(tmp_path / "bad", {"qrels.tsv": "q1\td9\t1\n"})
    watch = Listening()
    report = run.run(request_of(bad, good), watch)
    assert [(result.dataset, result.status) for result in report.results] == [(str(bad), "broken"), ("good", "passed")]
    assert "qrels.tsv line 1 names a document that corpus.jsonl does not hold" in report.results[0].reason
    assert [(gate.dataset, gate.status) for gate in report.gates] == [(str(bad), "broken"), ("good", "passed")]
    assert report.exit_code() == 3
    assert any("bad cannot be measured, the others go on" in text for text in watch.remarks)


def test_a_page_that_cannot_be_decoded_breaks_its_own_step_while_it_is_encoded(tmp_path, request_of, monkeypatch):
    good, bad = write(tmp_path / "good"), write(tmp_path / "worse")
    calls = [LidiagError("page.png cannot be read as an image: truncated.", "Mend or remove it.")]
    real = work.Encoder.documents

    def documents(self, documents, advance=lambda _: None):
        if calls:
            raise calls.pop()
        return real(self, documents, advance)

    monkeypatch.setattr(work.Encoder, "documents", documents)
    report = run.run(request_of(bad, good), Silent())
    assert [(result.dataset, result.status) for result in report.results] == [("worse", "broken"), ("good", "passed")]
    assert "page.png" in report.data[0].notes[0]


def test_nothing_is_written_where_no_collection_can_be_had(tmp_path, request_of):
    bad = write(tmp_path / "bad", without=("qrels.tsv",))
    worse = write(tmp_path / "worse", without=("corpus.jsonl",))
    with pytest.raises(LidiagError, match=r"qrels\.tsv is missing"):
        run.run(request_of(bad, worse), Silent())
    assert not (tmp_path / "out" / "report.json").exists()


def test_an_unknown_name_is_refused_before_anything_is_measured(tmp_path, request_of):
    with pytest.raises(LidiagError, match="Did you mean mteb:nanobeir"):
        run.run(request_of(write(tmp_path / "good"), "nanobier"), Silent())


def test_two_collections_of_one_name_are_refused(tmp_path, request_of):
    one, two = write(tmp_path / "a" / "same"), write(tmp_path / "b" / "same")
    with pytest.raises(LidiagError, match="Two of the collections are named 'same'"):
        run.run(request_of(one, two), Silent())


def test_a_default_that_no_hub_gives_is_answered_with_what_to_do(tmp_path, request_of, monkeypatch):
    (tmp_path / "reader.py").write_text(
        "from lidiag.adapters.builtin import load\nfrom lidiag.adapter import LoadOptions\n"
        "def make(options):\n    model = load('lexical', LoadOptions())\n"
        "    model.card = model.card.model_copy(update={'adapter': 'python', 'modalities': ('text', 'image')})\n    return model\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(catalog, "members", lambda name: [f"{name}-first"])
    with pytest.raises(LidiagError) as error:
        run.run(request_of(model="python:reader:make", offline=True), Silent())
    assert "reads page images, so it is measured on mteb:vidore-v1" in str(error.value)
    assert "--data-dir FOLDER" in str(error.value)


def test_a_benchmarks_name_stands_for_its_tasks_with_and_without_its_kind():
    assert len(catalog.members("mteb:nanobeir")) == 13
    assert catalog.members("nanobeir") == catalog.members("mteb:nanobeir")
    assert catalog.members("facts") == ["facts"]
    assert catalog.members("builtin:facts?seed=3") == ["builtin:facts?seed=3"]


def test_only_what_is_asked_for_is_imported():
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    code = "import sys; from lidiag import catalog; catalog.members('builtin:facts'); print('lidiag.datasets.mteb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_a_run_says_how_vectors_were_kept_and_16_bits_do_not_move_the_quality(tmp_path, request_of):
    reports = [
        run.run(request_of("builtin:facts", limit=20, store=store, out=tmp_path / store), Silent()) for store in ("float32", "float16")
    ]
    assert [report.environment.plan["store"] for report in reports] == ["float32", "float16"]
    exact, rounded = (next(m.value for m in report.results[0].measurements if m.name == "nDCG@10") for report in reports)
    assert exact > 0.5
    assert abs(exact - rounded) < 0.005


def test_a_damaged_report_in_the_folder_is_refused_with_what_to_do_and_left_as_it_is(tmp_path, request_of):
    request = request_of(write(tmp_path / "good"))
    run.run(request, Silent())
    path = request.out / "report.json"
    path.write_bytes(half := path.read_bytes()[:500])
    with pytest.raises(LidiagError, match=r"is not a report.*Remove it to measure again, or name another folder with --out\."):
        run.run(request, Silent())
    assert path.read_bytes() == half
