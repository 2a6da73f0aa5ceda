"""A sub account's own side: domains verified record by record, messages that come to their end."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.support.sandbox import AhaSendClient, SandboxAdmin

DOMAIN = "mail.northwind.test"
REQUIRED = ("DKIM", "Return path", "SPF")
MESSAGE: dict[str, Any] = {
    "from": {"email": f"news@{DOMAIN}", "name": "Northwind"},
    "recipients": [{"email": "ada@customer.example"}],
    "subject": "Hello",
    "text_content": "It works.",
}


@pytest.fixture
def domain(own: AhaSendClient) -> dict[str, Any]:
    return dict(own.send("POST", own.own("/domains"), {"domain": DOMAIN}).json)


@pytest.fixture
def verified(own: AhaSendClient, admin: SandboxAdmin) -> str:
    return str(admin.aha.add_domain(own.account, DOMAIN, verified=True)["domain"])


def in_place(answer: dict[str, Any]) -> list[str]:
    return [record["label"] for record in answer["dns_records"] if record["propagated"]]


def sent(client: AhaSendClient, key: str | None = None, **more: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.send("POST", client.own("/messages"), {**MESSAGE, **more}, headers=headers)


# --- domains --------------------------------------------------------------------------------------------


def test_a_new_domain_names_what_to_publish(own: AhaSendClient, aha: AhaSendClient, domain: dict[str, Any]) -> None:
    assert (domain["object"], domain["domain"], domain["account_id"]) == ("domain", DOMAIN, own.account)
    assert (domain["dns_valid"], domain["last_dns_check_at"], in_place(domain)) == (False, None, [])
    assert tuple(record["label"] for record in domain["dns_records"] if record["required"]) == REQUIRED
    for record in domain["dns_records"]:
        assert record["host"].endswith(DOMAIN)
        assert record["type"] in ("TXT", "CNAME")
        assert record["content"]
        assert "in_place" not in record
    assert aha.send("GET", aha.child(own.account)).json["domain_count"] == 1


def test_a_domain_is_verified_record_by_record(own: AhaSendClient, admin: SandboxAdmin, domain: dict[str, Any]) -> None:
    path = own.own(f"/domains/{DOMAIN}")
    seen = []
    for label in REQUIRED:
        admin.aha.publish(own.account, DOMAIN, label)
        admin.move_clock(seconds=60)
        assert own.send("GET", path).json["dns_valid"] is False  # publishing alone is not a check
        seen.append(own.send("POST", f"{path}/check-dns").json)
    assert [in_place(answer) for answer in seen] == [list(REQUIRED[:count]) for count in (1, 2, 3)]
    assert [answer["dns_valid"] for answer in seen] == [False, False, True]
    assert own.send("GET", path).json == seen[-1]
    admin.aha.publish(own.account, DOMAIN, "SPF", there=False)
    admin.move_clock(seconds=60)
    assert own.send("POST", f"{path}/check-dns").json["dns_valid"] is False


def test_the_records_may_publish_themselves(own: AhaSendClient, admin: SandboxAdmin) -> None:
    """As in the demo, where nobody has the admin key."""
    admin.switch("aha_dns_publish_seconds", 30)
    admin.switch("aha_dns_cache_seconds", 0)
    admin.set_clock("2026-12-02T10:00:00Z")
    own.send("POST", own.own("/domains"), {"domain": DOMAIN})
    path = own.own(f"/domains/{DOMAIN}/check-dns")
    admin.move_clock(seconds=29)
    assert in_place(own.send("POST", path).json) == []
    admin.move_clock(seconds=1)
    found = own.send("POST", path).json
    assert (found["dns_valid"], len(in_place(found))) == (True, 5)


def test_a_check_is_repeated_after_a_minute(own: AhaSendClient, admin: SandboxAdmin, domain: dict[str, Any]) -> None:
    admin.set_clock("2026-12-02T10:00:00Z")
    path = own.own(f"/domains/{DOMAIN}/check-dns")
    assert own.send("POST", path).json["last_dns_check_at"] == "2026-12-02T10:00:00Z"
    admin.aha.publish(own.account, DOMAIN)
    admin.move_clock(seconds=59)
    early = own.send("POST", path).json
    assert (early["dns_valid"], early["last_dns_check_at"]) == (False, "2026-12-02T10:00:00Z")
    admin.move_clock(seconds=1)
    late = own.send("POST", path).json
    assert (late["dns_valid"], late["last_dns_check_at"]) == (True, "2026-12-02T10:01:00Z")
    assert len(in_place(late)) == 5


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"domain": "northwind"},
        {"domain": "https://northwind.test"},
        {"domain": 7},
        {"domain": DOMAIN, "dkim_selector": "not a label"},
        {"domain": DOMAIN, "tracking_subdomain": 7},
        {"domain": DOMAIN, "dkim_rotation_interval_days": True},
    ],
    ids=str,
)
def test_a_domain_that_does_not_fit_is_refused(own: AhaSendClient, body: dict[str, Any]) -> None:
    assert own.send("POST", own.own("/domains"), body).status == 400
    assert own.send("GET", own.own("/domains")).json["data"] == []


def test_a_domain_keeps_its_settings_and_not_its_private_key(own: AhaSendClient, admin: SandboxAdmin) -> None:
    secret = "-----BEGIN RSA PRIVATE KEY-----\nMIIEcanary\n-----END RSA PRIVATE KEY-----"
    body = {
        "domain": DOMAIN.upper(),
        "dkim_selector": " Post ",
        "tracking_subdomain": "go",
        "dkim_private_key": secret,
    }
    answer = own.send("POST", own.own("/domains"), body)
    assert (answer.json["domain"], answer.json["dkim_selector"]) == (DOMAIN, "post")
    hosts = [record["host"] for record in answer.json["dns_records"]]
    assert {f"post._domainkey.{DOMAIN}", f"go.{DOMAIN}"} <= set(hosts)
    assert "MIIEcanary" not in str(admin.requests()) + answer.body.decode()


def test_the_same_domain_again_is_a_conflict_of_its_own(own: AhaSendClient, domain: dict[str, Any]) -> None:
    """Fresh it has neither header, replayed it has one: it is never taken for a call on its way."""
    seen = []
    for _ in range(2):
        answer = own.send("POST", own.own("/domains"), {"domain": DOMAIN}, headers={"Idempotency-Key": "d"})
        seen.append((answer.status, answer.header("Idempotent-Replayed"), answer.header("Retry-After")))
    assert seen == [(409, None, None), (409, "true", None)]


def test_domains_are_an_accounts_own(aha: AhaSendClient, own: AhaSendClient, admin: SandboxAdmin) -> None:
    other = aha.create_child("Globex").json["id"]
    admin.aha.add_domain(other, DOMAIN)
    assert own.send("GET", own.own(f"/domains/{DOMAIN}")).status == 404
    assert own.send("POST", own.own("/domains"), {"domain": DOMAIN}).status == 201
    assert own.send("GET", own.own("/domains")).json["data"][0]["account_id"] == own.account


def test_domains_can_be_listed_by_their_validity(own: AhaSendClient, admin: SandboxAdmin) -> None:
    admin.aha.add_domain(own.account, "a.northwind.test", verified=True)
    admin.aha.add_domain(own.account, "b.northwind.test")
    seen = {
        query: [row["domain"] for row in own.send("GET", own.own(f"/domains?{query}")).json["data"]]
        for query in ("limit=9", "dns_valid=true", "dns_valid=false")
    }
    assert list(seen.values()) == [
        ["a.northwind.test", "b.northwind.test"],
        ["a.northwind.test"],
        ["b.northwind.test"],
    ]
    assert own.send("GET", own.own("/domains?dns_valid=maybe")).status == 400


def test_a_deleted_domain_is_gone(own: AhaSendClient, domain: dict[str, Any]) -> None:
    path = own.own(f"/domains/{DOMAIN}")
    answer = own.send("DELETE", path)
    assert (answer.status, set(answer.json)) == (200, {"message"})
    assert [own.send(*call).status for call in (("GET", path), ("DELETE", path), ("POST", f"{path}/check-dns"))] == [
        404,
        404,
        404,
    ]


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/domains", "domains:read"),
        ("GET", f"/domains/{DOMAIN}", "domains:read"),
        ("POST", "/domains", "domains:write"),
        ("POST", f"/domains/{DOMAIN}/check-dns", "domains:write"),
        ("DELETE", f"/domains/{DOMAIN}", "domains:delete:all"),
        ("POST", "/messages", "messages:send:all"),
        ("GET", "/messages", "messages:read:all"),
        ("GET", "/messages/00000000-0000-4000-8000-000000000000", "messages:read:all"),
        ("GET", "/statistics/transactional/deliverability", "statistics-transactional:read:all"),
    ],
)
def test_every_path_wants_its_scope(
    *, own: AhaSendClient, admin: SandboxAdmin, verified: str, method: str, path: str, scope: str
) -> None:
    lacking = AhaSendClient(own.base_url, admin.aha.add_key(own.account, missing_scopes=[scope]), own.account)
    having = AhaSendClient(own.base_url, admin.aha.add_key(own.account, scopes=[scope]), own.account)
    body = MESSAGE if path == "/messages" and method == "POST" else None
    assert lacking.send(method, lacking.own(path), body).status == 403
    assert having.send(method, having.own(path), body).status != 403


def test_a_suspended_account_can_do_nothing_here(aha: AhaSendClient, own: AhaSendClient, verified: str) -> None:
    aha.send("POST", aha.child(own.account, "/suspend"), {"reason": "Complaints"})
    calls = [("GET", "/domains"), ("POST", "/domains"), ("POST", f"/domains/{DOMAIN}/check-dns"), ("POST", "/messages")]
    assert {own.send(method, own.own(path), {}).status for method, path in calls} == {401}


# --- messages -------------------------------------------------------------------------------------------


def test_a_message_is_queued_then_delivered_by_the_clock(
    aha: AhaSendClient, own: AhaSendClient, admin: SandboxAdmin, verified: str
) -> None:
    admin.set_clock("2026-12-02T10:00:00Z")
    answer = sent(own)
    assert answer.status == 202
    (entry,) = answer.json["data"]
    assert (entry["status"], entry["error"]) == ("queued", None)
    assert entry["recipient"] == {"email": "ada@customer.example", "name": ""}
    bare = entry["id"].strip("<>").partition("@")[0]
    assert entry["id"] == f"<{bare}@{DOMAIN}>"
    seen = []
    for seconds in (0, 5):
        admin.move_clock(seconds=seconds)
        for form in (bare, quote(entry["id"])):
            read = own.send("GET", own.own(f"/messages/{form}")).json
            seen.append((read["status"], read["delivered_at"], read["num_attempts"], read["message_id"]))
    assert (
        seen
        == [("Received", None, 0, entry["id"])] * 2
        + [
            ("Delivered", "2026-12-02T10:00:05Z", 1, entry["id"]),
        ]
        * 2
    )
    assert aha.send("GET", aha.child(own.account)).json["last_activity_at"] == "2026-12-02T10:00:00Z"


@pytest.mark.parametrize(
    ("recipient", "more", "status"),
    [
        ("ada@customer.example", {}, "Delivered"),
        ("bounce@customer.example", {}, "Bounced"),
        ("Defer+7@customer.example", {}, "Deferred"),
        ("fail@customer.example", {}, "Failed"),
        ("suppress@customer.example", {}, "Suppressed"),
        ("ada@customer.example", {"sandbox": True}, "Sandbox Delivered"),
        ("ada@customer.example", {"sandbox": True, "sandbox_result": "bounce"}, "Sandbox Bounced"),
    ],
)
def test_how_a_message_ends_can_be_chosen(
    *, own: AhaSendClient, admin: SandboxAdmin, verified: str, recipient: str, more: dict[str, Any], status: str
) -> None:
    sent(own, recipients=[{"email": recipient}], **more)
    admin.move_clock(seconds=10)
    (message,) = own.send("GET", own.own("/messages")).json["data"]
    assert message["status"] == status
    assert (message["delivered_at"] is not None) == status.endswith("Delivered")
    assert admin.aha.messages(own.account)[0]["status"] == status


def test_every_recipient_is_a_message_and_counts(
    aha: AhaSendClient, own: AhaSendClient, admin: SandboxAdmin, verified: str
) -> None:
    recipients = [{"email": f"a{number}@customer.example"} for number in range(100)]
    assert len(sent(own, recipients=recipients).json["data"]) == 100
    sent(own, sandbox=True)  # a trial counts as nothing
    usage = aha.send("GET", aha.child("usage")).json
    assert usage["sub_accounts"][0]["reception_count"] == 100
    first = own.send("GET", own.own("/messages?limit=60")).json
    second = own.send("GET", own.own(f"/messages?after={first['pagination']['next_cursor']}")).json
    assert (len(first["data"]), len(second["data"])) == (60, 41)


def test_messages_can_be_filtered(own: AhaSendClient, admin: SandboxAdmin, verified: str) -> None:
    sent(own, recipients=[{"email": "Ada@customer.example"}, {"email": "bounce@customer.example"}])
    middle = admin.move_clock(seconds=5)
    admin.move_clock(seconds=5)
    sent(own, recipients=[{"email": "ada@customer.example"}])

    def found(query: str) -> list[tuple[str, str]]:
        rows = own.send("GET", own.own(f"/messages?{query}")).json["data"]
        return [(row["recipient"].partition("@")[0], row["status"]) for row in rows]

    assert found("status=Bounced,Failed") == [("bounce", "Bounced")]
    assert found("status=Received") == [("ada", "Received")]
    assert found("recipient=ADA@customer.example") == [("ada", "Delivered"), ("ada", "Received")]
    assert found("sender=else@mail.northwind.test") == []
    assert found(f"from_time={middle}") == [("ada", "Received")]
    assert found(f"to_time={middle}&status=Bounced") == [("bounce", "Bounced")]
    assert own.send("GET", own.own("/messages?from_time=yesterday")).status == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"from": None},
        {"from": {"email": "news"}},
        {"from": {"email": "news@other.northwind.test"}},
        {"recipients": None},
        {"recipients": []},
        {"recipients": [{"email": "a@b.example"}] * 101},
        {"recipients": [{"name": "Ada"}]},
        {"subject": None},
        {"subject": " "},
        {"text_content": None},
        {"text_content": ""},
        {"tags": "news"},
        {"sandbox": "yes"},
        {"sandbox_result": "explode"},
        {"schedule": {"first_attempt": "2001-01-01T00:00:00Z"}},
        {"schedule": {"first_attempt": "soon"}},
        {"schedule": "soon"},
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_message_that_does_not_fit_is_refused(
    aha: AhaSendClient, own: AhaSendClient, verified: str, wrong: dict[str, Any]
) -> None:
    assert sent(own, **wrong).status == 400
    assert aha.send("GET", aha.child("usage")).json["total"]["reception_count"] == 0


def test_a_domain_must_be_there_and_verified(own: AhaSendClient, admin: SandboxAdmin) -> None:
    assert sent(own).status == 400
    admin.aha.add_domain(own.account, DOMAIN)
    assert sent(own).status == 400
    admin.aha.publish(own.account, DOMAIN)
    assert sent(own).status == 400  # published, and not checked
    own.send("POST", own.own(f"/domains/{DOMAIN}/check-dns"))
    assert sent(own).status == 202


def test_a_key_of_one_domain_sends_and_reads_from_that_one_only(own: AhaSendClient, admin: SandboxAdmin) -> None:
    for name in (DOMAIN, "other.northwind.test"):
        admin.aha.add_domain(own.account, name, verified=True)
    sent(own, **{"from": {"email": "x@other.northwind.test"}})
    other = own.send("GET", own.own("/messages")).json["data"][0]["id"]
    scopes = [f"messages:send:{{{DOMAIN}}}", f"messages:read:{{{DOMAIN}}}"]
    narrow = AhaSendClient(own.base_url, admin.aha.add_key(own.account, scopes=scopes), own.account)
    assert sent(narrow).status == 202
    assert sent(narrow, **{"from": {"email": "x@other.northwind.test"}}).status == 403
    assert [row["sender"] for row in narrow.send("GET", own.own("/messages")).json["data"]] == [f"news@{DOMAIN}"]
    assert narrow.send("GET", own.own(f"/messages/{other}")).status == 403


def test_a_message_is_sent_once_under_its_key(own: AhaSendClient, admin: SandboxAdmin, verified: str) -> None:
    first, second = sent(own, "m"), sent(own, "m")
    assert (second.status, second.body, second.header("Idempotent-Replayed")) == (202, first.body, "true")
    assert sent(own, "m", subject="Other").status == 422
    assert len(admin.aha.messages(own.account)) == 1


def test_a_schedule_lies_ahead(own: AhaSendClient, admin: SandboxAdmin, verified: str) -> None:
    admin.set_clock("2026-12-02T10:00:00Z")
    entry = sent(own, schedule={"first_attempt": "2026-12-03T10:00:00Z"}).json["data"][0]
    assert (entry["status"], entry["schedule"]) == ("scheduled", {"first_attempt": "2026-12-03T10:00:00Z"})
    admin.move_clock(seconds=3_600)
    assert admin.aha.messages(own.account)[0]["status"] == "Received"
    admin.move_clock(seconds=24 * 3_600)
    assert admin.aha.messages(own.account)[0]["status"] == "Delivered"
    assert sent(own, schedule={"expires": "2026-12-12T00:00:00Z"}).status == 400


def test_messages_that_are_not_there(own: AhaSendClient, verified: str) -> None:
    for path, status in (("nonsense", 400), ("00000000-0000-4000-8000-000000000000", 404)):
        assert own.send("GET", own.own(f"/messages/{path}")).status == status


def test_a_paused_domain_waits_for_the_parent(
    aha: AhaSendClient, own: AhaSendClient, admin: SandboxAdmin, verified: str
) -> None:
    admin.aha.pause_domain(own.account, DOMAIN)
    assert sent(own).status == 403
    answer = aha.send("POST", aha.child(own.account, f"/domains/{DOMAIN}/unpause"))
    assert (answer.status, answer.json["paused"], answer.json["domain"]) == (200, False, DOMAIN)
    assert sent(own).status == 202
    assert aha.send("POST", aha.child(own.account, "/domains/other.test/unpause")).status == 404
