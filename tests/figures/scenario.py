"""What happens to each account over the months, by seed: how it sends, how its provider counts, who changes what.

Everything is drawn from one random generator, so that a seed is one world. Bursts end in the last seconds of billing
periods; those of restarted periods are moved with them, or fall into their middle.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from customers.models import Account
from customers.models.account import AccountState
from portal.sandbox.sendgrid.resets import Billing, periods
from tests.figures.world import World, midnight, new_child, offerings_of

DAY, MINUTE, SECOND = timedelta(days=1), timedelta(minutes=1), timedelta(seconds=1)
PACIFIC = "America/Los_Angeles"
ZONES = ("UTC", PACIFIC, "Europe/Berlin", "Asia/Kolkata")
# All days of the month; those that short months lack, and those around a month's end, come soon.
ANCHORS = (31, 1, 15, 29, 30, 28, 2, 27, 16, *range(3, 15), *range(17, 27))
QUOTAS = {"free-100": 3_000, "essentials-50k": 50_000, "pro-100k": 100_000, "pro-300k": 300_000}
PACKAGES = ("essentials-50k", "pro-100k", "pro-300k")
POOL = "pool"
# The slowest counter and statistics that the figures allow for.
SLOWEST = 8 * 3_600


@dataclass(frozen=True)
class Size:
    """How large a world is. `anchors`: days of the month on which its billing periods begin; seeds in a row have all
    31 of them. `nightly`: share of nights whose sync takes place (the others would only confirm)."""

    begin: date
    months: int
    accounts: int
    anchors: int
    children: int
    nightly: float
    outages: int

    @property
    def end(self) -> date:
        index = self.begin.month - 1 + self.months
        return date(self.begin.year + index // 12, index % 12 + 1, 1)


@dataclass
class Member:
    account: Account
    connection: str
    package: str = ""
    # Some of its mail is sent by subusers.
    subusers: bool = False
    gone: bool = False

    @property
    def provider_id(self) -> str:
        return self.account.provider_id or ""


@dataclass
class Scenario:
    world: World
    seed: int
    size: Size
    members: list[Member] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    # SendGrid's connections: name -> usage source, zone of the resets.
    sendgrid: dict[str, tuple[str, str]] = field(default_factory=dict)
    zones: tuple[str, ...] = ()
    _queue: list[tuple[datetime, int, Callable[[], None]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)
    _changed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = random.Random(f"figures {self.seed}")
        zones = ["UTC", PACIFIC] if self.seed % 2 else [PACIFIC, "UTC"]
        self.sendgrid = {"credits": ("credits", zones[0]), "overview": ("overview_json", zones[1])}
        self.zones = ("UTC", ZONES[1 + self.seed % 3])

    # --- The whole ------------------------------------------------------------------------------------------------

    def play(self) -> None:
        self._build()
        self._plan_beats()
        end = midnight(self.size.end + 7 * DAY)
        while self._queue and self._queue[0][0] < end:
            moment, _, act = heapq.heappop(self._queue)
            self.world.at(moment)
            act()
        self.world.beat(end)

    def _plan(self, moment: datetime, act: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (moment, next(self._order), act))

    def _note(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    # --- Accounts -------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        world = self.world
        world.at(midnight(self.size.begin))
        world.sandbox.admin.switch("rate_per_minute", 10**9)
        world.sandbox.admin.switch("aha_rate", 10**9)
        for name, (source, zone) in self.sendgrid.items():
            world.add_sendgrid(name, source=source, reset_zone=zone)
        lag = self.random.choice([0, 600, 3_600])
        world.add_ahasend(POOL, aha_usage_lag_seconds=lag, aha_ended_period_hours=self.random.choice([0, 1, 12]))
        first = self.seed * self.size.anchors
        anchors = [ANCHORS[n % 31] for n in range(first, first + self.size.anchors)]
        for n in range(self.size.accounts):
            name = tuple(self.sendgrid)[n % 2]
            self._add_account(name, anchors[n // 2 % len(anchors)], late=n % 6 == 5)
        for n in range(self.size.children):
            self._add_child(n)

    def _add_account(self, name: str, anchor: int, *, late: bool) -> None:
        package = self.random.choice(PACKAGES)
        zone = self.random.choice(self.zones)
        guessed = zone if self.random.random() < 0.75 else self.random.choice(self.zones)
        if late:
            days = self.random.randrange(3, max(4, (self.size.end - self.size.begin).days - 20))
            at = midnight(self.size.begin + days * DAY) + self.random.randrange(86_400) * SECOND
            self._plan(at, lambda: self._create(name, package, zone, guessed))
            return
        reset_zone, sending, switches = self.sendgrid[name][1], self._sending(package), self._switches()
        born = midnight(self.size.begin, reset_zone) - self.random.randrange(3, 60) * DAY
        row = self.world.sandbox.admin.add_account(
            email=f"a{len(self.members)}@company.example",
            organisation=name,
            offerings=offerings_of(package),
            anchor_day=anchor,
            created_at=born.isoformat(),
            timezone=zone,
            switches=switches | {"reset_zone": reset_zone},
            sending=sending,
        )
        account = self.world.link(name, row["id"], timezone=guessed, made_at=born)
        member = Member(account, name, package, subusers=bool(sending["subuser_share"]))
        self.members.append(member)
        self._plan_bursts(member, anchor, reset_zone)
        self._plan_events(member)

    def _create(self, name: str, package: str, zone: str, guessed: str) -> None:
        account = self.world.create(name, package, timezone=guessed)
        assert account is not None, "a create at a provider that answers succeeds"
        sending, switches = self._sending(package), self._switches()
        self.world.sandbox.admin.change_account(
            account.provider_id or "",
            timezone=zone,
            switches=switches,
            sending=sending,
            at=self.world.now.isoformat(),
        )
        member = Member(account, name, package, subusers=bool(sending["subuser_share"]))
        self.members.append(member)
        self._note("created by us")
        reset_zone = self.sendgrid[name][1]
        self._plan_bursts(member, self.world.now.astimezone(ZoneInfo(reset_zone)).day, reset_zone)
        self._plan_events(member)

    def _switches(self) -> dict[str, Any]:
        """How the provider counts this account."""
        choice = self.random.choice
        return {
            "credits_lag_seconds": choice([0, 0, 0, 0, 60, 3_600, 5 * 3_600, SLOWEST]),
            "stats_lag_seconds": choice([0, 0, 3_600, 6 * 3_600]),
            "stats_first_share": choice([1.0, 1.0, 0.7]),
            "stats_revised_hours": choice([0, 0, 24, 40]),
            "stats_subusers": choice([True, True, False]),
            "ended_period_hours": choice([0, 0, 0, 1, 7.5, 8, 24]),
            "upgrade_restarts_period": choice([False, True]),
        }

    def _sending(self, package: str) -> dict[str, Any]:
        """How much it sends: nothing but bursts, or a share of its quota, up to more than the provider accepts."""
        choice, quota = self.random.choice, QUOTAS[package]
        per_day = int(quota / 30 * choice([0, 0, 0.2, 0.7, 0.95, 1.2, 2.8]))
        return {
            "per_day": per_day,
            "jitter": choice([0, 0.4]),
            "seed": self.random.randrange(10**6),
            "weekday": choice([[1.0] * 7, [1.2, 1.2, 1.2, 1.2, 1.2, 0.3, 0.0]]),
            "subuser_share": choice([0, 0, 0.3]) if package.startswith("pro") else 0,
            "marketing_per_day": choice([0, 0, 0, per_day // 5]),
        }

    def _plan_bursts(self, member: Member, anchor: int, reset_zone: str) -> None:
        """Mail in the last 90 seconds of some billing periods, and anywhere."""
        first, last = self.world.now.timestamp(), midnight(self.size.end).timestamp()
        for period in periods(Billing(anchor, reset_zone), first, last):
            if self.random.random() < 0.35:
                at = datetime.fromtimestamp(period.resets_at - self.random.randrange(1, 91), UTC)
                if at > self.world.now:
                    self._send(member, self._burst(member), at)
                    self._note("burst at the end")
            if self.random.random() < 0.3:
                at = (
                    max(self.world.now, datetime.fromtimestamp(period.starts_at, UTC)) + self.random.random() * 27 * DAY
                )
                self._send(member, self._burst(member) // 4, at)

    def _send(self, member: Member, count: int, at: datetime) -> None:
        sender = "subuser" if member.subusers and self.random.random() < 0.5 else "account"
        body = {"requests": count, "at": at.isoformat(), "sender": sender}
        self.world.sandbox.admin.call("POST", f"accounts/{member.provider_id}/usage", body)

    def _burst(self, member: Member) -> int:
        quota = QUOTAS.get(member.package, 50_000)
        return int(quota * self.random.choice([0.001, 0.05, 0.3, 0.9]))

    def _plan_events(self, member: Member) -> None:
        months = max(1, (midnight(self.size.end) - self.world.now).days / 30)
        events = (
            (0.12, lambda: self._change_package(member)),
            (0.05, lambda: self._package_in_console(member)),
            (0.05, lambda: self._suspend(member)),
            (0.03, lambda: self._state_in_console(member)),
            (0.03, lambda: self._restart(member)),
            (0.01, lambda: self._delete(member)),
            (0.006, lambda: self._delete_in_console(member)),
        )
        for per_month, act in events:
            expected = per_month * months
            count = int(expected) + (self.random.random() < expected % 1)
            for _ in range(count):
                self._plan(self._some_time(), act)

    def _some_time(self) -> datetime:
        left = int((midnight(self.size.end) - self.world.now).total_seconds())
        return self.world.now + self.random.randrange(3_600, max(3_601, left)) * SECOND

    # --- Changes by us ----------------------------------------------------------------------------------------------

    def _alive(self, member: Member) -> bool:
        member.account.refresh_from_db()
        return not member.gone and member.account.state != AccountState.DELETED

    def _change_package(self, member: Member) -> None:
        if not self._alive(member) or member.account.state != AccountState.ACTIVE:
            return
        member.package = self.random.choice([each for each in PACKAGES if each != member.package])
        before = self.world.now - 40 * SECOND
        self._send(member, self._burst(member) // 3, before)
        self.world.change_package(member.account, member.package)
        self._note("package changed by us")

    def _suspend(self, member: Member) -> None:
        if not self._alive(member) or member.account.state != AccountState.ACTIVE:
            return
        self.world.change_state(member.account, "suspend")
        self._note("suspended by us")
        back = self.world.now + self.random.randrange(1, 60 * 24) * timedelta(hours=1)
        self._plan(back, lambda: self._unsuspend(member))

    def _unsuspend(self, member: Member) -> None:
        if self._alive(member) and member.account.state == AccountState.STOPPED_BY_US:
            self.world.change_state(member.account, "unsuspend")

    def _delete(self, member: Member) -> None:
        if self._alive(member):
            self.world.change_state(member.account, "delete")
            member.gone = True
            self._note("deleted by us")

    # --- Changes in the provider's console ----------------------------------------------------------------------------

    def _package_in_console(self, member: Member) -> None:
        if self._alive(member):
            member.package = self.random.choice([each for each in PACKAGES if each != member.package])
            self.world.sandbox.admin.change_account(member.provider_id, offerings=offerings_of(member.package))
            self._changed.add(member.account.pk)
            self._note("package changed in the console")

    def _state_in_console(self, member: Member) -> None:
        if not self._alive(member):
            return
        self.world.sandbox.admin.set_state(member.provider_id, self.random.choice(["suspended", "deactivated"]))
        self._changed.add(member.account.pk)
        self._note("suspended in the console")
        self._plan(self.world.now + self.random.randrange(1, 40) * DAY, lambda: self._active_in_console(member))

    def _active_in_console(self, member: Member) -> None:
        if self._alive(member):
            self.world.sandbox.admin.set_state(member.provider_id, "activated")
            self._changed.add(member.account.pk)

    def _restart(self, member: Member) -> None:
        if self._alive(member):
            self.world.sandbox.admin.change_account(member.provider_id, restart_period=True)
            self._note("period restarted")

    def _delete_in_console(self, member: Member) -> None:
        if self._alive(member):
            self.world.sandbox.admin.delete_account(member.provider_id)
            member.gone = True
            self._changed.add(member.account.pk)
            self._note("deleted in the console")

    # --- The pool -----------------------------------------------------------------------------------------------------

    def _add_child(self, number: int) -> None:
        per_day = self.random.choice([0, 300, 2_000])
        provider_id = new_child(self.world, POOL, number, per_day=per_day, cap=self.random.choice([0, 90_000]))
        member = Member(self.world.link(POOL, provider_id, made_at=self.world.now), POOL)
        self.members.append(member)
        for month in range(self.size.months):
            index = self.size.begin.month + month
            end = midnight(date(self.size.begin.year + index // 12, index % 12 + 1, 1))
            if self.random.random() < 0.4:
                at = end - self.random.randrange(1, 91) * SECOND
                self.world.sandbox.admin.aha.add_usage(provider_id, self.random.randrange(1, 9_000), at=at.isoformat())
        if number % 3 == 1:
            self._plan(self._some_time(), lambda: self._suspend(member))
        if number % 4 == 3:
            self._plan(self._some_time(), lambda: self._delete(member))

    # --- When the portal works ----------------------------------------------------------------------------------------

    def _plan_beats(self) -> None:
        days = (self.size.end - self.size.begin).days
        dark = {
            self.size.begin + (start + n) * DAY
            for start in self.random.sample(range(20, days - 5), self.size.outages)
            for n in range(3)
        }
        for n in range(days + 7):
            day = self.size.begin + n * DAY
            if day in dark:
                self._note("night without readings")
                continue
            for moment, is_needed in self._beats(day):
                self._plan(moment, lambda day=day, needed=is_needed: self._beat(day, needed))

    def _beats(self, day: date) -> Iterator[tuple[datetime, Callable[[date], bool]]]:
        """Every moment of a day at which the portal has work, and whether a world needs it on that day."""
        start = midnight(day)
        for zone in self.zones:
            yield midnight(day, zone) + 5 * SECOND, self._around_ends
        nightly = self.random.random() < self.size.nightly
        yield start + 70 * SECOND, self._ends
        yield start + 31 * MINUTE, lambda day: nightly or self._ends(day)
        yield start + timedelta(hours=4), self._read_states
        yield start + timedelta(hours=12, minutes=3), self._is_processed
        for before in (60 * MINUTE, 5 * MINUTE):
            yield start + DAY - before + 10 * SECOND, self._ends
        pacific = midnight(day, PACIFIC)
        for offset in (-60 * MINUTE, -5 * MINUTE, 2 * MINUTE, timedelta(hours=8, minutes=5)):
            yield pacific + offset + 15 * SECOND, self._ends

    def _beat(self, day: date, is_needed: Callable[[date], bool]) -> None:
        if is_needed(day) and self.random.random() > 0.02:  # now and then no worker runs
            self.world.beat(self.world.now)

    def _ends(self, day: date) -> bool:
        return Account.objects.filter(usage_end_on__range=(day - DAY, day)).exclude(state="deleted").exists()

    def _is_processed(self, day: date) -> bool:
        """Return whether statistics or the report of the processing date are due on this day."""
        ended = Account.objects.filter(usage_start_on__in=(day, day - 3 * DAY), provider_id__isnull=False)
        return day.day in (2, 4) or ended.exists()

    def _around_ends(self, day: date) -> bool:
        return Account.objects.filter(usage_end_on__range=(day - 4 * DAY, day + 8 * DAY)).exists()

    def _read_states(self, day: date) -> bool:
        """Read the accounts whose state or package may have changed, or whose billing period just ended."""
        ended = Account.objects.filter(usage_start_on__range=(day - 2 * DAY, day)).values_list("pk", flat=True)
        self.world.read_states([*ended, *self._changed])
        self._changed.clear()
        return True
