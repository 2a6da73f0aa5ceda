"""Pages of long lists: the keys first, along an index, then the rows of the page alone; and a count with a bound.

That keeps the last page of a hundred thousand rows nearly as quick as the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

from portal.formats import number_text

if TYPE_CHECKING:
    _Paginator = Paginator[Any]
    _Page = Page[Any]
else:  # generic for the type checker alone
    _Paginator, _Page = Paginator, Page

# Above this many a list shows "10,000+": counting a hundred thousand rows costs more than showing fifty.
COUNTED = 10_000


class LongRows(Protocol):
    """The rows of a long list: `count` is at most `COUNTED` + 1 or a little more."""

    def count(self) -> int: ...

    def __getitem__(self, part: slice) -> list[Any]: ...


class KeyedRows:
    """The rows of an ordered list of keys. `rows`: all rows it can have, with what a page shows of each."""

    def __init__(self, keys: QuerySet[Any], rows: QuerySet[Any]) -> None:
        self.keys, self.rows = keys, rows

    def count(self) -> int:
        return self.keys.order_by()[: COUNTED + 1].count()

    def __getitem__(self, part: slice) -> list[Any]:
        keys = list(self.keys.values_list("pk", flat=True)[part])
        found = self.rows.in_bulk(keys)
        return [found[key] for key in keys if key in found]


class LongPage(_Page):
    """A page that determines itself whether another one follows it."""

    def __init__(self, rows: list[Any], number: int, paginator: LongPaginator, *, more: bool) -> None:
        super().__init__(rows, number, paginator)
        self.more = more

    def has_next(self) -> bool:
        return self.more

    def end_index(self) -> int:
        return self.start_index() + len(self) - 1 if len(self) else 0


class LongPaginator(_Paginator):
    """A paginator that continues beyond the counted rows. `count_text` is their number in words."""

    def __init__(self, rows: LongRows, per_page: int) -> None:
        super().__init__(rows, per_page)  # type: ignore[arg-type]  # it needs a count and slices, as LongRows has
        self.rows = rows

    @cached_property
    def count(self) -> int:
        return self.rows.count()

    @property
    def is_counted(self) -> bool:
        """False where there are more rows than are worth counting."""
        return self.count <= COUNTED

    @property
    def count_text(self) -> str:
        return number_text(self.count) if self.is_counted else f"{number_text(COUNTED)}+"

    def page(self, number: int | str) -> LongPage:
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        rows = self.rows[first : first + self.per_page + 1]
        return LongPage(rows[: self.per_page], number, self, more=len(rows) > self.per_page)

    def validate_number(self, number: Any) -> int:
        return super().validate_number(number) if self.is_counted else max(1, int(number))


def long_page(rows: LongRows, number: str | None, size: int) -> LongPage:
    """Return one page of a list. For a page that does not exist, the nearest that is known to."""
    paginator = LongPaginator(rows, size)
    wanted = int(number) if number and number.isascii() and number.isdigit() and len(number) < 8 else 1
    page = cast("LongPage", paginator.get_page(wanted))
    return page if len(page) or wanted == 1 else cast("LongPage", paginator.get_page(paginator.num_pages))
