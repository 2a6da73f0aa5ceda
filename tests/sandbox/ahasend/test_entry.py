"""Who may come in at AhaSend, in which order that is checked, and how it is said."""

import time
from typing import Any

import pytest

from tests.support.sandbox import AhaSendClient, SandboxAdmin, SandboxClient, SandboxProcess

NOBODY = "00000000-0000-4000-8000-000000000000"
SCOPES = {
    "sub-accounts:read": [("GET", ""), ("GET", "/ID")],
    "sub-accounts:write": [("POST", ""), ("PUT", "/ID")],
    "sub-accounts:delete": [("DELETE", "/ID")],
    "sub-accounts:suspend": [
        ("POST", "/ID/suspend"),
        ("POST", "/ID/unsuspend"),
        ("POST", "/ID/domains/a.northwind.test/unpause"),
    ],
    "sub-accounts:usage": [("GET", "/usage")],
    "sub-account-api-keys:read": [("GET", "/ID/api-keys"), ("GET", "/ID/api-keys/ID")],
    "sub-account-api-keys:write": [("POST", "/ID/api-keys"), ("PUT", "/ID/api-keys/ID")],
    "sub-account-api-keys:delete": [("DELETE", "/ID/api-keys/ID")],
}
EVERY_PATH = [call for calls in SCOPES.values() for call in calls]


def sent(client: AhaSendClient, child: str, method: str, path: str) -> int:
    body: dict[str, Any] | None = {} if method in ("POST", "PUT") else None
    return client.send(method, f"{client.child()}{path.replace('ID', child)}", body).status


def test_ping_answers_any_key(aha: AhaSendClient, own: AhaSendClient) -> None:
    for client in (aha, own):
        answer = client.send("GET", "/v2/ping")
        assert (answer.status, answer.json) == (200, {"message": "pong"})


@pytest.mark.parametrize("header", [{}, {"Authorization": "aha-sk-x"}, {"Authorization": "Basic aha-sk-x"}])
@pytest.mark.parametrize("status", [401, 400])
def test_a_missing_token_is_refused_as_the_switch_says(
    *, sandbox: SandboxProcess, admin: SandboxAdmin, header: dict[str, str], status: int
) -> None:
    admin.switch("aha_missing_bearer", status)
    answer = SandboxClient(sandbox.base_url, None).send("GET", "/v2/ping", headers=header)
    assert answer.status == status
    assert set(answer.json) == {"message"}


@pytest.mark.parametrize("key", ["aha-sk-" + "x" * 64, "SG.unknown.key", "sandbox-key-global"])
def test_an_unknown_key_is_refused(aha: AhaSendClient, key: str) -> None:
    assert AhaSendClient(aha.base_url, key, aha.account).send("GET", "/v2/ping").status == 401
    assert AhaSendClient(aha.base_url, key, "x").send("GET", "/v2/accounts/x/sub-accounts").status == 401


