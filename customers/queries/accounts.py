"""What the account page reads: the account, what it has, what runs, and what its state asks of people."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from customers import catalogue
from customers.hands_on import why_no_sign_in
from customers.models import Account, Operation
from customers.models.account import AccountState, as_offerings
from customers.states import OPEN, OperationKind, OperationState
from portal import providers

READ_BACK_WITHIN = timedelta(minutes=1)
# States from which SendGrid and its like can be asked to stop, because they may be sending.
MAY_SEND = (AccountState.ACTIVE, AccountState.INDETERMINATE, AccountState.UNKNOWN)


@dataclass(frozen=True)
class OfferingLine:
    """One offering of the account. `asked` is the quantity it will have when what runs succeeds, None = the same."""

    name: str
    label: str
    type: str
    quantity: int
    gives: str
    known: bool
    asked: int | None = None


@dataclass(frozen=True)
class Explanation:
    """What the state means here and what to do next; `kind` is the notice's."""

    kind: str
    title: str
    text: str


@dataclass
class AccountPage:
    account: Account
    lines: list[OfferingLine]
    gives: str
    running: list[Operation]
    failed: Operation | None
    operations_count: int
    # An operation has just succeeded and the account was not read since: the page looks again by itself.
    read_back_due: bool
    explanation: Explanation | None = field(default=None)

    @property
    def operation(self) -> Operation | None:
        """The one in front: it runs, or waits for a person."""
        return self.running[0] if self.running else None

    @property
    def waiting(self) -> int:
        """How many stand behind the one in front."""
        return max(0, len(self.running) - 1)

    @property
    def exists(self) -> bool:
        """Is there something at the provider to act on?"""
        return bool(self.account.provider_id) and self.account.state != AccountState.DELETED

    @cached_property
    def may(self) -> dict[str, bool]:
        """What the account's state allows; the role is asked in the template."""
        can = self.account.connection.capabilities
        writes = providers.AccountState.STOPPED_BY_US in can.writable_states
        return {
            "suspend": self.exists and writes and self.account.state in MAY_SEND,
            "unsuspend": self.exists and writes and self.account.state == AccountState.STOPPED_BY_US,
            "offerings": self.exists and can.offerings,
            "sign_in": not why_no_sign_in(self.account),
            "refresh": self.exists,
            "delete": self.exists,
        }


def account_page(public_id: uuid.UUID) -> AccountPage:
    """Raises `Account.DoesNotExist`. The number of queries does not depend on how much happened to the account."""
    # What runs is read before the account: what ends in between is then shown by the account, or asked for again.
    operations = Operation.objects.filter(account__public_id=public_id)
    running = list(_with_people(operations.filter(state__in=OPEN)).order_by("pk"))
    account = Account.objects.select_related("customer__owner", "connection").get(public_id=public_id)
    last = None if running else _with_people(operations).order_by("-pk").first()
    failed = last if last and last.state == OperationState.FAILED else None
    known = catalogue.known(account.connection)
    rows = account.offerings if account.offerings is not None else account.desired_offerings
    found = AccountPage(
        account=account,
        lines=_lines(rows, running, known),
        gives=catalogue.gives_text(catalogue.entitlements_of(account.connection, as_offerings(rows), catalogue=known)),
        running=running,
        failed=failed,
        operations_count=operations.count(),
        read_back_due=_read_back_due(account, last),
    )
    found.explanation = _explanation(found)
    return found


def _read_back_due(account: Account, last: Operation | None) -> bool:
    if last is None or last.state != OperationState.SUCCEEDED or last.kind == OperationKind.DELETE:
        return False
    if last.finished_at is None or timezone.now() - last.finished_at > READ_BACK_WITHIN:
        return False
    return account.state_read_at is None or account.state_read_at < last.finished_at


def account_operations(account: Account) -> QuerySet[Operation]:
    return _with_people(Operation.objects.filter(account=account)).order_by("-pk")


