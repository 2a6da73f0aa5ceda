"""Parts that update by themselves: how often they ask, what a person does there meanwhile, and what is announced."""

from __future__ import annotations

from collections import Counter

import pytest
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, Request, Route, expect

from customers.models import Account, Customer, Operation
from tests.customers.conftest import Desk
from tests.support import samples
from tests.support.browser import IN_A_BROWSER, Seat
from tests.support.factories import AccountFactory, OperationFactory

MINUTE = 60_000
pytestmark = [*IN_A_BROWSER, pytest.mark.long]


@pytest.fixture
def seat(seat: Seat) -> Seat:
    """A browser whose clock a test can move."""
    seat.page.clock.install()
    return seat


def operations(count: int, state: str = "queued") -> list[Operation]:
    return [OperationFactory(account=AccountFactory(customer__company_name=f"Larkfield {n}"), state=state)
            for n in range(count)]  # fmt: skip


def ended(operation: Operation) -> None:
    Operation.objects.filter(pk=operation.pk).update(state="succeeded", finished_at=timezone.now())


def pass_time(page: Page, milliseconds: int) -> None:
    """Let the page's clock run, in steps in which answers arrive."""
    for _ in range(milliseconds // 500):
        page.clock.run_for(500)
        while page.evaluate("document.querySelector('.htmx-request') !== null"):
            page.wait_for_load_state()


def stop_clock(page: Page) -> None:
    """From now on the page's time passes in `pass_time` alone, however slow the machine is: what is announced stays for
    ten seconds, and what is asked for is counted by the minute."""
    page.clock.pause_at(page.evaluate("Date.now()") + 10_000)  # it must be ahead when the browser hears of it


def all_are_due(page: Page) -> None:
    """Make each part of the page due. Polls become rarer without news, and a slow machine had time for many."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


class Asked:
    """The requests of a page from now on."""

    def __init__(self, page: Page) -> None:
        self.seen: list[str] = []
        page.on("request", self._see)

    def _see(self, request: Request) -> None:
        self.seen.append(request.url.split("?")[0])


def heap(page: Page) -> int:
    """The bytes that the page's script holds, after its collector ran."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    return int(session.send("Runtime.getHeapUsage")["usedSize"])


@pytest.mark.parametrize("name", ["operations", "list"])
def test_a_list_asks_at_most_thirty_times_a_minute(seat: Seat, name: str) -> None:
    """50 operations run in a visible tab and in hidden ones; `make proof` has 20 tabs and ten minutes."""
    tabs, minutes = (20, 10) if samples.is_proof() else (3, 2)
    shown = operations(50)
    pages = [seat.page, *(seat.page.context.new_page() for _ in range(tabs - 1))]
    for page in pages:
        if page is not seat.page:
            page.clock.install()
            page.add_init_script("Object.defineProperty(document, 'hidden', {get: () => true})")
        page.goto(seat.url + reverse(f"customers:{name}"))
        stop_clock(page)
        pass_time(page, 2000)
    asked = [Asked(page) for page in pages]
    nodes: list[int] = []
    held: list[int] = []
    for minute in range(minutes):
        for second in range(0, 60, 2):
            name_now = f"Larkfield {minute} {second}"  # there is news each time, so it never slows down
            Customer.objects.filter(pk=shown[0].account.customer_id).update(company_name=name_now)
            pass_time(seat.page, 2000)
        for page in pages[1:]:
            pass_time(page, MINUTE if samples.is_proof() else 5000)
        assert 20 <= len(asked[0].seen) <= 30, Counter(asked[0].seen)
        assert [each.seen for each in asked[1:]] == [[]] * (tabs - 1)
        asked[0].seen.clear()
        nodes.append(seat.page.evaluate("document.querySelectorAll('main *').length"))
        held.append(heap(seat.page))
    assert nodes == [nodes[0]] * minutes
    if samples.is_proof():  # in the first minutes much is compiled
        assert held[-1] < held[2] * 1.25, held
    pass_time(seat.page, MINUTE)
    assert len(asked[0].seen) <= 14, "nothing changed, so it asks less and less often"


def test_a_hidden_tab_asks_nothing_and_looks_at_once_when_shown(seat: Seat) -> None:
    (operation,) = operations(1)
    page = seat.page
    page.goto(seat.url + reverse("customers:operations"))
    pass_time(page, 1000)
    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => window.away})")
    page.evaluate("window.away = true")
    asked = Asked(page)
    pass_time(page, 10_000)
    assert asked.seen == []
    stop_clock(page)  # no timer looks
    ended(operation)
    with page.expect_response("**/operations/?rows=*"):
        page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.resume()
    expect(page.get_by_role("row").filter(has_text="Larkfield 0")).to_contain_text("Succeeded")


