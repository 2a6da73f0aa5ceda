"""Rows beside the demo's: every state of schedules, bulk changes, imports, operations, scans, holds and notices.

Made by the product's own commands where it has one; a state that only a running worker leaves is written as a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from billing.models import MidnightReading, StatisticsReading
from billing.reports import exports as usage_exports
from billing.reports.filters import UsageFilters
from billing.usage.midnights import midnight_in, zone_of
from customers.bulk import commands as bulk_commands
from customers.bulk import run as bulk_run
from customers.models import (
    Account,
    AccountImport,
    AccountImportItem,
    ChangeSet,
    Operation,
    RemoteAccount,
    Scan,
    Schedule,
    SendingDomain,
)
from customers.models.operation_states import OPEN, OperationState
from customers.monitoring import heartbeat, nightly_check
from customers.operations import commands as operation_commands
from customers.operations import transitions
from customers.reconcile import account_import as account_imports
from customers.reconcile import drift
from customers.schedules import commands as schedule_commands
from customers.schedules import due as due_schedules
from customers.schedules import holds
from portal.access.models import User
from portal.audit import chain
from portal.browser_reports import commands as browser_reports
from portal.browser_reports.parsing import Violation
from portal.commands import Command
from portal.notices import raising
from tests.upgrade import extras_access, extras_prices

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass
class Extras:
    now: datetime
    numbers: Any = field(default_factory=count)

    def add(self) -> None:
        self.admin = User.objects.filter(role="admin").order_by("pk")[0]
        self.second = User.objects.create_user("second.admin@postkeeper.example", name="Second admin", role="admin")
        self.success = User.objects.filter(role="customer_success").order_by("pk")[0]
        self.free = list(
            Account.objects.filter(state="active", connection__kind="sendgrid")
            .exclude(operations__state__in=OPEN)
            .select_related("customer", "connection")
            .order_by("pk")
        )
        self.signs()
        self.remote_accounts()
        self.drifts()
        self.imports()
        self.holds()
        self.schedules()
        self.bulk_changes()
        self.operations()
        self.domains()
        self.exports()
        self.midnights()
        extras_access.add(now=self.now)
        extras_prices.add(now=self.now)
        chain.seal_pending(limit=10_000)
        self.unsealed()

    def token(self) -> str:
        return f"stored-{next(self.numbers)}"

    def take(self, number: int) -> list[Account]:
        """Accounts that nothing else has touched."""
        taken, self.free = self.free[:number], self.free[number:]
        assert len(taken) == number, "the demo has too few accounts"
        return taken

    # --- What watches ---

    def signs(self) -> None:
        heartbeat.record_tick(now=self.now)
        for name in ("ops@host-1", "ops@host-2", "sync@host-1"):
            heartbeat.WorkerProcess(name).report(queues=[name.partition("@")[0]], now=self.now)
        for days in range(5, 0, -1):
            at = self.now - days * DAY
            nightly_check.check_now(slot=at.date().isoformat(), clock=lambda at=at: at)
        for number in range(40):
            facts = {"about": f"connection:{number}", "now": self.now - number * HOUR}
            raising.raised("breaker_open", title="Provider out of reach", text="No answer.", path="/", **facts)
            if number % 2:
                raising.ended("breaker_open", **facts)
        facts = {"blocked": "inline", "page": "home", "browser": "Chrome"}
        kinds = [
            Violation(directive="script-src-elem", is_extension=is_extension, **facts) for is_extension in (True, False)
        ]
        browser_reports.count_violations(kinds, now=self.now)

    # --- The provider's list ---

    def remote_accounts(self) -> None:
        """Scans in every state; accounts that nobody owns, and ones that are missing, gone or ignored."""
        connection = self.free[0].connection
        for number in range(60):
            state = (Scan.State.COMPLETE, Scan.State.INCOMPLETE, Scan.State.REFUSED)[number % 3]
            at = self.now - (60 - number) * HOUR
            Scan.objects.create(
                connection=connection, kind=Scan.Kind.ASKED, slot=self.token(), state=state, started_at=at,
                finished_at=at + timedelta(minutes=2), taken_at=at, lease_until=at + HOUR, seen=90 + number,
                message="" if state == Scan.State.COMPLETE else "The list ended early.",
            )  # fmt: skip
        RemoteAccount.objects.bulk_create(
            RemoteAccount(
                connection=connection, provider_id=f"sgstored{number:024d}", email=f"ops@stranger-{number}.example",
                made_at=self.now - 200 * DAY, first_seen_at=self.now - 90 * DAY,
                last_seen_at=self.now - 4 * DAY if number % 10 in (7, 8) else self.now,
                missing_since={7: self.now - HOUR, 8: self.now - 3 * DAY}.get(number % 10),
                gone_at=self.now - 2 * DAY if number % 10 == 8 else None,
                ignored_at=self.now - DAY if number % 10 == 9 else None,
                ignored_by=self.admin if number % 10 == 9 else None,
                ignored_why="An account of our own tests." if number % 10 == 9 else "",
            )
            for number in range(200)
        )  # fmt: skip

    def drifts(self) -> None:
        accounts = self.take(4)
        for account in accounts:
            Account.objects.filter(pk=account.pk).update(desired_state="deactivated", version=account.version + 1)
        ids = [each.pk for each in accounts]
        found = drift.drifts_of(
            Account.objects.filter(pk__in=ids).select_related("customer", "connection"), today=self.now.date()
        )
        assert found, "a drift was made"
        for each in found[:2]:
            drift.ignore(
                Command(self.admin, self.now, reason="Known."), drift=each, until_on=(self.now + 7 * DAY).date()
            )

    def imports(self) -> None:
        """One for each state; its items in every state as well."""
        for state in (AccountImport.State.ENDED, AccountImport.State.PROPOSED):
            account_import = account_imports.propose_import(
                Command(self.admin, self.now), connection=self.free[0].connection, listed=[]
            )
            if state == AccountImport.State.ENDED:
                items = list(account_import.items.order_by("pk"))
                for number, item in enumerate(items):
                    item.state = (AccountImportItem.State.FAILED, AccountImportItem.State.LEFT)[number % 2]
                    item.message = "Could not be read."
                AccountImportItem.objects.bulk_update(items, ["state", "message"])
                AccountImport.objects.filter(pk=account_import.pk).update(
                    state=state, finished_at=self.now, total=len(items), failed=(len(items) + 1) // 2
                )

    # --- Accounts ---

    def holds(self) -> None:
        for number, account in enumerate(self.free[:20]):
            hold = holds.place_hold(
                Command(self.admin, self.now - 9 * DAY, reason="A dispute over invoice 20611."),
                account=account,
                until=(None, self.now - DAY, self.now + 9 * DAY)[number % 3],
            )
            if number % 3 != 1:  # a live one would keep the accounts from what comes next
                holds.release(Command(self.success, self.now - 8 * DAY, reason="Paid."), hold=hold)

    def schedules(self) -> None:
        accounts = self.take(8)
        for number in range(120):
            account = accounts[number % len(accounts)]
            schedule = schedule_commands.schedule_change(
                Command(self.success, self.now, reason="Contract ends.", token=self.token()),
                account=account,
                kind="suspend",
                due_at=self.now + (number + 1) * HOUR,
            )
            if number % 4:
                schedule_commands.cancel_schedule(Command(self.success, self.now), schedule=schedule)
            elif number in (0, 4):
                # The first is done; the second finds the account's operation open and is skipped.
                Schedule.objects.filter(pk=schedule.pk).update(due_at=self.now - HOUR)
                due_schedules.run_schedule(schedule.pk, now=self.now)

    def bulk_changes(self) -> None:
        accounts = self.take(3)
        ids = [each.pk for each in accounts]

        def plan(kind: str = "tag_add") -> ChangeSet:
            return bulk_commands.plan_bulk_change(
                Command(self.admin, self.now, reason="Renewal round.", token=self.token()),
                kind=kind,
                wanted={"tag": "renewal"},
                account_ids=ids,
            )

        for _ in range(10):
            for kind in ("tag_add", "tag_remove"):
                plan(kind)
                bulk_commands.cancel_bulk_change(Command(self.admin, self.now), change_set=plan(kind))
                bulk_run.run_bulk_change(
                    bulk_commands.submit_bulk_change(Command(self.admin, self.now), change_set=plan(kind)).pk
                )
        bulk_commands.submit_bulk_change(Command(self.admin, self.now), change_set=plan())
        bulk_commands.pause_bulk_change(
            Command(self.admin),
            change_set=bulk_commands.submit_bulk_change(Command(self.admin, self.now), change_set=plan()),
        )

    def operations(self) -> None:
        """Open ones in each state that a worker leaves behind, and many that came to an end."""
        busy = self.take(4)
        for state, account in zip(
            (OperationState.QUEUED, OperationState.CLAIMED, OperationState.SENDING, OperationState.UNKNOWN),
            busy, strict=True,
        ):  # fmt: skip
            operation = self.suspend(account)
            if state == OperationState.QUEUED:
                continue
            claimed = transitions.claim(operation.pk, now=self.now)
            assert claimed is not None
            if state != OperationState.CLAIMED:
                transitions.intend(claimed, call="put-state", request="PUT /v3/partners/accounts/state", now=self.now)
            if state == OperationState.UNKNOWN:
                transitions.expire_leases(now=self.now + HOUR)
        for account in self.take(2):
            for _ in range(60):
                operation_commands.cancel_operation(Command(self.success, self.now), operation=self.suspend(account))

    def suspend(self, account: Account) -> Operation:
        account.refresh_from_db()
        return operation_commands.request_suspend(
            Command(self.success, self.now, reason="Unpaid since May.", token=self.token()), account=account
        )

    def domains(self) -> None:
        aha = Account.objects.filter(connection__kind="ahasend").order_by("pk")[:10]
        SendingDomain.objects.bulk_create(
            SendingDomain(
                account=account, name=f"mail{number}.company.example", valid=number % 2 == 0, read_at=self.now,
                records=[{"type": "TXT", "host": "ahasend._domainkey", "content": "k=rsa", "required": True}],
                checked_at=self.now, made_at=self.now - DAY, gone_at=self.now if number == 9 else None,
            )
            for account in aha
            for number in range(10)
        )  # fmt: skip

    def exports(self) -> None:
        for file_format in ("csv", "xlsx"):
            filters = UsageFilters({}, today=self.now.date(), with_cost=True)
            usage_exports.request_export(Command(self.admin, self.now), filters=filters, file_format=file_format)

    def midnights(self) -> None:
        """Readings at the own midnights of two accounts across the end of a billing period, and their statistics."""
        end = self.now.date() - 3 * DAY
        for account in self.take(2):
            zone = zone_of(account)
            rows = []
            for days in range(12, -1, -1):
                day = self.now.date() - days * DAY
                start = end - 30 * DAY if day <= end else end + DAY
                row = MidnightReading(
                    account=account, day=day, zone=zone, reported_start_on=start, used=(day - start).days * 1_000,
                    at=midnight_in(zone, day) + timedelta(seconds=5),
                )  # fmt: skip
                rows.append(row)
            MidnightReading.objects.bulk_create(rows, ignore_conflicts=True)  # the demo may have that midnight
            StatisticsReading.objects.create(
                account=account, as_of=self.now, first_on=end - 30 * DAY, last_on=self.now.date() - DAY, batch=1,
                days={(end - n * DAY).isoformat(): 1_000 for n in range(31)},
            )  # fmt: skip

    def unsealed(self) -> None:
        """A few events that wait for their seal."""
        for schedule in Schedule.objects.filter(state="waiting").order_by("pk")[:3]:
            schedule_commands.cancel_schedule(Command(self.success, self.now), schedule=schedule)
