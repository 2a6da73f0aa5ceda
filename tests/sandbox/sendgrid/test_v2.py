"""The v2 reseller overview: two formats, three ways to sign in, and every error shape seen of it."""

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.support.sandbox import Answer, SandboxAdmin, SandboxClient, SandboxProcess

JSON_PATH, XML_PATH = "/apiv2/reseller.account.json", "/apiv2/reseller.account.xml"
WRONG = "Permission denied, wrong credentials"


def form(key: str, **changes: str) -> dict[str, str]:
    return {"api_user": "apikey", "api_key": key, "task": "overview", "user": "ops@northwind.test", **changes}


@pytest.fixture
def nobody(sandbox: SandboxProcess) -> SandboxClient:
    """A client that sends no Authorization header."""
    return SandboxClient(sandbox.base_url, None)


@pytest.fixture
def overdrawn(sandbox: SandboxProcess, admin: SandboxAdmin) -> str:
    """An account 31,250 over its 100,000, in the cycle from the third."""
    admin.set_clock("2026-06-03T00:00:00Z")
    made = admin.add_account(
        email="ops@northwind.test",
        offerings=[{"name": "postkeeper.ei.pro-100k.v1", "type": "package"}],
        reputation=97.4,
    )
    admin.add_usage(made["id"], 131_250)
    return str(made["id"])


def texts_of(answer: Answer) -> dict[str, str | None]:
    root = ET.fromstring(answer.body)  # noqa: S314 - our own sandbox wrote it
    return {element.tag: element.text for element in root.find("overview") or []}


@pytest.mark.usefixtures("overdrawn")
def test_json_has_strings_but_for_what_remains(sandbox: SandboxProcess, nobody: SandboxClient) -> None:
    answer = nobody.send("POST", JSON_PATH, form=form(sandbox.key))
    assert answer.header("Content-Type") == "application/json"
    assert answer.json == {
        "reputation": "97",
        "requests": "131250",
        "package": "Försändelse Pro 100K",
        "credits_allowed": "100000",
        "credits_used": "131250",
        "credits_remain": 0,
        "credits_overage": "31250",
        "billing_start_date": "2026-06-03",
        "billing_end_date": "2026-07-02",
        "billing_process_date": "2026-07-03",
    }


@pytest.mark.usefixtures("overdrawn")
def test_xml_says_the_same_in_latin_1(sandbox: SandboxProcess, nobody: SandboxClient) -> None:
    answer = nobody.send("POST", XML_PATH, form=form(sandbox.key))
    assert answer.body.startswith(b'<?xml version="1.0" encoding="ISO-8859-1"?>')
    assert "Försändelse".encode("latin-1") in answer.body
    in_json = nobody.send("POST", JSON_PATH, form=form(sandbox.key)).json
    assert texts_of(answer) == {name: str(value) for name, value in in_json.items()}


@pytest.mark.usefixtures("overdrawn")
def test_other_typings(sandbox: SandboxProcess, nobody: SandboxClient, admin: SandboxAdmin) -> None:
    def read() -> dict[str, Any]:
        return dict(nobody.send("POST", JSON_PATH, form=form(sandbox.key)).json)

    admin.switch("v2_typing", "numbers")
    assert (read()["credits_used"], read()["reputation"]) == (131_250, 97)
    admin.switch("v2_billing_dates", False)
    assert not {name for name in read() if name.startswith("billing_")}
    admin.switch("v2_missing_field", "credits_used")
    assert "credits_used" not in read()


@pytest.mark.usefixtures("overdrawn")
def test_a_key_in_the_header_counts_only_when_switched_on(sandbox: SandboxProcess, admin: SandboxAdmin) -> None:
    asked = {"task": "overview", "user": "ops@northwind.test"}
    assert sandbox.client.send("POST", JSON_PATH, form=asked).status == 401
    admin.switch("v2_bearer", True)
    assert sandbox.client.send("POST", JSON_PATH, form=asked).json["credits_used"] == "131250"


@pytest.mark.usefixtures("overdrawn")
def test_the_old_login_is_refused_until_switched_on(
    sandbox: SandboxProcess, nobody: SandboxClient, admin: SandboxAdmin
) -> None:
    login = next(item for item in admin.organisations() if item["id"] == "reseller-global")
    asked = form("", api_user=login["username"], api_key=login["password"])
    refused = nobody.send("POST", JSON_PATH, form=asked)
    assert (refused.status, refused.json) == (401, {"message": "error", "errors": ["invalid authentication method"]})
    admin.switch("v2_password_login", True)
    assert nobody.send("POST", JSON_PATH, form=asked).status == 200
    wrong = {**asked, "api_key": "guess"}
    assert nobody.send("POST", JSON_PATH, form=wrong).json == {"error": {"code": 401, "message": WRONG}}
    assert b"<error>Bad username / password</error>" in nobody.send("POST", XML_PATH, form=wrong).body


def test_a_wrong_key_is_e2_with_401(nobody: SandboxClient) -> None:
    answer = nobody.send("POST", JSON_PATH, form=form("SG.wrong.key"))
    assert (answer.status, answer.json) == (401, {"error": {"code": 401, "message": WRONG}})
    in_xml = nobody.send("POST", XML_PATH, form=form("SG.wrong.key"))
    assert in_xml.status == 401
    assert b"<message>error</message>" in in_xml.body


