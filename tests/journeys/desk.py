"""A person at a browser: signs in, looks, clicks. Whatever the console, the content policy or axe finds is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.journeys.processes import ROOT
from tests.support.samples import sample

SHOTS = ROOT / "test-results" / "journey"
WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}
MODES: tuple[tuple[str, Literal["light", "dark"], ViewportSize], ...] = (
    ("", "light", WIDE),
    ("-dark", "dark", WIDE),
    ("-narrow", "light", NARROW),
)
# Machines that do much else at the same time still get there; what is awaited is polled.
SECONDS = 60
# What htmx prints when a page is left while one of its requests is under way. It prints the second beside every
# failed request, beside the name of the failure: nothing else goes unnoticed.
LEFT = ("htmx:sendAbort,", "htmx:afterRequest,")


class Desk:
    """One person's browser. `complaints` must be empty at the end."""

    def __init__(self, browser: Browser, url: str, name: str) -> None:
        self.url, self.name = url, name
        self.complaints: list[str] = []
        # What turns and breathes would be drawn without a pause, by the processor.
        self.context = browser.new_context(base_url=url, viewport=WIDE, accept_downloads=True, reduced_motion="reduce")
        self.context.set_default_timeout(SECONDS * 1000)
        self.page = self.context.new_page()
        expect.set_options(timeout=SECONDS * 1000)
        self.expected_refusals = 0
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"thrown: {error}"))

    def _console(self, message: Any) -> None:
        if message.type != "error" or message.text.startswith(LEFT):
            return
        if self.expected_refusals and "Failed to load resource" in message.text:
            self.expected_refusals -= 1
            return
        self.complaints.append(f"{self.page.url}: {message.text}")

    def sign_in(self, email: str, password: str) -> Page:
        self.page.goto("/sign-in/")
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text("Home")
        return self.page

    def shot(self, name: str, *, everywhere: bool = False) -> None:
        """Keep a picture for people, and let axe look: light and wide; where `everywhere`, dark and narrow as well, of
        which the suite takes one."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        for suffix, scheme, size in sample(MODES, 1, name=name) if everywhere else MODES[:1]:
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self.page.set_viewport_size(size)
            self._one_shot(SHOTS / f"{name}{suffix}.png", name)
        self.page.emulate_media(color_scheme="light", reduced_motion="reduce")
        self.page.set_viewport_size(WIDE)

    def _one_shot(self, path: Path, name: str) -> None:
        self.page.screenshot(path=path)
        faults = Axe().run(self.page).response["violations"]
        self.complaints += [f"{path.stem}: {each['id']}: {each['nodes'][0]['html'][:200]}" for each in faults]

    def refused(self, path: str) -> None:
        """The page says no, politely and with the right status."""
        self.expected_refusals += 1
        answer = self.page.goto(path)
        assert answer is not None
        assert answer.status == 403

    def close(self) -> None:
        self.context.close()
