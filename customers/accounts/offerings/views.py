"""Views of the offerings editor, and the sum of a choice in the form of a new account."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_http_methods

from customers.accounts.editor import AccountEditor, ConflictLine, Reading
from customers.accounts.offerings.forms import OfferingsChangeForm, OfferingsForm, rebase
from customers.connections import catalogue
from customers.connections.client import client_for
from customers.models import Connection
from customers.models.account import as_offerings
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations.commands import request_offerings
from portal.clock import database_now
from portal.htmx import go_to, is_fragment
from portal.providers import ProviderOffering
from portal.query_params import uuid_or_none

# After a slow reading the catalog is not read as well: a page waits ten seconds for a provider, not twenty.
QUICK_SECONDS = 2.0


class OfferingsEditor(AccountEditor):
    """The editor of the account's list, which is replaced as a whole."""

    kind = OperationKind.OFFERINGS
    page_name = "customers:account-offerings"
    template = "customers/offerings.html"
    seen_form = OfferingsChangeForm
    column = "offerings"
    stored = staticmethod(as_offerings)
    request_change = staticmethod(request_offerings)

    def form(self, values: list[ProviderOffering], data: Any = None, *, start: Any = None) -> OfferingsForm:
        return OfferingsForm(self.account.connection, data, values, used=self.account.usage_used, start=start)

    def read(self) -> Reading:
        started = time.monotonic()
        reading = super().read()
        if reading.problem or time.monotonic() - started >= QUICK_SECONDS:
            return reading
        problem = catalogue.refresh_when_old(connection=self.account.connection, now=database_now())
        return replace(reading, catalogue_problem=problem)

    def read_now(self, now: datetime) -> None:
        account = self.account
        found = client_for(account.connection, interactive=True).offerings(account.ref)
        observed_accounts.record_offerings(account_id=account.pk, offerings=found, now=now)

    def changes(self, saw: list[ProviderOffering], chosen: list[ProviderOffering]) -> dict[str, Any]:
        return {"base": saw, "offerings": chosen}

    def differences(
        self, saw: list[ProviderOffering], now: list[ProviderOffering], wanted: list[ProviderOffering]
    ) -> list[ConflictLine]:
        """Return the lines that changed at the provider since the user saw them."""
        was, has, wants = ({each.name: each.quantity for each in found} for found in (saw, now, wanted))
        names = [each.name for each in sorted({*saw, *now}, key=lambda each: (each.type != "package", each.name))]
        return [
            ConflictLine(catalogue.offering_label(name), was.get(name, 0), has.get(name, 0), wants.get(name, 0), name)
            for name in dict.fromkeys(names)
            if was.get(name, 0) != has.get(name, 0)
        ]

    def context(self, form: OfferingsForm, reading: Reading) -> dict[str, Any]:
        chosen, connection = form.chosen(), self.account.connection
        return {
            "chosen": [(each, catalogue.offering_label(each.name)) for each in chosen],
            "changes": catalogue.compare(
                connection, form.now_list(), chosen, used=self.account.usage_used, catalogue=form.catalogue
            ),
        }


class OfferingsChanges(OfferingsEditor):
    """The differences of the choice: the right column for htmx, the whole editor without it. Sends nothing."""

    def get(self, request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
        return go_to(request, self.page_name, public_id)

    def post(self, request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
        change = OfferingsChangeForm(request.POST)
        reading = change.reading
        if reading is None:
            return self.get(request, public_id)
        form = self.form(reading.values, request.POST)
        if request.POST.get("settle") in ("merge", "mine"):
            return self._settled(reading, form)
        # As sent, but for the confirmation: it applies to one list only.
        typed = {name: change[name].value() for name in ("version", "client_token", "reason", "read_at")}
        unconfirmed = OfferingsChangeForm(initial={**typed, "base": reading.values})
        if is_fragment(request):
            return self.page(form, unconfirmed, reading, template="customers/_offering_changes.html", oob=True)
        return self.page(form, unconfirmed, reading)

    def _settled(self, reading: Reading, form: OfferingsForm) -> HttpResponse:
        """Continue from the list as it is now, after the user decided about a list that changed meanwhile."""
        sent, wanted = self.request.POST, form.chosen()
        saw = OfferingsChangeForm({"base": sent.get("saw", "")}).reading
        if sent["settle"] == "merge" and saw is not None:
            wanted = rebase(saw.values, reading.values, wanted)
        start = self.start(reading, sent.get("reason", "")[:500])
        return self.page(self.form(reading.values, start=wanted), start, reading)


offerings_edit = OfferingsEditor.as_view()
offerings_changes = OfferingsChanges.as_view()


@require_http_methods(["GET"])
def offering_sum(request: HttpRequest) -> HttpResponse:
    """Show what the choice includes, in the form of a new account (`?connection=`). It stands beside the fields, so
    that its answer replaces none of them."""
    wanted = uuid_or_none(request.GET.get("connection", ""))
    connection = get_object_or_404(Connection, public_id=wanted)
    gives = OfferingsForm(connection, request.GET).gives()
    return render(request, "customers/_offering_sum.html", {"gives": gives})
