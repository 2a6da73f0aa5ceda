"""Every answer the sandbox gives as AhaSend, and every request that is not wrong on purpose, against the official file.

Statuses the file does not declare for an operation (429 everywhere, 404 for paths nobody knows) are the rate page's and
the edge's, and are not asked for here.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
import yaml
from openapi_core import Config, OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from tests.sandbox.test_contract import _encoded
from tests.support.contracts import AHASEND, require_contract
from tests.support.sandbox import AhaSendClient, Answer, SandboxAdmin, SandboxProcess

DOMAIN = "mail.northwind.test"
NOBODY = "00000000-0000-4000-8000-000000000000"
KEY = {"label": "portal", "scopes": ["messages:send:all", "domains:read"], "ip_allow_list": ["203.0.113.9"]}
MESSAGE = {
    "from": {"email": f"news@{DOMAIN}", "name": "Northwind"},
    "recipients": [{"email": "ada@customer.example", "name": "Ada"}, {"email": "bounce@customer.example"}],
    "subject": "Hello",
    "text_content": "It works.",
    "tags": ["trial"],
}


@cache
def contract() -> OpenAPI:
    """The file as it is, but for one thing: openapi-core cannot read a query parameter of two types, and none can be
    null anyway."""
    file = yaml.safe_load(AHASEND.read_text())
    operations = [operation for path in file["paths"].values() for operation in path.values()]
    for parameter in (given for operation in operations for given in operation.get("parameters", ())):
        kinds = parameter.get("schema", {}).get("type")
        if isinstance(kinds, list):
            (parameter["schema"]["type"],) = set(kinds) - {"null"}
    return OpenAPI.from_dict(file, config=Config(spec_validator_cls=None))  # whether the file is well made is theirs


class ContractClient(AhaSendClient):
    """Checks what it sends and what it gets. A call that is wrong on purpose says so, and only its answer counts."""

    def __init__(self, base_url: str, key: str | None, account: str) -> None:
        super().__init__(base_url, key, account)
        self.checked: list[tuple[str, int]] = []

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        wrong: bool = False,
    ) -> Answer:
        target = urlsplit(path)
        request = MockRequest(
            "https://api.ahasend.com",
            method.lower(),
            unquote(target.path),
            args=dict(parse_qsl(target.query)),
            headers={"Authorization": f"Bearer {self.key}", **(headers or {})},
            data=None if body is None else _encoded(body),
            content_type="application/json",
        )
        if not wrong:
            contract().validate_request(request)
        answer = super().send(method, path, body, headers=headers, form=form)
        response = MockResponse(
            answer.body,
            status_code=answer.status,
            headers=dict(answer.headers),
            content_type=answer.header("Content-Type") or "application/json",
        )
        contract().validate_response(request, response)
        self.checked.append((method, answer.status))
        return answer

    @property
    def statuses(self) -> set[int]:
        return {status for _, status in self.checked}


@pytest.fixture
def strict(sandbox: SandboxProcess) -> ContractClient:
    require_contract(AHASEND)
    return ContractClient(sandbox.base_url, sandbox.ahasend_key, sandbox.ahasend_account)


@pytest.fixture
def theirs(strict: ContractClient, admin: SandboxAdmin) -> ContractClient:
    """The same with a sub account's own key, of one that has a verified domain."""
    account = strict.create_child().json["id"]
    admin.aha.add_domain(account, DOMAIN, verified=True)
    return ContractClient(strict.base_url, admin.aha.add_key(account), account)


def test_the_contract_catches_an_answer_that_does_not_fit(strict: ContractClient, admin: SandboxAdmin) -> None:
    """The check itself must be able to fail."""
    child = strict.create_child().json["id"]
    admin.aha.change(child, status="hibernating")
    with pytest.raises(Exception, match=r"(?i)invalid|data|schema"):
        strict.send("GET", strict.child(child))
    admin.arm("no-account-id", "aha-create")
    with pytest.raises(Exception, match=r"(?i)invalid|data|schema"):
        strict.create_child()


def test_the_life_of_a_sub_account_fits(strict: ContractClient, admin: SandboxAdmin) -> None:
    strict.send("GET", "/v2/ping")
    child = strict.create_child(monthly_credit=5, key="a").json["id"]
    strict.create_child(monthly_credit=5, key="a")
    path = strict.child(child)
    strict.send("GET", path)
    strict.send("PUT", path, {"name": "Globex", "website": None})
    strict.send("POST", f"{path}/suspend", {"reason": "Complaints"})
    strict.send("GET", path)
    strict.send("POST", f"{path}/unsuspend")
    admin.aha.add_usage(child, 5)
    strict.send("GET", path)
    strict.send("GET", strict.child("usage"))
    admin.aha.change(child, status="parent-suspended")
    strict.send("GET", path)
    strict.send("DELETE", path)
    strict.send("GET", strict.child("usage"))
    assert strict.statuses == {200, 201}


def test_pages_fit(strict: ContractClient, admin: SandboxAdmin) -> None:
    strict.send("GET", strict.child())
    admin.aha.add_accounts([{"name": f"n{number}"} for number in range(3)])
    for query in ("?limit=1", "?limit=100"):
        page = strict.send("GET", strict.child() + query).json
    cursor = strict.send("GET", f"{strict.child()}?limit=1").json["pagination"]["next_cursor"]
    middle = strict.send("GET", f"{strict.child()}?limit=1&after={cursor}").json["pagination"]
    strict.send("GET", f"{strict.child()}?limit=1&before={middle['previous_cursor']}")
    assert len(page["data"]) == 3


