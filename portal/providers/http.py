"""One request to a provider, and what became of it. The only module that knows `requests`.

Every call ends in an `Answer` with the status that was asked for, or in one of `errors`:

* failed before the first byte left          `NotSent`
* refused: 4xx that we can read              `Rejected` and below
* anything else that is not what was asked   `OutcomeUnknown` for a change, `Unreadable` for a read

Changes go out once, each on a connection of its own: on a kept-alive one an idle reset could not be told from a lost
answer. Reads share a connection per thread and are repeated a few times. Redirects are never followed, the
environment's proxies and netrc never used, cookies never kept.
"""

from __future__ import annotations

import http.client
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from . import wire
from .base import ConnectionConfig
from .complaints import complaints, sentence
from .errors import (
    Evidence,
    Forbidden,
    NotFound,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    Unreadable,
    Unsupported,
)
from .pacing import Pacing, retry_at
from .reading import NotReadable, read_json
from .redaction import MASK, Redactor

logger = logging.getLogger("portal.providers")

BODY_CAP = 5_000_000
READ_TRIES = 3
# Refusals of the edge in front of the provider, certain whatever stands in the body.
_EDGE_REFUSALS = frozenset({405, 406, 411, 413, 414, 415, 431, 451})
_TRANSPORT_FAILURES = (
    requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError
)  # fmt: skip


class _TooLarge(OSError):
    """More than `BODY_CAP`: reading on would be a favour to nobody."""


@dataclass(frozen=True)
class Call:
    """A request as the provider's file describes it."""

    method: str
    path: str
    endpoint: str  # the class of calls that share a rate limit
    expect: int = 200
    changes: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None  # sent as JSON
    form: Mapping[str, str] | None = field(default=None, repr=False)
    bearer: bool = True
    secret_answer: bool = False  # the answer signs somebody in: nothing of it is kept

    def unusable(self, why: str, evidence: Evidence) -> ProviderError:
        return OutcomeUnknown(why, evidence=evidence) if self.changes else Unreadable(why, evidence=evidence)


@dataclass(frozen=True)
class Answer:
    call: Call
    status: int
    headers: Mapping[str, str] = field(repr=False)  # names in lower case
    body: bytes = field(repr=False)
    evidence: Evidence

    def json(self) -> Any:
        try:
            return read_json(self.body)
        except NotReadable:
            raise self.unusable("The answer is not JSON.") from None

    def unusable(self, why: str) -> ProviderError:
        return self.call.unusable(why, self.evidence)


def check_base_url(url: str, *, allow_private: bool) -> str:
    """The base URL without its last slash. https, except where it names this very machine (the sandbox)."""
    parts = urlsplit(url)
    local = parts.hostname in wire.LOOPBACK_NAMES or allow_private
    if parts.scheme not in (("https", "http") if local else ("https",)) or not parts.hostname:
        raise Unsupported("The base URL of a connection has to be an https address.")
    if parts.username is not None or parts.query or parts.fragment:
        raise Unsupported("The base URL of a connection holds an address only, no user name and no query.")
    return url.rstrip("/")


