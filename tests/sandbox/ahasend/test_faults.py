"""Every fault over AhaSend's operations: in its own words, with and without the side effect."""

import http.client
import threading
import time
from typing import Any

import pytest

from tests.support.sandbox import AhaSendClient, Answer, SandboxAdmin

CALLS = [
    ("aha-ping", "GET", "/v2/ping", None),
    ("aha-list", "GET", "PARENT/sub-accounts", None),
    ("aha-create", "POST", "PARENT/sub-accounts", {"name": "Globex", "website": "globex.test"}),
    ("aha-usage", "GET", "PARENT/sub-accounts/usage", None),
    ("aha-read", "GET", "CHILD", None),
    ("aha-update", "PUT", "CHILD", {"name": "Other"}),
    ("aha-suspend", "POST", "CHILD/suspend", {"reason": "Complaints"}),
    ("aha-unsuspend", "POST", "CHILD/unsuspend", None),
    ("aha-keys", "GET", "CHILD/api-keys", None),
    ("aha-key-create", "POST", "CHILD/api-keys", {"label": "x", "scopes": ["domains:read"]}),
    ("aha-key", "GET", "CHILD/api-keys/KEY", None),
    ("aha-key-update", "PUT", "CHILD/api-keys/KEY", {"label": "y"}),
    ("aha-key-delete", "DELETE", "CHILD/api-keys/KEY", None),
    ("aha-unpause", "POST", "CHILD/domains/mail.northwind.test/unpause", None),
    ("aha-domains", "GET", "PARENT/domains", None),
    ("aha-domain-create", "POST", "PARENT/domains", {"domain": "new.northwind.test"}),
    ("aha-domain", "GET", "PARENT/domains/mail.northwind.test", None),
    ("aha-check-dns", "POST", "PARENT/domains/mail.northwind.test/check-dns", None),
    ("aha-domain-delete", "DELETE", "PARENT/domains/mail.northwind.test", None),
    ("aha-message", "POST", "PARENT/messages", {}),
    ("aha-messages", "GET", "PARENT/messages", None),
    ("aha-message-read", "GET", "PARENT/messages/00000000-0000-4000-8000-000000000000", None),
    ("aha-statistics", "GET", "PARENT/statistics/transactional/deliverability", None),
    ("aha-delete", "DELETE", "CHILD", None),
]


def outcome(client: AhaSendClient, **more: Any) -> Answer | type[Exception]:
    try:
        return client.create_child(**more)
    except (OSError, http.client.HTTPException) as error:
        return type(error)


def created(admin: SandboxAdmin) -> int:
    return len(admin.aha.accounts())


@pytest.mark.parametrize(("operation", "method", "path", "body"), CALLS)
def test_every_operation_can_be_hit_by_name(
    *, aha: AhaSendClient, admin: SandboxAdmin, child: str, operation: str, method: str, path: str, body: Any
) -> None:
    admin.switch("aha_statistics_rate", 0)
    key = aha.create_key(child).json["id"]
    admin.aha.add_domain(aha.account, "mail.northwind.test")
    admin.arm("status-503", operation)
    admin.arm("status-500", operation)
    path = path.replace("PARENT", aha.own()).replace("CHILD", aha.child(child)).replace("KEY", key)
    assert aha.send("GET", "/v2/ping" if operation != "aha-ping" else aha.child()).status == 200
    seen = [aha.send(method, path, body) for _ in range(2)]
    assert [answer.status for answer in seen] == [503, 500]
    assert {tuple(answer.json) for answer in seen} == {("message",)}
    assert [line["fault"] for line in admin.requests(operation)[-2:]] == ["status-503", "status-500"]
    assert aha.send(method, path, body).status < 500


@pytest.mark.parametrize("group", ["ahasend", "reads", "writes", "*"])
def test_groups_reach_it_too(aha: AhaSendClient, admin: SandboxAdmin, group: str) -> None:
    admin.arm("status-502", group, count=None)
    assert aha.send("GET", aha.child()).status == (200 if group == "writes" else 502)
    assert aha.create_child().status == (201 if group == "reads" else 502)


