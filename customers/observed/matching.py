"""Match creates to the accounts they may have made: by time, email and offerings, from what is stored alone.

An account that existed before a create was sent is excluded. Email and offerings rank matches and prove them, but never
exclude an account: a provider may write an address differently, and customers change theirs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Prefetch, Q, QuerySet

from customers.models import Attempt, Connection, Operation, RemoteAccount
from customers.models.account import identity_of
from customers.models.operation_states import OPEN, OperationKind, OperationState
from portal.email_addresses import mailbox_key
from portal.providers import AccountSettings

# By how much the time of a creation may differ from the measured time of its send: below the first it is surely the
# same or later, above the second surely earlier. Between them it is undecided.
PRECISION, TOLERANCE = timedelta(seconds=10), timedelta(seconds=120)
# As the second, where the provider's clock was not measured.
UNMEASURED = timedelta(hours=12)
UNCERTAIN = (Attempt.Outcome.NONE, Attempt.Outcome.UNKNOWN)


@dataclass(frozen=True)
class Window:
    """The time from which the account of a send can have been created.

    `opens_at` is the time of the send by the provider's clock. A remote account up to `mark` was stored before the
    send; None for attempts older than this rule.
    """

    opens_at: datetime
    is_measured: bool
    mark: int | None
    intended_at: datetime

    @classmethod
    def of(cls, attempt: Attempt) -> Window:
        skew = timedelta(seconds=attempt.clock_skew or 0)
        measured = attempt.clock_skew is not None
        return cls(attempt.intended_at + skew, measured, attempt.remote_account_mark, attempt.intended_at)

    @property
    def earliest(self) -> datetime:
        """The time before which an account was created before the send."""
        return self.opens_at - (TOLERANCE if self.is_measured else UNMEASURED)

    @property
    def widest(self) -> datetime:
        """The same as `earliest`, where the measured clock is not trusted."""
        return self.opens_at - UNMEASURED

    def excludes(self, remote_account: RemoteAccount, *, widely: bool = False) -> bool:
        """Return whether the account existed before the send, by all that was measured; `widely`: whatever clock
        reported when it was created."""
        made_at, limit = remote_account.made_at, self.widest if widely else self.earliest
        return self._met_before(remote_account) or (made_at is not None and made_at < limit)

    def _met_before(self, remote_account: RemoteAccount) -> bool:
        if self.mark is not None:
            return remote_account.pk <= self.mark
        return bool(remote_account.first_seen_at and remote_account.first_seen_at < self.intended_at - TOLERANCE)

    def is_before(self, made_at: datetime | None) -> bool:
        return made_at is not None and made_at < self.earliest

    def is_since(self, made_at: datetime | None) -> bool:
        """Return whether an account created at `made_at` was surely created after the send."""
        return self.is_measured and made_at is not None and made_at >= self.opens_at - PRECISION


@dataclass(frozen=True)
class OpenCreate:
    """A create that was sent and has an unknown outcome."""

    operation: Operation
    window: Window

    def email_of(self, remote_account: RemoteAccount) -> str:
        """Return "same", "different" or "not readable". The first address read counts as well as the present one."""
        known = {mailbox_key(each) for each in (remote_account.first_email, remote_account.email) if each}
        if not known:
            return "not readable"
        return "same" if mailbox_key(self.operation.payload["profile"]["email"]) in known else "different"

    def offerings_of(self, remote_account: RemoteAccount) -> str:
        if remote_account.first_offerings is None:
            return "not readable"
        return "same" if remote_account.first_offerings == self.operation.payload["offerings"] else "different"

    def excludes(self, remote_account: RemoteAccount) -> bool:
        """Return whether the account is surely not this create's. The clock that stamps accounts need not be the one
        that was measured, so an account of the same address counts as older only where it was listed before the send,
        or is older by hours."""
        if not self.window.excludes(remote_account):
            return False
        return self.window.excludes(remote_account, widely=True) or self.email_of(remote_account) != "same"

    def is_proven_by(self, remote_account: RemoteAccount) -> bool:
        """Return whether the account is this create's: the same email and offerings, and created since. An account that
        a user ignored is left for review."""
        return (
            self.email_of(remote_account) == "same"
            and self.offerings_of(remote_account) == "same"
            and not self.window.excludes(remote_account)
            and self.window.is_since(remote_account.made_at)
            and remote_account.ignored_at is None
        )

    def may_have_left(self, remote_account: RemoteAccount) -> bool:
        """Return whether an earlier send may have made the account, after a later one was taken for the only one."""
        if self.operation.connection.capabilities.settings:
            return self.operation.identity in identities_of(remote_account)
        if self.operation.state == OperationState.FAILED:
            return self.email_of(remote_account) == "same"
        return (
            self.email_of(remote_account) != "different"
            and self.operation.account.provider_id != remote_account.provider_id
        )


@dataclass(frozen=True)
class Assignment:
    """The result of matching one create with the unmapped accounts of a connection. `proven` are its own by proof;
    `ambiguous` may be its own, and nothing else explains them."""

    create: OpenCreate
    proven: list[RemoteAccount]
    ambiguous: list[RemoteAccount]

    @property
    def candidates(self) -> list[RemoteAccount]:
        """The proven and the doubtful accounts, the likeliest first."""
        rank = {"same": 0, "not readable": 1, "different": 2}
        ambiguous = sorted(
            self.ambiguous,
            key=lambda each: (rank[self.create.email_of(each)], rank[self.create.offerings_of(each)], each.pk),
        )
        return [*self.proven, *ambiguous]


def open_creates(connection: Connection | int) -> list[OpenCreate]:
    """Return the creates of a connection that were sent and have no known outcome."""
    return _sent(Operation.objects.filter(state__in=OPEN, connection=connection, account__provider_id=None))


def candidates(connection: Connection | int, creates: Iterable[OpenCreate]) -> QuerySet[RemoteAccount]:
    """Return the unmapped accounts that did not surely exist before the first of these creates was sent."""
    windows = [each.window for each in creates]
    found = RemoteAccount.objects.filter(connection=connection).unmapped()
    marks = [each.mark for each in windows]
    if all(mark is not None for mark in marks):
        found = found.filter(pk__gt=min(mark for mark in marks if mark is not None))
    return found.exclude(made_at__lt=min(each.widest for each in windows)).order_by("pk")


def assign(
    operation: Operation, remote_accounts: Iterable[RemoteAccount], creates: list[OpenCreate]
) -> Assignment | None:
    """Judge all open creates of a connection together. Returns None where `operation` is not one of them.

    An account is explained where it existed before the send, or is the proven account of exactly one other create.
    """
    mine = next((each for each in creates if each.operation.pk == operation.pk), None)
    if mine is None:
        return None
    proven: list[RemoteAccount] = []
    ambiguous: list[RemoteAccount] = []
    for remote_account in remote_accounts:
        if mine.excludes(remote_account):
            continue
        owners = [each for each in creates if each.is_proven_by(remote_account)]
        if owners == [mine]:
            proven.append(remote_account)
        elif len(owners) != 1:
            ambiguous.append(remote_account)
    return Assignment(mine, proven, ambiguous)


def possible_creates(remote_accounts: Iterable[RemoteAccount]) -> dict[int, Operation]:
    """Return the open create that may have made each account, by the account's primary key. Where its address names
    one, that one; else the first whose account it may be by time."""
    by_connection: dict[int, list[RemoteAccount]] = defaultdict(list)
    for each in remote_accounts:
        by_connection[each.connection_id].append(each)
    named = Operation.objects.filter(
        kind=OperationKind.CREATE, state__in=OPEN, connection__in=by_connection, account__provider_id=None
    ).exclude(identity="")
    by_identity = {(each.connection_id, each.identity): each for each in named}
    found: dict[int, Operation] = {}
    for connection, rows in by_connection.items():
        sent = [each for each in open_creates(connection) if not each.operation.connection.capabilities.settings]
        for row in rows:
            keys = ((connection, each) for each in identities_of(row))
            create = next((by_identity[key] for key in keys if key in by_identity), None)
            create = create or next((each.operation for each in sent if not each.excludes(row)), None)
            if create:
                found[row.pk] = create
    return found


def identities_of(remote_account: RemoteAccount) -> list[str]:
    """Return the identities that the create of this account would have (`Operation.identity`)."""
    if remote_account.name:
        return [identity_of(AccountSettings(remote_account.name, remote_account.website, monthly_cap=0))]
    return [mailbox_key(each) for each in dict.fromkeys((remote_account.email, remote_account.first_email)) if each]


def taken_for_lost(connection: Connection | int) -> list[OpenCreate]:
    """Return creates of which a send was considered lost: sent again, finished or not, or ended as failed."""
    lost = Q(attempt_count__gt=1) | Q(state=OperationState.FAILED)
    return _sent(Operation.objects.filter(lost, connection=connection))


def late_answers(connection: Connection | int) -> dict[str, Operation]:
    """Return creates whose answer came after they were sent again or had failed, by the provider ID it names."""
    lost = Q(operation__attempt_count__gt=1) | Q(operation__state=OperationState.FAILED)
    late = Attempt.objects.filter(
        lost, operation__connection=connection, operation__kind=OperationKind.CREATE, outcome=Attempt.Outcome.APPLIED
    )
    rows = late.select_related("operation__account__customer", "operation__connection").order_by("pk")
    return {str(each.result["account_id"]): each.operation for each in rows if each.result.get("account_id")}


def _sent(operations: QuerySet[Operation]) -> list[OpenCreate]:
    uncertain = Attempt.objects.filter(outcome__in=UNCERTAIN).order_by("n")
    found = operations.filter(kind=OperationKind.CREATE, attempts__outcome__in=UNCERTAIN).distinct()
    rows = found.select_related("account__customer", "connection").order_by("pk")
    rows = rows.prefetch_related(Prefetch("attempts", uncertain))
    return [OpenCreate(each, Window.of(each.attempts.all()[0])) for each in rows]
