import csv
import json
import os
from pathlib import Path

import pytest

from lidiag.errors import LidiagError
from lidiag.html import board
from lidiag.report import SuiteUsed
from lidiag.suite import Step, Suite
from tests import reports
from tests.html import browser

ROOT = Path(__file__).resolve().parents[2]
AXE = next((path for path in (ROOT / "node_modules/axe-core/axe.min.js",) if path.exists()), None)
PROBES = ("retrieval", "length-bias")
SUITE = Suite(name="robustness", version=1, description="", steps=tuple(Step(probe=probe) for probe in PROBES), gates=(reports.FLOOR,))
SUITES = {"robustness": SUITE}


def file(folder, number, **options):
    name, revision = f"org{number % 7}/model-{number:04}", f"{number:040x}"
    used = SuiteUsed(name="robustness", version=1, digest=SUITE.digest)
    settings = {
        "seed": number,
        "quality": -(number % 40) / 200,
        "probes": PROBES,
        "poolings": ("maxsim", "topk(4)"),
        "suite": used,
    } | options
    reports.write(folder / "robustness-v1" / name.replace("/", "__") / revision, name=name, revision=revision, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    for number in range(12):
        file(folder, number)
    board.build(folder, SUITES)
    return folder


def test_all_formats_hold_the_same_numbers(folder):
    (body,) = json.loads((folder / "leaderboard.json").read_text())
    with (folder / "leaderboard.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["measure"] == "nDCG@10"]
    assert [(row["model"], int(row["rank"])) for row in rows] == [(row["model"], row["rank"]) for row in body["rows"]]
    assert [float(row["value"]) for row in rows] == [row["numbers"][0]["value"] for row in body["rows"]]
    text = (folder / "README.md").read_text()
    assert text.count("/report.json)") == len(rows) == 12
    assert (folder / "index.html").read_text().count('<tr><td data-value="') == 12


def test_building_twice_writes_the_same(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    board.build(folder, SUITES)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_board_with_a_fault_is_not_drawn(tmp_path):
    file(tmp_path, 0, limit=5)
    with pytest.raises(LidiagError, match="limited to 5"):
        board.build(tmp_path, SUITES)
    assert not (tmp_path / "index.html").exists()


def test_an_empty_folder_gives_an_empty_page(tmp_path):
    assert board.build(tmp_path, SUITES) == []
    assert "Nothing has been submitted yet" in (tmp_path / "index.html").read_text()


def test_every_link_of_the_page_leads_to_a_file(folder):
    import re  # noqa: PLC0415

    pages = [folder / "index.html", *folder.glob("*/*/*/index.html")]
    assert len(pages) == 13
    for page in pages:
        for link in re.findall(r'href="([^"#:]+)"', page.read_text()):
            assert (page.parent / link).exists(), link


@pytest.fixture(scope="module")
def driver():
    with browser.opened() as driver:
        yield driver


def names(driver):
    return [row.text for row in driver.find_elements("css selector", "tbody tr:not([hidden]) th")]


@browser.needs_browser
def test_the_page_sorts_and_filters_by_keyboard(folder, driver):
    browser.visit(driver, folder / "index.html")
    shown = names(driver)
    head = driver.find_elements("css selector", "thead th button")[1]
    head.send_keys("\ue007")
    assert names(driver) == sorted(shown)
    head.send_keys("\ue007")
    assert names(driver) == sorted(shown, reverse=True)
    assert driver.find_elements("css selector", "thead th")[1].get_attribute("aria-sort") == "descending"
    driver.find_element("css selector", "label.filter input").send_keys("model-0007")
    assert names(driver) == ["org0/model-0007"]


@browser.needs_browser
def test_numbers_sort_as_numbers_with_the_missing_last(folder, driver):
    browser.visit(driver, folder / "index.html")
    driver.find_elements("css selector", "thead th button")[3].click()
    values = driver.execute_script("return [...document.querySelectorAll('tbody tr')].map((row) => parseFloat(row.cells[3].dataset.value))")
    assert values == sorted(values)


@browser.needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_a_browser_asks_for_nothing_and_complains_of_nothing(folder, driver, width, scheme):
    for page in (folder / "index.html", next(folder.glob("*/*/*/index.html"))):
        browser.requests(driver), browser.complaints(driver)
        browser.visit(driver, page, width=width, scheme=scheme)
        assert browser.requests(driver) == [page.as_uri()]
        assert browser.complaints(driver) == []
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")


@browser.needs_browser
@pytest.mark.skipif(AXE is None, reason="axe-core is not in node_modules")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(folder, driver, scheme):
    for page in (folder / "index.html", next(folder.glob("*/*/*/index.html"))):
        browser.visit(driver, page, scheme=scheme)
        assert browser.axe(driver, AXE) == []


@pytest.mark.slow
@browser.needs_browser
def test_a_thousand_submissions_are_drawn_in_20_s_and_the_page_is_interactive_in_1_s(tmp_path, driver):
    for number in range(1000):
        file(tmp_path, number, probes=PROBES)
    before = os.times()
    (drawn,) = board.build(tmp_path, SUITES)
    # The processor's time, of this process and its workers: what an idle machine with one core would need.
    assert sum(os.times()[:4]) - sum(before[:4]) < 20
    assert len(drawn.rows) == 1000
    browser.visit(driver, tmp_path / "index.html")
    assert driver.execute_script("return performance.getEntriesByType('navigation')[0].domInteractive") < 1000
    took = driver.execute_script(
        "const start = performance.now(); document.querySelectorAll('thead th button')[1].click(); return performance.now() - start"
    )
    assert took < 1000
