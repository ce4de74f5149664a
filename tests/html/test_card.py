import re
from pathlib import Path

import pytest

from lidiag.gate import Gate
from lidiag.html import card
from lidiag.html.summary import in_short
from tests import reports
from tests.html import browser

ROOT = Path(__file__).resolve().parents[2]
AXE = next((path for path in (ROOT / "node_modules/axe-core/axe.min.js",) if path.exists()), None)
HOSTILE = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>\u202egnp.exe\x1b[31m{{ 7*7 }}"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    card.write(reports.write(folder), folder / "report.html")
    return folder / "report.html"


def strict(bound):
    return Gate(probe="retrieval", name="nDCG@10", at={"pooling": "maxsim"}, op=">=", bound=bound, reason="Less is of no use.")


def test_a_failed_gate_stands_first_with_how_sure_it_is_and_what_to_do(tmp_path):
    report = reports.write(tmp_path, gates=[reports.FLOOR, strict(0.99)])
    first, second, *_ = in_short(report)
    assert (first.tone, first.statement) == ("bad", "Of 2 gates: 1 failed, 1 passed.")
    assert second.word == "Failed"
    assert "should be at least 0.99. Less is of no use." in second.statement
    assert "95 % interval" in second.sure
    assert second.action


def test_a_report_without_gates_is_not_called_healthy(tmp_path):
    assert in_short(reports.write(tmp_path, gates=[]))[0].word == "Not judged"


def test_a_gate_that_could_not_be_judged_is_not_called_healthy(tmp_path):
    missing = Gate(probe="retrieval", name="no such thing", op=">", bound=0.0, reason="r")
    first = in_short(reports.write(tmp_path, gates=[reports.FLOOR, missing]))[0]
    assert (first.tone, first.word) == ("bad", "Incomplete")


def test_a_limited_run_is_called_a_first_look(tmp_path):
    assert "A first look" in [point.word for point in in_short(reports.write(tmp_path, limit=20))]


def test_every_number_of_the_report_stands_on_the_page(page):
    text = page.read_text()
    assert len(re.findall(r"<tr><th scope=\"row\">hijack_rate</th>", text)) == 7 * 6 * 4
    assert "the definition of hijack_rate" in text
    assert "A paper (arXiv 0000.00000, section 4)" in text


def test_the_page_refers_to_nothing_outside_itself(page):
    text = page.read_text()
    assert not re.findall(r"(?:src|href)=\"(?!#|data:,)", text)
    assert not re.findall(r"url\((?!#)", text)
    assert "style=" not in text


def test_equal_reports_give_equal_pages(tmp_path):
    report = reports.write(tmp_path, probes=("retrieval", "length-sweep"))
    assert card.text(report) == card.text(report)


def test_hostile_names_are_shown_and_do_nothing(tmp_path):
    report = reports.write(tmp_path, name=HOSTILE, probes=("retrieval",), poolings=(HOSTILE, "$\\frac{", "x" * 5000), datasets=(HOSTILE,))
    text = card.text(report)
    assert "<img" not in text
    assert text.count("<script") == 1
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "{{ 7*7 }}" in text


def test_a_plot_ticks_are_not_rounded_with_its_coordinates(tmp_path):
    report = reports.write(tmp_path, probes=("retrieval",), poolings=("maxsim", "topk(4)"))
    values = [m for m in report.results[0].measurements if m.name == "nDCG@10"]
    drawn = tuple(
        m.model_copy(update={"value": v, "low": v - 1e-4, "high": v + 1e-4}) for m, v in zip(values, (0.9750, 0.9751), strict=True)
    )
    result = report.results[0].model_copy(update={"measurements": drawn})
    labels = re.findall(r"<text[^>]*>(0\.97\d+)</text>", card.text(report.model_copy(update={"results": (result,)})))
    assert len(set(labels)) == len(labels) > 1


@pytest.fixture(scope="module")
def driver():
    with browser.opened() as driver:
        yield driver


@browser.needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light")])
def test_a_browser_asks_for_nothing_and_complains_of_nothing(page, driver, width, scheme):
    browser.requests(driver), browser.complaints(driver)
    browser.visit(driver, page, width=width, scheme=scheme)
    assert browser.requests(driver) == [page.as_uri()]
    assert browser.complaints(driver) == []
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")


@browser.needs_browser
def test_hostile_names_run_nothing_in_a_browser(tmp_path, driver):
    card.write(reports.write(tmp_path, name=HOSTILE, probes=("retrieval",), poolings=(HOSTILE, "maxsim")), tmp_path / "report.html")
    browser.visit(driver, tmp_path / "report.html")
    assert driver.title.startswith("<img src=x onerror=alert(1)>")
    assert driver.execute_script("return document.images.length") == 0
    assert browser.complaints(driver) == []


@browser.needs_browser
def test_the_theme_can_be_switched_by_keyboard_and_is_remembered(page, driver):
    browser.visit(driver, page, scheme="light")
    background = "return getComputedStyle(document.body).backgroundColor"
    line = "return getComputedStyle(document.querySelector('.stroke-0')).stroke"
    before, stroke = driver.execute_script(background), driver.execute_script(line)
    button = driver.find_element("id", "theme")
    for _ in range(2):
        button.send_keys("\ue007")
    assert button.text == "Theme: dark"
    assert driver.execute_script(background) != before
    assert driver.execute_script(line) != stroke
    browser.visit(driver, page, scheme="light")
    assert driver.find_element("id", "theme").text == "Theme: dark"
    driver.find_element("id", "theme").send_keys("\ue007")
    assert driver.execute_script(background) == before


@browser.needs_browser
def test_the_tables_of_all_numbers_sort_and_filter(page, driver):
    browser.visit(driver, page)
    table = driver.find_elements("css selector", "table.sortable")[0]
    driver.execute_script("arguments[0].closest('details').open = true", table)
    values = "return [...arguments[0].tBodies[0].rows].filter((row) => !row.hidden).map((row) => parseFloat(row.cells[2].textContent))"
    head = table.find_elements("css selector", "th button")[2]
    head.send_keys("\ue007")
    found = driver.execute_script(values, table)
    assert found == sorted(found)
    head.send_keys("\ue007")
    assert driver.execute_script(values, table) == sorted(found, reverse=True)
    driver.find_element("css selector", "label.filter input").send_keys("R@1 softmax(1)")
    assert len(driver.execute_script(values, table)) == 1


@browser.needs_browser
def test_without_javascript_everything_can_be_read(page, driver):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.visit(driver, page)
        assert not driver.find_element("id", "theme").is_displayed()
        assert driver.find_element("id", "short").is_displayed()
        details = driver.find_element("css selector", "details")
        details.find_element("css selector", "summary").send_keys("\ue007")
        assert details.find_element("css selector", "table").is_displayed()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@browser.needs_browser
@pytest.mark.skipif(AXE is None, reason="axe-core is not in node_modules")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(page, driver, scheme):
    browser.visit(driver, page, scheme=scheme)
    driver.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.axe(driver, AXE) == []
