"""Outcomes of a call to a provider, determined once, when the response is read.

Four outcomes matter to the caller of a change (see docs/decisions/outcomes.md):

* **not sent**  `NotSent`: no byte of the request can have had an effect. May be retried.
* **rejected**  `Rejected` and below: the provider read the request and rejected it. Final, except
  `RateLimited` and `InProgress`, which carry a retry time.
* **applied**   no exception: the expected status *and* a valid body.
* **unknown**   `OutcomeUnknown`: it may or may not have been applied. Never retried without verification.

A read cannot change anything, so an answer that cannot be used is `Unreadable` and may be retried. Every error carries
its evidence (`Evidence`), survives pickling and never holds a secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class FieldError:
    """One error reported by the provider. `field` is "" if it concerns none; `code` is the provider's own."""

    message: str
    field: str = ""
    code: str = ""


@dataclass(frozen=True)
class Evidence:
    """Request and response of an exchange, redacted at the HTTP layer, with capped sizes. `failure` is the reason the
    answer is missing or incomplete, "" if it is complete. `clock_skew` is the number of seconds the provider's clock
    was ahead of this machine's (its `Date` header, exact to a second); None if unknown. `kind` is that of the
    provider, `endpoint` that of the call."""

    method: str = ""
    path: str = ""
    request_body: str = ""
    status: int | None = None
    request_id: str = ""
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""
    duration_ms: int = 0
    sent_at: datetime | None = None
    failure: str = ""
    clock_skew: float | None = None
    kind: str = ""
    endpoint: str = ""


class ProviderError(Exception):
    """Base class of provider errors. `str(error)` is a sentence that may be shown to staff.

    `retry_at` (aware UTC) is the earliest time of a useful retry, where it is known.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_at: datetime | None = None,
        field_errors: tuple[FieldError, ...] = (),
        evidence: Evidence | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_at = retry_at
        self.field_errors = field_errors
        self.evidence = evidence or Evidence()


class NotSent(ProviderError):
    """Failure before the first byte: name not resolved, refused, connect timeout, TLS, or the portal's rate limiter.

    `retry_at` is set if a retry before that time would fail.
    """


class Rejected(ProviderError):
    """Rejection by the provider; nothing was applied. `field_errors` are shown on the form."""


class NotFound(Rejected):
    """404: no such account (or path: SendGrid's 404 does not tell them apart)."""


class Unauthorized(Rejected):
    """401: the connection's key is missing, unknown or revoked. Pauses the connection; operations do not fail."""


class Forbidden(Rejected):
    """403: the key lacks a scope, or the account's state forbids the request."""


class KeyRefused(Forbidden):
    """401 for an account's own key. The connection's key is not concerned, so the connection is not paused."""


class RateLimited(Rejected):
    """429: not executed. `retry_at` is already clamped to 1..300 seconds from now."""

    retry_at: datetime


class InProgress(Rejected):
    """An earlier request with the same idempotency key is still running; this one was not executed. The same bytes may
    be sent again from `retry_at` on."""

    retry_at: datetime


class KeyReused(Rejected):
    """The idempotency key was used with another request before. Nothing was executed; a retry would fail too."""


class OutcomeUnknown(ProviderError):
    """A change may or may not have been applied: read timeout, reset after the first byte, any 5xx, 408, an unexpected
    2xx/3xx, or a body that cannot be read."""


class Unreadable(ProviderError):
    """A read gave no usable answer (timeout, 5xx, HTML, wrong shape). Nothing changed; may be retried."""


class Unsupported(ProviderError):
    """The provider, or the connection's settings, does not support this. `Capabilities` tells in advance, except for an
    API the provider has closed since."""