def test_the_other_family_is_left_alone(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.arm("status-500", "partner", count=None)
    admin.arm("status-500", "create", count=None)
    assert aha.create_child().status == 201


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 422, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(("prefix", "accounts"), [("", 0), ("after-", 1)])
def test_a_status_in_its_own_words(
    aha: AhaSendClient, admin: SandboxAdmin, status: int, prefix: str, accounts: int
) -> None:
    admin.arm(f"{prefix}status-{status}", "aha-create")
    answer = aha.create_child()
    assert (answer.status, set(answer.json)) == (status, {"message"})
    assert answer.header("Idempotent-Replayed") is None
    assert created(admin) == accounts


@pytest.mark.parametrize(
    ("fault", "accounts", "seen"),
    [
        ("reset-before", 0, ConnectionResetError),
        ("reset-after", 1, ConnectionResetError),
        ("crash-before", 0, ConnectionResetError),
        ("crash-after", 1, ConnectionResetError),
        ("hang-before", 0, TimeoutError),
        ("hang-after", 1, TimeoutError),
        ("truncated", 1, http.client.IncompleteRead),
        ("html-502", 0, 502),
        ("after-html-502", 1, 502),
        ("empty", 0, 502),
        ("after-empty", 1, 502),
        ("redirect", 0, 302),
        ("create-then-504", 1, 504),
        ("late-create", 1, 504),
        ("wrong-201", 1, 201),
        ("no-account-id", 1, 201),
        ("429", 0, 429),
    ],
)
def test_what_a_client_sees_and_what_is_there_afterwards(
    *, aha: AhaSendClient, admin: SandboxAdmin, fault: str, accounts: int, seen: Any
) -> None:
    admin.arm(fault, "aha-create")
    impatient = AhaSendClient(aha.base_url, aha.key, aha.account)
    impatient.timeout = 2.0
    found = outcome(impatient)
    assert (found.status if isinstance(found, Answer) else found) == seen
    assert created(admin) == accounts
    assert aha.create_child().status == 201


def test_a_429_names_no_time_unless_told(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.arm("429", "aha-create")
    admin.arm("429", "aha-create", retry_after=3)
    seen = [aha.create_child() for _ in range(2)]
    assert [answer.header("Retry-After") for answer in seen] == [None, "3"]
    assert {answer.header("X-RateLimit-Reset") for answer in seen} == {None}


def test_inside_and_edge_can_be_turned_round(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    """A 504 of the handler itself releases the key; a 500 made of the answer on its way keeps it."""
    admin.arm("after-status-504", "aha-create", inside=True)
    assert aha.create_child(key="a").status == 504
    assert admin.aha.kept() == []
    admin.arm("after-status-500", "aha-create", inside=False)
    assert aha.create_child(key="b").status == 500
    assert [record["status"] for record in admin.aha.kept()] == [201]


def test_a_refusal_of_the_handler_is_kept(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.arm("status-400", "aha-create")
    assert [aha.create_child(key="a").status for _ in range(2)] == [400, 400]
    assert created(admin) == 0


def test_a_fault_inside_waits_for_a_call_that_executes(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    aha.create_child(key="a")
    admin.arm("status-500", "aha-create")
    assert aha.create_child(key="a").status == 201  # a replay reaches no handler
    assert aha.create_child(key="b").status == 500


def test_a_fault_can_be_for_one_name(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.arm("status-500", "aha-create", count=None, email="Globex")
    admin.arm("status-500", "aha-read", count=None, email="Northwind Oy")
    assert [aha.create_child(name).status for name in ("Initech", "Globex")] == [201, 500]
    other = aha.create_child("Umbrella").json["id"]
    assert [aha.send("GET", aha.child(account)).status for account in (child, other)] == [500, 200]


@pytest.mark.parametrize(("fault", "status", "accounts"), [("hold", 201, 1), ("before-hold", 500, 0)])
def test_a_held_call_goes_on_by_itself(
    *, aha: AhaSendClient, admin: SandboxAdmin, fault: str, status: int, accounts: int
) -> None:
    admin.arm(fault, "aha-create", seconds=0.3)
    begin = time.monotonic()
    assert aha.create_child().status == status
    assert time.monotonic() - begin >= 0.3
    assert created(admin) == accounts


def test_the_others_are_served_while_one_is_held(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    fault = admin.arm("hold", "aha-suspend", seconds=30)
    held: list[Answer] = []
    path = aha.child(child, "/suspend")
    slow = threading.Thread(target=lambda: held.append(aha.send("POST", path, {"reason": "Complaints"})))
    slow.start()
    deadline = time.monotonic() + 60
    while not admin.requests("aha-suspend"):
        assert time.monotonic() < deadline
    assert aha.send("GET", aha.child(child)).json["status"] == "active"
    assert admin.requests("aha-suspend")[0]["status"] is None
    admin.call("DELETE", f"faults/{fault}")
    slow.join(timeout=60)
    assert held[0].json["status"] == "suspended"


def test_a_reset_leaves_nothing_of_a_held_call(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.arm("hold", "aha-create", seconds=30)
    seen: list[Any] = []
    slow = threading.Thread(target=lambda: seen.append(outcome(aha)))
    slow.start()
    deadline = time.monotonic() + 60
    while not admin.requests("aha-create"):
        assert time.monotonic() < deadline
    admin.reset()
    slow.join(timeout=60)
    assert seen == [ConnectionResetError]
    assert created(admin) == 0


def test_crash_and_hold_mean_something_elsewhere_too(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    partner = AhaSendClient(aha.base_url, "sandbox-key-global", "")
    admin.arm("crash-after", "create")
    with pytest.raises(ConnectionResetError):
        partner.create()
    admin.arm("hold", "create", seconds=0.2)
    begin = time.monotonic()
    assert partner.create().status == 201
    assert time.monotonic() - begin >= 0.2
    assert len(admin.accounts()) == 2
