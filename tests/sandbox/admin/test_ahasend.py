"""AhaSend in the admin plane, in the log, at the start, and in a file that an older sandbox made."""

import sqlite3
from pathlib import Path

import pytest

from tests.support.sandbox import AHASEND_ACCOUNT, AHASEND_KEY, AhaSendClient, SandboxAdmin, SandboxProcess


def test_the_greeting_names_key_and_account(sandbox: SandboxProcess) -> None:
    text = "\n".join(sandbox.greeting)
    assert (sandbox.ahasend_key, sandbox.ahasend_account) == (AHASEND_KEY, AHASEND_ACCOUNT)
    assert AHASEND_KEY in text
    assert AHASEND_ACCOUNT in text
    assert f"AhaSend base URL        {sandbox.base_url}" in text


def test_the_truth_about_accounts_includes_the_deleted(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    made = admin.aha.add_accounts([{"name": f"n{number}"} for number in range(3)])
    aha.send("POST", aha.child(made[0]["id"], "/suspend"), {"reason": "Complaints"})
    aha.send("DELETE", aha.child(made[1]["id"]))
    seen = admin.call("GET", "aha/accounts")
    assert (seen["count"], seen["counts"]) == (3, {"suspended": 1, "deleted": 1, "active": 1})
    assert [account["deleted_at"] for account in seen["accounts"]] == [None, "2026-11-02T10:00:00Z", None]
    assert {account["created_at"] for account in seen["accounts"]} == {"2026-11-02T10:00:00Z"}
    assert {account["parent"] for account in seen["accounts"]} == {aha.account}
    assert admin.aha.accounts(admin.aha.add_parent()["id"]) == []


def test_the_console_changes_what_it_likes(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.aha.change(child, name="Renamed", website="renamed.test", monthly_credit=9, member_count=4)
    seen = aha.send("GET", aha.child(child)).json
    assert (seen["name"], seen["website"], seen["monthly_credit"], seen["member_count"]) == (
        "Renamed",
        "renamed.test",
        9,
        4,
    )
    admin.aha.delete(child)
    assert aha.send("GET", aha.child(child)).status == 404


def test_the_console_changes_a_parents_own_key(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    (key,) = admin.aha.keys(aha.account)
    assert key["label"] == "default"
    admin.aha.change_key(key["id"], scopes=["sub-accounts:read"], ip_allow_list=["127.0.0.1"])
    assert aha.send("GET", aha.child()).status == 200
    assert aha.create_child().status == 403
    admin.aha.change_key(key["id"], ip_allow_list=["192.0.2.1"])
    assert aha.send("GET", aha.child()).status == 403
    admin.aha.revoke_key(key["id"])
    assert aha.send("GET", aha.child()).status == 401


def test_the_log_tells_who_asked_for_what(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    child = aha.create_child().json["id"]
    aha.send("POST", aha.child(child, "/suspend"), {"reason": "Complaints"})
    made, stopped = admin.requests()
    assert (made["operation"], made["account"], made["status"]) == ("aha-create", child, 201)
    assert (stopped["operation"], stopped["account"], stopped["key_label"]) == ("aha-suspend", child, "default")
    assert (stopped["organisation"], stopped["body"]) == (aha.account, '{"reason": "Complaints"}')
    assert AHASEND_KEY not in str(admin.requests())


def test_a_reset_brings_back_the_start(aha: AhaSendClient, own: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.aha.add_parent(name="Other")
    admin.aha.add_domain(own.account, "mail.northwind.test", verified=True)
    body = {"from": {"email": "a@mail.northwind.test"}, "recipients": [{"email": "b@c.example"}]}
    assert own.send("POST", own.own("/messages"), {**body, "subject": "x", "text_content": "x"}).status == 202
    aha.create_child(key="a")
    admin.aha.change(aha.account, status="suspended")
    admin.reset()
    assert (admin.aha.accounts(), admin.aha.kept()) == ([], [])
    assert [parent["id"] for parent in admin.call("GET", "aha/parents")["parents"]] == [aha.account]
    assert aha.send("GET", aha.child()).status == 200
    assert own.send("GET", "/v2/ping").status == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PATCH", "aha/accounts/nobody", {}, 404),
        ("POST", "aha/accounts/nobody/usage", {"count": 1}, 404),
        ("POST", "aha/accounts/CHILD/usage", {"count": 1.5}, 400),
        ("PATCH", "aha/accounts/CHILD", {"sending": {"colour": 1}}, 400),
        ("PATCH", "aha/accounts/CHILD", {"colour": 1}, 400),
        ("POST", "aha/accounts", {}, 400),
        ("POST", "aha/accounts", {"name": "x", "colour": 1}, 400),
        ("POST", "aha/accounts", {"name": "x", "parent": "nobody"}, 400),
        ("POST", "aha/accounts/CHILD/keys", {"ip_allow_list": ["0.0.0.0/0"]}, 400),
        ("DELETE", "aha/keys/nothing", None, 404),
        ("PATCH", "aha/accounts/CHILD/domains/none.test", {}, 404),
        ("PATCH", "aha/accounts/CHILD/domains/mail.northwind.test", {"in_place": {"dkim": True}}, 400),
        ("POST", "aha/parents", {"id": AHASEND_ACCOUNT}, 400),
        ("PUT", "switches", {"aha_default_sending": {"colour": 1}}, 400),
        ("PUT", "switches", {"aha_rate": -1}, 400),
    ],
)
def test_what_cannot_be_is_refused(
    *, admin: SandboxAdmin, child: str, method: str, path: str, body: object, status: int
) -> None:
    admin.aha.add_domain(child, "mail.northwind.test")
    before = (admin.aha.accounts(), admin.aha.keys(child), admin.call("GET", "switches"))
    with pytest.raises(AssertionError, match=str(status)):
        admin.call(method, path.replace("CHILD", child), body)
    assert before == (admin.aha.accounts(), admin.aha.keys(child), admin.call("GET", "switches"))


def test_the_admin_plane_wants_its_own_key(sandbox: SandboxProcess) -> None:
    headers = {"X-Sandbox-Admin": sandbox.ahasend_key}
    assert sandbox.ahasend.send("GET", "/_admin/aha/accounts", headers=headers).status == 401


def test_everything_is_kept_across_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "sandbox.sqlite3"
    with SandboxProcess(data=data) as sandbox:
        first = sandbox.ahasend.create_child(key="a")
        secret = sandbox.ahasend.create_key(first.json["id"]).json["secret_key"]
        sandbox.admin.arm("crash-before", "aha-create")
        with pytest.raises(ConnectionResetError):
            sandbox.ahasend.create_child(key="b")
    with SandboxProcess(data=data) as sandbox:
        assert sandbox.ahasend.create_child(key="a").body == first.body
        assert sandbox.ahasend.create_child(key="b").status == 409
        assert AhaSendClient(sandbox.base_url, secret, first.json["id"]).send("GET", "/v2/ping").status == 200


def test_a_file_from_before_gets_what_it_lacks(tmp_path: Path) -> None:
    data = tmp_path / "sandbox.sqlite3"
    with SandboxProcess(data=data) as sandbox:
        account = sandbox.client.create().json["account_id"]
    older = sqlite3.connect(data)
    older.execute("DROP VIEW aha_account_seen")
    for (table,) in older.execute(
        "SELECT name FROM sqlite_master WHERE name GLOB 'aha_*' AND type = 'table'"
    ).fetchall():
        older.execute(f"DROP TABLE {table}")
    older.execute("DELETE FROM meta WHERE name GLOB '*aha*'")
    older.execute("DROP TABLE own_switch")
    older.execute("DROP TABLE override")
    older.execute("ALTER TABLE usage_added DROP COLUMN sender")
    older.execute("INSERT INTO usage_added (account, at, requests) VALUES (?, 0, 5)", (account,))
    older.commit()
    older.close()
    with SandboxProcess(data=data) as sandbox:
        assert [row["id"] for row in sandbox.admin.accounts()] == [account]
        sandbox.admin.add_usage(account, 5)
        sandbox.admin.change_account(account, switches={"stats_subusers": False})
        assert sandbox.admin.truth(account)[0]["cycles"][0]["used"] == 5
        assert sandbox.ahasend.create_child().status == 201


def test_key_and_account_may_change_between_starts(tmp_path: Path) -> None:
    data = tmp_path / "sandbox.sqlite3"
    with SandboxProcess(data=data) as sandbox:
        sandbox.ahasend.create_child()
    other = "11111111-2222-4333-8444-555555555555"
    with SandboxProcess("--ahasend-key", "aha-sk-another", "--ahasend-account", other, data=data) as sandbox:
        assert sandbox.ahasend.send("GET", "/v2/ping").status == 200  # the older parent keeps its key
        moved = AhaSendClient(sandbox.base_url, "aha-sk-another", other)
        assert moved.send("GET", moved.child()).json["data"] == []
        assert sandbox.admin.aha.accounts()[0]["parent"] == AHASEND_ACCOUNT
    with SandboxProcess("--ahasend-key", "aha-sk-third", data=data) as sandbox:
        assert sandbox.ahasend.send("GET", "/v2/ping").status == 401
        third = AhaSendClient(sandbox.base_url, "aha-sk-third", AHASEND_ACCOUNT)
        assert len(third.send("GET", third.child()).json["data"]) == 1
