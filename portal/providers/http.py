"""HTTP client for providers. The only module that uses `requests`.

Every call ends in an `Answer` with the expected status, or in one of `errors`:

* failed before the first byte was sent   `NotSent`
* rejected: a 4xx that can be read        `Rejected` and below
* any other unexpected result             `OutcomeUnknown` for a change, `Unreadable` for a read

Changes are sent once, each on its own connection: on a kept-alive one an idle reset could not be told from a lost
answer. Reads take one that is kept alive and in nobody's use, and are retried a few times. Redirects are never
followed, the environment's proxies and netrc never used, cookies never stored: requests' `Session`, which does all
that, is not used, only its adapter.
"""

from __future__ import annotations

import http.client
import json
import logging
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from . import sockets
from .base import ConnectionConfig
from .calls import Answer, Call
from .errors import Evidence, NotSent, ProviderError, RateLimited, Unreadable, Unsupported
from .outcomes import expected
from .rate_limit import Pacing
from .redaction import MASK, Redactor

logger = logging.getLogger("portal.providers")

BODY_CAP = 5_000_000
READ_TRIES = 3
CLOCK_SECONDS = 10.0
# Larger differences are ignored as meaningless (10 years).
CLOCK_ABSURD = 10 * 365 * 86_400.0


# More than the threads of any sync.
KEPT_CONNECTIONS = 64
# What `requests` sends as it is.
_PLAIN_URL = re.compile(r"https?://[a-z0-9.-]+(:[0-9]+)?(/[\w/-]*)?", re.ASCII)
_PLAIN_PATH = re.compile(r"/[\w/-]*", re.ASCII)


class _TooLargeError(OSError):
    """The body exceeds `BODY_CAP`, so it cannot be the expected answer."""


# Reasons of failures, the first match applies. Library messages contain addresses, which may contain secrets.
_REASONS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((_TooLargeError,), "the response is too large"),
    ((sockets.AddressRefusedError,), "the hostname resolves to a private IP address"),
    ((requests.exceptions.SSLError, urllib3.exceptions.SSLError), "no secure connection could be established"),
    ((requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError), "the response timed out"),
    ((TimeoutError, urllib3.exceptions.TimeoutError), "the connection timed out"),
    ((ConnectionRefusedError,), "the connection was refused"),
    ((ConnectionResetError, BrokenPipeError), "the connection was reset"),
    ((urllib3.exceptions.IncompleteRead, http.client.IncompleteRead), "the response was incomplete"),
    ((sockets.NotResolvedError,), "the hostname could not be resolved"),
)


