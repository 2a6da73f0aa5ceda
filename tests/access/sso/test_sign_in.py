"""Who gets in with single sign-on, as what, and who doesn't: from the button to the page and the audit log."""

from __future__ import annotations

import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from portal.access import links, throttling
from portal.access.models import User
from portal.access.sso.stages import has_second_factor
from portal.audit.models import AuditEvent
from tests.access.sso.conftest import SUBJECT, verbs
from tests.support.factories import PASSWORD
from tests.support.identity_provider import Browser, IdentityProvider
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


class TestWithoutAProvider:
    ROUTES = (
        ("post", "/sign-in/sso/"), ("get", "/sign-in/sso/callback/"), ("post", "/invitation/x/sso/"),
        ("post", "/me/sso/connect/"), ("post", "/me/sso/disconnect/"), ("post", "/reauthenticate/sso/"),
    )  # fmt: skip

    @pytest.mark.parametrize(("method", "url"), ROUTES)
    def test_its_routes_are_not_found(self, as_admin: Client, method: str, url: str) -> None:
        assert getattr(as_admin, method)(url).status_code == 404
        assert not AuditEvent.objects.exists()

    def test_no_page_mentions_it(self, as_admin: Client, other: User) -> None:
        invited = User.objects.create_user("new@postkeeper.example", name="New", role="admin")
        link = links.make_link(person=invited, lasts=links.BY_ADMIN, now=timezone.now(), request=None)
        pages = [
            Client().get("/sign-in/"),
            Client().get(link.url),
            as_admin.get("/me/"),
            as_admin.get("/reauthenticate/"),
        ]
        pages.append(as_admin.get(reverse("access:staff-member", args=[other.public_id])))
        assert [page.status_code for page in pages] == [200] * 5
        assert not any("sso" in page.content.decode() or "ingle sign-on" in page.content.decode() for page in pages)


class TestSigningIn:
    def test_leads_to_the_page_that_was_wanted(self, ada: User) -> None:
        assert Browser().sso(SUBJECT, next="/me/")["Location"] == "/me/"

    @pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "/sign-in/sso/"])
    def test_never_leads_elsewhere(self, ada: User, target: str) -> None:
        assert Browser().sso(SUBJECT, next=target)["Location"] == "/"

    def test_begins_with_a_post_that_carries_a_token(self, ada: User) -> None:
        assert Client().get("/sign-in/sso/").status_code == 405
        assert Client(enforce_csrf_checks=True).post("/sign-in/sso/").status_code == 403

    def test_gives_the_session_a_new_id(self, ada: User) -> None:
        browser = Browser()
        back = browser.approve(browser.leave(), SUBJECT)
        before = browser.client.session.session_key
        browser.client.get(back)
        assert browser.is_signed_in
        assert browser.client.session.session_key != before
        thief = Client()
        thief.cookies["sessionid"] = before or ""
        assert thief.get("/me/").status_code == 302

    def test_ends_the_session_of_somebody_else_in_that_browser(self, ada: User, other: User) -> None:
        browser = Browser(sign_in(Client(), other))
        browser.sso(SUBJECT)
        assert ada.email in browser.client.get("/me/").content.decode()
        [record] = browser.client.session["account_authentication_methods"]
        assert record["method"] == "socialaccount"

    def test_a_disabled_person_never_gets_in(self, ada: User) -> None:
        User.objects.filter(pk=ada.pk).update(is_active=False)
        browser = Browser()
        answer = browser.sso(SUBJECT)
        assert (answer.status_code, browser.is_signed_in) == (403, False)
        assert "Ask an admin to enable it" in answer.content.decode()
        event = AuditEvent.objects.get()
        assert (event.verb, event.reason, event.object_id) == ("staff.sso_refused", "disabled", ada.public_id)

    def test_another_email_at_the_provider_changes_nothing(self, ada: User, other: User, idp: IdentityProvider) -> None:
        idp.person(SUBJECT, email=other.email, email_verified=True, groups=["pk-admins"])
        browser = Browser()
        browser.sso(SUBJECT)
        assert ada.email in browser.client.get("/me/").content.decode()
        assert User.objects.get(pk=ada.pk).email == "ada@postkeeper.example"

    def test_an_email_links_nobody(self, admin: User, idp: IdentityProvider, settings: Settings) -> None:
        settings.OIDC_CREATE = True
        idp.person("eve", email=admin.email, email_verified=True, groups=["pk-admins"])
        browser = Browser()
        answer = browser.sso("eve")
        assert (answer.status_code, browser.is_signed_in) == (403, False)
        assert "connect single sign-on in your profile" in answer.content.decode()
        assert not SocialAccount.objects.exists()

    def test_a_link_of_another_issuer_means_nothing(self, admin: User, idp: IdentityProvider) -> None:
        SocialAccount.objects.create(user=admin, provider="https://id.former.example", uid=SUBJECT)
        browser = Browser()
        assert browser.sso(SUBJECT).status_code == 403
        assert verbs() == [("staff.sso_refused", "unknown")]
        assert browser.client.post("/sign-in/", {"login": admin.email, "password": PASSWORD}).status_code == 302

    def test_is_limited_per_address(self, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            throttling, "REQUESTS", {**throttling.REQUESTS, "sign_in": "3/m/key", "callback": "2/m/key"}
        )
        assert [Client().post("/sign-in/sso/").status_code for _ in range(5)] == [200] * 3 + [429] * 2
        assert [Client().get("/sign-in/sso/callback/").status_code for _ in range(3)] == [403] * 2 + [429]


