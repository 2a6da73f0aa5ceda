"""The API keys a parent makes for its sub accounts."""

import re
from typing import Any

import pytest

from tests.support.sandbox import AhaSendClient, SandboxAdmin

NOBODY = "00000000-0000-4000-8000-000000000000"
FIELDS = {
    "object",
    "id",
    "created_at",
    "updated_at",
    "last_used_at",
    "account_id",
    "label",
    "public_key",
    "scopes",
    "ip_allow_list",
}


def scopes_of(key: dict[str, Any]) -> list[str]:
    return [entry["scope"] for entry in key["scopes"]]


def test_the_secret_is_only_in_the_answer_of_the_create(aha: AhaSendClient, child: str) -> None:
    made = aha.create_key(child, " portal ", ip_allow_list=[])
    assert made.status == 201
    assert set(made.json) == {*FIELDS, "secret_key"}
    assert re.fullmatch(r"aha-sk-[A-Za-z0-9]{64}", made.json["secret_key"])
    assert made.json["public_key"].startswith("aha-pk-")
    assert (made.json["label"], made.json["account_id"], made.json["ip_allow_list"]) == ("portal", child, [])
    for entry in made.json["scopes"]:
        assert (entry["api_key_id"], entry["domain_id"]) == (made.json["id"], None)
    path = aha.child(child, "/api-keys")
    read, listed = aha.send("GET", f"{path}/{made.json['id']}"), aha.send("GET", path)
    changed = aha.send("PUT", f"{path}/{made.json['id']}", {"label": "other"})
    assert set(read.json) == set(listed.json["data"][0]) == set(changed.json) == FIELDS
    for answer in (read, listed, changed):
        assert made.json["secret_key"].encode() not in answer.body


def test_no_secret_is_in_the_log_or_the_admin_plane(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    secret = aha.create_key(child, key="a").json["secret_key"]
    client = AhaSendClient(aha.base_url, secret, child)
    client.send("GET", f"{client.own('/domains')}?token={secret}")
    client.send("POST", client.own("/domains"), {"domain": "a.northwind.test", "dkim_selector": secret})
    aha.create_child(secret)
    seen = str([admin.requests(), admin.aha.keys(child), admin.aha.kept(), admin.faults()])
    assert secret not in seen
    assert "aha-sk-" not in seen
    assert [line["leaked"] for line in admin.requests("aha-domains")] == [True]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (["203.0.113.9", "198.51.100.77/24"], ["203.0.113.9/32", "198.51.100.0/24"]),
        (["203.0.113.9", "203.0.113.9/32"], ["203.0.113.9/32"]),
        (["2001:DB8:0::7", "2001:db8::/32"], ["2001:db8::7/128", "2001:db8::/32"]),
        ([f"10.0.{number}.0/24" for number in range(100)], [f"10.0.{number}.0/24" for number in range(100)]),
        (["203.0.113.9"] * 300, ["203.0.113.9/32"]),
        ([], []),
        (None, []),
    ],
)
def test_allow_lists_are_kept_canonical(
    aha: AhaSendClient, child: str, given: list[str] | None, stored: list[str]
) -> None:
    assert aha.create_key(child, ip_allow_list=given).json["ip_allow_list"] == stored


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": None},
        {"label": "  "},
        {"label": "x" * 256},
        {"label": 7},
        {"scopes": None},
        {"scopes": []},
        {"scopes": "domains:read"},
        {"scopes": [7]},
        {"scopes": ["domains:read", "domains:read"]},
        {"scopes": ["domains:fly"]},
        {"scopes": ["messages:send"]},
        {"scopes": ["domains:read:all"]},
        {"scopes": ["sub-accounts:read"]},
        {"scopes": ["sub-account-api-keys:write"]},
        {"scopes": ["messages:send:{elsewhere.test}"]},
        {"ip_allow_list": ["0.0.0.0/0"]},
        {"ip_allow_list": ["::/0"]},
        {"ip_allow_list": ["northwind.test"]},
        {"ip_allow_list": [""]},
        {"ip_allow_list": ["fe80::1%eth0"]},
        {"ip_allow_list": [7]},
        {"ip_allow_list": "203.0.113.9"},
        {"ip_allow_list": [f"10.0.{number}.0/24" for number in range(101)]},
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_on_create_and_on_update(
    aha: AhaSendClient, admin: SandboxAdmin, child: str, wrong: dict[str, Any]
) -> None:
    key = aha.create_key(child).json
    assert aha.create_key(child, **wrong).status == 400
    path = aha.child(child, f"/api-keys/{key['id']}")
    assert aha.send("PUT", path, wrong).status == 400
    assert scopes_of(aha.send("GET", path).json) == scopes_of(key)
    assert len(admin.aha.keys(child)) == 1


