"""The quick checks of the deployment, on the page "System status"."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from customers.models import Connection, KeySecret
from customers.monitoring.doctor import installation, table, work
from customers.monitoring.doctor.findings import Finding
from portal import encryption
from portal.access.models import User
from portal.audit.chain import seal_pending
from portal.audit.head import current_head
from portal.secret_files import UNUSED
from tests.support.audit import write_events
from tests.support.factories import OperationFactory, UserFactory

OLD_KEY = "old:" + base64.b64encode(b"an-older-key-of-32-bytes-in-all!").decode()


@pytest.mark.django_db
def test_the_page_shows_what_the_quick_checks_find(client: Client, settings: Settings) -> None:
    client.force_login(UserFactory(role="admin"))
    settings.FIELD_KEYS = f"{settings.FIELD_KEYS},{OLD_KEY}"
    page = client.get(reverse("customers:watch")).content.decode()
    assert "No secret uses the keys old of FIELD_KEYS" in page
    assert "Remove old from FIELD_KEYS." in page


@pytest.mark.django_db
class TestAuditLog:
    def _found(self) -> list[str]:
        return [each.code for each in work.check_audit_log()]

    def test_events_that_wait_for_their_seal_are_found(self, time_machine: Any) -> None:
        write_events(1)
        assert self._found() == []
        time_machine.move_to(timezone.now() + timedelta(minutes=11))
        assert self._found() == ["audit.unsealed"]
        seal_pending()
        assert self._found() == []

    def test_a_key_that_is_not_here_is_found(self, settings: Settings) -> None:
        write_events(1)
        seal_pending()
        key, settings.AUDIT_KEY = settings.AUDIT_KEY, "another audit key, of a good length"
        assert self._found() == ["audit.key"]
        settings.AUDIT_KEY_FALLBACKS = [key]
        assert self._found() == []
        settings.AUDIT_KEY = UNUSED
        assert self._found() == []

    def test_the_page_shows_the_head(self, client: Client) -> None:
        client.force_login(UserFactory(role="admin"))
        write_events(3)
        seal_pending()
        head = current_head()
        page = client.get(reverse("customers:watch")).content.decode()
        assert f'<code title="{head}">{head.short}</code>' in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("person", "linked", "factor", "found"),
    [
        ({"role": "admin"}, False, "totp", []),
        ({"role": "admin"}, False, "recovery_codes", ["team.break_glass_not_ready"]),
        ({"role": "admin"}, False, "", ["team.break_glass_not_ready"]),
        ({"role": "admin"}, True, "totp", ["team.no_break_glass"]),
        ({"role": "admin", "password": "!"}, False, "totp", ["team.no_break_glass"]),
        ({"role": "admin", "is_active": False}, False, "totp", ["team.no_break_glass"]),
        ({"role": "finance"}, False, "totp", ["team.no_break_glass"]),
    ],
)
def test_single_sign_on_without_a_local_admin_is_found(
    settings: Settings, person: dict[str, Any], linked: bool, factor: str, found: list[str]
) -> None:
    user = UserFactory(**person)
    if factor:
        Authenticator.objects.create(user=user, type=factor, data={})
    if person.get("password"):
        User.objects.filter(pk=user.pk).update(password=person["password"])
    assert list(installation.check_admins()) == []
    settings.OIDC_ISSUER = "https://id.example"
    if linked:
        SocialAccount.objects.create(user=user, provider="https://id.example", uid="x")
    assert [each.code for each in installation.check_admins()] == found


@pytest.mark.django_db
def test_a_page_decrypts_no_api_key(settings: Settings) -> None:
    """There may be very many, and the page refreshes every ten seconds. They are counted by the key that they name."""
    now, decrypted = timezone.now(), []
    kept = {"made_at": now, "expires_at": now}
    for n in range(3):
        operation = OperationFactory()
        row = KeySecret(
            account=operation.account, operation=operation, key_id=f"k{n}", holder=operation.requested_by, **kept
        )
        row.sealed = encryption.encrypt("aha-sk-made-up", context=row.context_of("sealed"))
        row.save(force_insert=True)
    with mock.patch.object(encryption, "decrypt", lambda sealed, **_: decrypted.append(sealed)):
        assert not [each for each in table.examine(quick=True) if each.code.startswith("keys.")]
        assert decrypted == [each.api_key_sealed for each in Connection.objects.order_by("pk")]
        table.examine()
        assert len(decrypted) > 6
    settings.FIELD_KEYS = OLD_KEY
    [found] = [each for each in table.examine(quick=True) if each.code == "keys.unreadable"]
    assert found.title.startswith(f"{3 + Connection.objects.count()} stored secrets")


@pytest.mark.django_db
def test_a_check_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    def broken() -> Iterator[Finding]:
        raise RuntimeError("unforeseen")
        yield

    settings.PORTAL_URL = "https://other.example.com"
    addresses = next(check for check in table.CHECKS if check.name == "addresses")
    monkeypatch.setattr(table, "CHECKS", (table.DeploymentCheck("x", broken, quick=True), addresses))
    assert [each.code for each in table.examine(quick=True)] == ["x.failed", "settings.portal_url"]


def test_a_page_asks_no_other_service() -> None:
    """A check of a page that waits for a network would hold each page."""
    quick = {check.run.__module__.rpartition(".")[2] for check in table.CHECKS if check.quick}
    assert "services" not in quick
    assert not {check.name for check in table.CHECKS if check.quick} & {"providers", "settings", "migrations"}
