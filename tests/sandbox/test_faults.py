"""Every fault, on the wire: what the client sees, and whether the account exists afterwards."""

import http.client
import time
from typing import Any

import pytest

from tests.support.sandbox import Answer, SandboxAdmin, SandboxClient, SandboxProcess

ACCOUNTS = "/v3/partners/accounts"
BODIES = {
    500: ("Something went wrong", "10-50000"),
    502: ("Bad Gateway", "10-50200"),
    503: ("Service Unavailable", "10-50300"),
    504: ("Endpoint request timed out", "10-50400"),
    401: ("Failed to authenticate user", "10-40100"),
    404: ("No such endpoint", "10-40400"),
}


def outcome(client: SandboxClient) -> Answer | type[Exception]:
    try:
        return client.create()
    except (OSError, http.client.HTTPException) as error:
        return type(error)


def created(admin: SandboxAdmin) -> int:
    return len(admin.accounts())


@pytest.mark.parametrize("status", BODIES)
@pytest.mark.parametrize(("prefix", "accounts"), [("", 0), ("after-", 1)])
def test_a_status_in_the_familys_words(
    client: SandboxClient, admin: SandboxAdmin, status: int, prefix: str, accounts: int
) -> None:
    admin.arm(f"{prefix}status-{status}", "create")
    answer = client.create()
    message, error_id = BODIES[status]
    assert answer.status == status
    assert answer.json == {"errors": [{"message": message, "field": "", "error_id": error_id}]}
    assert created(admin) == accounts


@pytest.mark.parametrize(
    ("fault", "accounts"),
    [
        ("reset-before", 0),
        ("reset", 0),
        ("reset-after", 1),
        ("after-reset", 1),
    ],
)
def test_a_reset_connection(client: SandboxClient, admin: SandboxAdmin, fault: str, accounts: int) -> None:
    admin.arm(fault, "create")
    assert outcome(client) is ConnectionResetError
    assert created(admin) == accounts
    assert admin.requests("create")[0]["status"] is None


@pytest.mark.parametrize(("fault", "accounts"), [("hang", 0), ("hang-before", 0), ("hang-after", 1)])
def test_an_answer_that_never_comes(sandbox: SandboxProcess, admin: SandboxAdmin, fault: str, accounts: int) -> None:
    admin.arm(fault, "create")
    impatient = SandboxClient(sandbox.base_url, sandbox.key, timeout=1.0)
    assert outcome(impatient) is TimeoutError
    assert created(admin) == accounts
    assert sandbox.client.create().status == 201  # the others are served meanwhile


@pytest.mark.parametrize(
    ("fault", "accounts", "status", "body"),
    [
        ("create-then-504", 1, 504, b"10-50400"),
        ("html-502", 0, 502, b"<h1>"),
        ("after-html-502", 1, 502, b"<h1>"),
        ("no-account-id", 1, 201, b"{}"),
        ("before-no-account-id", 0, 201, b"{}"),
        ("wrong-201", 1, 201, b"<<<"),
        ("before-wrong-201", 0, 201, b"<<<"),
        ("late-create", 1, 504, b"10-50400"),
    ],
)
def test_answers_that_say_little_or_lie(
    *, client: SandboxClient, admin: SandboxAdmin, fault: str, accounts: int, status: int, body: bytes
) -> None:
    admin.arm(fault, None if fault in ("create-then-504", "late-create") else "create")
    answer = client.create()
    assert answer.status == status
    assert body in answer.body
    assert created(admin) == accounts


@pytest.mark.parametrize(("fault", "accounts"), [("empty", 0), ("after-empty", 1)])
def test_an_empty_body(client: SandboxClient, admin: SandboxAdmin, fault: str, accounts: int) -> None:
    admin.arm(fault, "create")
    answer = client.create()
    assert (answer.status, answer.body, answer.header("Content-Type")) == (502, b"", None)
    assert created(admin) == accounts


