"""Every page carries a content security policy that its own parts keep, and that stops what does not belong to it."""

from __future__ import annotations

import re

import pytest

from lidiag.attribution import attribute
from lidiag.compare import compare, load
from lidiag.dataset import Document
from lidiag.explanation import write as write_explanation
from lidiag.html import board, card, comparison
from tests import reports
from tests.html import browser
from tests.test_attribution import Words, encode
from tests.test_leaderboard import SUITES, made

PAGES = ("report", "comparison", "board", "submission", "explanation")
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
FOREIGN = '<script>document.title = "taken"</script><img src="http://192.0.2.1/x.png"><form action="http://192.0.2.1/"></form>'


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    sides = [reports.write(folder / name, name=f"org/{name}", seed=i, probes=("retrieval",)) for i, name in enumerate("ab")]
    card.write(sides[0], folder / "report.html")
    comparison.write(compare(load([folder / "a", folder / "b"])), folder / "comparison.html")
    place = folder / "board" / "robustness-v1" / "org__model" / ("0" * 40)
    made(place)
    board.build(folder / "board", SUITES)
    write_explanation(attribute(Words(encode), "abz", Document("d", "acz"), spikes=2, seed=0), folder / "explanation.html")
    return {
        "report": folder / "report.html",
        "comparison": folder / "comparison.html",
        "board": folder / "board" / "index.html",
        "submission": place / "index.html",
        "explanation": folder / "explanation.html",
    }


@pytest.fixture(scope="module")
def driver():
    with browser.opened() as driver:
        yield driver


@pytest.mark.parametrize("name", PAGES)
def test_a_policy_stands_before_what_it_governs_and_lets_in_no_script_of_others(pages, name):
    text = pages[name].read_text(encoding="utf-8")
    found = POLICY.search(text)
    assert found
    assert "<script" not in text[: found.start()]
    assert "<style" not in text[: found.start()]
    rules = dict(rule.strip().partition(" ")[::2] for rule in found[1].replace("&#39;", "'").split(";"))
    assert rules["default-src"] == "'none'"
    assert all(source.startswith("'sha256-") for source in rules.get("script-src", "").split())


@browser.needs_browser
@pytest.mark.parametrize("name", PAGES)
def test_a_browser_sees_no_violation(pages, driver, name):
    browser.complaints(driver)
    browser.visit(driver, pages[name])
    assert browser.complaints(driver) == []
    style = "return getComputedStyle(document.body).fontFamily"
    assert "serif" in driver.execute_script(style)  # the inlined style is in effect: it names sans-serif


@browser.needs_browser
@pytest.mark.parametrize("name", PAGES)
def test_what_is_slipped_into_a_page_does_not_run_and_loads_nothing(pages, driver, name, tmp_path):
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(pages[name].read_text(encoding="utf-8").replace("</main>", f"{FOREIGN}</main>"), encoding="utf-8")
    browser.complaints(driver)
    browser.visit(driver, spoilt)
    assert driver.title != "taken"
    refused = browser.complaints(driver)
    assert any("script" in text and "Content Security Policy" in text for text in refused)
    assert any("192.0.2.1" in text and "Content Security Policy" in text for text in refused)