def test_a_row_is_updated_and_announced_once_and_its_tick_stays(seat: Seat, desk: Desk) -> None:
    first, _second = operations(2)
    page = seat.page
    page.goto(seat.url + reverse("customers:list"))
    page.get_by_label("Select Larkfield 0").check()
    page.get_by_label("Select Larkfield 1").check()
    page.get_by_label("Select Larkfield 1").focus()
    stop_clock(page)
    with transaction.atomic():  # the page may look at any moment
        ended(first)
        Account.objects.filter(pk=first.account_id).update(state="stopped_by_us")
    all_are_due(page)
    pass_time(page, 5000)
    row = page.get_by_role("row").filter(has_text="Larkfield 0")
    expect(row).to_contain_text("Suspended")
    expect(page.locator("#announcer p")).to_have_count(1)
    expect(page.locator("#announcer")).to_contain_text("Larkfield 0")
    expect(page.get_by_label("Select Larkfield 0")).to_be_checked()
    expect(page.get_by_label("Select Larkfield 1")).to_be_checked()
    expect(page.get_by_label("Select Larkfield 1")).to_be_focused()
    pass_time(page, 3000)
    expect(page.locator("#announcer p")).to_have_count(1)


def test_news_is_announced_though_a_person_acts_meanwhile(seat: Seat) -> None:
    """Between the moment that an answer is shown and that it has settled, the answer of another part settles."""
    (operation,) = operations(1)
    page = seat.page
    page.goto(seat.url + reverse("customers:operations"))
    stop_clock(page)
    pass_time(page, 3000)
    ended(operation)
    page.evaluate("htmx.config.defaultSettleDelay = 5000")
    with page.expect_request("**/operations/?rows=*"):
        all_are_due(page)
        page.clock.run_for(3000)
    expect(page.get_by_role("row").filter(has_text="Larkfield 0")).to_contain_text("Succeeded")
    page.evaluate("htmx.config.defaultSettleDelay = 0")
    suspend = reverse("customers:account-suspend", args=[operation.account.public_id])
    page.evaluate("path => htmx.ajax('GET', path, '#dialog')", suspend)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.clock.run_for(5000)
    expect(page.locator("#announcer")).to_contain_text("Larkfield 0, Suspend: Succeeded")


def test_a_card_leaves_focus_selection_and_menu_alone(seat: Seat, desk: Desk) -> None:
    account = desk.created()
    operation = OperationFactory(account=account, kind="suspend", state="queued", requested_by=desk.person)
    page = seat.open("account", account)
    cancel = page.get_by_role("button", name="Cancel operation")
    cancel.focus()
    stop_clock(page)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.pk-card a.pk-mono'))")
    pass_time(page, 7000)
    expect(cancel).to_be_focused()
    assert page.evaluate("getSelection().toString().trim()") == operation.code
    page.get_by_label("More actions").click()
    ended(operation)
    all_are_due(page)
    pass_time(page, 9000)
    expect(cancel).to_be_hidden()
    expect(page.get_by_role("link", name="Delete account")).to_be_visible()
    expect(page.locator("#announcer")).to_contain_text("Succeeded")


def test_what_is_not_updated_says_so_until_it_is(seat: Seat) -> None:
    operations(1)
    page = seat.page
    page.goto(seat.url + reverse("customers:operations"))
    stop_clock(page)
    all_are_due(page)
    pass_time(page, 1000)
    page.context.set_offline(True)
    pass_time(page, 5000)
    expect(page.locator("#stale")).to_contain_text("Not updated since")
    expect(page.locator("#stale")).to_be_visible()
    page.context.set_offline(False)
    page.evaluate("window.dispatchEvent(new Event('online'))")
    pass_time(page, 5000)
    expect(page.locator("#stale")).to_be_hidden()


def test_after_signing_in_again_elsewhere_it_goes_on(seat: Seat, desk: Desk) -> None:
    account = desk.created()
    OperationFactory(account=account, kind="suspend", state="queued", requested_by=desk.person)
    page = seat.open("account", account)
    page.get_by_label("Note").fill("Called at noon.")  # else the page would lead to sign-in
    stop_clock(page)
    all_are_due(page)
    cookies = page.context.cookies()
    page.context.clear_cookies()
    pass_time(page, 5000)
    expect(page.locator("#stale")).to_contain_text("You've been signed out")
    expect(page.locator("#stale").get_by_role("link", name="Sign in")).to_have_attribute("target", "_blank")
    page.context.add_cookies(cookies)  # type: ignore[arg-type]
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    pass_time(page, 5000)
    expect(page.locator("#stale")).to_be_hidden()
    expect(page.get_by_label("Note")).to_have_value("Called at noon.")


