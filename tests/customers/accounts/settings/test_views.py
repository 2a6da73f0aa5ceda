"""An account with settings: its page, the editor, the dialog whose reason the customer reads, and its row in lists."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from customers.forms import CountField
from customers.models import Account, Operation
from portal.access.models import User
from tests.customers.accounts.create.test_create import lacking
from tests.customers.conftest import Desk
from tests.customers.keys import account_with_keys, connection_with_keys, created_account, desk_with_keys, key_of
from tests.customers.keys import secret_of as secret_row
from tests.customers.page_helpers import HTMX, hidden, text_of
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory
from tests.support.people import sign_in
from tests.support.sandbox import SandboxProcess

pytestmark = pytest.mark.django_db
LARK = {"name": "Larkfield", "website": "larkfield.example", "monthly_cap": 250_000}


@pytest.fixture
def person(client: Client) -> User:
    user = UserFactory(name="Nadia Berg")
    sign_in(client, user)
    return user


def with_settings(**more: Any) -> Account:
    facts: dict[str, Any] = {
        "settings": LARK, "desired_settings": LARK, "settings_read_at": timezone.now() - timedelta(minutes=3),
        "domain_count": 2, "member_count": 4, "usage_used": 41_238, "usage_allowed": 250_000,
    }  # fmt: skip
    return account_with_keys(**(facts | more))


def unread(**more: Any) -> Account:
    """An account whose editor shows the stored values, as its connection is paused."""
    return with_settings(connection=connection_with_keys(paused="person"), **more)


def page(client: Client, account: Account) -> str:
    return text_of(client.get(f"/accounts/{account.public_id}/"))


# -- the account's page -------------------------------------------------------------------------------------------


def test_settings_replace_offerings_and_show_the_readings_age(client: Client, person: User) -> None:
    shown = page(client, with_settings())
    for words in ("larkfield.example", "250,000 emails/month", "Sending domains", "Members", "3 min ago"):
        assert words in shown, words
    for words in ("Offerings", "v2 username", "Created with email", "Edit offerings", "Sign in as customer"):
        assert words not in shown, words


def test_what_has_offerings_has_no_settings(client: Client, person: User) -> None:
    account = AccountFactory()
    shown = page(client, account)
    assert "Change settings" not in shown
    assert f"/accounts/{account.public_id}/keys/" not in shown
    assert client.get(f"/accounts/{account.public_id}/settings/").status_code == 404


@pytest.mark.parametrize(("cap", "words"), [(0, "No cap"), (1_000, "1,000 emails/month")])
def test_no_cap_is_said_in_words(client: Client, person: User, cap: int, words: str) -> None:
    assert words in page(client, with_settings(settings=LARK | {"monthly_cap": cap}))


def test_counts_nobody_gave_are_no_zeros(client: Client, person: User) -> None:
    shown = page(client, with_settings(domain_count=None, member_count=0, last_activity_at=None))
    assert shown.count("no data") == 1
    assert "None yet" in shown


def test_before_the_first_reading_they_stand_as_asked(client: Client, person: User) -> None:
    shown = page(client, with_settings(settings=None, settings_read_at=None))
    assert "As requested. Not confirmed by the provider yet." in shown
    assert "larkfield.example" in shown


def test_settings_that_nobody_read_or_requested_are_empty(client: Client, person: User) -> None:
    account = with_settings(connection=connection_with_keys(paused="person"), settings=None, desired_settings={})
    assert client.get(f"/accounts/{account.public_id}/settings/").status_code == 200


def test_a_change_that_runs_stands_beside_what_is(client: Client, person: User) -> None:
    account = with_settings()
    OperationFactory(account=account, kind="settings", payload={"changes": {"monthly_cap": 0}, "settings": LARK})
    lines = {line.label: line.asked for line in client.get(f"/accounts/{account.public_id}/").context["found"].settings}
    assert lines == {"Name": "", "Website": "", "Monthly cap": "No cap"}


def test_tabs_follow_what_the_provider_can(client: Client, person: User) -> None:
    account = with_settings()
    key_of(account)
    shown = page(client, account)
    assert f'href="/accounts/{account.public_id}/sending/"' in shown
    keys = f'href="/accounts/{account.public_id}/keys/"> API keys <span class="pk-count" id="keys-count">1</span>'
    assert keys in shown


def test_of_a_deleted_account_nothing_is_said_any_more(client: Client, person: User) -> None:
    account = with_settings(state="active", state_raw="active")
    assert "State at AhaSend" in page(client, account)
    assert "AhaSend reports: active" in page(client, account)
    Account.objects.update(state="deleted")
    shown = page(client, account)
    assert "Deleted" in shown
    assert "State at AhaSend" not in shown
    assert "AhaSend reports" not in shown


def test_a_stop_of_our_own_account_is_explained_and_read_only(client: Client, person: User) -> None:
    account = with_settings(state="stopped_by_provider", state_raw="parent-suspended")
    shown = page(client, account)
    assert "AhaSend suspended our parent account" in shown
    assert "Only AhaSend can unblock it. Contact its support" not in shown
    assert "suspend/" not in shown
    for deed in ("suspend", "unsuspend"):
        assert "Only AhaSend can unblock it." in text_of(client.get(f"/accounts/{account.public_id}/{deed}/"))


def test_what_our_key_may_not_do_is_off_and_names_the_scope(client: Client, person: User) -> None:
    connection = connection_with_keys(checks=lacking("sub-accounts:write", "sub-accounts:suspend"))
    account = with_settings(connection=connection)
    shown = page(client, account)
    assert f'href="/accounts/{account.public_id}/suspend/"' not in shown
    assert f'href="/accounts/{account.public_id}/settings/"' not in shown
    assert f'href="/accounts/{account.public_id}/delete/"' in shown
    for scope in ("sub-accounts:write", "sub-accounts:suspend"):
        assert f"lacks the scope {scope}" in shown
        assert f"<p>The API key of AhaSend test lacks the scope {scope}." in shown
    asked = client.get(f"/accounts/{account.public_id}/suspend/")
    assert "lacks the scope sub-accounts:suspend" in text_of(asked)
    assert "data-focus" not in text_of(asked)
    assert "disabled" in text_of(client.get(f"/accounts/{account.public_id}/settings/"))


def test_a_scope_nobody_tried_counts_as_there(client: Client, person: User) -> None:
    shown = page(client, with_settings())
    assert "lacks the scope" not in shown


def test_a_new_keys_secret_is_offered_only_to_its_requester(client: Client, person: User) -> None:
    account = with_settings()
    secret_row(key_of(account), person)
    assert f"/accounts/{account.public_id}/keys/key-1/secret/" in page(client, account)
    sign_in(client, UserFactory())
    assert "/secret/" not in page(client, account)


def test_the_page_costs_the_same_after_a_long_life(
    client: Client, person: User, django_assert_max_num_queries: Any
) -> None:
    account = with_settings()

    def queries() -> int:
        with django_assert_max_num_queries(45) as counted:
            page(client, account)
        return len(counted)

    OperationFactory(account=account, state="succeeded", requested_by=person)
    key_of(account)
    queries()
    few = queries()
    for n in range(20):
        OperationFactory(account=account, state="succeeded", requested_by=person)
        key_of(account, f"more-{n}")
    assert queries() == few


# -- suspending ---------------------------------------------------------------------------------------------------


def test_the_dialog_limits_a_reason_that_the_customer_reads(client: Client, person: User) -> None:
    account = with_settings()
    address = f"/accounts/{account.public_id}/suspend/"
    asked = client.get(address, **HTMX)
    assert "Shown to the customer on the AhaSend dashboard" in text_of(asked)
    assert "The customer can't see it" not in text_of(asked)
    token = hidden(asked, "client_token")
    long = client.post(address, {"why": "unpaid", "reason": "x" * 500, "client_token": token}, **HTMX)
    assert long.status_code == 422
    assert "8 characters too long" in text_of(long)
    assert "x" * 500 in text_of(long)
    fits = client.post(address, {"why": "unpaid", "reason": "x" * 492, "client_token": token}, **HTMX)
    assert fits.status_code == 200
    assert Operation.objects.get().reason == "Unpaid: " + "x" * 492


def test_nobody_reads_the_reason_of_an_unsuspend_but_us(client: Client, person: User) -> None:
    account = with_settings(state="stopped_by_us")
    assert "The customer can't see it" in text_of(client.get(f"/accounts/{account.public_id}/unsuspend/"))


# -- the editor, against the provider -----------------------------------------------------------------------------


@pytest.fixture
def desk(client: Client, db: None, sandbox: SandboxProcess) -> Desk:
    desk = desk_with_keys(sandbox)
    sign_in(client, desk.person)
    return desk


def form_of(answer: Any, **changes: str) -> dict[str, str]:
    names = ("base", "version", "client_token", "read_at", "name", "website")
    cap = answer.context["form"]["monthly_cap"].value()
    return {
        **{name: hidden(answer, name) for name in names}, "cap": "cap" if cap else "none",
        "monthly_cap": str(cap or ""), "reason": "",
    } | changes  # fmt: skip


def test_only_what_was_changed_is_sent(client: Client, desk: Desk) -> None:
    account = created_account(desk)
    address = f"/accounts/{account.public_id}/settings/"
    answer = client.get(address)
    desk.sandbox.admin.clear_requests()
    sent = client.post(address, form_of(answer, cap="cap", monthly_cap="250,000", reason="They asked."))
    assert sent["Location"] == f"/accounts/{account.public_id}/"
    done = desk.perform(Operation.objects.get(kind="settings"))
    assert done.state == "succeeded", done.summary
    assert done.payload["changes"] == {"monthly_cap": 250_000}
    assert "250,000 emails/month" in page(client, account)


@pytest.mark.parametrize(
    "there",
    [
        {"website": "straße.example"},
        {"website": "Shop.example.com/sale?a=1"},
        {"website": ""},
        {"name": "N" * 300},
        {"name": " Larkfield  Outdoor "},
        {"name": "Lark\u202efield e\u0301"},
        {"monthly_cap": 2_000_000_000},
    ],
)
def test_what_the_account_has_is_allowed_and_not_sent(client: Client, person: User, there: dict[str, Any]) -> None:
    account = unread(settings=LARK | there, desired_settings=LARK | there)
    address = f"/accounts/{account.public_id}/settings/"
    changed = {"name": "Ours", "monthly_cap": "7", "website": "ours.example"}
    other = next(name for name in ("name", "website", "monthly_cap") if name not in there)
    answer = client.post(address, form_of(client.get(address), cap="cap", **{other: changed[other]}))
    assert answer.status_code == 303
    assert list(Operation.objects.get(kind="settings").payload["changes"]) == [other]


@pytest.mark.parametrize(("website", "optional"), [("", True), ("lark.example", False)])
def test_the_website_has_no_default_where_the_account_is_edited(
    client: Client, person: User, website: str, optional: bool
) -> None:
    account = unread(settings=LARK | {"website": website}, desired_settings=LARK | {"website": website})
    shown = text_of(client.get(f"/accounts/{account.public_id}/settings/"))
    assert "Hostname, such as shop.example.com." in shown
    assert "Defaults to the customer" not in shown
    label = re.search(r'<label[^>]*for="id_website"[^>]*>(.*?)</label>', shown, re.DOTALL)
    assert label is not None
    assert ("ptional" in label[1]) is optional


@pytest.mark.parametrize("typed", ["N" * 256, "Lark\u202efield", "Lark\x07field", "Lark\u2028field"])
def test_what_is_typed_keeps_the_limits(client: Client, person: User, typed: str) -> None:
    account = unread(settings=LARK | {"name": "N" * 300})
    address = f"/accounts/{account.public_id}/settings/"
    answer = client.post(address, form_of(client.get(address), name=typed))
    assert answer.status_code == 422
    assert 'id="id_name_error"' in text_of(answer)
    assert html.escape(typed) in answer.content.decode()


def test_what_a_typed_name_became_is_said(client: Client, person: User) -> None:
    account = unread()
    address = f"/accounts/{account.public_id}/settings/"
    typed = form_of(client.get(address), website="https://Straße.example/shop", name="Lark e\u0301")
    answer = client.post(address, typed)
    changes = Operation.objects.get(kind="settings").payload["changes"]
    assert changes == {"website": "xn--strae-oqa.example", "name": "Lark \u00e9"}
    assert "saved as xn--strae-oqa.example." in text_of(client.get(answer["Location"]))


def test_a_blank_cap_is_an_error_and_nothing_is_asked(client: Client, desk: Desk) -> None:
    account = created_account(desk)
    address = f"/accounts/{account.public_id}/settings/"
    answer = client.post(address, form_of(client.get(address), cap="cap", monthly_cap="", name="Typed", reason="Why"))
    assert answer.status_code == 422
    assert 'id="id_monthly_cap_error"' in text_of(answer)
    assert hidden(answer, "name") == "Typed"
    assert hidden(answer, "reason") == "Why"
    assert not Operation.objects.filter(kind="settings").exists()


def test_nothing_different_is_said_and_not_sent(client: Client, desk: Desk) -> None:
    account = created_account(desk)
    address = f"/accounts/{account.public_id}/settings/"
    answer = client.post(address, form_of(client.get(address)))
    assert answer.status_code == 422
    assert "You made no changes to the settings." in text_of(answer)


def test_a_cap_below_the_use_needs_a_tick(client: Client, desk: Desk) -> None:
    account = created_account(desk)
    Account.objects.filter(pk=account.pk).update(usage_used=41_238, usage_read_at=timezone.now())
    address = f"/accounts/{account.public_id}/settings/"
    first = client.get(address)
    assert 'name="below_use"' not in text_of(first)
    facts = form_of(first, cap="cap", monthly_cap="10000")
    warned = client.post(address, facts)
    assert warned.status_code == 422
    assert "Usage in this billing period is already above this cap." in text_of(warned)
    assert client.post(address, facts | {"below_use": "on"}).status_code == 303
    assert "Already in progress: Change settings" in text_of(client.get(address))
    desk.perform(Operation.objects.get(kind="settings"))
    assert client.post(address, form_of(client.get(address), cap="cap", monthly_cap="41238")).status_code == 303


def test_a_change_that_somebody_else_made_first_shows_all_three(client: Client, desk: Desk) -> None:
    account = created_account(desk)
    address = f"/accounts/{account.public_id}/settings/"
    facts = form_of(client.get(address), name="Ours", cap="cap", monthly_cap="5000")
    Account.objects.filter(pk=account.pk).update(version=account.version + 1)
    desk.sandbox.admin.aha.change(str(account.provider_id), website="theirs.example")
    answer = client.post(address, facts)
    assert answer.status_code == 409
    rows = {each.label: (each.saw, each.now, each.yours) for each in answer.context["conflict"]["differences"]}
    assert rows == {
        "Name": ("Larkfield Outdoor", "Larkfield Outdoor", "Ours"),
        "Website": ("larkfield.example", "theirs.example", "larkfield.example"),
        "Monthly cap": ("No cap", "No cap", "5,000 emails/month"),
    }
    assert (hidden(answer, "name"), hidden(answer, "website")) == ("Ours", "theirs.example")
    again = client.post(address, form_of(answer))
    assert again.status_code == 303
    assert Operation.objects.get(kind="settings").payload["changes"] == {"name": "Ours", "monthly_cap": 5_000}


def test_a_workers_conflict_is_edited_again_from_its_operation(client: Client, desk: Desk) -> None:
    account = created_account(desk)
    address = f"/accounts/{account.public_id}/settings/"
    client.post(address, form_of(client.get(address), cap="cap", monthly_cap="5000"))
    desk.sandbox.admin.aha.change(str(account.provider_id), monthly_credit=777)
    failed = desk.perform(Operation.objects.get(kind="settings"))
    assert (failed.state, failed.error_kind) == ("failed", "conflict")
    redo = f"{address}?conflict={failed.public_id}"
    assert redo in page(client, account)
    assert redo in text_of(client.get(f"/operations/{failed.public_id}/"))
    answer = client.get(redo)
    assert [(each.saw, each.now, each.yours) for each in answer.context["conflict"]["differences"]] == [
        ("No cap", "777 emails/month", "5,000 emails/month")
    ]
    assert hidden(answer, "monthly_cap") == "5,000"


def test_the_last_settings_are_shown_when_the_provider_is_down(client: Client, desk: Desk) -> None:
    account = created_account(desk)
    desk.sandbox.admin.arm("status-500", "aha-read", count=None)
    answer = client.get(f"/accounts/{account.public_id}/settings/")
    assert answer.status_code == 200
    assert "Couldn't load data from AhaSend" in text_of(answer)
    assert hidden(answer, "website") == "larkfield.example"


@pytest.mark.parametrize("base", ["", "[]", "x", '{"name": "a"}', '{"name":"a","website":"b","monthly_cap":"c"}'])
def test_a_page_out_of_date_sends_nothing(client: Client, desk: Desk, base: str) -> None:
    account = created_account(desk)
    address = f"/accounts/{account.public_id}/settings/"
    answer = client.post(address, form_of(client.get(address), base=base, name="Ours"))
    assert answer["Location"] == address
    assert not Operation.objects.filter(kind="settings").exists()


def test_what_the_page_says_was_seen_is_what_the_provider_has(client: Client, desk: Desk) -> None:
    account = created_account(desk)
    answer = client.get(f"/accounts/{account.public_id}/settings/")
    seen = {"name": "Larkfield Outdoor", "website": "larkfield.example", "monthly_cap": 0}
    assert json.loads(hidden(answer, "base")) == seen


# -- shown as one -------------------------------------------------------------------------------------------------


def pair(create: str, key: str, **more: Any) -> tuple[Operation, Operation]:
    account = with_settings()
    leader = OperationFactory(
        account=account, kind="create", state=create, finished_at=timezone.now() if create != "queued" else None
    )
    wanted = {"label": "Web shop", "scopes": ["messages:send:all"], "ip_allow_list": []}
    payload = {"key": wanted, "keep": False, "replaces": ""}
    follower = OperationFactory(
        account=account, kind="key_create", state=key, follows=leader, payload=payload,
        requested_by=leader.requested_by, **more,
    )  # fmt: skip
    return leader, follower


def test_a_create_and_its_key_are_one_card(client: Client, person: User) -> None:
    leader, follower = pair("queued", "queued")
    shown = page(client, leader.account)
    assert shown.count('class="pk-card"') == 1
    assert "Create account" in shown
    assert "Create API key" in shown
    assert f"/operations/{leader.public_id}/progress/?was=queued,queued" in shown
    assert "more operation queued" not in shown
    for each in (leader, follower):
        steps = text_of(client.get(f"/operations/{each.public_id}/"))
        assert f"/operations/{leader.public_id}/progress/?was=queued,queued" in steps


def test_the_card_polls_until_the_key_ends_and_reports_each_once(client: Client, person: User) -> None:
    leader, _follower = pair("succeeded", "sending")
    address = f"/operations/{leader.public_id}/progress/"
    ended = client.get(f"{address}?was=sending,queued", **HTMX)
    assert ended.headers["HX-Trigger"] == "operation-ended"
    assert 'data-poll="2"' in text_of(ended)
    assert "HX-Trigger" not in client.get(f"{address}?was=succeeded,sending", **HTMX).headers
    Operation.objects.update(state="succeeded", concurrency_key="", finished_at=timezone.now())
    done = client.get(f"{address}?was=succeeded,sending", **HTMX)
    assert done.headers["HX-Trigger"] == "operation-ended"
    assert "data-poll" not in text_of(done)


def test_a_key_that_failed_is_sent_again_alone(client: Client, person: User) -> None:
    leader, follower = pair("succeeded", "failed", summary="The label is taken.", error_kind="rejected")
    shown = text_of(client.get(f"/operations/{leader.public_id}/"))
    assert "Partially completed: Create API key failed" in shown
    assert f"/operations/{follower.public_id}/retry/" in shown
    assert f"/operations/{leader.public_id}/retry/" not in shown
    assert "Create API key failed" in page(client, leader.account)
    client.post(f"/operations/{follower.public_id}/retry/", {"client_token": uuid.uuid4().hex})
    again = Operation.objects.get(retry_of=follower)
    assert (again.kind, again.account) == ("key_create", leader.account)
    assert f"/operations/{follower.public_id}/retry/" not in text_of(client.get(f"/operations/{leader.public_id}/"))


def test_who_may_not_ask_is_offered_no_retry(client: Client) -> None:
    sign_in(client, UserFactory(role="auditor"))
    leader, follower = pair("succeeded", "failed")
    assert f"/operations/{follower.public_id}/retry/" not in text_of(client.get(f"/operations/{leader.public_id}/"))


# -- lists --------------------------------------------------------------------------------------------------------


def companies(client: Client, query: str) -> set[str]:
    return {row.company for row in client.get(f"/customers/?{query}").context["page"].object_list}


@pytest.fixture
def three(person: User) -> None:
    connection = connection_with_keys()
    with_settings(connection=connection, customer__company_name="Capped")
    free = LARK | {"monthly_cap": 0}
    with_settings(connection=connection, customer__company_name="Free", settings=None, desired_settings=free)
    AccountFactory(customer__company_name="Packaged", connection=ConnectionFactory())


def test_the_column_shows_the_cap_where_there_is_no_package(client: Client, three: None) -> None:
    shown = text_of(client.get("/customers/"))
    for words in ("Package or cap", "250,000/month", "No cap", "Pro 100K"):
        assert words in shown, words


def test_without_such_accounts_the_column_is_about_packages(client: Client, person: User) -> None:
    AccountFactory()
    shown = text_of(client.get("/customers/"))
    assert "Package or cap" not in shown
    assert "Provider" not in shown


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("package=cap:yes", {"Capped"}), ("package=cap:no", {"Free"}), ("provider=ahasend", {"Capped", "Free"}),
        ("provider=sendgrid", {"Packaged"}), ("provider=nobody", set()),
    ],
)  # fmt: skip
def test_filters_by_cap_and_provider(client: Client, three: None, query: str, found: set[str]) -> None:
    assert companies(client, query) == found


def test_an_id_is_found_however_it_is_written(client: Client, three: None) -> None:
    account = Account.objects.get(customer__company_name="Capped")
    assert companies(client, f"q={str(account.provider_id).upper()}") == {"Capped"}


def test_the_export_has_the_cap_as_a_number_and_none_in_words(client: Client, three: None) -> None:
    answer = client.get("/customers/export/?sort=name")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))  # type: ignore[attr-defined]
    assert {row["customer"]: row["monthly cap"] for row in rows} == {
        "Capped": "250000",
        "Free": "No cap",
        "Packaged": "",
    }


def test_the_list_costs_the_same_for_many(client: Client, three: None, django_assert_max_num_queries: Any) -> None:
    def queries() -> int:
        with django_assert_max_num_queries(60) as counted:
            client.get("/customers/?provider=ahasend&package=cap:yes")
        return len(counted)

    queries()
    few = queries()
    connection = Account.objects.filter(connection__kind="ahasend").first().connection  # type: ignore[union-attr]
    for _ in range(15):
        with_settings(connection=connection)
    assert queries() == few


@pytest.mark.parametrize("typed", ["250000", "250,000", "250.000", " 250 000 "])
def test_a_cap_may_have_marks_between_thousands(typed: str) -> None:
    assert CountField(most=250_000).clean(typed) == 250_000


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("25,00", "whole number"),
        ("-5", "whole number"),
        pytest.param("9" * 5000, "whole number", id="too many digits"),
        ("0", "1 or more"),
        ("250,001", "The maximum is 250,000."),
    ],
)
def test_what_is_no_cap(typed: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        CountField(most=250_000).clean(typed)
