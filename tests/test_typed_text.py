"""Text that people type: one form, nothing invisible, and what was shown comes back as it was."""

from __future__ import annotations

import pytest
from django import forms
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.usage.snapshots import AccountReading, store_readings
from customers.accounts.create.sendgrid import SendGridProfileForm
from customers.accounts.forms import DeleteForm
from customers.accounts.keys.forms import KeyForm
from customers.accounts.settings.forms import SettingsForm
from customers.bulk.forms import BulkChangeForm
from customers.connections.forms import ConnectionForm
from customers.directory.forms import CustomerForm, NoteForm
from customers.models import AccountImport, RemoteAccount
from customers.reconcile.account_import import _Matcher
from customers.reconcile.import_list import read_list
from portal.access.forms import InviteForm, ProfileForm
from portal.edits import SEEN, EditForm
from portal.providers import Usage, UsageSource
from portal.refusals import Refusal
from portal.typed_text import TypedEmail, TypedText, comparable, is_visible
from tests.support.factories import AccountFactory, UserFactory


class Form(EditForm):
    name = TypedText(max_length=5)
    email = TypedEmail(required=False)
    note = TypedText(required=False, widget=forms.Textarea)


def errors(**typed: str) -> dict[str, list[str]]:
    return dict(Form({"name": "Ok"} | typed).errors)


@pytest.mark.parametrize("typed", ["e\u0301", "\u00e9", " \u00e9\n", "\ufb01e\u0301", "\u0645\u06cc\u200c\u062e"])
def test_text_is_stored_in_one_form(typed: str) -> None:
    form = Form({"name": typed, "note": typed})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["name"] == form.cleaned_data["note"] == typed.strip().replace("e\u0301", "\u00e9")


@pytest.mark.parametrize(
    "letter",
    ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\u061c", "\u200e", "\u200f", "\u2028", "\u202e", "\u2066", "\u2069"],
)
def test_what_nobody_sees_is_refused_where_it_stands(letter: str) -> None:
    why = f"Remove the invisible character U+{ord(letter):04X} after \u201cab\u201d."
    assert errors(name=f"ab{letter}c") == {"name": [why]}
    assert errors(note=f"one\nab{letter}c") == {"note": [why]}
    assert errors(email=f"ab{letter}c@larkfield.example") == {"email": [why]}


def test_at_the_beginning_there_is_nothing_before_it() -> None:
    assert errors(name="\u202eab") == {"name": ["Remove the invisible character U+202E at the beginning."]}


def test_only_a_textarea_has_lines() -> None:
    assert errors(note="one\r\n\ttwo\nthree") == {}
    assert errors(name="o\nt") == {"name": ["Remove the invisible character U+000A after \u201co\u201d."]}


@pytest.mark.parametrize("stored", ["longer than five", "ab\u202ec", "e\u0301 \x07", " ab "])
def test_what_was_shown_is_not_judged_nor_changed(stored: str) -> None:
    row = {"name": stored, "email": "", "note": "n"}
    form = Form(row | {"email": "a@larkfield.example", SEEN: Form(initial=row).seen_json}, initial=row)
    assert form.is_valid(), form.errors
    assert form.cleaned_data["name"] == stored
    assert form.changed_facts() == {"email": "a@larkfield.example"}


def test_a_required_field_that_was_empty_is_still_required() -> None:
    row = {"name": "", "email": "", "note": ""}
    assert "name" in Form({"name": "", SEEN: Form(initial=row).seen_json}, initial=row).errors


@pytest.mark.parametrize("company", ["Caf\u00e9 Bar", "Cafe\u0301  Bar", "Caf\u00e9\u202e Bar"])
@pytest.mark.parametrize("typed", ["Caf\u00e9 Bar", "Cafe\u0301 Bar", "Caf\u00e9\u202e Bar"])
def test_a_delete_is_confirmed_by_a_name_that_looks_the_same(company: str, typed: str) -> None:
    data = {"confirm": typed, "reason": "Contract ended", "client_token": "a" * 32}
    form = DeleteForm(data, why=[], company_name=company, without_reading=False)
    assert form.is_valid(), form.errors


def test_texts_that_look_the_same_compare_as_the_same() -> None:
    assert comparable(" Cafe\u0301 \u202e Bar\n") == comparable("Caf\u00e9 Bar") == "Caf\u00e9 Bar"


UNSEEN = ["\u200b\u200b", "\u00ad\u2060", "\u0301", "\u200d \u3164", "\u2800", "\ufe0f\U000e0041", "\ufeff"]
NAMES = [
    (CustomerForm, "company_name"), (CustomerForm, "first_name"), (CustomerForm, "tags"), (NoteForm, "text"),
    (ConnectionForm, "name"), (KeyForm, "label"), (BulkChangeForm, "tag"), (InviteForm, "name"), (ProfileForm, "name"),
    (SendGridProfileForm, "company_name"), (SettingsForm, "name"),
]  # fmt: skip
NOTHING = "Nothing you typed is visible. Enter at least one letter or digit."


@pytest.mark.parametrize("typed", UNSEEN)
@pytest.mark.parametrize(("form", "name"), NAMES)
def test_a_name_that_nobody_sees_is_refused(form: type[forms.Form], name: str, typed: str) -> None:
    with pytest.raises(forms.ValidationError) as refused:
        form.base_fields[name].clean(typed)
    assert refused.value.messages == [NOTHING]


@pytest.mark.parametrize("typed", ["a", "7", "\u2713", "\U0001f600", "e\u0301", "\u0646\u200c", "\uac00", "\u200bA"])
def test_whatever_is_seen_is_a_name(typed: str) -> None:
    assert is_visible(typed)
    assert CustomerForm.base_fields["company_name"].clean(typed)


def test_one_tag_that_nobody_sees_is_refused_beside_others() -> None:
    with pytest.raises(forms.ValidationError, match="visible"):
        CustomerForm.base_fields["tags"].clean("retail, \u200b\u200b")


def test_an_imported_name_that_nobody_sees_is_refused() -> None:
    with pytest.raises(Refusal, match="Line 2: company: Nothing you typed is visible"):
        read_list("provider_id,company\nsg1,\u200b\u200b\n".encode())


def test_a_provider_name_that_nobody_sees_names_no_customer(db: None) -> None:
    listed = RemoteAccount(name="\u200b\u200b", email="ops@larkfield.example")
    assert _Matcher().item(AccountImport(), listed, None).company == ""  # the email's domain is taken instead


def test_a_stored_name_that_nobody_sees_can_be_clicked(client: Client, db: None) -> None:
    account = AccountFactory(customer__company_name="\u200b\u200b", connection__name="\u2060")
    person = UserFactory(role="admin", name="\u200b")
    usage = Usage(UsageSource.CREDITS, 5, raw={})
    store_readings([AccountReading(account.pk, usage, timezone.now())], run=None)
    client.force_login(person)
    for path, link in [
        (reverse("customers:list"), reverse("customers:account", args=[account.public_id])),
        (account.customer.get_absolute_url(), reverse("customers:account", args=[account.public_id])),
        (reverse("customers:account", args=[account.public_id]), account.customer.get_absolute_url()),
        (reverse("customers:connections"), reverse("customers:connection", args=[account.connection.public_id])),
        (reverse("billing:usage"), account.customer.get_absolute_url()),
        (reverse("access:staff"), reverse("access:staff-member", args=[person.public_id])),
    ]:
        assert f'{link}">(no visible name)</a>' in client.get(path).content.decode(), path
