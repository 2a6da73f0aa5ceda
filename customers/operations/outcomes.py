"""What an action says to the executor: whether to send, what a send did, what a reading showed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from customers.models import Operation
from portal.providers import FieldError, Provider


@dataclass(frozen=True)
class Succeeded:
    """It is so. `account` are columns to write on the account, `result` is kept on the operation and the attempt;
    `also` is called with the time, in the transaction that records it."""

    note: str = ""
    account: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    also: Callable[[datetime], None] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class StepDone:
    """This send was applied and was not the last one: the operation goes on at once."""

    note: str


@dataclass(frozen=True)
class NotApplied:
    """Read back: the change did not happen, so it may be sent again, from `until` on. After `sends_at_most` sends whose
    outcome was uncertain a person decides instead. `more_to_do`: something has to be put right first, even where the
    provider's last word was no."""

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
    """It ends here, and nothing was (or will be) sent. `error_kind` as in docs/decisions/operations.md."""

    error_kind: str
    summary: str
    result: dict[str, Any] = field(default_factory=dict)
    field_errors: tuple[FieldError, ...] = ()


@dataclass(frozen=True)
class NeedsReview:
    """Nothing is sent any more before a person has decided."""

    error_kind: str
    summary: str
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Send:
    """Nothing speaks against sending. `call` and `request` are what the attempt keeps of this send; `send` makes
    exactly one change. `body`: its exact bytes, kept on the operation from the first intent on, never built again.
    `clock_skew`: by how many seconds the provider's clock is ahead of this machine's; None where not measured."""

    call: str
    request: str
    send: Callable[[], Succeeded | StepDone | Failed]
    body: str = ""
    clock_skew: float | None = None


class Action(Protocol):
    """What one kind of operation reads before, sends, and reads back. `prepare` and `verify` only read; all raise
    `ProviderError`. No state of an operation is written here."""

    def prepare(
        self, operation: Operation, provider: Provider, *, now: datetime
    ) -> Send | Succeeded | RetryAt | Failed | NeedsReview: ...

    def verify(
        self, operation: Operation, provider: Provider, *, now: datetime
    ) -> Succeeded | NotApplied | RetryAt | Failed | NeedsReview: ...

    def from_late_answer(self, result: dict[str, Any]) -> Succeeded | None:
        """The verdict of an answer that came late, from what the attempt kept of it; None where reading says more."""
        ...


def with_columns(done: Succeeded, **columns: Any) -> Succeeded:
    """The same, with what the answer said of the account."""
    return replace(done, account=done.account | columns)
