"""Request of a provider client, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeVar

from .errors import Evidence, OutcomeUnknown, ProviderError, Unreadable
from .parsing import NotReadableError, charset_of, read_json
from .redaction import Redactor

Row = TypeVar("Row")


@dataclass(frozen=True)
class Call:
    """One request. With `changes` it is sent once, and an answer that cannot be used leaves its outcome unknown."""

    method: str
    path: str
    endpoint: str  # group of calls that share a rate limit
    expect: int = 200
    changes: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None  # sent as JSON
    text: str | None = field(default=None, repr=False)  # serialized JSON, sent unchanged, byte for byte
    form: Mapping[str, str] | None = field(default=None, repr=False)
    bearer: bool = True
    secret_answer: bool = False  # the answer contains a sign-in URL: its body is not stored

    def unusable(self, why: str, evidence: Evidence) -> ProviderError:
        return OutcomeUnknown(why, evidence=evidence) if self.changes else Unreadable(why, evidence=evidence)


@dataclass(frozen=True)
class Answer:
    """A complete answer, whatever its status. Header names are in lower case."""

    call: Call
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    evidence: Evidence
    redactor: Redactor = field(repr=False)

    def json(self) -> Any:
        try:
            return read_json(self.body, charset=charset_of(self.headers))
        except NotReadableError:
            raise self.unusable("The response is not JSON.") from None

    def unusable(self, why: str) -> ProviderError:
        return self.call.unusable(why, self.evidence)


def rows_of_list(
    perform: Callable[[Call], Answer],
    page: Callable[[str], Call],
    read: Callable[[Answer], tuple[list[Row], str]],
    *,
    identify: Callable[[Row], str] = attrgetter("id"),
) -> Iterator[Row]:
    """Yield every row of a list, page by page. `page` makes the request for a cursor ("" = the first page), `read`
    returns an answer's rows and the next cursor ("" = no more).

    If a row or a cursor repeats, pages overlap or loop and rows may have been skipped: raises `Unreadable`.
    """
    seen: set[str] = set()
    cursors: set[str] = set()
    cursor = ""
    while True:
        answer = perform(page(cursor))
        rows, cursor = read(answer)
        new = {identify(row) for row in rows} - seen
        if len(new) < len(rows) or cursor in cursors:
            raise answer.unusable("The provider's list repeats a page, so it can't be read completely.")
        yield from rows
        if not cursor:
            return
        seen |= new
        cursors.add(cursor)
