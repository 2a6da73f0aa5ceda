from __future__ import annotations

import base64
import io

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from customers.models import Connection
from portal import encryption
from portal.access import second_factor
from tests.access.test_second_factor import enrol, next_code
from tests.support.factories import ConnectionFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
NEW = "t2:" + base64.b64encode(b"another-test-only-key-of-32-byte").decode()


def _rotate() -> str:
    out = io.StringIO()
    call_command("rotate_field_keys", stdout=out, stderr=out)
    return out.getvalue()


def test_every_secret_is_encrypted_with_the_first_key_alone(settings: Settings) -> None:
    connection: Connection = ConnectionFactory()
    connection.seal("api_key_sealed", "SG.one.two-of-a-test")
    connection.seal("v2_password_sealed", "a password")
    connection.save(update_fields=["api_key_sealed", "v2_password_sealed"])

    settings.FIELD_KEYS = f"{NEW},{settings.FIELD_KEYS}"
    assert "2 secrets encrypted" in _rotate()
    assert "0 secrets encrypted" in _rotate(), "the second call has nothing to do"

    settings.FIELD_KEYS = NEW
    connection.refresh_from_db()
    assert connection.open("api_key_sealed") == "SG.one.two-of-a-test"
    assert connection.open("v2_password_sealed") == "a password"


def test_secrets_of_second_factors_move_too(settings: Settings) -> None:
    client = sign_in(Client(), UserFactory(role="admin"))
    secret = enrol(client)
    of_a_seed = UserFactory(role="finance")
    codes = RecoveryCodes.activate(of_a_seed).generate_codes()
    settings.FIELD_KEYS = f"{NEW},{settings.FIELD_KEYS}"
    assert "2 secrets encrypted" in _rotate()
    settings.FIELD_KEYS = NEW
    person = Authenticator.objects.get(type="totp").user
    assert second_factor.check_code(person, next_code(secret)) is not None
    assert second_factor.recovery_codes_left(person) == 10, "hashes need no key"
    assert second_factor.check_code(of_a_seed, codes[0]) is not None
    assert second_factor.sealed_by_key() == {"t2": 1}


def test_an_undecryptable_secret_stays_and_the_command_fails(settings: Settings) -> None:
    sealed = {row.pk: row.api_key_sealed for row in [ConnectionFactory(), ConnectionFactory()]}
    first, second = sealed
    Connection.objects.filter(pk=second).update(api_key_sealed=sealed[first])  # belongs to another row
    settings.FIELD_KEYS = f"{NEW},{settings.FIELD_KEYS}"

    with pytest.raises(CommandError, match="Keep the old keys"):
        _rotate()

    after = dict(Connection.objects.values_list("pk", "api_key_sealed"))
    assert encryption.key_id(after[first]) == "t2", "one bad row does not keep the others from moving"
    assert after[second] == sealed[first]


def test_the_secret_is_not_printed(settings: Settings) -> None:
    ConnectionFactory()
    settings.FIELD_KEYS = f"{NEW},{settings.FIELD_KEYS}"
    assert "key-of-a-test" not in _rotate()
