"""What admins do to people, and what they cannot do."""

from __future__ import annotations

import threading

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, connections, transaction
from django.test import Client

from portal.access import staff
from portal.access.models import User
from portal.access.roles import Role
from portal.audit.models import AuditEvent
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
    page = as_admin.get(f"/staff/{other.public_id}/").content.decode()
    assert ">Finance</del> → Auditor" in page
    assert "Changed the person&#x27;s role" in page


def test_a_role_that_does_not_exist_is_refused(as_admin: Client, other: User) -> None:
    for role in ("root", "", "Admin"):
        assert as_admin.post(f"/staff/{other.public_id}/role/", {"role": role}).status_code == 422
    assert User.objects.get(pk=other.pk).role == "finance"
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=other.pk).update(role="root")


def test_someone_who_lost_the_role_meanwhile_is_refused(admin: User, other: User) -> None:
    User.objects.filter(pk=admin.pk).update(role="auditor")
    with pytest.raises(staff.UnableToChangeStaff, match="changed meanwhile"):
        staff.disable(actor=admin, person=other, request=None)
    assert User.objects.get(pk=other.pk).is_active


@pytest.mark.django_db(transaction=True)
def test_two_admins_at_the_same_moment_leave_one(transactional_db: None) -> None:
    for _round in range(5):
        pair = [UserFactory(role="admin"), UserFactory(role="admin")]
        User.objects.exclude(pk__in=[person.pk for person in pair]).update(is_active=False)
        start = threading.Barrier(2)

        def act(one: User, two: User, start: threading.Barrier = start) -> None:
            try:
                start.wait(5)
                staff.disable(actor=one, person=two, request=None)
            except staff.UnableToChangeStaff:
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


def test_an_e_mail_belongs_to_one_person(as_admin: Client, other: User) -> None:
    facts = {"name": "Bo Two", "email": other.email.upper(), "role": "finance"}
    response = as_admin.post("/staff/invite/", facts)
    assert response.status_code == 422
    assert "Someone already has this e-mail" in response.content.decode()
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
    assert names("role=nonsense&status=x&sort=';--&page=9") == {"Ada Admin", "Bo Berg", "Cy Gone", "Di New"}
    fragment = as_admin.get("/staff/?q=bo", HTTP_HX_REQUEST="true").content.decode()
    assert "<html" not in fragment
    assert "Bo Berg" in fragment


def test_an_auditor_reads_and_is_offered_nothing(other: User, admin: User) -> None:
    client = sign_in(Client(), UserFactory(role="auditor"))
    page = client.get(f"/staff/{other.public_id}/").content.decode()
    main = page.split("<main")[1]
    assert "<form" not in main
    assert "Invite a person" not in client.get("/staff/").content.decode()
    assert client.post(f"/staff/{other.public_id}/disable/").status_code == 403


def test_a_refusal_names_the_roles_that_may(other: User) -> None:
    response = sign_in(Client(), other).get("/staff/")
    assert response.status_code == 403
    assert "This needs the role Admin or Auditor." in response.content.decode()


def test_the_first_admin_comes_from_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    monkeypatch.setenv("PORTAL_ADMIN_PASSWORD", "short")
    with pytest.raises(CommandError, match="too short"):
        call_command("create_admin", email="Root@Postkeeper.example", name="Root")
    monkeypatch.setenv("PORTAL_ADMIN_PASSWORD", "long enough for anyone here")
    call_command("create_admin", email="Root@Postkeeper.example", name="Root")
    person = User.objects.get(email="root@postkeeper.example")
    assert (person.role, person.check_password("long enough for anyone here")) == ("admin", True)
    with pytest.raises(CommandError, match="already"):
        call_command("create_admin", email="root@postkeeper.example", name="Root")
