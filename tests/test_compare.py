import json

import pytest

from lidiag.compare import compare, load
from lidiag.comparison_table import text
from lidiag.errors import LidiagError
from lidiag.report import SuiteUsed
from lidiag.terminal import number
from tests import reports


def sides(tmp_path, *options):
    for i, option in enumerate(options):
        reports.write(tmp_path / str(i), **({"name": f"org/{i}", "probes": ("retrieval", "length-bias")} | option))
    return load([tmp_path / str(i) for i in range(len(options))])


def row_of(comparison, name, pooling="maxsim"):
    return next(row for row in comparison.rows if row.name == name and row.at == {"pooling": pooling})


def test_a_report_against_itself_differs_nowhere(tmp_path):
    comparison = compare(sides(tmp_path, {}, {}))
    assert {row.verdict for row in comparison.rows} == {"same"}
    assert {(row.difference, row.p) for row in comparison.rows} == {(0.0, 1.0)}
    assert [rank for ranked in comparison.ranked for rank, _, _ in ranked.order] == [1, 1]


def test_a_worse_model_is_called_worse_with_its_difference(tmp_path):
    pair = sides(tmp_path, {"quality": 0.0}, {"quality": -0.1})
    row = row_of(compare(pair), "nDCG@10")
    expected = pair[1].report.results[0].measurements[0].value - pair[0].report.results[0].measurements[0].value
    assert row.difference == pytest.approx(expected)
    assert row.low < expected < row.high < 0
    assert (row.verdict, row.adjusted_p < 0.05) == ("worse", True)
    assert row_of(compare(pair[::-1]), "nDCG@10").verdict == "better"


def test_a_ratio_is_compared_as_the_ratio_of_sums(tmp_path):
    pair = sides(tmp_path, {"probes": ("length-sweep",)}, {"probes": ("length-sweep",), "seed": 1})
    for row in compare(pair).rows:
        there = [next(m for m in side.report.results[0].measurements if m.name == row.name and m.at == row.at).value for side in pair]
        assert row.difference == pytest.approx(there[1] - there[0], abs=1e-12)


def test_a_sure_difference_below_the_floor_is_negligible(tmp_path):
    assert row_of(compare(sides(tmp_path, {}, {"quality": -0.1}), floor=0.5), "nDCG@10").verdict == "negligible"


def test_p_is_adjusted_over_all_measurements(tmp_path):
    rows = compare(sides(tmp_path, {}, {"quality": -0.02, "seed": 3})).rows
    assert all(row.adjusted_p >= row.p for row in rows)
    assert any(row.adjusted_p > row.p for row in rows)


def test_models_of_equal_quality_are_seldom_told_apart(tmp_path):
    told = 0
    for seed in range(20):
        pair = sides(tmp_path, {"probes": ("retrieval",), "seed": 2 * seed}, {"probes": ("retrieval",), "seed": 2 * seed + 1})
        told += any(row.verdict in {"better", "worse"} for row in compare(pair).rows)
    assert told <= 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"suite": SuiteUsed(name="robustness", version=1, digest="e" * 64)},
            "suite robustness is v1 dddddddddddd in org/0 and v1 eeeeeeeeeeee in org/1",
        ),
        ({"datasets": ("other",)}, "data facts is .* in org/0 and absent in org/1"),
        ({"probes": ("retrieval",)}, "probe length-bias is version 1 in org/0 and absent in org/1"),
    ],
)
def test_reports_that_asked_other_questions_are_refused_and_the_culprit_named(tmp_path, change, said):
    with pytest.raises(LidiagError, match=said):
        compare(sides(tmp_path, {}, change))


def test_what_cannot_be_paired_is_said(tmp_path):
    comparison = compare(sides(tmp_path, {}, {"seed": 1}))
    assert comparison.left_out == ("length-bias length_limit_share has no values by query",)
    assert "length_limit_share has no values by query" in text(comparison)


def test_three_models_are_ranked_in_groups(tmp_path):
    comparison = compare(sides(tmp_path, {"quality": -0.2}, {"seed": 1}, {"seed": 2}))
    order = comparison.ranked[0].order
    assert [rank for rank, _, _ in order] == [1, 1, 3]
    assert order[-1][1] == "org/0"


def test_json_holds_every_row(tmp_path):
    comparison = compare(sides(tmp_path, {}, {"seed": 1}))
    assert len(json.loads(comparison.to_json())["rows"]) == len(comparison.rows)


def test_two_reports_are_needed(tmp_path):
    with pytest.raises(LidiagError, match="two reports"):
        compare(sides(tmp_path, {}))


def test_the_smallest_difference_that_would_show_stands_beside_what_cannot_be_told(tmp_path):
    shown = compare(sides(tmp_path, {}, {"quality": -0.004, "seed": 1}))
    row = row_of(shown, "nDCG@10")
    assert row.verdict == "cannot tell"
    # 2.80 standard errors: the interval reaches 1.96 (of t, a little more) to both sides.
    assert row.detectable == pytest.approx(2.80 / 2.0 * (row.high - row.low) / 2, rel=0.02)
    assert f"from {number(row.detectable)} on" in text(shown)
    assert number(row.detectable) in next(line for line in text(shown, everything=True).splitlines() if "nDCG@10" in line)
