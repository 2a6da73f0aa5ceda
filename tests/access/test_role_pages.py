"""The page of permissions by role, and the forms of custom roles."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.test import Client

from portal.access.models import CustomRole, User
from portal.access.permission_labels import GROUPS, LABELS
from portal.access.permissions import Permission, permissions_of, permissions_of_codes
from portal.access.role_matrix import PAGES, preview_of
from portal.access.roles import Role
from portal.audit.models import AuditEvent
from tests.support.edits import fields_of
from tests.support.factories import CustomRoleFactory, UserFactory
from tests.support.people import sign_in

NEW = "/staff/roles/new/"


class Table(HTMLParser):
    """The rows of a page's table, as what a screen reader says of each cell."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.scopes: list[str] = []
        self._inside = self._hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self._inside = True
            self.rows[-1].append("")
            self.scopes += [given["scope"] or ""] if tag == "th" else []
        self._hidden = given.get("aria-hidden") == "true"

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False
        if tag in ("th", "td"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside and not self._hidden:
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())


def typed(*permissions: str, name: str = "Usage desk", reason: str = "New hire") -> dict[str, object]:
    return {"name": name, "permissions": permissions, "reason": reason, "description": ""}


def test_every_permission_has_a_label() -> None:
    assert set(LABELS) == set(Permission) - {Permission.ANYONE}
    assert len(LABELS) == sum(len(labels) for _name, labels in GROUPS)
    assert len({str(label.name) for label in LABELS.values()}) == len(LABELS)
    for label in LABELS.values():
        assert str(label.allows).endswith(".")


def test_the_preview_knows_the_pages_of_the_navigation() -> None:
    rail = Path("templates/components/_rail.html").read_text(encoding="utf-8")
    links = re.findall(r'nav_link "([^"]+)" _\("([^"]+)"\)', rail)
    assert links == [(route, str(label)) for route, label in PAGES]


@pytest.mark.parametrize("reader", ["admin", "auditor"])
def test_the_table_says_what_each_role_may(reader: str) -> None:
    row = CustomRoleFactory(name="Usage desk", permissions=["sync_usage", "view"])
    UserFactory(role="custom", custom_role=row)
    page = sign_in(Client(), UserFactory(role=reader)).get("/staff/roles/").content.decode()
    table = Table(page)
    columns = [*(permissions_of(role) for role in Role.values), row.granted]
    head, *lines = table.rows
    names = ["Admin", "Customer success", "Finance", "Auditor", "Usage desk"]
    assert [cell.startswith(name) for cell, name in zip(head[1:], names, strict=True)] == [True] * 5
    assert "1 member with role Usage desk" in head[5]
    said = {line[0]: line[1:] for line in lines if len(line) > 1}
    assert said == {
        f"{label.name} {label.allows}": ["Yes" if code in each else "No" for each in columns]
        for code, label in LABELS.items()
    }
    groups = [line[0] for line in lines if len(line) == 1]
    assert groups == [str(name) for name, _labels in GROUPS]
    assert [table.scopes.count(scope) for scope in ("col", "row", "rowgroup")] == [6, len(LABELS), len(GROUPS)]
    assert (f"/staff/roles/{row.public_id}/" in page, NEW in page) == (reader == "admin", reader == "admin")


def test_an_archived_role_is_not_listed(as_admin: Client) -> None:
    CustomRoleFactory(name="Retired", is_archived=True)
    assert "Retired" not in as_admin.get("/staff/roles/").content.decode()
    assert "Retired" not in as_admin.get("/staff/invite/").content.decode()


def test_a_new_role_starts_from_another(as_admin: Client) -> None:
    def checked(url: str) -> set[str]:
        page = as_admin.get(url).content.decode()
        boxes = re.findall(r'<input type="checkbox"[^>]*name="permissions"[^>]*>', page)
        return {re.findall(r'value="(\w+)"', box)[0] for box in boxes if re.search(r"\bchecked\b", box)}

    row = CustomRoleFactory(permissions=["sync_usage", "view"])
    assert checked(NEW) == {"view"}
    assert checked(f"{NEW}?from=finance") == permissions_of("finance") - {Permission.ANYONE}
    assert checked(f"{NEW}?from=admin") == permissions_of("admin") - {
        Permission.ANYONE,
        Permission.MANAGE_TEAM,
        Permission.MANAGE_APPROVAL_RULES,
    }
    assert checked(f"{NEW}?from={row.public_id}") == {"view", "sync_usage"}
    assert as_admin.get(f"{NEW}?from=root").status_code == 404


