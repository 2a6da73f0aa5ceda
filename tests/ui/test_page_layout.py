"""What one sees of a page: nothing covered, cut, pushed aside or moved, on every screen and on paper."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from billing.usage.period_ends import assess_due
from customers.models import Account, ChangeSet, ChangeSetItem, Operation, RemoteAccount, Step
from customers.models.operation import Attempt
from portal.access.models import User
from portal.audit.recording import record
from tests.billing.reports.test_views import NOW, an_account, read
from tests.support.factories import (
    ADDON,
    PACKAGE,
    SMALLER,
    AccountFactory,
    ConnectionFactory,
    CustomerFactory,
    OfferingFactory,
    OperationFactory,
    UserFactory,
)
from tests.support.people import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# One word each, as long as its field takes; wide letters.
COMPANY, CONNECTION, WORD = "Wm" * 90, "Wm" * 34 + "W", "Wm" * 60
EMAIL = f"{'wm' * 32}@{'wm' * 30}.{'wm' * 30}.example"


@pytest.fixture(autouse=True)
def _now(time_machine: Any) -> None:
    time_machine.move_to(NOW)


class Screen:
    """An admin's browser."""

    def __init__(self, page: Page, url: str, person: User) -> None:
        self.page, self.url, self.person = page, url, person
        cookies = sign_in(Client(), person).cookies
        page.context.add_cookies([{"name": name, "value": each.value, "url": url} for name, each in cookies.items()])

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    def size(self, width: int, height: int = 900) -> None:
        self.page.set_viewport_size({"width": width, "height": height})


@pytest.fixture
def screen(page: Page, live_server: Any) -> Screen:
    return Screen(page, live_server.url, UserFactory(role="admin", email="admin@postkeeper.example"))


def unbroken(person: User) -> dict[str, Account | Operation | ChangeSet]:
    """Make one of everything that shows a text, each text one long word."""
    owner = UserFactory(name=WORD[:120], email=EMAIL.replace("wm", "mw", 1))
    connection = ConnectionFactory(name=CONNECTION)
    for name, kind in ((PACKAGE, "package"), (SMALLER, "package"), (ADDON, "addon")):
        OfferingFactory(connection=connection, name=name, type=kind)
    customer = CustomerFactory(
        company_name=COMPANY, email=EMAIL, owner=owner, external_reference=WORD[:100], tags=[WORD[:40]] * 2,
        first_name=WORD[:100], website=f"https://{'wm' * 30}.example", may_be_bare=False,
    )  # fmt: skip
    account = AccountFactory(customer=customer, connection=connection, v2_username=WORD[:100])
    other = AccountFactory(customer=customer, connection=connection, desired_state="stopped_by_us")  # a drift, too
    done = OperationFactory(
        account=account, state="failed", requested_by=owner, reason=WORD * 3, summary=WORD * 3, error_kind="rejected"
    )
    Step.objects.create(operation=done, n=1, after="failed", at=timezone.now(), by=owner, note=WORD * 3)
    Attempt.objects.create(
        operation=done, n=1, fence=1, call=f"POST /{WORD}", request=WORD * 3, intended_at=timezone.now(),
        outcome="rejected", status=400, provider_request_id=WORD[:120], response=WORD * 3, message=WORD * 3,
        answered_at=timezone.now(),
    )  # fmt: skip
    unsure = OperationFactory(
        account=AccountFactory(customer=customer, connection=connection, pending=True), kind="create",
        state="needs_attention", requested_by=owner, reason=WORD, summary=WORD,
        result={"candidates": [{"provider_id": WORD[:100], "email": EMAIL, "offerings": "same", "verdict": "match"}]},
    )  # fmt: skip
    running = OperationFactory(account=account, requested_by=owner, reason=WORD, state="queued")
    RemoteAccount.objects.create(
        connection=connection, provider_id=WORD[:100], email=EMAIL, name=WORD, website=WORD, last_seen_at=timezone.now()
    )
    bulk = ChangeSet.objects.create(
        kind="tag_add", wanted={"tag": WORD[:40]}, reason=WORD, requested_by=owner, client_token=uuid4().hex,
        created_at=timezone.now(), not_before=timezone.now(), state="waiting", message=WORD, plan_hash="0" * 64,
    )  # fmt: skip
    ChangeSetItem.objects.create(
        change_set=bulk, account=account, version=1, was=WORD, becomes=WORD, note=WORD, warnings=[WORD], state="ready"
    )
    record(
        actor=owner, verb="account.suspend_asked", obj=account, before={WORD[:60]: WORD}, after={WORD[:60]: WORD},
        reason=WORD,
    )  # fmt: skip
    return {"account": account, "done": done, "unsure": unsure, "running": running, "bulk": bulk, "other": other}