class Http:
    """Sends `Call`s for one connection. Safe for several threads; each has its own kept-alive connection."""

    def __init__(
        self, config: ConnectionConfig, *, label: str, on_exchange: Callable[[Evidence], None] | None = None
    ) -> None:
        self._base_url = check_base_url(config.base_url, allow_private=config.allow_private)
        self._config = config
        self._label = label
        self._on_exchange = on_exchange
        self._redactor = Redactor([config.api_key, config.v2_password, config.v2_username])
        self._pacing = Pacing()
        self._local = threading.local()

    @property
    def redactor(self) -> Redactor:
        return self._redactor

    # -- many requests ------------------------------------------------------------------------------------------

    @contextmanager
    def budget(self, seconds: float) -> Iterator[None]:
        """Within it, all calls of this thread together get `seconds`, and none is repeated."""
        self._local.deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._local.deadline = None

    def call(self, call: Call) -> Answer:
        """Perform `call`; a read that failed on the way is repeated, all within the connection's total timeout."""
        shared: float | None = getattr(self._local, "deadline", None)
        deadline = shared or time.monotonic() + self._config.total_timeout
        tries = 1 if call.changes or shared else READ_TRIES
        for attempt in range(1, tries + 1):
            self._keep_pace(call)
            try:
                return self._judged(self._exchange(call, deadline))
            except (NotSent, Unreadable):
                pause = random.uniform(0.05, 0.25 * 2**attempt)  # noqa: S311  jitter, not a secret
                if attempt == tries or time.monotonic() + pause + 1 > deadline:
                    raise
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _keep_pace(self, call: Call) -> None:
        until = self._pacing.blocked_until(call.endpoint)
        if until:
            raise NotSent(f"{self._label}'s rate limit is used up for the moment.", retry_at=until)

    # -- one request --------------------------------------------------------------------------------------------

    def _exchange(self, call: Call, deadline: float) -> Answer:
        """Send once and read the whole answer. Raises only for what happened on the way."""
        prepared = self._prepare(call)
        started, sent_at = time.monotonic(), datetime.now(UTC)
        if deadline - started <= 0:
            raise NotSent("The time for this call was used up before it was sent.")
        status, headers, body, failure = None, dict[str, str](), b"", ""
        with wire.Exchange(deadline - started, allow_private=self._config.allow_private) as exchange:
            adapter = self._adapter(fresh=call.changes)
            try:
                status, headers, body = self._transfer(adapter, prepared, exchange)
            except _TRANSPORT_FAILURES as error:
                failure = _reason(error)
            finally:
                if call.changes:
                    adapter.close()
            if exchange.expired:
                failure = "the time for the whole call was up"
        evidence = self._evidence(call, prepared, status, headers, body, sent_at, started)
        self._report(call, evidence, failure)
        # Raised here, outside `except`, so that no library exception with the request inside hangs on to ours.
        if failure and exchange.unsent:
            raise NotSent(f"{self._label} could not be reached: {failure}.", evidence=evidence)
        if failure or status is None:
            raise call.unusable(f"No complete answer from {self._label}: {failure}.", evidence)
        self._pacing.learn(call.endpoint, status, headers)
        return Answer(call, status, headers, body, evidence)

    def _transfer(
        self, adapter: HTTPAdapter, prepared: requests.PreparedRequest, exchange: wire.Exchange
    ) -> tuple[int, dict[str, str], bytes]:
        timeout = (
            min(self._config.connect_timeout, exchange.remaining),
            min(self._config.read_timeout, exchange.remaining),
        )
        response = adapter.send(prepared, stream=True, timeout=timeout)
        try:
            body = bytearray()
            for chunk in response.iter_content(65_536):
                body += chunk
                if len(body) > BODY_CAP:
                    raise _TooLarge
            headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status_code, headers, bytes(body)
        except BaseException:
            response.raw.close()  # what is left unread must not wait for the next request
            raise
        finally:
            response.close()

    def _prepare(self, call: Call) -> requests.PreparedRequest:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Postkeeper"}
        data: bytes | None = None
        if call.body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(call.body).encode()
        elif call.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            data = urlencode(call.form).encode()
        if call.bearer:
            headers["Authorization"] = f"Bearer {self._config.api_key}"
        if call.changes:
            headers["Connection"] = "close"
        headers.update(call.headers)
        url = self._base_url + call.path
        try:
            "".join(headers.values()).encode(
                "ascii"
            )  # else http.client fails later, with the outcome in doubt
            return requests.Request(call.method, url, headers, data=data, params=dict(call.query)).prepare()
        except (requests.RequestException, ValueError):
            pass
        raise NotSent("The connection's key or address holds characters that cannot be sent.")

    def _adapter(self, *, fresh: bool) -> HTTPAdapter:
        adapter: HTTPAdapter | None = None if fresh else getattr(self._local, "adapter", None)
        if adapter is None:
            adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
            adapter.poolmanager.pool_classes_by_scheme = wire.POOLS
            if not fresh:
                self._local.adapter = adapter
        return adapter

    # -- what is kept -------------------------------------------------------------------------------------------

    def _evidence(
        self,
        call: Call,
        prepared: requests.PreparedRequest,
        status: int | None,
        headers: Mapping[str, str],
        body: bytes,
        sent_at: datetime,
        started: float,
    ) -> Evidence:
        sent = prepared.body if isinstance(prepared.body, bytes) else b""
        return Evidence(
            method=call.method,
            path=self._redactor.text(prepared.path_url, limit=500),
            request_body=self._redactor.body(sent),
            status=status,
            request_id=_request_id(headers),
            response_headers=self._redactor.headers(headers),
            response_body=MASK if call.secret_answer and body else self._redactor.body(body),
            duration_ms=round((time.monotonic() - started) * 1000),
            sent_at=sent_at,
        )

    def _report(self, call: Call, evidence: Evidence, failure: str) -> None:
        """Tell whoever records attempts, and the log. Never bodies, never headers."""
        facts = {
            "provider": self._label, "endpoint": call.endpoint, "method": call.method, "status": evidence.status,
            "duration_ms": evidence.duration_ms, "provider_request_id": evidence.request_id, "failure": failure,
        }  # fmt: skip
        logger.info("provider exchange", extra=facts)
        if self._on_exchange:
            try:
                self._on_exchange(evidence)
            except Exception:  # what the provider did is worth more than the note about it
                logger.exception("an exchange could not be recorded", extra=facts)

    # -- what it means ------------------------------------------------------------------------------------------

    def _judged(self, answer: Answer) -> Answer:
        """`answer` if it has the expected status, else the error it stands for."""
        status, evidence = answer.status, answer.evidence
        if status == answer.call.expect:
            return answer
        if not 400 <= status < 500 or status == 408:
            raise answer.unusable(f"{self._label} answered {status}, which says nothing about the outcome.")
        found = complaints(answer.body)
        said = f": {sentence(found)}." if found else "."
        if status == 429:
            raise RateLimited(
                f"{self._label} asks for a pause (429){said}",
                retry_at=retry_at(answer.headers, datetime.now(UTC)), field_errors=found, evidence=evidence,
            )  # fmt: skip
        if status == 401:
            raise Unauthorized(
                f"{self._label} refused our key (401){said}", field_errors=found, evidence=evidence
            )
        if status == 403:
            raise Forbidden(
                f"{self._label} does not allow this (403), or blocks us for a while{said}",
                field_errors=found, evidence=evidence,
            )  # fmt: skip
        if not found and status not in _EDGE_REFUSALS:
            # A bare 404 or 400 may come from anything on the way; only the provider's own words are a refusal.
            raise answer.unusable(f"{self._label} answered {status} without a readable reason.")
        kind = NotFound if status == 404 else Rejected
        raise kind(f"{self._label} refused ({status}){said}", field_errors=found, evidence=evidence)


