"""v3 reads on behalf of a customer account: who may, and figures that agree everywhere."""

from datetime import date
from typing import Any

import pytest

from tests.sandbox.sendgrid.reads import overview, requests_by_date
from tests.support.sandbox import SandboxAdmin, SandboxClient, SandboxProcess

READS = (
    "/v3/user/credits",
    "/v3/user/account",
    "/v3/user/username",
    "/v3/user/email",
    "/v3/user/profile",
    "/v3/stats?start_date=2026-01-01",
)
METRICS = {
    "blocks",
    "bounce_drops",
    "bounces",
    "clicks",
    "deferred",
    "delivered",
    "invalid_emails",
    "opens",
    "processed",
    "requests",
    "spam_report_drops",
    "spam_reports",
    "unique_clicks",
    "unique_opens",
    "unsubscribe_drops",
    "unsubscribes",
}


def test_identity_is_that_of_the_account(client: SandboxClient) -> None:
    profile = {"email": "ops@northwind.test", "first_name": "Ann", "company_name": "Northwind", "phone": "+3581"}
    offerings = [{"name": "postkeeper.ei.free-100.v1", "type": "package"}]
    made = client.send("POST", "/v3/partners/accounts", {"profile": profile, "offerings": offerings})
    account = made.json["account_id"]
    assert client.behalf("/v3/user/email", account).json == {"email": "ops@northwind.test"}
    username = client.behalf("/v3/user/username", account).json
    assert username["username"] == "ops@northwind.test"
    assert isinstance(username["user_id"], int)
    plan = client.behalf("/v3/user/account", account).json
    assert plan["type"] == "free"
    assert 0 <= plan["reputation"] <= 100
    shown = client.behalf("/v3/user/profile", account).json
    assert (shown["first_name"], shown["company"], shown["website"]) == ("Ann", "Northwind", "")
    assert len(shown) == 11