def test_half_a_body(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.arm("truncated", "create")
    assert outcome(client) is http.client.IncompleteRead
    assert created(admin) == 1


def test_a_redirect_is_no_effect(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.arm("redirect", "create", status=307, location="https://elsewhere.test/")
    answer = client.create()
    assert (answer.status, answer.header("Location")) == (307, "https://elsewhere.test/")
    assert created(admin) == 0


def test_429_with_its_reset_ahead(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    admin.arm("429", "create", seconds=5)
    answer = client.create()
    assert (answer.status, answer.json) == (429, {"errors": [{"field": None, "message": "too many requests"}]})
    assert (answer.header("X-RateLimit-Remaining"), answer.header("X-RateLimit-Reset")) == ("0", "1793613606")
    assert answer.header("Retry-After") is None
    assert created(admin) == 0


@pytest.mark.parametrize("reset", ["1", "99999999999", "soon", ""])
def test_429_with_a_hostile_reset(client: SandboxClient, admin: SandboxAdmin, reset: str) -> None:
    admin.arm("429", "create", reset=reset, retry_after="7")
    answer = client.create()
    assert (answer.header("X-RateLimit-Reset"), answer.header("Retry-After")) == (reset, "7")


@pytest.mark.parametrize("fault", ["latency", "slow-drip"])
def test_slow_answers_are_true(client: SandboxClient, admin: SandboxAdmin, fault: str) -> None:
    admin.arm(fault, "create", seconds=0.3 if fault == "latency" else 0.01)
    begin = time.monotonic()
    answer = client.create()
    assert time.monotonic() - begin >= 0.3
    assert (answer.status, set(answer.json)) == (201, {"account_id"})


def test_a_body_too_big_to_swallow(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.arm("huge", "list", megabytes=2)
    assert len(client.send("GET", ACCOUNTS).body) > 2_000_000


def test_a_late_create_appears_when_its_time_has_come(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    admin.arm("late-create", seconds=300)
    assert client.create().status == 504
    late = admin.accounts()[0]
    path = f"{ACCOUNTS}/{late['id']}/state"
    assert client.send("GET", ACCOUNTS).json["accounts"] == []
    assert client.send("GET", path).status == client.behalf("/v3/user/email", late["id"]).status == 404
    admin.move_clock(seconds=300)
    listed = client.send("GET", ACCOUNTS).json["accounts"]
    assert [item["created_at"] for item in listed] == ["2026-11-02T10:05:00Z"]
    assert client.send("GET", path).status == 200


@pytest.mark.parametrize(
    ("operation", "method", "path", "body"),
    [
        ("list", "GET", ACCOUNTS, None),
        ("catalogue", "GET", "/v3/partners/offerings", None),
        ("offerings", "GET", f"{ACCOUNTS}/ID/offerings", None),
        ("put-offerings", "PUT", f"{ACCOUNTS}/ID/offerings", {}),
        ("state", "GET", f"{ACCOUNTS}/ID/state", None),
        ("put-state", "PUT", f"{ACCOUNTS}/ID/state", {}),
        ("sso", "POST", f"{ACCOUNTS}/ID/sso", None),
        ("delete", "DELETE", f"{ACCOUNTS}/ID", None),
        ("credits", "GET", "/v3/user/credits", None),
        ("account", "GET", "/v3/user/account", None),
        ("username", "GET", "/v3/user/username", None),
        ("email", "GET", "/v3/user/email", None),
        ("profile", "GET", "/v3/user/profile", None),
        ("stats", "GET", "/v3/stats?start_date=2026-11-01", None),
        ("overview", "POST", "/apiv2/reseller.account.json", None),
    ],
)
def test_every_operation_can_be_hit_by_name(
    *, sandbox: SandboxProcess, admin: SandboxAdmin, account: str, operation: str, method: str, path: str, body: Any
) -> None:
    admin.switch("v2_bearer", True)
    admin.arm("status-503", operation)
    path = path.replace("ID", account)
    assert sandbox.client.create().status == 201  # another operation is not hit
    assert sandbox.client.send(method, path, body).status == 503
    assert admin.requests(operation)[0]["fault"] == "status-503"
    assert sandbox.client.send(method, path, body).status != 503


def test_after_a_write_spoiled_its_effect_is_there(client: SandboxClient, admin: SandboxAdmin, account: str) -> None:
    admin.arm("after-status-500", "writes", count=2)
    assert client.send("PUT", f"{ACCOUNTS}/{account}/state", {"state": "deactivated"}).status == 500
    assert client.send("GET", f"{ACCOUNTS}/{account}/state").json == {"state": "deactivated"}
    assert client.send("DELETE", f"{ACCOUNTS}/{account}").status == 500
    assert client.send("GET", f"{ACCOUNTS}/{account}/state").status == 404


def test_count_after_and_email_say_when(client: SandboxClient, admin: SandboxAdmin, account: str) -> None:
    admin.arm("status-500", "create", count=2, after=1, email="it@globex.test")
    seen = [client.create(email=email).status for email in ("ops@northwind.test", *["it@globex.test"] * 4)]
    assert seen == [201, 201, 500, 500, 201]
    assert admin.faults()[0]["hits"] == 2
    admin.arm("status-502", "state", email="ops@northwind.test")
    other = client.create(email="x@globex.test").json["account_id"]
    assert client.send("GET", f"{ACCOUNTS}/{other}/state").status == 200
    assert client.send("GET", f"{ACCOUNTS}/{account}/state").status == 502


def test_a_fault_without_count_lasts_until_cleared(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.arm("status-500", "partner", count=None)
    assert [client.send("GET", ACCOUNTS).status for _ in range(4)] == [500] * 4
    admin.clear_faults()
    assert client.send("GET", ACCOUNTS).status == 200


def test_a_probability_hits_about_that_often(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.arm("status-500", "catalogue", probability=0.3)
    hits = sum(client.send("GET", "/v3/partners/offerings").status == 500 for _ in range(200))
    assert 30 <= hits <= 90
    assert admin.faults()[0]["hits"] == hits


def test_faults_do_not_touch_strangers_or_the_admin_plane(sandbox: SandboxProcess, admin: SandboxAdmin) -> None:
    admin.arm("status-500", "*")
    assert SandboxClient(sandbox.base_url, "SG.unknown.key").send("GET", ACCOUNTS).status == 401
    assert admin.accounts() == []
    assert sandbox.client.send("GET", ACCOUNTS).status == 500


@pytest.mark.parametrize(
    "armed",
    [
        {"name": "gremlins"},
        {"name": "status-5"},
        {"name": "v2-e9"},
        {"name": "reset", "count": 0},
        {"name": "reset", "probability": 1.5},
        {"name": "reset", "params": {"colour": "red"}},
        {"name": "reset", "colour": "red"},
    ],
)
def test_a_fault_that_cannot_be_is_refused(admin: SandboxAdmin, armed: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="400"):
        admin.call("POST", "faults", armed)
    assert admin.faults() == []
