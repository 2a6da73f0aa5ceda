"""Commands on requests about a person's data: search, export, erase, and the end of what nobody used.

The person's name and address are in the encrypted column of the request alone: no audit event, log line or task message
has them. An event names the request by its code, which is the pseudonym after an erasure.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from portal.access.models import User
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.personal_data import reasons_against
from portal.privacy.models import KEPT_FOR, SubjectRequest
from portal.privacy.subjects import Subject, contact_subject, member_subject
from portal.queue import enqueue_on_commit
from portal.refusals import Refusal
from portal.typed_text import comparable

ADVANCE = "privacy.advance"
REASON_MIN = 10
State = SubjectRequest.State


def search_person(command: Command, *, kind: str, email: str, others: Iterable[str] = ()) -> SubjectRequest:
    """Search every table for a contact or a team member by email address; `others` are further names and addresses."""
    require(command.person, Permission.HANDLE_PERSONAL_DATA)
    user = None
    if kind == SubjectRequest.Kind.MEMBER:
        user = User.objects.filter(email__iexact=email).first()
        if user is None:
            raise Refusal(_("No team member has this email."), field="email")
    return begin_request(command, subject=member_subject(user, others) if user else contact_subject(email, others))


def begin_request(command: Command, *, subject: Subject, erase: bool = False) -> SubjectRequest:
    """Store a request and start its search; `erase`: it is an erasure that is repeated."""
    row = SubjectRequest(
        code=new_code(),
        kind=SubjectRequest.Kind.MEMBER if subject.user else SubjectRequest.Kind.CONTACT,
        user=subject.user,
        requested_by=command.actor,
        requested_at=command.now,
        expires_at=command.now + KEPT_FOR,
        not_before=command.now,
        state=State.ERASING if erase else State.SEARCHING,
        reason=command.reason[:500],
    )
    row.subject_sealed = row.seal("subject_sealed", subject.as_text())
    with transaction.atomic():
        row.save(force_insert=True)
        verb = "personal_data.erasure_requested" if erase else "personal_data.searched"
        command.record(verb=verb, obj=row, after={"of": row.kind})
        enqueue_on_commit(ADVANCE, row.pk)
    return row


def new_code() -> str:
    return secrets.token_hex(4).upper()


def start_export(command: Command, *, request: SubjectRequest) -> None:
    require(command.person, Permission.HANDLE_PERSONAL_DATA)
    _start(command, request, State.EXPORTING, verb="personal_data.export_requested")


def why_not_erasable(command: Command, request: SubjectRequest) -> list[str]:
    """Return what has to be done before the erasure, as sentences."""
    subject = request.subject()
    reasons = reasons_against(subject)
    if subject.user is not None and subject.user.pk == command.person.pk:
        reasons.insert(0, _("You can't erase yourself. Another admin has to do it."))
    return reasons


def start_erasure(command: Command, *, request: SubjectRequest, typed: str) -> None:
    """Start the erasure of a searched person. `typed` is their email address, as confirmation. Raises `Refusal`."""
    require(command.person, Permission.HANDLE_PERSONAL_DATA)
    if len(command.reason.strip()) < REASON_MIN:
        raise Refusal(_("Enter a reason of at least %(n)d characters.") % {"n": REASON_MIN}, field="reason")
    if comparable(typed).casefold() not in {each.casefold() for each in request.subject().addresses}:
        raise Refusal(_("Enter the person's email address to confirm."), field="confirm")
    if reasons := why_not_erasable(command, request):
        raise Refusal(" ".join(reasons))
    _start(command, request, State.ERASING, verb="personal_data.erasure_requested", reason=command.reason.strip()[:500])


def _start(command: Command, request: SubjectRequest, state: str, *, verb: str, **fields: str) -> None:
    with transaction.atomic():
        waiting = SubjectRequest.objects.filter(pk=request.pk, state__in=SubjectRequest.OPEN)
        started = waiting.update(
            state=state, position={}, tries=0, not_before=command.now, error="", blocked=[], file_sealed="", **fields
        )
        if not started:
            raise Refusal(_("This request is in progress or has ended. Open the page again."))
        command.record(verb=verb, obj=request, after={"of": request.kind})
        enqueue_on_commit(ADVANCE, request.pk)


def file_of_export(command: Command, *, request: SubjectRequest) -> str:
    """Return the file of an export as base64. Raises `Refusal`, `DecryptionError`."""
    if request.state != State.EXPORTED or command.actor is None or command.actor.pk != request.requested_by_id:
        raise Refusal(_("The file can be downloaded by the team member who requested it, for 7 days."))
    return request.file_text()


def expire_requests(*, now: datetime) -> int:
    """Remove the words and files of requests that nobody finished in time; return how many."""
    ended = 0
    due = SubjectRequest.objects.filter(expires_at__lte=now).exclude(state__in=(State.ERASED, State.EXPIRED))
    for row in due.exclude(state=State.ERASING).order_by("pk")[:200]:
        with transaction.atomic():
            same = SubjectRequest.objects.filter(pk=row.pk, state=row.state, expires_at__lte=now)
            if same.update(state=State.EXPIRED, subject_sealed="", file_sealed="", lease_until=None, finished_at=now):
                Command(None, now).record(verb="personal_data.request_expired", obj=row, after={"of": row.kind})
                ended += 1
    return ended
