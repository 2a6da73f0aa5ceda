"""Statistics: the account's own days, late and revised, with and without subusers and marketing mail."""

import random
from datetime import date, timedelta

import pytest

from portal.sandbox.clock import midnight, moment_of
from portal.sandbox.sendgrid.resets import Billing, periods
from portal.sandbox.sendgrid.statistics import lifetime_requests, requests_by_day
from portal.sandbox.sendgrid.usage import Added, History, Moment, Sending, credits_until, period_use, portions
from tests.sandbox.sendgrid.reads import credits_of, overview, requests_by_date
from tests.support.sandbox import SandboxAdmin, SandboxClient, SandboxProcess

BEGIN = moment_of("2026-03-10T06:30:00Z")


def used_of(client: SandboxClient, account: str) -> int:
    return int(credits_of(client, account)["used"])


@pytest.fixture
def sender(admin: SandboxAdmin) -> str:
    """An account in Helsinki that sends 2,400 a day from 3 June."""
    admin.set_clock("2026-06-03T00:00:00Z")
    given = {"email": "ops@northwind.test", "timezone": "Europe/Helsinki"}
    return str(admin.add_account(profile=given, sending={"per_day": 2_400})["id"])


def test_days_are_those_of_the_account(client: SandboxClient, admin: SandboxAdmin, sender: str) -> None:
    admin.set_clock("2026-06-04T21:30:00Z")  # half an hour into the 5th there
    in_helsinki = requests_by_date(client, sender, "start_date=2026-06-03")
    assert in_helsinki == {"2026-06-03": 2_100, "2026-06-04": 2_400, "2026-06-05": 50}
    assert admin.truth(sender, days=True)[0]["days"] == in_helsinki
    admin.change_account(sender, timezone="America/Los_Angeles")
    in_california = requests_by_date(client, sender, "start_date=2026-06-02")
    assert in_california == {"2026-06-02": 700, "2026-06-03": 2_400, "2026-06-04": 1_450}
    assert used_of(client, sender) == 4_550


