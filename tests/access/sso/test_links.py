"""Who is linked to a subject of the provider, how, and what becomes of their password."""

from __future__ import annotations

import re

import pytest
from allauth.socialaccount.models import SocialAccount
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from portal.access import links, staff
from portal.access.models import User
from portal.access.sso.commands import disconnect
from portal.access.sso.queries import link_kind
from portal.access.tasks import mail_reset_link
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.access.sso.conftest import SUBJECT, verbs
from tests.support.factories import PASSWORD, UserFactory
from tests.support.identity_provider import Browser, IdentityProvider
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


class TestConnecting:
    URL = "/me/sso/connect/"

    def test_links_the_subject_and_ends_other_sessions(self, admin: User, idp: IdentityProvider) -> None:
        elsewhere, browser = sign_in(Client(), admin), Browser(sign_in(Client(), admin))
        assert "Connect single sign-on" in browser.client.get("/me/").content.decode()
        assert browser.sso(SUBJECT, self.URL)["Location"] == "/me/"
        link = SocialAccount.objects.get()
        assert (link.user, link.provider, link.uid, link.extra_data) == (admin, idp.issuer, SUBJECT, {})
        assert browser.is_signed_in
        assert elsewhere.get("/me/").status_code == 302
        page = browser.client.get("/me/").content.decode()
        assert "connected to Example ID" in page
        assert "Change password" not in page
        assert verbs() == [("staff.sso_linked", "")]

    def test_needs_a_recent_confirmation(self, admin: User, idp: IdentityProvider) -> None:
        client = sign_in(Client(), admin, minutes_ago=11)
        assert client.post(self.URL).status_code == 422
        assert client.post("/me/sso/disconnect/").status_code == 422

    def test_never_takes_the_subject_of_another(self, ada: User, other: User) -> None:
        browser = Browser(sign_in(Client(), other))
        answer = browser.sso(SUBJECT, self.URL)
        assert (answer.status_code, SocialAccount.objects.get().user) == (403, ada)
        assert "belongs to another team member" in answer.content.decode()
        assert verbs() == [("staff.sso_refused", "linked_to_other")]
        assert browser.is_signed_in, "nothing changed"

    def test_the_groups_apply_at_once(self, admin: User, idp: IdentityProvider) -> None:
        idp.person("fin", groups=["pk-finance"])
        browser = Browser(sign_in(Client(), admin))
        assert browser.sso("fin", self.URL)["Location"] == "/me/"
        assert User.objects.get(pk=admin.pk).role == "finance"
        assert (browser.is_signed_in, browser.client.get("/staff/").status_code) == (True, 403)

    def test_a_second_one_is_refused(self, ada: User, idp: IdentityProvider) -> None:
        idp.person("second", groups=["pk-admins"])
        assert Browser(sign_in(Client(), ada)).sso("second", self.URL).status_code == 403
        assert SocialAccount.objects.get().uid == SUBJECT

    def test_without_a_mapped_group_nobody_locks_themselves_out(self, admin: User, idp: IdentityProvider) -> None:
        idp.person("plain", groups=["staff"])
        browser = Browser(sign_in(Client(), admin))
        assert browser.sso("plain", self.URL).status_code == 403
        assert not SocialAccount.objects.exists()
        assert browser.is_signed_in

    def test_links_only_who_began(self, admin: User, other: User, idp: IdentityProvider) -> None:
        """Who begins, and is replaced in that browser before coming back, gives nothing away."""
        browser = Browser(sign_in(Client(), admin))
        back = browser.approve(browser.leave(self.URL), SUBJECT)
        states = browser.client.session["socialaccount_states"]
        sign_in(browser.client, other)
        session = browser.client.session
        session["socialaccount_states"] = states
        session.save()
        assert browser.client.get(back).status_code == 403
        assert not SocialAccount.objects.exists()

    def test_disconnecting_needs_a_password_and_a_setting(self, ada: User, settings: Settings) -> None:
        client = sign_in(Client(), ada)
        assert "Disconnect" not in client.get("/me/").content.decode()
        page = client.post("/me/sso/disconnect/", follow=True).content.decode()
        assert "Single sign-on is required. An admin can reset your sign-in." in page
        assert SocialAccount.objects.exists()
        settings.OIDC_ONLY = False
        User.objects.filter(pk=ada.pk).update(password="!")
        client = sign_in(Client(), User.objects.get(pk=ada.pk))
        client.post("/me/sso/disconnect/")
        assert SocialAccount.objects.exists()
        User.objects.filter(pk=ada.pk).update(password=UserFactory.build().password)
        client, elsewhere = (sign_in(Client(), User.objects.get(pk=ada.pk)) for _ in range(2))
        assert "Disconnect" in client.get("/me/").content.decode()
        client.post("/me/sso/disconnect/")
        assert not SocialAccount.objects.exists()
        assert (client.get("/me/").status_code, elsewhere.get("/me/").status_code) == (200, 302)
        assert verbs() == [("staff.sso_unlinked", "")]


