"""Helpers that the views of this app share."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.db import models
from django.http import HttpRequest, QueryDict
from django.shortcuts import get_object_or_404

from customers.models import Account, Operation
from customers.models.operation_states import OPEN
from customers.operations.submissions import AlreadySubmitted, earlier_submission, repeated_text
from portal.encryption import DecryptionError
from portal.htmx import command_of, new_token
from portal.providers import ProviderError
from portal.refusals import Refusal


def account_or_404(public_id: uuid.UUID) -> Account:
    return get_object_or_404(Account.objects.select_related("customer", "connection"), public_id=public_id)


def open_kind_of(account: Account) -> str:
    """Return the kind of operation that is in progress on the account, in words; "" when there is none."""
    first = open_operation_of(account)
    return first.get_kind_display() if first else ""


def open_operation_of(account: Account, **narrower: Any) -> Operation | None:
    return account.operations.filter(state__in=OPEN, **narrower).order_by("pk").first()


def try_request(request: HttpRequest, form: forms.Form, ask: Callable[..., Operation], **what: Any) -> bool:
    """Request an operation from a valid form and return whether it was; a refusal becomes an error of the form."""
    operation: Operation | None = None
    with refusals_on(form):
        operation = ask(command_of(request, form), **what)
        say_repeated(request, operation)
    return operation is not None


@contextmanager
def refusals_on(form: forms.Form, *, fields: Mapping[str, str] | None = None) -> Iterator[None]:
    """Show a refusal of the block as an error of the form, and continue after the block. `fields`: the form's names of
    fields, by those that refusals use, where they differ."""
    try:
        yield
    except Refusal as refusal:
        add_refusal(form, refusal, field=(fields or {}).get(refusal.field, ""))


@contextmanager
def refusals_told(request: HttpRequest) -> Iterator[None]:
    """Show a refusal of the block as a message of the next page, and continue after the block."""
    try:
        yield
    except Refusal as refusal:
        messages.warning(request, str(refusal))


def problem_of(do: Callable[[], object]) -> str:
    """Call the provider, and return why that failed, in words; "" when it did not."""
    try:
        do()
    except (Refusal, ProviderError, DecryptionError) as why:
        return str(why)
    return ""


def add_refusal(form: forms.Form, refusal: Refusal, *, field: str = "") -> None:
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


def say_repeated(request: HttpRequest, made: models.Model, *, code: str = "", done: str = "") -> None:
    """Tell a user who sent the same form again that nothing new was requested; else say `done`. `code` identifies the
    result."""
    if earlier := earlier_submission(made):
        messages.info(request, repeated_text(earlier, code=code))
    elif done:
        messages.success(request, done)
