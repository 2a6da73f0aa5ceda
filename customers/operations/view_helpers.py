"""Helpers that the views of this app share."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.db import models
from django.http import HttpRequest, QueryDict
from django.shortcuts import get_object_or_404
from django.utils import timezone

from customers.models import Account, Operation
from customers.models.operation_states import OPEN
from customers.operations.commands import UnableToAsk
from customers.operations.submissions import AlreadySubmitted, earlier_submission, repeated_text
from portal.htmx import new_token, person


def account_or_404(public_id: uuid.UUID) -> Account:
    return get_object_or_404(Account.objects.select_related("customer", "connection"), public_id=public_id)


def open_kind_of(account: Account) -> str:
    """Return the kind of operation that is under way on the account, in words; "" when there is none."""
    first = open_operation_of(account)
    return first.get_kind_display() if first else ""


def open_operation_of(account: Account, **narrower: Any) -> Operation | None:
    return account.operations.filter(state__in=OPEN, **narrower).order_by("pk").first()


def try_request(request: HttpRequest, form: forms.Form, ask: Callable[..., Operation], **what: Any) -> bool:
    """Request an operation from a valid form and return whether it was; a refusal becomes an error of the form."""
    try:
        operation = ask(
            actor=person(request), client_token=form.cleaned_data["client_token"], now=timezone.now(), request=request,
            **what,
        )  # fmt: skip
    except UnableToAsk as refusal:
        add_refusal(form, refusal)
        return False
    say_repeated(request, operation)
    return True


def add_refusal(form: forms.Form, refusal: UnableToAsk, *, field: str = "") -> None:
    """Show a refusal as an error of the form, at its own field or at `field`."""
    field = field or refusal.field
    form.add_error(field if field in form.fields else None, str(refusal))
    renew_token(form, refusal)


def renew_token(form: forms.Form, refusal: Exception) -> None:
    """Give a form whose token was used before a new one, so that it can be submitted deliberately."""
    if isinstance(refusal, AlreadySubmitted):
        sent = cast("QueryDict", form.data).copy()
        sent[form.add_prefix("client_token")] = new_token()
        form.data = sent


def say_repeated(request: HttpRequest, made: models.Model, *, code: str = "") -> None:
    """Tell a user who sent the same form again that nothing new was requested. `code` identifies the result."""
    if earlier := earlier_submission(made):
        messages.info(request, repeated_text(earlier, code=code))
