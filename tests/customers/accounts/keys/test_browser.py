"""Keys in a real browser under the real policy: a secret that is gone on reload, on back and in a second tab."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Page, expect

from customers.models import AccountKey
from portal.audit.models import AuditEvent
from tests.customers.conftest import Desk
from tests.customers.keys import (
    RECORDS,
    account_with_keys,
    created_account,
    desk_with_keys,
    domain_of,
    key_of,
    perform_all,
    publish_records,
    secret_of,
)
from tests.support.browser import IN_A_BROWSER, Seat
from tests.support.factories import OperationFactory
from tests.support.sandbox import SandboxProcess

pytestmark = IN_A_BROWSER
SECRET = re.compile(r"aha-sk-\w{64}")


@pytest.fixture
def keys_desk(db: None, sandbox: SandboxProcess) -> Desk:
    return desk_with_keys(sandbox)


@pytest.fixture
def seat(live_server: Any, page: Page, keys_desk: Desk) -> Iterator[Seat]:
    seat = Seat(page, live_server, keys_desk)
    yield seat
    assert seat.complaints == []


@pytest.mark.long
def test_a_new_key_and_its_secret_once(seat: Seat, keys_desk: Desk) -> None:
    account = created_account(keys_desk)
    page = seat.open("account-keys", account)
    expect(page.get_by_text("No API keys")).to_be_visible()
    page.get_by_role("link", name="Create key").click()
    page.get_by_label("Label").fill("Web shop")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_text("Queued").first).to_be_visible()
    perform_all(keys_desk)
    # The page follows by itself, reads the list and says that the secret waits.
    expect(page.get_by_text("API key “Web shop” created")).to_be_visible()
    expect(page.get_by_role("cell", name="Ready to reveal")).to_be_visible()
    page.get_by_role("link", name="Reveal secret").first.click()
    page.wait_for_url("**/secret/")
    other = page.context.new_page()
    other.goto(page.url)
    page.get_by_role("button", name="Reveal secret").click()
    shown = page.locator("#the-secret")
    expect(shown).to_have_text(SECRET)
    secret = shown.inner_text()
    assert page.url.endswith("/secret/")
    other.get_by_role("button", name="Reveal secret").click()
    _is_gone(other, secret)
    page.get_by_role("link", name="I've copied it").click()
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()
    page.go_back()
    _is_gone(page, secret)
    page.go_forward()
    page.go_back()
    page.reload()
    _is_gone(page, secret)
    assert AuditEvent.objects.filter(verb="key.secret_shown").count() == 1


def test_a_page_kept_for_back_has_no_secret(seat: Seat, keys_desk: Desk) -> None:
    """Whatever a browser keeps of a page it leaves, the box is empty by then."""
    account = account_with_keys(keys_desk.connection)
    secret_of(key_of(account), keys_desk.person)
    page = seat.open("key-secret", account, "key-1")
    page.get_by_role("button", name="Reveal secret").click()
    expect(page.locator("#the-secret")).to_be_visible()
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    expect(page.locator("[data-once]")).to_be_empty()
    assert "aha-sk-" not in page.content()
    storage = page.evaluate("JSON.stringify([Object.entries(sessionStorage), Object.entries(localStorage)])")
    assert "aha-sk-" not in storage


def _is_gone(page: Page, secret: str) -> None:
    expect(page.get_by_text("Secret already revealed")).to_be_visible()
    expect(page.get_by_role("link", name="Rotate key")).to_be_visible()
    assert secret not in page.content()


def test_single_scopes_show_when_they_are_chosen(seat: Seat, keys_desk: Desk) -> None:
    page = seat.open("key-create", account_with_keys(keys_desk.connection))
    scope = page.get_by_label("webhooks:read:all")
    expect(scope).to_be_hidden()
    page.get_by_text("Custom", exact=True).click()
    expect(scope).to_be_visible()


@pytest.mark.long
def test_rotating_in_a_dialog_deletes_the_old_key_after(seat: Seat, keys_desk: Desk) -> None:
    account = created_account(keys_desk)
    page = seat.open("key-create", account)
    page.get_by_label("Label").fill("Web shop")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_text("Queued").first).to_be_visible()  # the request is stored
    perform_all(keys_desk)
    old = AccountKey.objects.get()
    page = seat.open("account-keys", account)
    page.get_by_label("Actions for Web shop").click()
    page.get_by_role("link", name="Rotate").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("Rotate “Web shop”?")
    dialog.get_by_text("As soon as the new key exists").click()
    dialog.get_by_role("button", name="Rotate key").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("cell", name="Queued")).to_be_visible()
    perform_all(keys_desk)
    new = AccountKey.objects.get(gone_at=None)
    assert new.key_id != old.key_id
    expect(page.get_by_text(new.label[-9:])).to_be_visible()
    expect(page.get_by_text(old.label[-9:])).to_have_count(0)


@pytest.mark.long
def test_from_a_domain_to_a_delivered_message(seat: Seat, keys_desk: Desk) -> None:
    account = created_account(keys_desk)
    page = seat.open("key-create", account)
    page.get_by_label("Label").fill("Set-up")
    page.get_by_text("Send and set up domains").click()
    page.get_by_label("Store this key (encrypted)").check()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_text("Queued").first).to_be_visible()  # the request is stored
    perform_all(keys_desk)
    page = seat.open("account-sending", account)
    page.get_by_role("link", name="Add domain").click()
    page.get_by_role("dialog").get_by_label("Domain").fill("mail.larkfield.example")
    page.get_by_role("dialog").get_by_role("button", name="Add domain").click()
    expect(page.get_by_role("cell", name="Queued")).to_be_visible()
    perform_all(keys_desk)
    with page.expect_navigation():  # its links open dialogs as soon as the script is there
        page.get_by_role("link", name="mail.larkfield.example").click()
    page.get_by_role("button", name="Check DNS").click()
    expect(page.get_by_text("3 required records are missing")).to_be_visible()
    publish_records(keys_desk, account, "mail.larkfield.example")
    page.get_by_role("button", name="Check DNS").click()
    expect(page.get_by_text("All required records found")).to_be_visible()
    expect(page.locator("#domain-state")).to_have_text("Verified")
    page.get_by_role("link", name="Send test message").click()
    page.get_by_role("dialog").get_by_role("button", name="Send test message").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    perform_all(keys_desk)
    expect(page.locator("#test-messages")).to_contain_text("Delivered")


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.long
def test_axe_finds_no_fault(seat: Seat, keys_desk: Desk, width: int, scheme: Any) -> None:
    account, person = account_with_keys(keys_desk.connection), keys_desk.person
    secret_of(key_of(account, ip_allow_list=["203.0.113.9/32"] * 3), person)
    secret_of(key_of(account, "key-2", scopes=["domains:read", "accounts:read"]), person, kept=True)
    OperationFactory(account=account, kind="key_update", state="sending", payload={"key_id": "key-2", "changes": {}})
    domain = domain_of(
        account, records=[{"required": True, "in_place": False} | row for row in RECORDS], checked_at=timezone.now()
    )
    OperationFactory(
        account=account, kind="test_message", state="failed", summary="Refused",
        payload={"sender": f"test@{domain.name}", "recipient": "nadia@postkeeper.example"},
    )  # fmt: skip
    seat.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    seat.page.set_viewport_size({"width": width, "height": 900})
    of_a_key = [(f"key-{name}", "key-1") for name in ("edit", "rotate", "delete", "secret")]
    for name, *more in [("account-keys",), ("key-create",), *of_a_key, ("account-sending",), ("domain", domain.name)]:
        _look(seat.open(name, account, *more), name)
    seat.open("key-create", account).get_by_text("Custom", exact=True).click()
    seat.page.get_by_role("button", name="Create key").click()
    expect(seat.page.get_by_text("Select at least one scope").first).to_be_visible()
    _look(seat.page, "a refused form")
    seat.open("key-secret", account, "key-1").get_by_role("button", name="Reveal secret").click()
    expect(seat.page.locator("#the-secret")).to_be_visible()
    _look(seat.page, "the secret")


def _look(page: Page, name: str) -> None:
    faults = Axe().run(page).response["violations"]
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in faults] == [], name
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
