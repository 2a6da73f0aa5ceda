"""The admin plane: its key, the clock, the log, the truth, and the way back to the start."""

from datetime import UTC, datetime, timedelta

import pytest

from portal.sandbox import app
from portal.sandbox.messages import Request
from portal.sandbox.seed import Start
from portal.sandbox.store import Store
from tests.support.sandbox import SandboxAdmin, SandboxClient, SandboxProcess

ACCOUNTS = "/v3/partners/accounts"


@pytest.mark.parametrize("key", [None, "", "guess", "sandbox-key-global"])
def test_nothing_answers_without_the_key(sandbox: SandboxProcess, key: str | None) -> None:
    headers = {} if key is None else {"X-Sandbox-Admin": key}
    for path in ("/_admin", "/_admin/accounts", "/_admin/reset", "/_admin/nothing"):
        for method in ("GET", "POST"):
            assert sandbox.client.send(method, path, headers=headers).status == 401


def test_no_provider_path_leads_to_it(sandbox: SandboxProcess) -> None:
    headers = {"X-Sandbox-Admin": sandbox.admin_key}
    for path in ("/v3/_admin/accounts", "/v3/../_admin/accounts", "/apiv2/_admin/accounts"):
        assert sandbox.client.send("GET", path, headers=headers).status == 404


def test_the_clock_moves_stands_still_and_ticks(client: SandboxClient, admin: SandboxAdmin) -> None:
    assert admin.set_clock("2027-03-01T12:00:00Z") == admin.now() == "2027-03-01T12:00:00Z"
    assert admin.move_clock(seconds=-3600) == "2027-03-01T11:00:00Z"
    client.create()
    assert client.send("GET", ACCOUNTS).json["accounts"][0]["created_at"] == "2027-03-01T11:00:00Z"
    assert client.send("GET", ACCOUNTS).header("Date") == "Mon, 01 Mar 2027 11:00:00 GMT"
    ticking = admin.call("POST", "clock", {"frozen": False})
    assert ticking["now"].startswith("2027-03-01T11:00:0")
    assert admin.call("GET", "clock")["epoch"] > ticking["epoch"]
    admin.call("POST", "clock", {"reset": True})
    assert abs(datetime.fromisoformat(admin.now()) - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_log_keeps_what_came_and_no_secret(sandbox: SandboxProcess, admin: SandboxAdmin) -> None:
    body = {"profile": {"email": "ops@northwind.test", "first_name": "SG.abcdefghijklmnop.leak"}, "offerings": []}
    answer = sandbox.client.send("POST", ACCOUNTS, body)
    (line,) = admin.requests("create")
    assert (line["method"], line["path"], line["status"]) == ("POST", ACCOUNTS, 400)
    assert (line["organisation"], line["region"], line["key_label"]) == ("reseller-global", "global", "default")
    assert "ops@northwind.test" in line["body"]
    assert "SG.abc" not in line["body"]
    assert sandbox.key not in str(admin.requests())
    assert answer.header("X-Request-Id") == f"sandbox-{line['id']}"
    sandbox.client.send("GET", f"{ACCOUNTS}?limit=5")
    assert [later["path"] for later in admin.requests(since=line["id"])] == [f"{ACCOUNTS}?limit=5"]
    assert admin.requests()[-1]["leaked"] is False


def test_the_log_keeps_its_latest_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "LOG_KEPT", 20)
    monkeypatch.setattr(app, "PRUNE_EVERY", 10)
    store = Store(":memory:")
    served = app.Application(store, Start())
    for _ in range(75):
        served.handle(Request("GET", "/v3/nothing", {}, {}, b""))
    kept = [row["id"] for row in store.db.execute("SELECT id FROM request_log ORDER BY id")]
    store.close()
    assert kept == list(range(51, 76))


def test_a_bearer_key_in_the_url_is_a_leak(sandbox: SandboxProcess, admin: SandboxAdmin) -> None:
    sandbox.client.send("GET", f"{ACCOUNTS}?limit=5&api_key={sandbox.key}")
    sandbox.client.send("GET", f"{ACCOUNTS}?limit=5&token={sandbox.key}")
    assert [line["leaked"] for line in admin.requests()] == [True, True]
    assert sandbox.key not in str(admin.requests())


def test_no_answer_echoes_a_key(sandbox: SandboxProcess) -> None:
    for path in (ACCOUNTS, f"/v3/{sandbox.key}", "/v3/user/username", f"{ACCOUNTS}/{sandbox.key}/state"):
        answer = sandbox.client.send("GET", path)
        assert sandbox.key.encode() not in answer.body + str(answer.headers).encode()