def test_a_revoked_key_is_refused(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    secret = admin.aha.add_key(aha.account, label="spare")
    spare = AhaSendClient(aha.base_url, secret, aha.account)
    assert spare.send("GET", spare.child()).status == 200
    admin.aha.revoke_key(next(key["id"] for key in admin.aha.keys(aha.account) if key["label"] == "spare"))
    assert spare.send("GET", spare.child()).status == 401


def test_a_key_works_for_its_own_account_only(aha: AhaSendClient, own: AhaSendClient, admin: SandboxAdmin) -> None:
    other = admin.aha.add_parent(name="Other")
    theirs = AhaSendClient(aha.base_url, other["key"], other["id"])
    assert theirs.send("GET", theirs.child()).status == 200
    assert theirs.send("GET", aha.child()).status == aha.send("GET", theirs.child()).status == 401
    assert aha.send("GET", own.own("/domains")).status == 401
    assert theirs.send("GET", theirs.child(own.account)).status == 404


def test_a_child_key_is_refused_on_sub_account_paths(aha: AhaSendClient, own: AhaSendClient) -> None:
    for method, path in EVERY_PATH:
        assert own.send(method, aha.child() + path.replace("ID", own.account), {}).status == 401
        assert sent(own, own.account, method, path) == 403


@pytest.mark.parametrize(("method", "path"), EVERY_PATH)
def test_every_path_wants_its_scope(
    *, aha: AhaSendClient, admin: SandboxAdmin, child: str, method: str, path: str
) -> None:
    scope = next(scope for scope, calls in SCOPES.items() if (method, path) in calls)
    lacking = AhaSendClient(aha.base_url, admin.aha.add_key(aha.account, missing_scopes=[scope]), aha.account)
    having = AhaSendClient(aha.base_url, admin.aha.add_key(aha.account, scopes=[scope]), aha.account)
    assert sent(lacking, child, method, path) == 403
    assert sent(having, child, method, path) != 403


@pytest.mark.parametrize(("method", "path"), EVERY_PATH)
def test_without_early_access_every_sub_account_path_is_refused(
    *, aha: AhaSendClient, admin: SandboxAdmin, child: str, method: str, path: str
) -> None:
    admin.switch("aha_early_access", False)
    assert sent(aha, child, method, path) == 403
    assert aha.send("GET", "/v2/ping").status == 200
    assert aha.send("GET", aha.own("/domains")).status == 200


@pytest.mark.parametrize(
    ("entries", "source", "status"),
    [
        ([], "", 200),
        (["127.0.0.1"], "", 200),
        (["127.0.0.0/8"], "", 200),
        (["203.0.113.0/24"], "", 403),
        (["203.0.113.0/24"], "203.0.113.77", 200),
        (["203.0.113.0/24"], "203.0.114.1", 403),
        (["2001:db8::/32"], "2001:db8::7", 200),
        (["2001:db8::/32"], "203.0.113.7", 403),
        (["203.0.113.0/24"], "::ffff:203.0.113.7", 200),
    ],
)
def test_an_allow_list_keeps_everyone_else_out(
    *, aha: AhaSendClient, admin: SandboxAdmin, entries: list[str], source: str, status: int
) -> None:
    admin.switch("aha_client_ip", source)
    secret = admin.aha.add_key(aha.account, ip_allow_list=entries)
    kept_in = AhaSendClient(aha.base_url, secret, aha.account)
    assert kept_in.send("GET", "/v2/ping").status == status
    assert kept_in.send("GET", kept_in.child()).status == status


@pytest.mark.parametrize("path", ["nobody", NOBODY.replace("-", ""), NOBODY + "0", "%7B" + NOBODY + "%7D"])
def test_every_id_must_be_a_uuid(aha: AhaSendClient, child: str, path: str) -> None:
    assert aha.send("GET", f"/v2/accounts/{path}/sub-accounts").status == 400
    for method, rest in EVERY_PATH:
        if "ID" in rest:
            assert sent(aha, path, method, rest) == 400
    for method in ("GET", "PUT", "DELETE"):
        assert aha.send(method, aha.child(child, f"/api-keys/{path}"), {"label": "x"}).status == 400


def test_ids_are_the_same_in_any_case(aha: AhaSendClient, child: str) -> None:
    assert aha.send("GET", f"/v2/accounts/{aha.account.upper()}/sub-accounts/{child.upper()}").status == 200


def test_the_order_of_the_checks(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    """Of two things wrong the earlier is said: key, allow list, account, suspension, scope, validation, existence."""
    elsewhere = {"ip_allow_list": ["192.0.2.1"]}
    outside = AhaSendClient(aha.base_url, admin.aha.add_key(aha.account, **elsewhere), NOBODY)
    assert outside.send("GET", outside.child()).status == 403  # before: not its account
    reader = AhaSendClient(aha.base_url, admin.aha.add_key(aha.account, scopes=["sub-accounts:read"]), aha.account)
    assert reader.send("PUT", reader.child("nobody"), b"{").status == 403  # before: no id, no JSON
    assert aha.send("PUT", aha.child(NOBODY), {"monthly_credit": -1}).status == 400  # before: nobody
    assert aha.send("PUT", aha.child(NOBODY), {"monthly_credit": 1}).status == 404
    admin.aha.change(aha.account, status="suspended")
    assert reader.send("PUT", reader.child("nobody"), b"{").status == 401
    assert AhaSendClient(aha.base_url, aha.key, "nobody").send("GET", "/v2/accounts/nobody/sub-accounts").status == 400


def test_errors_are_a_message_and_nothing_else(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.arm("status-502", "aha-usage")
    answers = [
        aha.send("GET", "/v2/nothing"),
        aha.send("PATCH", aha.child()),
        aha.send("QUERY", aha.child()),
        aha.send("POST", aha.child(), b"{"),
        aha.send("GET", aha.child(NOBODY)),
        aha.send("GET", aha.child("usage")),
        AhaSendClient(aha.base_url, None, aha.account).send("GET", "/v2/ping"),
    ]
    assert [answer.status for answer in answers] == [404, 405, 405, 400, 404, 502, 401]
    for answer in answers:
        assert set(answer.json) == {"message"}
        assert answer.json["message"]
        assert answer.header("Content-Type") == "application/json"
    assert answers[1].header("Allow") == "GET, POST"


def test_usage_is_no_id(aha: AhaSendClient) -> None:
    answers = [aha.send(method, aha.child("usage")) for method in ("PUT", "DELETE")]
    assert [(answer.status, answer.header("Allow")) for answer in answers] == [(405, "GET")] * 2


def test_texts_can_be_made_worthless(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    plain = aha.send("GET", aha.child(NOBODY)).json
    refused = aha.create_child(" ", key="a")
    admin.switch("aha_random_texts", True)
    shuffled = aha.send("GET", aha.child(NOBODY)).json
    assert set(shuffled) == {"message"}
    assert shuffled != plain
    assert aha.create_child(" ", key="a").json not in (refused.json, shuffled)
    assert aha.send("GET", aha.child(NOBODY)).json == shuffled  # the same one for a run
    assert aha.send("GET", "/v2/ping").json == {"message": "pong"}


def test_every_answer_has_a_request_id_of_its_own(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    answers = [aha.create_child(key="a"), aha.create_child(key="a"), aha.send("GET", "/v2/nothing")]
    seen = {answer.header("X-Request-Id") for answer in answers}
    assert len(seen) == 3
    assert seen == {f"sandbox-{line['id']}" for line in admin.requests()}
    assert {answer.header("X-RateLimit-Limit") for answer in answers} == {None}  # none are documented


def test_the_bucket_runs_dry_and_fills_by_the_clock(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.call("PUT", "switches", {"aha_rate": 0.001, "aha_burst": 3})
    seen = [aha.send("GET", "/v2/ping") for _ in range(4)]
    assert [answer.status for answer in seen] == [200, 200, 200, 429]
    assert (set(seen[3].json), seen[3].header("Retry-After")) == ({"message"}, None)
    admin.move_clock(seconds=2_000)
    assert [aha.send("GET", "/v2/ping").status for _ in range(3)] == [200, 200, 429]
    admin.switch("aha_rate_retry_after", 4)
    assert aha.send("GET", "/v2/ping").header("Retry-After") == "4"
    admin.switch("aha_rate", 0)
    assert {aha.send("GET", "/v2/ping").status for _ in range(10)} == {200}


def test_the_bucket_is_an_accounts_and_not_a_keys(aha: AhaSendClient, own: AhaSendClient, admin: SandboxAdmin) -> None:
    spare = AhaSendClient(aha.base_url, admin.aha.add_key(aha.account), aha.account)
    admin.call("PUT", "switches", {"aha_rate": 0.001, "aha_burst": 1})
    assert [client.send("GET", "/v2/ping").status for client in (aha, spare, own, own)] == [200, 429, 200, 429]


def test_a_clock_that_stands_still_starves_nobody(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    admin.call("PUT", "switches", {"aha_rate": 20, "aha_burst": 1})
    seen = set()
    deadline = time.monotonic() + 60
    while seen != {200, 429} and time.monotonic() < deadline:
        seen.add(aha.send("GET", "/v2/ping").status)
    time.sleep(0.06)
    assert aha.send("GET", "/v2/ping").status == 200


def test_by_default_two_hundred_go_at_once(aha: AhaSendClient) -> None:
    """As much as is documented: 100 a second, 200 in a burst."""
    assert {aha.send("GET", "/v2/ping").status for _ in range(200)} == {200}


def test_statistics_have_one_call_a_second(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.switch("aha_statistics_rate", 0.001)
    path = aha.own("/statistics/transactional/deliverability")
    assert [aha.send("GET", path).status for _ in range(2)] == [200, 429]
    assert aha.send("GET", "/v2/ping").status == 200
    admin.move_clock(seconds=1_000)
    assert aha.send("GET", path).status == 200


def test_when_a_key_was_used_is_told_every_five_minutes(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.set_clock("2026-12-02T10:00:00Z")
    key = aha.create_key(child).json
    used = AhaSendClient(aha.base_url, key["secret_key"], child)
    path = aha.child(child, f"/api-keys/{key['id']}")
    seen = []
    for seconds in (0, 299, 1):
        admin.move_clock(seconds=seconds)
        used.send("GET", "/v2/ping")
        seen.append(aha.send("GET", path).json["last_used_at"])
    assert key["last_used_at"] is None
    assert seen == ["2026-12-02T10:00:00Z", "2026-12-02T10:00:00Z", "2026-12-02T10:05:00Z"]
