from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from portal.access.models import User
from tests.billing.exports.support import NOW
from tests.support.factories import UserFactory
from tests.support.people import sign_in


@pytest.fixture(autouse=True)
def _now(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)


@pytest.fixture
def anna(db: None) -> User:
    person: User = UserFactory(role="finance", name="Anna Lind", email="anna@postkeeper.example")
    return person


@pytest.fixture
def finance(client: Client, anna: User) -> Client:
    return sign_in(client, anna)
