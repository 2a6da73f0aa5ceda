"""Which lines of an account belong together: those of one component whose service periods overlap.

    clusters_of(invoice lines, lines of the cost statement, shared=...) -> clusters

Add-ons, dedicated IPs and one-time fees are one component for each offering; where a line of the invoice names none,
they are one component together. What is shared from one invoice is one component, whatever the invoice calls it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

from billing.models import InvoiceLineKind, LineKind

# The difference between an invoice's total and the sum of its lines.
TOTAL = "total"
EXTRA = "extra"
_EXTRAS = frozenset({LineKind.ADDON, LineKind.DEDICATED_IP, LineKind.ONE_TIME})
SHARED = LineKind.INVOICE_SHARE.value
Component = tuple[str, str]  # kind, and of extras the offering


@dataclass(frozen=True, slots=True)
class InvoicedLine:
    """A line of an invoice, with the number of its invoice and its own."""

    kind: str
    offering: str
    start: date
    end: date
    minor: int
    number: str
    n: int


@dataclass(frozen=True, slots=True)
class StatedLine:
    """A line of a statement: what an account costs, or what its customer is billed."""

    kind: str
    offering: str
    start: date
    end: date
    minor: int
    currency: str


@dataclass(slots=True)
class Cluster:
    """Lines of both sides that belong together, and the days from the first to the last."""

    component: Component
    start: date
    end: date
    invoiced: list[InvoicedLine] = field(default_factory=list)
    costs: list[StatedLine] = field(default_factory=list)

    def add(self, line: InvoicedLine | StatedLine) -> None:
        self.end = max(self.end, line.end)
        if isinstance(line, InvoicedLine):
            self.invoiced.append(line)
        else:
            self.costs.append(line)

    @property
    def kind(self) -> str:
        """The kind as our statement has it, else as the invoice does."""
        return str((self.costs or self.invoiced)[0].kind)

    @property
    def invoice_minor(self) -> int | None:
        return sum(line.minor for line in self.invoiced) if self.invoiced else None

    @property
    def cost_minor(self) -> int | None:
        return sum(line.minor for line in self.costs) if self.costs else None

    def overlaps(self, line: StatedLine) -> bool:
        return line.start <= self.end and line.end >= self.start


class Components:
    """The component of each line of an account."""

    def __init__(self, invoiced: Iterable[InvoicedLine], *, shared: bool) -> None:
        self.shared = shared
        self.by_offering = all(line.offering for line in invoiced if line.kind in _EXTRAS)

    def of(self, line: InvoicedLine | StatedLine) -> Component:
        if line.kind == TOTAL:
            return TOTAL, ""
        if self.shared:
            return SHARED, ""
        if line.kind in _EXTRAS:
            return EXTRA, line.offering if self.by_offering else ""
        return line.kind, ""


def clusters_of(
    invoiced: Sequence[InvoicedLine], costs: Sequence[StatedLine], components: Components
) -> Iterator[Cluster]:
    """Yield the clusters of one account, or of what names none. Tax isn't compared."""
    found: dict[Component, list[InvoicedLine | StatedLine]] = defaultdict(list)
    both: list[InvoicedLine | StatedLine] = [*invoiced, *costs]
    for line in both:
        if line.kind != InvoiceLineKind.TAX:
            found[components.of(line)].append(line)
    for component, lines in found.items():
        lines.sort(key=lambda line: (line.start, line.end))
        cluster: Cluster | None = None
        for line in lines:
            if cluster is None or line.start > cluster.end:
                if cluster:
                    yield cluster
                cluster = Cluster(component, line.start, line.end)
            cluster.add(line)
        if cluster:
            yield cluster
