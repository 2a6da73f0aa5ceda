"""Each role's main job by keyboard alone: every control is reached with Tab and can be seen there, the focus goes on
where one works, and what happens by itself is announced. Both are read from the accessibility tree."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from customers.models import Account, ChangeSet, Operation
from portal.access.models import User
from portal.access.roles import Role
from tests.customers.bulk.test_commands import accounts, colleague, go_on
from tests.customers.conftest import Desk
from tests.support.approvals import switch_on
from tests.support.browser import IN_A_BROWSER, Seat
from tests.support.people import sign_in

pytestmark = [*IN_A_BROWSER, pytest.mark.long]
# Whether the focus is on `wanted`; else what is wrong with where it is: no ring around it, or something lies over it.
STOP = """wanted => {
  const at = document.activeElement;
  if (at === document.body) return "";
  let ring = at;
  while (ring && getComputedStyle(ring).outlineStyle === "none") ring = ring.parentElement;
  if (!ring) return `no ring: ${at.outerHTML}`;
  const {left, top, width, height} = ring.getBoundingClientRect();
  const on = (x, y) => ring.contains(document.elementFromPoint(left + x * width, top + y * height));
  const seen = [0.1, 0.5, 0.9].some((x) => [0.2, 0.5, 0.8].some((y) => on(x, y)));
  return seen ? at === wanted : `covered: ${at.outerHTML}`;
}"""
Node = dict[str, Any]


class Keyboard:
    """Somebody with a keyboard and a screen reader."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._tree = page.context.new_cdp_session(page)
        page.clock.install()

    def tab_to(self, role: Any, name: str, *, within: Locator | None = None, back: bool = False) -> None:
        """Press Tab until a control has the focus; each stop on the way must be visible."""
        wanted = (within or self.page).get_by_role(role, name=name, exact=True)
        expect(wanted).to_be_attached()
        handle = wanted.element_handle()
        for _ in range(120):
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
            stop = self.page.evaluate(STOP, handle)
            if stop is True:
                return
            assert not stop, stop
        raise AssertionError(f"Tab never came to {role} {name!r}")

    def press(self, role: Any, name: str, key: str = "Enter", **where: Any) -> None:
        self.tab_to(role, name, **where)
        self.page.keyboard.press(key)

    def enter(self, name: str, text: str) -> None:
        self.tab_to("textbox", name)
        self.page.keyboard.type(text)

    def wait(self) -> None:
        """Let the time go by until the page's next request of its own."""
        self.page.clock.fast_forward(3000)

    def is_on(self, role: str, name: str) -> None:
        """The focus is on a control, as the accessibility tree says it."""
        self._wait(self._focus, lambda found: found == (role, name), f"the focus on {role} {name!r}")

    def hears(self, words: str) -> None:
        """The announcer says it, word for word: a region that was filled from the beginning is silent."""
        self._wait(lambda: self._said(announced=True), lambda found: words in found, repr(words))

    def hears_in_place(self, words: str) -> None:
        """A live region of the page itself says it, word for word, as a whole or in one of its parts."""
        self._wait(lambda: self._said(announced=False), lambda found: words in found, repr(words))

    def _wait(self, look: Callable[[], Any], right: Callable[[Any], bool], wanted: str) -> None:
        end = time.monotonic() + 60
        while not right(found := look()):
            assert time.monotonic() < end, f"{wanted} was expected, not {found}"
            self.page.wait_for_timeout(50)

    def _nodes(self) -> dict[str, Node]:
        return {each["nodeId"]: each for each in self._tree.send("Accessibility.getFullAXTree")["nodes"]}

    def _focus(self) -> tuple[str, str]:
        nodes = [each for each in self._nodes().values() if _property(each, "focused")]
        return nodes[-1]["role"]["value"], nodes[-1]["name"]["value"]

    def _said(self, *, announced: bool) -> list[str]:
        """What live regions say: all of it whenever it changes, or, as the announcer, each of their parts once."""
        nodes = self._nodes()
        said = []
        for each in nodes.values():
            whole = _property(each, "atomic")
            if _property(each, "live") and announced == (each["role"]["value"] == "status" and not whole):
                parts = [each] if whole else [nodes[child] for child in each["childIds"] if child in nodes]
                said += [_text(part, nodes) for part in parts]
        return said