def _with_people(operations: QuerySet[Operation]) -> QuerySet[Operation]:
    return operations.select_related("requested_by", "connection", "account__customer", "account__connection")


def _lines(
    rows: list[dict[str, Any]], running: list[Operation], known: dict[str, catalogue.Choice]
) -> list[OfferingLine]:
    asked = next((each.payload["offerings"] for each in running if each.kind == OperationKind.OFFERINGS), None)
    now = {row["name"]: row for row in rows}
    then = now if asked is None else {row["name"]: row for row in asked}
    lines = []
    for name, row in {**now, **then}.items():
        entry = known.get(name)
        had = int(now[name]["quantity"]) if name in now else 0
        gets = int(then[name]["quantity"]) if name in then else 0
        given = {key: count * max(had, 1) for key, count in entry.entitlements.items()} if entry else {}
        lines.append(
            OfferingLine(
                name=name, label=catalogue.label_of(name), type=row["type"], quantity=had,
                gives=catalogue.gives_text(given), known=entry is not None, asked=None if gets == had else gets,
            )
        )  # fmt: skip
    return sorted(lines, key=lambda each: (each.type != "package", each.label))


# -- what the state asks of people -----------------------------------------------------------------------------


def _explanation(found: AccountPage) -> Explanation | None:
    account = found.account
    name = {"provider": account.provider_label}
    match AccountState(account.state):
        case AccountState.PENDING:
            return None if found.running else _not_made(found, name)
        case AccountState.STOPPED_BY_US:
            return Explanation(
                "warn", _("We suspended this account."), _stopped_by(account) or _("Unsuspend lets it send again.")
            )
        case AccountState.STOPPED_BY_PROVIDER:
            return Explanation(
                "warn",
                _("%(provider)s stopped this account.") % name,
                _("Only %(provider)s can release it. Ask its support with the account id, then refresh here.") % name,
            )
        case AccountState.BANNED:
            return Explanation(
                "danger",
                _("%(provider)s ended this account for good.") % name,
                _("Nobody can sign in or send. Tell the customer, then delete the account here."),
            )
        case AccountState.INDETERMINATE:
            return Explanation(
                "unknown",
                _("%(provider)s gives no clear state.") % name,
                _("Refresh in a few minutes. If it stays so, ask %(provider)s support with the account id.") % name,
            )
        case AccountState.UNKNOWN:
            return _unknown(account, name)
        case _:
            return None


def _unknown(account: Account, name: dict[str, str]) -> Explanation:
    if account.state_raw == "not found":
        return Explanation(
            "unknown",
            _("%(provider)s does not know this account id any more.") % name,
            _("It may have been deleted outside the portal. Refresh; if it stays so, look at %(provider)s.") % name,
        )
    if account.state_raw:
        return Explanation(
            "unknown",
            _("%(provider)s calls the state %(raw)s.") % (name | {"raw": account.state_raw}),
            _("We do not know that word. Ask %(provider)s what it means.") % name,
        )
    return Explanation(
        "unknown",
        _("We have not read this account yet."),
        _("It is read within a minute after a create. Refresh reads it now."),
    )


def _not_made(found: AccountPage, name: dict[str, str]) -> Explanation:
    if found.failed and found.failed.field_errors:
        return Explanation(
            "danger",
            _("%(provider)s did not create this account.") % name,
            _("It named what is wrong. Correct it and send it again; nothing is billed so far."),
        )
    return Explanation(
        "warn", _("This account was not created."), _("Nothing exists at %(provider)s, and nothing is billed.") % name
    )


def _stopped_by(account: Account) -> str:
    """Who suspended it and why, where the portal did."""
    done = _with_people(account.operations.filter(kind=OperationKind.SUSPEND, state=OperationState.SUCCEEDED))
    last = done.order_by("-pk").first()
    if last is None:
        return ""
    return _("%(person)s asked for it: %(reason)s") % {"person": last.requested_by, "reason": last.reason}
