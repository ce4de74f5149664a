"""What a probe collects: values by query in, measurements with intervals out; nothing missing goes unsaid."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from lidiag import stats
from lidiag.findings import Findings

AT = {"pooling": "topk(4)", "k": 100}
VALUES = np.array([0.5, 0.25, 1.0, 0.0])


@pytest.fixture
def found():
    return Findings(["q1", "q2", "q3", "q4"])


@pytest.fixture
def grouped():
    return Findings(["q1", "q2", "q3", "q4"], clusters=np.array([0, 0, 1, 2]))


def said(measurement):
    return stats.Estimate(measurement.value, measurement.low, measurement.high, measurement.n, measurement.no_interval)


def test_a_mean_carries_its_interval_and_where_it_stands(found):
    made = found.mean("nDCG@10", AT, VALUES, unit="points", better="higher", share=True)
    assert said(made) == stats.mean_interval(VALUES, share=True)
    assert (made.name, made.at, made.unit, made.better) == ("nDCG@10", AT, "points", "higher")
    assert (made.aggregate, made.unit_of_n) == ("mean", "queries")
    assert found.measurements == [made]


def test_a_value_that_is_no_share_keeps_its_plain_interval(found):
    assert said(found.mean("gain", AT, VALUES * 7)) == stats.mean_interval(VALUES * 7)


def test_a_query_without_a_value_is_left_out_of_its_measurement_only(found):
    values = np.array([0.5, np.nan, 1.0, 0.0])
    assert said(found.mean("a", AT, values)) == stats.mean_interval(values[[0, 2, 3]])
    assert found.mean("b", AT, VALUES).n == 4
    np.testing.assert_array_equal(found.per_query[0].values, values)


def test_the_values_of_each_query_are_kept_and_give_the_value_again(found):
    mean, ratio = found.mean("a", AT, VALUES), found.ratio("b", AT, VALUES, [1, 2, np.nan, 4])
    kept_mean, kept_ratio = found.per_query
    assert (kept_mean.name, kept_mean.at, kept_mean.base) == ("a", AT, None)
    assert np.nanmean(kept_mean.values) == mean.value
    assert np.nansum(kept_ratio.values) / np.nansum(kept_ratio.base) == ratio.value


def test_the_kept_values_are_a_copy(found):
    values = VALUES.copy()
    found.mean("a", AT, values)
    values[0] = 9
    assert found.per_query[0].values[0] == 0.5


def test_a_ratio_leaves_out_a_query_that_lacks_either_side(found):
    values, base = np.array([1.0, np.nan, 3.0, 4.0]), np.array([2.0, 2.0, np.nan, 5.0])
    made = found.ratio("retained", AT, values, base, better="higher")
    assert said(made) == stats.ratio_interval(values[[0, 3]], base[[0, 3]])
    assert (made.aggregate, made.better) == ("ratio", "higher")
    np.testing.assert_array_equal(found.per_query[0].values, [1, np.nan, np.nan, 4])
    np.testing.assert_array_equal(found.per_query[0].base, [2, np.nan, np.nan, 5])


def test_queries_that_share_facts_count_as_groups(grouped):
    clusters = grouped.clusters
    assert said(grouped.mean("a", AT, VALUES)) == stats.mean_interval(VALUES, clusters=clusters)
    assert said(grouped.ratio("b", AT, VALUES, VALUES + 1)) == stats.ratio_interval(VALUES, VALUES + 1, clusters=clusters)
    left_out = grouped.mean("c", AT, [0.5, 0.2, np.nan, 0.1])
    assert said(left_out) == stats.mean_interval(np.array([0.5, 0.2, 0.1]), clusters=np.array([0, 0, 2]))
    assert said(grouped.ratio("d", AT, [1, 3, np.nan, 2], [2, 2, 2, 2])) == stats.ratio_interval(
        np.array([1.0, 3, 2]), np.full(3, 2.0), clusters=np.array([0, 0, 2])
    )
    assert [(made.n, made.unit_of_n) for made in grouped.measurements] == [(3, "groups of queries")] * 2 + [(2, "groups of queries")] * 2


def test_a_share_may_pass_its_bounds_by_rounding_only(found):
    made = found.mean("a", AT, [1 + 1e-7, 1, 1, -1e-7], share=True)
    assert made.value == 0.75
    assert found.per_query[0].values.max() == 1
    for outside in (1.001, -0.001):
        with pytest.raises(ValueError, match=rf"b\[pooling=topk\(4\), k=100\]: a share lies in \[0, 1\], and {outside}"):
            found.mean("b", AT, [0.5, np.nan, outside, 0], share=True)


def test_what_no_query_has_a_value_for_cannot_be_made(found):
    nothing = [np.nan] * 4
    for make in (
        lambda: found.mean("m", AT, nothing),
        lambda: found.ratio("m", AT, nothing, VALUES),
        lambda: found.ratio("m", AT, [1, 1, np.nan, np.nan], [np.nan, np.nan, 1, 1]),
    ):
        with pytest.raises(ValueError, match=r"m\[pooling=topk\(4\), k=100\]: none of 4 queries has a value\. .*`unmade`.*Skip"):
            make()
    assert found.measurements == found.per_query == []


def test_a_ratio_to_nothing_cannot_be_made(found):
    with pytest.raises(ValueError, match=r"m\[k=1\]: the base sums to 0 over 3 queries, so there is no ratio\. .*`unmade`"):
        found.ratio("m", {"k": 1}, VALUES, [0, 0, np.nan, 0])
    assert found.measurements == found.per_query == []


def test_a_small_base_still_makes_a_ratio(found):
    assert found.ratio("m", {}, [0.1, 0.2, 0.1, 0], [0.2, 0.2, 0.2, 0.2]).value == pytest.approx(0.5)


def test_what_could_not_be_made_is_said_with_its_place_and_reason(found):
    found.unmade("slope_within", {"pooling": "maxsim", "k": np.int64(3)}, "no document has 128 vectors")
    (finding,) = found.findings
    assert finding.name == "slope_within"
    assert finding.text == "slope_within[pooling=maxsim, k=3] was not measured: no document has 128 vectors"
    assert finding.data == {"at": {"pooling": "maxsim", "k": 3}}
    assert type(finding.data["at"]["k"]) is int


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_an_infinite_value_is_refused_by_the_name_of_its_query(found, bad):
    values = [0, np.nan, bad, 1]
    for make in (
        lambda: found.mean("m", {}, values),
        lambda: found.ratio("m", {}, values, VALUES),
        lambda: found.ratio("m", {}, VALUES, values),
    ):
        with pytest.raises(ValueError, match="m: an infinite value for query 'q3'"):
            make()


@pytest.mark.parametrize("values", [[1, 2, 3], [[1, 2, 3, 4]], 5])
def test_there_is_one_value_per_query(found, values):
    with pytest.raises(ValueError, match=r"m: values of shape .* for 4 queries"):
        found.mean("m", {}, values)


def test_nothing_is_measured_twice_at_one_place(found):
    found.mean("m", AT, VALUES)
    found.mean("m", {**AT, "k": 200}, VALUES)
    for make in (
        lambda: found.mean("m", AT, VALUES),
        lambda: found.ratio("m", AT, VALUES, VALUES),
        lambda: found.number("m", dict(reversed(AT.items())), 1, n=1, unit_of_n="x", no_interval="a count"),
    ):
        with pytest.raises(ValueError, match=r"measured twice"):
            make()


def test_coordinates_are_written_in_pythons_own_types(found):
    made = found.mean("m", {"k": np.int64(100), "tau": np.float64(0.5)}, VALUES)
    assert [type(value) for value in made.at.values()] == [int, float]
    assert found.per_query[0].at == made.at
    assert type(found.number("n", {"k": np.int32(4)}, 1, n=1, unit_of_n="x", no_interval="a count").at["k"]) is int


def test_a_number_stands_with_its_interval_or_the_reason_for_none(found):
    made = found.number(
        "auc", AT, np.float32(0.5), n=np.int64(30), unit_of_n="documents", low=np.float32(0.25), high=0.75, unit="u", better="lower"
    )
    assert said(made) == stats.Estimate(0.5, 0.25, 0.75, 30)
    assert (made.at, made.unit_of_n, made.unit, made.better, made.aggregate) == (AT, "documents", "u", "lower", None)
    assert said(found.number("count", {}, 7, n=7, unit_of_n="documents", no_interval="a count")) == stats.Estimate(
        7, None, None, 7, "a count"
    )
    assert len(found.measurements) == 2
    assert found.per_query == []


@pytest.mark.parametrize("given", [{}, {"low": 0.1}, {"high": 0.1}, {"low": 0.1, "high": 0.2, "no_interval": "why?"}, {"no_interval": ""}])
def test_a_number_without_interval_or_reason_or_with_both_is_refused(found, given):
    with pytest.raises(ValueError, match=r"m\[pooling=topk\(4\), k=100\]: give low and high, or the reason"):
        found.number("m", AT, 0.15, n=1, unit_of_n="x", **given)


def test_an_interval_upside_down_is_refused(found):
    with pytest.raises(ValueError, match=r"m: low 0.2 is above high 0.1"):
        found.number("m", {}, 0.15, n=1, unit_of_n="x", low=0.2, high=0.1)
    assert found.number("m", {}, 0.1, n=1, unit_of_n="x", low=0.1, high=0.1).low == 0.1


def test_a_number_that_is_none_is_refused(found):
    with pytest.raises(ValidationError, match="finite"):
        found.number("m", {}, np.nan, n=1, unit_of_n="x", no_interval="a count")


def test_a_measurement_is_found_again_by_name_and_place_or_those_there_are_are_named(found):
    made = found.mean("m", {"pooling": "maxsim", "k": 4}, VALUES)
    found.mean("m", {"pooling": "maxsim", "k": 5}, VALUES)
    assert found.get("m", {"k": np.int64(4), "pooling": "maxsim"}) is made
    with pytest.raises(KeyError, match=r"m\[k=4\] was not measured; there is m\[pooling=maxsim, k=4\], m\[pooling=maxsim, k=5\]"):
        found.get("m", {"k": 4})
    with pytest.raises(KeyError, match="x was not measured; there is none of that name"):
        found.get("x", {})


def test_words_are_kept_with_their_data(found):
    found.say("ties", "Three queries have ties.", count=3)
    (finding,) = found.findings
    assert (finding.name, finding.text, finding.data) == ("ties", "Three queries have ties.", {"count": 3})


def test_of_what_was_said_only_a_fault_is_a_fault(found):
    found.say("ties", "Three queries have ties.")
    found.warn("prompts", "No prompt is set.", side="query")
    found.fault("head", "The head is random.", keys=3)
    assert [finding.severity for finding in found.findings] == ["note", "warning", "fault"]
    assert [finding.name for finding in found.faults] == ["head"]
    assert [finding.data for finding in found.findings] == [{}, {"side": "query"}, {"keys": 3}]