def _property(node: Node, name: str) -> Any:
    return next((each["value"].get("value") for each in node.get("properties", ()) if each["name"] == name), None)


def _text(node: Node, nodes: dict[str, Node]) -> str:
    if node.get("role", {}).get("value") == "StaticText":
        return str(node["name"]["value"]).strip()
    parts = (_text(nodes[each], nodes) for each in node.get("childIds", ()) if each in nodes)
    return " ".join(filter(None, parts))


def use_as(seat: Seat, person: User) -> None:
    cookies = sign_in(Client(), person).cookies
    seat.page.context.add_cookies([{"name": n, "value": c.value, "url": seat.url} for n, c in cookies.items()])


@pytest.fixture
def keys(seat: Seat) -> Keyboard:
    return Keyboard(seat.page)


def test_a_customer_and_its_account_are_created(seat: Seat, keys: Keyboard, desk: Desk) -> None:
    page = seat.page
    page.goto(seat.url + reverse("customers:list"))
    keys.press("link", "New customer", within=page.locator("#list"))
    page.wait_for_url("**/customers/new/")
    keys.enter("Company", "Larkfield Outdoor")
    keys.enter("Email", "mail@larkfield.example")
    keys.tab_to("radio", "SendGrid test")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("button", name="Add customer", exact=True)).to_be_visible()
    keys.is_on("radio", "No account yet")
    page.keyboard.press("ArrowRight")
    keys.press("radio", "Free 100 postkeeper.ei.free-100.v1", "Space")
    keys.hears_in_place("Included: 3,000 emails/month, 1 teammate.")
    page.keyboard.press("Enter")  # in any field: the form is sent
    keys.is_on("heading", "Larkfield Outdoor")
    keys.hears("Create account: Queued")
    desk.perform(Operation.objects.get(kind="create"))
    keys.wait()
    keys.hears("Create account: Succeeded")
    keys.hears("Account state: Active")
    keys.is_on("heading", "Larkfield Outdoor")


def test_offerings_are_edited(seat: Seat, keys: Keyboard, desk: Desk) -> None:
    page = seat.open("account", desk.created())
    keys.press("link", "Edit offerings")
    page.wait_for_url("**/offerings/")
    keys.tab_to("spinbutton", "Quantity of Dedicated IP")
    page.keyboard.press("ArrowUp")
    keys.hears_in_place("Changes Dedicated IP Quantity 1 → 2")
    keys.is_on("spinbutton", "Quantity of Dedicated IP")
    keys.enter("Reason optional", "Contract of May")
    keys.press("checkbox", "I've confirmed these changes with the customer.", "Space")
    keys.press("button", "Replace offerings")
    keys.is_on("heading", "Northwind")
    keys.hears("Change offerings: Queued")
    desk.perform(Operation.objects.get(kind="offerings"))
    keys.wait()
    keys.hears("Change offerings: Succeeded")
    keys.is_on("heading", "Northwind")


def test_an_account_is_suspended(seat: Seat, keys: Keyboard, desk: Desk) -> None:
    page = seat.open("account", desk.created())
    keys.press("link", "Suspend")
    keys.is_on("textbox", "Reason")
    dialog = page.get_by_role("dialog", name="Suspend Northwind?")
    keys.press("button", "Suspend account", within=dialog)
    why = "Enter a reason or select a category. It is recorded in the audit log."
    keys.hears_in_place(f"Fix the errors below Reason : {why}")
    keys.is_on("alert", "")
    keys.press("link", "Reason", within=dialog)
    keys.is_on("textbox", "Reason")
    page.keyboard.type("Unpaid since May")
    keys.press("button", "Suspend account", within=dialog)
    keys.is_on("heading", "Northwind")
    keys.hears("Suspend: Queued")
    desk.perform(Operation.objects.get(kind="suspend"))
    keys.wait()
    keys.hears("Suspend: Succeeded")
    keys.hears("Account state: Suspended")
    keys.is_on("heading", "Northwind")