@dataclass
class _Received:
    """Response received so far; `failure` is the reason it is incomplete, "" if it is complete."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: str = ""
    unsent: bool = False


class Http:
    """Sender of `Call`s for one connection. Safe for several threads; its kept-alive connections outlive them."""

    def __init__(
        self,
        config: ConnectionConfig,
        *,
        label: str,
        on_exchange: Callable[[Evidence], None] | None = None,
        pacer: Pacing | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url = _checked_base_url(config)
        self._config = config
        self._label = label
        self._on_exchange = on_exchange
        self._pacer = pacer or Pacing()
        self._local = threading.local()
        self._kept: deque[HTTPAdapter] = deque(maxlen=KEPT_CONNECTIONS)
        self._plain_base = self._base_url if _PLAIN_URL.fullmatch(self._base_url) else ""
        self.sleep = sleep
        self.redactor = Redactor([config.api_key, config.v2_password, config.v2_username])

    @property
    def seconds_waited(self) -> float:
        return self._pacer.waited

    @contextmanager
    def budget(self, seconds: float) -> Iterator[None]:
        """Limit all calls of this thread together to `seconds`, without retries."""
        self._local.deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._local.deadline = None

    def call(self, call: Call) -> Answer:
        """Perform `call`. A read that failed in transit is retried, all within `total_timeout`."""
        shared: float | None = getattr(self._local, "deadline", None)
        deadline = shared or time.monotonic() + self._config.total_timeout
        tries = READ_TRIES if self._config.repeat_reads and not (call.changes or shared) else 1
        for attempt in range(1, tries):
            try:
                return self._once(call, deadline)
            except (NotSent, Unreadable) as error:
                pause = random.uniform(0.05, 0.25 * 2**attempt)  # noqa: S311 - jitter, not a secret
                known = isinstance(error, NotSent) and error.retry_at is not None
                if known or time.monotonic() + pause + 1 > deadline:
                    raise
            self.sleep(pause)
        return self._once(call, deadline)

    def call_patiently(self, call: Call, until: float) -> Answer:
        """Perform `call`, waiting while the rate limit returns a retry time not later than `until`."""
        while True:
            try:
                return self.call(call)
            except (NotSent, RateLimited) as error:
                if error.retry_at is None:
                    raise
                pause = max((error.retry_at - datetime.now(UTC)).total_seconds(), 0) + 0.05
                if time.monotonic() + pause > until:
                    raise
            self.sleep(pause)

    def clock_skew(self, read: Call) -> float | None:
        """Return the provider's clock skew from the answer to `read` (one request); None if there is no answer."""
        try:
            with self.budget(CLOCK_SECONDS):
                return self.call(read).evidence.clock_skew
        except ProviderError as error:
            return error.evidence.clock_skew

    def _once(self, call: Call, deadline: float) -> Answer:
        """Send one request at most once, and return its answer or raise its error."""
        if until := self._pacer.wait(call.endpoint, seconds=deadline - time.monotonic()):
            raise NotSent(f"{self._label}'s rate limit has been reached.", retry_at=until)
        if deadline - time.monotonic() <= 0:
            raise NotSent("The request timed out before it was sent.")
        prepared = self._prepare(call)
        sent_at, started = datetime.now(UTC), time.monotonic()
        got = self._transfer(call, prepared, deadline - started)
        evidence = self._evidence(call, prepared, got, sent_at, time.monotonic() - started)
        self._report(call, evidence, got.failure)
        if got.unsent:
            raise NotSent(f"{self._label} could not be reached: {got.failure}.", evidence=evidence)
        if got.failure or got.status is None:
            raise call.unusable(f"No usable response from {self._label}: {got.failure}.", evidence)
        again = self._pacer.learn(call.endpoint, got.status, got.headers)
        answer = Answer(call, got.status, got.headers, got.body, evidence, self.redactor)
        return expected(answer, label=self._label, again=again)

    # requests

    def _prepare(self, call: Call) -> requests.PreparedRequest:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Postkeeper"}
        data: bytes | None = None
        if call.text is not None or call.body is not None:
            headers["Content-Type"] = "application/json"
            data = (json.dumps(call.body) if call.text is None else call.text).encode()
        elif call.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            data = urlencode(call.form).encode()
        if call.bearer:
            headers["Authorization"] = f"Bearer {self._config.api_key}"
        if call.changes:
            headers["Connection"] = "close"
        headers.update(call.headers)
        request = requests.Request(call.method, self._base_url + call.path, headers, data=data)
        request.params = dict(call.query)
        try:
            "".join(headers.values()).encode("ascii")  # http.client would fail later, with an unknown outcome
            if self._plain_base and data is None and not call.query and _PLAIN_PATH.fullmatch(call.path):
                return self._plain_request(call, headers)
            return request.prepare()
        except (requests.RequestException, ValueError):
            pass  # raised below, without the library's exception, which holds the request
        raise NotSent("The connection's key or base URL contains invalid characters.")

    def _plain_request(self, call: Call, headers: dict[str, str]) -> requests.PreparedRequest:
        """Return a request without a body whose URL needs no escaping: `requests` parses a URL four times."""
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url = call.method, self._plain_base + call.path
        prepared.hooks = requests.hooks.default_hooks()
        prepared.prepare_headers(headers)
        prepared.prepare_content_length(None)
        return prepared

    def _transfer(self, call: Call, prepared: requests.PreparedRequest, seconds: float) -> _Received:
        """Send the request and read the response. Failures are returned: an exception would carry the request."""
        got = _Received()
        adapter = _new_adapter() if call.changes else self._take_adapter()
        with sockets.Exchange(seconds, allow_private=self._config.allow_private) as exchange:
            timeout = (self._config.connect_timeout, min(self._config.read_timeout, seconds))
            try:
                response = adapter.send(prepared, stream=True, timeout=timeout)
                _receive(response, got)
            except Exception as error:  # noqa: BLE001 - whatever a library makes of it, bytes may have left
                got.failure, got.unsent = _reason(error), exchange.unsent
            finally:
                if call.changes:
                    adapter.close()
            if exchange.expired:
                got.failure = "the total time limit was reached"
        if not call.changes:  # only now can the deadline no longer close its socket
            self._kept.append(adapter)
        return got

    def _take_adapter(self) -> HTTPAdapter:
        """Return the connection used last, so that those that are not needed stay idle and are closed by the other
        side."""
        try:
            return self._kept.pop()
        except IndexError:
            return _new_adapter()

    # evidence

    def _evidence(
        self,
        call: Call,
        prepared: requests.PreparedRequest,
        got: _Received,
        sent_at: datetime,
        seconds: float,
    ) -> Evidence:
        sent = prepared.body if isinstance(prepared.body, bytes) else b""
        request_id = got.headers.get("x-request-id") or got.headers.get("x-message-id") or ""
        return Evidence(
            method=call.method,
            path=self.redactor.line(prepared.path_url, limit=500),
            request_body=self.redactor.body(sent),
            status=got.status,
            request_id=self.redactor.line(request_id, limit=128),
            response_headers=self.redactor.headers(got.headers),
            response_body=MASK if call.secret_answer and got.body else self.redactor.body(got.body),
            duration_ms=round(seconds * 1000),
            sent_at=sent_at,
            failure=got.failure,
            clock_skew=_clock_skew(got.headers, sent_at + timedelta(seconds=seconds / 2)),
            kind=self._config.kind,
            endpoint=call.endpoint,
        )

    def _report(self, call: Call, evidence: Evidence, failure: str) -> None:
        """Log the exchange without body and headers, and call `on_exchange`."""
        facts = {
            "provider": self._label,
            "endpoint": call.endpoint,
            "method": call.method,
            "status": evidence.status,
            "duration_ms": evidence.duration_ms,
            "provider_request_id": evidence.request_id,
            "failure": failure,
        }
        logger.info("provider exchange", extra=facts)
        if self._on_exchange is None:
            return
        try:
            self._on_exchange(evidence)
        except Exception:
            logger.exception("an exchange could not be recorded", extra=facts)


