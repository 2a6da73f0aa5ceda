"""Requests per day, read on behalf of an account."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
import requests
import responses

from portal.providers import (
    CAPABILITIES,
    AccountRef,
    ConnectionConfig,
    Forbidden,
    NotSent,
    Provider,
    RateLimited,
    Unreadable,
    Unsupported,
    UsageSource,
    client,
)
from tests.providers.conftest import Stub
from tests.providers.samples import ACCOUNT, CREDITS, STATISTICS
from tests.providers.support import ACCOUNT_ID, KEY, SENDGRID, sendgrid

JUNE = (date(2026, 6, 1), date(2026, 6, 30))


def day(on: Any = "2026-06-01", requests: Any = 7, **more: Any) -> dict[str, Any]:
    return {"date": on, "stats": [{"metrics": {"requests": requests, "delivered": 5}}], **more}


def read(provider: Provider | None = None) -> dict[date, int]:
    return (provider or sendgrid()).statistics(ACCOUNT, *JUNE)


def test_a_range_is_read_on_behalf_of_the_account(stub: Stub) -> None:
    mock = stub(200, STATISTICS)
    assert read() == {date(2026, 6, 1): 5880, date(2026, 6, 2): 0, date(2026, 6, 4): 410}
    assert len(mock.calls) == 1
    request = mock.calls[0].request
    assert (request.method, request.path_url) == (
        "GET",
        "/v3/stats?start_date=2026-06-01&end_date=2026-06-30&aggregated_by=day",
    )
    assert request.headers["on-behalf-of"] == f"account-id {ACCOUNT_ID}"


@pytest.mark.parametrize("body", [[], [day(zone="UTC", stats2=[])]])
def test_days_that_were_not_returned_are_missing(stub: Stub, body: list[Any]) -> None:
    stub(200, body)
    assert read() == ({date(2026, 6, 1): 7} if body else {})


@pytest.mark.parametrize("value", [None, True, False, 7.0, 7.5, -1, "7", "", 10**12 + 1, 10**30, [], {}, [7]], ids=repr)
def test_a_count_that_is_none_is_unreadable(stub: Stub, value: Any) -> None:
    stub(200, [day("2026-06-02"), day(requests=value)])
    with pytest.raises(Unreadable):
        read()


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"errors": []},
        "2026-06-01",
        [None],
        [[]],
        [{"date": "2026-06-01"}],
        [{"date": "2026-06-01", "stats": []}],
        [{"date": "2026-06-01", "stats": {}}],
        [{"date": "2026-06-01", "stats": [{}]}],
        [{"date": "2026-06-01", "stats": [{"metrics": []}]}],
        [{"date": "2026-06-01", "stats": [{"metrics": {"requests": 1}}, {"metrics": {"requests": 2}}]}],
        [{"stats": [{"metrics": {"requests": 1}}]}],
    ],
    ids=repr,
)
def test_what_is_no_statistics_is_unreadable(stub: Stub, body: Any) -> None:
    stub(200, body)
    with pytest.raises(Unreadable):
        read()


@pytest.mark.parametrize("on", ["2026-05-31", "2026-07-01", "2025-06-01", "2026-06-31", "June 1", "", None, 20260601])
def test_a_day_that_was_not_requested_is_refused(stub: Stub, on: Any) -> None:
    stub(200, [day(), day(on)])
    with pytest.raises(Unreadable):
        read()


def test_the_first_and_the_last_day_belong_to_it(stub: Stub) -> None:
    stub(200, [day("2026-06-01", 1), day("2026-06-30", 2)])
    assert read() == {date(2026, 6, 1): 1, date(2026, 6, 30): 2}


def test_a_day_that_comes_twice_is_refused(stub: Stub) -> None:
    stub(200, [day(requests=1), day(requests=2)])
    with pytest.raises(Unreadable):
        read()


@pytest.mark.parametrize("days", [-1, 366])
def test_a_range_is_one_day_to_a_year(days: int) -> None:
    with pytest.raises(ValueError, match="1 to 366 days"):
        sendgrid().statistics(ACCOUNT, JUNE[0], JUNE[0] + timedelta(days=days))


def test_a_denied_read_is_no_empty_one(stub: Stub) -> None:
    stub(403, {"errors": [{"field": None, "message": "access forbidden"}]})
    with pytest.raises(Forbidden):
        read()


def test_a_full_limit_holds_statistics_alone() -> None:
    provider = sendgrid()
    with responses.RequestsMock() as mock:
        mock.get(f"{SENDGRID}/v3/stats", status=429, json={"errors": [{"field": None, "message": "too many requests"}]})
        mock.get(f"{SENDGRID}/v3/user/credits", json=CREDITS)
        with pytest.raises(RateLimited):
            read(provider)
        with pytest.raises(NotSent):
            read(provider)
        assert provider.usage(ACCOUNT, UsageSource.CREDITS).used == 58800
        assert [call.request.path_url.split("?")[0] for call in mock.calls] == ["/v3/stats", "/v3/user/credits"]


def test_only_who_has_statistics_says_so() -> None:
    assert {kind: each.statistics for kind, each in CAPABILITIES.items()} == {"sendgrid": True, "ahasend": False}
    parent = "6f1c7f0a-1f0e-4c57-9df1-0f9fb1e2a001"
    aha = client(ConnectionConfig(kind="ahasend", base_url="https://api.ahasend.com", api_key=KEY, account_id=parent))
    with pytest.raises(Unsupported, match="statistics"):
        aha.statistics(AccountRef(parent), *JUNE)


def test_a_read_with_a_time_limit_is_not_repeated() -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{SENDGRID}/v3/user/credits", body=requests.ConnectionError("reset"))
        with pytest.raises((Unreadable, NotSent)):
            sendgrid().usage(ACCOUNT, UsageSource.CREDITS, seconds=5)
        assert len(mock.calls) == 1
        with pytest.raises((Unreadable, NotSent)):
            sendgrid().usage(ACCOUNT, UsageSource.CREDITS)
        assert len(mock.calls) == 4
