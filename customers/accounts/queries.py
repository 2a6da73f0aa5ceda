"""Queries of the account page: the account, its offerings or settings, open operations, and notices about its state."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _

from customers.accounts.sign_in import why_no_sign_in
from customers.connections import catalogue
from customers.connections.scopes import why_no_read, why_no_scope
from customers.labels import cap_text
from customers.models import Account, Operation
from customers.models.account import AccountState, as_offerings
from customers.models.operation_states import OPEN, OperationKind, OperationState
from customers.observed import duplicates
from portal import providers

READ_BACK_WITHIN = timedelta(minutes=1)
# States in which an account may be sending, so that it can be suspended.
MAY_SEND = (AccountState.ACTIVE, AccountState.INDETERMINATE, AccountState.UNKNOWN)


@dataclass(frozen=True)
class OfferingLine:
    """One offering of the account. `asked` is the quantity it will have when the open operation succeeds, None = the
    same."""

    name: str
    label: str
    type: str
    quantity: int
    gives: str
    known: bool
    asked: int | None = None


@dataclass(frozen=True)
class SettingLine:
    """One setting as read (before the first reading: as requested). `asked` is its value when the open operation
    succeeds."""

    label: str
    value: str
    asked: str = ""


@dataclass(frozen=True)
class Explanation:
    """The meaning of the state here and the next step; `kind` is the notice's."""

    kind: str
    title: str
    text: str


@dataclass
class AccountPage:
    account: Account
    lines: list[OfferingLine]
    gives: str
    settings: list[SettingLine]
    running: list[Operation]
    failed: Operation | None
    operations_count: int
    keys_count: int | None
    # An operation has just succeeded and the account was not read since: the page polls automatically.
    read_back_due: bool
    explanation: Explanation | None = field(default=None)

    @property
    def operation(self) -> Operation | None:
        """The operation in front: it runs, or waits for a review."""
        return self.running[0] if self.running else None

    @property
    def waiting(self) -> int:
        """How many wait behind the one in front, but for those that follow it and are shown with it."""
        if not self.running:
            return 0
        first = self.running[0]
        together = {first.pk, first.follows_id or first.pk}
        return sum(each.pk not in together and each.follows_id not in together for each in self.running)

    @property
    def exists(self) -> bool:
        """True if the account exists at the provider and can be changed."""
        account = self.account
        return bool(account.provider_id) and account.state != AccountState.DELETED and not account.duplicate_of_id

    @cached_property
    def may(self) -> dict[str, bool]:
        """The actions that the account's state allows; the role is checked in the template."""
        can = self.account.connection.capabilities
        writes = providers.ReportedState.STOPPED_BY_US in can.writable_states
        return {
            "suspend": self.exists and writes and self.account.state in MAY_SEND,
            "unsuspend": self.exists and writes and self.account.state == AccountState.STOPPED_BY_US,
            "offerings": self.exists and can.offerings,
            "settings": self.exists and can.settings,
            "sign_in": not why_no_sign_in(self.account),
            "refresh": self.exists,
            "delete": self.exists,
            "username": self.exists and can.usernames,
        }

    @cached_property
    def lacks(self) -> dict[str, str]:
        """The actions that the state allows and our own credential does not, each with the scope to grant."""
        connection = self.account.connection
        texts = {kind: why_no_scope(connection, kind) for kind in ("suspend", "unsuspend", "settings", "delete")}
        texts["refresh"] = why_no_read(connection, "accounts")
        return {act: text for act, text in texts.items() if text and self.may.get(act)}

    @property
    def lacks_once(self) -> list[str]:
        return list(dict.fromkeys(self.lacks.values()))


def account_details(public_id: uuid.UUID) -> AccountPage:
    """Return the page's data. The number of queries does not depend on the account's history. Raises
    `Http404`."""
    # Open operations are read before the account: one that ends in between is then shown by the account, or read again.
    operations = Operation.objects.filter(account__public_id=public_id)
    running = list(_with_people(operations.filter(state__in=OPEN)).order_by("pk"))
    related = ("customer__owner", "connection", "duplicate_of__customer", "duplicate_of__connection")
    account = get_object_or_404(Account.objects.select_related(*related), public_id=public_id)
    last = None if running else _with_people(operations).order_by("-pk").first()
    failed = _failure(last)
    known = catalogue.known(account.connection)
    rows = account.offerings if account.offerings is not None else account.desired_offerings
    found = AccountPage(
        account=account,
        lines=_lines(rows, running, known),
        gives=catalogue.gives_text(catalogue.entitlements_of(account.connection, as_offerings(rows), catalogue=known)),
        settings=_settings(account, running),
        running=running,
        failed=failed,
        operations_count=operations.count(),
        keys_count=account.keys.filter(gone_at=None).count() if account.connection.capabilities.keys else None,
        read_back_due=_read_back_due(account, last),
    )
    found.explanation = _explanation(found)
    return found


def _failure(last: Operation | None) -> Operation | None:
    """Return the last failure. One that failed because its leader failed is not shown: the leader is."""
    if last is None or last.state != OperationState.FAILED:
        return None
    leader = last.follows
    return leader if leader and leader.state == OperationState.FAILED else last


