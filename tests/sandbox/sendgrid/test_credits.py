"""The credits counter: late, about an ended period, adjusted, and what an account has of its own."""

import pytest

from tests.sandbox.sendgrid.reads import credits_of, overview
from tests.support.sandbox import SandboxAdmin, SandboxClient, SandboxProcess


def used_of(client: SandboxClient, account: str) -> int:
    return int(credits_of(client, account)["used"])


@pytest.fixture
def sender(admin: SandboxAdmin) -> str:
    """An account with periods from the third, which sends 2,400 a day."""
    admin.set_clock("2026-06-03T00:00:00Z")
    made = admin.add_account(email="ops@northwind.test", sending={"per_day": 2_400})
    return str(made["id"])


def test_credits_can_lag(sandbox: SandboxProcess, admin: SandboxAdmin, sender: str) -> None:
    admin.switch("credits_lag_seconds", 7_200)
    admin.set_clock("2026-06-03T01:00:00Z")
    assert used_of(sandbox.client, sender) == 0
    admin.set_clock("2026-06-04T00:00:00Z")
    assert used_of(sandbox.client, sender) == 2_200
    assert (overview(sandbox)["credits_used"], overview(sandbox)["requests"]) == ("2200", "2200")
    assert admin.truth(sender)[0]["cycles"][0]["used"] == 2_400


def test_late_mail_stays_in_its_own_period(client: SandboxClient, admin: SandboxAdmin, sender: str) -> None:
    admin.switch("credits_lag_seconds", 7_200)
    admin.set_clock("2026-07-02T23:59:59Z")
    assert used_of(client, sender) == 71_799  # of 72,000
    admin.set_clock("2026-07-03T02:00:00Z")
    assert used_of(client, sender) == 0
    admin.set_clock("2026-07-03T03:00:00Z")
    assert used_of(client, sender) == 100
    assert [cycle["used"] for cycle in admin.truth(sender)[0]["cycles"]] == [72_000, 300]


def test_an_ended_period_can_still_answer(sandbox: SandboxProcess, admin: SandboxAdmin, sender: str) -> None:
    admin.switch("ended_period_hours", 6)
    admin.set_clock("2026-07-03T05:59:59Z")
    ended = credits_of(sandbox.client, sender)
    assert (ended["used"], ended["last_reset"], ended["next_reset"]) == (72_000, "2026-06-03", "2026-07-03")
    assert (overview(sandbox)["credits_used"], overview(sandbox)["billing_end_date"]) == ("72000", "2026-07-02")
    admin.set_clock("2026-07-03T06:00:00Z")
    running = credits_of(sandbox.client, sender)
    assert (running["used"], running["last_reset"]) == (600, "2026-07-03")


def test_a_late_count_grows_while_the_ended_period_answers(
    client: SandboxClient, admin: SandboxAdmin, sender: str
) -> None:
    admin.call("PUT", "switches", {"ended_period_hours": 6, "credits_lag_seconds": 3_600})
    seen = []
    for hour in ("00:00", "00:30", "01:00", "05:00"):
        admin.set_clock(f"2026-07-03T{hour}:00Z")
        seen.append(used_of(client, sender))
    assert seen == [71_900, 71_950, 72_000, 72_000]


def test_a_new_account_has_no_ended_period(client: SandboxClient, admin: SandboxAdmin, sender: str) -> None:
    admin.switch("ended_period_hours", 24)
    admin.set_clock("2026-06-03T01:00:00Z")
    seen = credits_of(client, sender)
    assert (seen["used"], seen["last_reset"]) == (100, "2026-06-03")


def test_an_adjusted_counter_continues_from_its_value(
    sandbox: SandboxProcess, admin: SandboxAdmin, sender: str
) -> None:
    admin.set_clock("2026-06-13T00:00:00Z")
    admin.call("POST", f"accounts/{sender}/adjustments", {"used": 2_000, "at": "2026-06-10T00:00:00Z"})
    assert used_of(sandbox.client, sender) == 2_000 + 3 * 2_400
    assert overview(sandbox)["credits_used"] == "9200"
    (truth,) = admin.truth(sender)
    assert truth["adjustments"] == [{"at": "2026-06-10T00:00:00Z", "used": 2_000}]
    assert [(cycle["used"], cycle["counted"]) for cycle in truth["cycles"]] == [(24_000, 9_200)]
    admin.set_clock("2026-06-09T00:00:00Z")
    assert used_of(sandbox.client, sender) == 14_400  # not before its time
    admin.set_clock("2026-07-04T00:00:00Z")
    assert used_of(sandbox.client, sender) == 2_400  # nor after the reset
    admin.call("DELETE", f"accounts/{sender}/adjustments")
    assert admin.truth(sender)[0]["cycles"][0]["counted"] == 72_000


