"""Forms of a customer: its details, and the options of a new account besides profile and offerings."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from customers.forms import PhoneField, TagsField, TokenForm, WebsiteField, ZoneField
from customers.models import Connection, Customer
from portal.access.models import User
from portal.access.permissions import Permission
from portal.access.queries import people_who_may
from portal.edits import EditForm
from portal.typed_text import TypedEmail, TypedText, matches


class CustomerForm(EditForm):
    """The details of a customer. Only company and email are required; the email identifies accounts later."""

    company_name = TypedText(label=_("Company"), max_length=200)
    email = TypedEmail(label=_("Email"), max_length=254)
    first_name = TypedText(label=_("First name"), max_length=100, required=False)
    last_name = TypedText(label=_("Last name"), max_length=100, required=False)
    phone = PhoneField(label=_("Phone"), max_length=40, required=False)
    website = WebsiteField(label=_("Website"), max_length=255, required=False)
    timezone = ZoneField(label=_("Time zone"), max_length=64, required=False)
    external_reference = TypedText(label=_("External reference"), max_length=100, required=False)
    # Staff who may own customers; the present owner can always be chosen.
    owner = forms.ModelChoiceField(
        label=_("Owner"),
        queryset=User.objects.none(),
        required=False,
        to_field_name="public_id",
        empty_label=_("Unassigned"),
    )
    tags = TagsField(label=_("Tags"), max_length=400, required=False)

    def __init__(
        self, *args: Any, customer: Customer | None = None, besides: uuid.UUID | None = None, **kwargs: Any
    ) -> None:
        """Set up the form. `besides`: the customer that is edited or added; its own reference is no duplicate."""
        super().__init__(*args, **kwargs)
        self.besides = customer.public_id if customer else besides
        may = people_who_may(Permission.EDIT_CUSTOMER)
        if customer and customer.owner_id:
            may |= User.objects.filter(pk=customer.owner_id)
        self.fields["owner"].queryset = may.order_by("name")  # type: ignore[attr-defined]  # it is a ModelChoiceField

    def clean_external_reference(self) -> str:
        reference: str = self.cleaned_data["external_reference"]
        others = Customer.objects.filter(matches("external_reference", reference))
        if self.besides:
            others = others.exclude(public_id=self.besides)
        if reference and (other := others.first()):
            raise forms.ValidationError(_("%(customer)s already has this external reference.") % {"customer": other})
        return reference


class AccountForm(TokenForm):
    """Connection and options of a new account. Offerings have a form of their own, built from its catalog."""

    connection = forms.ModelChoiceField(
        label=_("Connection"),
        queryset=Connection.objects.none(),
        to_field_name="public_id",
        widget=forms.RadioSelect,
        required=False,
        blank=True,
        empty_label=_("No account yet"),
    )
    is_test = forms.BooleanField(label=_("Test account"), required=False)

    def __init__(self, *args: Any, needs_account: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["connection"]
        field.queryset = Connection.objects.order_by("name")
        if needs_account:
            field.required, field.empty_label = True, None
            field.error_messages["required"] = _("Choose a connection.")

    @property
    def chosen_connection(self) -> Connection | None:
        """The connection selected in the form, valid or not: the one whose packages the page shows."""
        value = self["connection"].value()
        if isinstance(value, Connection):
            return value
        try:
            found: Connection | None = self.fields["connection"].clean(value) if value else None
        except forms.ValidationError:
            return None
        return found


class DuplicatesForm(forms.Form):
    """The confirmation that similar customers were checked. It applies only to those that were shown."""

    seen = forms.CharField(required=False, max_length=64)

    @staticmethod
    def fingerprint(found: Iterable[Customer]) -> str:
        ids = ",".join(sorted(str(each.public_id) for each in found))
        return hashlib.sha256(ids.encode()).hexdigest()[:32] if ids else ""

    def agrees_to(self, found: Iterable[Customer]) -> bool:
        self.is_valid()
        wanted = self.fingerprint(found)
        return not wanted or self.cleaned_data.get("seen") == wanted


class NoteForm(forms.Form):
    text = TypedText(
        label=_("Add a note"),
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("Enter a note.")},
    )
