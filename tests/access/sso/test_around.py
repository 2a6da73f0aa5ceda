"""Ways around the identity provider: a passkey, and what an admin's sign-in without it tells the others."""

from __future__ import annotations

import json
import re

import pytest
from allauth.socialaccount.models import SocialAccount
from django.test import Client
from pytest_django import Settings

from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.notices.models import Notice
from tests.access.sso.conftest import SUBJECT, verbs
from tests.access.test_second_factor import enrol, next_code
from tests.support.factories import PASSWORD
from tests.support.identity_provider import Browser, IdentityProvider
from tests.support.passkey import Passkey
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


def glass() -> int:
    return AuditEvent.objects.filter(verb="staff.broke_glass").count()


class TestPasskeys:
    def test_alone_sign_in_who_is_not_linked(self, admin: User, idp: IdentityProvider) -> None:
        client = Client()
        assert Passkey(admin).sign_in(client)["Location"] == "/"
        assert client.get("/me/").status_code == 200

    def test_alone_never_go_around_the_provider(self, ada: User) -> None:
        client = Client()
        assert Passkey(ada).sign_in(client)["Location"] == "/sign-in/"
        assert "You sign in with Example ID" in client.get("/sign-in/").content.decode()
        assert client.get("/me/").status_code == 302
        assert verbs() == [("staff.sign_in_failed", "sso_required")]

    def test_that_were_refused_count_for_no_later_sign_in(self, ada: User, idp: IdentityProvider) -> None:
        idp.person(SUBJECT, amr=["pwd"], groups=["pk-admins"])
        browser, key = Browser(), Passkey(ada)
        key.sign_in(browser.client)
        assert browser.sso(SUBJECT)["Location"] == "/sign-in/second-factor/"

    def test_are_a_second_step_and_confirm(self, ada: User, idp: IdentityProvider) -> None:
        idp.person(SUBJECT, amr=["pwd"], groups=["pk-admins"])
        browser, key = Browser(), Passkey(ada)
        assert browser.sso(SUBJECT)["Location"] == "/sign-in/second-factor/"
        page = browser.client.get("/sign-in/second-factor/").content.decode()
        options = json.loads(re.findall(r'<script id="passkey-options" [^>]*>(.*?)</script>', page)[0])
        browser.client.post("/sign-in/second-factor/", {"credential": key.answer(options["request_options"])})
        assert browser.is_signed_in
        assert glass() == 0
        options = browser.client.get("/reauthenticate/passkey/").json()["request_options"]
        sent = {"credential": key.answer(options), "next": "/me/"}
        assert browser.client.post("/reauthenticate/", sent)["Location"] == "/me/"

    def test_sign_in_where_single_sign_on_is_a_choice(self, ada: User, settings: Settings) -> None:
        settings.OIDC_ONLY, settings.OIDC_ROLES = False, []
        Passkey(ada).sign_in(client := Client())
        assert client.get("/me/").status_code == 200
        assert glass() == 1


class TestBreakingGlass:
    def test_alerts_every_admin(self, ada: User, local_admin: User) -> None:
        Client().post("/sign-in/", {"login": local_admin.email, "password": PASSWORD})
        assert AuditEvent.objects.get(verb="staff.broke_glass").actor == local_admin
        [notice] = Notice.objects.all()
        assert "Lou Local" in str(vars(notice))

    def test_is_also_what_a_linked_admin_does(self, ada: User, settings: Settings) -> None:
        settings.OIDC_ONLY, settings.OIDC_ROLES = False, []
        Client().post("/sign-in/", {"login": ada.email, "password": PASSWORD})
        assert glass() == 1

    def test_a_single_sign_on_that_was_left_hides_nothing(
        self, ada: User, idp: IdentityProvider, settings: Settings
    ) -> None:
        settings.OIDC_ONLY, settings.OIDC_ROLES = False, []
        secret = enrol(sign_in(Client(), ada))
        idp.person(SUBJECT, amr=["pwd"])
        browser = Browser()
        assert browser.sso(SUBJECT)["Location"] == "/sign-in/second-factor/"
        browser.client.post("/sign-in/second-factor/", {"anew": "1"})
        browser.client.post("/sign-in/", {"login": ada.email, "password": PASSWORD})
        browser.client.post("/sign-in/second-factor/", {"code": next_code(secret)})
        assert browser.is_signed_in
        assert glass() == 1

    def test_is_nothing_that_others_do(self, ada: User, other: User, settings: Settings) -> None:
        Browser().sso(SUBJECT)
        Client().post("/sign-in/", {"login": other.email, "password": PASSWORD})
        settings.OIDC_ISSUER = ""
        Client().post("/sign-in/", {"login": ada.email, "password": PASSWORD})
        told = list(AuditEvent.objects.values_list("verb", flat=True))
        assert told == ["staff.signed_in"] * 3


class TestConfirmingWithoutAPassword:
    @pytest.fixture
    def nia(self, idp: IdentityProvider, settings: Settings) -> User:
        """Somebody who was invited, chose single sign-on, and has neither a password nor a second factor."""
        settings.OIDC_ONLY, settings.OIDC_ROLES = False, []
        person = User.objects.create_user("nia@postkeeper.example", name="Nia New", role="admin")
        SocialAccount.objects.create(user=person, provider=idp.issuer, uid="nia")
        return person

    def test_a_form_and_the_page_lead_to_the_provider(self, nia: User) -> None:
        client = sign_in(Client(), nia, minutes_ago=20)
        page = client.post("/staff/invite/", {"email": "x@postkeeper.example", "name": "X", "role": "auditor"})
        assert "You sign in with Example ID and have no password here" in page.content.decode()
        for shown in (page, client.get("/reauthenticate/")):
            assert 'type="password"' not in shown.content.decode()
        assert "Confirm with Example ID" in client.get("/reauthenticate/").content.decode()

    def test_with_a_password_both_are_offered(self, nia: User, admin: User) -> None:
        User.objects.filter(pk=nia.pk).update(password=admin.password)
        page = sign_in(Client(), User.objects.get(pk=nia.pk)).get("/reauthenticate/").content.decode()
        assert "Confirm with Example ID" in page
        assert 'type="password"' in page
        assert len(re.findall(r'class="pk-btn pk-primary', page)) == 1
