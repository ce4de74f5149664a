import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lidiag import leaderboard
from lidiag import report as reports_on_file
from lidiag.errors import LidiagError
from lidiag.files import sha256
from lidiag.report import SuiteUsed
from lidiag.submission import verify
from lidiag.suite import Step, Suite
from tests import reports

PROBES = ("retrieval", "length-bias", "length-sweep")
SUITE = Suite(name="robustness", version=1, description="", steps=tuple(Step(probe=probe) for probe in PROBES), gates=(reports.FLOOR,))
USED = SuiteUsed(name="robustness", version=1, digest=SUITE.digest)
SUITES = {"robustness": SUITE}


def made(folder, **options):
    return reports.write(folder, **({"probes": PROBES, "suite": USED, "poolings": ("maxsim", "topk(4)"), "queries": 20} | options))


def forged(folder, change):
    """The report in `folder`, its JSON changed."""
    path = folder / "report.json"
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))
    return folder


def test_a_run_is_filed_under_suite_model_and_revision(tmp_path):
    made(tmp_path / "run")
    place = leaderboard.submit(tmp_path / "run", tmp_path / "board", SUITES)
    assert place == tmp_path / "board" / "robustness-v1" / "org__model" / ("0" * 40)
    assert sorted(path.name for path in place.iterdir()) == ["report.json", "values.parquet"]
    assert reports_on_file.read(place) == reports_on_file.read(tmp_path / "run")
    accepted, faults = leaderboard.check(tmp_path / "board", SUITES)
    assert (len(accepted), faults) == (1, [])
    with pytest.raises(LidiagError, match="holds a report already"):
        leaderboard.submit(tmp_path / "run" / "report.json", tmp_path / "board", SUITES)


def measurement(body, name="R@1"):  # on which there is no gate
    return next(m for result in body["results"] for m in result["measurements"] if m["name"] == name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: measurement(b).update(value=0.99, high=1.0), "is 0.99 in the report and 0."),
        (lambda b: measurement(b, "ndcg_retained").update(value=2.0, high=3.0), "is 2 in the report and 1 by its values"),
        (lambda b: measurement(b).update(n=1000), "says n = 1000"),
        (lambda b: measurement(b).update(low=0.98, high=0.99), "outside its own interval"),
        (lambda b: measurement(b).update(aggregate=None), "that the report does not hold"),
        (lambda b: measurement(b).update(aggregate="ratio"), "are not those of one"),
        (lambda b: measurement(b).update(name="made_up"), "has no values by query"),
        (lambda b: b["results"][0]["measurements"].append(measurement(b)), "stands twice"),
        (lambda b: b["results"].append(b["results"][0]), "stands twice"),
        (lambda b: b["results"].pop(), "the suite's probe length-sweep is missing"),
        (lambda b: b["results"][0].update(status="broken"), "broke"),
        (lambda b: b["gates"][0].update(status="failed"), "its gates on 'facts' are not the suite's"),
        (lambda b: b.update(gates=[]), "its gates on 'facts' are not the suite's"),
        (lambda b: b.update(limit=20), "limited to 20 queries"),
        (lambda b: b["suites"][0].update(digest="e" * 64), "its suite is robustness v1 eeeeeeeeeeee"),
        (lambda b: b["suites"][0].update(name="mine"), "no leaderboard for the suite 'mine'"),
        (lambda b: b.update(suites=[]), "holds 0 suites"),
        (lambda b: b["model"].update(name="../../etc/x"), "is not org/name"),
        (lambda b: b["model"].update(name="a__b/c"), "is not org/name"),
        (lambda b: b["model"].update(name="<img src=x onerror=alert(1)>/x"), "is not org/name"),
        (lambda b: b["model"].update(revision="main"), "is not 40 hex digits"),
        (lambda b: b["model"].update(family="x\u202egnp"), "direction marks"),
        (lambda b: b["model"].update(family="\x1b[31m"), "control"),
        (lambda b: b["results"][0]["findings"][0].update(text="x" * 5_000_000), "a text of 5,000,000 letters"),
        (lambda b: b["results"][0]["findings"][0].update(text='"' * 10_000), "a text of 10,000 letters"),
        (lambda b: b["values"].update(file="../../etc/passwd"), "not in values.parquet"),
        (lambda b: b["data"][0].update(queries=3), "values for 20 queries of 3"),
        (lambda b: b["results"].append(b["results"][0] | {"dataset": "other"}), "is not among its collections"),
        (lambda b: b.update(schema=reports_on_file.SCHEMA + 1), "Upgrade"),
        (lambda b: b.update(extra=1), "extra"),
    ],
)
def test_a_forgery_is_refused_and_named(tmp_path, change, said):
    made(tmp_path)
    with pytest.raises(LidiagError) as refused:
        verify(forged(tmp_path, change), SUITES)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 3000


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000 + "]" * 10_000,
        '{"schema": 1, "schema": 1}',
        '{"schema": NaN}',
        "",
        "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
    ],
)
def test_json_that_no_run_writes_is_refused(tmp_path, text):
    made(tmp_path)
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(LidiagError):
        verify(tmp_path, SUITES)


def test_values_changed_with_their_checksum_do_not_carry_the_old_aggregates(tmp_path):
    made(tmp_path)
    path = tmp_path / "values.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(5, "value", pa.array([v * 0.9 for v in table["value"].to_pylist()])), path)
    with pytest.raises(LidiagError, match="in the report and"):
        verify(forged(tmp_path, lambda body: body["values"].update(sha256=sha256(path))), SUITES)


