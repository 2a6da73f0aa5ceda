"""Pooled usage that is late, about the month before, or in another currency."""

from typing import Any

from tests.support.sandbox import AhaSendClient, SandboxAdmin


def pool_of(aha: AhaSendClient) -> dict[str, Any]:
    return dict(aha.send("GET", aha.child("usage")).json)


def total_of(aha: AhaSendClient) -> int:
    return int(pool_of(aha)["total"]["reception_count"])


def test_usage_can_lag(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.set_clock("2026-11-30T00:00:00Z")
    admin.aha.change(child, sending={"per_day": 2_400})
    admin.aha.add_usage(child, 7, at="2026-11-30T22:30:00Z")
    admin.switch("aha_usage_lag_seconds", 3_600)
    seen = []
    for now in ("11-30T01:00", "11-30T23:00", "11-30T23:30", "12-01T01:00", "12-01T02:00"):
        admin.set_clock(f"2026-{now}:00Z")
        seen.append(total_of(aha))
    assert seen == [0, 2_200, 2_257, 0, 100]
    assert [period["total"]["reception_count"] for period in admin.aha.truth()][-2:] == [2_407, 200]


def test_the_ended_month_can_still_answer(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.set_clock("2026-11-30T00:00:00Z")
    admin.aha.change(child, sending={"per_day": 2_400})
    admin.aha.change(aha.account, switches={"aha_ended_period_hours": 3})
    seen = []
    for hour in ("00:00", "02:59", "03:00"):
        admin.set_clock(f"2026-12-01T{hour}:00Z")
        seen.append((pool_of(aha)["billing_period"]["start"][:7], total_of(aha)))
    assert seen == [("2026-11", 2_400), ("2026-11", 2_400), ("2026-12", 300)]


def test_the_currency_can_change_in_a_month(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.set_clock("2026-10-05T00:00:00Z")
    admin.aha.change(child, sending={"per_day": 100_000})
    admin.aha.change(aha.account, currency="eur", at="2026-11-16T00:00:00Z")
    seen = []
    for day in ("10-20", "11-15", "11-16", "12-02"):
        admin.set_clock(f"2026-{day}T00:00:00Z")
        seen.append((pool_of(aha)["currency"], pool_of(aha)["total"]["allocated_cost"]))
    assert seen == [("usd", 150), ("usd", 140), ("eur", 150), ("eur", 10)]
    assert [period["currency"] for period in admin.aha.truth()][-3:] == ["usd", "eur", "eur"]


def test_a_parent_may_have_its_own_price(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    other = admin.aha.add_parent(name="Other")
    theirs = AhaSendClient(aha.base_url, other["key"], other["id"])
    admin.aha.change(other["id"], switches={"aha_currency": "chf", "aha_price_per_thousand": 2})
    for account in (aha.account, other["id"]):
        admin.aha.add_usage(account, 10_000)
    assert [(pool_of(each)["currency"], pool_of(each)["total"]["allocated_cost"]) for each in (aha, theirs)] == [
        ("usd", 1),
        ("chf", 20),
    ]