def test_of_two_answers_the_one_asked_for_last_stays(seat: Seat) -> None:
    operations(2)
    page = seat.page
    held: list[Route] = []
    page.goto(seat.url + reverse("customers:operations"))
    page.route("**/operations/?state=queued*", lambda route: held.append(route))  # noqa: PLW0108  Playwright marks it
    page.get_by_text("State", exact=True).first.click()
    page.get_by_role("link", name="Queued", exact=True).click()
    page.wait_for_function("document.querySelector('.htmx-request')")
    page.get_by_text("Type", exact=True).first.click()
    page.locator(".pk-menu").get_by_role("link", name="Suspend", exact=True).click()
    expect(page).to_have_url(seat.url + reverse("customers:operations") + "?kind=suspend")
    for route in held:
        route.continue_()
    page.wait_for_load_state("networkidle")
    expect(page).to_have_url(seat.url + reverse("customers:operations") + "?kind=suspend")
    expect(page.get_by_label("Remove filter: Type")).to_be_visible()


@pytest.mark.parametrize(
    ("end", "seconds"),
    [("document.querySelector('.pk-card[data-poll]').remove()", 12), ("true", 40)],
    ids=["removed", "unanswered"],
)
def test_a_poll_whose_end_is_not_heard_does_not_end_all(seat: Seat, desk: Desk, end: str, seconds: int) -> None:
    account = desk.created()
    OperationFactory(account=account, state="queued")
    seat.page.route("**/progress/**", lambda _route: None)  # it never answers
    page = seat.open("account", account)
    with page.expect_request("**/progress/**"):
        page.clock.run_for(4000)
    expect(page.locator(".pk-card[data-poll]")).to_have_count(1)
    page.evaluate(end)
    with page.expect_request("**"):
        page.clock.run_for(seconds * 1000)


def test_a_link_that_left_the_page_does_not_end_the_polls(seat: Seat, desk: Desk) -> None:
    account = desk.created()
    OperationFactory(account=account, state="queued")
    page = seat.open("account", account)
    page.route("**/never/", lambda _route: None)  # it never answers
    page.evaluate("""() => {
        const link = document.createElement("a");
        link.setAttribute("hx-get", "/never/"), link.setAttribute("hx-target", "#main");
        document.body.append(link);
        htmx.process(link);
        link.click();
        link.remove();
    }""")
    with page.expect_request("**/progress/**"):
        page.clock.run_for(5000)


def test_what_loads_later_is_not_ended_by_a_poll_around_it(seat: Seat, desk: Desk) -> None:
    held: list[Route] = []
    seat.page.route("**/panel/", lambda route: held.append(route))  # noqa: PLW0108  Playwright marks it
    page = seat.open("account", desk.created())
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.evaluate("""() => {
        const part = document.createElement("div"), of = (name, value) => part.setAttribute(name, value);
        part.id = "around";
        of("hx-get", location.pathname), of("hx-trigger", "poll"), of("hx-target", "#account-main");
        of("hx-select", "#account-main"), of("hx-swap", "morph"), of("data-poll", "2");
        document.querySelector("#account-main").prepend(part);
        htmx.process(part);
    }""")
    with page.expect_response(lambda answer: answer.request.headers.get("hx-target") == "account-main"):
        for _ in range(10):
            page.clock.run_for(500)
    assert (len(held), failed) == (1, [])
    held[0].continue_()
    expect(page.locator("#account-main .pk-late-use")).to_have_count(0)


def test_a_form_on_its_way_stays_locked_when_its_part_is_updated(seat: Seat, desk: Desk) -> None:
    account = desk.created()
    OperationFactory(account=account, state="queued")
    page = seat.open("account", account)
    expect(page.get_by_role("button", name="Cancel operation")).to_be_visible()
    stop_clock(page)
    all_are_due(page)
    page.evaluate("document.querySelector('form[action*=cancel]').dataset.sending = ''")
    pass_time(page, 5000)
    assert page.evaluate("document.querySelectorAll('form[action*=cancel][data-sending]').length") == 1