def test_a_zone_given_at_create_counts(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-06-03T20:00:00Z")
    offerings = [{"name": "postkeeper.ei.pro-100k.v1", "type": "package"}]
    profile = {"email": "ops@northwind.test", "timezone": "Asia/Tokyo"}
    made = client.send("POST", "/v3/partners/accounts", {"profile": profile, "offerings": offerings}).json["account_id"]
    admin.add_usage(made, 5)
    assert requests_by_date(client, made, "start_date=2026-06-03") == {"2026-06-03": 0, "2026-06-04": 5}
    assert "timezone" not in client.behalf("/v3/user/profile", made).json


def test_accounts_without_a_zone_take_the_switch(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-06-03T20:00:00Z")
    account = client.create().json["account_id"]
    admin.add_usage(account, 5)
    assert requests_by_date(client, account, "start_date=2026-06-03") == {"2026-06-03": 5}
    admin.switch("account_timezone", "Asia/Tokyo")
    assert requests_by_date(client, account, "start_date=2026-06-03") == {"2026-06-03": 0, "2026-06-04": 5}


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-10", 24)])
def test_a_day_may_have_23_or_25_hours(day: str, hours: int) -> None:
    start = moment_of("2026-01-01")
    of = History([Moment(start, True, 10**9, sending=Sending(2_400, since=start))], [], Billing(1))
    wanted = date.fromisoformat(day)
    assert requests_by_day(of, "Europe/Helsinki", wanted, wanted, moment_of("2027-01-01")) == {wanted: hours * 100}


def test_statistics_can_lag(client: SandboxClient, admin: SandboxAdmin, sender: str) -> None:
    admin.change_account(sender, timezone="UTC")
    admin.switch("stats_lag_seconds", 3_600)
    admin.set_clock("2026-06-04T00:30:00Z")
    assert requests_by_date(client, sender, "start_date=2026-06-03") == {"2026-06-03": 2_350, "2026-06-04": 0}
    assert used_of(client, sender) == 2_450


def test_a_day_is_revised_and_then_final(client: SandboxClient, admin: SandboxAdmin, sender: str) -> None:
    admin.change_account(sender, timezone="UTC")
    admin.change_account(sender, switches={"stats_first_share": 0.9, "stats_revised_hours": 10})
    seen = []
    for now in ("03T12:00", "04T00:00", "04T05:00", "04T09:00", "04T10:00", "09T00:00"):
        admin.set_clock(f"2026-06-{now}:00Z")
        seen.append(requests_by_date(client, sender, "start_date=2026-06-03&end_date=2026-06-03")["2026-06-03"])
    assert seen == [1_080, 2_160, 2_280, 2_376, 2_400, 2_400]
    assert admin.truth(sender, days=True)[0]["days"]["2026-06-03"] == 2_400


def test_without_hours_a_day_is_final_at_its_end(client: SandboxClient, admin: SandboxAdmin, sender: str) -> None:
    admin.change_account(sender, timezone="UTC")
    admin.switch("stats_first_share", 0.5)
    admin.set_clock("2026-06-04T12:00:00Z")
    assert requests_by_date(client, sender, "start_date=2026-06-03") == {"2026-06-03": 2_400, "2026-06-04": 600}


def test_subusers_count_in_credits_and_perhaps_in_statistics(
    client: SandboxClient, admin: SandboxAdmin, sender: str
) -> None:
    admin.change_account(sender, timezone="UTC")
    admin.set_sending(sender, at="2026-06-03T00:00:00Z", per_day=2_400, subuser_share=0.25)
    admin.call("POST", f"accounts/{sender}/usage", {"requests": 30, "sender": "subuser"})
    admin.set_clock("2026-06-03T12:00:00Z")
    assert used_of(client, sender) == 1_230
    assert requests_by_date(client, sender, "start_date=2026-06-03") == {"2026-06-03": 1_230}
    admin.switch("stats_subusers", False)
    assert requests_by_date(client, sender, "start_date=2026-06-03") == {"2026-06-03": 900}
    (truth,) = admin.truth(sender, days=True)
    assert (truth["cycles"][0]["used"], truth["cycles"][0]["subusers"]) == (1_230, 330)
    assert truth["days"] == {"2026-06-03": 900}


def test_marketing_mail_takes_no_credits(sandbox: SandboxProcess, admin: SandboxAdmin, sender: str) -> None:
    admin.change_account(sender, timezone="UTC")
    admin.set_sending(sender, at="2026-06-03T00:00:00Z", per_day=2_400, marketing_per_day=240)
    admin.call("POST", f"accounts/{sender}/usage", {"requests": 7, "sender": "marketing"})
    admin.set_clock("2026-06-03T12:00:00Z")
    assert used_of(sandbox.client, sender) == 1_200
    assert requests_by_date(sandbox.client, sender, "start_date=2026-06-03") == {"2026-06-03": 1_327}
    seen = overview(sandbox)
    assert (seen["requests"], seen["credits_used"]) == ("1327", "1200")
    (cycle,) = admin.truth(sender)[0]["cycles"]
    assert (cycle["used"], cycle["attempted"], cycle["marketing"]) == (1_200, 1_200, 127)
    admin.set_state(sender, "suspended")
    admin.set_clock("2026-06-05T00:00:00Z")
    admin.call("POST", f"accounts/{sender}/usage", {"requests": 7, "sender": "marketing"})
    assert admin.truth(sender)[0]["cycles"][0]["marketing"] == 127


def test_marketing_mail_knows_no_ceiling(admin: SandboxAdmin) -> None:
    admin.set_clock("2026-06-03T00:00:00Z")
    account = admin.add_account(sending={"per_day": 1_000_000, "marketing_per_day": 1_000_000})["id"]
    admin.set_clock("2026-06-04T00:00:00Z")
    (cycle,) = admin.truth(account)[0]["cycles"]
    assert (cycle["used"], cycle["marketing"]) == (125_000, 1_000_000)


def test_the_subusers_part_stops_with_the_rest() -> None:
    """At the ceiling in the middle of a day: nothing that counts ever shrinks."""
    sending = Sending(100_000, subuser_share=0.3, since=BEGIN)
    added = [Added(BEGIN + 100, 5_000, "subuser"), Added(BEGIN + 30_000, 9_000, "subuser")]
    of = History([Moment(BEGIN, True, 20_000, sending=sending)], added, Billing(10))
    (period,) = periods(of.billing, BEGIN, BEGIN + 60_000)
    portion = next(iter(portions(of, period, BEGIN + 60_000)))
    steps = range(portion.begin, portion.stop + 1, 37)
    for count in (portion.by_subusers, lambda to: portion.used(to) - portion.by_subusers(to)):
        counts = [count(to) for to in steps]
        assert counts == sorted(counts)
    assert portion.used(portion.stop) == 50_000 < portion.attempted(portion.stop)
    assert 15_000 < portion.by_subusers(portion.stop) < 30_000


def a_history(chance: random.Random, zone: str) -> History:
    """An account of any kind: upgrades, suspensions, restarts, weekdays, added mail, subusers, marketing."""
    moments, restarts, at = [], [], BEGIN
    for _ in range(chance.randint(1, 8)):
        weekday = tuple(chance.choice([0, 0.5, 1, 1.3]) for _ in range(7))
        sending = Sending(
            chance.choice([0, 99.5, 7_000]), weekday, 0.03, 0.4, chance.randint(0, 99), chance.random(), since=at
        )
        free, active = chance.random() < 0.1, chance.random() < 0.8
        moments.append(Moment(at, active, chance.choice([3_000, 50_000, 10**6]), free, sending))
        at += chance.randint(1, 50 * 86_400)
        if chance.random() < 0.3:
            restarts.append(at)
    seconds = sorted(BEGIN + chance.randint(0, 200 * 86_400) for _ in range(20))
    added = [Added(second, chance.randint(0, 20_000), chance.choice(["account", "subuser"])) for second in seconds]
    billing = Billing(chance.randint(1, 31), zone, restarts)
    return History(moments, added, billing, test=chance.random() < 0.1)


@pytest.mark.parametrize("seed", range(40))
def test_statistics_add_up_to_credits(seed: int) -> None:
    """With default switches: UTC days, midnight resets, nothing late."""
    chance = random.Random(seed)
    of = a_history(chance, "UTC")
    now = BEGIN + chance.uniform(0, 400) * 86_400
    whole = 0
    for period in periods(of.billing, BEGIN, now):
        used = credits_until(of, period, now)
        assert used == period_use(of, period, now).used
        whole += used
        days = requests_by_day(of, "UTC", period.start, period.end - timedelta(days=1), now)
        if period.starts_at == midnight(period.start) and period.resets_at == midnight(period.end):
            assert sum(days.values()) == used, period
    assert whole == lifetime_requests(of, now)
    assert whole == sum(requests_by_day(of, "UTC", date(2026, 3, 1), date(2028, 1, 1), now).values())


@pytest.mark.parametrize("seed", range(20))
def test_zones_move_mail_between_days_and_lose_none(seed: int) -> None:
    chance = random.Random(seed)
    of = a_history(chance, "America/Los_Angeles")
    now = BEGIN + chance.uniform(0, 400) * 86_400
    whole = sum(credits_until(of, period, now) for period in periods(of.billing, BEGIN, now))
    for zone in ("UTC", "America/Los_Angeles", "Pacific/Kiritimati", "Asia/Kolkata", "Africa/Cairo"):
        days = requests_by_day(of, zone, date(2026, 3, 1), date(2028, 1, 1), now)
        assert sum(days.values()) == whole, zone


@pytest.mark.parametrize("seed", range(10))
def test_what_was_sent_never_changes(seed: int) -> None:
    chance = random.Random(seed)
    of = a_history(chance, chance.choice(["UTC", "America/Los_Angeles"]))
    for period in list(periods(of.billing, BEGIN, BEGIN + 120 * 86_400)):
        moments = sorted(chance.uniform(period.starts_at, period.resets_at) for _ in range(20))
        seen = [credits_until(of, period, moment) for moment in (*moments, period.resets_at, period.resets_at + 10**7)]
        assert seen == sorted(seen)
        assert seen[-1] == seen[-2]
