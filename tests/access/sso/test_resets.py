"""One-time links and single sign-on: which of them connect, and what they prove."""

from __future__ import annotations

import re

import pytest
from allauth.socialaccount.models import SocialAccount
from django.core import mail
from django.core.signing import dumps, loads
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from portal.access import links
from portal.access.models import User
from portal.access.tasks import mail_reset_link
from tests.access.sso.conftest import verbs
from tests.access.test_second_factor import enrol, next_code
from tests.support.identity_provider import Browser, IdentityProvider
from tests.support.passkey import Passkey
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
NEW = {"password": "four unrelated Words 91 lamp", "again": "four unrelated Words 91 lamp"}


def reset(person: User, by: User) -> str:
    """Reset as an admin does, and return the path of the link."""
    client = sign_in(Client(), by)
    page = client.post(reverse("access:staff-reset-password", args=[person.public_id])).content.decode()
    return str(re.findall(r"http://testserver(/invitation/[^\"<\s]+)", page)[0])


def mailed() -> str:
    return str(re.findall(r"https?://[^/]+(/invitation/\S+)", str(mail.outbox[-1].body))[0])


@pytest.fixture
def eve(idp: IdentityProvider) -> str:
    """Somebody else at the provider, who reads the mailbox."""
    idp.person("eve", groups=["pk-admins"], email="eve@elsewhere.example")
    return "eve"


class TestPasswordLinks:
    @pytest.fixture
    def person(self, admin: User, idp: IdentityProvider) -> User:
        """An admin who was never connected, with an authenticator app."""
        enrol(sign_in(Client(), admin))
        return admin

    def _connects(self, link: str, eve: str) -> bool:
        offered = "Use Example ID instead" in Client().get(link).content.decode()
        answer = Client().post(f"{link}sso/")
        assert offered == (answer.status_code == 200)
        return offered

    def test_of_an_admin_connect_nobody(self, person: User, local_admin: User, eve: str) -> None:
        assert not self._connects(reset(person, local_admin), eve)
        assert not self._connects(reset(person, local_admin), eve), "also the second one, without a password between"
        assert mail.outbox[-1].subject == "Reset your Postkeeper password"

    def test_that_were_forgotten_connect_nobody(self, person: User, local_admin: User, eve: str) -> None:
        mail_reset_link(person.pk)
        assert not self._connects(mailed(), eve)
        reset(person, local_admin)
        mail_reset_link(person.pk)
        assert not self._connects(mailed(), eve)

    def test_of_an_invited_person_connect_nobody_either(self, idp: IdentityProvider, eve: str) -> None:
        invited = User.objects.create_user("new@postkeeper.example", name="Nia New", role="auditor")
        mail_reset_link(invited.pk)
        assert not self._connects(mailed(), eve)

    def test_of_an_earlier_release_connect_nobody(self, idp: IdentityProvider, eve: str) -> None:
        invited = User.objects.create_user("new@postkeeper.example", name="Nia New", role="auditor")
        link = links.make_link(person=invited, lasts=links.BY_ADMIN, now=timezone.now(), request=None)
        held = loads(link.url.rstrip("/").rpartition("/")[2], salt="portal.access.links")
        del held["kind"]
        assert not self._connects(f"/invitation/{dumps(held, salt='portal.access.links')}/", eve)


class TestReconnecting:
    def test_an_admin_resets_a_lost_link(self, ada: User, local_admin: User, idp: IdentityProvider) -> None:
        link = reset(ada, local_admin)
        assert link == mailed()
        assert mail.outbox[-1].subject == "Reconnect your Postkeeper sign-in"
        assert not SocialAccount.objects.exists()
        idp.person("ada-anew", groups=["pk-admins"])
        browser = Browser()
        assert "Sign in with Example ID" in browser.client.get(link).content.decode()
        browser.sso("ada-anew", f"{link}sso/")
        assert ada.email in browser.client.get("/me/").content.decode()
        assert [verb for verb, _ in verbs()][:2] == ["staff.sso_unlinked", "staff.reset_link_made"]
        assert Client().post(f"{link}sso/").status_code == 410, "the link works once"

    def test_sets_no_password(self, ada: User, local_admin: User) -> None:
        replaced, link = reset(ada, local_admin), reset(ada, local_admin)
        assert Client().post(link, NEW).status_code == 409
        assert Client().get(replaced).status_code == 410
        mail_reset_link(ada.pk)
        assert "You sign in with Example ID" in mail.outbox[-1].body
        assert not User.objects.get(pk=ada.pk).has_usable_password()

    def test_a_passkey_alone_is_no_way_in_meanwhile(self, ada: User, local_admin: User) -> None:
        key = Passkey(ada)
        reset(ada, local_admin)
        key.sign_in(client := Client())
        assert client.get("/me/").status_code == 302

    def test_needs_the_second_factor_whatever_the_provider_says(
        self, ada: User, local_admin: User, idp: IdentityProvider, eve: str
    ) -> None:
        secret = enrol(sign_in(Client(), ada))
        link = reset(User.objects.get(pk=ada.pk), local_admin)
        browser = Browser()
        assert browser.sso(eve, f"{link}sso/")["Location"] == "/sign-in/second-factor/"
        again = Browser()
        assert again.sso(eve)["Location"] == "/sign-in/second-factor/", "also at the next sign-in"
        assert not again.is_signed_in
        browser.client.post("/sign-in/second-factor/", {"code": next_code(secret)})
        assert browser.is_signed_in
        assert SocialAccount.objects.get().extra_data == {}
        assert Browser().sso(eve)["Location"] == "/", "from then on the provider's counts"

    def test_without_a_provider_it_sets_a_password(self, ada: User, local_admin: User, settings: Settings) -> None:
        link = reset(ada, local_admin)
        settings.OIDC_ISSUER = ""
        assert Client().post(link, NEW)["Location"] == "/sign-in/"
