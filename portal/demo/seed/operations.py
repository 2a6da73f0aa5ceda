"""Operations of a seeded portal with their steps and attempts, and the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from customers.models import Account, Connection, Operation
from customers.models.operation import Attempt, Step
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.demo.seed.customers import OPERATIONS, company_of, newest_at, requester_of, stored_time, team_member
from portal.demo.seed.plan import Plan, connection_of, public_id
from portal.demo.seed.rows import Rows

_KINDS = ("create", "offerings", "suspend")
_VERBS = ("account.create_asked", "account.offerings_asked", "account.suspend_asked")
_CALLS = ("POST /v3/partners/accounts", "PUT /v3/partners/accounts/offerings", "PUT /v3/partners/accounts/state")
_STEPS = {
    "queued": ("", "queued"),
    "cancelled": ("", "queued", "cancelled"),
    "succeeded": ("", "queued", "claimed", "sending", "succeeded"),
    "failed": ("", "queued", "claimed", "sending", "failed"),
    "needs_attention": ("", "queued", "claimed", "sending", "unknown", "needs_attention"),
}
_OUTCOMES = {"failed": ("rejected", 400), "needs_attention": ("unknown", None), "succeeded": ("applied", 201)}


class _Asked(NamedTuple):
    """Operation `number` of an account, requested that many minutes before the newest row."""

    minutes: int
    account: int
    number: int

    @property
    def state(self) -> str:
        """Of the newest operations, one in 150 waits for a person and one in 400 is queued."""
        n, newest = self.account, self.number == OPERATIONS
        if newest and n % 150 == 0:
            return "needs_attention"
        if newest and n % 400 == 1:
            return "queued"
        if self.number > 1 and n % 60 == 7:
            return "failed"
        return "cancelled" if self.number > 1 and n % 90 == 8 else "succeeded"


class _Story:
    """The operations of all accounts in the order in which they were requested."""

    def __init__(self, plan: Plan, rows: Rows) -> None:
        self.now = newest_at(plan)
        self.plan = plan
        self.first = rows.first_key(Operation)
        self.accounts = Account.objects.order_by("pk").values_list("pk", flat=True)[0]
        self.connections = Connection.objects.order_by("pk").values_list("pk", flat=True)[0]
        self.people = User.objects.get(public_id=public_id("person", 0)).pk
        self.asked = sorted(
            (
                _Asked(n * 7919 % 1_000_000 + 400 * 1440 * (OPERATIONS - number), n, number)
                for n in range(1, plan.accounts + 1)
                for number in range(1, OPERATIONS + 1)
            ),
            reverse=True,
        )

    def at(self, asked: _Asked, seconds: int = 0) -> str:
        return stored_time(self.now - timedelta(minutes=asked.minutes) + timedelta(seconds=seconds))

    def operations(self) -> Iterator[tuple[Any, ...]]:
        for key, asked in enumerate(self.asked, self.first):
            n, state = asked.account, asked.state
            account = self.accounts + n - 1
            begun = self.at(asked)
            yield (
                key,
                public_id("operation", key),
                _KINDS[asked.number - 1],
                account,
                self.connections + connection_of(n),
                asked.number,
                asked.number,
                self.people + requester_of(n),
                public_id("token", key),
                state,
                f"account:{account}",
                0 if state in ("queued", "cancelled") else 1,
                stored_time(self.now + timedelta(days=3650)) if state == "queued" else begun,
                begun,
                None if state in ("queued", "needs_attention") else self.at(asked, 4),
            )

    def steps(self) -> Iterator[tuple[Any, ...]]:
        for key, asked in enumerate(self.asked, self.first):
            states = _STEPS[asked.state]
            for n in range(1, len(states)):
                yield key, n, states[n - 1], states[n], self.at(asked, n - 1)

    def attempts(self) -> Iterator[tuple[Any, ...]]:
        for key, asked in enumerate(self.asked, self.first):
            if asked.state in _OUTCOMES:
                outcome, status = _OUTCOMES[asked.state]
                call = _CALLS[asked.number - 1]
                yield key, 1, 1, call, self.at(asked, 2), self.at(asked, 3), 240 + key % 800, outcome, status

    def events(self, key: int) -> Iterator[tuple[Any, ...]]:
        for operation, asked in enumerate(self.asked, self.first):
            n, state = asked.account, asked.state
            number = requester_of(n)
            name, role = team_member(number)
            customer, digits = self.plan.customer_of(n), public_id("operation", operation)
            about = (
                "operation",
                digits,
                f"op_{digits[:6].upper()}",
                public_id("customer", customer),
                company_of(customer),
                public_id("account", n),
            )
            verb = _VERBS[asked.number - 1]
            yield key, public_id("event", key), self.at(asked), self.people + number, name, role, verb, *about
            key += 1
            if state != "queued":
                at = self.at(asked, 4)
                yield key, public_id("event", key), at, None, "Postkeeper", "", f"operation.{state}", *about
                key += 1


def store_operations(rows: Rows, plan: Plan) -> None:
    story = _Story(plan, rows)
    rows.store(
        Operation,
        (
            "id", "public_id", "kind", "account_id", "connection_id", "number", "version", "requested_by_id",
            "client_token", "state", "lane", "sends", "not_before", "created_at", "finished_at",
        ),
        story.operations(),
    )  # fmt: skip
    rows.store(Step, ("operation_id", "n", "before", "after", "at"), story.steps())
    rows.store(
        Attempt,
        (
            "operation_id", "n", "fence", "call", "intended_at", "answered_at", "duration_ms", "outcome", "status",
        ),
        story.attempts(),
    )  # fmt: skip
    rows.store(
        AuditEvent,
        (
            "id", "public_id", "at", "actor_id", "actor_label", "actor_role", "verb", "object_type", "object_id",
            "object_label", "customer_id", "customer_label", "account_id",
        ),
        story.events(rows.first_key(AuditEvent)),
    )  # fmt: skip