def _request_id(headers: Mapping[str, str]) -> str:
    value = headers.get("x-request-id") or headers.get("x-message-id") or ""
    return re.sub(r"[^!-~]", "", value)[:128]


def _reason(error: BaseException) -> str:
    """Why it failed, in our words: library texts hold addresses, and addresses may hold secrets."""
    chain: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo and len(chain) < 12:
        one = todo.pop()
        if one is None or any(one is seen for seen in chain):
            continue
        chain.append(one)
        todo += [one.__cause__, one.__context__, *(arg for arg in one.args if isinstance(arg, BaseException))]
        todo.append(
            getattr(one, "reason", None) if isinstance(getattr(one, "reason", None), BaseException) else None
        )
    for kinds, words in _REASONS:
        if any(isinstance(one, kinds) for one in chain):
            return words
    return "the connection broke"


_REASONS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((_TooLarge,), "it is too large"),
    ((wire.AddressRefused,), "its name leads to an address that is not public"),
    ((requests.exceptions.SSLError, urllib3.exceptions.SSLError), "no secure connection"),
    ((requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError), "it took too long to answer"),
    ((TimeoutError, urllib3.exceptions.TimeoutError), "it did not respond in time"),
    ((ConnectionRefusedError,), "the connection was refused"),
    ((ConnectionResetError, BrokenPipeError), "the connection was reset"),
    ((urllib3.exceptions.IncompleteRead, http.client.IncompleteRead), "the answer was cut off"),
    ((http.client.HTTPException,), "the connection was closed or the answer is not HTTP"),
)