def test_credits_have_all_seven_fields(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-03T00:00:00Z")
    account = client.create().json["account_id"]
    admin.move_clock(seconds=3600)
    admin.add_usage(account, 131_250)
    assert client.behalf("/v3/user/credits", account).json == {
        "remain": 0,
        "total": 100_000,
        "overage": 31_250,
        "used": 131_250,
        "last_reset": "2026-11-03",
        "next_reset": "2026-12-03",
        "reset_frequency": "monthly",
    }


def test_credits_stats_overview_and_truth_agree_at_any_time(sandbox: SandboxProcess, admin: SandboxAdmin) -> None:
    client = sandbox.client
    admin.set_clock("2026-01-31T09:00:00Z")
    account = client.create().json["account_id"]
    shape: dict[str, Any] = {
        "per_day": 5_500,
        "weekday": [1, 1, 1, 1, 1, 0.3, 0.1],
        "growth_per_month": 0.1,
        "jitter": 0.2,
        "seed": 5,
    }
    admin.set_sending(account, **shape)
    lifetime = 0
    # Across two resets, one of them of a 31st clamped to the 28th of February.
    for seconds in (1, 3_600, 5 * 86_400, 23 * 86_400, 86_399, 31 * 86_400, 12_345, 40 * 86_400):
        now = admin.move_clock(seconds=seconds)
        quota = client.behalf("/v3/user/credits", account).json
        since = f"start_date={quota['last_reset']}"
        for by in ("day", "week", "month"):
            assert sum(requests_by_date(client, account, f"{since}&aggregated_by={by}").values()) == quota["used"]
        seen = overview(sandbox)
        assert (int(seen["credits_used"]), int(seen["credits_allowed"])) == (
            quota["used"],
            quota["total"],
        )
        assert (int(seen["credits_overage"]), seen["credits_remain"]) == (
            quota["overage"],
            quota["remain"],
        )
        assert (seen["billing_start_date"], seen["billing_process_date"]) == (
            quota["last_reset"],
            quota["next_reset"],
        )
        truth = admin.truth(account)[0]["cycles"]
        assert (truth[-1]["used"], truth[-1]["start"]) == (quota["used"], quota["last_reset"])
        ever = sum(requests_by_date(client, account, "start_date=2026-01-01&aggregated_by=month").values())
        assert ever == sum(cycle["used"] for cycle in truth) == int(seen["requests"])
        assert ever >= lifetime, now
        lifetime = ever
    assert lifetime > 400_000


def test_the_cycle_of_the_31st_turns_on_the_last_day(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-01-31T09:00:00Z")
    account = client.create().json["account_id"]
    admin.set_sending(account, per_day=1_440)
    seen = []
    for now in ("2026-02-27T23:59:00Z", "2026-02-28T00:00:00Z", "2026-02-28T00:10:00Z", "2026-03-31T00:01:00Z"):
        admin.set_clock(now)
        quota = client.behalf("/v3/user/credits", account).json
        seen.append((quota["last_reset"], quota["next_reset"], quota["used"]))
    assert seen == [
        ("2026-01-31", "2026-02-28", 900 + 26 * 1_440 + 1_439),
        ("2026-02-28", "2026-03-31", 0),
        ("2026-02-28", "2026-03-31", 10),
        ("2026-03-31", "2026-04-30", 1),
    ]
    ended = admin.truth(account)[0]["cycles"]
    assert [cycle["used"] for cycle in ended] == [900 + 27 * 1_440, 31 * 1_440, 1]
    assert [cycle["over"] for cycle in ended] == [True, True, False]


@pytest.mark.parametrize("anchor_day", [1, 3, 28, 29, 30, 31])
def test_the_anchor_day_can_be_set(client: SandboxClient, admin: SandboxAdmin, anchor_day: int) -> None:
    admin.set_clock("2026-02-28T12:00:00Z")
    account = admin.add_account(created_at="2026-01-05", anchor_day=anchor_day)["id"]
    expected = {1: ("2026-02-01", "2026-03-01"), 3: ("2026-02-03", "2026-03-03")}
    later = ("2026-02-28", f"2026-03-{anchor_day}")
    quota = client.behalf("/v3/user/credits", account).json
    assert (quota["last_reset"], quota["next_reset"]) == expected.get(anchor_day, later)


def test_a_stopped_account_sends_nothing_more(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T00:00:00Z")
    account = client.create().json["account_id"]
    admin.set_sending(account, per_day=2_400)
    admin.move_clock(seconds=10 * 3_600)
    client.send("PUT", f"/v3/partners/accounts/{account}/state", {"state": "deactivated"})
    admin.move_clock(seconds=10 * 3_600)
    assert client.behalf("/v3/user/credits", account).json["used"] == 1_000
    client.send("PUT", f"/v3/partners/accounts/{account}/state", {"state": "activated"})
    admin.move_clock(seconds=3_600)
    assert client.behalf("/v3/user/credits", account).json["used"] == 1_100


def test_a_test_account_is_held_to_a_hundred_a_day(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T00:00:00Z")
    account = client.create(headers={"T-Test-Account": "true"}).json["account_id"]
    admin.set_sending(account, per_day=9_000)
    admin.move_clock(seconds=3 * 86_400)
    assert client.behalf("/v3/user/credits", account).json["used"] == 300
    assert admin.truth(account)[0]["cycles"][0]["attempted"] == 27_000


def test_stats_come_by_day_week_and_month(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-01T00:00:00Z")  # a Sunday
    account = client.create().json["account_id"]
    admin.set_sending(account, per_day=1_000)
    admin.set_clock("2026-12-02T12:00:00Z")
    by_day = requests_by_date(client, account, "start_date=2026-11-01&end_date=2026-11-30")
    assert len(by_day) == 30
    assert set(by_day.values()) == {1_000}
    by_week = requests_by_date(client, account, "start_date=2026-11-01&aggregated_by=week")
    assert list(by_week.items())[:2] == [("2026-10-26", 1_000), ("2026-11-02", 7_000)]
    by_month = requests_by_date(client, account, "start_date=2026-11-01&aggregated_by=month")
    assert by_month == {"2026-11-01": 30_000, "2026-12-01": 1_500}
    second = requests_by_date(client, account, "start_date=2026-11-01&aggregated_by=month&limit=1&offset=1")
    assert second == {"2026-12-01": 1_500}
    row = client.behalf("/v3/stats?start_date=2026-11-05&end_date=2026-11-05", account).json[0]
    assert set(row["stats"][0]["metrics"]) == METRICS


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "start_date"),
        ("start_date=yesterday", "start_date"),
        ("start_date=2026-02-30", "start_date"),
        ("start_date=2026-11-02&end_date=2026-11-01", "end_date"),
        ("start_date=2026-11-02&end_date=2026-11-xx", "end_date"),
        ("start_date=2026-01-01&aggregated_by=year", "aggregated_by"),
        ("start_date=2026-01-01&limit=many", "limit"),
    ],
)
def test_bad_stats_questions_are_refused(
    client: SandboxClient, admin: SandboxAdmin, account: str, query: str, field: str
) -> None:
    answer = client.behalf(f"/v3/stats?{query}", account)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, field)
    assert "error_id" not in answer.json["errors"][0]


@pytest.mark.parametrize("status", [404, 401, 403])
@pytest.mark.parametrize("behalf", ["account-id sg00", "account-id", "ops@northwind.test", "account-id a b"])
def test_an_unknown_account_is_not_read(client: SandboxClient, admin: SandboxAdmin, status: int, behalf: str) -> None:
    admin.switch("unknown_behalf", status)
    answer = client.send("GET", "/v3/user/credits", headers={"on-behalf-of": behalf})
    assert answer.status == status
    assert answer.json["errors"][0]["field"] is None


def test_accounts_deleted_or_elsewhere_are_not_read(sandbox: SandboxProcess, account: str) -> None:
    assert sandbox.eu_client.behalf("/v3/user/email", account).status == 404
    sandbox.client.send("DELETE", f"/v3/partners/accounts/{account}")
    for path in READS:
        assert sandbox.client.behalf(path, account).status == 404, path


def test_without_the_header_the_reseller_reads_itself(client: SandboxClient, admin: SandboxAdmin) -> None:
    account = client.create().json["account_id"]
    admin.add_usage(account, 500)
    own = client.send("GET", "/v3/user/credits").json
    assert (own["used"], own["total"]) == (0, 0)
    assert client.send("GET", "/v3/user/username").json["username"] == "sandbox-reseller"
    assert [client.send("GET", path).status for path in READS] == [200] * len(READS)


def test_credits_can_be_out_of_reach(sandbox: SandboxProcess, admin: SandboxAdmin, account: str) -> None:
    scoped = SandboxClient(sandbox.base_url, admin.add_key(missing_scopes=["user.credits.read"]))
    refused = scoped.behalf("/v3/user/credits", account)
    assert (refused.status, refused.json) == (403, {"errors": [{"message": "access forbidden", "field": None}]})
    assert scoped.behalf("/v3/user/account", account).status == 200
    assert sandbox.client.behalf("/v3/user/credits", account).status == 200
    admin.switch("credits", "403")
    assert sandbox.client.behalf("/v3/user/credits", account).status == 403


@pytest.mark.parametrize(("tables", "status"), [("new", 200), ("old", 403)])
def test_the_two_tables_of_states_disagree(
    client: SandboxClient, admin: SandboxAdmin, account: str, tables: str, status: int
) -> None:
    admin.switch("deactivated", tables)
    admin.set_state(account, "deactivated")
    assert client.behalf("/v3/user/credits", account).status == status


def test_no_mail_is_sent_on_behalf(client: SandboxClient, account: str) -> None:
    answer = client.send("POST", "/v3/mail/send", {}, headers={"on-behalf-of": f"account-id {account}"})
    assert answer.status == 403


def test_new_accounts_may_begin_to_send_by_themselves(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T00:00:00Z")
    admin.switch("default_sending", {"per_day": 2_400})
    account = client.create().json["account_id"]
    admin.move_clock(seconds=3_600)
    assert client.behalf("/v3/user/credits", account).json["used"] == 100


def test_months_of_use_may_lie_behind_a_new_account(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T00:00:00Z")
    account = admin.add_account(email="old@northwind.test", created_at="2026-08-01", sending={"per_day": 1_000})
    months = requests_by_date(client, account["id"], "start_date=2026-08-01&aggregated_by=month")
    assert months == {"2026-08-01": 31_000, "2026-09-01": 30_000, "2026-10-01": 31_000, "2026-11-01": 1_000}
    assert date.fromisoformat(account["created_at"][:10]) == date(2026, 8, 1)
