"""Answers that contradict each other, themselves or the truth."""

from typing import Any

import pytest

from tests.sandbox.sendgrid.reads import credits_of, overview
from tests.support.sandbox import AhaSendClient, SandboxAdmin, SandboxClient, SandboxProcess


def override(admin: SandboxAdmin, account: str, **body: object) -> int:
    return int(admin.call("POST", f"accounts/{account}/overrides", body)["id"])


def pool_of(aha: AhaSendClient) -> dict[str, Any]:
    return dict(aha.send("GET", aha.child("usage")).json)


def test_the_next_answers_are_replaced(client: SandboxClient, admin: SandboxAdmin, account: str) -> None:
    admin.add_usage(account, 7)
    override(admin, account, fields={"used": 500, "total": 100, "remain": None}, count=2)
    before = admin.truth(account)[0]["overrides"]
    assert [(each["operation"], each["remaining"]) for each in before] == [("credits", 2)]
    for _ in range(2):
        seen = credits_of(client, account)
        assert (seen["used"], seen["total"], seen["overage"]) == (500, 100, 0)
        assert "remain" not in seen
    assert (credits_of(client, account)["used"], credits_of(client, account)["remain"]) == (7, 99_993)
    assert admin.truth(account)[0]["overrides"] == []
    assert admin.truth(account)[0]["cycles"][0]["used"] == 7


def test_only_the_accounts_own_answer_is_replaced(sandbox: SandboxProcess, admin: SandboxAdmin, account: str) -> None:
    other = sandbox.client.create(email="it@globex.test").json["account_id"]
    override(admin, account, fields={"used": 10**12})
    assert credits_of(sandbox.client, other)["used"] == 0
    assert overview(sandbox)["credits_used"] == "0"
    assert credits_of(sandbox.client, account)["used"] == 10**12


def test_v2_has_overrides_of_its_own(sandbox: SandboxProcess, admin: SandboxAdmin, account: str) -> None:
    fields = {"credits_used": " 50 ", "credits_overage": "40", "billing_end_date": "2026-03-20"}
    override(admin, account, operation="overview", fields=fields)
    seen = overview(sandbox)
    assert {name: seen[name] for name in fields} == fields
    assert credits_of(sandbox.client, account)["used"] == 0


def test_overrides_stay_until_removed(client: SandboxClient, admin: SandboxAdmin, account: str) -> None:
    first = override(admin, account, fields={"used": 1, "total": 5})
    override(admin, account, fields={"used": 2})
    assert [credits_of(client, account)["used"] for _ in range(5)] == [2] * 5
    assert [each["id"] for each in admin.call("GET", f"accounts/{account}/overrides")["overrides"]] == [
        first,
        first + 1,
    ]
    admin.call("DELETE", f"accounts/{account}/overrides/{first + 1}")
    assert (credits_of(client, account)["used"], credits_of(client, account)["total"]) == (1, 5)
    admin.call("DELETE", f"accounts/{account}/overrides")
    assert credits_of(client, account)["total"] == 100_000


def test_a_pool_can_fall_and_a_share_with_it(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.switch("aha_price_per_thousand", 1)
    other = aha.create_child("Globex").json["id"]
    admin.aha.add_usage(child, 20_000)
    admin.aha.add_usage(other, 380_000)
    fields = {
        "currency": "eur",
        "total": {"reception_count": 240_000},
        "sub_accounts": {child: {"allocated_cost": 9.9}},
        "billing_period": {"end": "2026-02-02T00:00:00Z"},
    }
    admin.call("POST", f"aha/accounts/{aha.account}/overrides", {"fields": fields, "count": 1})
    assert admin.call("GET", f"aha/truth?parent={aha.account}")["parents"][0]["overrides"][0]["remaining"] == 1
    seen, after = pool_of(aha), pool_of(aha)
    assert (seen["currency"], seen["total"]) == ("eur", {"reception_count": 240_000, "allocated_cost": 400})
    assert [share["allocated_cost"] for share in seen["sub_accounts"]] == [9.9, 380]
    assert seen["sub_accounts"][0]["reception_count"] == 20_000
    assert seen["billing_period"] == {"start": "2026-01-01T00:00:00Z", "end": "2026-02-02T00:00:00Z"}
    assert (after["total"]["reception_count"], after["currency"]) == (400_000, "usd")
    assert [share["allocated_cost"] for share in after["sub_accounts"]] == [20, 380]


@pytest.mark.parametrize("body", [{"fields": {}}, {"fields": {"used": 1}, "operation": "credits"}])
def test_wrong_pool_overrides_are_refused(admin: SandboxAdmin, aha: AhaSendClient, body: object) -> None:
    with pytest.raises(AssertionError, match=" 400 "):
        admin.call("POST", f"aha/accounts/{aha.account}/overrides", body)


def test_a_sub_account_has_no_usage_answer(admin: SandboxAdmin, child: str) -> None:
    for body in ({"currency": "eur"}, {"switches": {"aha_currency": "eur"}}):
        with pytest.raises(AssertionError, match=" 400 "):
            admin.aha.change(child, **body)
    with pytest.raises(AssertionError, match=" 400 "):
        admin.call("POST", f"aha/accounts/{child}/overrides", {"fields": {"currency": "eur"}})