def pages_of(made: dict[str, Any]) -> list[str]:
    account, customer = made["account"], made["account"].customer
    named = [
        reverse(f"customers:{name}")
        for name in ("list", "operations", "drift", "orphans", "bulk-list", "connections", "coming", "create")
    ]
    of_account = [
        reverse(f"customers:{name}", args=[account.public_id])
        for name in ("account", "account-offerings", "account-suspend", "account-keys", "account-operations")
    ]
    return [
        "/", *named, *of_account, customer.get_absolute_url(), reverse("customers:edit", args=[customer.public_id]),
        *(reverse("customers:operation", args=[made[each].public_id]) for each in ("done", "unsure", "running")),
        made["bulk"].get_absolute_url(), reverse("customers:connection", args=[account.connection.public_id]),
        reverse("billing:usage"), reverse("billing:account-usage", args=[account.public_id]), reverse("billing:runs"),
        reverse("audit:access"), reverse("customers:keys"), reverse("customers:keys-change"),
        reverse("retention:rules"), reverse("retention:rule", args=["notices"]), reverse("privacy:list"),
        reverse("privacy:search"), reverse("browser-reports:list"),
        reverse("audit:list"), reverse("access:staff"), reverse("access:staff-member", args=[customer.owner.public_id]),
    ]  # fmt: skip


# What reaches beyond its place: the page beyond the window, a table beyond its region, and a text beyond its box.
BEYOND = """() => {
  const page = document.documentElement.scrollWidth, found = page > innerWidth ? [`the page is ${page} wide`] : [];
  const name = (each) => `${each.tagName} ${each.className}`;
  for (const each of document.querySelectorAll(".pk-scroll, .pk-rail, .pk-dialog, .pk-dialog-body"))
    if (each.checkVisibility() && each.scrollWidth > each.clientWidth + 1)
      found.push(`${name(each)} is ${each.scrollWidth} in ${each.clientWidth}`);
  for (const each of document.querySelectorAll("body *")) {
    if (!each.checkVisibility() || each.closest(".pk-sr, .pk-scroll, .pk-rail, .pk-tabs, .pk-chips, svg")) continue;
    const end = Math.floor(each.getBoundingClientRect().right);
    if (end > innerWidth) found.push(`${name(each)} ends at ${end}`);
  }
  return found.slice(0, 4);
}"""


@pytest.mark.long
def test_no_text_widens_a_page_or_a_table(screen: Screen) -> None:
    made = unbroken(screen.person)
    found: dict[tuple[str, int], list[str]] = {}
    for path in pages_of(made):
        page = screen.open(path)
        expect(page.locator(".pk-rail-conns")).to_contain_text(CONNECTION)
        for width in (390, 1232, 1440):
            screen.size(width)
            found[path, width] = page.evaluate(BEYOND)
    assert {place: beyond for place, beyond in found.items() if beyond} == {}


@pytest.mark.parametrize("height", [900, 768, 640])
def test_the_menu_to_sign_out_stays_in_sight(screen: Screen, height: int) -> None:
    screen.size(1440, height)
    page = screen.open("/")
    expect(page.locator(".pk-me summary")).to_be_in_viewport(ratio=1)
    page.locator(".pk-me summary").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_in_viewport(ratio=1)
    page.get_by_role("link", name="Personal data").scroll_into_view_if_needed()
    expect(page.get_by_role("link", name="Personal data")).to_be_in_viewport(ratio=1)


def test_no_text_widens_a_dialog(screen: Screen) -> None:
    account = unbroken(screen.person)["other"]
    page = screen.open(reverse("customers:account", args=[account.public_id]))
    page.get_by_role("link", name="Suspend", exact=True).click()
    expect(page.get_by_role("dialog").locator(":focus")).to_have_count(1)
    for width in (1440, 390):
        screen.size(width)
        assert page.evaluate(BEYOND) == []


# The markup of the focused element where something lies over all of it, else ""; null at the end of a round.
COVERED = """(round) => {
  const focused = document.activeElement, places = [0.02, 0.25, 0.5, 0.75, 0.98];
  if (focused === document.body || focused.dataset.round === round) return null;
  focused.dataset.round = round;
  const box = (focused.matches(".pk-tick") && focused.closest("label") || focused).getBoundingClientRect();
  for (const across of places) for (const down of places) {
    const there = document.elementFromPoint(box.left + box.width * across, box.top + box.height * down);
    if (there && (focused.contains(there) || there.closest("label")?.contains(focused))) return "";
  }
  return focused.outerHTML.slice(0, 120);
}"""


