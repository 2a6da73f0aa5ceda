"""The same form token in several processes at the same moment."""

from __future__ import annotations

from collections import Counter

import pytest
from django.test import Client
from django.urls import reverse

from customers.models import Customer, Operation, Submission
from portal.access.models import User
from tests.customers.page_helpers import prose_of
from tests.support.factories import AccountFactory, ConnectionFactory, OfferingFactory, UserFactory
from tests.support.people import sign_in
from tests.support.together import together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
PACKAGE = "postkeeper.ei.pro-100k.v1"


@pytest.fixture
def staff(client: Client) -> Client:
    user: User = UserFactory()
    return sign_in(client, user)


def test_twenty_identical_posts_are_one_operation(staff: Client) -> None:
    account = AccountFactory()
    url = reverse("customers:account-suspend", args=[account.public_id])
    sent = {"reason": "Unpaid", "client_token": "a" * 32}

    def post(_n: int) -> tuple[int, str]:
        answer = staff.post(url, sent)
        return answer.status_code, answer.headers.get("Location", "")

    assert Counter(together(post, 20)) == {(303, reverse("customers:account", args=[account.public_id])): 20}
    assert (Operation.objects.count(), Submission.objects.count()) == (1, 1)


def test_twenty_identical_posts_create_one_customer_and_account(staff: Client) -> None:
    connection = ConnectionFactory()
    OfferingFactory(connection=connection, name=PACKAGE)
    sent = {"company_name": "Larkfield Outdoor", "email": "mail@larkfield.example", "client_token": "b" * 32,
            "connection": str(connection.public_id), "package": PACKAGE}  # fmt: skip
    answers = together(lambda _n: staff.post("/customers/new/", sent).headers.get("Location", ""), 20)
    account = Operation.objects.get().account
    assert Counter(answers) == {reverse("customers:account", args=[account.public_id]): 20}
    assert Customer.objects.count() == 1


@pytest.mark.parametrize("what", ["another reason", "another account"])
def test_of_two_different_posts_with_one_token_one_is_accepted(staff: Client, what: str) -> None:
    accounts = [AccountFactory(), AccountFactory()]

    def post(n: int) -> tuple[int, bool]:
        account = accounts[n if what == "another account" else 0]
        url = reverse("customers:account-suspend", args=[account.public_id])
        answer = staff.post(url, {"reason": f"Reason {n}", "client_token": "c" * 32})
        return answer.status_code, "This form was already submitted" in prose_of(answer)

    assert Counter(together(post, 2)) == {(303, False): 1, (422, True): 1}
    assert Operation.objects.count() == 1
