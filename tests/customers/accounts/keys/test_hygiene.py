"""The list of all API keys: findings, counts, filters, the export, and reminders of old keys."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from customers.accounts.keys.hygiene import KeyFilters, finding_counts
from customers.accounts.keys.reminders import remind_old_keys
from customers.models import Account, AccountKey
from customers.observed import accounts as observed_accounts
from portal.access.models import User
from portal.notices import delivery
from portal.notices.models import Notice
from portal.providers import CAPABILITIES, ApiKey
from tests.customers.keys import account_with_keys, connection_with_keys, key_of, secret_of
from tests.customers.page_helpers import prose_of, text_of
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
NOW = timezone.now()
YEARS = {"made_at": NOW - timedelta(days=800)}
USED = {"last_used_at": NOW - timedelta(hours=2)}


@pytest.fixture
def person() -> User:
    return User.objects.create_user("success@postkeeper.example", name="Nadia Berg", role="customer_success")


@pytest.fixture
def staff(client: Client, person: User) -> Client:
    return sign_in(client, person)


@pytest.fixture
def account() -> Account:
    return account_with_keys(connection_with_keys())


def page(staff: Client, query: str = "") -> str:
    return prose_of(staff.get(reverse("customers:keys") + query))


def counts(query: dict[str, str] | None = None) -> dict[str, int]:
    return {name: n for name, _label, n in finding_counts(KeyFilters(query or {}, now=timezone.now()))}


def export(staff: Client, query: str = "") -> list[dict[str, str]]:
    answer: Any = staff.get(reverse("customers:keys-export") + query)
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))


class TestFindings:
    @pytest.mark.parametrize(
        ("finding", "bad", "good"),
        [
            ("old", {"made_at": NOW - timedelta(days=366)}, {"made_at": NOW - timedelta(days=364)}),
            ("never", {"last_used_at": None}, USED),
            ("unused", {"last_used_at": NOW - timedelta(days=91)}, {"last_used_at": NOW - timedelta(days=89)}),
            ("unused", {"made_at": NOW - timedelta(days=91)}, {"made_at": NOW - timedelta(days=89)}),
            ("full", {"is_full_access": True}, {"is_full_access": False}),
            ("full", {"is_full_access": True}, {"is_full_access": None}),
            ("open", {"is_open_to_all": True}, {"is_open_to_all": False}),
        ],
    )
    def test_each_finding_is_told_by_its_facts(
        self, account: Account, finding: str, bad: dict[str, Any], good: dict[str, Any]
    ) -> None:
        key_of(account, "bad", **bad)
        key_of(account, "good", **good)
        assert counts()[finding] == 1
        filters = KeyFilters({"finding": finding}, now=timezone.now())
        assert [each.key_id for each in filters.keys] == ["bad"]

    def test_a_key_made_here_is_told_by_its_secret(self, account: Account, person: User) -> None:
        secret_of(key_of(account, "ours"), person, sealed="")
        key_of(account, "foreign")
        assert (counts()["outside"], counts()["left"]) == (1, 0)
        User.objects.update(is_active=False)
        assert counts()["left"] == 1

    def test_the_limits_are_settings(self, account: Account, settings: Any) -> None:
        key_of(account, **YEARS)
        settings.KEY_MAX_AGE_DAYS, settings.KEY_UNUSED_DAYS = 900, 900
        assert (counts()["old"], counts()["unused"]) == (0, 0)
        settings.KEY_MAX_AGE_DAYS = settings.KEY_UNUSED_DAYS = 0
        assert not {"old", "unused"} & counts().keys()

    def test_a_reading_tells_full_access_and_open_keys(self, account: Account) -> None:
        every = CAPABILITIES["ahasend"].key_scopes
        keys = [
            ApiKey("full", "Full", (*every, "new:scope"), (), created_at=NOW, last_used_at=None, public_key=""),
            ApiKey("less", "Less", every[1:], ("203.0.113.0/24",), created_at=NOW, last_used_at=None, public_key=""),
        ]
        observed_accounts.record_keys(account_id=account.pk, keys=keys, now=timezone.now())
        facts = AccountKey.objects.order_by("key_id").values_list("key_id", "is_full_access", "is_open_to_all")
        assert list(facts) == [("full", True, True), ("less", False, False)]

    def test_a_deleted_key_is_in_no_list(self, staff: Client, account: Account) -> None:
        key_of(account, gone_at=NOW)
        assert counts()[""] == 0
        assert "No API keys" in page(staff)


class TestPage:
    def test_a_row_says_what_is_known(self, staff: Client, account: Account, person: User) -> None:
        secret_of(key_of(account, **YEARS, **USED, is_open_to_all=True), person, sealed="")
        words = page(staff)
        assert "Web shop …ry7Q, by Nadia Berg Larkfield Outdoor AhaSend test listed" in words
        assert "800 days old 2 h ago Send only Used: unknown Any IP address" in words
        assert "Older than 365 days No IP allowlist" in words
        assert "created outside the portal" not in words

    def test_what_nobody_tells_is_unknown(self, staff: Client, account: Account) -> None:
        key_of(account, made_at=None)
        assert "created outside the portal Larkfield Outdoor" in page(staff)
        assert "Unknown No known use" in page(staff)

    def test_the_age_of_the_lists_is_shown(self, staff: Client, account: Account) -> None:
        key_of(account)
        account_with_keys(account.connection, customer__company_name="Other", keys_read_at=None)
        Account.objects.filter(pk=account.pk).update(keys_read_at=timezone.now() - timedelta(hours=5))
        words = page(staff)
        assert "Oldest list updated 5 h ago" in words
        assert "1 account not listed yet" in words
        assert "AhaSend test listed 5 h ago" in words

    def test_a_list_older_than_a_night_is_marked(self, staff: Client, account: Account) -> None:
        key_of(account)
        marked = '<span class="pk-warn-text"> listed <time'
        assert marked not in text_of(staff.get(reverse("customers:keys")))
        Account.objects.filter(pk=account.pk).update(keys_read_at=timezone.now() - timedelta(hours=27))
        assert marked in text_of(staff.get(reverse("customers:keys")))

    def test_filters_are_in_the_address(self, staff: Client, account: Account, person: User) -> None:
        other = account_with_keys(connection_with_keys(name="Second"), customer__company_name="Fjord")
        key_of(account, label="Newsletter", **USED)
        key_of(other, label="Backend")
        assert "Newsletter" not in page(staff, "?finding=never")
        assert "Backend" not in page(staff, "?q=larkfield")
        assert "Backend" not in page(staff, "?q=newsl")
        assert "Backend" not in page(staff, f"?connection={account.connection.public_id}")
        Account.objects.get(pk=other.pk).customer.__class__.objects.filter(pk=other.customer_id).update(owner=person)
        assert "Newsletter" not in page(staff, f"?owner={person.public_id}")
        assert "Backend" in page(staff, f"?owner={person.public_id}")

    @pytest.mark.parametrize("route", ["keys", "keys-export"])
    def test_an_unknown_filter_lists_nothing(self, staff: Client, account: Account, route: str) -> None:
        key_of(account, label="Backend")
        answer = staff.get(reverse(f"customers:{route}") + "?finding=odd")
        assert answer.status_code == 400
        assert "Backend" not in text_of(answer)

    def test_the_oldest_come_first(self, staff: Client, account: Account) -> None:
        key_of(account, "b", label="Newer")
        key_of(account, "a", label="Older", **YEARS)
        words = page(staff)
        assert words.index("Older created") < words.index("Newer created")
        words = page(staff, "?sort=-made")
        assert words.index("Newer created") < words.index("Older created")

    def test_queries_do_not_grow_with_the_keys(self, staff: Client, account: Account, person: User) -> None:
        def queries() -> int:
            with CaptureQueriesContext(database) as seen:
                page(staff)
            return len(seen)

        key_of(account, "first")
        page(staff)
        few = queries()
        for n in range(40):
            other = account_with_keys(account.connection, customer__company_name=f"Company {n}")
            secret_of(key_of(other, f"key-{n}"), person, sealed="")
        assert queries() == few

    def test_only_who_may_change_them_sees_the_drill(self, client: Client, account: Account) -> None:
        key_of(account)
        finance = User.objects.create_user("finance@postkeeper.example", name="Fin", role="finance")
        assert "Rotate or delete keys" not in page(sign_in(client, finance, factor=True))


class TestExport:
    def test_it_has_the_rows_of_the_filters(self, staff: Client, account: Account, person: User) -> None:
        secret_of(key_of(account, "one", **YEARS, **USED), person, sealed="")
        key_of(account, "two", label="=1+1")
        (row,) = export(staff, "?finding=old")
        assert (row["customer"], row["label"], row["key ID"], row["ends in"]) == (
            "Larkfield Outdoor", "Web shop", "one", "ry7Q",
        )  # fmt: skip
        assert (row["created by"], row["used scopes"], row["age in days"]) == ("Nadia Berg", "unknown", "800")
        assert row["findings"] == "Older than 365 days"
        assert [each["label"] for each in export(staff)] == ["Web shop", "'=1+1"]


class TestReminders:
    def test_each_owner_is_told_once(self, account: Account, person: User) -> None:
        mine = account_with_keys(account.connection, customer__company_name="Mine", customer__owner=person)
        key_of(mine, "a", **YEARS)
        key_of(mine, "b", **YEARS)
        key_of(mine, "young")
        User.objects.create_user("admin@postkeeper.example", name="Admin", role="admin")
        key_of(account, **YEARS)
        now = timezone.now()
        assert remind_old_keys(now=now) == 2
        assert remind_old_keys(now=now + timedelta(days=1)) == 0
        delivery.deliver(now=now)
        delivery.deliver(now=now + timedelta(days=1))
        told = {each.to[0]: each.body for each in mail.outbox}
        assert len(mail.outbox) == 2
        assert "2 API keys are older than 365 days" in told["success@postkeeper.example"]
        assert f"/keys/?finding=old&owner={person.public_id}" in told["success@postkeeper.example"]
        assert "1 API key is older than 365 days" in told["admin@postkeeper.example"]
        assert not Notice.objects.filter(ended_at=None).exists()

    def test_a_key_that_becomes_too_old_later_is_told_then(self, account: Account, person: User) -> None:
        type(account.customer).objects.update(owner=person)
        key_of(account, "a", **YEARS)
        remind_old_keys(now=timezone.now())
        key_of(account, "b", **YEARS)
        assert remind_old_keys(now=timezone.now()) == 1
        assert Notice.objects.latest("pk").text.startswith("1 API key is")

    def test_admins_are_told_for_an_owner_who_left(self, account: Account, person: User) -> None:
        type(account.customer).objects.update(owner=person)
        User.objects.update(is_active=False)
        key_of(account, **YEARS)
        assert remind_old_keys(now=timezone.now()) == 1
        assert Notice.objects.get().to is None

    def test_no_limit_reminds_of_nothing(self, account: Account, settings: Any) -> None:
        settings.KEY_MAX_AGE_DAYS = 0
        key_of(account, **YEARS)
        assert remind_old_keys(now=timezone.now()) == 0
