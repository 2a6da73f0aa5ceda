"""Billing periods: the zone of the resets, and restarts."""

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest

from portal.sandbox.clock import moment_of
from portal.sandbox.sendgrid.resets import Billing, period_at, periods
from tests.sandbox.sendgrid.reads import credits_of, overview
from tests.support.sandbox import SandboxAdmin, SandboxClient, SandboxProcess

PACIFIC = "America/Los_Angeles"
PACKAGES = {size: [{"name": f"postkeeper.ei.pro-{size}.v1", "type": "package"}] for size in ("100k", "300k")}


def at(text: str) -> int:
    return int(moment_of(text))


@pytest.mark.parametrize(
    ("anchor_day", "inside", "starts_at", "resets_at"),
    [
        (10, "2026-03-01", "2026-02-10T08:00Z", "2026-03-10T07:00Z"),  # the clock goes forward on 8 March
        (8, "2026-03-20", "2026-03-08T08:00Z", "2026-04-08T07:00Z"),  # and this period begins two hours before
        (1, "2026-10-20", "2026-10-01T07:00Z", "2026-11-01T07:00Z"),  # and back on 1 November, after midnight
        (2, "2026-10-20", "2026-10-02T07:00Z", "2026-11-02T08:00Z"),
        (31, "2026-02-28T20:00Z", "2026-02-28T08:00Z", "2026-03-31T07:00Z"),
    ],
)
def test_periods_follow_a_zone_with_summer_time(anchor_day: int, inside: str, starts_at: str, resets_at: str) -> None:
    period = period_at(Billing(anchor_day, PACIFIC), moment_of(inside))
    assert (period.starts_at, period.resets_at) == (at(starts_at), at(resets_at))


@pytest.mark.parametrize("anchor_day", [1, 8, 29, 31])
def test_periods_of_a_zone_leave_no_gap(anchor_day: int) -> None:
    billing = Billing(anchor_day, PACIFIC)
    known = list(periods(billing, moment_of("2026-01-15"), moment_of("2030-01-01")))
    assert len(known) > 45
    assert all((before.end, before.resets_at) == (after.start, after.starts_at) for before, after in pairwise(known))
    assert {datetime.fromtimestamp(period.starts_at, UTC).hour for period in known} == {7, 8}


def test_a_restart_ends_a_period_and_moves_the_anchor() -> None:
    billing = Billing(10, restarts=[moment_of("2026-03-25T14:30Z")])
    old, new, after = list(periods(billing, moment_of("2026-03-10"), moment_of("2026-04-25")))
    assert (old.start, old.end) == (date(2026, 3, 10), date(2026, 3, 25))
    assert (new.start, new.end) == (date(2026, 3, 25), date(2026, 4, 25))
    assert old.resets_at == new.starts_at == at("2026-03-25T14:30Z")
    assert new.resets_at == after.starts_at == at("2026-04-25")


def test_two_restarts_in_a_day_leave_an_empty_period() -> None:
    restarts = [moment_of("2026-03-25T14:30Z"), moment_of("2026-03-25T16:00Z")]
    found = list(periods(Billing(10, restarts=restarts), moment_of("2026-03-24"), moment_of("2026-03-26")))
    assert [(period.start.day, period.end.day) for period in found] == [(10, 25), (25, 25), (25, 25)]
    assert [period.resets_at for period in found][:2] == restarts


def test_credits_reset_at_midnight_of_the_zone(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.switch("reset_zone", PACIFIC)
    admin.set_clock("2026-02-11T00:00:00Z")  # still the 10th there
    account = str(client.create().json["account_id"])
    admin.add_usage(account, 500, at="2026-03-10T06:59:59Z")
    admin.add_usage(account, 7, at="2026-03-10T07:00:00Z")
    admin.set_clock("2026-03-10T06:59:59Z")
    last = credits_of(client, account)
    assert (last["used"], last["last_reset"], last["next_reset"]) == (500, "2026-02-10", "2026-03-10")
    assert [cycle["over"] for cycle in admin.truth(account)[0]["cycles"]] == [False]
    admin.set_clock("2026-03-10T07:00:00Z")
    first = credits_of(client, account)
    assert (first["used"], first["last_reset"], first["next_reset"]) == (7, "2026-03-10", "2026-04-10")
    (truth,) = admin.truth(account)
    assert truth["reset_zone"] == PACIFIC
    ends = [(cycle["used"], cycle["resets_at"], cycle["over"]) for cycle in truth["cycles"]]
    assert ends == [(500, "2026-03-10T07:00:00Z", True), (7, "2026-04-10T07:00:00Z", False)]


def test_the_truth_can_be_told_of_an_earlier_time(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-03-20T00:00:00Z")
    account = admin.add_account(created_at="2026-03-10", sending={"per_day": 2_400})["id"]
    (then,) = admin.call("GET", f"truth?account={account}&at=2026-03-11T01:00:00Z")["accounts"]
    assert [cycle["used"] for cycle in then["cycles"]] == [2_500]


@pytest.mark.parametrize("by", ["reseller", "console"])
def test_another_package_may_restart_the_period(sandbox: SandboxProcess, admin: SandboxAdmin, by: str) -> None:
    admin.switch("upgrade_restarts_period", True)
    admin.set_clock("2026-03-10T00:00:00Z")
    made = admin.add_account(email="ops@northwind.test", offerings=PACKAGES["100k"], sending={"per_day": 2_400})
    for size, minute in (("100k", "11:30"), ("300k", "12:00"), ("300k", "12:30")):  # only another package restarts
        admin.set_clock(f"2026-03-20T{minute}:00Z")
        if by == "console":
            admin.change_account(made["id"], offerings=PACKAGES[size])
        else:
            sandbox.client.send("PUT", f"/v3/partners/accounts/{made['id']}/offerings", {"offerings": PACKAGES[size]})
    admin.set_clock("2026-03-20T13:00:00Z")
    seen = credits_of(sandbox.client, made["id"])
    assert (seen["used"], seen["last_reset"], seen["next_reset"]) == (100, "2026-03-20", "2026-04-20")
    in_v2 = overview(sandbox)
    assert (in_v2["billing_start_date"], in_v2["billing_end_date"]) == ("2026-03-20", "2026-04-19")
    old, new = admin.truth(made["id"])[0]["cycles"]
    assert (old["used"], old["allowed"], old["resets_at"]) == (25_200, 100_000, "2026-03-20T12:00:00Z")
    assert (new["allowed"], new["starts_at"]) == (300_000, "2026-03-20T12:00:00Z")


def test_an_upgrade_keeps_the_period_by_default(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-03-10T00:00:00Z")
    account = admin.add_account(offerings=PACKAGES["100k"])["id"]
    admin.set_clock("2026-03-20T12:00:00Z")
    admin.change_account(account, offerings=PACKAGES["300k"])
    assert credits_of(client, account)["last_reset"] == "2026-03-10"


def test_the_console_can_restart_a_period(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-03-10T00:00:00Z")
    account = admin.add_account(sending={"per_day": 2_400})["id"]
    admin.set_clock("2026-03-20T00:00:00Z")
    admin.change_account(account, restart_period=True, at="2026-03-19T23:00:00Z")
    assert [cycle["used"] for cycle in admin.truth(account)[0]["cycles"]] == [23_900, 100]
    assert credits_of(client, account)["next_reset"] == "2026-04-19"