def test_scopes_of_a_domain_are_for_those_the_child_owns(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    domain = admin.aha.add_domain(child, "mail.northwind.test")
    other = aha.create_child("Globex").json["id"]
    for form in ("messages:send:{mail.northwind.test}", "messages:send:mail.northwind.test"):
        key = aha.create_key(child, scopes=[form, "domains:read"]).json
        assert scopes_of(key) == [form, "domains:read"]
        assert [entry["domain_id"] for entry in key["scopes"]] == [domain["id"], None]
        assert aha.create_key(other, scopes=[form]).status == 400


def test_all_swallows_the_specific(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.aha.add_domain(child, "mail.northwind.test")
    given = ["messages:send:{mail.northwind.test}", "messages:send:all", "messages:read:{mail.northwind.test}"]
    kept = ["messages:send:all", "messages:read:{mail.northwind.test}"]
    key = aha.create_key(child, scopes=given).json
    assert scopes_of(key) == kept
    assert aha.send("PUT", aha.child(child, f"/api-keys/{key['id']}"), {"scopes": given}).status == 400  # the same


def test_a_new_allow_list_holds_at_once(aha: AhaSendClient, child: str) -> None:
    """No guard: a parent may lock its child out."""
    key = aha.create_key(child).json
    path = aha.child(child, f"/api-keys/{key['id']}")
    used = AhaSendClient(aha.base_url, key["secret_key"], child)
    seen = []
    for entries in ([], ["192.0.2.1"], None, []):
        aha.send("PUT", path, {"ip_allow_list": entries})
        seen.append(used.send("GET", "/v2/ping").status)
    assert seen == [200, 403, 403, 200]


@pytest.mark.parametrize(
    "idle",
    [
        {},
        {"label": None, "scopes": None, "ip_allow_list": None},
        {"label": " portal "},
        {"scopes": ["domains:read", "messages:send:all"]},
        {"ip_allow_list": ["198.51.100.9/24", "203.0.113.9", "203.0.113.9/32"]},
    ],
    ids=str,
)
def test_an_update_that_changes_nothing_is_refused(aha: AhaSendClient, child: str, idle: dict[str, Any]) -> None:
    key = aha.create_key(child, ip_allow_list=["203.0.113.9", "198.51.100.0/24"]).json
    assert aha.send("PUT", aha.child(child, f"/api-keys/{key['id']}"), idle).status == 400


def test_an_update_leaves_what_it_does_not_name(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.set_clock("2026-11-22T10:00:00Z")
    key = aha.create_key(child, ip_allow_list=["203.0.113.9"]).json
    admin.move_clock(seconds=60)
    answer = aha.send("PUT", aha.child(child, f"/api-keys/{key['id']}"), {"scopes": ["domains:read", "api-keys:read"]})
    assert scopes_of(answer.json) == ["domains:read", "api-keys:read"]
    assert answer.json["scopes"][0]["id"] == key["scopes"][1]["id"]  # the one that stays is the same one
    assert (answer.json["label"], answer.json["ip_allow_list"]) == ("portal", ["203.0.113.9/32"])
    assert (answer.json["created_at"], answer.json["updated_at"]) == ("2026-11-22T10:00:00Z", "2026-11-22T10:01:00Z")


def test_a_changed_scope_holds_at_once(aha: AhaSendClient, child: str) -> None:
    key = aha.create_key(child, scopes=["domains:read"]).json
    used = AhaSendClient(aha.base_url, key["secret_key"], child)
    assert used.send("GET", used.own("/domains")).status == 200
    aha.send("PUT", aha.child(child, f"/api-keys/{key['id']}"), {"scopes": ["api-keys:read"]})
    assert used.send("GET", used.own("/domains")).status == 403


def test_a_deleted_key_is_gone_and_works_no_more(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    key = aha.create_key(child).json
    path = aha.child(child, f"/api-keys/{key['id']}")
    answer = aha.send("DELETE", path)
    assert (answer.status, answer.json) == (
        200,
        {"message": f"api key {key['id']} (portal) deleted successfully"},
    )
    assert AhaSendClient(aha.base_url, key["secret_key"], child).send("GET", "/v2/ping").status == 401
    calls: list[tuple[str, Any]] = [("GET", None), ("PUT", {"label": "x"}), ("DELETE", None)]
    assert {aha.send(method, path, body).status for method, body in calls} == {404}
    assert aha.send("GET", aha.child(child, "/api-keys")).json["data"] == []
    assert [known["deleted_at"] is None for known in admin.aha.keys(child)] == [False]


def test_a_key_belongs_to_one_child(aha: AhaSendClient, child: str) -> None:
    key = aha.create_key(child).json["id"]
    other = aha.create_child("Globex").json["id"]
    for account in (other, NOBODY):
        for method in ("GET", "PUT", "DELETE"):
            assert aha.send(method, aha.child(account, f"/api-keys/{key}"), {"label": "x"}).status == 404
    assert aha.send("GET", aha.child(other, "/api-keys")).json["data"] == []
    assert aha.send("GET", aha.child(child, f"/api-keys/{NOBODY}")).status == 404


def test_a_suspended_childs_keys_can_be_managed_and_do_not_work(aha: AhaSendClient, child: str) -> None:
    aha.send("POST", aha.child(child, "/suspend"), {"reason": "Complaints"})
    key = aha.create_key(child)
    assert key.status == 201
    assert AhaSendClient(aha.base_url, key.json["secret_key"], child).send("GET", "/v2/ping").status == 401
    assert aha.send("DELETE", aha.child(child, f"/api-keys/{key.json['id']}")).status == 200


def test_the_list_of_keys_has_pages(aha: AhaSendClient, child: str) -> None:
    for number in range(3):
        aha.create_key(child, f"k{number}")
    path = aha.child(child, "/api-keys")
    first = aha.send("GET", f"{path}?limit=2").json
    second = aha.send("GET", f"{path}?limit=2&after={first['pagination']['next_cursor']}").json
    assert [key["label"] for key in first["data"] + second["data"]] == ["k0", "k1", "k2"]
    assert second["pagination"]["has_more"] is False
    other = aha.create_child("Globex").json["id"]
    foreign = f"{aha.child(other, '/api-keys')}?after={first['pagination']['next_cursor']}"
    assert aha.send("GET", foreign).status == 400  # another list's cursor
