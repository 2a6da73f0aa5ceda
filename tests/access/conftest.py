from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django.fixtures import Settings

from portal.access.models import User
from tests.support.factories import UserFactory
from tests.support.people import sign_in


@pytest.fixture(autouse=True)
def fresh_counters(db: None) -> None:
    """The sign-in counters live in the cache."""
    cache.clear()


@pytest.fixture(autouse=True)
def second_factor_by_default(settings: Settings) -> None:
    """The default of production."""
    settings.SECOND_FACTOR_ROLES = ["admin", "finance"]


@pytest.fixture
def admin() -> User:
    return UserFactory(role="admin", name="Ada Admin", email="ada@postkeeper.example")


@pytest.fixture
def other() -> User:
    return UserFactory(role="finance", name="Bo Berg", email="bo@postkeeper.example")


@pytest.fixture
def as_admin(admin: User) -> Client:
    return sign_in(Client(), admin)
