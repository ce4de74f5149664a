import re

import pytest

from lidiag.compare import compare, load
from lidiag.html import comparison
from tests import reports
from tests.html import browser

HOSTILE = "<img src=x onerror=alert(1)>\u202e"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    for i, name in enumerate(("org/a", HOSTILE, "org/worse")):
        reports.write(folder / str(i), name=name, seed=i, quality=-0.2 * (i == 2), probes=("retrieval", "length-bias"))
    made = compare(load([folder / str(i) for i in range(3)]))
    comparison.write(made, folder / "comparison.html")
    return folder / "comparison.html", made


def test_every_difference_and_every_rank_stands_on_the_page(page):
    path, made = page
    text = path.read_text()
    decided = [row for row in made.rows if row.verdict in {"better", "worse", "higher", "lower"}]
    assert decided
    assert len(re.findall(r"<td>(?:better|worse|same|cannot tell|negligible|higher|lower)</td></tr>", text)) == len(made.rows) + len(
        decided
    )
    assert "length_limit_share has no values by query" in text
    assert "<img" not in text
    assert "\u202e" not in text


@browser.needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_a_browser_asks_for_nothing_and_complains_of_nothing(page, width, scheme):
    with browser.opened() as driver:
        browser.visit(driver, page[0], width=width, scheme=scheme)
        assert browser.requests(driver) == [page[0].as_uri()]
        assert browser.complaints(driver) == []
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
