"""Results of an action for the executor: whether to send, the result of a send, the result of a reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from customers.models import Operation
from portal.providers import FieldError, Provider


@dataclass(frozen=True)
class Succeeded:
    """The operation is applied. `account` are columns to write on the account, `result` is stored on the operation and
    the attempt; `also` is called with the time, in the transaction that records it. `is_read`: the account was read, or
    came with the answer, so it need not be read again."""

    note: str = ""
    account: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    also: Callable[[datetime], None] | None = field(default=None, repr=False)
    is_read: bool = False


@dataclass(frozen=True)
class StepDone:
    """This send was applied and was not the last one: the operation continues immediately."""

    note: str


@dataclass(frozen=True)
class NotApplied:
    """Read back: the change was not applied, so it may be sent again, from `until` on. After `sends_at_most` sends with
    an uncertain outcome it needs a review instead. `more_to_do`: something has to be corrected first, even where the
    provider's last answer was a refusal."""

    summary: str
    until: datetime | None = None
    sends_at_most: int = 3
    more_to_do: bool = False


@dataclass(frozen=True)
class RetryAt:
    until: datetime
    summary: str
    error_kind: str = ""


@dataclass(frozen=True)
class Failed:
    """The operation ends here, and nothing was (or will be) sent. `error_kind` as in docs/decisions/operations.md."""

    error_kind: str
    summary: str
    result: dict[str, Any] = field(default_factory=dict)
    field_errors: tuple[FieldError, ...] = ()


@dataclass(frozen=True)
class NeedsReview:
    """The operation needs a review. Nothing more is sent before it."""

    error_kind: str
    summary: str
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Send:
    """The change may be sent. `call` and `request` are stored on the attempt of this send; `send` makes exactly one
    change. `body`: its exact bytes, stored on the operation from the first intent on, never built again. `clock_skew`:
    by how many seconds the provider's clock is ahead of this machine's; None where not measured. `record_seen` stores
    what was read before, in the transaction of the intent, and returns whether it did."""

    call: str
    request: str
    send: Callable[[], Succeeded | StepDone | Failed]
    body: str = ""
    clock_skew: float | None = None
    record_seen: Callable[[], bool] | None = None


class Action(Protocol):
    """The reads before the send, the send and the verification of one kind of operation. `prepare` and `verify` only
    read; all raise `ProviderError`. No state of an operation is written here. Each kind's action inherits from this."""

    def prepare(
        self, operation: Operation, provider: Provider, *, now: datetime
    ) -> Send | Succeeded | RetryAt | Failed | NeedsReview: ...

    def verify(
        self, operation: Operation, provider: Provider, *, now: datetime
    ) -> Succeeded | NotApplied | RetryAt | Failed | NeedsReview: ...

    def from_late_answer(self, result: dict[str, Any]) -> Succeeded | None:
        """Return the verdict of an answer that came late, from what the attempt stored of it; None where reading tells
        more, as of anything that may have been deleted since."""
        return None


def with_columns(done: Succeeded, **columns: Any) -> Succeeded:
    """Return the same result with the account columns that the answer contained."""
    return replace(done, account=done.account | columns, is_read=True)