def _read_back_due(account: Account, last: Operation | None) -> bool:
    if last is None or last.state != OperationState.SUCCEEDED or last.kind == OperationKind.DELETE:
        return False
    if last.finished_at is None or timezone.now() - last.finished_at > READ_BACK_WITHIN:
        return False
    return account.state_read_at is None or account.state_read_at < last.finished_at


def operations_of_account(account: Account) -> QuerySet[Operation]:
    return _with_people(Operation.objects.filter(account=account)).order_by("-pk")


def _with_people(operations: QuerySet[Operation]) -> QuerySet[Operation]:
    return operations.select_related(
        "requested_by",
        "connection",
        "account__customer",
        "account__connection",
        "follows__requested_by",
        "follows__connection",
    )


def _lines(
    rows: list[dict[str, Any]], running: list[Operation], known: dict[str, catalogue.OfferingChoice]
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
                name=name,
                label=catalogue.offering_label(name),
                type=row["type"],
                quantity=had,
                gives=catalogue.gives_text(given),
                known=entry is not None,
                asked=None if gets == had else gets,
            )
        )
    return sorted(lines, key=lambda each: (each.type != "package", each.label))


def _settings(account: Account, running: list[Operation]) -> list[SettingLine]:
    if not account.connection.capabilities.settings:
        return []
    now = account.settings if account.settings is not None else account.desired_settings
    asked: dict[str, Any] = {}
    for each in running:
        if each.kind == OperationKind.SETTINGS:
            asked |= each.payload["changes"]
    words = {name: lambda value: str(value or "") for name in ("name", "website")} | {"monthly_cap": cap_text}
    labels = {"name": _("Name"), "website": _("Website"), "monthly_cap": _("Monthly cap")}
    return [
        SettingLine(label, words[name](now.get(name)), words[name](asked[name]) if name in asked else "")
        for name, label in labels.items()
    ]


# -- notices about the state -----------------------------------------------------------------------------------


def _explanation(found: AccountPage) -> Explanation | None:
    account = found.account
    name = {"provider": account.provider_label}
    if account.duplicate_of_id is not None:
        return Explanation("warn", _("This account is a duplicate."), duplicates.refusal(account))
    match AccountState(account.state):
        case AccountState.PENDING:
            return None if found.running else _not_made(found, name)
        case AccountState.STOPPED_BY_US:
            outside = _("It was suspended outside the portal. Unsuspend it to let it send again.")
            return Explanation("warn", _("This account is suspended."), _stopped_by(account) or outside)
        case AccountState.STOPPED_BY_PROVIDER if because := _held_because(account):
            return Explanation("warn", *because)
        case AccountState.STOPPED_BY_PROVIDER:
            return Explanation(
                "warn",
                _("%(provider)s blocked this account.") % name,
                _("Only %(provider)s can unblock it. Contact its support with the account ID, then refresh.") % name,
            )
        case AccountState.BANNED:
            return Explanation(
                "danger",
                _("%(provider)s permanently banned this account.") % name,
                _("No one can sign in or send. Let the customer know, then delete the account here."),
            )
        case AccountState.INDETERMINATE:
            return Explanation(
                "unknown",
                _("%(provider)s doesn't report a clear state for this account.") % name,
                _("Refresh in a few minutes. If nothing changes, contact %(provider)s support with the account ID.")
                % name,
            )
        case AccountState.UNKNOWN:
            return _unknown(account, name)
        case _:
            return None


def _held_because(account: Account) -> tuple[str, str] | None:
    """Return the meaning of the provider's own word for the block, and who can lift it."""
    known = {word: (what, who) for word, what, who in account.connection.capabilities.held_because}
    found = known.get(account.state_raw)
    return (_(found[0]), _(found[1])) if found else None


def _unknown(account: Account, name: dict[str, str]) -> Explanation:
    if account.state_raw == "not found":
        return Explanation(
            "unknown",
            _("%(provider)s no longer recognizes this account ID.") % name,
            _("It may have been deleted outside the portal. Refresh. If nothing changes, check in %(provider)s.")
            % name,
        )
    if account.state_raw:
        return Explanation(
            "unknown",
            _("%(provider)s reports an unrecognized state: %(raw)s") % (name | {"raw": account.state_raw}),
            _("Ask %(provider)s support what it means.") % name,
        )
    return Explanation(
        "unknown",
        _("This account's state hasn't been checked yet."),
        _("New accounts are checked within a minute of being created. Refresh to check now."),
    )


def _not_made(found: AccountPage, name: dict[str, str]) -> Explanation:
    if found.failed and found.failed.field_errors:
        return Explanation(
            "danger",
            _("%(provider)s didn't create this account.") % name,
            _("Fix the errors below and retry. Nothing has been billed."),
        )
    return Explanation(
        "warn", _("This account was not created."), _("It doesn't exist at %(provider)s, and nothing is billed.") % name
    )


def _stopped_by(account: Account) -> str:
    """Return who suspended it and why, where the portal did: not where a later operation unsuspended it again."""
    kinds = (OperationKind.SUSPEND, OperationKind.UNSUSPEND)
    last = (
        _with_people(account.operations.filter(kind__in=kinds, state=OperationState.SUCCEEDED)).order_by("-pk").first()
    )
    if last is None or last.kind == OperationKind.UNSUSPEND:
        return ""
    return _("Requested by %(person)s: %(reason)s") % {"person": last.requested_by, "reason": last.reason}
