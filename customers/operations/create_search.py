"""Find the account of a create whose outcome is unknown: one search, with a strategy for providers that take an
idempotency key and one for those that take none.

    look -> link the proven account | review | look again | absent: send again

Without a key: early scans, settle, complete scans, one assignment of all open creates. An account is linked only by
proof: its email *and* its offerings are those of the create, and it was created since. Anything else that the create
may have made is doubt, and needs a review. Absence is proven by three complete scans over at least a quarter of an
hour, none of which lacks an account that exists, with nothing left in doubt.

With a key: by the rules of docs/decisions/idempotency.md. The whole list is searched for an account of this name and
website that was created since the first send.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from customers.models import Account, Operation, RemoteAccount, Scan
from customers.models.account import as_rows, identity_of
from customers.observed import account_list, matching
from customers.observed.matching import Assignment, OpenCreate, Window
from customers.operations import attempts, idempotency
from customers.operations.outcomes import NeedsReview, NotApplied, RetryAt, Succeeded
from portal.clock import database_now
from portal.email_addresses import mailbox_key
from portal.providers import AccountRef, ListedAccount, Provider, ProviderError
from portal.query_params import moment_or_none
from portal.texts import say

CANDIDATES_SHOWN = 20
# By how much the clocks of one provider's servers may differ.
CLOCKS = timedelta(minutes=30)

# Scans that may link and never prove absence: a customer may change the address at the first sign-in.
EARLY = (timedelta(seconds=10), timedelta(seconds=30))
# A scan that another operation began so shortly before an early scan serves it as well.
FRESH = timedelta(seconds=5)
# A list that takes longer to read is not read again before the settling time.
SLOW = timedelta(seconds=20)
# How long a provider may take to list what it created, before a scan can prove absence.
SETTLE = timedelta(seconds=120)
WALKS, BETWEEN_WALKS, ABSENT_AFTER = 3, timedelta(minutes=7), timedelta(minutes=15)
AFTER_A_BROKEN_WALK, AFTER_ANOTHER_WALK = timedelta(minutes=1), timedelta(seconds=5)
PATIENCE = 30.0  # the scan happens under the operation's lease
READS_AT_ONCE = 200
MATCH, INCONCLUSIVE = "match", "inconclusive"


@dataclass(frozen=True)
class Candidate:
    """An account that an unknown create may have made, as a scan found it. `email` and `offerings` are "same",
    "different" or "not readable"; `address` is the present one. Stored on the operation for its review."""

    provider_id: str
    made_at: datetime | None
    name: str = ""
    website: str = ""
    address: str = ""
    email: str = ""
    offerings: str = ""
    verdict: str = ""

    def as_row(self) -> dict[str, str]:
        row = asdict(self) | {"made_at": self.made_at.isoformat() if self.made_at else ""}
        return {name: value for name, value in row.items() if value}

    @classmethod
    def of_row(cls, row: dict[str, str]) -> Candidate:
        """Return a stored one. Rows of keyed creates had the time as "created_at" once."""
        texts = {each.name: str(row.get(each.name, "")) for each in fields(cls) if each.name != "made_at"}
        return cls(**texts, made_at=moment_or_none(row.get("made_at") or row.get("created_at") or ""))


@dataclass(frozen=True)
class Proven:
    """The account that a create made, and by what proof."""

    provider_id: str
    proof: dict[str, str]


Found = Proven | NeedsReview | RetryAt | None


def search(
    operation: Operation, provider: Provider, *, now: datetime, recall: Callable[[dict[str, Any]], Succeeded]
) -> Succeeded | NotApplied | RetryAt | NeedsReview:
    """Return what is known of an unknown create."""
    strategy = _strategy_of(operation)
    found = strategy.look(operation, provider, now=now)
    return _recalled(found, recall) or strategy.absent(operation, now=now)


def search_before_resend(
    operation: Operation, provider: Provider, *, now: datetime, recall: Callable[[dict[str, Any]], Succeeded]
) -> Succeeded | RetryAt | NeedsReview | None:
    """Search once more before a resend: its absence may have been proven long ago, before the connection was paused or
    workers stopped. Returns None where it may be sent."""
    return _recalled(_strategy_of(operation).look_before_resend(operation, provider, now=now), recall)


def _strategy_of(operation: Operation) -> KeyedSearch | UnkeyedSearch:
    """Return how creates of the connection are searched for.

    `look` looks where that is due, and returns None where absence is proven by now; `look_before_resend` looks at once,
    and returns None where it may be sent; `absent` returns how it is sent again.
    """
    return KeyedSearch() if operation.connection.capabilities.idempotent_create else UnkeyedSearch()


def _recalled(found: Found, recall: Callable[[dict[str, Any]], Succeeded]) -> Succeeded | NeedsReview | RetryAt | None:
    if not isinstance(found, Proven):
        return found
    done = recall({"account_id": found.provider_id, "proof": found.proof})
    return Succeeded(say("create.found", id=found.provider_id), done.account, done.result)


def _review(error_kind: str, text: str, candidates: list[Candidate]) -> NeedsReview:
    shown, others = candidates[:CANDIDATES_SHOWN], candidates[CANDIDATES_SHOWN:]
    rows = {"candidates": [each.as_row() for each in shown], "considered": [each.provider_id for each in others]}
    return NeedsReview(error_kind, text, rows)


class UnkeyedSearch:
    """By stored scans. A scan serves all unknown creates of its connection."""

    def look(self, operation: Operation, provider: Provider, *, now: datetime) -> Found:
        unknown_at = operation.unknown_at or now
        looks = _complete_scans(operation, since=unknown_at)
        if now >= _due(looks, unknown_at):
            scan = _scan(operation, provider, now=now)
            if isinstance(scan, RetryAt):
                return scan
            looks.append(scan)
        if not looks:
            return RetryAt(_due(looks, unknown_at), operation.summary)
        assignment = _judged(operation, provider, since=looks[-1].started_at, now=now)
        counted = _counted(looks, unknown_at)
        if len(counted) < WALKS or counted[-1].started_at < unknown_at + ABSENT_AFTER:
            return _proven(assignment) or RetryAt(_due(looks, unknown_at), _so_far(looks[-1]))
        return _proven(assignment) or _ambiguous(assignment, provider)

    def look_before_resend(self, operation: Operation, provider: Provider, *, now: datetime) -> Found:
        looks = _complete_scans(operation, since=now - SETTLE)
        scan = looks[-1] if looks else _scan(operation, provider, now=now)
        if isinstance(scan, RetryAt):
            return scan
        assignment = _judged(operation, provider, since=scan.started_at, now=now)
        return _proven(assignment) or _ambiguous(assignment, provider)

    def absent(self, operation: Operation, *, now: datetime) -> NotApplied:
        return NotApplied(say("create.absent"))


class KeyedSearch:
    """By the list as it is now. An account that is absent may still appear, and then the key no longer helps: a 5xx
    frees it, and the lease of an execution that continues ends. So it has to be absent for as long as where there is no
    key."""

    def look(self, operation: Operation, provider: Provider, *, now: datetime) -> Found:
        unknown_at = operation.unknown_at or now
        settled_at, absent_at = unknown_at + SETTLE, unknown_at + ABSENT_AFTER
        if now < settled_at:
            return RetryAt(settled_at, operation.summary)
        if found := self._found(operation, provider):
            return found
        if now < absent_at:
            again = min(now + BETWEEN_WALKS, absent_at)
            return RetryAt(again, say("create.absent_so_far_keyed"))
        return None

    def look_before_resend(self, operation: Operation, provider: Provider, *, now: datetime) -> Found:
        return self._found(operation, provider) or idempotency.spent(operation, now=now)

    def absent(self, operation: Operation, *, now: datetime) -> NotApplied:
        return idempotency.not_done(operation, say("create.absent_keyed"), now=now)

    def _found(self, operation: Operation, provider: Provider) -> Proven | NeedsReview | None:
        sent = attempts.attempts_sent(operation).first()
        if sent is None:
            return None
        window = Window.of(sent)
        found = _keyed_candidates(operation, provider, window)
        if not found:
            return None
        if len(found) > 1:
            return _review("several", say("create.several_keyed"), found)
        [candidate] = found
        if not window.is_since(candidate.made_at):
            return _review("several", say("create.one_unsure"), found)
        return Proven(candidate.provider_id, {"by": "name, website and time", **candidate.as_row()})


# --- When the list is read --------------------------------------------------------------------------------------------


def _complete_scans(operation: Operation, *, since: datetime) -> list[Scan]:
    """Return the complete scans that began after the last send and since a moment, oldest first."""
    complete = Scan.objects.filter(connection=operation.connection, state=Scan.State.COMPLETE, started_at__gte=since)
    last = attempts.attempts_unknown(operation).last()
    if last and last.scan_mark is not None:
        complete = complete.filter(pk__gt=last.scan_mark)
    return list(complete.order_by("started_at", "pk"))


def _counted(looks: list[Scan], unknown_at: datetime) -> list[Scan]:
    """Return the scans that prove absence: settled, complete for what is known, and far enough from each other."""
    counted: list[Scan] = []
    for each in looks:
        due_at = counted[-1].started_at + BETWEEN_WALKS if counted else unknown_at + SETTLE
        if each.proves_absence and each.started_at >= due_at:
            counted.append(each)
    return counted


def _due(looks: list[Scan], unknown_at: datetime) -> datetime:
    """Return when the list is to be read next."""
    last = looks[-1] if looks else None
    is_slow = bool(last and last.finished_at and last.finished_at - last.started_at > SLOW)
    for early in EARLY:
        if last is None or (last.started_at < unknown_at + early - FRESH and not is_slow):
            return unknown_at + early
    if last is None or last.started_at < unknown_at + SETTLE:
        return unknown_at + SETTLE
    counted = _counted(looks, unknown_at)
    return (counted[-1] if counted and last.proves_absence else last).started_at + BETWEEN_WALKS


def _so_far(scan: Scan) -> str:
    if not scan.proves_absence:
        return say("create.list_lacks_accounts")
    return say("create.absent_so_far")


def _scan(operation: Operation, provider: Provider, *, now: datetime) -> Scan | RetryAt:
    """Read the whole list, beginning now. Returns when to try again where there is no complete scan."""
    scan, begun = account_list.begin_scan(
        connection=operation.connection, kind=Scan.Kind.UNKNOWN, slot=now.isoformat(), now=now, taken=True
    )
    if not begun:
        return RetryAt(now + AFTER_ANOTHER_WALK, say("create.list_busy"))
    through = operation.renewing
    ahead = now - database_now()
    scan = account_list.read_account_list(
        scan, provider, clock=lambda: database_now() + ahead, through=through, patience=PATIENCE
    )
    if scan.state != Scan.State.COMPLETE:
        return RetryAt(now + AFTER_A_BROKEN_WALK, say("create.list_broken"))
    return scan


# --- What it shows ----------------------------------------------------------------------------------------------------


def _judged(operation: Operation, provider: Provider, *, since: datetime, now: datetime) -> Assignment | None:
    """Judge all open creates of the connection together. Accounts that staff were shown before a decision are not
    judged again."""
    creates = matching.open_creates(operation.connection)
    if not any(each.operation.pk == operation.pk for each in creates):
        return None
    decided = {row["provider_id"] for row in operation.result.get("candidates", [])}
    decided.update(operation.result.get("considered", []))
    rows = [each for each in matching.candidates(operation.connection, creates) if each.provider_id not in decided]
    _read(operation, rows, creates, provider, since=since, now=now)
    return matching.assign(operation, rows, creates)


def _read(
    operation: Operation,
    remote_accounts: list[RemoteAccount],
    creates: list[OpenCreate],
    provider: Provider,
    *,
    since: datetime,
    now: datetime,
) -> None:
    """Read from the accounts what the list does not contain, and store it. Nothing is read twice; without an answer it
    is tried once per scan."""
    unread = [each for each in remote_accounts if not (each.read_tried_at and each.read_tried_at >= since)]
    wanted = {mailbox_key(each.operation.payload["profile"]["email"]) for each in creates}
    tried = 0
    for each in operation.renewing(unread):
        if tried >= READS_AT_ONCE:
            return
        fields: dict[str, Any] = {}
        if not each.first_email:
            fields["first_email"] = (provider.identity(AccountRef(each.provider_id)).email or "")[:254]
            each.first_email = fields["first_email"]
        if each.first_offerings is None and wanted & {mailbox_key(each.first_email), mailbox_key(each.email)}:
            fields["first_offerings"] = each.first_offerings = _offerings(each, provider)
        if fields:
            tried += 1
            RemoteAccount.objects.filter(pk=each.pk).update(read_tried_at=now, **fields)


def _offerings(remote_account: RemoteAccount, provider: Provider) -> list[dict[str, Any]] | None:
    try:
        return as_rows(provider.offerings(AccountRef(remote_account.provider_id)))
    except ProviderError:
        return None


def _proven(found: Assignment | None) -> Proven | NeedsReview | None:
    if found is None or not found.proven:
        return None
    if len(found.proven) > 1:
        return _review("several", say("create.several"), _to_be_shown(found))
    return Proven(found.proven[0].provider_id, {"by": "email and offerings"})


def _ambiguous(found: Assignment | None, provider: Provider) -> NeedsReview | None:
    if found is None or not found.ambiguous:
        return None
    for each in found.candidates[:CANDIDATES_SHOWN]:
        if each.first_offerings is None:
            each.first_offerings = _offerings(each, provider)
    return _review("doubtful", say("create.doubtful"), _to_be_shown(found))


def _to_be_shown(found: Assignment) -> list[Candidate]:
    return [
        Candidate(
            provider_id=each.provider_id,
            made_at=each.made_at,
            address=each.email or each.first_email,
            email=found.create.email_of(each),
            offerings=found.create.offerings_of(each),
            verdict=MATCH if each in found.proven else INCONCLUSIVE,
        )
        for each in found.candidates
    ]


def _keyed_candidates(operation: Operation, provider: Provider, window: Window) -> list[Candidate]:
    """Return accounts of this name and website which did not surely exist before the send and are unlinked. Raises
    `ProviderError` where the list cannot be read to its end."""
    walk = operation.renewing(provider.list_accounts(patience=PATIENCE))
    alike = [each for each in walk if each.settings and identity_of(each.settings) == operation.identity]
    ids = [each.id for each in alike]
    met = RemoteAccount.objects.filter(connection=operation.connection, provider_id__in=ids, pk__lte=window.mark or 0)
    met_before = set(met.values_list("provider_id", flat=True))
    found = [each for each in alike if not _was_there(each, window, met_before)]
    theirs = Account.objects.filter(connection=operation.connection).exclude(pk=operation.account_id)
    taken = set(theirs.filter(provider_id__in=[each.id for each in found]).values_list("provider_id", flat=True))
    return [
        Candidate(each.id, each.created_at, name=each.settings.name, website=each.settings.website)
        for each in found
        if each.settings and each.id not in taken
    ]


def _was_there(remote: ListedAccount, window: Window, met_before: set[str]) -> bool:
    """Return whether it surely existed before the send. The clock that stamps accounts need not be the measured one, so
    one that is older by minutes has to be listed before the send, too."""
    at = remote.created_at
    return at is not None and window.is_before(at) and (remote.id in met_before or at < window.opens_at - CLOCKS)
