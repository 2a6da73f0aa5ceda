"""Nothing secret and no forged line may reach the log, whoever writes it."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import re
from collections.abc import Iterator

import pytest
import structlog
from django.test import Client
from structlog.testing import capture_logs

from portal import logs
from portal.access.permissions import Permission, require
from portal.refusals import Refusal
from tests.support.factories import PASSWORD as FACTORY_PASSWORD
from tests.support.factories import UserFactory
from tests.support.people import sign_in

SECRETS = (
    "SG.aaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "aha-sk-0123456789abcdef",
    "hunter2hunter2",
    "0f1e2d3c4b5a",
)
KEY, AHA, PASSWORD, TOKEN = SECRETS


class Written:
    def __init__(self, *, json_lines: bool, name: str = "tests.house.logs") -> None:
        self._stream = io.StringIO()
        shape = logs.config(json_lines=json_lines, level="DEBUG")
        formatter = shape["formatters"]["line"]
        made = structlog.stdlib.ProcessorFormatter(**{k: v for k, v in formatter.items() if k != "()"})
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(made)
        self.logger = logging.getLogger(name)

    def __enter__(self) -> Written:
        self.logger.addHandler(self._handler)
        self.logger.propagate = False
        self.logger.setLevel("DEBUG")
        return self

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self._handler)
        self.logger.propagate = True

    @property
    def text(self) -> str:
        return self._stream.getvalue()


@pytest.fixture(params=[True, False], ids=["json", "plain"])
def written(request: pytest.FixtureRequest) -> Iterator[Written]:
    with Written(json_lines=request.param) as one:
        yield one


def _leak_everywhere(logger: logging.Logger) -> None:
    log = structlog.get_logger(logger.name)
    log.info("sent", authorization=f"Bearer {KEY}", api_key=AHA, password=PASSWORD, session_key=TOKEN)
    log.info("key " + KEY + " and " + AHA, headers={"Authorization": f"Basic {TOKEN}xx", "list": [KEY, AHA.encode()]})
    log.info("form", body=f"api_user=me&api_key={TOKEN}&password={PASSWORD}", deep={"a": {"b": {"token": TOKEN}}})
    logger.warning("Not Found: %s", f"/invitation/{TOKEN}")
    logger.warning("reset at /password/reset/1a/%s/", TOKEN)
    logger.error("cannot connect to postgres://portal:%s@db/portal", PASSWORD)
    try:
        raise ValueError(f"refused {KEY}")
    except ValueError:
        log.exception("failed", secret=PASSWORD)
        logger.exception("failed with %s", AHA)


def test_no_secret_is_written(written: Written) -> None:
    _leak_everywhere(written.logger)
    assert written.text.count(logs.MASK) >= 10
    assert [secret for secret in SECRETS if secret in written.text] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"the key {AHA}, refused", "the key [hidden], refused"),
        (f"the key {KEY}, refused", "the key [hidden], refused"),
        ("the key SG.abcdef, cut", "the key [hidden], cut"),
        ("Bearer abc.def-ghi", "Bearer [hidden]"),
        ("authorization: basic YXBpa2V5OnNlY3JldA==", "authorization: basic [hidden]"),
        ("GET /invitation/eyJ3aG8i:1x/ 410", "GET /invitation/[hidden] 410"),
        ("GET /password/reset/1a-xyz/ 410", "GET /password/reset/[hidden] 410"),
        ("GET /password/reset/sent/ 200", "GET /password/reset/sent/ 200"),
        *((f"?a=1&{name}=x%20y&b=2", f"?a=1&{name}=[hidden]&b=2") for name in (
            "password", "v2_password", "client_secret", "Token", "api_key", "api-key", "apikey", "api_user", "API_KEY",
        )),
        *((f"failed with {quoted}", f"failed with {hidden}") for quoted, hidden in (
            ("{'v2_password': 'x y', 'n': '1'}", "{'v2_password': '[hidden]', 'n': '1'}"),
            ('{"client_secret": "a/b+c="}', '{"client_secret": "[hidden]"}'),
            (r'"{\"api_key\": \"abc\"}"', r'"{\"api_key\": \"[hidden]"}"'),
            ("{'sessionid': 'abc'}", "{'sessionid': '[hidden]'}"),
            ("{'__Host-sid': 'abc'}", "{'__Host-sid': '[hidden]'}"),
            ("{'current': 'abc', 'again': b'abc'}", "{'current': '[hidden]', 'again': b'[hidden]'}"),
            ("{'current_month': 'abc', 'side': 'sell'}", "{'current_month': 'abc', 'side': 'sell'}"),
        )),
        ("postgres://portal:hunter2@db/portal", "postgres://portal:[hidden]@db/portal"),
        ("redis://:hunter2@broker:6379/0", "redis://:[hidden]@broker:6379/0"),
    ],
)  # fmt: skip
def test_what_is_hidden_of_a_text(text: str, expected: str) -> None:
    assert logs.masked(text) == expected


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "api_key", "api-key", "apikey", "api_user", "client_secret", "new_password", "passwd", "Token",
        "Set-Cookie", "session_key", "sessionkey", "csrfmiddlewaretoken", "x-csrf", "api_key_sealed",
    ],
)  # fmt: skip
def test_a_value_with_a_secret_name_is_hidden_at_any_depth(name: str) -> None:
    event = logs.mask_secrets(None, "info", {"event": "x", name: "plain", "deep": [{"a": {name: "plain"}}]})
    assert event == {"event": "x", name: logs.MASK, "deep": [{"a": {name: logs.MASK}}]}


def test_an_event_is_one_line_whatever_it_holds(written: Written) -> None:
    structlog.get_logger(written.logger.name).info("name\r\n2026-01-01 error forged", who="a\nb\u2028c\x1b[2J")
    written.logger.info("std %s", "x\ny\x85z")
    assert len(written.text.splitlines()) == 2
    assert "\x1b" not in written.text


def test_a_traceback_cannot_pretend_to_be_a_line() -> None:
    with Written(json_lines=False) as plain:
        try:
            raise ValueError("x\n2026-01-01T00:00:00Z info portal forged")
        except ValueError:
            plain.logger.exception("failed")
    first, *rest = plain.text.splitlines()
    assert " error " in first
    assert rest
    assert all(line.startswith("    | ") for line in rest)


def test_what_was_bound_for_the_request_is_on_every_line() -> None:
    with Written(json_lines=True) as written, structlog.contextvars.bound_contextvars(request_id="r1", operation="o1"):
        written.logger.info("from the standard library")
        structlog.get_logger(written.logger.name).info("from structlog", account="a1")
    lines = [json.loads(line) for line in written.text.splitlines()]
    assert [line["request_id"] for line in lines] == ["r1", "r1"]
    assert lines[1]["account"] == "a1"
    assert {"timestamp", "level", "logger", "event"} <= set(lines[0])


def test_named_extras_of_the_standard_library_are_on_the_line() -> None:
    with Written(json_lines=True) as written:
        written.logger.info("exchange", extra={"status": 201, "duration_ms": 40, "request": "a whole request"})
    line = json.loads(written.text)
    assert (line["status"], line["duration_ms"]) == (201, 40)
    assert "request" not in line


def test_an_ordinary_word_is_left_alone(written: Written) -> None:
    structlog.get_logger(written.logger.name).info("Basic plan for Bearer Ltd", offering="essentials-100k", used=0)
    assert logs.MASK not in written.text


@pytest.mark.django_db
def test_a_refused_page_logs_a_line_and_a_failed_one_a_traceback(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("no template")

    client.force_login(UserFactory(role="finance"))
    client.raise_request_exception = False
    with Written(json_lines=False, name="django.request") as written:
        assert client.get("/customers/new/").status_code == 403
        line = written.text.strip()
        assert " warning django.request Forbidden" in line
        assert len(line.splitlines()) == 1

        monkeypatch.setattr("customers.directory.views.render_page", broken)
        assert client.get("/customers/").status_code == 500
        assert "RuntimeError: no template" in written.text


@pytest.mark.django_db
def test_a_command_that_refuses_its_person_logs_it() -> None:
    auditor = UserFactory(role="auditor")
    with capture_logs() as lines, pytest.raises(Refusal):
        require(auditor, Permission.SCAN_ACCOUNTS)
    (refused,) = lines
    assert (refused["log_level"], refused["event"]) == ("warning", "permission refused")
    assert (refused["permission"], refused["person"]) == ("scan_accounts", str(auditor.public_id))


@pytest.mark.django_db
def test_a_refused_permission_is_logged_with_its_person() -> None:
    auditor = UserFactory(role="auditor")
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        sign_in(Client(), auditor).post("/drift/scan/")
    (refused,) = (line for line in lines if line["event"] == "permission refused")
    assert refused["log_level"] == "warning"
    assert refused["permission"] == "scan_accounts"
    (request,) = (line for line in lines if line["event"] == "request")
    assert {request["person"], refused["person"]} == {str(auditor.public_id)}
    assert request["request_id"]


@pytest.mark.django_db
def test_an_attempt_over_its_limit_is_logged_without_the_email() -> None:
    with capture_logs() as lines:
        for _ in range(11):
            Client().post("/sign-in/", {"login": "ada@postkeeper.example", "password": "wrong"})
    (refused,) = (line for line in lines if line["event"] == "attempt over its limit refused")
    assert "ada" not in str(refused)


@pytest.mark.django_db
def test_sign_ins_and_confirmations_are_logged() -> None:
    person = UserFactory(role="customer_success")
    client = Client()
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        client.post("/sign-in/", {"login": person.email, "password": FACTORY_PASSWORD})
        client.post("/reauthenticate/", {"password": FACTORY_PASSWORD, "next": "/me/"})
    events = {line["event"]: line for line in lines}
    assert events["signed in"]["ways"] == ["password"]
    assert events["signed in"]["person"] == events["identity confirmed"]["person"] == str(person.public_id)


def test_lines_have_the_time_in_utc(written: Written) -> None:
    written.logger.warning("one")
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", written.text)


def test_everything_is_written_to_standard_error_alone() -> None:
    """No file that a process could read or change afterwards."""
    for json_lines in (True, False):
        handlers = logs.config(json_lines=json_lines, level="INFO")["handlers"]
        assert {each["class"] for each in handlers.values()} == {"logging.StreamHandler"}
        assert all(each.get("stream") is None for each in handlers.values()), "standard error"


@pytest.mark.django_db
def test_a_forged_request_and_an_unknown_host_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    Client(enforce_csrf_checks=True).post("/sign-in/", {"login": "ada@postkeeper.example", "password": "wrong"})
    Client().get("/sign-in/", headers={"Host": "attacker.example"})
    loggers = {record.name for record in caplog.records if record.levelno >= logging.WARNING}
    assert {"django.security.csrf", "django.security.DisallowedHost"} <= loggers
