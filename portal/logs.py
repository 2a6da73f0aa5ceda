"""Structured logging: one line per event, without secrets.

All logs use the standard library's logging and one formatter: `structlog.get_logger(__name__)`, Django, Celery and
gunicorn. A line includes the values bound for the request or the task (request_id, operation, ...):
`structlog.contextvars.bind_contextvars(operation=...)`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "[hidden]"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_SECRET_KEY = re.compile(
    r"authorization|api[_-]?(key|user)|secret|password|passwd|token|cookie|session_?key|csrf|sealed",
    re.IGNORECASE,
)
_SECRET_VALUES = (
    (re.compile(r"\baha-sk-[\w-]+"), MASK),
    (re.compile(r"\bSG\.[\w-]{6,}(?:\.[\w-]+)?"), MASK),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    # One-time URLs: the path alone gives access.
    (re.compile(r"(/invitation/|/password/reset/)(?!sent\b|done\b)[^\s\"']+"), rf"\1{MASK}"),
    (re.compile(r"((?:password|secret|token|api[_-]?(?:key|user))=)[^&\s\"']+", re.IGNORECASE), rf"\1{MASK}"),
    # Password in the URL of a database or a broker.
    (re.compile(r"(\w+://[^\s:/@]*:)[^\s@/]+@"), rf"\1{MASK}@"),
)
# A whole provider key, and the prefixes of keys (to search a database for).
_WHOLE_KEY = re.compile(r"\bSG\.[\w-]{16,}\.[\w-]{20,}|\baha-sk-[\w-]{16,}")
KEY_BEGINNINGS = ("SG.", "aha-sk-")
# Characters that could start a new line or control a terminal.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")


def masked(text: str) -> str:
    """Return `text` with values that look like secrets masked."""
    for pattern, replacement in _SECRET_VALUES:
        text = pattern.sub(replacement, text)
    return text


def holds_a_key(text: str) -> bool:
    """Return whether `text` contains a whole key, not only something similar."""
    return bool(_WHOLE_KEY.search(text))


def one_line(text: str) -> str:
    """Return `text` with line breaks and control characters escaped, so that log lines cannot be forged."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def _clean(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, bytes):
        return masked(value.decode("utf-8", "replace"))
    if depth > 5:
        return "[deeper]"
    if isinstance(value, Mapping):
        return {str(name): _clean_named(str(name), held, depth + 1) for name, held in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item, depth + 1) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return masked(str(value))


def _clean_named(name: str, value: Any, depth: int = 0) -> Any:
    return MASK if value and _SECRET_KEY.search(name) else _clean(value, depth)


def mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask by the name of a key and by the form of a value, at any depth. The last processor before rendering."""
    return {name: _clean_named(name, value) for name, value in event.items()}


def plain_lines(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Render `time level logger event key=value`; a traceback follows, indented behind a bar."""
    trace = str(event.pop("exception", "") or "")
    head = [str(event.pop(name, "-")) for name in ("timestamp", "level", "logger", "event")]
    pairs = [f"{key}={value}" for key, value in sorted(event.items())]
    lines = [one_line(" ".join([*head, *pairs]))]
    lines += [f"    | {one_line(line)}" for line in trace.splitlines()]
    return "\n".join(lines)


# `extra=` of the standard library, for modules that do not use structlog. An allowlist: Django's own extras contain
# whole requests.
_EXTRAS = ("provider", "endpoint", "method", "status", "duration_ms", "provider_request_id", "failure")

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.ExtraAdder(allow=_EXTRAS),
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


class RefusalsWithoutTrace(logging.Filter):
    """Filter that removes the traceback of a rejected request (4xx), which is no error of the portal."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "status_code", 500) < 500:
            record.exc_info = None
        return True


def _formatter(*, json_lines: bool) -> dict[str, Any]:
    render: Processor = structlog.processors.JSONRenderer(sort_keys=True) if json_lines else plain_lines
    return {
        "()": "structlog.stdlib.ProcessorFormatter",
        "foreign_pre_chain": _SHARED,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            mask_secrets,
            render,
        ],
    }


def config(*, json_lines: bool, level: str) -> dict[str, Any]:
    """Return Django's LOGGING, also used by gunicorn: one handler to standard error, one formatter."""
    level = level.strip().upper()
    if level not in LEVELS:
        raise ImproperlyConfigured(f'LOG_LEVEL is "{level}"; it must be one of {", ".join(LEVELS)}.')
    passed_on = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": _formatter(json_lines=json_lines)},
        "filters": {"refusals": {"()": RefusalsWithoutTrace}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": passed_on,
            "django.request": {**passed_on, "filters": ["refusals"]},
            "django.server": passed_on,
            "gunicorn.error": passed_on,
            # portal.middleware.request_id logs requests.
            "gunicorn.access": {"handlers": [], "propagate": False},
            # One line per task message would be too much.
            "celery.app.trace": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},
            "urllib3": {"level": "INFO"},
        },
    }


def configure() -> None:
    """Make `structlog.get_logger()` write through the standard library's logging."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # so that tests can capture
    )