def test_values_outside_the_range_of_their_metric_are_refused(tmp_path):
    free = SUITE.model_copy(update={"gates": ()})
    made(tmp_path, gates=(), suite=SuiteUsed(name="robustness", version=1, digest=free.digest))
    path = tmp_path / "values.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(5, "value", pa.array([1.5] * len(table))), path)

    def change(body):
        body["values"]["sha256"] = sha256(path)
        for result in body["results"]:
            for m in result["measurements"]:
                if m["aggregate"] == "mean":
                    m.update(value=1.5, low=None, high=None)

    with pytest.raises(LidiagError, match=r"outside 0\.\.1"):
        verify(forged(tmp_path, change), {"robustness": free})


def test_symbolic_links_and_strange_files_are_faults(tmp_path):
    made(tmp_path / "run")
    place = leaderboard.submit(tmp_path / "run", tmp_path / "board", SUITES)
    (place / "run.sh").write_text("echo")
    (tmp_path / "board" / "link").symlink_to("/etc/passwd")
    (tmp_path / "board" / "loop").symlink_to(tmp_path / "board")
    faults = " ".join(leaderboard.check(tmp_path / "board", SUITES)[1])
    assert "run.sh does not belong" in faults
    assert "link is a symbolic link" in faults
    assert "loop is a symbolic link" in faults


def test_a_report_in_anothers_place_is_a_fault(tmp_path):
    made(tmp_path / "board" / "robustness-v1" / "org__better" / ("0" * 40))
    accepted, faults = leaderboard.check(tmp_path / "board", SUITES)
    assert not accepted
    assert "should lie in robustness-v1/org__model" in faults[0]


def test_a_linked_report_is_not_followed(tmp_path):
    made(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "report.json").symlink_to(tmp_path / "run" / "report.json")
    shutil.copy(tmp_path / "run" / "values.parquet", tmp_path / "other")
    with pytest.raises(LidiagError, match="symbolic link"):
        verify(tmp_path / "other", SUITES)


def paths(body, at=()):
    """Every place in a JSON body."""
    yield at
    if isinstance(body, dict):
        for key, value in body.items():
            yield from paths(value, (*at, key))
    elif isinstance(body, list):
        for i, value in enumerate(body[:3]):
            yield from paths(value, (*at, i))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3)
)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genuine")
    made(folder, probes=("retrieval",), suite=SuiteUsed(name="one", version=1, digest=ONE.digest))
    body = json.loads((folder / "report.json").read_text())
    return folder, body, list(paths(body))[1:]


ONE = Suite(name="one", version=1, description="", steps=(Step(probe="retrieval"),), gates=(reports.FLOOR,))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_mutation_breaks_the_check_or_passes_a_forged_aggregate(genuine, tmp_path, data):
    folder, body, places = genuine
    *parents, last = data.draw(st.sampled_from(places))
    mutated = json.loads(json.dumps(body))
    spot = mutated
    for step in parents:
        spot = spot[step]
    spot[last] = data.draw(JSON)
    (tmp_path / "report.json").write_text(json.dumps(mutated))
    if not (tmp_path / "values.parquet").exists():
        shutil.copy(folder / "values.parquet", tmp_path)
    try:
        accepted = verify(tmp_path, {"one": ONE})
    except LidiagError:
        return
    true = {(m["name"], json.dumps(m["at"])): m["value"] for m in body["results"][0]["measurements"]}
    for m in accepted.report.results[0].measurements:
        assert m.value == pytest.approx(true[m.name, json.dumps(dict(m.at))], abs=1e-8)


def filed(tmp_path, **models):
    for i, (name, options) in enumerate(models.items()):
        run = tmp_path / f"run{i}"
        made(run, name=f"org/{name}", **options)
        leaderboard.submit(run, tmp_path / "board", SUITES)
    accepted, faults = leaderboard.check(tmp_path / "board", SUITES)
    assert not faults
    return list(leaderboard.boards(accepted))


def test_models_that_cannot_be_told_apart_share_a_rank(tmp_path):
    (board,) = filed(tmp_path, a={"seed": 1, "queries": 60}, b={"seed": 2, "queries": 60}, worse={"quality": -0.2, "queries": 60})
    assert [row.rank for row in board.rows] == [1, 1, 3]
    assert board.rows[2].submission.report.model.name == "org/worse"


def test_another_collection_is_another_board(tmp_path):
    found = filed(tmp_path, a={}, b={"datasets": ("other",)}, c={"datasets": ("facts", "other")})
    assert [(board.data.name, len(board.rows)) for board in found] == [("facts", 2), ("other", 2)]


def test_who_answered_fewer_queries_has_no_rank(tmp_path):
    (board,) = filed(tmp_path, a={"queries": 20}, b={"queries": 19})
    assert [row.rank for row in board.rows] == [1, None]


def test_a_board_shows_the_primaries_and_what_the_suite_gates(tmp_path):
    (board,) = filed(tmp_path, a={})
    assert [str(column) for column in board.columns] == ["retrieval nDCG@10", "length-bias score_length_correlation"]
    cell = board.rows[0].cells[board.columns[0]]
    there = board.rows[0].submission.report.results[0].measurements[0]
    assert (cell.value, cell.n) == (pytest.approx(there.value), there.n)
    assert cell.low < cell.value < cell.high


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(LidiagError, match="is no folder"):
        leaderboard.check(tmp_path / "none", SUITES)
