"""The editor of what an account has at its provider: its offerings, or its settings.

It starts from a live reading. Where the provider's values change before the request is sent, nothing is sent, and the
page shows what the user saw, what is there now, and what the user wants.
"""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import View

from customers.forms import TokenForm
from customers.models import Account, Operation
from customers.models.operation_states import OperationKind, OperationState
from customers.operations.commands import StaleVersion
from customers.operations.view_helpers import (
    account_or_404,
    add_refusal,
    open_kind_of,
    problem_of,
    renew_token,
    say_repeated,
)
from portal.clock import database_now
from portal.htmx import command_of, go_to
from portal.providers.parsing import read_json
from portal.query_params import moment_or_none, uuid_or_none
from portal.refusals import Refusal
from portal.typed_text import TypedText


class SeenField(forms.Field):
    """The values the user saw, in JSON, as our own page wrote them. Forged ones can at most end as a conflict: the
    worker compares them with what the provider has."""

    widget = forms.HiddenInput
    # Returns the values that the page wrote so. Raises ValueError, TypeError or KeyError.
    load: Callable[[Any], Any]

    def to_python(self, value: Any) -> Any:
        try:
            return self.load(read_json(value or ""))
        except (ValueError, TypeError, KeyError):
            raise forms.ValidationError(_("This page is out of date. Reload it and try again.")) from None

    def prepare_value(self, value: Any) -> Any:
        return value if value is None or isinstance(value, str) else json.dumps(value, default=asdict)


class SeenForm(TokenForm):
    """The context of an edit: the version and the reading the user saw, and the reason. A subclass adds `base`, the
    values themselves."""

    version = forms.IntegerField(widget=forms.HiddenInput, min_value=1)
    read_at = forms.CharField(widget=forms.HiddenInput, required=False, max_length=40)
    reason = TypedText(label=gettext_lazy("Reason"), max_length=500, required=False)

    @property
    def reading(self) -> Reading | None:
        """The reading the user saw; None where the page was not ours, or of an older version."""
        self.is_valid()
        base = self.cleaned_data.get("base")
        return None if base is None else Reading(base, moment_or_none(self.cleaned_data.get("read_at", "")))


@dataclass(frozen=True)
class Reading:
    """The values the editor starts from, and how reliable they are."""

    values: Any
    at: datetime | None
    problem: str = ""
    catalogue_problem: str = ""


@dataclass(frozen=True)
class ConflictLine:
    """One line of the conflict page."""

    label: str
    saw: Any
    now: Any
    yours: Any
    name: str = ""


