"""Lists of the keys of many accounts: which are due, and what ends a turn."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from customers.models import Account, AccountKey, Connection
from customers.observed import key_lists
from portal.providers import ApiKey, NotFound, Unreadable
from tests.customers.keys import account_with_keys, connection_with_keys
from tests.support.factories import AccountFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()
DAY_AGO = NOW - timedelta(hours=21)


class Lists:
    """A provider that lists one key for each account, or fails."""

    def __init__(self, *failures: Exception | None) -> None:
        self.failures, self.read = list(failures), []  # type: ignore[var-annotated]  # of IDs

    def connect(self, connection: Connection) -> Any:
        return self

    def keys(self, ref: Any) -> list[ApiKey]:
        self.read.append(ref.id)
        failure = self.failures.pop(0) if self.failures else None
        if failure:
            raise failure
        return [ApiKey(f"key of {ref.id}", "Web shop")]


@pytest.fixture
def connection() -> Connection:
    return connection_with_keys()


def account(connection: Connection, read_at: datetime | None, **more: Any) -> Account:
    return account_with_keys(connection, keys_read_at=read_at, **more)


def due() -> list[int]:
    return list(key_lists.accounts_to_list(now=NOW).values_list("pk", flat=True))


def listed(connection: Connection, provider: Lists, **more: Any) -> bool:
    return key_lists.list_keys_of(connection, clock=lambda: NOW, connect=provider.connect, **more)


class TestDue:
    def test_the_oldest_list_comes_first(self, connection: Connection) -> None:
        day, never = account(connection, DAY_AGO), account(connection, None)
        older = account(connection, DAY_AGO - timedelta(days=3))
        account(connection, NOW - timedelta(hours=19))
        assert due() == [never.pk, older.pk, day.pk]

    def test_a_list_that_failed_waits_an_hour(self, connection: Connection) -> None:
        account(connection, DAY_AGO, keys_tried_at=NOW - timedelta(minutes=59))
        late = account(connection, DAY_AGO, keys_tried_at=NOW - timedelta(minutes=61))
        assert due() == [late.pk]

    @pytest.mark.parametrize("facts", [{"state": "deleted"}, {"provider_id": None, "state": "pending"}])
    def test_accounts_that_are_not_there_are_not_due(self, connection: Connection, facts: dict[str, Any]) -> None:
        account(connection, None, **facts)
        assert due() == []

    def test_a_provider_without_keys_is_not_asked(self) -> None:
        AccountFactory()
        assert due() == []

    def test_a_paused_connection_is_not_asked(self, connection: Connection) -> None:
        account(connection, None)
        Connection.objects.update(paused="person")
        assert due() == []

    def test_each_connection_has_one_task(self, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        sent: list[tuple[str, int]] = []
        monkeypatch.setattr(key_lists, "enqueue_on_commit", lambda *task: sent.append(task))
        account(connection, None)
        account(connection, None)
        lacks = connection_with_keys(
            name="Lacks", checks=[{"name": "sub-account-api-keys:read", "ok": False, "detail": ""}]
        )
        account(lacks, None)
        assert key_lists.request_key_lists(now=NOW) == 1
        assert sent == [("customers.list_keys", connection.pk)]


class TestTurn:
    def test_it_reads_every_list_that_is_due(self, connection: Connection) -> None:
        accounts = [account(connection, None) for _ in range(3)]
        assert listed(connection, Lists()) is False
        assert AccountKey.objects.filter(gone_at=None, account__in=accounts).count() == 3
        assert set(Account.objects.values_list("keys_read_at", "keys_tried_at")) == {(NOW, NOW)}

    def test_it_ends_when_its_time_is_up(self, connection: Connection) -> None:
        account(connection, None)
        provider = Lists()
        assert listed(connection, provider, seconds=0) is True
        assert provider.read == []

    def test_a_provider_that_does_not_answer_ends_it(self, connection: Connection) -> None:
        first, second = account(connection, None), account(connection, None)
        provider = Lists(Unreadable("No answer."))
        assert listed(connection, provider) is False
        assert provider.read == [first.provider_id]
        assert due() == [second.pk]

    def test_an_account_that_is_gone_does_not(self, connection: Connection) -> None:
        account(connection, None)
        second = account(connection, None)
        provider = Lists(NotFound("Gone."))
        assert listed(connection, provider) is False
        assert provider.read[-1] == second.provider_id