class TestRolesFromGroups:
    def test_a_changed_group_changes_the_role_and_ends_sessions(self, ada: User, idp: IdentityProvider) -> None:
        earlier, browser = Browser(), Browser()
        earlier.sso(SUBJECT)
        idp.person(SUBJECT, groups=["pk-finance"])
        browser.sso(SUBJECT)
        changed = User.objects.get(pk=ada.pk)
        assert (changed.role, changed.session_epoch) == ("finance", ada.session_epoch + 1)
        assert (earlier.is_signed_in, browser.is_signed_in) == (False, True)
        event = AuditEvent.objects.get(verb="staff.role_from_groups")
        assert (event.actor, event.before, event.after) == (None, {"role": "admin"}, {"role": "finance"})
        assert event.object_id == ada.public_id

    def test_the_first_entry_of_the_setting_decides(self, ada: User, idp: IdentityProvider, settings: Settings) -> None:
        idp.person(SUBJECT, groups=["pk-finance", "pk-admins"])
        Browser().sso(SUBJECT)
        assert User.objects.get(pk=ada.pk).role == "admin"
        settings.OIDC_ROLES = settings.OIDC_ROLES[::-1]
        Browser().sso(SUBJECT)
        assert User.objects.get(pk=ada.pk).role == "finance"

    @pytest.mark.parametrize("groups", [[], ["staff"], ["PK-ADMINS"], None, 7, {"pk-admins": 1}, [["pk-admins"]]])
    def test_without_a_mapped_group_nobody_gets_in(self, ada: User, idp: IdentityProvider, groups: object) -> None:
        earlier, browser = Browser(), Browser()
        earlier.sso(SUBJECT)
        idp.person(SUBJECT, groups=groups)
        answer = browser.sso(SUBJECT)
        assert answer.status_code == 403
        assert "None of your groups has access" in answer.content.decode()
        assert (earlier.is_signed_in, browser.is_signed_in) == (False, False)
        assert verbs()[1:] == [("staff.sessions_ended", "no_group"), ("staff.sso_refused", "no_group")]
        assert User.objects.get(pk=ada.pk).role == "admin", "who comes back has their role again"

    def test_a_claim_of_another_name(self, ada: User, idp: IdentityProvider, settings: Settings) -> None:
        settings.OIDC_GROUPS_CLAIM = "roles"
        idp.person(SUBJECT, groups=["pk-admins"], roles="pk-finance")
        Browser().sso(SUBJECT)
        assert User.objects.get(pk=ada.pk).role == "finance"

    def test_without_mapped_roles_they_stay_as_set(self, ada: User, idp: IdentityProvider, settings: Settings) -> None:
        settings.OIDC_ROLES = []
        browser = Browser()
        browser.sso(SUBJECT)
        assert browser.is_signed_in
        assert User.objects.get(pk=ada.pk).role == "admin"

    def test_no_admin_changes_it_by_hand(self, ada: User, local_admin: User) -> None:
        client = sign_in(Client(), local_admin)
        url = reverse("access:staff-member", args=[ada.public_id])
        assert "Groups at Example ID decide this role" in client.get(url).content.decode()
        answer = client.post(f"{url}role/", {"role": "auditor", "seen": '{"role": "admin"}'})
        assert answer.status_code == 409
        assert "Groups at the identity provider decide this role" in answer.content.decode()
        assert User.objects.get(pk=ada.pk).role == "admin"


