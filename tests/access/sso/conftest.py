from __future__ import annotations

from collections.abc import Iterator

import pytest
from allauth.socialaccount.models import SocialAccount
from pytest_django import Settings

from portal.access.models import User
from portal.access.sso.provider import discovery
from portal.audit.models import AuditEvent
from tests.support.factories import UserFactory
from tests.support.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider, identity_provider

SUBJECT = "subject-of-ada"


@pytest.fixture(scope="session")
def provider_process() -> Iterator[IdentityProvider]:
    with identity_provider() as idp:
        yield idp


@pytest.fixture
def idp(provider_process: IdentityProvider, settings: Settings) -> IdentityProvider:
    """The provider, configured, with nothing altered. Ada is in the group of admins there."""
    provider_process.reset()
    discovery.cache_clear()
    settings.OIDC_ISSUER = provider_process.issuer
    settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
    settings.OIDC_NAME = "Example ID"
    settings.OIDC_ROLES = [("pk-admins", "admin"), ("pk-finance", "finance")]
    provider_process.person(SUBJECT, name="Ada Admin", email="ada@elsewhere.example", groups=["staff", "pk-admins"])
    return provider_process


@pytest.fixture
def ada(admin: User, idp: IdentityProvider) -> User:
    """An admin who is linked."""
    SocialAccount.objects.create(user=admin, provider=idp.issuer, uid=SUBJECT)
    return admin


@pytest.fixture
def local_admin() -> User:
    return UserFactory(role="admin", name="Lou Local", email="lou@postkeeper.example")


def verbs() -> list[tuple[str, str]]:
    """The events so far, with their reasons; without the alerts about admins whom a test signs in."""
    events = AuditEvent.objects.exclude(verb="staff.broke_glass").order_by("id")
    return list(events.values_list("verb", "reason"))