def test_a_counter_falls_and_rises_again_and_again(client: SandboxClient, admin: SandboxAdmin, sender: str) -> None:
    for day, value in (("05", 100_000), ("06", 20_000), ("07", 90_000)):
        admin.call("POST", f"accounts/{sender}/adjustments", {"used": value, "at": f"2026-06-{day}T00:00:00Z"})
    seen = []
    for day in ("05", "06", "07", "08"):
        admin.set_clock(f"2026-06-{day}T00:00:00Z")
        seen.append(used_of(client, sender))
    assert seen == [100_000, 20_000, 90_000, 92_400]


def test_an_adjustment_waits_for_late_mail(client: SandboxClient, admin: SandboxAdmin, sender: str) -> None:
    admin.switch("credits_lag_seconds", 3_600)
    admin.call("POST", f"accounts/{sender}/adjustments", {"used": 10, "at": "2026-06-10T00:00:00Z"})
    seen = []
    for hour in ("00:00", "01:00", "02:00"):
        admin.set_clock(f"2026-06-10T{hour}:00Z")
        seen.append(used_of(client, sender))
    assert seen == [10, 10, 110]


def test_an_account_wins_over_its_organization(sandbox: SandboxProcess, admin: SandboxAdmin, sender: str) -> None:
    admin.set_clock("2026-06-04T00:00:00Z")
    other = admin.add_account(organisation="reseller-eu", created_at="2026-06-03", sending={"per_day": 2_400})["id"]
    admin.switch("credits_lag_seconds", 3_600)
    assert used_of(sandbox.client, sender) == 2_300
    admin.call("PATCH", "organisations/reseller-global", {"switches": {"credits_lag_seconds": 7_200}})
    assert (used_of(sandbox.client, sender), used_of(sandbox.eu_client, other)) == (2_200, 2_300)
    assert admin.organisations()[0]["switches"] == {"credits_lag_seconds": 7_200}
    shown = admin.change_account(sender, switches={"credits_lag_seconds": 0})
    assert (used_of(sandbox.client, sender), shown["switches"]) == (2_400, {"credits_lag_seconds": 0})
    admin.change_account(sender, switches={"credits_lag_seconds": None})
    assert used_of(sandbox.client, sender) == 2_200
    admin.reset()
    assert admin.organisations()[0]["switches"] == {}


def test_an_accounts_own_zone_sets_its_first_period(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-06-03T05:00:00Z")
    account = admin.add_account(switches={"reset_zone": "America/Los_Angeles"})["id"]
    assert credits_of(client, account)["last_reset"] == "2026-06-02"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("PATCH accounts/ID", {"switches": {"latency_ms": 5}}),
        ("PATCH accounts/ID", {"switches": {"reset_zone": "Europe/Nowhere"}}),
        ("PATCH accounts/ID", {"switches": {"stats_first_share": 1.5}}),
        ("PATCH accounts/ID", {"timezone": "Mars"}),
        ("PATCH accounts/ID", {"sending": {"subuser_share": 2}}),
        ("PATCH organisations/reseller-global", {"switches": {"credits_lag_seconds": -1}}),
        ("PATCH organisations/reseller-global", {"name": "x"}),
        ("POST accounts/ID/adjustments", {"used": -1}),
        ("POST accounts/ID/adjustments", {"at": "2026-06-10"}),
        ("POST accounts/ID/usage", {"requests": 1, "sender": "nobody"}),
        ("POST accounts/ID/overrides", {"fields": {}}),
        ("POST accounts/ID/overrides", {"fields": {"used": 1}, "count": 0}),
        ("POST accounts/ID/overrides", {"fields": {"used": 1}, "operation": "stats"}),
        ("PUT switches", {"reset_zone": "Pacific"}),
    ],
)
def test_wrong_values_are_refused(*, admin: SandboxAdmin, account: str, path: str, body: dict[str, object]) -> None:
    method, where = path.replace("ID", account).split()
    before = (admin.account(account), admin.truth(), admin.organisations())
    with pytest.raises(AssertionError, match=" 400 "):
        admin.call(method, where, body)
    assert (admin.account(account), admin.truth(), admin.organisations()) == before
