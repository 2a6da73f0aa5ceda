"""Operations that were requested together, shown as one: the first, and those that follow it."""

from __future__ import annotations

from dataclasses import dataclass

from customers.models import Operation
from customers.operations import explain


@dataclass(frozen=True)
class OperationPart:
    operation: Operation
    headline: str
    story: str
    steps: list[explain.StepLine]


@dataclass(frozen=True)
class OperationGroup:
    """The parts of one card. An operation that was requested alone has one part."""

    parts: list[OperationPart]

    @property
    def first(self) -> Operation:
        return self.parts[0].operation

    @property
    def running(self) -> bool:
        return any(not part.operation.is_final for part in self.parts)

    @property
    def front(self) -> OperationPart:
        """The part to report: the first that is not finished, else the first that failed, else the last."""
        open_ones = [part for part in self.parts if not part.operation.is_final]
        failed = [part for part in self.parts if part.operation.state == "failed"]
        return (open_ones or failed or self.parts[-1:])[0]

    @property
    def states(self) -> str:
        """The states as the next poll sends them back, to be told what changed."""
        return ",".join(part.operation.state for part in self.parts)

    def changed_since(self, states: str) -> list[Operation]:
        before = dict(enumerate(states.split(",")))
        return [part.operation for n, part in enumerate(self.parts) if before.get(n) != part.operation.state]

    @property
    def needs_a_person(self) -> bool:
        return self.front.operation.needs_a_person


def group_of(operation: Operation) -> OperationGroup:
    first = operation.follows or operation
    related = ("account__customer", "connection", "requested_by")
    followers = first.followers.select_related(*related).order_by("pk")
    return OperationGroup([_part(each) for each in (first, *followers)])


def _part(operation: Operation) -> OperationPart:
    return OperationPart(
        operation, explain.title(operation), explain.explanation(operation), explain.steps_of(operation)
    )