class TestConfirming:
    """In place of a password that is entered again."""

    URL = "/reauthenticate/sso/"

    def _signed_in(self, idp: IdentityProvider, *, ago: float) -> Browser:
        idp.claims(lambda claims: {**claims, "auth_time": int(time.time() - ago)})
        browser = Browser()
        browser.sso(SUBJECT)
        return browser

    def test_a_recent_sign_in_at_the_provider_counts(self, ada: User, idp: IdentityProvider) -> None:
        assert self._signed_in(idp, ago=60).client.get("/staff/invite/").status_code == 200

    def test_an_old_one_is_asked_for_again(self, ada: User, idp: IdentityProvider) -> None:
        browser = self._signed_in(idp, ago=3600)
        answer = browser.client.get("/staff/invite/")
        assert answer["Location"] == "/reauthenticate/?next=%2Fstaff%2Finvite%2F"
        page = browser.client.get(answer["Location"]).content.decode()
        assert "Confirm with Example ID" in page
        assert 'type="password"' not in page
        idp.claims(lambda claims: {**claims, "auth_time": int(time.time())})
        leave = browser.leave(self.URL, next="/staff/invite/")
        assert "prompt=login" in leave
        assert "max_age=0" in leave
        assert browser.client.get(browser.approve(leave, SUBJECT))["Location"] == "/staff/invite/"
        assert browser.client.get("/staff/invite/").status_code == 200

    @pytest.mark.parametrize("auth_time", [None, "now", 0, True, float("inf"), float("nan"), 10**400, 3600])
    def test_a_provider_that_asked_nobody_proves_nothing(
        self, ada: User, idp: IdentityProvider, auth_time: object
    ) -> None:
        browser = self._signed_in(idp, ago=3600)
        at = int(time.time()) - 3600 if auth_time == 3600 else auth_time
        idp.claims(lambda claims: {**claims, "auth_time": at})
        assert browser.sso(SUBJECT, self.URL).status_code == 403
        assert verbs()[-1] == ("staff.sso_refused", "auth_time")
        assert browser.client.get("/staff/invite/").status_code == 302

    def test_another_person_proves_nothing(self, ada: User, idp: IdentityProvider) -> None:
        browser = self._signed_in(idp, ago=3600)
        idp.person("eve", groups=["pk-admins"])
        idp.claims(lambda claims: {**claims, "auth_time": int(time.time())})
        assert browser.sso("eve", self.URL).status_code == 403
        assert verbs()[-1] == ("staff.sso_refused", "another_person")
        assert browser.client.get("/staff/invite/").status_code == 302

    def test_a_form_that_was_sent_says_how(self, ada: User, idp: IdentityProvider) -> None:
        browser = self._signed_in(idp, ago=3600)
        page = browser.client.post("/staff/invite/", {"name": "Typed", "email": "x@y.example", "role": "admin"})
        assert page.status_code == 422
        assert "Confirm in a new tab" in page.content.decode()
        assert 'type="password"' not in page.content.decode()


@pytest.mark.parametrize(
    ("amr", "proved"), [(["pwd", "mfa"], True), (["pwd"], False), (["pwd", "otp"], False), (None, False), ("mfa", True)]
)
def test_a_second_factor_is_what_amr_proves(ada: User, idp: IdentityProvider, amr: object, proved: bool) -> None:
    idp.claims(lambda claims: {**claims, "amr": amr})
    browser = Browser()
    browser.sso(SUBJECT)
    request = HttpRequest()
    request.session = browser.client.session
    assert has_second_factor(request, ada) is proved


class TestTheSecondFactorOfThePortal:
    """Applies unless the provider proved one."""

    def _signed_in(self, idp: IdentityProvider, *amr: str) -> str:
        idp.claims(lambda claims: {**claims, "amr": list(amr)})
        browser = Browser()
        browser.sso(SUBJECT)
        page: Any = browser.client.get("/me/", follow=True)
        return str(page.request["PATH_INFO"])

    def test_is_asked_for(self, ada: User, idp: IdentityProvider) -> None:
        Authenticator.objects.create(user=ada, type=Authenticator.Type.TOTP, data={"secret": "sealed"})
        assert self._signed_in(idp, "pwd") == "/sign-in/second-factor/"
        assert self._signed_in(idp, "pwd", "mfa") == "/me/"

    def test_is_set_up_first_by_whom_a_role_requires_it(self, ada: User, idp: IdentityProvider) -> None:
        assert self._signed_in(idp, "pwd") == "/me/security/"
        assert self._signed_in(idp, "pwd", "mfa") == "/me/"

    def test_is_not_replaced_by_signing_in_there_again(self, ada: User, idp: IdentityProvider) -> None:
        """Who has one confirms with it: the provider's password alone confirms nothing."""
        idp.claims(lambda claims: {**claims, "auth_time": int(time.time()), "amr": ["pwd", "mfa"]})
        browser = Browser()
        browser.sso(SUBJECT)
        Authenticator.objects.create(user=ada, type=Authenticator.Type.TOTP, data={"secret": "sealed"})
        session = browser.client.session
        name = "account_authentication_methods"
        session[name] = [each | {"at": each["at"] - 3600} for each in session[name]]
        session.save()
        idp.claims(lambda claims: {**claims, "auth_time": int(time.time()), "amr": ["pwd"]})
        leave = browser.leave("/reauthenticate/sso/", next="/staff/invite/")
        browser.client.get(browser.approve(leave, SUBJECT))
        assert browser.client.get("/staff/invite/").status_code == 302
        assert browser.client.post("/me/security/recovery-codes/").status_code == 422
