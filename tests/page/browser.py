"""Chromium, the page in it, and a hand that draws."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, TimeoutError, sync_playwright

PATIENCE_S = float(os.environ.get("PAGE_PATIENCE_S", "120"))
"""Until something that will happen has happened; a loaded machine takes its time."""
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 3, "is_mobile": True, "has_touch": True}

DIGITS: dict[str, list[list[tuple[float, float]]]] = {
    "0": [[(0.5, 0.2), (0.34, 0.35), (0.34, 0.65), (0.5, 0.8), (0.66, 0.65), (0.66, 0.35), (0.5, 0.2)]],
    "1": [[(0.42, 0.3), (0.52, 0.2), (0.52, 0.8)]],
    "2": [[(0.34, 0.32), (0.5, 0.2), (0.66, 0.34), (0.36, 0.8), (0.7, 0.8)]],
    "3": [[(0.35, 0.22), (0.65, 0.28), (0.48, 0.48), (0.68, 0.68), (0.35, 0.8)]],
    "4": [[(0.6, 0.82), (0.6, 0.2), (0.3, 0.6), (0.74, 0.6)]],
    "5": [[(0.66, 0.2), (0.38, 0.2), (0.36, 0.46), (0.64, 0.52), (0.62, 0.76), (0.34, 0.8)]],
    "7": [[(0.3, 0.2), (0.7, 0.2), (0.46, 0.8)]],
}
"""Strokes as points of the unit square."""


def executable() -> str | None:
    """Where Chromium is: CHROMIUM, or the first of its names on the path. None: nowhere, or CHROMIUM=none."""
    named = os.environ.get("CHROMIUM")
    if named == "none":
        return None
    return named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # as root there is no sandbox to be had; the pages are ours
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        yield browser
        browser.close()


class Desk:
    """The page, open. trouble: what the console and the network complained about, outside of what a test provokes."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context, self.url = context, url
        self.page: Page = context.new_page()
        self.trouble: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.trouble.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, fragment: str = "") -> Desk:
        self.page.goto(f"{self.url}/{fragment}")
        self.page.wait_for_selector(".card")
        return self

    def draw(self, digit: str) -> None:
        paper = self.page.locator("#paper")
        paper.scroll_into_view_if_needed()
        for stroke in DIGITS[digit]:
            box = paper.bounding_box()
            assert box is not None
            places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
            self.page.mouse.move(*places[0])
            self.page.mouse.down()
            for place in places[1:]:
                self.page.mouse.move(*place, steps=3)
            self.page.mouse.up()

    def collect(self, digits: str) -> None:
        for digit in digits:
            self.draw(digit)
            self.page.locator(".labels button", has_text=digit).first.click()

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def says(self, text: str, within_s: float = PATIENCE_S) -> None:
        """Waits for a text to be seen. Raises AssertionError with what is seen instead."""
        try:
            self.page.get_by_text(text).first.wait_for(state="visible", timeout=within_s * 1000)
        except TimeoutError as error:
            raise AssertionError(f"{text!r} is not in:\n{self.page.inner_text('body')}\n{self.trouble}") from error

    def step(self, title: str) -> Locator:
        return self.page.locator("section.step", has=self.page.get_by_role("heading", name=title))

    def shot(self, name: str) -> None:
        """A picture of the whole page, where PAGE_SHOTS names a folder for what only a test gets to see."""
        if folder := os.environ.get("PAGE_SHOTS"):
            self.page.evaluate("scrollTo(0, 0)")
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def context_of(browser: Browser, device: dict[str, Any], **more: Any) -> BrowserContext:
    context = browser.new_context(**{**device, **more})
    context.set_default_timeout(PATIENCE_S * 1000)
    return context


def axe_script() -> str:
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
