import pytest

from lidiag.gate import Gate, Judged, Place, judge
from lidiag.measurement import Measurement


def result(status="passed", **measurements):
    made = tuple(
        Measurement(name=name, at={"pooling": "maxsim"}, value=value, low=value - 0.1, high=value + 0.1, n=10)
        for name, value in measurements.items()
    )
    return Judged(probe="p", status=status, reason="it broke" if status == "broken" else "", measurements=made)


def gate(op=">=", bound=0.5, name="x", of="value", at=None):
    return Gate(probe="p", name=name, at={"pooling": "maxsim"} if at is None else at, op=op, bound=bound, of=of, reason="why")


@pytest.mark.parametrize(
    ("op", "bound", "status"),
    [
        (">=", 0.5, "passed"),
        (">", 0.5, "failed"),
        ("<=", 0.5, "passed"),
        ("<", 0.5, "failed"),
        (">=", 0.51, "failed"),
        ("<", 0.51, "passed"),
    ],
)
def test_a_bound_is_kept_or_not(op, bound, status):
    verdict = judge(gate(op, bound), [result(x=0.5)], "d")
    assert (verdict.status, verdict.observed, verdict.limit, verdict.dataset) == (status, 0.5, bound, "d")


def test_a_place_prints_with_its_coordinates_and_its_end_where_it_has_them():
    assert str(Place(probe="p", name="x")) == "p x"
    assert str(Place(probe="p", name="x", at={"pooling": "maxsim", "k": 4}, of="low")) == "p x[pooling=maxsim, k=4] (low)"


def test_a_gate_can_look_at_an_end_of_the_interval():
    assert judge(gate(">", 0.45, of="low"), [result(x=0.5)], "d").status == "failed"
    assert judge(gate(">", 0.45, of="high"), [result(x=0.5)], "d").status == "passed"


def test_a_bound_can_be_another_measurement():
    control = Place(probe="p", name="control", at={"pooling": "maxsim"}, of="high")
    verdict = judge(gate("<=", control), [result(x=0.5, control=0.45)], "d")
    assert verdict.status == "passed"
    assert verdict.limit == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("op", "margin", "status", "limit"),
    [(">=", 0.0, "failed", 0.6), (">=", 0.1, "passed", 0.5), ("<=", 0.0, "passed", 0.6), ("<=", 0.1, "passed", 0.7)],
)
def test_a_margin_accepts_what_is_worse_by_no_more_than_it(op, margin, status, limit):
    control = Place(probe="p", name="control", at={"pooling": "maxsim"})
    asked = gate(op, control).model_copy(update={"margin": margin})
    verdict = judge(asked, [result(x=0.55, control=0.6)], "d")
    assert (verdict.status, verdict.limit) == (status, pytest.approx(limit))


@pytest.mark.parametrize("missing", [gate(name="y"), gate(at={"pooling": "mean"}), gate(at={}), gate(bound=Place(probe="p", name="y"))])
def test_a_gate_on_what_was_not_measured_is_broken(missing):
    assert judge(missing, [result(x=0.5)], "d").status == "broken"


def test_a_gate_on_a_probe_that_did_not_run_is_broken():
    assert judge(gate(), [], "d").status == "broken"


def test_a_gate_on_a_broken_probe_is_broken_and_on_a_skipped_one_skipped():
    assert judge(gate(), [result("broken")], "d").status == "broken"
    assert judge(gate(), [result("skipped")], "d").status == "skipped"


def test_a_gate_on_an_interval_that_does_not_exist_is_broken():
    bare = Measurement(name="x", at={}, value=1.0, low=None, high=None, n=1, no_interval="a count")
    verdict = judge(gate(of="low", at={}), [Judged(probe="p", status="passed", reason="", measurements=(bare,))], "d")
    assert verdict.status == "broken"
    assert "a count" in verdict.why
