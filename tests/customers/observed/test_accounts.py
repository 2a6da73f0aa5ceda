"""What is stored of an answer that came late: nothing that was read, made or concluded after it was asked."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from customers.models import Account, AccountKey, SendingDomain
from customers.observed import accounts as observed_accounts
from customers.observed import usage_readings
from portal.providers import AccountSettings, ApiKey, Details, Domain, ProviderOffering, ReportedState, StateReading
from tests.support.factories import AccountFactory

pytestmark = pytest.mark.django_db
T = datetime(2026, 3, 10, 12, tzinfo=UTC)
EARLIER, LATER = T - timedelta(seconds=4), T + timedelta(seconds=4)
BANNED = StateReading(ReportedState.BANNED, "banned")
SETTINGS = AccountSettings("Northwind Oy", "northwind.example", 250_000)


@pytest.fixture
def account() -> Account:
    return AccountFactory(
        state="stopped_by_us", state_raw="deactivated", state_read_at=T, offerings_read_at=T, settings_read_at=T,
        settings={"name": "Newer"}, usage_read_at=T,
    )  # fmt: skip


def key(label: str, key_id: str = "k1") -> ApiKey:
    return ApiKey(id=key_id, label=label)


def domain(valid: bool) -> Domain:
    return Domain(name="mail.northwind.example", valid=valid)


@pytest.mark.parametrize(("at", "state"), [(EARLIER, "stopped_by_us"), (T, "banned"), (LATER, "banned")])
def test_a_state(account: Account, at: datetime, state: str) -> None:
    observed_accounts.record_state(account_id=account.pk, reading=BANNED, now=at)
    account.refresh_from_db()
    assert (account.state, account.state_read_at) == (state, max(at, T))
    assert (account.changed_what == "State updated: banned") == (state == "banned")


@pytest.mark.parametrize("at", [EARLIER, LATER])
def test_that_it_is_not_there(account: Account, at: datetime) -> None:
    observed_accounts.record_gone(account_id=account.pk, now=at)
    account.refresh_from_db()
    assert (account.state == "unknown") == (at == LATER)


@pytest.mark.parametrize("at", [EARLIER, LATER])
def test_settings_and_offerings(account: Account, at: datetime) -> None:
    details = Details(settings=SETTINGS, state=BANNED, domains=3, members=2)
    observed_accounts.record_details(account_id=account.pk, details=details, now=at)
    observed_accounts.record_offerings(
        account_id=account.pk, offerings=[ProviderOffering("other", "package", 1)], now=at
    )
    account.refresh_from_db()
    new = at == LATER
    assert (account.settings["name"] == "Northwind Oy", account.domain_count == 3) == (new, new)
    assert (account.package == "other", account.offerings_read_at) == (new, max(at, T))


@pytest.mark.parametrize("at", [EARLIER, LATER])
def test_usage_also_of_a_deleted_account(account: Account, at: datetime) -> None:
    Account.objects.update(state="deleted")
    day = date(2026, 3, 1)
    usage_readings.record_usages([usage_readings.CurrentUsage(account.pk, 7, 9, 0, day, day, at=at)])
    usage_readings.mark_usage_missing(account_ids=[account.pk], asked_at=EARLIER, now=EARLIER)
    account.refresh_from_db()
    assert (account.usage_used == 7, account.usage_missing_since) == (at == LATER, None)


def test_nothing_brings_a_deleted_account_back(account: Account) -> None:
    Account.objects.update(state="deleted", state_read_at=T)
    before = Account.objects.values().get()
    details = Details(settings=SETTINGS, state=BANNED)
    observed_accounts.record_details(account_id=account.pk, details=details, now=LATER)
    observed_accounts.record_gone(account_id=account.pk, now=LATER)
    observed_accounts.record_offerings(account_id=account.pk, offerings=[], now=LATER)
    observed_accounts.record_keys(account_id=account.pk, keys=[key("web")], now=LATER)
    observed_accounts.record_domains(account_id=account.pk, domains=[domain(True)], now=LATER)
    assert Account.objects.values().get() == before
    assert not AccountKey.objects.exists()
    assert not SendingDomain.objects.exists()


def test_no_reading_makes_an_account_deleted(account: Account) -> None:
    observed_accounts.record_state(
        account_id=account.pk, reading=StateReading(ReportedState.DELETED, "deleted"), now=LATER
    )
    account.refresh_from_db()
    assert (account.state, account.state_raw) == ("unknown", "deleted")


class TestKeys:
    def stored(self) -> dict[str, tuple[str, bool]]:
        return {each.key_id: (each.label, each.gone_at is not None) for each in AccountKey.objects.all()}

    def test_a_change_since_stays(self, account: Account) -> None:
        observed_accounts.record_key(account_id=account.pk, key=key("new"), now=T)
        observed_accounts.record_keys(account_id=account.pk, keys=[key("old")], now=EARLIER)
        assert self.stored() == {"k1": ("new", False)}

    def test_a_newer_list_stays_whole(self, account: Account) -> None:
        observed_accounts.record_keys(account_id=account.pk, keys=[key("web")], now=T)
        observed_accounts.record_keys(account_id=account.pk, keys=[key("was"), key("deleted since", "k2")], now=EARLIER)
        assert self.stored() == {"k1": ("web", False)}
        account.refresh_from_db(fields=["keys_read_at"])
        assert account.keys_read_at == T

    def test_one_that_was_deleted_since_stays_so(self, account: Account) -> None:
        observed_accounts.record_key(account_id=account.pk, key=key("web"), now=EARLIER)
        observed_accounts.record_key_gone(account_id=account.pk, key_id="k1", now=T)
        observed_accounts.record_keys(account_id=account.pk, keys=[key("web")], now=EARLIER)
        assert self.stored() == {"k1": ("web", True)}


def test_a_domain_that_was_checked_since_stays(account: Account) -> None:
    observed_accounts.record_domain(account_id=account.pk, domain=domain(True), now=T)
    observed_accounts.record_domains(account_id=account.pk, domains=[domain(False)], now=EARLIER)
    assert SendingDomain.objects.get().valid
    observed_accounts.record_domains(account_id=account.pk, domains=[domain(False)], now=LATER)
    assert not SendingDomain.objects.get().valid
