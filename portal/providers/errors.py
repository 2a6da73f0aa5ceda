"""What a call to a provider can end in, decided once, where the response is read.

Four outcomes matter to whoever asked for a change (see docs/decisions/outcomes.md):

* **not sent**  `NotSent`: no byte of the request can have had an effect. Retry freely.
* **rejected**  `Rejected` and below: the provider read the request and refused it. Final, except
  `RateLimited`, which says when to try again.
* **applied**   no exception: the expected status *and* a body that fits.
* **unknown**   `OutcomeUnknown`: it may or may not have happened. Never retried blindly.

For a read nothing can have happened, so an answer that cannot be used is `Unreadable` and may be retried.
Every error carries its evidence (`Evidence`), survives pickling and never holds a secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class FieldError:
    """One complaint of the provider. `field` is "" when it belongs to none; `code` is the provider's own."""

    message: str
    field: str = ""
    code: str = ""


@dataclass(frozen=True)
class Evidence:
    """What was sent and what came back, already redacted at the HTTP layer. Sizes are capped. `failure` is why the
    answer is missing or not complete, "" when it is. `clock_skew` is by how many seconds the provider's clock was ahead
    of this machine's (its `Date` header, exact to a second); None where it did not say."""

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


class ProviderError(Exception):
    """Base of all. `str(error)` is a sentence that may be shown to staff."""

    def __init__(self, message: str, *, evidence: Evidence | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.evidence = evidence or Evidence()

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.message, self.__dict__)


def _rebuild(cls: type[ProviderError], message: str, state: dict[str, Any]) -> ProviderError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class NotSent(ProviderError):
    """Failed before the first byte: name not resolved, refused, connect timeout, TLS, or our own pacing.

    `retry_at` (aware UTC) is set when a time is known before which trying is pointless.
    """

    def __init__(self, message: str, *, retry_at: datetime | None = None, evidence: Evidence | None = None) -> None:
        super().__init__(message, evidence=evidence)
        self.retry_at = retry_at


class Rejected(ProviderError):
    """The provider refused the request; nothing was applied. `field_errors` is for the form."""

    def __init__(
        self, message: str, *, field_errors: tuple[FieldError, ...] = (), evidence: Evidence | None = None
    ) -> None:
        super().__init__(message, evidence=evidence)
        self.field_errors = field_errors


class NotFound(Rejected):
    """404: no such account (or path: SendGrid's 404 does not tell them apart)."""


class Unauthorized(Rejected):
    """401: our credential is missing, unknown or revoked. Pauses the connection, burns no operation."""


class Forbidden(Rejected):
    """403: the credential lacks a right, or the account's state forbids this."""


class KeyRefused(Forbidden):
    """401 for an account's own key. It says nothing of our credential, so nothing of the connection is paused."""


class RateLimited(Rejected):
    """429: not executed. `retry_at` (aware UTC) is already clamped to 1..300 seconds from now."""

    def __init__(
        self,
        message: str,
        *,
        retry_at: datetime,
        field_errors: tuple[FieldError, ...] = (),
        evidence: Evidence | None = None,
    ) -> None:
        super().__init__(message, field_errors=field_errors, evidence=evidence)
        self.retry_at = retry_at


class InProgress(Rejected):
    """An earlier send under the same idempotency key is still running; this one was not executed. The same bytes
    may be sent again from `retry_at` (aware UTC) on."""

    def __init__(self, message: str, *, retry_at: datetime, evidence: Evidence | None = None) -> None:
        super().__init__(message, evidence=evidence)
        self.retry_at = retry_at


class KeyReused(Rejected):
    """The idempotency key was used with another request before. Nothing was executed; sending again is no use."""


class OutcomeUnknown(ProviderError):
    """A change may or may not have happened: read timeout, reset after the first byte, any 5xx, 408,
    an unexpected 2xx/3xx, or a body that cannot be read."""


class Unreadable(ProviderError):
    """A read gave no usable answer (timeout, 5xx, HTML, wrong shape). Nothing changed; may be retried."""


class Unsupported(ProviderError):
    """This provider (or this connection's settings) has no such ability. `Capabilities` says so in advance,
    save for an API the provider has closed since."""
