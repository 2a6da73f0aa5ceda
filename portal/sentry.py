"""Errors to Sentry, if SENTRY_DSN is set (the extra `sentry`). What is sent is listed here; all else is left out."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import structlog
from django.core.exceptions import ImproperlyConfigured

from portal.logs import masked

try:
    import sentry_sdk
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.integrations.dedupe import DedupeIntegration
    from sentry_sdk.integrations.django import DjangoIntegration
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration
except ImportError:
    raise ImproperlyConfigured(
        "SENTRY_DSN is set, but sentry-sdk is not installed. Install what requirements-production.txt lists."
    ) from None

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

# Parts of an event that are sent. Not among them: the request (address, headers, cookies, body, query), the user,
# arguments of tasks and of the command, breadcrumbs, local variables.
KEPT = (
    "event_id", "timestamp", "level", "platform", "logger", "environment", "release", "transaction", "exception",
    "sdk", "type",
)  # fmt: skip
FRAME = ("filename", "function", "module", "lineno", "abs_path", "in_app")
TAGS = ("request_id", "operation", "kind")
_EMAIL = re.compile(r"(?<![^\s<>\"'=,;:])[^\s<>\"'=,;:]+@[^\s<>\"'=,;:]+")


def start(dsn: str, *, environment: str) -> None:
    """Begin to report unhandled errors and lines of the level ERROR, in this process and those it forks."""
    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        before_send=reduce_event,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            DjangoIntegration(),
            CeleryIntegration(),
            LoggingIntegration(level=None, event_level=logging.ERROR),
            ExcepthookIntegration(),
            DedupeIntegration(),
        ],
        include_local_variables=False,
        include_source_context=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        send_default_pii=False,
        server_name="",
    )


def reduce_event(event: Event, hint: Hint) -> Event:
    """Return only what is needed to find an error, with secrets and email addresses in its sentence hidden."""
    kept: dict[str, Any] = {name: event[name] for name in KEPT if name in event}  # type: ignore[literal-required]  # one of its keys
    if "transaction" in kept:
        kept["transaction"] = _hidden(kept["transaction"])
    if sentence := _sentence(event, hint):
        kept["message"] = _hidden(sentence)
    if "exception" in kept:
        kept["exception"] = {"values": [_exception(each) for each in kept["exception"].get("values", [])]}
    bound = structlog.contextvars.get_contextvars()
    kept["tags"] = {name: _hidden(str(bound[name])) for name in TAGS if name in bound}
    return kept  # type: ignore[return-value]  # an event


def _sentence(event: Event, hint: Hint) -> str:
    """Return the line's text: one of structlog is a dictionary, whose other values are left out."""
    said = getattr(hint.get("log_record"), "msg", "")
    if isinstance(said, dict):
        return str(said.get("event", ""))
    entry: Any = event.get("logentry") or {}
    return str(entry.get("message") or event.get("message") or "")


def _exception(found: dict[str, Any]) -> dict[str, Any]:
    frames = (found.get("stacktrace") or {}).get("frames", [])
    return {
        "type": found.get("type"),
        "module": found.get("module"),
        "value": _hidden(str(found.get("value") or "")),
        "stacktrace": {"frames": [{name: each[name] for name in FRAME if name in each} for each in frames]},
    }


def _hidden(text: str) -> str:
    return _EMAIL.sub("[email]", masked(text))
