"""Script strings in every text field of every model, in Chromium: whatever page is opened, nothing of them runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Browser, Error, Page

from tests.customers.conftest import Desk, desk  # noqa: F401 - a fixture
from tests.house.hostile import Attempt, World
from tests.house.scripts import MARK, SCRIPTS, addresses, fill_empty_tables, plant, refresh_keys
from tests.support.browser import IN_A_BROWSER
from tests.support.people import sign_in
from tests.support.samples import is_proof, sample

pytestmark = [*IN_A_BROWSER, pytest.mark.long]
# What a string that ran would have left. `javascript:` links and handlers of a click are found without a click.
LEFT_BEHIND = """() => {
    const found = [];
    if (window.zqx !== undefined && !(window.zqx instanceof Element) && !(window.zqx instanceof HTMLCollection)) {
        found.push("a variable");
    }
    if (document.getElementById("zqx")) { found.push("an element"); }
    if (document.querySelector("base, iframe, object, embed, meta[http-equiv]")) { found.push("an embedded page"); }
    for (const each of document.querySelectorAll("*")) {
        for (const { name, value } of each.attributes) {
            if (name.startsWith("on") || name.startsWith("hx-on")) { found.push(`${name}=${value}`); }
            if (["href", "src", "action", "formaction"].includes(name) && /^\\s*(javascript|data:text)/i.test(value)) {
                found.push(`${name}=${value}`);
            }
        }
    }
    return found;
}"""


class Watched:
    """A page, and what it did that no page of the portal does."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.found: list[str] = []
        self.shown = False
        page.on("dialog", self._dialog)
        page.on("request", self._request)
        page.on("console", lambda each: self.found.append(each.text) if "Security Policy" in each.text else None)

    def _dialog(self, dialog: Any) -> None:
        self.found.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        strange = not request.url.startswith((self.url, "data:image/"))
        if strange or "zqx-beacon" in request.url.split("?")[0]:
            self.found.append(f"request {request.url}")

    def open(self, path: str) -> list[str]:
        """Open a page, go through its fields, and return what happened."""
        self.found, self.shown = [], False
        self.page.goto(self.url + path, wait_until="load")
        for _ in range(3):
            self.page.keyboard.press("Tab")
        if self.page.url != self.url + path:
            self.page.wait_for_load_state("networkidle")  # it led elsewhere
        try:
            self.shown = MARK in self.page.content()
            return [*self.found, *self.page.evaluate(LEFT_BEHIND)]
        except Error as error:  # it is led elsewhere at this moment
            return [*self.found, str(error)]


def is_page(world: World, url: str) -> bool:
    """Return whether a browser shows the answer: a refusal without a text and a file are none."""
    reply = world.send(Attempt("admin", "GET", url, [], b"", {}))
    return bool(reply.page) and any(value.startswith("text/html") for _, value in reply.headers)


@pytest.fixture(params=[True, False], ids=["without the policy", "with the policy"])
def watched(request: pytest.FixtureRequest, browser: Browser, live_server: Any, desk: Desk) -> Iterator[Watched]:  # noqa: F811
    """Without the content policy only what is escaped keeps a string from running; with it, what it stops is told."""
    context = browser.new_context(bypass_csp=request.param, accept_downloads=False)
    yield Watched(context.new_page(), live_server.url)
    context.close()


def test_nothing_runs_in_any_page(watched: Watched, desk: Desk) -> None:  # noqa: F811 - the fixture
    """A few strings on some pages; in `make proof` all thirty on all of them."""
    world = World(desk)
    fill_empty_tables()
    cookies = sign_in(Client(), world.people["admin"]).cookies
    watched.page.context.add_cookies(
        [{"name": name, "value": each.value, "url": watched.url} for name, each in cookies.items()]
    )
    broken, shown = [], 0
    for n in sample(range(0, len(SCRIPTS), 5), 1, name="script strings of a browser"):
        plant(n)
        refresh_keys(world)
        for name, url in sample(addresses(world), 40, name="pages"):
            if not is_page(world, url):
                continue
            broken += [f"{name} {url}: {each}" for each in watched.open(url)]
            shown += watched.shown
    print(f"{shown} pages show a string")  # noqa: T201
    assert not broken, "\n".join(broken)
    assert shown > (200 if is_proof() else 5)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.sample(6)
def test_a_string_that_is_not_escaped_is_noticed(watched: Watched, script: str) -> None:
    """The same page with the string in it as it is, beside a field, in an attribute and in a link."""
    within = f'<p title="{script}"></p><p title=\'{script}\'></p><a href="{script}">x</a>'
    page = f"<title>{script}</title><p>{script}</p>{within}"

    def answer(route: Any) -> None:
        route.fulfill(body=f"<!doctype html><body>{page}<textarea>{script}</textarea>", content_type="text/html")

    watched.page.route("**/planted/", answer)
    assert watched.open("/planted/")
