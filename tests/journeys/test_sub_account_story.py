"""A sub account's whole life in a real browser on real processes: made with its first key, set up to send, changed,
stopped, its key rotated, deleted; and what the usage report says of it before and after."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.desk import Desk
from tests.journeys.processes import PASSWORD, Installation, installation, until

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("journeys")]

ADMIN = "ada@postkeeper.example"
FIRST_ADMIN = f"""
from portal.access.models import User
User.objects.create_user("{ADMIN}", "{PASSWORD}", name="Ada Moreau", role="admin")
"""
OPEN_RUNS = """
from billing.models import SyncRun
print(SyncRun.objects.filter(state__in=["running", "paused"]).count())
"""
COMPANY, HOST, DOMAIN = "Larkfield Outdoor", "larkfield.example", "mail.larkfield.example"
SECRET = re.compile(r"aha-sk-\w{64}")


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder: Path = tmp_path_factory.mktemp("sub-accounts") / "data"
    with installation(folder) as one:
        one.prepare()
        one.python(FIRST_ADMIN)
        one.start_web()
        one.start_worker()
        one.start_beat()
        yield one


@pytest.fixture
def desk(browser: Browser, portal: Installation) -> Iterator[Desk]:
    desk = Desk(browser, portal.url, "sub-account")
    yield desk
    desk.close()


def test_from_a_connection_to_the_last_figure(portal: Installation, desk: Desk) -> None:
    page = desk.sign_in(ADMIN, PASSWORD)
    connect(desk, page, portal)
    account = create(desk, page)
    secret = fetch_the_secret(desk, page, account)
    set_up_sending(desk, page, account, portal)
    change_the_cap(desk, page, account, portal)
    suspend_and_unsuspend(desk, page, account, portal)
    rotate(desk, page, account, portal)
    before = read_usage(desk, page, portal)
    delete(desk, page, account, portal)
    after = read_usage(desk, page, portal)
    assert before == after == 41  # 40 as if sent by the customer, and our test message
    assert desk.complaints == []
    logged = portal.said("web") + portal.said("worker") + portal.said("beat")
    assert not re.findall(r"^\S+Z (?:error|critical) .*", logged, re.MULTILINE)
    assert secret not in logged
    assert not SECRET.search(logged)


# --- Chapters -----------------------------------------------------------------------------------------------------


def connect(desk: Desk, page: Page, portal: Installation) -> None:
    page.goto("/connections/new/?kind=ahasend")
    page.locator("[name=name]").fill("AhaSend")
    page.get_by_role("radio", name="Other API URL").check()
    page.locator("[name=base_url]").fill(portal.sandbox.base_url)
    page.locator("[name=account_id]").fill(portal.sandbox.ahasend_account)
    page.locator("[name=keep_keys]").check()
    page.locator("[name=api_key]").fill(portal.sandbox.ahasend_key)
    desk.shot("30-connection-new", everywhere=True)
    page.locator("form.pk-form .pk-primary").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("AhaSend")
    expect(page.locator("main")).to_contain_text("sub-account-api-keys:delete")
    expect(page.locator("main")).to_contain_text("Granted")
    desk.shot("31-connection", everywhere=True)


def create(desk: Desk, page: Page) -> str:
    page.goto("/customers/new/")
    page.locator("[name=company_name]").fill(COMPANY)
    page.locator("[name=email]").fill(f"it@{HOST}")
    page.locator("[name=website]").fill(f"https://{HOST}/shop")
    if page.get_by_role("radio", name="AhaSend").count():
        page.get_by_role("radio", name="AhaSend").check()
    page.get_by_role("radio", name="Set a cap", exact=False).last.check()
    page.get_by_label("Emails/month").fill("250000")
    page.get_by_label("Label").fill("Web shop")
    page.get_by_text("Send and set up domains").click()
    page.get_by_label("Store this key (encrypted)").check()
    desk.shot("32-create", everywhere=True)
    page.get_by_role("button", name="Add customer and create account").click()
    page.wait_for_url(re.compile(r"/accounts/[0-9a-f-]+/$"))
    expect(page.locator("#account-state")).to_contain_text("Active")
    expect(page.locator("main")).to_contain_text("250,000")
    desk.shot("33-account", everywhere=True)
    return page.url


def fetch_the_secret(desk: Desk, page: Page, account: str) -> str:
    page.goto(f"{account}keys/")
    page.get_by_role("link", name="Reveal secret").first.click()
    page.get_by_role("button", name="Reveal secret").click()
    shown = page.locator("#the-secret")
    expect(shown).to_have_text(SECRET)
    secret = shown.inner_text()
    desk.shot("34-secret")
    page.reload()
    expect(page.get_by_text("Secret already revealed")).to_be_visible()
    assert secret not in page.content()
    page.goto(account)
    page.go_back()
    expect(page.get_by_text("Secret already revealed")).to_be_visible()
    assert secret not in page.content()
    return secret


def set_up_sending(desk: Desk, page: Page, account: str, portal: Installation) -> None:
    page.goto(f"{account}sending/")
    page.get_by_role("link", name="Add domain").click()
    page.get_by_role("dialog").get_by_label("Domain").fill(DOMAIN)
    page.get_by_role("dialog").get_by_role("button", name="Add domain").click()
    with page.expect_navigation():  # its links open dialogs as soon as the script is there
        page.get_by_role("link", name=DOMAIN).click()
    page.get_by_role("button", name="Check DNS").click()
    expect(page.get_by_text("required records are missing")).to_be_visible()
    desk.shot("35-domain-missing", everywhere=True)
    admin = portal.sandbox.admin
    admin.switch("aha_dns_cache_seconds", 0)
    admin.switch("aha_delivery_seconds", 0)
    admin.aha.publish(there(portal)["id"], DOMAIN)
    page.get_by_role("button", name="Check DNS").click()
    expect(page.get_by_text("All required records found")).to_be_visible()
    page.get_by_role("link", name="Send test message").click()
    page.get_by_role("dialog").get_by_role("button", name="Send test message").click()
    expect(page.locator("#test-messages")).to_contain_text("Delivered")
    desk.shot("36-domain-verified", everywhere=True)


def change_the_cap(desk: Desk, page: Page, account: str, portal: Installation) -> None:
    page.goto(f"{account}settings/")
    page.get_by_label("Emails/month").fill("400000")
    page.get_by_label("Reason").fill("They order more for winter.")
    desk.shot("37-settings", everywhere=True)
    page.locator("main .pk-primary").last.click()
    until(lambda: there(portal)["monthly_credit"] == 400_000 or None, what="the new cap at the provider")
    page.goto(account)
    expect(page.locator("main")).to_contain_text("400,000")


def suspend_and_unsuspend(desk: Desk, page: Page, account: str, portal: Installation) -> None:
    for name, button, word, state in (
        ("Suspend", "Suspend account", "Suspended", "suspended"),
        ("Unsuspend", "Unsuspend account", "Active", "active"),
    ):
        page.goto(account)
        page.get_by_role("link", name=name, exact=True).click()
        dialog = page.locator("#dialog")
        dialog.get_by_label("Reason").fill("Invoice 20418 is open.")
        desk.shot(f"38-{name.lower()}", everywhere=name == "Suspend")
        dialog.get_by_role("button", name=button).click()
        expect(page.locator("#account-state")).to_contain_text(word)
        assert there(portal)["status"] == state


def rotate(desk: Desk, page: Page, account: str, portal: Installation) -> None:
    page.goto(f"{account}keys/")
    page.get_by_label("Actions for Web shop").click()
    page.get_by_role("link", name="Rotate").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("As soon as the new key exists").click()
    desk.shot("39-rotate")
    dialog.get_by_role("button", name="Rotate key").click()

    def one_new() -> list[dict[str, Any]] | None:
        mine = portal.sandbox.admin.call("GET", f"aha/accounts/{there(portal)['id']}/keys")["keys"]
        living = [each for each in mine if not each.get("deleted_at")]
        return living if len(mine) == 2 and len(living) == 1 else None

    until(one_new, what="one new key and none of the old")
    expect(page.get_by_role("link", name="Reveal secret").first).to_be_visible()
    desk.shot("40-keys", everywhere=True)


def read_usage(desk: Desk, page: Page, portal: Installation) -> int:
    """Sync, look at the report, and return what it says this customer used."""
    if there(portal)["status"] == "active":
        portal.sandbox.admin.call("POST", f"aha/accounts/{there(portal)['id']}/usage", {"count": 40})
    # The nightly sync, which is due at once, may have read the account already, and no second one begins beside it.
    until(lambda: portal.python(OPEN_RUNS) == "0", what="the end of the nightly sync")
    page.goto("/usage/runs/")
    with page.expect_navigation():
        page.get_by_role("button", name=re.compile("Sync")).first.click()
    expect(page.locator("main")).to_contain_text(re.compile(r"Complete|has no accounts to sync"))
    page.goto("/usage/")
    row = page.get_by_role("row", name=re.compile(COMPANY)).first
    expect(row).to_be_visible()
    desk.shot(f"41-usage-{there(portal)['status']}", everywhere=True)
    expect(page.locator("main")).to_contain_text("llocated cost")
    found = re.search(r"\t(?:at least )?(\d+)\t", row.inner_text())
    assert found, row.inner_text()
    return int(found[1])


def delete(desk: Desk, page: Page, account: str, portal: Installation) -> None:
    page.goto(f"{account}delete/")
    page.get_by_label("Reason").fill("The contract ended.")
    page.get_by_label("Customer name").fill(COMPANY)
    desk.shot("42-delete", everywhere=True)
    page.get_by_role("button", name="Permanently delete account").click()
    expect(page.locator("#account-state")).to_contain_text("Deleted")
    assert there(portal)["status"] == "deleted"


def there(portal: Installation) -> dict[str, Any]:
    """The account as the provider has it."""
    [account] = portal.sandbox.admin.call("GET", "aha/accounts")["accounts"]
    return dict(account)
