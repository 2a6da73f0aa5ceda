"""The whole story in a real browser on real processes: from an empty portal to a deleted account and its audit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.desk import Desk
from tests.journeys.processes import PASSWORD, Installation, installation, until
from tests.support.sandbox import KEY

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("journeys")]

ADMIN, APPROVER = "ada@postkeeper.example", "vera@postkeeper.example"
FIRST_ADMIN = f"""
from portal.access.models import User
from django.utils import timezone
from portal.approvals.models import ApprovalRule
User.objects.create_user("{ADMIN}", "{PASSWORD}", name="Ada Moreau", role="admin")
User.objects.create_user("{APPROVER}", "{PASSWORD}", name="Vera Lind", role="admin")
for kind in ("delete", "bulk"):
    ApprovalRule.objects.create(kind=kind, is_on=True, on_since=timezone.now())
"""
COMPANY, EMAIL = "Northwind Kitchens", "mail@northwindkitchens.example"
LOST, LOST_EMAIL = "Larkspur Events", "it@larkspurevents.example"


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder: Path = tmp_path_factory.mktemp("journey") / "data"
    with installation(folder) as one:
        one.prepare()
        one.python(FIRST_ADMIN)
        one.start_web()
        one.start_worker()
        one.start_beat()
        yield one


@pytest.fixture
def at_desk(browser: Browser, portal: Installation) -> Iterator[Callable[[str], Desk]]:
    desks: list[Desk] = []

    def sit_down(name: str) -> Desk:
        desks.append(Desk(browser, portal.url, name))
        return desks[-1]

    yield sit_down
    for desk in desks:
        desk.close()


def test_from_an_empty_portal_to_the_audit_trail(portal: Installation, at_desk: Callable[[str], Desk]) -> None:
    admin = at_desk("admin")
    page = admin.sign_in(ADMIN, PASSWORD)
    admin.shot("01-empty-home")
    connect(admin, page, portal.sandbox.base_url)
    links = {role: invite(admin, page, name, email, role) for name, email, role in (
        ("Cleo Lindqvist", "cleo@postkeeper.example", "Customer success"),
        ("Finn Okafor", "finn@postkeeper.example", "Finance"),
        ("Audrey Tanaka", "audrey@postkeeper.example", "Auditor"),
    )}  # fmt: skip

    success = at_desk("success")
    page = accept(success, links["Customer success"], "cleo@postkeeper.example")
    create(success, page, COMPANY, EMAIL)
    account = page.url
    # It becomes active in front of our eyes: nobody reloads.
    expect(page.locator("#account-state")).to_contain_text("Active")
    success.shot("06-account-active", everywhere=True)
    change_offerings(success, page, portal)
    suspend_and_unsuspend(success, page, account, portal)
    sign_in_as(success, page, account)
    settle_unknown(success, page, portal)

    finance = at_desk("finance")
    read_usage(finance, accept(finance, links["Finance"], "finn@postkeeper.example"))
    approver = at_desk("approver")  # whoever invited the requester approves nothing of theirs for a day
    approver.sign_in(APPROVER, PASSWORD)
    delete(success, success.page, account, portal, second=approver)

    auditor = at_desk("auditor")
    page = accept(auditor, links["Auditor"], "audrey@postkeeper.example")
    page.goto("/audit/")
    for words in ("Northwind Kitchens", "Ada Moreau", "Cleo Lindqvist", "Finn Okafor"):
        expect(page.locator("main")).to_contain_text(words)
    auditor.shot("20-audit", everywhere=True)
    auditor.refused("/customers/new/")

    found = [f"{desk.name}: {each}" for desk in (admin, success, finance, auditor) for each in desk.complaints]
    assert not found, "\n".join(found)
    logged = portal.said("web") + portal.said("worker") + portal.said("beat")
    assert not re.findall(r"^\S+Z (?:error|critical) .*", logged, re.MULTILINE)
    assert not [secret for secret in (KEY, PASSWORD) if secret in logged]


# --- Chapters -----------------------------------------------------------------------------------------------------


def connect(desk: Desk, page: Page, address: str) -> None:
    page.goto("/connections/new/")
    page.get_by_role("link", name="SendGrid").click()
    page.locator("[name=name]").fill("SendGrid global")
    page.get_by_role("radio", name="Other API URL").check()
    page.locator("[name=base_url]").fill(address)
    page.locator("[name=api_key]").fill(KEY)
    desk.shot("02-connection-new")
    page.locator("form.pk-form .pk-primary").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("SendGrid global")
    expect(page.locator("main")).to_contain_text("Passed")
    assert KEY not in page.content()
    desk.shot("03-connection", everywhere=True)


def invite(desk: Desk, page: Page, name: str, email: str, role: str) -> str:
    page.goto("/staff/invite/")
    page.locator("[name=name]").fill(name)
    page.locator("[name=email]").fill(email)
    page.get_by_role("radio", name=role).check()
    page.get_by_role("button", name="Send invitation").click()
    link = page.get_by_text(re.compile(r"/invitation/"))
    expect(link.first).to_be_visible()
    found = re.search(r"http://\S+/invitation/[^\s\"<]+", page.content())
    assert found
    return found.group(0)


def accept(desk: Desk, link: str, email: str) -> Page:
    page = desk.page
    page.goto(link)
    fields = page.locator("input[type=password]")
    fields.nth(0).fill(PASSWORD)
    fields.nth(1).fill(PASSWORD)
    page.get_by_role("button", name="Set password").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    return desk.sign_in(email, PASSWORD)


def create(desk: Desk, page: Page, company: str, email: str) -> None:
    page.goto("/customers/new/")
    page.locator("[name=company_name]").fill(company)
    page.locator("[name=email]").fill(email)
    page.get_by_role("radio", name="SendGrid global").check()
    page.get_by_role("radio", name="Essentials 50K").check()
    expect(page.locator("main")).to_contain_text("Included:")
    desk.shot(f"05-create-{company.split(maxsplit=1)[0].lower()}", everywhere=company == COMPANY)
    page.get_by_role("button", name="Add customer and create account").click()
    page.wait_for_url(re.compile(r"/accounts/[0-9a-f-]+/$"))


def change_offerings(desk: Desk, page: Page, portal: Installation) -> None:
    page.get_by_role("link", name="Edit offerings").click()
    page.get_by_role("radio", name="Pro 100K").check()
    changes = page.locator("#changes")
    expect(changes).to_contain_text("Package added")
    expect(changes).to_contain_text("postkeeper.ei.pro-100k.v1")
    page.get_by_label("I've confirmed these changes").check()
    desk.shot("07-offerings", everywhere=True)
    page.get_by_role("button", name="Replace offerings").click()
    page.wait_for_url(re.compile(r"/accounts/[0-9a-f-]+/$"))
    names = ["postkeeper.ei.pro-100k.v1"]
    until(lambda: _at_provider(portal, EMAIL, "offerings") == names or None, what="the new list at the provider")
    expect(page.locator("main")).to_contain_text("The offerings were replaced and verified")


def suspend_and_unsuspend(desk: Desk, page: Page, account: str, portal: Installation) -> None:
    for name, button, word, state in (
        ("Suspend", "Suspend account", "Suspended", "deactivated"),
        ("Unsuspend", "Unsuspend account", "Active", "activated"),
    ):
        page.goto(account)
        page.get_by_role("link", name=name, exact=True).click()
        dialog = page.locator("#dialog")
        dialog.get_by_label("Reason").fill("Invoice 20418.")
        desk.shot(f"08-{name.lower()}", everywhere=name == "Suspend")
        dialog.get_by_role("button", name=button).click()
        expect(page.locator("#account-state")).to_contain_text(word)
        assert _at_provider(portal, EMAIL, "state") == state


def sign_in_as(desk: Desk, page: Page, account: str) -> None:
    page.goto(f"{account}sign-in-as/")
    page.get_by_label("Reason").fill("Sender verification together with the customer.")
    desk.shot("10-sign-in-as")
    with desk.context.expect_page() as opened:
        page.get_by_role("button", name="Open SendGrid").click()
    tab = opened.value
    expect(tab.locator("body")).to_contain_text(f"signed in as {EMAIL}")
    assert "code=" not in page.content()
    tab.close()


def settle_unknown(desk: Desk, page: Page, portal: Installation) -> None:
    portal.sandbox.admin.switch("list_lag_seconds", 3600)  # or the portal may find it before the person decides
    portal.sandbox.admin.arm("create-then-504")
    create(desk, page, LOST, LOST_EMAIL)
    card = page.locator("main .pk-card", has_text="Outcome unknown")
    expect(card).to_be_visible()
    card.get_by_role("link", name="Review operation").click()
    page.get_by_role("radio", name="The account exists: link it").check()
    page.locator("[name=provider_id]").fill(str(_at_provider(portal, LOST_EMAIL, "id")))
    page.locator("[name=reason]").fill("Found by its email in the console.")
    desk.shot("11-operation-unknown", everywhere=True)
    page.get_by_role("button", name="Link account").click()
    expect(page.locator("main")).to_contain_text("Succeeded")
    assert len(portal.sandbox.admin.accounts()) == 2
    portal.sandbox.admin.switch("list_lag_seconds", 0)


def read_usage(desk: Desk, page: Page) -> None:
    page.goto("/usage/runs/")
    with page.expect_navigation():  # the list may name an earlier one
        page.get_by_role("button", name=re.compile("Sync")).first.click()
    expect(page.locator("main")).to_contain_text(re.compile(r"Complete"))
    desk.shot("14-run", everywhere=True)
    page.goto("/usage/")
    if not page.get_by_text(COMPANY).count():  # a cycle belongs to the month of its last day
        page.get_by_role("link", name="Next month").click()
    expect(page.locator("main")).to_contain_text(COMPANY)
    desk.shot("15-usage", everywhere=True)
    page.get_by_role("button", name="Export CSV").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    assert COMPANY in text
    assert text.count("\n") >= 3
    for path in ("/customers/new/", "/audit/", "/connections/", "/staff/"):
        desk.refused(path)
    desk.shot("16-refused")


def delete(desk: Desk, page: Page, account: str, portal: Installation, *, second: Desk) -> None:
    """Asked by one person and approved by another; then a worker carries it to its end."""
    page.goto(f"{account}delete/")
    page.get_by_label("Reason").fill("The contract ended.")
    page.get_by_label("Customer name").fill("Northwind")
    desk.expected_refusals += 1  # the wrong name: 422
    page.get_by_role("button", name="Permanently delete account").click()
    expect(page.locator(".pk-errors").first).to_be_visible()
    assert _at_provider(portal, EMAIL, "deleted_at") is None
    page.get_by_label("Customer name").fill(COMPANY)
    desk.shot("18-delete", everywhere=True)
    page.get_by_role("button", name="Permanently delete account").click()
    expect(page.get_by_text("Waiting for approval").first).to_be_visible()
    assert _at_provider(portal, EMAIL, "deleted_at") is None
    second.page.goto("/")
    second.page.get_by_role("region", name="Waiting for your approval").get_by_role("link").first.click()
    second.shot("18-approve", everywhere=True)
    second.page.get_by_role("button", name="Approve and delete account").click()
    # Not the count of the pager, which says "of 1" as well: the account's page polls only for an operation that it met.
    expect(second.page.locator("#change-set [role=status]")).to_contain_text("1 of 1")
    page.goto(account)
    expect(page.locator("#account-state")).to_contain_text("Deleted")
    assert _at_provider(portal, EMAIL, "deleted_at")
    desk.shot("19-deleted")


def _at_provider(portal: Installation, email: str, what: str) -> object:
    """One fact of the account as the provider has it."""
    account = next(each for each in portal.sandbox.admin.accounts() if each["email"] == email)
    return [each["name"] for each in account["offerings"]] if what == "offerings" else account[what]
