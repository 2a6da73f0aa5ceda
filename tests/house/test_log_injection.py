"""200 strings that try to forge a line of the log, wherever a line takes a value: one event stays one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import structlog

from portal import logs
from tests.house.test_logs import Written

BREAKS = (
    "\n", "\r", "\r\n", "\n\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x00\n", "\x08\n",
    "\x1b[1A\n", "\x1b[2K\r", "\x1b[2J", "\x1b]0;title\x07", "\x9b1A", "\x9dtitle\x9c", "\x90q\x9c", "\x7f", "\x1bc",
    "\u202e", "\u2066", "\t\n", "\n\n\n", "\r\x1b[31m", "\ud800\n", "\ufeff\n", "\x04\n", "\u2067\u202d",
    "\x1b[8m\n", "\x1b]8;;https://evil.example\x1b\\",
)  # fmt: skip
FORGED = (
    "2026-01-01T00:00:00Z info audit sealed head=1:00",
    '{"event": "sign_in", "level": "info", "timestamp": "2026-01-01T00:00:00Z"}',
    "    | Traceback (most recent call last):",
    '", "level": "info", "event": "forged',
    '127.0.0.1 - - [01/Jan/2026] "GET / HTTP/1.1" 200',
    "%s %(name)s {0} $(id) `id`",
)  # fmt: skip
STRINGS = [f"name{cut}{line}" for cut, line in product(BREAKS, FORGED)]
# What could start a line, control a terminal, or turn the order of what is read.
UNSEEN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _log(written: Written) -> Callable[..., Any]:
    return structlog.get_logger(written.logger.name).info  # type: ignore[no-any-return]  # structlog's are any


def _with_extra(written: Written, text: str) -> None:
    written.logger.error("failed", extra={"failure": text})


WAYS: dict[str, Callable[[Written, str], Any]] = {
    "event": lambda written, text: _log(written)(text),
    "value": lambda written, text: _log(written)("x", who=text),
    "name": lambda written, text: _log(written)("x", **{text: 1}),
    "bytes": lambda written, text: _log(written)("x", who=text.encode("utf-8", "replace")),
    "deep": lambda written, text: _log(written)("x", who=[{"a": {text: [text]}}]),
    "object": lambda written, text: _log(written)("x", who=ValueError(text)),
    "message": lambda written, text: written.logger.warning(text.replace("%", "%%")),
    "argument": lambda written, text: written.logger.warning("Not Found: %s", text),
    "extra": _with_extra,
}


def test_there_are_200() -> None:
    assert len(set(STRINGS)) >= 200


@pytest.mark.parametrize("json_lines", [True, False], ids=["json", "plain"])
@pytest.mark.parametrize("way", WAYS)
def test_no_string_forges_a_line(way: str, json_lines: bool) -> None:
    for text in STRINGS:
        with Written(json_lines=json_lines, name="tests.house.injection") as written:
            WAYS[way](written, text)
        (line,) = written.text.splitlines()
        assert written.text == f"{line}\n"
        assert not UNSEEN.search(line), (way, text, line)
        if json_lines:
            assert json.loads(line)["level"] in ("info", "warning", "error")
            assert json.loads(line)["logger"] == "tests.house.injection"


@pytest.mark.parametrize("json_lines", [True, False], ids=["json", "plain"])
def test_no_exception_forges_a_line(json_lines: bool) -> None:
    for text in STRINGS:
        with Written(json_lines=json_lines, name="tests.house.injection") as written:
            try:
                raise ValueError(text)
            except ValueError:
                written.logger.exception("failed")
        first, *rest = written.text.splitlines()
        assert not any(map(UNSEEN.search, [first, *rest]))
        assert all(line.startswith("    | ") for line in rest)
        assert not (json_lines and rest)


def test_what_is_read_from_right_to_left_stays_readable() -> None:
    text = "\u05e9\u05dc\u05d5\u05dd \u200f\u05e2\u05d5\u05dc\u05dd"
    assert logs.one_line(text) == text