class TestInvited:
    @pytest.fixture
    def invited(self, idp: IdentityProvider) -> User:
        return User.objects.create_user("new@postkeeper.example", name="Nia New", role="auditor")

    def _link(self, person: User) -> str:
        kind = link_kind(person)
        link = links.make_link(person=person, lasts=links.BY_ADMIN, now=timezone.now(), request=None, kind=kind)
        return re.sub(r"https?://[^/]+", "", link.url)

    def test_chooses_it_instead_of_a_password(self, invited: User) -> None:
        link, browser = self._link(invited), Browser()
        assert "Use Example ID instead" in browser.client.get(link).content.decode()
        assert browser.sso(SUBJECT, f"{link}sso/")["Location"] == "/"
        assert browser.is_signed_in
        person = User.objects.get(pk=invited.pk)
        assert (person.role, person.has_joined, person.has_usable_password()) == ("admin", True, False)
        told = ["staff.sso_linked", "staff.role_from_groups", "staff.signed_in"]
        assert [verb for verb, _ in verbs()] == told
        assert browser.client.get(link).status_code == 410, "the link works once"
        assert Browser().client.post(f"{link}sso/").status_code == 410

    def test_a_link_that_was_replaced_meanwhile(self, invited: User) -> None:
        link, browser = self._link(invited), Browser()
        back = browser.approve(browser.leave(f"{link}sso/"), SUBJECT)
        User.objects.filter(pk=invited.pk).update(session_epoch=5)
        assert browser.client.get(back).status_code == 403
        assert verbs() == [("staff.sso_refused", "link_ended")]
        assert not SocialAccount.objects.exists()

    def test_a_password_link_of_who_has_joined_links_nobody(self, admin: User, idp: IdentityProvider) -> None:
        link = self._link(admin)
        assert "instead" not in Client().get(link).content.decode()
        assert Client().post(f"{link}sso/").status_code == 410

    def test_a_link_of_an_earlier_issuer_is_not_yet_joining(self, invited: User) -> None:
        SocialAccount.objects.create(user=invited, provider="https://id.former.example", uid="x")
        assert not invited.has_joined
        Browser().sso(SUBJECT, f"{self._link(invited)}sso/")
        assert User.objects.get(pk=invited.pk).has_joined

    def test_is_active_in_the_list_afterwards(self, invited: User, local_admin: User) -> None:
        Browser().sso(SUBJECT, f"{self._link(invited)}sso/")
        client = sign_in(Client(), local_admin)
        for status, shown in {"active": True, "waiting": False}.items():
            assert ("Nia New" in client.get(f"/staff/?status={status}").content.decode()) is shown, status


class TestTheList:
    def test_shows_who_is_not_connected(
        self, ada: User, other: User, idp: IdentityProvider, settings: Settings
    ) -> None:
        User.objects.filter(pk=other.pk).update(role="admin")
        client = sign_in(Client(), User.objects.get(pk=other.pk))
        page = client.get("/staff/?status=unconnected").content.decode()
        assert (other.email in page.partition("<table")[2], ada.email in page) == (True, False)
        assert "Not connected" in client.get("/staff/").content.decode()
        settings.OIDC_ISSUER = ""
        assert "Not connected" not in client.get("/staff/").content.decode()