def _checked_base_url(config: ConnectionConfig) -> str:
    """Return the base URL without its trailing slash. https only, except for loopback (the sandbox) or a private
    network."""
    try:
        parts = urlsplit(config.base_url)
        _port = parts.port
    except ValueError:
        raise Unsupported("The base URL of the connection is invalid.") from None
    schemes = ("https", "http") if parts.hostname in sockets.LOOPBACK_NAMES or config.allow_private else ("https",)
    if parts.scheme not in schemes or not parts.hostname:
        raise Unsupported("The base URL of a connection must begin with https://.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise Unsupported("The base URL of a connection can't contain a username or a query.")
    return config.base_url.rstrip("/")


def _new_adapter() -> HTTPAdapter:
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
    adapter.poolmanager.pool_classes_by_scheme = sockets.POOLS
    return adapter


def _receive(response: requests.Response, got: _Received) -> None:
    got.status = response.status_code
    got.headers = {name.lower(): value for name, value in response.headers.items()}
    body = bytearray()
    complete = False
    try:
        for chunk in response.iter_content(65_536):
            body += chunk
            if len(body) > BODY_CAP:
                raise _TooLargeError
        complete = True
    finally:
        got.body = bytes(body)
        if not complete:  # unread data must not reach the next request on this connection
            response.raw.close()
        response.close()


def _clock_skew(headers: Mapping[str, str], answered_at: datetime) -> float | None:
    """Return the seconds the provider's clock is ahead of this machine's. A cached answer (`Age`) has no current
    time."""
    try:
        told = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError, OverflowError):
        return None
    if told.tzinfo is None or "age" in headers:
        return None
    skew = (told - answered_at).total_seconds() + 0.5  # the header is cut to whole seconds
    return skew if abs(skew) <= CLOCK_ABSURD else None


def _reason(error: BaseException) -> str:
    chain: list[BaseException] = []
    todo: list[object] = [error]
    while todo and len(chain) < 20:
        one = todo.pop()
        if isinstance(one, BaseException) and one not in chain:
            chain.append(one)
            todo += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    for kinds, words in _REASONS:
        if any(isinstance(one, kinds) for one in chain):
            return words
    return "the connection was closed, or the response is not HTTP"
