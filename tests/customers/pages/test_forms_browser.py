"""Forms and dialogs on a slow line: what is sent once, what stays, and where the focus goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Dialog, Page, Route, expect

from customers.models import Customer, Operation
from tests.customers.conftest import Desk
from tests.support.browser import IN_A_BROWSER, Seat
from tests.support.factories import AccountFactory, UserFactory
from tests.support.people import sign_in

pytestmark = [*IN_A_BROWSER, pytest.mark.long]


class Line:
    """Holds every POST of a page back until `answer`."""

    def __init__(self, page: Page) -> None:
        self.held: list[Route] = []
        self._is_open = False
        page.route("**/*", self._hold)

    def _hold(self, route: Route) -> None:
        if route.request.method == "POST":
            self.held.append(route)
        if route.request.method != "POST" or self._is_open:
            route.continue_()

    def answer(self) -> None:
        """Let through what is held, and what the browser has sent and this process has not heard of yet."""
        self._is_open = True
        for route in list(self.held):
            route.continue_()


@pytest.fixture
def suspend(seat: Seat, desk: Desk) -> Any:
    """The dialog of a suspend, with its reason typed."""
    page = seat.open("account", desk.created())
    page.get_by_role("link", name="Suspend", exact=True).click()
    page.get_by_label("Reason").fill("Unpaid")
    return page.get_by_role("dialog")


@pytest.mark.parametrize("close", ["Escape", "Cancel", "beside"])
def test_a_dialog_that_is_being_sent_does_not_close(suspend: Any, seat: Seat, close: str) -> None:
    line, questions = Line(seat.page), []
    seat.page.on("dialog", lambda question: (questions.append(question.message), question.dismiss()))
    suspend.get_by_role("button", name="Suspend account").click()
    expect(suspend.get_by_role("status")).to_have_text("Sending…")
    if close == "Escape":
        for _ in range(3):  # of the second the browser asks nobody
            seat.page.keyboard.press("Escape")
    elif close == "Cancel":
        suspend.get_by_role("button", name="Cancel").click()
    else:
        seat.page.mouse.click(5, 5)
    expect(suspend).to_be_visible()
    assert questions == [], "what is sent can't be discarded"
    assert not Operation.objects.filter(kind="suspend").exists()
    line.answer()
    expect(suspend).to_be_hidden()
    assert Operation.objects.filter(kind="suspend").count() == 1


def test_a_second_enter_sends_nothing(suspend: Any, seat: Seat) -> None:
    line = Line(seat.page)
    send = suspend.get_by_role("button", name="Suspend account")
    send.focus()
    for _ in range(3):
        seat.page.keyboard.press("Enter")
    expect(suspend.get_by_label("Reason")).not_to_be_editable()
    expect(suspend.locator("form")).to_have_attribute("aria-busy", "true")
    line.answer()
    expect(suspend).to_be_hidden()
    assert len(line.held) == 1


def test_a_second_press_of_its_link_leaves_the_dialog_alone(seat: Seat, desk: Desk) -> None:
    page = seat.open("account", desk.created())
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "suspend" in request.url else None)
    seat.slow_down()
    link = page.get_by_role("link", name="Suspend", exact=True)
    link.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.get_by_label("Reason").fill("Unpaid")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(700)  # longer than an answer takes on this line
    expect(page.get_by_label("Reason")).to_have_value("Unpaid")
    assert len(asked) == 1


def test_typed_text_in_a_dialog_is_dropped_only_when_confirmed(suspend: Any, seat: Seat) -> None:
    said: list[str] = []

    def answer(accept: bool) -> Callable[[Dialog], None]:
        def answered(dialog: Dialog) -> None:
            said.append(dialog.message)
            dialog.accept() if accept else dialog.dismiss()

        return answered

    for _ in range(2):
        seat.page.once("dialog", answer(False))
        seat.page.keyboard.press("Escape")
    expect(suspend.get_by_label("Reason")).to_have_value("Unpaid")
    seat.page.once("dialog", answer(True))
    suspend.get_by_role("button", name="Cancel").click()
    expect(suspend).to_be_hidden()
    assert said == ["Discard what you entered?"] * 3


def test_leaving_a_page_with_a_typed_note_asks(seat: Seat, desk: Desk) -> None:
    page = seat.open("account", desk.created())
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.type), dialog.dismiss()))
    page.get_by_label("Note").fill("Called at noon.")
    with page.expect_event("dialog"):
        page.evaluate("setTimeout(() => document.querySelector('.pk-tabs a:not([aria-current])').click())")
    expect(page.get_by_label("Note")).to_have_value("Called at noon.")
    assert said == ["beforeunload"]


def test_a_note_being_typed_stays_when_a_dialog_is_sent(seat: Seat, desk: Desk) -> None:
    page = seat.open("account", desk.created())
    page.get_by_label("Note").fill("Called at noon.")
    page.get_by_role("link", name="Suspend", exact=True).click()
    page.get_by_label("Reason").fill("Unpaid")
    page.get_by_role("button", name="Suspend account").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#account-running")).to_contain_text("Queued")
    expect(page.get_by_label("Note")).to_have_value("Called at noon.")


def test_an_answer_that_never_comes_is_told(suspend: Any, seat: Seat) -> None:
    Line(seat.page)
    seat.page.evaluate("htmx.config.timeout = 800")
    suspend.get_by_role("button", name="Suspend account").click()
    expect(seat.page.locator("#toasts")).to_contain_text("hasn't responded for 30 seconds")
    expect(suspend.get_by_label("Reason")).to_have_value("Unpaid")
    expect(suspend.get_by_label("Reason")).to_be_editable()


@pytest.mark.parametrize(("status", "words"), [(400, "read this request"), (413, "too large to send")])
def test_what_is_refused_as_a_whole_says_why(suspend: Any, seat: Seat, status: int, words: str) -> None:
    seat.page.route("**/suspend/", lambda route: route.fulfill(status=status))
    suspend.get_by_role("button", name="Suspend account").click()
    expect(seat.page.locator("#toasts")).to_contain_text(words)
    expect(suspend.get_by_label("Reason")).to_have_value("Unpaid")


def test_the_server_ends_in_the_middle_of_a_send(suspend: Any, seat: Seat) -> None:
    seat.page.route("**/suspend/", lambda route: route.abort("connectionreset"))
    suspend.get_by_role("button", name="Suspend account").click()
    expect(seat.page.locator("#toasts")).to_contain_text("Postkeeper didn't respond")
    expect(suspend.get_by_label("Reason")).to_have_value("Unpaid")
    seat.page.unroute("**/suspend/")
    suspend.get_by_role("button", name="Suspend account").click()
    expect(suspend).to_be_hidden()
    assert Operation.objects.filter(kind="suspend").count() == 1


def test_enter_sends_the_form_and_not_what_is_for_no_script(seat: Seat, desk: Desk) -> None:
    page = seat.page
    page.goto(seat.url + reverse("customers:create"))
    page.get_by_label("Company").fill("Larkfield Outdoor")
    page.get_by_label("Email", exact=True).fill("mail@larkfield.example")
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.get_by_role("radio", name="No account").check()
    page.get_by_label("Company").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Larkfield Outdoor")
    assert Customer.objects.get().company_name == "Larkfield Outdoor"


def test_enter_in_the_editor_does_not_lead_to_a_preview(seat: Seat, desk: Desk) -> None:
    page = seat.open("account-offerings", desk.created())
    page.get_by_label("Quantity of Dedicated IP").fill("2")
    page.get_by_label("Quantity of Dedicated IP").press("Enter")
    page.get_by_label("I've confirmed these changes").check()
    # Until the portal has answered what changed there is nothing to send, and Enter does nothing.
    expect(page.get_by_role("button", name="Replace offerings")).to_be_enabled()
    page.get_by_label("Quantity of Dedicated IP").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Northwind")
    assert Operation.objects.filter(kind="offerings").count() == 1


def test_a_form_shown_again_with_its_errors_counts_as_typed(seat: Seat, desk: Desk) -> None:
    page = seat.page
    page.goto(seat.url + reverse("customers:create"))
    page.get_by_label("Company").fill("Larkfield Outdoor")
    page.get_by_label("Email", exact=True).fill("no address")
    page.get_by_label("Email", exact=True).press("Enter")
    expect(page.locator(".pk-form-errors")).to_be_visible()
    assert page.evaluate("document.querySelector('main form[data-changed]') !== null")


def test_a_note_is_added_once_and_the_focus_stays(seat: Seat, desk: Desk) -> None:
    page = seat.open("account", desk.created())
    page.get_by_label("Note").fill("Called at noon.")
    line = Line(page)
    page.get_by_role("button", name="Add note").press("Enter")
    page.get_by_role("button", name="Add note").press("Enter")
    expect(page.get_by_label("Note")).not_to_be_editable()
    line.answer()
    expect(page.locator("#announcer, #toasts").filter(has_text="Note added")).to_have_count(1)  # for six seconds
    expect(page.get_by_label("Note")).to_have_value("")
    expect(page.locator("#timeline")).to_contain_text("Called at noon.")
    expect(page.get_by_role("button", name="Add note")).to_be_focused()
    assert len(line.held) == 1


def test_the_focus_returns_to_the_menu_that_opened_a_dialog(seat: Seat, desk: Desk) -> None:
    page = seat.open("account", desk.created())
    menu = page.get_by_label("More actions")
    menu.press("Enter")
    page.get_by_role("link", name="Schedule change").press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(menu).to_be_focused()


def test_the_focus_stays_where_one_sorts_filters_and_pages(seat: Seat, desk: Desk) -> None:
    AccountFactory.create_batch(60)
    page = seat.page
    page.goto(seat.url + reverse("customers:list"))
    sort = page.get_by_role("columnheader").get_by_role("link", name="Customer")
    sort.press("Enter")
    expect(page.get_by_role("columnheader", name="Customer")).to_have_attribute("aria-sort", "ascending")
    expect(page.get_by_role("columnheader").get_by_role("link", name="Customer")).to_be_focused()
    page.locator("summary", has_text="State").press("Enter")
    page.locator(".pk-menu").get_by_role("link", name="Active", exact=True).press("Enter")
    expect(page.get_by_label("Remove filter: State")).to_be_focused()
    page.get_by_label("Remove filter: State").press("Enter")
    expect(page.locator("summary", has_text="State")).to_be_focused()
    page.get_by_role("link", name="Next").press("Enter")
    expect(page.get_by_role("link", name="Previous")).to_be_visible()
    expect(page.locator("#list")).to_be_focused()  # the last page has no such link


def test_another_swap_meanwhile_does_not_lose_the_focus(seat: Seat, desk: Desk) -> None:
    AccountFactory.create_batch(3)
    page = seat.page
    page.goto(seat.url + reverse("customers:list"), wait_until="networkidle")
    page.evaluate("htmx.config.defaultSettleDelay = 2000")
    sort = page.get_by_role("columnheader").get_by_role("link", name="Customer")
    sort.press("Enter")
    expect(page.get_by_role("columnheader", name="Customer")).to_have_attribute("aria-sort", "ascending")
    page.evaluate("htmx.config.defaultSettleDelay = 0")
    with page.expect_response(lambda answer: "operations" in answer.url):
        page.evaluate("htmx.trigger(document.body, 'operations-changed')")
    expect(sort).to_be_focused()


def test_a_key_pressed_before_a_part_has_settled_counts(seat: Seat, desk: Desk) -> None:
    AccountFactory.create_batch(3)
    page = seat.page
    page.goto(seat.url + reverse("customers:list"))
    page.evaluate("htmx.config.defaultSettleDelay = 60_000")
    page.get_by_role("columnheader").get_by_role("link", name="Customer").press("Enter")
    expect(page.get_by_role("columnheader", name="Customer")).to_have_attribute("aria-sort", "ascending")
    page.keyboard.press("Enter")
    expect(page.get_by_role("columnheader", name="Customer")).to_have_attribute("aria-sort", "descending")


def test_a_stepper_keeps_the_focus(seat: Seat, desk: Desk) -> None:
    page = seat.page
    page.goto(seat.url + reverse("customers:create") + f"?connection={desk.connection.public_id}")
    more = page.get_by_label("Add one Dedicated IP")
    more.focus()
    for _ in range(2):
        page.keyboard.press("Enter")
    expect(page.locator("#offering-sum")).to_contain_text("2 dedicated IPs")
    expect(more).to_be_focused()


def test_a_token_that_another_tab_renewed_is_replaced(suspend: Any, seat: Seat) -> None:
    answers: list[int] = []
    seat.page.on("response", lambda answer: answers.append(answer.status) if "suspend" in answer.url else None)
    seat.page.context.add_cookies([{"name": "csrftoken", "value": "n" * 32, "url": seat.url}])
    suspend.get_by_role("button", name="Suspend account").click()
    expect(suspend).to_be_hidden()
    assert answers[0] == 403
    assert len(answers) == 2
    assert Operation.objects.get(kind="suspend").reason == "Unpaid"


def test_after_signing_in_again_the_text_is_sent(suspend: Any, seat: Seat) -> None:
    page = seat.page
    cookies = page.context.cookies()
    page.context.clear_cookies()
    suspend.get_by_role("button", name="Suspend account").click()
    expect(page.locator("#toasts")).to_contain_text("You've been signed out. What you entered is still here.")
    expect(suspend.get_by_label("Reason")).to_have_value("Unpaid")
    for each in cookies:
        each["value"] = "n" * 32 if each["name"] == "csrftoken" else each["value"]  # as signing in does
    page.context.add_cookies(cookies)  # type: ignore[arg-type]
    suspend.get_by_role("button", name="Suspend account").click()
    expect(suspend).to_be_hidden()
    assert Operation.objects.get(kind="suspend").reason == "Unpaid"


def test_one_persons_text_is_not_sent_in_anothers_name(suspend: Any, seat: Seat) -> None:
    cookies = sign_in(Client(), UserFactory()).cookies
    seat.page.context.add_cookies([{"name": n, "value": c.value, "url": seat.url} for n, c in cookies.items()])
    seat.page.context.add_cookies([{"name": "csrftoken", "value": "n" * 32, "url": seat.url}])
    suspend.get_by_role("button", name="Suspend account").click()
    expect(seat.page.locator("#toasts")).to_contain_text("You've been signed out. What you entered is still here.")
    expect(suspend.get_by_label("Reason")).to_have_value("Unpaid")
    assert not Operation.objects.filter(kind="suspend").exists()


def test_a_preview_comes_after_a_renewed_token(seat: Seat, desk: Desk) -> None:
    page = seat.open("account-offerings", desk.created())
    page.context.add_cookies([{"name": "csrftoken", "value": "n" * 32, "url": seat.url}])
    page.get_by_text("Free 100").click()
    expect(page.get_by_text("The account will lose")).to_be_visible()


def test_what_is_said_outlives_the_content_of_the_dialog(suspend: Any, seat: Seat) -> None:
    page = seat.page
    page.route("**/suspend/", lambda route: route.abort("connectionreset"))
    suspend.get_by_role("button", name="Suspend account").click()
    expect(page.locator("#toasts")).to_contain_text("Postkeeper didn't respond")
    page.unroute("**/suspend/")
    suspend.get_by_label("Reason").fill("")
    page.evaluate("portal.announce('News')")
    suspend.get_by_role("button", name="Suspend account").click()
    expect(suspend.locator(".pk-form-errors, .pk-errors").first).to_be_visible()
    expect(suspend.locator("#toasts")).to_contain_text("Postkeeper didn't respond")
    page.evaluate("portal.announce('More news')")
    page.once("dialog", lambda asked: asked.accept())
    page.keyboard.press("Escape")
    expect(suspend).to_be_hidden()
    expect(page.locator("#announcer")).to_contain_text("More news")
    expect(page.locator("#toasts")).to_contain_text("Postkeeper didn't respond")


def test_staying_for_a_typed_note_does_not_lock_another_form(seat: Seat, desk: Desk) -> None:
    page = seat.open("account", desk.created())
    page.get_by_label("Note").fill("Called at noon.")
    sign_out = f"document.querySelector('form[action=\"{reverse('account_logout')}\"]').requestSubmit()"
    said: list[str] = []
    page.once("dialog", lambda asked: (said.append(asked.message), asked.dismiss()))
    page.evaluate(sign_out)
    assert said == ["Discard what you entered?"]
    expect(page.locator("form[data-sending]")).to_have_count(0)
    expect(page.get_by_label("Note")).to_have_value("Called at noon.")
    page.once("dialog", lambda asked: asked.accept())
    with page.expect_navigation():
        page.evaluate(sign_out)
