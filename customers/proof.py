"""What became of a create nobody knows the outcome of, at a provider that takes no idempotency key.

    settle -> complete walk -> candidates -> whose are they? -> adopt one | ask a person | absent this time

An account is ours only by proof: its e-mail *and* its offerings are those of the create. Absence is proven by three
complete walks over at least a quarter of an hour. A walk that was not read to its end proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from customers import reconcile
from customers.models import Account, Operation
from customers.models.account import as_rows
from customers.models.sighting import Scan, Sighting
from portal.providers import AccountRef, NotFound, Provider, ProviderError

# How long a provider may take to list what it created, before a walk says anything about it.
SETTLE = timedelta(seconds=120)
ROUNDS = 3
BETWEEN_ROUNDS = timedelta(minutes=7)
# Our clock and the provider's need not agree.
SKEW = timedelta(seconds=120)
MATCH, MISMATCH, INCONCLUSIVE = "match", "mismatch", "inconclusive"
CANDIDATES_SHOWN = 20


@dataclass(frozen=True)
class Candidate:
    """An account that may be the one: made in the time window, and nobody's yet. `email` and `offerings` say what the
    look at it found: "same", "different", or "not readable"."""

    provider_id: str
    made_at: str
    email: str
    offerings: str
    state: str
    verdict: str


@dataclass(frozen=True)
class Findings:
    """What one complete walk says of an unknown create. `scan` is None where no walk could be completed."""

    scan: Scan | None
    candidates: tuple[Candidate, ...] = ()

    @property
    def matches(self) -> tuple[Candidate, ...]:
        return tuple(each for each in self.candidates if each.verdict == MATCH)

    @property
    def doubtful(self) -> tuple[Candidate, ...]:
        return tuple(each for each in self.candidates if each.verdict == INCONCLUSIVE)

    def as_rows(self) -> list[dict[str, Any]]:
        return [asdict(each) for each in self.candidates[:CANDIDATES_SHOWN]]


def find(
    operation: Operation,
    provider: Provider,
    *,
    since: datetime,
    clock: Callable[[], datetime],
    beat: Callable[[], None] | None = None,
) -> Findings:
    """Look for the account of `operation` with a complete walk that began at `since` or later."""
    scan = reconcile.latest_complete(operation.connection, since=since)
    if scan is None:
        scan, begun = reconcile.begin(
            connection=operation.connection, kind=Scan.Kind.UNKNOWN, slot=f"{clock().isoformat()}", now=clock()
        )
        if not begun:
            return Findings(None)  # another walk is under way: its result serves as well
        scan = reconcile.walk(scan, provider, clock=clock, beat=beat)
    if scan.state != Scan.State.COMPLETE:
        return Findings(None)
    found = tuple(_look(operation, sighting, provider) for sighting in candidates_of(operation, scan))
    return Findings(scan, found)


def candidates_of(operation: Operation, scan: Scan) -> list[Sighting]:
    """Unmapped accounts made between our first send and the walk, which no walk had met before we sent."""
    first = operation.attempts.order_by("n").first()
    if first is None:
        return []
    window = Sighting.objects.filter(
        connection=operation.connection,
        last_seen_at__gte=scan.started_at,
        first_seen_at__gte=first.intended_at,
        made_at__gte=first.intended_at - SKEW,
        made_at__lte=scan.started_at + SKEW,
        ignored_at=None,
    )
    return list(window.unmapped().order_by("made_at")[: CANDIDATES_SHOWN * 5])


def _look(operation: Operation, sighting: Sighting, provider: Provider) -> Candidate:
    ref = AccountRef(sighting.provider_id)
    email = _same_email(operation, sighting, provider)
    offerings, state = "not readable", ""
    if email != "different":
        try:
            state = provider.state(ref).raw
            rows = as_rows(provider.offerings(ref))
            offerings = "same" if rows == operation.payload["offerings"] else "different"
        except NotFound:
            state = "not found"
        except ProviderError:
            pass
    return Candidate(
        provider_id=sighting.provider_id,
        made_at=sighting.made_at.isoformat() if sighting.made_at else "",
        email=email,
        offerings=offerings,
        state=state,
        verdict=_verdict(email, offerings),
    )


def _same_email(operation: Operation, sighting: Sighting, provider: Provider) -> str:
    """The list names the e-mail at some times and not at others; the account itself can be asked on its behalf."""
    known = sighting.email or provider.identity(AccountRef(sighting.provider_id)).email
    if not known:
        return "not readable"
    return "same" if known.casefold() == operation.identity else "different"


def _verdict(email: str, offerings: str) -> str:
    if email == "different":
        return MISMATCH
    return MATCH if email == "same" and offerings == "same" else INCONCLUSIVE


def is_taken(operation: Operation, provider_id: str) -> bool:
    return Account.objects.filter(connection=operation.connection, provider_id=provider_id).exists()
