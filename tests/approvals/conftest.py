from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from portal.access.models import User
from portal.approvals import commands
from portal.approvals.models import Approval
from portal.commands import Command
from tests.support.factories import UserFactory
from tests.support.people import sign_in


@pytest.fixture
def ada(db: None) -> User:
    return UserFactory(role="admin", name="Ada")


@pytest.fixture
def bo(db: None) -> User:
    return UserFactory(role="admin", name="Bo")


@pytest.fixture
def member(db: None) -> User:
    return UserFactory(role="finance", name="Finn")


def client_of(person: User, **more: Any) -> Client:
    return sign_in(Client(), person, **more)


def approve(person: User, approval: Approval, seen: str = "") -> Any:
    return commands.approve(Command(person, timezone.now()), approval=approval, seen=seen or approval.payload_hash)
