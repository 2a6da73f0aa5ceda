"""Answers kept under an Idempotency-Key, one test for each thing the provider says of them, with the clock moved."""

import contextlib
import http.client
import threading
import time
from typing import Any

import pytest

from tests.support.sandbox import AhaSendClient, Answer, SandboxAdmin

LEASE = 300
DAY = 24 * 3_600


def marks(answer: Answer) -> tuple[int, str | None, str | None]:
    """All a client may look at: the status and the pair of headers."""
    return answer.status, answer.header("Idempotent-Replayed"), answer.header("Retry-After")


def died(client: AhaSendClient, key: str) -> None:
    with pytest.raises(ConnectionResetError):
        client.create_child(key=key)


def names(admin: SandboxAdmin) -> list[str]:
    return [account["name"] for account in admin.aha.accounts()]


def kept(admin: SandboxAdmin, key: str) -> dict[str, Any] | None:
    return next((record for record in admin.aha.kept() if record["key"] == key), None)


def test_only_the_second_answer_is_marked_as_a_replay(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    first, second = aha.create_child(key="a"), aha.create_child(key="a")
    assert marks(first) == (201, None, None)
    assert marks(second) == (201, "true", None)
    assert second.body == first.body
    assert names(admin) == ["Northwind Oy"]


def test_without_a_key_every_call_executes(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    assert [aha.create_child().status for _ in range(2)] == [201, 201]
    assert len(names(admin)) == 2
    assert admin.aha.kept() == []


def test_a_replay_speaks_of_the_past(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    first = aha.create_child(key="a")
    aha.send("DELETE", aha.child(first.json["id"]))
    assert aha.create_child(key="a").json == first.json
    assert [account["status"] for account in admin.aha.accounts()] == ["deleted"]


@pytest.mark.parametrize("what", ["body", "bytes", "path", "operation"])
def test_reusing_a_key_for_another_request_is_refused(aha: AhaSendClient, child: str, what: str) -> None:
    headers = {"Idempotency-Key": "a"}
    body = b'{"label":"portal","scopes":["domains:read"]}'
    assert aha.send("POST", aha.child(child, "/api-keys"), body, headers=headers).status == 201
    other = aha.create_child("Globex").json["id"]
    answer = {
        "body": lambda: aha.create_key(child, "other", key="a"),
        "bytes": lambda: aha.send("POST", aha.child(child, "/api-keys"), body.replace(b":[", b": ["), headers=headers),
        "path": lambda: aha.send("POST", aha.child(other, "/api-keys"), body, headers=headers),
        "operation": lambda: aha.create_child(key="a"),
    }[what]()
    assert marks(answer) == (422, None, None)


def test_a_second_one_meets_the_first_on_its_way(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    fault = admin.arm("hold", "aha-create", seconds=30)
    first: list[Answer] = []
    slow = threading.Thread(target=lambda: first.append(aha.create_child(key="a")))
    slow.start()
    deadline = time.monotonic() + 60
    while kept(admin, "a") is None:
        assert time.monotonic() < deadline
    assert names(admin) == []  # held before it did anything
    second = aha.create_child(key="a")
    assert second.status == 409
    assert second.header("Idempotent-Replayed") == "false"
    assert 0 < int(second.header("Retry-After") or "") <= LEASE
    assert aha.create_child(key="a", monthly_credit=1).status == 422
    assert aha.create_child(key="b").status == 201  # another key is not in the way
    admin.call("DELETE", f"faults/{fault}")
    slow.join(timeout=60)
    assert marks(first[0]) == (201, None, None)
    assert marks(aha.create_child(key="a")) == (201, "true", None)
    assert admin.requests("aha-create")[0]["status"] == 201


def test_retry_after_is_what_is_left_of_the_lease(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    admin.arm("crash-before", "aha-create")
    died(aha, "a")
    admin.move_clock(seconds=LEASE - 7.5)
    assert marks(aha.create_child(key="a")) == (409, "false", "8")
    admin.move_clock(seconds=7)
    assert marks(aha.create_child(key="a")) == (409, "false", "1")


@pytest.mark.parametrize(("fault", "accounts"), [("crash-before", 1), ("crash-after", 2)])
def test_an_unfinished_original_runs_again_after_its_lease(
    aha: AhaSendClient, admin: SandboxAdmin, fault: str, accounts: int
) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    admin.arm(fault, "aha-create")
    died(aha, "a")
    assert len(names(admin)) == accounts - 1
    assert aha.create_child(key="a").status == 409
    admin.move_clock(seconds=LEASE)
    assert marks(aha.create_child(key="a")) == (201, None, None)
    assert len(names(admin)) == accounts


def test_an_overtaken_original_keeps_nothing(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    """Its lease ended while it was still at work: both are there, and the answer kept is the second one's."""
    fault = admin.arm("hold", "aha-create", seconds=30)
    first: list[Answer] = []
    slow = threading.Thread(target=lambda: first.append(aha.create_child(key="a")))
    slow.start()
    deadline = time.monotonic() + 60
    while kept(admin, "a") is None:
        assert time.monotonic() < deadline
    admin.move_clock(seconds=LEASE + 1)
    second = aha.create_child(key="a")
    assert marks(second) == (201, None, None)
    admin.call("DELETE", f"faults/{fault}")
    slow.join(timeout=60)
    assert first[0].json["id"] != second.json["id"]
    assert aha.create_child(key="a").json == second.json


@pytest.mark.parametrize(("fault", "accounts"), [("status-500", 1), ("after-status-500", 2)])
def test_a_500_releases_the_key_whatever_was_done(
    aha: AhaSendClient, admin: SandboxAdmin, fault: str, accounts: int
) -> None:
    admin.arm(fault, "aha-create")
    assert marks(aha.create_child(key="a")) == (500, None, None)
    assert admin.aha.kept() == []
    assert marks(aha.create_child(key="a")) == (201, None, None)
    assert len(names(admin)) == accounts


@pytest.mark.parametrize("fault", ["reset-after", "after-status-504", "after-html-502", "truncated", "after-empty"])
def test_what_is_lost_on_the_way_back_is_replayed(aha: AhaSendClient, admin: SandboxAdmin, fault: str) -> None:
    admin.arm(fault, "aha-create")
    with contextlib.suppress(OSError, http.client.HTTPException):
        aha.create_child(key="a")
    assert marks(aha.create_child(key="a")) == (201, "true", None)
    assert len(names(admin)) == 1


@pytest.mark.parametrize("fault", ["reset-before", "status-503", "html-502", "429", "status-401"])
def test_what_never_reached_the_handler_leaves_nothing(aha: AhaSendClient, admin: SandboxAdmin, fault: str) -> None:
    admin.arm(fault, "aha-create")
    try:
        assert aha.create_child(key="a").status >= 401
    except ConnectionResetError:
        assert fault == "reset-before"
    assert admin.aha.kept() == []
    assert marks(aha.create_child(key="a")) == (201, None, None)


def test_a_refused_create_is_kept_for_a_day_whatever_changes(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    admin.switch("aha_early_access", False)
    refused = aha.create_child(key="a")
    assert marks(refused) == (403, None, None)
    admin.switch("aha_early_access", True)
    admin.move_clock(seconds=DAY - 1)
    again = aha.create_child(key="a")
    assert marks(again) == (403, "true", None)
    assert again.body == refused.body
    assert marks(aha.create_child(key="b")) == (201, None, None)
    admin.move_clock(seconds=1)
    assert marks(aha.create_child(key="a")) == (201, None, None)


def test_a_create_is_forgotten_after_a_day(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    first = aha.create_child(key="a")
    admin.move_clock(seconds=DAY - 1)
    assert aha.create_child(key="a").json == first.json
    admin.move_clock(seconds=1)
    assert marks(aha.create_child(key="a")) == (201, None, None)
    assert len(names(admin)) == 2


def test_a_keys_secret_comes_again_for_five_minutes(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    admin.set_clock("2026-11-22T10:00:00Z")
    first = aha.create_key(child, key="a")
    assert marks(first) == (201, None, None)
    admin.move_clock(seconds=299)
    again = aha.create_key(child, key="a")
    assert marks(again) == (201, "true", None)
    assert again.json["secret_key"] == first.json["secret_key"]
    admin.move_clock(seconds=1)
    late = aha.create_key(child, key="a")
    assert marks(late) == (201, None, None)
    assert late.json["secret_key"] != first.json["secret_key"]
    assert [key["label"] for key in admin.aha.keys(child)] == ["portal", "portal"]


@pytest.mark.parametrize(
    ("more", "status"), [({"scopes": []}, 400), ({"scopes": ["sub-accounts:read"]}, 400), ({"label": " "}, 400)]
)
def test_a_refused_keys_create_is_stuck_until_its_lease_ends(
    *, aha: AhaSendClient, admin: SandboxAdmin, child: str, more: dict[str, Any], status: int
) -> None:
    admin.set_clock("2026-11-22T10:00:00Z")
    assert marks(aha.create_key(child, key="a", **more)) == (status, None, None)
    assert marks(aha.create_key(child, key="a", **more)) == (409, "false", "300")
    admin.move_clock(seconds=LEASE)
    assert marks(aha.create_key(child, key="a", **more)) == (status, None, None)


def test_a_keys_create_for_nobody_is_stuck_too(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    aha.send("DELETE", aha.child(child))
    assert aha.create_key(child, key="a").status == 404
    assert marks(aha.create_key(child, key="a"))[:2] == (409, "false")


def test_what_is_refused_before_leaves_nothing(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    """Authentication and the allow list come first: nothing is kept."""
    stranger = AhaSendClient(aha.base_url, "aha-sk-nobody", aha.account)
    assert stranger.create_child(key="a").status == 401
    elsewhere = admin.aha.add_key(aha.account, ip_allow_list=["192.0.2.0/24"])
    assert AhaSendClient(aha.base_url, elsewhere, aha.account).create_child(key="a").status == 403
    assert admin.aha.kept() == []
    assert marks(aha.create_child(key="a")) == (201, None, None)


def test_keys_belong_to_an_account(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    other = admin.aha.add_parent(name="Other")
    theirs = AhaSendClient(aha.base_url, other["key"], other["id"])
    assert aha.create_child(key="a").status == 201
    assert marks(theirs.create_child("Globex", key="a")) == (201, None, None)


@pytest.mark.parametrize(("length", "status"), [(255, 201), (256, 400)])
def test_a_key_may_be_long_but_not_longer(aha: AhaSendClient, admin: SandboxAdmin, length: int, status: int) -> None:
    assert aha.create_child(key="k" * length).status == status
    assert len(admin.aha.kept()) == (1 if status == 201 else 0)


def test_other_posts_ignore_a_key(aha: AhaSendClient, admin: SandboxAdmin, child: str) -> None:
    """Official clients put one on every POST."""
    headers = {"Idempotency-Key": "a"}
    for _ in range(2):
        stopped = aha.send("POST", aha.child(child, "/suspend"), {"reason": "Complaints"}, headers=headers)
        assert marks(stopped) == (200, None, None)
        assert aha.send("POST", aha.child(child, "/unsuspend"), headers=headers).json["status"] == "active"
    assert admin.aha.kept() == []


@pytest.mark.parametrize(("switch", "status"), [("after-lookup", 201), ("before-lookup", 403)])
def test_the_scope_is_checked_after_the_lookup_unless_told(
    aha: AhaSendClient, admin: SandboxAdmin, switch: str, status: int
) -> None:
    admin.switch("aha_scope_check", switch)
    aha.create_child(key="a")
    reader = AhaSendClient(aha.base_url, admin.aha.add_key(aha.account, scopes=["sub-accounts:read"]), aha.account)
    assert reader.create_child(key="a").status == status
    assert reader.create_child(key="b").status == 403
    assert (kept(admin, "b") is None) == (switch == "before-lookup")


@pytest.mark.parametrize(("switch", "statuses"), [("before-lookup", [201, 429]), ("after-lookup", [201, 201])])
def test_the_rate_limit_comes_before_the_lookup_unless_told(
    aha: AhaSendClient, admin: SandboxAdmin, switch: str, statuses: list[int]
) -> None:
    admin.call("PUT", "switches", {"aha_rate": 0.001, "aha_burst": 1, "aha_rate_check": switch})
    assert [aha.create_child(key="a").status for _ in range(2)] == statuses
    assert aha.create_child(key="b").status == 429
    assert kept(admin, "b") is None


def test_a_late_create_is_in_progress_until_it_is_there(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    admin.arm("late-create", "aha-create", seconds=60)
    assert aha.create_child(key="a").status == 504
    assert aha.create_child(key="a").status == 409
    assert aha.send("GET", aha.child()).json["data"] == []
    admin.move_clock(seconds=60)
    assert marks(aha.create_child(key="a")) == (201, "true", None)
    assert len(aha.send("GET", aha.child()).json["data"]) == 1


def test_a_reset_forgets_what_was_kept(aha: AhaSendClient, admin: SandboxAdmin) -> None:
    aha.create_child(key="a")
    admin.reset()
    assert (admin.aha.kept(), admin.aha.accounts()) == ([], [])
    assert marks(aha.create_child(key="a")) == (201, None, None)
