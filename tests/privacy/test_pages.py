"""The pages about personal data: who opens them, the search, the preview, and the confirmation."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from customers.models import Customer
from portal.audit.models import AuditEvent
from portal.privacy.models import SubjectRequest
from tests.customers.page_helpers import prose_of
from tests.privacy.planted import EMAIL, LAST, admin, gone_account, planted_customer, searched, settled
from tests.support.factories import AccountFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    return sign_in(Client(), admin())


def erase_page(request: SubjectRequest) -> str:
    return reverse("privacy:erase", args=[request.public_id])


@pytest.mark.parametrize("role", ["customer_success", "finance", "auditor"])
def test_others_than_admins_are_refused(role: str) -> None:
    client = sign_in(Client(), UserFactory(role=role))
    for page in ("privacy:list", "privacy:search"):
        assert client.get(reverse(page)).status_code == 403
    assert b"Personal data" not in client.get(reverse("customers:list")).content


def test_from_the_search_to_the_erasure(client: Client) -> None:
    gone_account()
    answer = client.post(reverse("privacy:search"), {"kind": "contact", "email": EMAIL.upper(), "others": ""})
    request = SubjectRequest.objects.get()
    assert (answer.status_code, answer["Location"]) == (303, request.get_absolute_url())
    assert EMAIL not in answer["Location"]
    assert "hx-get" in client.get(request.get_absolute_url()).content.decode(), "it polls while the search runs"
    settled(request)
    page = client.get(request.get_absolute_url()).content.decode()
    assert all(text in page for text in (LAST, "Where the person appears", "Customers", "Erase data"))
    assert EMAIL in page.casefold()
    preview = client.get(erase_page(request)).content.decode()
    assert "can't be undone" in preview
    assert "Closed months and totals don't change" in preview
    sent = {"reason": "They asked us to.", "confirm": "someone@else.example"}
    refused = client.post(erase_page(request), sent)
    assert (refused.status_code, Customer.objects.get().last_name) == (422, LAST)
    assert "email address to confirm" in refused.content.decode()
    assert client.post(erase_page(request), sent | {"confirm": EMAIL}).status_code == 303
    settled(request)
    page = client.get(request.get_absolute_url()).content.decode()
    assert LAST not in page
    assert "no row that can be changed names the person" in page


def test_the_address_is_in_no_event_of_the_search(client: Client) -> None:
    planted_customer()
    client.post(reverse("privacy:search"), {"kind": "contact", "email": EMAIL, "others": "Zelda Other"})
    event = AuditEvent.objects.get(verb="personal_data.searched")
    assert (event.after, event.object_label) == ({"of": "contact"}, SubjectRequest.objects.get().code)


def test_what_blocks_is_said_and_the_button_is_off(client: Client) -> None:
    AccountFactory(customer=planted_customer())
    page = client.get(erase_page(searched())).content.decode()
    assert "An account of Northwind at SendGrid isn&#x27;t deleted" in page
    assert "disabled>" in page


def test_a_member_who_is_not_there_is_an_error_of_the_field(client: Client) -> None:
    answer = client.post(reverse("privacy:search"), {"kind": "member", "email": EMAIL, "others": ""})
    assert answer.status_code == 422
    assert "No team member has this email." in answer.content.decode()


def test_short_words_are_refused(client: Client) -> None:
    answer = client.post(reverse("privacy:search"), {"kind": "contact", "email": EMAIL, "others": "Al"})
    assert "is too short. Enter a full name." in answer.content.decode()


def test_the_list_shows_requests_and_their_states(client: Client) -> None:
    assert "No requests yet" in client.get(reverse("privacy:list")).content.decode()
    request = searched()
    page = client.get(reverse("privacy:list")).content.decode()
    assert request.code in page
    assert "Searched" in page
    assert EMAIL not in page


def test_a_failed_erasure_says_why_and_what_to_do(client: Client) -> None:
    gone_account()
    request = searched()
    fields = {"state": "failed", "tries": 5, "error": "OperationalError", "position": {"phase": "tables"}, "found": {}}
    SubjectRequest.objects.filter(pk=request.pk).update(**fields)
    page = prose_of(client.get(request.get_absolute_url()))
    for said in ("The erasure failed", "with the error OperationalError", "Start the erasure again", "Erase data"):
        assert said in page
    assert "No data about this person" not in page
    SubjectRequest.objects.filter(pk=request.pk).update(position={})
    page = prose_of(client.get(request.get_absolute_url()))
    assert "The request failed" in page
    assert "Nothing was changed." in page


def test_a_search_without_a_row_says_what_to_do(client: Client) -> None:
    page = prose_of(client.get(searched().get_absolute_url()))
    assert "No data about this person" in page
    assert "Export data" in page
    assert "Erase data" not in page


def test_a_running_request_is_not_started_twice(client: Client) -> None:
    planted_customer()
    request = searched()
    url = reverse("privacy:export", args=[request.public_id])
    assert client.post(url).status_code == 303
    client.post(url)
    assert AuditEvent.objects.filter(verb="personal_data.export_requested").count() == 1
    page = client.get(request.get_absolute_url()).content.decode()
    assert "This request is in progress or has ended." in page
