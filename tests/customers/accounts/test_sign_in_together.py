"""The limit of sign-ins as a customer holds when many are asked for at the same moment."""

from __future__ import annotations

from collections import Counter

import pytest
from django.test import Client
from django.urls import reverse

from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.support.factories import AccountFactory, ConnectionFactory, UserFactory
from tests.support.people import sign_in
from tests.support.sandbox import KEY, SandboxProcess
from tests.support.together import together


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_of_twenty_four_at_once_ten_get_a_link(client: Client, sandbox: SandboxProcess) -> None:
    user: User = UserFactory()
    sign_in(client, user)
    connection = ConnectionFactory(base_url=sandbox.base_url)
    connection.seal("api_key_sealed", KEY)
    connection.save()
    there = sandbox.admin.add_account(email="mail@larkfield.example")
    account = AccountFactory(connection=connection, provider_id=there["id"])
    url = reverse("customers:account-sign-in-as", args=[account.public_id])
    sent = {"reason": "case 3318", "client_token": "a" * 32}
    assert Counter(together(lambda _n: client.post(url, sent).status_code, 24)) == {303: 10, 429: 14}
    assert len(sandbox.admin.requests("sso")) == 10
    assert AuditEvent.objects.filter(verb="account.signed_in_as").count() == 10
