"""The examples a newcomer would type first, with nothing but urllib, as the provider's pages give them."""

import json
import urllib.request
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from tests.support.sandbox import OPENER, SandboxProcess

JSON = {"Content-Type": "application/json", "Accept": "application/json"}


def exchange(
    url: str, data: bytes | None, headers: dict[str, str] | None = None, method: str = "POST"
) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data, headers or {}, method=method)  # noqa: S310 - our own loopback URL
    with OPENER.open(request, timeout=10) as answer:
        return answer.status, answer.read()


def call(sandbox: SandboxProcess, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    given = {"Authorization": f"Bearer {sandbox.key}", **JSON, **headers}
    data = None if body is None else json.dumps(body).encode()
    status, text = exchange(sandbox.base_url + path, data, given, method)
    return status, json.loads(text) if text else None


CREATE = {
    "profile": {
        "first_name": "Sender",
        "last_name": "Wiz",
        "company_name": "Example Co",
        "company_website": "https://example.com",
        "email": "mail@example.com",
        "phone": "+15551234567",
        "timezone": "Asia/Tokyo",
    },
    "offerings": [{"name": "postkeeper.ei.pro-100k.v1", "type": "package", "quantity": 1}],
}


def test_create_with_a_profile_and_one_package(sandbox: SandboxProcess) -> None:
    status, body = call(sandbox, "POST", "/v3/partners/accounts", CREATE)
    assert (status, list(body)) == (201, ["account_id"])


def test_create_a_test_account(sandbox: SandboxProcess) -> None:
    status, body = call(sandbox, "POST", "/v3/partners/accounts", CREATE, **{"T-Test-Account": "true"})
    assert status == 201
    assert sandbox.admin.account(body["account_id"])["test"] is True


def test_update_and_list_offerings(sandbox: SandboxProcess) -> None:
    _, made = call(sandbox, "POST", "/v3/partners/accounts", CREATE)
    path = f"/v3/partners/accounts/{made['account_id']}/offerings"
    wanted = {
        "offerings": [
            {"name": "postkeeper.ei.pro-300k.v1", "type": "package", "quantity": 1},
            {"name": "postkeeper.x.ip.v2", "type": "addon", "quantity": 2},
        ]
    }
    assert call(sandbox, "PUT", path, wanted) == (200, wanted)
    assert call(sandbox, "GET", path) == (200, wanted)


def test_overview_with_user_name_and_password_in_both_formats(sandbox: SandboxProcess) -> None:
    call(sandbox, "POST", "/v3/partners/accounts", CREATE)
    sandbox.admin.switch("v2_password_login", True)
    login = next(item for item in sandbox.admin.organisations() if item["id"] == "reseller-global")
    form = {"api_user": login["username"], "api_key": login["password"], "task": "overview", "user": "mail@example.com"}
    data = urlencode(form).encode()
    _, as_json = exchange(f"{sandbox.base_url}/apiv2/reseller.account.json", data)
    _, as_xml = exchange(f"{sandbox.base_url}/apiv2/reseller.account.xml", data)
    overview = ET.fromstring(as_xml).find("overview")  # noqa: S314 - our own sandbox wrote it
    assert overview is not None
    assert {child.tag: child.text for child in overview} == {
        name: str(value) for name, value in json.loads(as_json).items()
    }
    assert json.loads(as_json)["credits_allowed"] == "100000"
