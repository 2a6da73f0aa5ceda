"""Nothing secret and no forged line may reach the log, whoever writes it."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Iterator

import pytest
import structlog
from django.test import Client

from portal import logs
from tests.support.factories import UserFactory

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
