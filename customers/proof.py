"""What became of a create nobody knows the outcome of, at a provider that takes no idempotency key.

    settle -> complete walk -> candidates -> whose are they? -> adopt one | ask a person | absent this time

An account is ours only by proof: its e-mail *and* its offerings are those of the create, and it came to be since.
Absence is proven by three complete walks over at least a quarter of an hour. A walk that was not read to its end proves
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from customers import engine, reconcile
from customers.models import Operation, Scan, Sighting
from customers.models.account import as_rows
from customers.verdicts import Done, NotDone, Person, Wait
from portal.providers import AccountRef, NotFound, Provider, ProviderError

# How long a provider may take to list what it created, before a walk says anything about it.
SETTLE = timedelta(seconds=120)
WALKS, BETWEEN_WALKS, ABSENT_AFTER = 3, timedelta(minutes=7), timedelta(minutes=15)
AFTER_A_BROKEN_WALK = timedelta(minutes=1)
PATIENCE = 30.0  # the walk happens under the operation's lease
# Our clock and the provider's need not agree. Within the second of these an account may still be the one, and nothing
# proves it any more.
SKEW, IN_DOUBT = timedelta(seconds=120), timedelta(minutes=10)
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


def verdict(
    operation: Operation, provider: Provider, *, now: datetime, recall: Callable[[dict[str, Any]], Done]
) -> Done | NotDone | Wait | Person:
    """What a reading says of an unknown create. It looks at most every few minutes; between that nothing is read."""
    unknown_at = operation.unknown_at or now
    walks = _walks(operation, since=unknown_at + SETTLE)
    due_at = max(unknown_at + SETTLE, walks[-1].started_at + BETWEEN_WALKS) if walks else unknown_at + SETTLE
    if now < due_at:
        return Wait(due_at, operation.summary)
    found = _find(operation, provider, now=now)
    if found is None:
        return _broken_walk(now)
    if proven := _proven(found, recall):
        return proven
    if now < unknown_at + ABSENT_AFTER or len(walks) + 1 < WALKS:
        return Wait(
            now + BETWEEN_WALKS,
            _("Looked through the whole list: not there so far. Looking again; a person may decide sooner."),
        )
    return _doubtful(found) or NotDone(
        _("Looked through the whole list three times: it was not created. It is sent again.")
    )


def last_look(
    operation: Operation, provider: Provider, *, now: datetime, recall: Callable[[dict[str, Any]], Done]
) -> Done | Wait | Person | None:
    """Once more before it is sent again: long may have passed since its absence was proven, while the connection was
    paused or no worker lived. None where it may be sent; what a person was shown before is not asked again."""
    just_now = reconcile.latest_complete(operation.connection, since=now - SETTLE)
    found = _judged(operation, just_now, provider) if just_now else _find(operation, provider, now=now)
    if found is None:
        return _broken_walk(now)
    shown = {row["provider_id"] for row in operation.result.get("candidates", [])}
    new = [each for each in found if each.provider_id not in shown]
    return _proven(new, recall) or _doubtful(new)


def _proven(found: list[Candidate], recall: Callable[[dict[str, Any]], Done]) -> Done | Person | None:
    matches = [each for each in found if each.verdict == MATCH]
    if len(matches) > 1:
        text = _("More than one account fits. A person must say which one it is.")
        return Person("several", text, _to_be_shown(found))
    if not matches:
        return None
    done = recall({"account_id": matches[0].provider_id, "proof": {"by": "e-mail and offerings"}})
    return Done(_("Found in the list as %(id)s.") % {"id": matches[0].provider_id}, done.account, done.result)


def _doubtful(found: list[Candidate]) -> Person | None:
    if all(each.verdict == MISMATCH for each in found):
        return None
    text = _("There is an account that it may have made, and nothing proves it.")
    return Person("doubtful", text, _to_be_shown(found))


def _to_be_shown(found: list[Candidate]) -> dict[str, Any]:
    return {"candidates": [asdict(each) for each in found[:CANDIDATES_SHOWN]]}


def _broken_walk(now: datetime) -> Wait:
    return Wait(now + AFTER_A_BROKEN_WALK, _("The provider's list could not be read to its end. Looking again soon."))


def _walks(operation: Operation, *, since: datetime) -> list[Scan]:
    """Complete walks that speak of this create, oldest first."""
    complete = Scan.objects.filter(connection=operation.connection, state=Scan.State.COMPLETE, started_at__gte=since)
    return list(complete.order_by("started_at")[:WALKS])


def _find(operation: Operation, provider: Provider, *, now: datetime) -> list[Candidate] | None:
    """Look for the account with a complete walk that begins now; None where there is no such walk."""
    scan, begun = reconcile.begin(
        connection=operation.connection, kind=Scan.Kind.UNKNOWN, slot=now.isoformat(), now=now
    )  # fmt: skip
    if not begun:
        return None  # another walk is under way: the next look has its result
    through = partial(engine.keeping_the_lease, operation)
    ahead = now - timezone.now()
    scan = reconcile.walk(scan, provider, clock=lambda: timezone.now() + ahead, through=through, patience=PATIENCE)
    if scan.state != Scan.State.COMPLETE:
        return None
    return _judged(operation, scan, provider)


def _judged(operation: Operation, scan: Scan, provider: Provider) -> list[Candidate]:
    first = operation.attempts.order_by("n").first()
    if first is None:
        return []
    sent_at = first.intended_at
    return [_look(operation, each, provider, sent_at=sent_at) for each in _candidates(scan, sent_at=sent_at)]


def _candidates(scan: Scan, *, sent_at: datetime) -> list[Sighting]:
    """Unmapped accounts of the walk, but for those that were surely there before our first send."""
    listed = Sighting.objects.filter(connection=scan.connection_id, last_seen_at__gte=scan.started_at)
    older = Q(first_seen_at__lt=sent_at - SKEW) | Q(made_at__lt=sent_at - IN_DOUBT)
    return list(listed.exclude(older).unmapped().order_by("made_at")[: CANDIDATES_SHOWN * 5])


def _may_be_older(sighting: Sighting, *, sent_at: datetime) -> bool:
    """Met or made a little before our send by clocks that need not agree, made at a time nobody says, or set aside by a
    person: then likeness alone is no proof."""
    if sighting.made_at is None or sighting.first_seen_at is None or sighting.ignored_at:
        return True
    return sighting.first_seen_at < sent_at or sighting.made_at < sent_at - SKEW


def _look(operation: Operation, sighting: Sighting, provider: Provider, *, sent_at: datetime) -> Candidate:
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
        verdict=_verdict(email, offerings, in_doubt=_may_be_older(sighting, sent_at=sent_at)),
    )


def _same_email(operation: Operation, sighting: Sighting, provider: Provider) -> str:
    """The list names the e-mail at some times and not at others; the account itself can be asked on its behalf."""
    known = sighting.email or provider.identity(AccountRef(sighting.provider_id)).email
    if not known:
        return "not readable"
    return "same" if known.casefold() == operation.identity else "different"


def _verdict(email: str, offerings: str, *, in_doubt: bool) -> str:
    if email == "different":
        return MISMATCH
    return MATCH if email == "same" and offerings == "same" and not in_doubt else INCONCLUSIVE
