"""A log line for each statement that takes longer than SLOW_QUERY_MS, without its values."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import structlog
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from portal import metrics

log = structlog.get_logger(__name__)
LONGEST = 2000
_QUOTED = re.compile(r"'(?:[^']|'')*'")
_LIST = re.compile(r"\(\s*(?:%s\s*,\s*)+%s\s*\)")
_ROWS = re.compile(r"(\([^()]*\))(?:\s*,\s*\1)+")
_VERBS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})


def shape_of(sql: str) -> str:
    """Return a statement without values: quoted texts are replaced, long lists and repeated rows cut short."""
    text = _LIST.sub("(%s, ...)", _QUOTED.sub("'...'", " ".join(sql.split())))
    return _ROWS.sub(r"\1, ...", text)[:LONGEST]


@receiver(connection_created)
def watch_statements(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Time the statements of a new connection. An object of Django connects again, and is watched once."""
    if settings.SLOW_QUERY_MS and _timed not in connection.execute_wrappers:
        connection.execute_wrappers.append(_timed)


def _timed(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    started = time.perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        ms = round((time.perf_counter() - started) * 1000)
        if ms >= settings.SLOW_QUERY_MS:
            verb = str(sql).lstrip()[:6].upper()
            metrics.SLOW_QUERIES.labels(verb if verb in _VERBS else "other").inc()
            log.warning("database.slow_query", ms=ms, statement=shape_of(str(sql)))
