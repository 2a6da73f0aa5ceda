"""AhaSend's sub accounts: made, read, changed, stopped, deleted, listed."""

import re
from typing import Any

import pytest

from tests.support.sandbox import AhaSendClient, SandboxAdmin

FIELDS = {
    "object",
    "id",
    "parent_account_id",
    "created_at",
    "name",
    "website",
    "status",
    "monthly_credit",
    "domain_count",
    "member_count",
    "last_activity_at",
}
LONG_HOST = ".".join(["a" * 60] * 4) + ".example.com"  # 255 characters


def test_a_new_one_is_there_at_once_with_every_field(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    answer = aha.create_child("Northwind Oy", monthly_credit=250_000)
    assert answer.status == 201
    assert set(answer.json) == FIELDS
    expected = {
        "object": "sub_account",
        "parent_account_id": aha.account,
        "created_at": "2026-11-02T10:00:00Z",
        "name": "Northwind Oy",
        "website": "northwind.test",
        "status": "active",
        "monthly_credit": 250_000,
        "domain_count": 0,
        "member_count": 0,
        "last_activity_at": None,
    }
    assert answer.json == {"id": answer.json["id"], **expected}
    assert re.fullmatch(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", answer.json["id"])
    assert aha.send("GET", aha.child(answer.json["id"])).json == answer.json


def test_neither_name_nor_website_is_unique(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    assert aha.create_child().json["id"] != aha.create_child().json["id"]
    assert len(admin.aha.accounts()) == 2


@pytest.mark.parametrize(
    ("given", "name"), [("  Northwind  ", "Northwind"), ("Ö" * 255, "Ö" * 255), (f" {'x' * 255} ", "x" * 255)]
)
def test_names_are_trimmed_and_counted_in_characters(aha: AhaSendClient, given: str, name: str) -> None:
    assert aha.create_child(given).json["name"] == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": None},
        {"name": ""},
        {"name": " \t "},
        {"name": "Ö" * 256},
        {"name": 7},
        {"website": None},
        {"website": ""},
        {"website": "northwind"},
        {"website": "https://northwind.test"},
        {"website": "northwind.test/shop"},
        {"website": "northwind.test:8080"},
        {"website": "192.0.2.7"},
        {"website": "-x.northwind.test"},
        {"website": "a..test"},
        {"website": "a" * 64 + ".test"},
        {"website": "a" + LONG_HOST},
        {"website": ["northwind.test"]},
        {"monthly_credit": -1},
        {"monthly_credit": 1_000_000_001},
        {"monthly_credit": 5.0},
        {"monthly_credit": True},
        {"monthly_credit": "5"},
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_on_create_and_on_update(
    aha: AhaSendClient, admin: SandboxAdmin, child: str, wrong: dict[str, Any]
) -> None:
    body = {"name": "Globex", "website": "globex.test", "monthly_credit": 5}
    assert aha.send("POST", aha.child(), {**body, **wrong}).status == 400
    before = aha.send("GET", aha.child(child)).json
    assert aha.send("PUT", aha.child(child), wrong).status == 400  # null alone is an empty update
    assert aha.send("GET", aha.child(child)).json == before
    assert len(admin.aha.accounts()) == 1


def test_limits_are_inclusive(aha: AhaSendClient) -> None:
    assert len(LONG_HOST) == 255
    for more in ({"website": LONG_HOST}, {"monthly_credit": 1_000_000_000}, {"monthly_credit": 0}):
        assert aha.create_child("Globex", **more).json.items() >= more.items()
    assert aha.create_child(monthly_credit=None).json["monthly_credit"] == 0


NOT_A_NUMBER = b'{"name": "x", "website": "x.test", "reason": "x", "label": "x", "scopes": ["domains:read"], "n": NaN}'


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', NOT_A_NUMBER, b"\xff"])
def test_what_is_no_object_is_refused(aha: AhaSendClient, child: str, body: bytes) -> None:
    assert aha.send("POST", aha.child(), body).status == 400
    assert aha.send("PUT", aha.child(child), body).status == 400
    assert aha.send("POST", aha.child(child, "/suspend"), body).status == 400
    assert aha.send("POST", aha.child(child, "/api-keys"), body).status == 400


@pytest.mark.parametrize(("switch", "status"), [("ignored", 201), ("refused", 400)])
def test_unknown_fields(aha: AhaSendClient, admin: SandboxAdmin, switch: str, status: int) -> None:
    admin.switch("aha_unknown_fields", switch)
    assert aha.create_child(colour="red").status == status


# --- update ---------------------------------------------------------------------------------------------


def test_an_update_changes_what_it_names(aha: AhaSendClient, child: str) -> None:
    before = aha.send("GET", aha.child(child)).json
    answer = aha.send("PUT", aha.child(child), {"name": " Globex ", "website": None, "monthly_credit": 7})
    assert answer.status == 200
    assert answer.json == {**before, "name": "Globex", "monthly_credit": 7}
    assert aha.send("GET", aha.child(child)).json == answer.json


@pytest.mark.parametrize(
    "body",
    [{}, {"name": None, "website": None}, {"colour": 1}, {"name": "Northwind Oy"}, {"name": " Northwind Oy "}],
    ids=str,
)
def test_an_empty_or_idle_update_is_refused(aha: AhaSendClient, child: str, body: dict[str, Any]) -> None:
    assert aha.send("PUT", aha.child(child), body).status == 400


def test_an_update_may_repeat_what_stays_beside_what_changes(aha: AhaSendClient, child: str) -> None:
    body = {"name": "Northwind Oy", "monthly_credit": 9}
    assert [aha.send("PUT", aha.child(child), body).status for _ in range(2)] == [200, 400]


def test_a_suspended_one_can_be_changed(aha: AhaSendClient, child: str) -> None:
    aha.send("POST", aha.child(child, "/suspend"), {"reason": "Complaints"})
    assert aha.send("PUT", aha.child(child), {"name": "Globex"}).json["status"] == "suspended"


# --- suspend and unsuspend ------------------------------------------------------------------------------


def test_suspended_and_back(aha: AhaSendClient, own: AhaSendClient, admin: SandboxAdmin) -> None:
    stopped = aha.send("POST", aha.child(own.account, "/suspend"), {"reason": " Two complaints "})
    assert (stopped.status, stopped.json["status"]) == (200, "suspended")
    assert "reason" not in stopped.json
    assert admin.aha.accounts()[0]["reason"] == "Two complaints"
    assert own.send("GET", own.own("/domains")).status == 401
    started = aha.send("POST", aha.child(own.account, "/unsuspend"))
    assert (started.status, started.json["status"]) == (200, "active")
    assert own.send("GET", own.own("/domains")).status == 200


@pytest.mark.parametrize("reason", [None, "", "  ", "x" * 501, 7])
def test_a_suspension_wants_a_reason(aha: AhaSendClient, child: str, reason: object) -> None:
    body = {} if reason is None else {"reason": reason}
    assert aha.send("POST", aha.child(child, "/suspend"), body).status == 400
    assert aha.send("GET", aha.child(child)).json["status"] == "active"
    assert aha.send("POST", aha.child(child, "/suspend"), {"reason": "ö" * 500}).status == 200


@pytest.mark.parametrize("status", [200, 400, 409])
def test_saying_it_twice_is_answered_as_the_switch_says(
    aha: AhaSendClient, admin: SandboxAdmin, child: str, status: int
) -> None:
    admin.switch("aha_repeated_state", status)
    reason = {"reason": "Complaints"}
    assert [aha.send("POST", aha.child(child, "/suspend"), reason).status for _ in range(2)] == [200, status]
    assert [aha.send("POST", aha.child(child, "/unsuspend")).status for _ in range(2)] == [200, status]
    assert aha.send("GET", aha.child(child)).json["status"] == "active"


def test_a_parents_suspension_covers_its_active_children(
    aha: AhaSendClient, own: AhaSendClient, admin: SandboxAdmin
) -> None:
    stopped = aha.create_child("Globex").json["id"]
    aha.send("POST", aha.child(stopped, "/suspend"), {"reason": "Complaints"})
    admin.aha.change(aha.account, status="suspended")
    assert aha.send("GET", aha.child()).status == 401
    assert own.send("GET", own.own("/domains")).status == 401
    statuses = {account["id"]: account["status"] for account in admin.aha.accounts()}
    assert statuses == {own.account: "parent-suspended", stopped: "suspended"}
    admin.aha.change(aha.account, status="active")
    statuses = {account["id"]: account["status"] for account in aha.send("GET", aha.child()).json["data"]}
    assert statuses == {own.account: "active", stopped: "suspended"}


@pytest.mark.parametrize(("switch", "status"), [(409, 409), (200, 200)])
def test_what_the_parent_stopped_cannot_be_lifted_here(
    aha: AhaSendClient, admin: SandboxAdmin, child: str, switch: int, status: int
) -> None:
    admin.switch("aha_unsuspend_parent_suspended", switch)
    admin.aha.change(child, status="parent-suspended")
    assert aha.send("POST", aha.child(child, "/unsuspend")).status == status
    assert aha.send("GET", aha.child(child)).json["status"] == "parent-suspended"


def test_a_status_nobody_knows_can_be_shown(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.aha.change(child, status="hibernating")
    assert aha.send("GET", aha.child(child)).json["status"] == "hibernating"
    admin.aha.change(child, status="active")
    assert aha.send("GET", aha.child(child)).json["status"] == "active"


# --- delete ---------------------------------------------------------------------------------------------


def test_a_deleted_one_is_gone_from_everywhere(aha: AhaSendClient, own: AhaSendClient, admin: SandboxAdmin) -> None:
    path = aha.child(own.account)
    key = aha.create_key(own.account).json["id"]
    answer = aha.send("DELETE", path)
    assert (answer.status, set(answer.json)) == (200, {"message"})
    assert aha.send("GET", aha.child()).json["data"] == []
    calls: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("PUT", "", {"name": "x"}),
        ("DELETE", "", None),
        ("POST", "/suspend", {"reason": "x"}),
        ("POST", "/unsuspend", None),
        ("GET", "/api-keys", None),
        ("POST", "/api-keys", {"label": "x", "scopes": ["domains:read"]}),
        ("GET", f"/api-keys/{key}", None),
        ("PUT", f"/api-keys/{key}", {"label": "x"}),
        ("DELETE", f"/api-keys/{key}", None),
    ]
    assert {aha.send(method, path + rest, body).status for method, rest, body in calls} == {404}
    assert own.send("GET", own.own("/domains")).status == 401
    assert [account["status"] for account in admin.aha.accounts()] == ["deleted"]


# --- the list -------------------------------------------------------------------------------------------


def pages(aha: AhaSendClient, limit: int) -> list[dict[str, Any]]:
    """All pages from the first one, following `next_cursor` while there is more."""
    seen = []
    cursor = ""
    for _ in range(50):
        seen.append(aha.send("GET", f"{aha.child()}?limit={limit}{cursor}").json)
        if not seen[-1]["pagination"]["has_more"]:
            break
        cursor = f"&after={seen[-1]['pagination']['next_cursor']}"
    return seen


def names_of(page: dict[str, Any]) -> list[str]:
    return [account["name"] for account in page["data"]]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_hold_everyone_once_in_order(aha: AhaSendClient, admin: SandboxAdmin, limit: int) -> None:
    admin.aha.add_accounts([{"name": f"n{number}"} for number in range(7)])
    seen = pages(aha, limit)
    assert [name for page in seen for name in names_of(page)] == [f"n{number}" for number in range(7)]
    assert {page["object"] for page in seen} == {"list"}
    assert {len(page["data"]) for page in seen[:-1]} <= {limit}
    assert "next_cursor" not in seen[-1]["pagination"]
    assert "previous_cursor" not in seen[0]["pagination"]


def test_a_hundred_is_the_default_and_the_most(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.aha.add_accounts([{"name": f"n{number}"} for number in range(101)])
    first = aha.send("GET", aha.child()).json
    assert (len(first["data"]), first["pagination"]["has_more"]) == (100, True)
    assert len(aha.send("GET", f"{aha.child()}?limit=100").json["data"]) == 100


def test_before_leads_back_to_the_start(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.aha.add_accounts([{"name": f"n{number}"} for number in range(5)])
    last = pages(aha, 2)[-1]
    middle = aha.send("GET", f"{aha.child()}?limit=2&before={last['pagination']['previous_cursor']}").json
    assert names_of(middle) == ["n2", "n3"]
    assert middle["pagination"]["has_more"] is True
    first = aha.send("GET", f"{aha.child()}?limit=2&before={middle['pagination']['previous_cursor']}").json
    assert names_of(first) == ["n0", "n1"]
    assert "previous_cursor" not in first["pagination"]
    again = aha.send("GET", f"{aha.child()}?limit=2&after={first['pagination']['next_cursor']}").json
    assert names_of(again) == ["n2", "n3"]


@pytest.mark.parametrize("order", ["created", "reversed"])
def test_inserts_and_deletes_between_pages_move_nobody(aha: AhaSendClient, admin: SandboxAdmin, order: str) -> None:
    admin.switch("aha_list_order", order)
    made = admin.aha.add_accounts([{"name": f"n{number}"} for number in range(6)])
    first = aha.send("GET", f"{aha.child()}?limit=3").json
    aha.send("DELETE", aha.child(first["data"][-1]["id"]))  # also the one the cursor stands at
    aha.create_child("late")
    second = aha.send("GET", f"{aha.child()}?limit=10&after={first['pagination']['next_cursor']}").json
    seen = {account["id"] for page in (first, second) for account in page["data"]}
    assert {account["id"] for account in made} <= seen
    assert len(first["data"] + second["data"]) == (7 if order == "created" else 6)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=1.0",
        "after=nonsense",
        "before=nonsense",
        "after=eyJsaXN0IjogImtleXMiLCAiYXQiOiAxfQ==",
    ],
)
def test_a_query_that_does_not_fit_is_refused(aha: AhaSendClient, child: str, query: str) -> None:
    assert aha.send("GET", f"{aha.child()}?{query}").status == 400
    assert aha.send("GET", f"{aha.child(child, '/api-keys')}?{query}").status == 400


def test_both_cursors_together_are_refused(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.aha.add_accounts([{"name": f"n{number}"} for number in range(3)])
    cursor = pages(aha, 1)[0]["pagination"]["next_cursor"]
    assert aha.send("GET", f"{aha.child()}?after={cursor}&before={cursor}").status == 400
    assert aha.send("GET", f"{aha.child()}?after=&before=").status == 200  # an empty one is none
    assert aha.send("GET", f"{aha.child()}?after={cursor}").status == 200


@pytest.mark.parametrize(
    ("odd", "expected"),
    [("missing", ["n0", "n0", "n0"]), ("stuck", ["n0", "n1", "n1"]), ("loop", ["n0", "n0", "n0"])],
)
def test_lists_can_lie_about_their_end(aha: AhaSendClient, admin: SandboxAdmin, odd: str, expected: list[str]) -> None:
    admin.aha.add_accounts([{"name": f"n{number}"} for number in range(5)])
    admin.switch("aha_list_cursor", odd)
    cursor, names = "", []
    for _ in range(3):
        page = aha.send("GET", f"{aha.child()}?limit=1{cursor}").json
        assert page["pagination"]["has_more"] is True
        names.append(names_of(page)[0])
        cursor = f"&after={page['pagination'].get('next_cursor', '')}"
    assert names == expected


def test_a_new_one_can_be_slow_to_appear(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.switch("aha_list_lag_seconds", 60)
    child = aha.create_child().json["id"]
    assert aha.send("GET", aha.child()).json["data"] == []
    assert aha.send("GET", aha.child(child)).status == 200
    admin.move_clock(seconds=60)
    assert len(aha.send("GET", aha.child()).json["data"]) == 1