def long_pages() -> dict[str, str]:
    connection = ConnectionFactory()
    for name, kind in ((PACKAGE, "package"), (SMALLER, "package"), (ADDON, "addon")):
        OfferingFactory(connection=connection, name=name, type=kind)
    accounts = AccountFactory.create_batch(50, connection=connection)
    unsure = OperationFactory(
        account=AccountFactory(connection=connection, pending=True), kind="create", state="needs_attention"
    )
    return {
        "customers": reverse("customers:list") + "?size=50",
        "usage": reverse("billing:usage") + "?size=50",
        "operation": reverse("customers:operation", args=[unsure.public_id]),
        "offerings": reverse("customers:account-offerings", args=[accounts[0].public_id]),
    }


@pytest.mark.long
@pytest.mark.parametrize("width", [1440, 390])
def test_what_has_the_focus_is_never_covered(screen: Screen, width: int) -> None:
    screen.size(width, 700)
    for path in long_pages().values():
        page = screen.open(path)
        for key in ("Tab", "Shift+Tab"):
            page.evaluate("document.activeElement.blur()")
            page.keyboard.press(key)
            found: list[str] = []
            while (covered := page.evaluate(COVERED, key)) is not None:
                found.append(covered)
                page.keyboard.press(key)
            assert len(found) > 8, (path, key)
            assert [each for each in found if each] == [], (path, key)


