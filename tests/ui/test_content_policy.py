"""The content policy in a real browser: every page works under it, and what is injected neither runs nor stays unknown.

A violation is heard in the page at once; Chromium sends its report soon after (--short-reporting-delay)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.urls import get_resolver
from playwright.sync_api import Page, expect

from portal.access.models import User
from portal.access.role_matrix import PAGES
from portal.browser_reports.models import BrowserReport
from tests.customers.conftest import Desk, desk  # noqa: F401 - a fixture
from tests.house.hostile import World, _routes
from tests.support.browser import IN_A_BROWSER, Seat

pytestmark = IN_A_BROWSER
LISTEN = """
  window.violations = [];
  document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.effectiveDirective));
  window.ran = [];
  window.parse = (text) => new DOMParser().parseFromString(text, "text/html");
  window.add = (name, facts) => {
    const each = Object.assign(document.createElement(name), facts);
    document.body.append(each);
    return each;
  };
"""
# What an attacker may get into a page, as a script of ours that was led astray would put it there.
TRUSTED = "require-trusted-types-for"
INJECTED = {
    "an inline script": ("add('script', {text: 'ran.push(1)'})", TRUSTED),
    "a script of another host": ("add('script', {src: 'http://localhost:9/x.js'})", TRUSTED),
    "a handler": ("document.body.setAttribute('onclick', 'ran.push(1)'); document.body.click()", TRUSTED),
    "an inline style": ("document.body.setAttribute('style', 'color: red')", "style-src-attr"),
    "a style element": ("add('style', {textContent: 'body { color: red }'})", "style-src-elem"),
    "a link that is a script": ("add('a', {href: 'javascript:ran.push(1)'}).click()", "script-src-elem"),
    "eval": ("eval('ran.push(1)')", TRUSTED),
    "a function from text": ("new Function('ran.push(1)')()", TRUSTED),
    "innerHTML": ("document.body.innerHTML = '<img src=x onerror=ran.push(1)>'", TRUSTED),
    "insertAdjacentHTML": ("document.body.insertAdjacentHTML('beforeend', '<b>x</b>')", TRUSTED),
    "a frame's document": ("document.createElement('iframe').srcdoc = '<b>x</b>'", TRUSTED),
    "document.write": ("document.write('<b>x</b>')", TRUSTED),
    "a parsed handler": ("parse('<img src=x onerror=ran.push(1)>')", TRUSTED),
    "a handler in a template": ("parse('<template><b onclick=x></b></template>')", TRUSTED),
    "a script that is parsed": ("Document.parseHTMLUnsafe('<script>ran.push(1)</script>')", TRUSTED),
    "a parsed link": (r"document.createRange().createContextualFragment('<a href=\" java\tscript:1\">')", TRUSTED),
    "another policy": ("trustedTypes.createPolicy('own', {createHTML: (text) => text})", "trusted-types"),
    "the policy once more": ("trustedTypes.createPolicy('default', {createHTML: (text) => text})", "trusted-types"),
    "a request elsewhere": ("fetch('http://localhost:9/')", "connect-src"),
    "a frame": ("add('iframe', {src: '/'})", "frame-src"),
    "a base address": ("add('base', {href: 'http://localhost:9/'})", "base-uri"),
}


@pytest.fixture
def admin(live_server: Any, page: Page, desk: Desk) -> Iterator[Seat]:  # noqa: F811 - the fixture
    User.objects.filter(pk=desk.person.pk).update(role="admin")
    desk.person.refresh_from_db()
    seat = Seat(page, live_server, desk)
    yield seat
    assert seat.complaints == []


def violations(page: Page) -> list[str]:
    return page.evaluate("window.violations")  # type: ignore[no-any-return]


def until(page: Page, is_there: Callable[[], object]) -> None:
    """Wait in the page: what Playwright waits for there, it evaluates from text, which the policy refuses."""
    for _ in range(300):
        if is_there():
            return
        page.wait_for_timeout(100)
    raise AssertionError(violations(page))


def reported(directive: str) -> bool:
    return BrowserReport.objects.filter(directive=directive).exists()


@pytest.mark.long
def test_every_page_works_without_a_violation(admin: Seat, desk: Desk) -> None:  # noqa: F811 - the fixture
    """Every route that answers a page, as an admin; those of the navigation are among them."""
    world, page, seen = World(desk), admin.page, set()
    page.add_init_script(LISTEN)
    for name, pattern, converters in _routes(get_resolver()):
        for url in world._urls(name, pattern, converters):
            answer = page.request.get(admin.url + url, max_redirects=0)
            if answer.status != 200 or not answer.headers["content-type"].startswith("text/html"):
                continue
            if "attachment" in answer.headers.get("content-disposition", ""):
                continue
            page.goto(admin.url + url)
            until(page, lambda: page.locator(".htmx-request").count() == 0)
            assert violations(page) == [], url
            seen.add(name)
    assert {name for name, _label in PAGES} <= seen
    assert len(seen) > 90, sorted(seen)
    assert not BrowserReport.objects.exists()


def test_answers_are_swapped_under_trusted_types(admin: Seat) -> None:
    page = admin.page
    page.add_init_script(LISTEN)
    page.goto(f"{admin.url}/audit/")
    assert page.evaluate("typeof trustedTypes.defaultPolicy?.createHTML") == "function"
    page.evaluate("htmx.ajax('GET', '/audit/?customer=nobody', '#list')")
    expect(page.locator("#list")).to_contain_text("Clear filters")
    page.evaluate("document.querySelector('#list').setAttribute('hx-preserve', '')")
    page.evaluate("htmx.ajax('GET', '/help/', {target: '#list', select: '#main', swap: 'innerHTML'})")
    expect(page.locator("#list > #main")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("what", INJECTED)
def test_what_is_injected_does_not_run(page: Page, live_server: Any, what: str) -> None:
    script, directive = INJECTED[what]
    page.add_init_script(LISTEN)
    page.goto(f"{live_server.url}/sign-in/")
    # Not at once: what the test runs itself may use eval.
    page.evaluate(f"() => {{ setTimeout(() => {{ try {{ {script} }} catch {{ /* refused */ }} }}) }}")
    until(page, lambda: violations(page))
    assert directive in violations(page)
    assert page.evaluate("window.ran") == []
    assert page.evaluate("getComputedStyle(document.body).color") != "rgb(255, 0, 0)"


@pytest.mark.long
def test_what_is_injected_is_reported(page: Page, live_server: Any) -> None:
    page.add_init_script(LISTEN)
    page.goto(f"{live_server.url}/sign-in/")
    page.evaluate("document.body.setAttribute('style', 'color: red')")
    page.evaluate("() => { try { document.body.innerHTML = '<b>x</b>' } catch { /* refused */ } }")
    until(page, lambda: reported("style-src-attr") and reported("require-trusted-types-for"))
    row = BrowserReport.objects.get(directive="require-trusted-types-for")
    assert (row.page, row.browser, row.is_extension) == ("account_login", "Chrome", False)


def test_a_page_with_injected_markup_runs_nothing(page: Page, live_server: Any) -> None:
    """Markup that a template failed to escape: the parser of the page itself, which asks no script of ours."""
    evil = ("<script>ran.push(1)</script><img src=x onerror=ran.push(1)><svg onload=ran.push(1)></svg>"
            "<a id=evil href='javascript:ran.push(1)'>x</a><b style='color: red'>x</b>")  # fmt: skip

    def planted(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("</main>", f"{evil}</main>"))

    page.add_init_script(LISTEN)
    page.route("**/sign-in/", planted)
    page.goto(f"{live_server.url}/sign-in/")
    page.click("#evil")
    until(page, lambda: len(violations(page)) >= 5)
    assert {"script-src-elem", "script-src-attr", "style-src-attr"} <= set(violations(page))
    assert page.evaluate("window.ran") == []