def test_keys_fit(strict: ContractClient, admin: SandboxAdmin) -> None:
    child = strict.create_child().json["id"]
    admin.aha.add_domain(child, DOMAIN)
    path = strict.child(child, "/api-keys")
    headers = {"Idempotency-Key": "a"}
    key = strict.send("POST", path, KEY, headers=headers).json["id"]
    assert "secret_key" in strict.send("POST", path, KEY, headers=headers).json
    strict.send("POST", path, {**KEY, "scopes": [f"messages:send:{{{DOMAIN}}}"]})
    assert len(strict.send("GET", path).json["data"]) == 2
    strict.send("GET", f"{path}/{key}")
    strict.send("PUT", f"{path}/{key}", {"label": "other", "ip_allow_list": []})
    strict.send("DELETE", f"{path}/{key}")
    strict.send("GET", f"{path}/{key}")
    assert strict.statuses == {200, 201, 404}


def test_domains_and_messages_fit(theirs: ContractClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-12-02T10:00:00Z")
    headers = {"Idempotency-Key": "a"}
    other = {"domain": "other.northwind.test", "tracking_subdomain": "go", "dkim_selector": "post"}
    for _ in range(2):
        theirs.send("POST", theirs.own("/domains"), other, headers=headers)
    theirs.send("POST", theirs.own("/domains"), other)
    theirs.send("GET", theirs.own("/domains?limit=1"))
    theirs.send("GET", theirs.own("/domains?dns_valid=true"))
    path = theirs.own("/domains/other.northwind.test")
    theirs.send("GET", path)
    theirs.send("POST", f"{path}/check-dns")
    for _ in range(2):
        sent = theirs.send("POST", theirs.own("/messages"), MESSAGE, headers={"Idempotency-Key": "b"}).json["data"]
    later = {"schedule": {"first_attempt": "2026-12-03T10:00:00Z"}}
    assert theirs.send("POST", theirs.own("/messages"), {**MESSAGE, **later}).status == 202
    for seconds in (0, 10):
        admin.move_clock(seconds=seconds)
        theirs.send("GET", theirs.own("/messages?limit=1"))
        for message in sent:
            theirs.send("GET", theirs.own(f"/messages/{quote(message['id'])}"))
    theirs.send("GET", theirs.own(f"/messages/{NOBODY}"))
    theirs.send("DELETE", path)
    theirs.send("GET", path)
    theirs.send("GET", theirs.own("/statistics/transactional/deliverability"))
    assert theirs.statuses == {200, 201, 202, 404, 409}


def test_answers_kept_fit_with_their_headers(strict: ContractClient, admin: SandboxAdmin) -> None:
    """The file describes the replay's header, and the pair of the 409 in progress."""
    child = strict.create_child(key="a").json["id"]
    strict.create_child("Globex", key="a")
    admin.arm("crash-before", "aha-create")
    with pytest.raises(ConnectionResetError):
        strict.create_child(key="b")
    strict.create_child(key="b")
    path, headers = strict.child(child, "/api-keys"), {"Idempotency-Key": "c"}
    for _ in range(2):
        strict.send("POST", path, {**KEY, "scopes": ["none"]}, headers=headers)
    strict.send("POST", path, KEY, headers=headers)
    assert [status for _, status in strict.checked] == [201, 422, 409, 400, 409, 422]


def test_refusals_fit(strict: ContractClient, admin: SandboxAdmin) -> None:
    child = strict.create_child().json["id"]
    calls: list[tuple[str, str, Any]] = [
        ("POST", strict.child(), {}),
        ("PUT", strict.child(child), {}),
        ("POST", strict.child(child, "/suspend"), {}),
        ("POST", strict.child(child, "/api-keys"), {}),
        ("GET", f"{strict.child()}?limit=0", None),
        ("GET", strict.child("nobody"), None),
        ("PUT", strict.child(NOBODY), {"name": "x"}),
        ("DELETE", strict.child(NOBODY), None),
        ("GET", strict.child(NOBODY, "/api-keys"), None),
    ]
    statuses = [strict.send(*call, wrong=True).status for call in calls]
    assert statuses == [400] * 6 + [404] * 3
    admin.switch("aha_early_access", False)
    assert {strict.send(*call, wrong=True).status for call in calls} == {403}
    strict.key = "aha-sk-nobody"
    assert {strict.send(*call, wrong=True).status for call in calls} == {401}
    strict.send("GET", "/v2/ping")


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_spoiled_answers_fit(strict: ContractClient, admin: SandboxAdmin, status: int) -> None:
    child = strict.create_child().json["id"]
    admin.arm(f"status-{status}", "ahasend", count=None)
    strict.create_child()
    strict.create_key(child)
    strict.send("GET", strict.child("usage"))
    strict.send("PUT", strict.child(child), {"name": "x"})
    strict.send("POST", strict.child(child, "/unsuspend"))
    strict.send("DELETE", strict.child(child))
    assert {seen for _, seen in strict.checked[1:]} == {status}