@pytest.mark.parametrize("company", ["Northwind", COMPANY], ids=["short", "long"])
def test_a_dialog_in_a_low_window_shows_its_head_and_buttons(screen: Screen, company: str) -> None:
    screen.size(640, 360)  # 1280 x 720 at 200 %
    account = AccountFactory(customer__company_name=company)
    page = screen.open(reverse("customers:account", args=[account.public_id]))
    page.get_by_role("link", name="Suspend", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading").first).to_be_focused()
    assert dialog.locator(".pk-dialog-body").evaluate("each => each.scrollTop") == 0
    assert page.evaluate(COVERED, "once") == ""
    for each in (dialog.get_by_role("heading").first, *dialog.get_by_role("button").all()):
        box = each.bounding_box()
        assert box
        assert 0 <= box["y"] < box["y"] + box["height"] <= 360
        assert each.evaluate(
            """each => {
              const box = each.getBoundingClientRect();
              return each.contains(document.elementFromPoint(box.left + 4, box.top + box.height / 2));
            }"""
        )


def reported() -> Account:
    """Make six accounts with usage in two months: under, over and without data. Returns the one that is over."""
    connection = ConnectionFactory(name="SendGrid EU (production)")
    accounts = [an_account(connection=connection, customer__external_reference=f"CRM-{n:06}") for n in range(6)]
    for account in accounts:
        october = datetime(2026, 10, 31, 23, 50, tzinfo=UTC)
        read(account, 980_412, allowed=1_000_000, at=october, start=date(2026, 10, 1), end=date(2026, 10, 31))
    for account, used in zip(accounts[:4], (1_248_390, 848_300, 48_390, 0), strict=True):
        read(account, used, allowed=1_000_000, requests=1_262_117)
    assess_due(now=NOW)
    return accounts[0]


# The width of A4 between its margins, upright and across.
PAPER = (703, 1032)
# What a cell holds beyond its own box, and the page beyond the paper.
CUT = """() => [...document.querySelectorAll("th, td, figure svg, .pk-section > *, .pk-head *")].filter((each) => {
  if (!each.checkVisibility()) return false;
  const text = document.createRange();
  text.selectNodeContents(each);
  return Math.floor(Math.max(each.getBoundingClientRect().right, text.getBoundingClientRect().right)) > innerWidth
    || each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).overflow !== "visible";
}).map((each) => each.outerHTML.slice(0, 100))"""


@pytest.mark.long
def test_paper_shows_whole_tables_and_no_controls(screen: Screen) -> None:
    account = reported()
    done = OperationFactory(account=account, state="failed", summary="SendGrid refused the change.")
    record(
        actor=screen.person, verb="account.suspend_asked", obj=account, after={"state": "suspended"}, reason="Unpaid"
    )
    page = screen.page
    for path in (
        reverse("billing:usage"), reverse("billing:account-usage", args=[account.public_id]),
        reverse("customers:account", args=[account.public_id]), account.customer.get_absolute_url(),
        reverse("customers:operation", args=[done.public_id]), reverse("customers:list"), reverse("audit:list"),
    ):  # fmt: skip
        page.emulate_media(media="screen", color_scheme="dark")
        screen.open(path)
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.emulate_media(media="print")
        page.evaluate("document.querySelectorAll('.pk-sr').forEach((each) => each.remove())")
        for width in PAPER:
            screen.size(width)
            assert page.evaluate(BEYOND) == [], path
            assert page.evaluate(CUT) == [], path
        controls = ".pk-rail, .pk-topbar, .pk-actions, .pk-toasts, .pk-tabs, button, input, .pk-icon-btn, .pk-add"
        assert page.locator(controls).locator("visible=true").count() == 0, path
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.locator("h1").is_visible()


def test_the_paper_of_usage_keeps_month_heads_and_swatches(screen: Screen) -> None:
    reported()
    page = screen.open(reverse("billing:usage"))
    page.emulate_media(media="print")
    screen.size(PAPER[0])
    expect(page.locator(".pk-head")).to_contain_text("November 2026")
    expect(page.get_by_role("columnheader").locator("visible=true")).to_have_count(8)
    style = "each => { const s = getComputedStyle(each); return [s.printColorAdjust, s.backgroundColor, s.display]; }"
    swatches = [each.evaluate(style) for each in page.locator(".pk-legend > span > span").all()]
    assert [each[0] for each in swatches] == ["exact"] * 4
    assert swatches[0][1] != swatches[1][1]
    assert page.locator("table.bl-usage thead").evaluate("e => getComputedStyle(e).display") == "table-header-group"


def test_forced_colors_tell_parts_states_and_focus_apart(screen: Screen) -> None:
    reported()
    AccountFactory(state="banned", usage_used=130_000, usage_overage=30_000)
    page = screen.page
    page.emulate_media(forced_colors="active")
    style = "([each, name]) => getComputedStyle(each)[name]"

    def of(selector: str, name: str) -> str:
        return str(page.evaluate(style, [page.locator(selector).first.element_handle(), name]))

    screen.open(reverse("billing:usage"))
    canvas, ink, highlight = (
        page.evaluate(
            """name => {
              const each = document.createElement("p");
              each.style.cssText = `forced-color-adjust: none; color: ${name}`;
              document.body.append(each);
              return getComputedStyle(each).color;
            }""",
            name,
        )
        for name in ("Canvas", "CanvasText", "Highlight")
    )
    assert len({canvas, ink, highlight}) == 3
    assert (of(".pk-key-in", "backgroundColor"), of(".pk-key-over", "backgroundColor")) == (ink, highlight)
    assert of(".pk-legend .pk-key-gap", "backgroundImage") != "none"
    assert (of("g:not(.pk-c-past) > .pk-c-in", "fill"), of("g:not(.pk-c-past) > .pk-c-over", "fill")) == (
        ink,
        highlight,
    )
    assert (of(".pk-c-past .pk-c-in", "fill"), of(".pk-c-past .pk-c-in", "stroke")) == (canvas, ink)
    assert (of(".bl-c-more", "fill"), of(".bl-c-more", "stroke")) == (canvas, ink)
    screen.open(reverse("customers:list"))
    assert (of("#pk-track .pk-track", "fill"), of(".pk-bar .pk-in", "fill")) == (canvas, ink)
    assert of(".pk-use-over .pk-over", "fill") == highlight
    assert of(".pk-s-banned.pk-fill", "borderTopStyle") == "solid"
    for selector in ("[data-search]", ".pk-table .pk-tick", ".pk-table a"):
        page.locator(selector).first.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        assert (of(selector, "outlineStyle"), of(selector, "outlineColor")) == ("solid", highlight), selector


# Answers to htmx take a second; what moves by itself is noted, with the markup of what moved.
SHIFTS = """
  const send = XMLHttpRequest.prototype.send;
  let late = 0;
  window.shifts = [];
  XMLHttpRequest.prototype.send = function (...body) {
    late += 1;
    this.addEventListener("loadend", () => { document.documentElement.dataset.late = late -= 1; });
    setTimeout(() => send.apply(this, body), 1000);
  };
  new PerformanceObserver((list) => {
    for (const each of list.getEntries())
      if (!each.hadRecentInput)
        window.shifts.push([each.value, each.sources.map((moved) => moved.node?.outerHTML?.slice(0, 80))]);
  }).observe({ type: "layout-shift", buffered: true });
"""


@pytest.mark.long
@pytest.mark.parametrize("width", [1440, 390])
def test_late_parts_move_nothing(screen: Screen, width: int) -> None:
    account = reported()
    running, unread = OperationFactory(account=account), an_account(usage_used=None, usage_allowed=None)
    page = screen.page
    page.add_init_script(SHIFTS)
    screen.size(width)
    for path in (
        reverse("customers:account", args=[account.public_id]), reverse("customers:account", args=[unread.public_id]),
        reverse("customers:list"), reverse("home"), reverse("customers:operation", args=[running.public_id]),
    ):  # fmt: skip
        screen.open(path)
        expect(page.locator("html")).to_have_attribute("data-late", "0")
        page.wait_for_timeout(300)
        shifts = page.evaluate("window.shifts")
        assert sum(value for value, _ in shifts) < 0.01, (path, shifts)