class TestCreating:
    @pytest.fixture(autouse=True)
    def on(self, idp: IdentityProvider, settings: Settings) -> None:
        settings.OIDC_CREATE = True
        told = {"email": "Nia@postkeeper.example", "email_verified": True}
        idp.person("nia", name="Nia New", **told, groups=["pk-finance"])

    def test_an_unknown_person_with_a_group_becomes_a_team_member(self) -> None:
        browser = Browser()
        browser.sso("nia")
        assert browser.is_signed_in
        person = User.objects.get()
        assert (person.name, person.email, person.role) == ("Nia New", "nia@postkeeper.example", "finance")
        assert not person.has_usable_password()
        assert [verb for verb, _ in verbs()] == ["staff.created_by_sso", "staff.sso_linked", "staff.signed_in"]

    @pytest.mark.parametrize(
        "claims",
        [
            {"groups": []}, {"groups": ["staff"]}, {"email": None}, {"email": "x"}, {"email_verified": False},
            {"email_verified": "true"}, {"email_verified": 1}, {"email_verified": None},
        ],
    )  # fmt: skip
    def test_not_without_a_group_and_an_email(self, idp: IdentityProvider, claims: dict[str, object]) -> None:
        facts = {"name": "Nia New", "email": "nia@postkeeper.example", "email_verified": True, "groups": ["pk-finance"]}
        idp.person("nia", **(facts | claims))
        browser = Browser()
        assert browser.sso("nia").status_code == 403
        assert (browser.is_signed_in, User.objects.count()) == (False, 0)

    def test_not_without_a_word_about_the_email(self, idp: IdentityProvider) -> None:
        idp.claims(lambda claims: {name: claims[name] for name in claims if name != "email_verified"})
        idp.userinfo = lambda told: {name: told[name] for name in told if name != "email_verified"}
        assert Browser().sso("nia").status_code == 403

    @pytest.mark.parametrize("act", ["reset-password", "disable"])
    def test_nobody_comes_back_as_someone_else(self, ada: User, local_admin: User, act: str) -> None:
        """A subject that was connected makes no new team member, whatever email it has now."""
        client = sign_in(Client(), local_admin)
        client.post(reverse("access:staff-reset-password", args=[ada.public_id]))
        client.post(reverse(f"access:staff-{act}", args=[ada.public_id]))
        browser = Browser()
        answer = browser.sso(SUBJECT)
        assert (answer.status_code, browser.is_signed_in, User.objects.count()) == (403, False, 2)
        assert "ask an admin to connect you" in answer.content.decode()
        event = AuditEvent.objects.latest("id")
        assert (event.reason, event.object_id) == ("formerly_linked", ada.public_id)

    def test_not_unless_the_setting_says_so(self, settings: Settings) -> None:
        settings.OIDC_CREATE = False
        assert Browser().sso("nia").status_code == 403
        assert User.objects.count() == 0


class TestPasswords:
    def _try(self, person: User) -> int:
        return Client().post("/sign-in/", {"login": person.email, "password": PASSWORD}).status_code

    def test_who_is_linked_has_none_any_more(self, ada: User, settings: Settings) -> None:
        assert self._try(ada) == 422
        settings.OIDC_ONLY = False
        assert self._try(ada) == 302

    def test_a_forgotten_one_leads_to_the_provider(self, ada: User) -> None:
        mail_reset_link(ada.pk)
        [message] = mail.outbox
        assert "You sign in with Example ID" in message.body
        assert "/invitation/" not in message.body

    def test_the_command_line_names_another_way(self, ada: User) -> None:
        with pytest.raises(CommandError, match="Use another email for an admin with a password"):
            call_command("create_admin", "--email", ada.email, "--name", ada.name)


def test_an_ended_session_is_not_revived_by_disconnecting(
    ada: User, local_admin: User, settings: Settings, client: Client
) -> None:
    """An admin ends the sessions between the request's beginning and its change."""
    settings.OIDC_ONLY = False
    request = sign_in(client, ada).get("/me/security/").wsgi_request
    staff.end_sessions(Command(local_admin), person=ada)
    with pytest.raises(Refusal, match="Your access has changed"):
        disconnect(person=ada, request=request)
    assert SocialAccount.objects.filter(user=ada).exists()
    assert client.get("/me/").status_code == 302