def test_a_bulk_change_is_requested_and_approved(seat: Seat, keys: Keyboard, desk: Desk) -> None:
    switch_on("delete", "bulk")
    other, chosen = colleague(), accounts(desk, 11)
    page = seat.page
    page.set_viewport_size({"width": 390, "height": 844})  # where a table is a list of cards, and the footer is near
    page.goto(seat.url + reverse("customers:list"))
    for n in reversed(range(11)):
        keys.press("checkbox", f"Select Company {n}", "Space")
    keys.press("button", "Edit selected", back=True)
    keys.is_on("heading", "Bulk change for 11 accounts")
    keys.press("button", "Preview changes")
    why = "Action : Select an action. Reason : Enter a reason. It's recorded in the audit log."
    keys.hears_in_place(f"Fix the errors below {why}")
    keys.is_on("alert", "")
    keys.press("radio", "Suspend", "Space")
    keys.enter("Reason", "Not paid")
    keys.press("button", "Preview changes")
    keys.is_on("heading", "Suspend")
    keys.hears("State Draft Processed 0 of 11")
    keys.press("button", "Request approval for 11 accounts")
    keys.hears("State Waiting for approval Processed 0 of 11")
    keys.is_on("heading", "Suspend")
    use_as(seat, other)
    page.goto(seat.url + reverse("home"))
    keys.press("link", "Suspend", within=page.get_by_role("region", name="Waiting for your approval"))
    page.wait_for_url("**/changes/*/")
    keys.press("button", f"Approve and suspend {len(chosen)} accounts")
    keys.hears("State In progress Processed 0 of 11 Approved by Vera Lind")
    keys.is_on("heading", "Suspend")
    go_on(ChangeSet.objects.get())
    Operation.objects.update(state="succeeded", finished_at=timezone.now())
    keys.wait()
    keys.hears_in_place("State Completed Processed 11 of 11 Approved by Vera Lind")
    keys.is_on("heading", "Suspend")


def test_an_unknown_create_is_settled(seat: Seat, keys: Keyboard, desk: Desk) -> None:
    desk.sandbox.admin.arm("create-then-504")
    operation = desk.perform(desk.ask_create())
    [found] = desk.sandbox.admin.accounts()
    page = seat.page
    page.goto(seat.url + reverse("home"))
    keys.press("link", "Create account, Northwind")
    page.wait_for_url("**/operations/*/")
    keys.press(
        "radio",
        "The account exists: link it You know its account ID at SendGrid. We first check that the account exists and "
        "belongs to no other customer. Nothing is sent.",
        "Space",
    )
    keys.enter("Provider account ID", found["id"])
    keys.enter("Evidence", "Same email in the console.")
    keys.press("button", "Link account")
    keys.is_on("heading", "Create account Northwind")
    keys.hears("Create account: Succeeded")
    operation.refresh_from_db()
    assert (operation.state, Account.objects.get().provider_id) == ("succeeded", found["id"])


def test_finance_reads_a_month_and_exports_it(seat: Seat, keys: Keyboard) -> None:
    use_as(seat, colleague(Role.FINANCE))
    page = seat.page
    page.goto(seat.url + reverse("home"))
    keys.press("link", "Usage")
    page.wait_for_url("**/usage/")
    keys.press("link", "Previous month")
    page.wait_for_url("**/usage/?month=*")
    month = date.fromisoformat(page.url.rpartition("=")[2] + "-01")
    keys.is_on("RootWebArea", f"Usage {month:%B %Y} · Postkeeper")  # a new page, which its title tells
    keys.press("link", "Skip to content")
    keys.is_on("main", "")
    keys.press("button", "Export CSV")
    page.wait_for_url("**/usage/exports/*/")
    with page.expect_download() as download:
        keys.press("link", "Download")
    assert download.value.suggested_filename.endswith(".csv")
    keys.is_on("link", "Download")
