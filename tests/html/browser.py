"""A headless Chromium for the tests of pages: it logs what a page asks of the network and complains of on its console."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_BINARY = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
_DRIVER = shutil.which("chromedriver")
MISSING = "no Chromium with its chromedriver is installed here"

# Where browsers are promised (the whole check), their absence is a failure and not a skip.
needs_browser = pytest.mark.skipif((_BINARY is None or _DRIVER is None) and not os.environ.get("LIDIAG_NEEDS_BROWSER"), reason=MISSING)


@contextmanager
def opened() -> Iterator[webdriver.Chrome]:
    """Start Chromium, and end it."""
    assert _BINARY, MISSING
    assert _DRIVER, MISSING
    options = webdriver.ChromeOptions()
    options.binary_location = _BINARY
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(_DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def visit(driver: webdriver.Chrome, path: Path, *, width: int = 1280, scheme: str = "light") -> None:
    """Open a file as a reader with that screen and colour scheme would."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    )
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    driver.get(path.resolve().as_uri())


def requests(driver: webdriver.Chrome) -> list[str]:
    """Return the addresses asked for since the last call."""
    events: list[dict[str, Any]] = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def complaints(driver: webdriver.Chrome) -> list[str]:
    """Return what the console said since the last call: errors, warnings and refusals of the page's policy."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}]


def screenshot(driver: webdriver.Chrome, path: Path) -> None:
    """Save the whole page as PNG."""
    import base64  # noqa: PLC0415 - for people who look

    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(shot["data"]))


def axe(driver: webdriver.Chrome, script: Path) -> list[str]:
    """Return the serious and critical accessibility faults that axe-core finds."""
    driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    driver.execute_cdp_cmd("Runtime.evaluate", {"expression": script.read_text(encoding="utf-8")})
    found = driver.execute_async_script(
        "const done = arguments[0]; axe.run(document).then(done, (error) => done({violations: [{impact: 'critical', id: String(error), nodes: []}]}))"
    )
    return [
        f"{v['id']}: {[n['html'][:150] for n in v['nodes'][:3]]}" for v in found["violations"] if v["impact"] in {"serious", "critical"}
    ]