def test_the_truth_knows_deleted_accounts_and_days(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T00:00:00Z")
    account = client.create().json["account_id"]
    admin.set_sending(account, per_day=1_000)
    admin.move_clock(seconds=36 * 3_600)
    client.send("DELETE", f"{ACCOUNTS}/{account}")
    admin.move_clock(seconds=36 * 3_600)
    (seen,) = admin.truth(days=True)
    assert seen["deleted_at"] == "2026-11-03T12:00:00Z"
    assert seen["days"] == {"2026-11-02": 1_000, "2026-11-03": 500}
    assert seen["cycles"] == [
        {
            "start": "2026-11-02",
            "next_reset": "2026-12-02",
            "starts_at": "2026-11-02T00:00:00Z",
            "resets_at": "2026-12-02T00:00:00Z",
            "allowed": 100_000,
            "attempted": 1_500,
            "used": 1_500,
            "overage": 0,
            "counted": 1_500,
            "subusers": 0,
            "marketing": 0,
            "over": False,
        }
    ]


def test_accounts_are_counted_by_state(client: SandboxClient, admin: SandboxAdmin) -> None:
    made = admin.add_accounts([{"email": f"{number}@northwind.test"} for number in range(5)])
    admin.set_state(made[0]["id"], "suspended")
    client.send("DELETE", f"{ACCOUNTS}/{made[1]['id']}")
    seen = admin.call("GET", "accounts")
    assert (seen["count"], seen["counts"]) == (5, {"suspended": 1, "deleted": 1, "activated": 3})


def test_history_may_be_written_into_the_past(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-20T00:00:00Z")
    born = {"created_at": "2026-11-01", "sending": {"per_day": 1_000}}
    account = admin.add_account(**born, state="suspended", state_at="2026-11-11")
    assert client.behalf("/v3/user/credits", account["id"]).json["used"] == 10_000
    admin.add_usage(account["id"], 5, at="2026-11-05T10:00:00Z")
    assert client.behalf("/v3/user/credits", account["id"]).json["used"] == 10_005


def test_reset_brings_back_the_start(sandbox: SandboxProcess, admin: SandboxAdmin) -> None:
    sandbox.client.create()
    admin.arm("reset", "*")
    admin.switch("credits", "403")
    admin.set_clock("2030-01-01")
    admin.put_offering("postkeeper.x.new.v1")
    admin.add_key(label="extra")
    admin.reset()
    assert (admin.accounts(), admin.faults(), admin.requests()) == ([], [], [])
    assert admin.call("GET", "switches")["switches"]["credits"] == "ok"
    assert admin.now()[:4] != "2030"
    assert [key["label"] for key in admin.call("GET", "keys")["keys"]] == ["default", "default"]
    assert len(admin.call("GET", "catalogue")["catalogue"]) == 20
    assert sandbox.client.send("GET", ACCOUNTS).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "switches", {"gravity": False}, 400),
        ("PUT", "switches", {"v2_retired": 500}, 400),
        ("PUT", "switches", {"list_bare": 1}, 400),
        ("PUT", "switches", {"clock_skew_seconds": "an hour"}, 400),
        ("PUT", "switches", {"list_page_cap": -1}, 400),
        ("PUT", "switches", {"email_form": "lower"}, 400),
        ("PUT", "switches", {"latency_ms": -1}, 400),
        ("PUT", "switches", {"default_sending": {"colour": 1}}, 400),
        ("POST", "clock", {"set": "tomorrow"}, 400),
        ("POST", "clock", {"forward": 5}, 400),
        ("POST", "accounts/sg00/usage", {"requests": 1}, 404),
        ("PATCH", "accounts/ID", {"sending": {"weekday": [1, 2]}}, 400),
        ("PATCH", "accounts/ID", {"anchor_day": 32}, 400),
        ("POST", "accounts/ID/usage", {"requests": -1}, 400),
        ("POST", "accounts/ID/usage", {"requests": 1, "at": "2001-01-01"}, 400),
        ("POST", "organisations", {"id": "reseller-global"}, 400),
        ("POST", "keys", {"organisation": "nobody"}, 400),
        ("POST", "keys/revoke", {"key": "nothing"}, 404),
        ("GET", "nothing", None, 404),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    *, client: SandboxClient, admin: SandboxAdmin, account: str, method: str, path: str, body: object, status: int
) -> None:
    before = (admin.call("GET", "switches"), admin.account(account), admin.truth())
    with pytest.raises(AssertionError, match=str(status)):
        admin.call(method, path.replace("ID", account), body)
    after = (admin.call("GET", "switches"), admin.account(account), admin.truth())
    assert [before[0], before[1], before[2][0]["cycles"]] == [after[0], after[1], after[2][0]["cycles"]]


def test_a_broken_body_is_refused(sandbox: SandboxProcess) -> None:
    headers = {"X-Sandbox-Admin": sandbox.admin_key}
    assert sandbox.client.send("POST", "/_admin/clock", b"{", headers=headers).status == 400
