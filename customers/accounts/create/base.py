"""The part of a page that requests a new account. Its contents depend on the kind of provider; each kind has its own in
`customers/accounts/create/<kind>.py`, found through `customers/accounts/create/providers.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from django import forms
from django.http import QueryDict

from customers.accounts.create.commands import AccountRequest
from customers.models import Connection, Customer, Operation

F = TypeVar("F", bound=forms.Form)


@dataclass(frozen=True)
class Start:
    """The input of a part. At most one of `sent` (to be checked) and `typed` (to be shown without errors) is set.

    `customer`: the account's customer; None when the customer is added on the same page, whose details as typed are
    then `facts`. `failed`: the refused create that is corrected.
    """

    connection: Connection
    sent: QueryDict | None = None
    typed: QueryDict | None = None
    customer: Customer | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    failed: Operation | None = None


class AccountPart:
    """Forms and their result. A subclass fills `forms` and, for a refused create, `other_errors`: the provider's errors
    that belong to no field."""

    template: ClassVar[str]

    def __init__(self, start: Start) -> None:
        self.connection = start.connection
        self.forms: list[forms.Form] = []
        self.other_errors: list[str] = []

    def are_valid(self) -> bool:
        """Return whether all forms are valid. Every form is checked, so that all errors show at once."""
        return False not in [form.is_valid() for form in self.forms]

    def wanted(self, facts: Mapping[str, Any], *, is_test: bool) -> AccountRequest:
        """Return the request of valid forms. `facts`: the customer's."""
        raise NotImplementedError

    @property
    def takes_over(self) -> bool:
        """True if the input is stored on the customer too."""
        return False

    @property
    def remarks(self) -> list[str]:
        """The values that were saved in another form than typed, in sentences for the user."""
        return []

    def context(self) -> dict[str, Any]:
        """Return what the template needs besides `part`."""
        return {}


def with_typed(form: F, typed: QueryDict | None, *markers: str) -> F:
    """Return an unbound form that starts with the input so far, valid or not, if it was on the page.

    It was if a name was sent that begins with one of `markers`, by default the names of its fields. A form of
    checkboxes alone needs markers, as a cleared checkbox is not sent.
    """
    names = {name: form.add_prefix(name) for name in form.fields}
    if typed is not None and any(sent.startswith(markers or tuple(names.values())) for sent in typed):
        widgets = {name: form.fields[name].widget for name in names}
        values = {
            name: widget.value_from_datadict(typed, {}, names[name])
            for name, widget in widgets.items()
            if not widget.value_omitted_from_data(typed, {}, names[name])
        }
        form.initial = {**form.initial, **values}
    return form


def add_refusal_to_page(forms_of_page: list[forms.Form], field_name: str, text: str) -> None:
    """Show a refusal beside the field it names, else above the last form."""
    for form in forms_of_page:
        if field_name in form.fields:
            form.add_error(field_name, text)
            return
    forms_of_page[-1].add_error(None, text)