def test_a_role_is_created_and_given(as_admin: Client, admin: User, other: User) -> None:
    assert as_admin.post(NEW, typed("manage_connections")).status_code == 303
    row = CustomRole.objects.get()
    assert (row.created_by, row.permissions) == (admin, ["manage_connections", "view", "view_connections"])
    page = as_admin.get("/staff/roles/").content.decode()
    assert "Also added, because another permission includes it: View connections." in page
    seen = fields_of(as_admin.get(f"/staff/{other.public_id}/").content.decode())
    as_admin.post(f"/staff/{other.public_id}/role/", seen | {"role": str(row.public_id)})
    other.refresh_from_db()
    assert other.custom_role == row


def test_refusals_stand_at_their_fields(as_admin: Client) -> None:
    page = as_admin.post(NEW, typed("view_cost", reason="")).content.decode()
    assert 'id="id_reason_error"' in page
    page = as_admin.post(NEW, typed(name="Finance")).content.decode()
    assert "This is the name of a built-in role." in page
    assert 'value="Finance"' in page
    assert as_admin.post(NEW, typed(name="")).status_code == 422
    assert not CustomRole.objects.exists()


def test_two_admins_change_other_permissions(as_admin: Client) -> None:
    row = CustomRoleFactory(permissions=["sync_usage", "view"], name="Desk")
    url = f"/staff/roles/{row.public_id}/"
    seen = fields_of(as_admin.get(url).content.decode())["seen"]
    second = sign_in(Client(), UserFactory(role="admin", name="Cy"))
    assert second.post(url, typed("sync_usage", "view_cost", name="Desk") | {"seen": seen}).status_code == 303
    mine = typed("sync_usage", "accept_usage", name="Desk") | {"seen": seen}
    answer = as_admin.post(url, mine)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "Cy saved changes at" in page
    assert "View portal, Sync usage, Decide on usage" in page
    assert AuditEvent.objects.filter(verb="role.permissions_changed").count() == 1
    again = fields_of(page) | typed("sync_usage", "accept_usage", name="Desk") | {"choice-permissions": "mine"}
    assert as_admin.post(url, again).status_code == 303
    row.refresh_from_db()
    assert row.permissions == ["accept_usage", "sync_usage", "view"]
    assert row.version == 3


def test_the_preview_follows_the_choice(as_admin: Client) -> None:
    query = "permissions=manage_connections&permissions=view_audit_log&permissions=manage_team&permissions=x"
    page = " ".join(as_admin.get(f"/staff/roles/preview/?{query}").content.decode().split())
    assert "<html" not in page
    assert "View cost, View connections" in page
    preview = preview_of(["manage_connections", "view_audit_log", "manage_team"])
    opens = {str(label) for label, may in preview.pages if may}
    assert {"Connections", "System status", "Audit log"} <= opens
    assert "Team members" not in opens
    assert [may for _label, may in preview_of([]).pages].count(True) == 13


def test_what_a_role_opens_is_what_its_member_sees(as_admin: Client) -> None:
    codes = ["view_audit_log", "view_connections"]
    person = UserFactory(role="custom", custom_role=CustomRoleFactory(permissions=codes))
    rail = sign_in(Client(), person).get("/me/").content.decode().split("<main")[0]
    for label, opens in preview_of(codes).pages:
        assert (f"<span>{label}</span>" in rail) == opens, label
    assert Permission.VIEW_COST in permissions_of_codes(codes)


def test_changed_values_are_for_readers_of_the_log(as_admin: Client, other: User) -> None:
    seen = fields_of(as_admin.get(f"/staff/{other.public_id}/").content.decode())
    as_admin.post(f"/staff/{other.public_id}/role/", seen | {"role": "auditor"})
    reader = UserFactory(role="custom", custom_role=CustomRoleFactory(permissions=["view", "view_team"]))
    page = sign_in(Client(), reader).get(f"/staff/{other.public_id}/").content.decode()
    assert "Team member role changed" in page
    assert "Finance</del>" not in page
    assert "Finance</del>" in as_admin.get(f"/staff/{other.public_id}/").content.decode()