class AccountEditor(View, ABC):
    """The page of the editor (GET), and its request (POST). A subclass says what is edited."""

    http_method_names = ["get", "post"]
    kind: ClassVar[OperationKind]
    page_name: ClassVar[str]
    template: ClassVar[str]
    seen_form: ClassVar[type[SeenForm]]
    # The account's column; `desired_...` and `..._read_at` go with it. `stored` returns what it holds as values.
    column: ClassVar[str]
    stored: Callable[[Any], Any]
    request_change: Callable[..., Operation]
    account: Account

    def setup(self, request: HttpRequest, public_id: uuid.UUID) -> None:
        super().setup(request, public_id)
        self.account = account_or_404(public_id)

    def dispatch(self, request: HttpRequest, public_id: uuid.UUID) -> Any:
        if self.account.provider_id:
            return super().dispatch(request, public_id)
        messages.warning(request, _("The account doesn't exist at the provider yet."))
        return go_to(request, "customers:account", public_id)

    def get(self, request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
        reading = self.read()
        if failed := self._failed(request.GET.get("conflict", "")):
            saw, wanted = (self.stored(failed.result[key]) for key in ("base", "wanted"))
            return self.conflict_page(reading, saw=saw, wanted=wanted, reason=failed.reason, failed=failed)
        return self.page(self.form(reading.values), self.start(reading), reading)

    def post(self, request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
        seen = self.seen_form(request.POST)
        reading = seen.reading
        if reading is None:
            messages.warning(
                request, _("That page was out of date, so nothing was sent. Make your changes again here.")
            )
            return go_to(request, self.page_name, public_id)
        form = self.form(reading.values, request.POST)
        if not (form.is_valid() & seen.is_valid()) or not self.is_meant(form, seen):
            return self.page(form, seen, reading, status=422)
        said, chosen = seen.cleaned_data, form.chosen()
        try:
            operation = self.request_change(
                command_of(request, seen),
                account=self.account,
                version=said["version"],
                **self.changes(reading.values, chosen),
            )
        except StaleVersion:
            self.account = account_or_404(public_id)
            return self.conflict_page(self.read(), saw=reading.values, wanted=chosen, reason=said["reason"], status=409)
        except Refusal as refusal:
            add_refusal(form, refusal)
            renew_token(seen, refusal)
            return self.page(form, seen, reading, status=422)
        say_repeated(request, operation)
        for remark in getattr(form, "remarks", ()):
            messages.info(request, remark)
        return go_to(request, "customers:account", public_id)

    # -- what is edited ------------------------------------------------------------------------------------------

    @abstractmethod
    def form(self, values: Any, data: Any = None, *, start: Any = None) -> Any:
        """Return the form for an account that has `values`. `start`: what its fields hold, where that differs."""

    @abstractmethod
    def read_now(self, now: datetime) -> None:
        """Read the values at the provider and store them. Raises `ProviderError`."""

    @abstractmethod
    def changes(self, saw: Any, chosen: Any) -> dict[str, Any]:
        """Return the arguments of `request_change` that say what to change."""

    @abstractmethod
    def differences(self, saw: Any, now: Any, wanted: Any) -> list[ConflictLine]:
        """Return the lines of the conflict page."""

    @abstractmethod
    def context(self, form: Any, reading: Reading) -> dict[str, Any]:
        """Return what the templates need besides the common context."""

    def is_meant(self, form: Any, seen: SeenForm) -> bool:
        """Return whether a valid choice may be requested; else add the error that says why not."""
        return True

    def merged(self, saw: Any, now: Any, wanted: Any) -> Any:
        """Return the values in the fields of the conflict page."""
        return wanted

    # -- the page ------------------------------------------------------------------------------------------------

    def read(self) -> Reading:
        """Read at the provider; when that fails, return the last values stored, and why."""
        if self.account.connection.paused:
            return self.known(_("%(name)s is paused.") % {"name": self.account.connection.name})
        if problem := problem_of(lambda: self.read_now(database_now())):
            return self.known(problem)
        self.account = account_or_404(self.account.public_id)  # a later reading stays
        return self.known()

    def known(self, problem: str = "") -> Reading:
        """Return the stored values; the desired ones where they were never read."""
        found = getattr(self.account, self.column)
        if found is None:
            found = getattr(self.account, f"desired_{self.column}")
        return Reading(self.stored(found), getattr(self.account, f"{self.column}_read_at"), problem)

    def start(self, reading: Reading, reason: str = "") -> SeenForm:
        initial = {
            "base": reading.values,
            "version": self.account.version,
            "read_at": reading.at.isoformat() if reading.at else "",
            "reason": reason,
        }
        return self.seen_form(initial=initial)

    def conflict_page(
        self,
        reading: Reading,
        *,
        saw: Any,
        wanted: Any,
        reason: str,
        failed: Operation | None = None,
        status: int = 200,
    ) -> HttpResponse:
        """Show the editor with the three values side by side."""
        conflict = {
            "differences": self.differences(saw, reading.values, wanted),
            "saw": self.seen_form(initial={"base": saw})["base"].value(),
            "failed": failed,
        }
        form = self.form(reading.values, start=self.merged(saw, reading.values, wanted))
        return self.page(form, self.start(reading, reason), reading, conflict=conflict, status=status)

    def page(
        self, form: Any, seen: SeenForm, reading: Reading, *, template: str = "", status: int = 200, **more: Any
    ) -> HttpResponse:
        account = self.account
        context = {
            "account": account,
            "customer": account.customer,
            "connection": account.connection,
            "form": form,
            "change": seen,
            "reading": reading,
            "waits_behind": open_kind_of(account),
            **self.context(form, reading),
            **more,
        }
        return render(self.request, template or self.template, context, status=status)

    def _failed(self, text: str) -> Operation | None:
        """Return the operation of this account that `?conflict=` names, if it did end as a conflict."""
        public_id = uuid_or_none(text)
        ended = self.account.operations.filter(kind=self.kind, state=OperationState.FAILED, error_kind="conflict")
        return ended.filter(public_id=public_id).first() if public_id else None
