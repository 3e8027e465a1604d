"""Headless Chromium for tests of pages: opens them, and says what they asked for and complained of."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.debian import debian_program

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_WAIT_SECONDS = 60.0


class Browser:
    """A browser with one window."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Opens a page and waits until its script says it is ready."""
        self.driver.get(url)
        self.wait("return document.documentElement.dataset.ready === 'yes'")

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: object) -> Any:
        """What a script returns, once that is true.

        Raises:
            TimeoutError: it did not become true.
        """
        end = time.monotonic() + _WAIT_SECONDS
        while not (found := self.run(script, *arguments)):
            if time.monotonic() > end:
                msg = f"{script}: still {found!r}"
                raise TimeoutError(msg)
            time.sleep(0.05)
        return found

    def resize(self, width: int, height: int, *, theme: str = "light") -> None:
        """A window of this size on a system of this theme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def drag(self, selector: str, start: float, end: float) -> None:
        """Presses at one share of an element's width, moves to another, lets go."""
        box = self.run(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]",
            selector,
        )
        y = box[1] + box[3] / 2
        for kind, share in (
            ("mouseMoved", start),
            ("mousePressed", start),
            ("mouseMoved", (start + end) / 2),
            ("mouseMoved", end),
            ("mouseReleased", end),
        ):
            held = kind != "mouseMoved" or share != start
            event = {"type": kind, "x": box[0] + box[2] * share, "y": y, "clickCount": 1}
            event |= {"button": "left", "buttons": 1} if held else {"button": "none", "buttons": 0}
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def complaints(self) -> list[str]:
        """What the console said since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self, page: str) -> list[str]:
        """Every address a page asked for since the last call, data: and blob: left out."""
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        urls = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
            and message["params"]["documentURL"].partition("#")[0] == page
        ]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile in a folder; skips the test where Chromium is missing."""
    options = webdriver.ChromeOptions()
    options.binary_location = debian_program("chromium", "chromium")
    service = Service(debian_program("chromium-driver", "chromedriver"))
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_page_load_timeout(_WAIT_SECONDS)
        yield Browser(driver)
    finally:
        driver.quit()
