"""A real browser, for pages: Debian's Chromium, without a screen and without a network."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1300,1000",
    "--force-device-scale-factor=1",
)  # fmt: skip
_PATIENCE = 60.0  # seconds


class Browser:
    """One window. downloads: the folder into which it saves."""

    def __init__(self, downloads: Path):
        if _CHROMIUM is None or _DRIVER is None:
            if os.environ.get("MEDDEL_TESTS_WITHOUT_BROWSER"):
                pytest.skip("there is no Chromium here")
            pytest.fail(
                "chromium and chromedriver are not on PATH: `make browser` installs Debian's; or set "
                "MEDDEL_TESTS_WITHOUT_BROWSER=1 to leave the tests of pages out"
            )
        options = webdriver.ChromeOptions()
        options.binary_location = _CHROMIUM
        for option in _OPTIONS:
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        self.downloads = downloads
        self.driver = webdriver.Chrome(options=options, service=Service(_DRIVER))

    def open(self, address: str | Path) -> None:
        """Open a page of ours, and wait until it has drawn itself."""
        self.driver.get(address.as_uri() if isinstance(address, Path) else address)
        self.until(lambda: self.js("return document.body.dataset.ready === 'yes'"))

    def js(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def wait(self, code: str, *arguments: Any) -> Any:
        """The value of a promise."""
        self.driver.set_script_timeout(_PATIENCE)
        whole = f"const done = arguments[arguments.length - 1]; (async () => {{ {code} }})().then(done)"
        return self.driver.execute_async_script(whole, *arguments)

    def until(self, condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + _PATIENCE
        while not (value := condition()):
            assert time.monotonic() < end, f"not within {_PATIENCE:.0f} s; the browser says {self.messages()}"
            time.sleep(0.05)
        return value

    def messages(self) -> list[str]:
        """What stands in the console since it was last asked for."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def close(self) -> None:
        self.driver.quit()
