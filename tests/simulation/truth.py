"""What must be so in the end, by what the provider has and by what the tables say: T1 to T4, and every invariant.

T1  a create makes one account at most, and a create of a key leaves one key at most
T2  nothing is lost: whatever was asked has ended or says that it has not, and its end is the provider's truth
T3  an account of ours is the one its own create made, never somebody else's
T4  a change leaves only under a committed intent of an operation that has not ended
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.db.models import Max, Min

from customers.models import Account, Attempt, KeySecret, Operation, Step
from customers.models.operation_states import BUSY, FINAL
from customers.monitoring import invariants
from tests.simulation.world import World

ASIDE = ("I11", "I12", "I20")  # of walks and readings: nobody walks or reads by night here
# What this can break at all; the others cost ten times as much and are asked of every so many worlds.
OF_OPERATIONS = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9")


@dataclass
class Truth:
    """Looks at every change as it leaves, and at everything at the end."""

    world: World
    problems: list[str] = field(default_factory=list)
    # Accounts that somebody changed in the provider's console: what is there is no work of ours any more.
    touched: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.world.look = self.look
        self.begun = Operation.objects.order_by("pk").values_list("pk", flat=True).last() or 0

    def look(self, pk: int) -> None:
        """T4, at the moment a change leaves."""
        operation = Operation.objects.get(pk=pk)
        intent = operation.attempts.filter(n=operation.attempt_count, outcome=Attempt.Outcome.NONE)
        if operation.state != "sending" or not intent.exists():
            self.problems.append(f"T4 {operation} was sent while it was {operation.state}")
        if Operation.objects.filter(account=operation.account_id, state__in=BUSY).exclude(pk=pk).exists():
            self.problems.append(f"T5 {operation} was sent while another one of its account was under way")

    def verdict(self, *, waiting: list[Operation], thorough: bool = False) -> list[str]:
        """Everything that is wrong in the end. `waiting`: operations that did not come to rest; `thorough`: every
        invariant there is."""
        found = [*self.problems]
        found += [f"T2 {each} is left {each.state}: {each.summary}" for each in waiting]
        asked = Operation.objects.filter(pk__gt=self.begun).select_related("account", "connection")
        for operation in asked.order_by("pk"):
            found += self._create(operation) if operation.kind == "create" else self._change(operation)
        found += [*self._mapped(), *self._in_order()]
        return found + list(_invariants(self.world, thorough=thorough))

    def _create(self, operation: Operation) -> Iterator[str]:
        made = [id_ for id_, by in self.world.wire.made("account").items() if by == operation.pk]
        if len(made) > 1:
            yield f"T1 {operation} made {len(made)} accounts"
        if operation.state == "succeeded" and operation.account.provider_id not in made:
            yield f"T3 {operation} has {operation.account.provider_id}, which it did not make"
        if operation.state in ("failed", "cancelled") and made and operation.error_kind != "gone":
            yield f"T2 {operation} is {operation.state} ({operation.error_kind}), and {made[0]} exists"

    def _mapped(self) -> Iterator[str]:
        ids = Counter(Account.objects.filter(provider_id__isnull=False).values_list("provider_id", flat=True))
        yield from (f"T3 {id_} is on {n} accounts" for id_, n in ids.items() if n > 1)

    def _in_order(self) -> Iterator[str]:
        """Steps are numbered over all operations in the order in which they happened."""
        steps = Step.objects.filter(operation__pk__gt=self.begun)
        began = dict(steps.filter(after="claimed").values_list("operation").annotate(Min("pk")))
        ended = dict(steps.filter(after__in=FINAL).values_list("operation").annotate(Max("pk")))
        asked = list(Operation.objects.filter(pk__gt=self.begun).order_by("pk").values_list("pk", "account_id"))
        for earlier, account in asked:
            for later in (pk for pk, theirs in asked if theirs == account and pk > earlier and pk in began):
                if began[later] < ended.get(earlier, began[later] + 1):
                    yield f"T5 operation {later} began before {earlier} had ended"

    def _change(self, operation: Operation) -> Iterator[str]:
        at = str(operation.account.provider_id)
        if at in self.touched or operation.error_kind == "given_up" or not operation.account.provider_id:
            return
        if operation.kind == "key_create":
            yield from self._key(operation, at)
        if operation.kind == "test_message":
            made = [id_ for id_, by in self.world.wire.made("message").items() if by == operation.pk]
            # After a 5xx nothing tells whether it went out, and it is sent again (docs/decisions/idempotency.md).
            unanswered = operation.attempts.exclude(outcome__in=(Attempt.Outcome.APPLIED, Attempt.Outcome.REJECTED))
            if len(made) > 1 + unanswered.count() or (operation.state == "succeeded" and not made):
                yield f"T1 {operation} is {operation.state} and sent {len(made)} messages"
        if operation.state == "succeeded" and not self._is_so(operation, at):
            yield f"T2 {operation} succeeded, and at the provider it is not so"

    def _key(self, operation: Operation, at: str) -> Iterator[str]:
        if Account.objects.filter(pk=operation.account_id, state="deleted").exists():
            return
        label = operation.code
        living = [
            each["id"] for each in self.world.admin.aha.keys(at) if not each["deleted_at"] and label in each["label"]
        ]
        if len(living) > 1:
            yield f"T1 {operation} has {len(living)} living keys"
        if operation.state in ("failed", "cancelled") and living:
            yield f"T2 {operation} is {operation.state}, and its key lives"
        if operation.state == "succeeded" and not self._deleted_by_us(operation.result["key_id"]):
            held = KeySecret.objects.filter(key_id=operation.result["key_id"])
            if living != [operation.result["key_id"]] or not held.exists():
                yield f"T2 {operation} succeeded with {operation.result['key_id']}, and {living} live"

    def _deleted_by_us(self, key_id: str) -> bool:
        return Operation.objects.filter(kind="key_delete", payload__key_id=key_id).exists()

    def _is_so(self, operation: Operation, at: str) -> bool:
        """Whether the last success of its kind is what the provider has."""
        later = Operation.objects.filter(account=operation.account_id, pk__gt=operation.pk)
        alike = {"suspend": ("suspend", "unsuspend"), "unsuspend": ("suspend", "unsuspend")}
        kinds = (*alike.get(operation.kind, (operation.kind,)), "delete")
        if later.filter(kind__in=kinds).exclude(state="cancelled").exists():
            return True
        seen = _sendgrid(self.world, at) if operation.connection.kind == "sendgrid" else _ahasend(self.world, at)
        match operation.kind:
            case "delete":
                return bool(seen["deleted_at"])
            case "suspend" | "unsuspend":
                return bool(seen["suspended"] == (operation.kind == "suspend"))
            case "offerings":
                return bool(seen["offerings"] == sorted(row["name"] for row in operation.payload["offerings"]))
            case "settings":
                wanted = operation.payload["changes"]
                return bool({name: seen[name] for name in wanted} == wanted)
        return True


def _invariants(world: World, *, thorough: bool) -> Iterator[str]:
    for each in invariants.registered():
        if each.code in OF_OPERATIONS or (thorough and each.code not in ASIDE):
            yield from (f"{each.code} {row}" for row in each.violations(world.now))


def _sendgrid(world: World, at: str) -> dict[str, object]:
    seen = world.admin.account(at)
    names = sorted(row["name"] for row in seen["offerings"])
    return {"deleted_at": seen.get("deleted_at"), "suspended": seen["state"] == "deactivated", "offerings": names}


def _ahasend(world: World, at: str) -> dict[str, object]:
    (seen,) = [each for each in world.admin.aha.accounts() if each["id"] == at]
    return {
        "deleted_at": seen["deleted_at"], "suspended": seen["status"] == "suspended", "name": seen["name"],
        "website": seen["website"], "monthly_cap": seen["monthly_credit"],
    }  # fmt: skip
