"""Pooled usage: exact sums through deletions and a month's end, costs that add up to the cent."""

import json
import random
from decimal import Decimal
from typing import Any

import pytest

from tests.support.sandbox import AhaSendClient, SandboxAdmin, SandboxProcess


def usage(aha: AhaSendClient) -> dict[str, Any]:
    """The answer with its money as it is written, never through a float."""
    answer = aha.send("GET", aha.child("usage"))
    assert answer.status == 200
    return dict(json.loads(answer.body, parse_float=Decimal))


def buckets(of: dict[str, Any]) -> list[dict[str, Any]]:
    return [of["parent"], *of["sub_accounts"], of["removed_sub_accounts"]]


def adds_up(of: dict[str, Any]) -> bool:
    return all(
        sum(bucket[name] for bucket in buckets(of)) == of["total"][name]
        for name in ("reception_count", "allocated_cost")
    )


def counts(of: dict[str, Any]) -> tuple[int, list[int], int, int]:
    return (
        of["parent"]["reception_count"],
        [share["reception_count"] for share in of["sub_accounts"]],
        of["removed_sub_accounts"]["reception_count"],
        of["total"]["reception_count"],
    )


def test_an_empty_period_costs_nothing(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-15T10:00:00Z")
    assert usage(aha) == {
        "billing_period": {"start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z"},
        "currency": "usd",
        "allocation_method": "proportional",
        "allocation_note": usage(aha)["allocation_note"],
        "parent": {"account_id": aha.account, "reception_count": 0, "allocated_cost": 0},
        "sub_accounts": [],
        "removed_sub_accounts": {"reception_count": 0, "allocated_cost": 0},
        "total": {"reception_count": 0, "allocated_cost": 0},
    }


def test_the_documented_example(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-07-15T10:00:00Z")
    admin.call("PUT", "switches", {"aha_currency": "eur", "aha_price_per_thousand": 0.08})
    made = [aha.create_child(name).json["id"] for name in ("Northwind Oy", "Globex", "Gone")]
    for account, count in zip((aha.account, *made), (100_000, 250_000, 50_000, 100_000), strict=True):
        admin.aha.add_usage(account, count)
    aha.send("DELETE", aha.child(made[2]))
    seen = usage(aha)
    assert counts(seen) == (100_000, [250_000, 50_000], 100_000, 500_000)
    assert [bucket["allocated_cost"] for bucket in buckets(seen)] == [8, 20, 4, 8]
    assert (seen["total"]["allocated_cost"], seen["currency"]) == (40, "eur")
    assert [share["name"] for share in seen["sub_accounts"]] == ["Northwind Oy", "Globex"]
    assert "account_id" not in seen["removed_sub_accounts"]
    assert "name" not in seen["parent"]


def test_shares_change_as_others_send(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.switch("aha_price_per_thousand", 1)
    admin.aha.add_usage(child, 1_000)
    assert usage(aha)["sub_accounts"][0]["allocated_cost"] == 1
    admin.aha.add_usage(aha.account, 500)
    seen = usage(aha)
    assert (seen["sub_accounts"][0]["allocated_cost"], seen["total"]["allocated_cost"]) == (1, Decimal("1.5"))


@pytest.mark.parametrize("seed", range(8))
def test_any_numbers_add_up_to_the_unit_and_the_cent(aha: AhaSendClient, admin: SandboxAdmin, seed: int) -> None:
    chance = random.Random(seed)
    admin.switch("aha_price_per_thousand", chance.choice([0.0123, 0.1, 0.33, 7]))
    made = admin.aha.add_accounts([{"name": f"n{number}"} for number in range(chance.randint(1, 12))])
    for account in (aha.account, *(row["id"] for row in made)):
        admin.aha.add_usage(account, chance.choice([0, 1, 2, 3, 17, chance.randint(0, 900_000)]))
    for row in chance.sample(made, len(made) // 3):
        aha.send("DELETE", aha.child(row["id"]))
    seen = usage(aha)
    assert adds_up(seen)
    for bucket in (*buckets(seen), seen["total"]):
        assert bucket["allocated_cost"] >= 0
        assert bucket["allocated_cost"] == round(Decimal(bucket["allocated_cost"]), 2)


def test_a_deleted_accounts_usage_counts_until_the_period_ends(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-10T00:00:00Z")
    stays, goes = (aha.create_child(name).json["id"] for name in ("Stays", "Goes"))
    for account in (stays, goes):
        admin.aha.change(account, sending={"per_day": 1_000})
    admin.set_clock("2026-11-20T12:00:00Z")
    assert counts(usage(aha)) == (0, [10_500, 10_500], 0, 21_000)
    aha.send("DELETE", aha.child(goes))
    assert counts(usage(aha)) == (0, [10_500], 10_500, 21_000)
    admin.set_clock("2026-11-25T12:00:00Z")
    assert counts(usage(aha)) == (0, [15_500], 10_500, 26_000)
    admin.set_clock("2026-11-30T23:59:59Z")
    assert usage(aha)["billing_period"]["start"] == "2026-11-01T00:00:00Z"
    admin.set_clock("2026-12-01T00:00:00Z")
    seen = usage(aha)
    assert seen["billing_period"] == {"start": "2026-12-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}
    assert counts(seen) == (0, [0], 0, 0)
    admin.set_clock("2026-12-02T12:00:00Z")
    assert counts(usage(aha)) == (0, [1_500], 0, 1_500)


def test_who_is_stopped_sends_nothing(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-10T00:00:00Z")
    first, second = (aha.create_child(name).json["id"] for name in ("First", "Second"))
    for account in (first, second):
        admin.aha.change(account, sending={"per_day": 1_000})
    admin.set_clock("2026-11-11T00:00:00Z")
    aha.send("POST", aha.child(first, "/suspend"), {"reason": "Complaints"})
    admin.set_clock("2026-11-12T00:00:00Z")
    admin.aha.change(aha.account, status="suspended")
    admin.set_clock("2026-11-14T00:00:00Z")
    admin.aha.change(aha.account, status="active")
    admin.set_clock("2026-11-15T00:00:00Z")
    seen = usage(aha)
    assert counts(seen)[1] == [1_000, 3_000]  # suspended ones are listed
    assert adds_up(seen)
    stopped, busy = (aha.send("GET", aha.child(account)).json["last_activity_at"] for account in (first, second))
    assert (stopped, busy) == ("2026-11-14T00:00:00Z", "2026-11-15T00:00:00Z")


def test_the_truth_names_everyone_in_every_period(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-10-10T00:00:00Z")
    stays, goes = (aha.create_child(name).json["id"] for name in ("Stays", "Goes"))
    for account in (stays, goes):
        admin.aha.change(account, sending={"per_day": 1_000})
    admin.set_clock("2026-10-31T23:59:59Z")
    last = usage(aha)
    admin.set_clock("2026-11-15T12:00:00Z")
    aha.send("DELETE", aha.child(goes))
    admin.set_clock("2026-12-05T00:00:00Z")
    october, november, december = admin.aha.truth()
    assert [period["billing_period"]["start"][:7] for period in (october, november, december)] == [
        "2026-10",
        "2026-11",
        "2026-12",
    ]
    assert [period["over"] for period in (october, november, december)] == [True, True, False]
    assert counts(october)[1] == [22_000, 22_000]
    assert max(abs(count - 22_000) for count in counts(last)[1]) <= 1  # a second before its end
    assert counts(november) == (0, [30_000], 14_500, 44_500)
    assert [(share["name"], share["removed"], share["count"]) for share in november["accounts"]] == [
        ("Stays", False, 30_000),
        ("Goes", True, 14_500),
    ]
    assert counts(december) == (0, [4_000], 0, 4_000)
    assert {name: december[name] for name in usage(aha)} == json.loads(aha.send("GET", aha.child("usage")).body)


def test_a_history_can_be_made_in_the_past(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-15T00:00:00Z")
    account = admin.aha.add_account("Old", created_at="2026-09-01", sending={"per_day": 100}, monthly_credit=5)
    admin.aha.add_usage(account["id"], 7, at="2026-10-05T10:00:00Z")
    assert [period["total"]["reception_count"] for period in admin.aha.truth()] == [3_000, 3_107, 1_400]
    with pytest.raises(AssertionError, match="400"):
        admin.aha.add_usage(account["id"], 7, at="2026-08-31")
    with pytest.raises(AssertionError, match="400"):
        admin.aha.add_usage(account["id"], -7)


def test_new_ones_can_be_busy_from_the_start(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-10T00:00:00Z")
    admin.switch("aha_default_sending", {"per_day": 1_000})
    aha.create_child()
    admin.set_clock("2026-11-11T00:00:00Z")
    assert counts(usage(aha))[1] == [1_000]


def test_parents_have_invoices_of_their_own(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    other = admin.aha.add_parent(name="Other")
    theirs = AhaSendClient(aha.base_url, other["key"], other["id"])
    admin.aha.add_usage(theirs.create_child("Globex").json["id"], 5)
    admin.aha.add_usage(child, 3)
    assert (counts(usage(aha))[3], counts(usage(theirs))[3]) == (3, 5)


def test_statistics_agree_with_usage(aha: AhaSendClient, own: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-12-10T00:00:00Z")
    admin.aha.change(own.account, sending={"per_day": 1_000})
    admin.set_clock("2026-12-12T12:00:00Z")
    days = own.send("GET", own.own("/statistics/transactional/deliverability")).json["data"]
    assert [day["reception_count"] for day in days] == [1_000, 1_000, 500]
    assert counts(usage(aha))[1] == [2_500]


def test_statistics_take_a_window(own: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-12-10T00:00:00Z")
    admin.aha.change(own.account, sending={"per_day": 1_000})
    admin.set_clock("2026-12-12T12:00:00Z")
    admin.switch("aha_statistics_rate", 0)
    path = own.own("/statistics/transactional/deliverability")
    one = own.send("GET", f"{path}?from_time=2026-12-11T00:00:00Z&to_time=2026-12-12T01:00:00%2B01:00&group_by=week")
    assert [day["from_timestamp"] for day in one.json["data"]] == ["2026-12-11T00:00:00Z"]
    for wrong in ("to_time=null", "from_time=2026-12-11", "from_time=2026-13-11T00:00:00Z", "group_by=year"):
        assert own.send("GET", f"{path}?{wrong}").status == 400, wrong


def test_a_thousand_accounts_are_no_burden(sandbox: SandboxProcess, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-29T00:00:00Z")
    given = [{"name": f"n{number}", "created_at": "2026-09-01", "sending": {"per_day": 100}} for number in range(1_000)]
    admin.aha.add_accounts(given)
    seen = usage(sandbox.ahasend)
    assert seen["total"]["reception_count"] == 2_800_000
    assert adds_up(seen)