def test_a_key_of_no_reseller_has_no_permission(nobody: SandboxClient, admin: SandboxAdmin) -> None:
    answer = nobody.send("POST", JSON_PATH, form=form(admin.add_key(reseller=False)))
    assert (answer.status, answer.json) == (403, {"message": "error", "errors": ["Permission denied"]})


@pytest.mark.usefixtures("overdrawn")
@pytest.mark.parametrize(
    "changes", [{"user": "stranger"}, {"user": ""}, {"task": ""}, {"task": "close"}, {"user": "it@globex.test"}]
)
def test_unknown_customers_and_tasks_are_e1_with_400(
    sandbox: SandboxProcess, nobody: SandboxClient, admin: SandboxAdmin, changes: dict[str, str]
) -> None:
    admin.add_account(organisation="reseller-eu", email="it@globex.test")
    answer = nobody.send("POST", JSON_PATH, form=form(sandbox.key, **changes))
    assert answer.status == 400
    assert set(answer.json) == {"message", "errors"}
    assert nobody.send("POST", XML_PATH, form=form(sandbox.key, **changes)).status == 400


def test_the_username_decides_and_not_the_contact_email(
    sandbox: SandboxProcess, nobody: SandboxClient, admin: SandboxAdmin, overdrawn: str
) -> None:
    admin.change_account(overdrawn, username="northwind-7", email="new@northwind.test")
    assert nobody.send("POST", JSON_PATH, form=form(sandbox.key, user="new@northwind.test")).status == 400
    assert nobody.send("POST", JSON_PATH, form=form(sandbox.key, user="northwind-7")).status == 200
    assert sandbox.client.behalf("/v3/user/username", overdrawn).json["username"] == "northwind-7"


@pytest.mark.usefixtures("overdrawn")
def test_a_key_in_the_url_works_and_is_caught(
    sandbox: SandboxProcess, nobody: SandboxClient, admin: SandboxAdmin
) -> None:
    query = f"api_user=apikey&api_key={sandbox.key}&task=overview&user=ops%40northwind.test"
    assert nobody.send("GET", f"{JSON_PATH}?{query}").status == 200
    nobody.send("POST", JSON_PATH, form=form(sandbox.key))
    leaking, proper = admin.requests("overview")
    assert (leaking["leaked"], proper["leaked"]) == (True, False)
    assert sandbox.key not in str(admin.requests())
    assert "api_key=***" in leaking["path"]
    assert "api_key=***" in proper["body"]


@pytest.mark.usefixtures("overdrawn")
@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ("v2-e1", 400, {"message": "error", "errors": [WRONG]}),
        ("v2-e2", 401, {"error": {"code": 401, "message": WRONG}}),
        ("v2-e2-200", 200, {"error": {"code": 401, "message": WRONG}}),
        ("v2-e3", 400, {"error": WRONG}),
        ("v2-e4", 400, {"errors": [WRONG], "message": "error"}),
        ("v2-e5", 429, {"errors": [{"field": None, "message": "too many requests"}]}),
        ("v2-e6", 401, {"message": "error", "errors": ["invalid authentication method"]}),
    ],
)
def test_every_error_shape_can_be_had(
    *, sandbox: SandboxProcess, nobody: SandboxClient, admin: SandboxAdmin, fault: str, status: int, body: object
) -> None:
    admin.arm(fault, "overview")
    answer = nobody.send("POST", JSON_PATH, form=form(sandbox.key))
    assert (answer.status, answer.json) == (status, body)
    assert nobody.send("POST", JSON_PATH, form=form(sandbox.key)).status == 200


@pytest.mark.usefixtures("overdrawn")
@pytest.mark.parametrize(("fault", "status"), [("v2-e7", 500), ("status-503", 503), ("html-502", 502)])
def test_transient_trouble_is_a_web_page(
    sandbox: SandboxProcess, nobody: SandboxClient, admin: SandboxAdmin, fault: str, status: int
) -> None:
    admin.arm(fault, "overview")
    answer = nobody.send("POST", XML_PATH, form=form(sandbox.key))
    assert (answer.status, (answer.header("Content-Type") or "")[:9]) == (status, "text/html")


@pytest.mark.parametrize("status", [404, 410])
def test_the_family_may_be_retired(
    sandbox: SandboxProcess, nobody: SandboxClient, admin: SandboxAdmin, status: int
) -> None:
    admin.switch("v2_retired", status)
    answer = nobody.send("POST", JSON_PATH, form=form(sandbox.key))
    assert answer.status == status
    assert b"<h1>" in answer.body


@pytest.mark.usefixtures("overdrawn")
def test_six_hundred_a_minute(sandbox: SandboxProcess, nobody: SandboxClient, admin: SandboxAdmin) -> None:
    admin.switch("rate_per_minute", 2)
    answers = [nobody.send("POST", JSON_PATH, form=form(sandbox.key)) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].json == {"errors": [{"field": None, "message": "too many requests"}]}
    assert answers[2].header("X-RateLimit-Remaining") == "0"


def test_nothing_else_of_v2_is_served(sandbox: SandboxProcess, nobody: SandboxClient) -> None:
    assert nobody.send("POST", "/apiv2/reseller.add.json", form=form(sandbox.key)).status == 404
    assert nobody.send("PUT", JSON_PATH, form=form(sandbox.key)).status == 405
