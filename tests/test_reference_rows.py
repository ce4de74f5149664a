"""The reports filed in the repository: they verify from their own values by today's suites, and stand for schema 1 for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidiag import catalog, leaderboard
from lidiag import report as reports

FOLDER = Path(__file__).parents[1] / "leaderboards"
FILED = sorted(FOLDER.glob("*/*/*/report.json"))


def test_every_filed_report_follows_from_its_values():
    accepted, faults = leaderboard.check(FOLDER, {name: catalog.suite(name) for name in catalog.suite_names()})
    assert faults == []
    assert len(accepted) == len(FILED) >= 4


def test_a_healthy_control_and_planted_ailments_stand_side_by_side():
    by_model = {report.model.name: report for report in map(reports.read, FILED)}
    assert by_model["lidiag/lexical"].exit_code() == 0
    assert by_model["lidiag/lexical.length_bias-0.3"].exit_code() == 1
    assert by_model["lidiag/lexical.hijackable-0.7"].exit_code() == 1


@pytest.mark.parametrize("path", FILED, ids=lambda path: path.parts[-3])
def test_reports_of_schema_1_are_read(path):
    assert reports.read(path).schema_version == 1
