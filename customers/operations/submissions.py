"""Submitted forms: one form token makes one request, bound to the user, the kind, the target and the content."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, models, transaction
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.html import format_html
from django.utils.translation import gettext as _

from customers.models import ChangeSet, Customer, Operation, Schedule, Submission
from portal.commands import Command
from portal.formats import at_text
from portal.refusals import Refusal

Result = TypeVar("Result", ChangeSet, Customer, Operation, Schedule)
# Separates this use of the secret key from every other one.
PURPOSE = "customers.submission"
_EARLIER = "_earlier_submission"


class _Encoder(DjangoJSONEncoder):
    def default(self, o: Any) -> Any:
        if isinstance(o, models.Model):
            return o.public_id  # type: ignore[attr-defined]
        if is_dataclass(o):
            return {each.name: getattr(o, each.name) for each in fields(o)}
        return super().default(o)


class AlreadySubmitted(Refusal):
    """The form's token was used before, for other content. `submission` is the earlier one."""

    def __init__(self, submission: Submission) -> None:
        text = _(
            "This form was already submitted {when} with different content ({request}). Nothing new was "
            "requested. To request this too, check the earlier request, then submit the form again."
        )
        link = format_html('<a href="{}">{}</a>', submission.path, submission.code or _("view the earlier request"))
        super().__init__(format_html(text, when=at_text(submission.submitted_at), request=link))
        self.submission = submission


def submit_once(
    command: Command,
    model: type[Result],
    *,
    kind: str,
    target: Any,
    content: dict[str, Any],
    make: Callable[[], Result],
) -> Result:
    """Run `make` in a transaction unless the user submitted this form before; then return the earlier result.

    `content` is the form's content beside the reason, without secrets: JSON values, dataclasses, and rows, which count
    by their public ID. `earlier_submission` tells a repeated result from a new one. Raises `AlreadySubmitted` when the
    token was used for another kind, target or content.
    """
    if not command.token:
        raise TypeError("a form has a token")
    said = _said(command, kind, target, content)
    form = {"requested_by": command.person, "client_token": command.token}
    if earlier := Submission.objects.filter(**form).first():
        return _repeated(model, earlier, said)
    try:
        with transaction.atomic():
            # First of all: a concurrent request with the same token waits here for the outcome.
            submission = Submission.objects.create(**form, digest=_digest(said[0]), submitted_at=command.now)
            made = make()
            submission.result, submission.code, submission.path = made.public_id, _code(made), made.get_absolute_url()
            submission.save(update_fields=["result", "code", "path"])
    except IntegrityError:
        if earlier := Submission.objects.filter(**form).first():
            return _repeated(model, earlier, said)
        rows: Any = model._default_manager
        if hasattr(model, "client_token") and (before := rows.filter(**form).first()):
            raise already_submitted(before, submitted_at=before.created_at) from None
        raise Refusal(_("Someone just submitted the same request. Check the account's operations.")) from None
    return made


def earlier_submission(made: models.Model) -> Submission | None:
    """Return the submission that led to `made` before; None when `made` is new."""
    found: Submission | None = getattr(made, _EARLIER, None)
    return found


def repeated_text(submission: Submission, *, code: str = "") -> str:
    """Return the sentence for a user who sent the same form again."""
    when, code = at_text(submission.submitted_at), code or submission.code
    if not code:
        return _("Already submitted %(when)s. Nothing new was requested.") % {"when": when}
    return _("Already submitted %(when)s as %(code)s. Nothing new was requested.") % {"when": when, "code": code}


def _said(command: Command, kind: str, target: Any, content: dict[str, Any]) -> list[str]:
    """Return all that the form said, then the same as release 0.1 put it, which left out one or both of the last."""
    both = {"reason": command.reason, "retry_of": command.retry_of}
    shapes: tuple[dict[str, Any], ...] = (both, {"retry_of": command.retry_of}, {"reason": command.reason}, {})
    told = ([command.person, kind, target, content | more] for more in shapes)
    return [json.dumps(each, sort_keys=True, cls=_Encoder) for each in told]


def _repeated(model: type[Result], earlier: Submission, said: list[str]) -> Result:
    """Return the result of the same content. A secret key that was replaced is still tried."""
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    if not any(constant_time_compare(earlier.digest, _digest(each, key)) for key in keys for each in said):
        raise AlreadySubmitted(earlier)
    made = model._default_manager.get(public_id=str(earlier.result))
    setattr(made, _EARLIER, earlier)
    return made


def _digest(said: str, key: str | None = None) -> str:
    return salted_hmac(PURPOSE, said, secret=key, algorithm="sha256").hexdigest()


def _code(made: models.Model) -> str:
    return str(getattr(made, "code", ""))


def already_submitted(made: Result, *, submitted_at: datetime) -> AlreadySubmitted:
    """Return the error for results from before forms were recorded: the content is not known, so it counts as
    different."""
    return AlreadySubmitted(Submission(submitted_at=submitted_at, code=_code(made), path=made.get_absolute_url()))
