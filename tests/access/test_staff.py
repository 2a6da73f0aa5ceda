"""What admins do to people, and what they cannot do."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, connections, transaction
from django.test import Client
from pytest_django import Settings

from portal.access import staff
from portal.access.models import User
from portal.access.roles import Role
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.support.edits import seen_at
from tests.support.factories import UserFactory
from tests.support.people import sign_in


@pytest.mark.parametrize("act", ["role", "disable", "enable", "reset-password", "end-sessions"])
def test_nobody_acts_on_themselves(as_admin: Client, admin: User, act: str) -> None:
    before = User.objects.filter(pk=admin.pk).values().get()
    response = as_admin.post(f"/staff/{admin.public_id}/{act}/", {"role": "auditor"})
    assert response.status_code == 409
    assert "Ask another admin" in response.content.decode()
    after = User.objects.filter(pk=admin.pk).values().get()
    for row in (before, after):
        row.pop("last_seen_at")
    assert before == after


def test_a_role_change_is_audited_with_both_values(as_admin: Client, admin: User, other: User) -> None:
    seen = seen_at(as_admin, f"/staff/{other.public_id}/")
    response = as_admin.post(f"/staff/{other.public_id}/role/", {"role": "auditor"} | seen)
    assert (response.status_code, response["Location"]) == (303, f"/staff/{other.public_id}/")
    event = AuditEvent.objects.get(verb="staff.role_changed")
    assert (event.actor, event.before, event.after) == (admin, {"role": "finance"}, {"role": "auditor"})
    as_admin.post(f"/staff/{other.public_id}/role/", {"role": "auditor"})
    assert AuditEvent.objects.filter(verb="staff.role_changed").count() == 1  # nothing changed, nothing said
    page = " ".join(as_admin.get(f"/staff/{other.public_id}/").content.decode().split())
    assert ">Finance</del> → Auditor" in page
    assert "Team member role changed" in page


def test_a_role_that_does_not_exist_is_refused(as_admin: Client, other: User) -> None:
    for role in ("root", "", "Admin"):
        assert as_admin.post(f"/staff/{other.public_id}/role/", {"role": role}).status_code == 422
    assert User.objects.get(pk=other.pk).role == "finance"
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=other.pk).update(role="root")


def test_someone_who_lost_the_role_meanwhile_is_refused(admin: User, other: User) -> None:
    User.objects.filter(pk=admin.pk).update(role="auditor")
    with pytest.raises(Refusal, match="no longer an admin"):
        staff.disable(Command(admin), person=other)
    assert User.objects.get(pk=other.pk).is_active


@pytest.mark.django_db(transaction=True)
def test_two_admins_at_the_same_moment_leave_one(transactional_db: None) -> None:
    for _round in range(5):
        pair = [UserFactory(role="admin"), UserFactory(role="admin")]
        User.objects.exclude(pk__in=[person.pk for person in pair]).update(is_active=False)
        start = threading.Barrier(2)

        def act(one: User, two: User, start: threading.Barrier = start) -> None:
            try:
                start.wait(60)
                staff.disable(Command(one), person=two)
            except Refusal:
                pass
            finally:
                connections.close_all()

        threads = [threading.Thread(target=act, args=pair), threading.Thread(target=act, args=pair[::-1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert User.objects.filter(role=Role.ADMIN, is_active=True).count() == 1


EVERY_FIELD = {
    "id": "1", "public_id": "00000000-0000-0000-0000-000000000001", "password": "x", "last_login": "2020-01-01",
    "email": "evil@postkeeper.example", "role": "admin", "is_active": "", "session_epoch": "99", "locale": "xx",
    "is_staff": "on", "is_superuser": "on", "created_at": "2020-01-01", "invited_at": "2020-01-01",
    "last_seen_at": "2020-01-01",
}  # fmt: skip


def test_the_profile_takes_only_name_and_zone(other: User) -> None:
    client = sign_in(Client(), other)
    seen = seen_at(client, "/me/")
    before = User.objects.filter(pk=other.pk).values().get()
    response = client.post("/me/", {**EVERY_FIELD, "name": "Bo Borg", "timezone": "Europe/Oslo"} | seen)
    assert response.status_code == 303
    after = User.objects.filter(pk=other.pk).values().get()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"name", "timezone"}
    assert client.post("/me/", {"name": "Bo", "timezone": "Mars/Base"}).status_code == 422


@pytest.mark.parametrize("typed", ["America/New_York", " america/new york "])
def test_a_time_zone_is_typed_and_completed(other: User, typed: str) -> None:
    client = sign_in(Client(), other)
    page = client.get("/me/").content.decode()
    assert 'list="zones"' in page
    assert '<option value="America/New_York">America/New York</option>' in page.split('<datalist id="zones">')[1]
    seen = seen_at(client, "/me/")
    refused = client.post("/me/", {"name": "Bo", "timezone": "Atlantis"} | seen)
    assert refused.status_code == 422
    assert 'value="Atlantis"' in refused.content.decode()
    assert "Unknown time zone." in refused.content.decode()
    assert client.post("/me/", {"name": "Bo", "timezone": typed} | seen).status_code == 303
    other.refresh_from_db()
    assert other.timezone == "America/New_York"


def test_other_forms_take_only_their_fields_too(as_admin: Client, admin: User, other: User) -> None:
    before = User.objects.filter(pk=other.pk).values().get()
    seen = seen_at(as_admin, f"/staff/{other.public_id}/")
    as_admin.post(f"/staff/{other.public_id}/role/", {**EVERY_FIELD, "role": "auditor"} | seen)
    after = User.objects.filter(pk=other.pk).values().get()
    assert {name for name in before if before[name] != after[name]} == {"role", "session_epoch"}
    as_admin.post("/staff/invite/", {**EVERY_FIELD, "name": "Eve", "role": "auditor"})
    eve = User.objects.get(email="evil@postkeeper.example")
    assert eve.session_epoch == 0
    assert eve.is_active
    assert str(eve.public_id) != EVERY_FIELD["public_id"]
    assert not eve.has_usable_password()


def test_an_email_belongs_to_one_person(as_admin: Client, other: User) -> None:
    facts = {"name": "Bo Two", "email": other.email.upper(), "role": "finance"}
    response = as_admin.post("/staff/invite/", facts)
    assert response.status_code == 422
    assert "A team member with this email already exists" in response.content.decode()
    assert "Bo Two" in response.content.decode()
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE access_user SET email = 'ADA@postkeeper.example' WHERE id = %s", [other.pk])


def test_the_list_is_searched_and_filtered(as_admin: Client, admin: User, other: User) -> None:
    UserFactory(name="Cy Gone", role="auditor", is_active=False)
    User.objects.create_user("new@postkeeper.example", name="Di New", role="finance")

    def names(query: str) -> set[str]:
        return {person.name for person in as_admin.get(f"/staff/?{query}").context["page"]}

    assert names("") == {"Ada Admin", "Bo Berg", "Cy Gone", "Di New"}
    assert names("q=BERG+bo") == {"Bo Berg"}
    assert names("role=finance&status=waiting") == {"Di New"}
    assert names("status=disabled") == {"Cy Gone"}
    assert names("sort=';--&page=9") == {"Ada Admin", "Bo Berg", "Cy Gone", "Di New"}
    assert names("role=nonsense") == names("status=x") == set()
    fragment = as_admin.get("/staff/?q=bo", HTTP_HX_REQUEST="true").content.decode()
    assert "<html" not in fragment
    assert "Bo Berg" in fragment


def test_an_auditor_reads_and_is_offered_nothing(other: User, admin: User) -> None:
    client = sign_in(Client(), UserFactory(role="auditor"))
    page = client.get(f"/staff/{other.public_id}/").content.decode()
    main = page.split("<main")[1]
    assert "<form" not in main
    assert "Invite team member" not in client.get("/staff/").content.decode()
    assert client.post(f"/staff/{other.public_id}/disable/").status_code == 403


def test_a_refusal_names_the_roles_that_may(other: User) -> None:
    response = sign_in(Client(), other).get("/staff/")
    assert response.status_code == 403
    assert "Required role: Admin or Auditor." in response.content.decode()


class TestCreateAdmin:
    """The first admin comes from the command line, without a terminal: a link is printed, no password asked for."""

    @staticmethod
    def _run(email: str = "Root@Postkeeper.example", name: str = "Root") -> str:
        out = io.StringIO()
        call_command("create_admin", email=email, name=name, stdout=out)
        return out.getvalue()

    def test_the_link_sets_the_password(self, client: Client, settings: Settings) -> None:
        settings.PORTAL_URL = "https://portal.example.com"
        link = self._run().split()[-1]
        assert link.startswith("https://portal.example.com/invitation/")
        answer = client.post(
            link.removeprefix("https://portal.example.com"),
            {"password": "long enough for anyone here", "again": "long enough for anyone here"},
        )
        assert answer.status_code == 303
        person = User.objects.get(email="root@postkeeper.example")
        assert (person.role, person.check_password("long enough for anyone here")) == ("admin", True)
        assert AuditEvent.objects.filter(verb="staff.invited", actor=None).count() == 1

    def test_it_can_be_repeated(self) -> None:
        """Another link while there is no password, and nothing but a sentence once there is."""
        first, second = self._run(), self._run("root@postkeeper.example", "Other")
        assert "/invitation/" in first
        assert "/invitation/" in second
        person = User.objects.get()
        assert person.name == "Root"
        person.set_password("long enough for anyone here")
        person.save()
        third = self._run()
        assert "is an admin and has a password. Nothing was changed." in third
        assert "/invitation/" not in third
        assert AuditEvent.objects.filter(verb="staff.invited").count() == 1

    @pytest.mark.parametrize("facts", [{"role": "auditor"}, {"role": "admin", "is_active": False}])
    def test_another_team_member_is_left_alone(self, facts: dict[str, Any]) -> None:
        UserFactory(email="root@postkeeper.example", **facts)
        with pytest.raises(CommandError, match=r"disabled or not an admin.* Nothing was changed"):
            self._run()
        assert not AuditEvent.objects.filter(verb="staff.invited").exists()

    def test_what_is_no_email_is_refused(self) -> None:
        with pytest.raises(CommandError, match=r"--email: .*valid"):
            self._run("root", "Root")
        with pytest.raises(CommandError, match="--name: "):
            self._run(name=" ")

    def test_a_database_without_tables_is_named(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE access_user RENAME TO access_other")
        with pytest.raises(
            CommandError, match=r"(?s)The database is not responding or has no tables: .*Run: python manage.py migrate"
        ):
            self._run()
